/**
 * The thread that drives a location whose filesystem may hang: the same `Location`, with calls that come as messages.
 *
 * Owns: the location, and the files and directories that are open in it, by number.
 * Must stay true: before an answer is sent, every row of what was done has been sent; a number given out by `open` is
 * good until its `release`; a call that the main thread gave up before it began is left out.
 */
import { type MessagePort, workerData } from 'node:worker_threads'
import { describeError } from '../../../../errors.ts'
import type { VolumeRecord } from '../../../../index/contract.ts'
import type { Log } from '../../../../log.ts'
import { linux } from '../../../../sys/linux.ts'
import type { Answer, Entry, Name, OpenDirectory, OpenFile, RequestContext, VfsListener } from '../../../contract.ts'
import { Location } from '../location.ts'
import { verifyLocation } from '../verify.ts'
import {
  type Caller,
  type DirectoryRow,
  DriveMemory,
  type DriveThreadData,
  type FromDrive,
  type Handle,
  type OpenedDirectory,
  type OpenedFile,
  type OperationName,
  type Operations,
  ownBytes,
  plainError,
  type ToDrive,
} from './protocol.ts'
import { type RemoteIndex, remoteIndex } from './remote-index.ts'

/** How often the thread shows that it gets on, and tells what changed of its state. */
const BEAT_MS = 200

type Handlers = {
  readonly [K in OperationName]: (context: RequestContext, ...args: Parameters<Operations[K]>) => Answer<ReturnType<Operations[K]>>
}

/** The wait of the caller ends on the main thread. */
const NEVER = new AbortController().signal

class DriveThread {
  readonly #port: MessagePort
  readonly #memory: DriveMemory
  readonly #index: RemoteIndex
  readonly #location: Location
  readonly #files = new Map<Handle, OpenFile>()
  readonly #directories = new Map<Handle, OpenDirectory>()
  readonly #record: VolumeRecord
  readonly #verifying = new Map<number, AbortController>()
  readonly #beat: NodeJS.Timeout
  #lastHandle = 0
  #stateSent = ''
  #negativeTtlSent = -1

  constructor(data: DriveThreadData) {
    this.#port = data.port
    this.#memory = new DriveMemory(data.memory)
    this.#index = remoteIndex(data.port, data.replies, this.#memory)
    const { record, readOnly, ownMountpoints } = data.settings
    this.#record = record
    // A thread that is just loading this can't be ended without the process.
    linux()
    this.#send({ kind: 'loaded' })
    this.#location = new Location({
      record,
      index: this.#index,
      log: this.#log(),
      listener: this.#listener(),
      ownMountpoints: () => ownMountpoints,
      routeSlot: slot => this.#send({ kind: 'slot', slot }),
      readOnly,
    })
    this.#location.start()
    this.#tellState()
    this.#port.on('message', (message: ToDrive) => this.#receive(message))
    this.#beat = setInterval(() => {
      this.#memory.beats()
      this.#tellState()
    }, BEAT_MS)
  }

  #send(message: FromDrive, transfer: readonly ArrayBuffer[] = []): void {
    this.#port.postMessage(message, transfer)
  }

  #receive(message: ToDrive): void {
    this.#memory.beats()
    switch (message.kind) {
      case 'call':
        if (message.id <= this.#memory.cancelled) this.#send({ kind: 'left-out', id: message.id })
        else this.#call(message.id, message.operation, message.caller, message.args)
        break
      case 'forget':
        for (let i = 0; i < message.references.length; i += 2) this.#location.forget(message.references[i]!, message.references[i + 1]!)
        break
      case 'release':
        this.#release(message.handle)
        break
      case 'idle':
        this.#location.idle()
        break
      case 'rescan':
        this.#location.rescan(message.path)
        break
      case 'distrust':
        this.#location.distrust()
        break
      case 'verify':
        void this.#verify(message.id, message.leftOut, message.settleMs)
        break
      case 'stop-verifying':
        this.#verifying.get(message.id)?.abort()
        break
      case 'fail':
        throw new Error('failed for a test')
      case 'close':
        void this.#close()
        break
      case 'end':
        clearInterval(this.#beat)
        this.#port.close()
    }
    this.#memory.beats()
  }

  // --- calls ---

  #call(id: number, operation: OperationName, caller: Caller, args: readonly unknown[]): void {
    try {
      const run = this.#handlers[operation] as (context: RequestContext, ...args: readonly unknown[]) => Answer<unknown>
      const answer = run({ ...caller, signal: NEVER }, ...args)
      if (answer instanceof Promise)
        answer.then(
          value => this.#answer(id, value),
          error => this.#fail(id, error),
        )
      else this.#answer(id, answer)
    } catch (error) {
      this.#fail(id, error)
    }
  }

  #answer(id: number, value: unknown): void {
    this.#settle()
    this.#send({ kind: 'answer', id, value }, value instanceof Uint8Array ? [value.buffer as ArrayBuffer] : [])
  }

  #fail(id: number, error: unknown): void {
    this.#settle()
    this.#send({ kind: 'failure', id, error: plainError(error) })
  }

  /** What an answer tells of is known on the main thread before it. */
  #settle(): void {
    this.#index.settle()
    if (this.#location.traits.negativeTtlMs !== this.#negativeTtlSent) this.#tellState()
  }

  readonly #handlers: Handlers = {
    lookup: (context, parent, name) => this.#location.lookup(context, parent, name),
    getattr: (context, ino, file) => this.#location.getattr(context, ino, this.#fileOr(file)),
    setattr: (context, ino, changes, file) => this.#location.setattr(context, ino, changes, this.#fileOr(file)),
    readlink: (context, ino) => this.#location.readlink(context, ino),
    symlink: (context, parent, name, target) => this.#location.symlink(context, parent, name, target),
    mknod: (context, parent, name, mode, rdev) => this.#location.mknod(context, parent, name, mode, rdev),
    mkdir: (context, parent, name, mode) => this.#location.mkdir(context, parent, name, mode),
    unlink: (context, parent, name) => this.#location.unlink(context, parent, name),
    rmdir: (context, parent, name) => this.#location.rmdir(context, parent, name),
    rename: (context, parent, name, newParent, newName, flags) => this.#location.rename(context, parent, name, newParent, newName, flags),
    link: (context, ino, newParent, newName) => this.#location.link(context, ino, newParent, newName),
    access: (context, ino, mask) => this.#location.access(context, ino, mask),
    statfs: (context, ino) => this.#location.statfs(context, ino),
    setxattr: (context, ino, name, value, flags, killSetGid) =>
      this.#location.setxattr(context, ino, name, Buffer.from(value.buffer, value.byteOffset, value.length), flags, killSetGid),
    getxattr: async (context, ino, name) => ownBytes(await this.#location.getxattr(context, ino, name)),
    listxattr: (context, ino) => this.#location.listxattr(context, ino),
    removexattr: (context, ino, name) => this.#location.removexattr(context, ino, name),
    syncfs: () => this.#location.syncfs(),
    ioctl: async (context, ino, file, command, input, outputBytes) =>
      ownBytes(await this.#location.ioctl(context, ino, this.#fileOr(file), command, Buffer.from(input), outputBytes)),
    open: async (context, ino, flags) => this.#opened(await this.#location.open(context, ino, flags)),
    create: async (context, parent, name, mode, flags) => {
      const { entry, file } = await this.#location.create(context, parent, name, mode, flags)
      return { entry, file: this.#opened(file) }
    },
    tmpfile: async (context, parent, mode, flags) => {
      const { entry, file } = await this.#location.tmpfile(context, parent, mode, flags)
      return { entry, file: this.#opened(file) }
    },
    opendir: async (context, ino) => this.#openedDirectory(await this.#location.opendir(context, ino)),
    read: (context, file, position, lengthBytes) => this.#read(context, file, position, lengthBytes),
    write: (context, file, position, data, options) =>
      this.#file(file).write(context, position, Buffer.from(data.buffer, data.byteOffset, data.length), options),
    flush: (context, file) => this.#file(file).flush(context),
    fsync: (context, file, dataOnly) => this.#file(file).fsync(context, dataOnly),
    fallocate: (context, file, mode, offset, lengthBytes) => this.#file(file).fallocate(context, mode, offset, lengthBytes),
    seek: (context, file, offset, whence) => this.#file(file).seek(context, offset, whence),
    copyRange: (context, file, offset, target, targetOffset, lengthBytes) =>
      this.#file(file).copyRange(context, offset, this.#file(target), targetOffset, lengthBytes),
    readdir: async (context, handle, offset, withAttributes, limit) => {
      const rows: DirectoryRow[] = []
      let ended = true
      await this.#directory(handle).read(context, offset, withAttributes, {
        add(name, ino, type, next, entry: Entry | undefined) {
          if (rows.length === limit) {
            ended = false
            return false
          }
          rows.push({ name, ino, type, next, entry })
          return true
        },
      })
      return { rows, ended }
    },
    fsyncdir: (context, handle, dataOnly) => this.#directory(handle).fsync(context, dataOnly),
  }

  #read(context: RequestContext, file: Handle, position: number, lengthBytes: number): Answer<Uint8Array> {
    const into = Buffer.allocUnsafeSlow(lengthBytes)
    const got = this.#file(file).read(context, position, into)
    if (typeof got === 'number') return new Uint8Array(into.buffer, 0, got)
    return got.then(ownBytes)
  }

  // --- what is open ---

  #opened(file: OpenFile): OpenedFile {
    const handle = ++this.#lastHandle
    this.#files.set(handle, file)
    const { ino, keepCache, directIo, noFlush } = file
    return { handle, ino, keepCache, directIo, noFlush }
  }

  #openedDirectory(directory: OpenDirectory): OpenedDirectory {
    const handle = ++this.#lastHandle
    this.#directories.set(handle, directory)
    return { handle, ino: directory.ino, keepCache: directory.keepCache }
  }

  #file(handle: Handle): OpenFile {
    const file = this.#files.get(handle)
    if (!file) throw new Error(`there is no open file ${handle}`)
    return file
  }

  #fileOr(handle: Handle | undefined): OpenFile | undefined {
    return handle === undefined ? undefined : this.#file(handle)
  }

  #directory(handle: Handle): OpenDirectory {
    const directory = this.#directories.get(handle)
    if (!directory) throw new Error(`there is no open directory ${handle}`)
    return directory
  }

  #release(handle: Handle): void {
    const open = this.#files.get(handle) ?? this.#directories.get(handle)
    this.#files.delete(handle)
    this.#directories.delete(handle)
    const failed = (error: unknown) => this.#log().warning('release failed', error)
    try {
      const released = open?.release()
      if (released instanceof Promise) released.catch(failed)
    } catch (error) {
      failed(error)
    }
  }

  async #verify(id: number, leftOut: readonly Name[], settleMs: number): Promise<void> {
    const abort = new AbortController()
    this.#verifying.set(id, abort)
    let count = 0
    let failure: unknown
    try {
      count = await verifyLocation({
        record: this.#record,
        index: this.#index,
        leftOut,
        settleMs,
        signal: abort.signal,
        difference: async (path, difference, detail) => this.#send({ kind: 'difference', id, path, difference, detail }),
        progress: async checked => this.#send({ kind: 'checked', id, count: checked }),
      })
    } catch (error) {
      failure = error
    }
    this.#verifying.delete(id)
    this.#send({ kind: 'verified', id, count, error: failure === undefined ? undefined : plainError(failure) })
  }

  async #close(): Promise<void> {
    for (const verifying of this.#verifying.values()) verifying.abort()
    let failure: unknown
    try {
      await this.#location.close()
    } catch (error) {
      failure = error
    }
    this.#send({ kind: 'closed', error: failure === undefined ? undefined : plainError(failure) })
  }

  // --- what the main thread is told ---

  #tellState(): void {
    const { nodeCount, rootModeMask, traits } = this.#location
    const { negativeTtlMs } = traits
    const state = { status: this.#location.status(), negativeTtlMs, nodeCount, rootModeMask }
    const text = JSON.stringify(state)
    if (text === this.#stateSent) return
    this.#stateSent = text
    this.#negativeTtlSent = negativeTtlMs
    this.#send({ kind: 'state', state })
  }

  #listener(): VfsListener {
    const tell =
      (method: keyof VfsListener) =>
      (...args: readonly unknown[]) =>
        this.#send({ kind: 'told', method, args })
    return {
      inodeChanged: tell('inodeChanged'),
      entryChanged: tell('entryChanged'),
      entryRemoved: tell('entryRemoved'),
      everythingChanged: tell('everythingChanged'),
    }
  }

  #log(): Log {
    const line =
      (level: keyof Log) =>
      (message: string, error?: unknown): void =>
        this.#send({ kind: 'log', level, message: error === undefined ? message : `${message}: ${describeError(error)}` })
    return { debug: line('debug'), info: line('info'), warning: line('warning'), error: line('error') }
  }
}

new DriveThread(workerData as DriveThreadData)
