/**
 * A location whose filesystem may hang: driven by a thread of its own, so that the tree goes on when it does.
 *
 * Owns: the thread (its start, its restart after a crash) and what is answered without it.
 * Must stay true: the main thread touches nothing of the location's filesystem and never waits for it. While the thread
 * doesn't answer, the location is as an unplugged one: names and attributes come from the index, everything else fails at
 * once. What was answered as done is done, and its rows are in the index.
 * It doesn't: know how a location works (location.ts, in the thread).
 */
import { FsError } from '../../../../errors.ts'
import type { Index } from '../../../../index/contract.ts'
import type { Log } from '../../../../log.ts'
import {
  type Answer,
  type AttributeChanges,
  type AttributesReply,
  type CreatedFile,
  type Entry,
  type FilesystemStatistics,
  type Ino,
  type Name,
  type OpenDirectory,
  type OpenFile,
  type OpenFlags,
  type RequestContext,
  SLOT_SIZE,
  type VfsListener,
  type VolumeStatus,
  type VolumeTraits,
} from '../../../contract.ts'
import type { LocationOptions, LocationVolume } from '../location.ts'
import type { VerifyRequest } from '../verify.ts'
import { Drive, silent } from './drive.ts'
import { FromIndex } from './from-index.ts'
import { DeferredDirectory, DeferredFile } from './open-nodes.ts'
import { attributesOf, type DriveState, type OpenedFile, ownBytes } from './protocol.ts'

const DEADLINE_MS = 10_000
const FIRST_RESTART_MS = 1_000
const MOST_RESTART_MS = 60_000

export interface DeferredLocationOptions extends LocationOptions {
  readonly index: Index
  /** How long a call may take. */
  readonly deadlineMs?: number
}

/** What an answer that came too late has changed: two names at most. */
type Changed = readonly { readonly parent: Ino; readonly name: Name }[]

/** Opens a location in a thread of its own. */
export function openDeferredLocation(options: DeferredLocationOptions): DeferredLocation {
  const location = new DeferredLocation(options)
  location.start()
  return location
}

export class DeferredLocation implements LocationVolume {
  readonly id: number
  readonly kind = 'location'
  readonly drive = 'deferred'
  readonly rootIno: Ino
  readonly #options: DeferredLocationOptions
  readonly #log: Log
  readonly #listener: VfsListener
  readonly #fromIndex: FromIndex
  #drive: Drive | undefined
  #state: DriveState
  #restarts = 0
  #restartTimer: NodeJS.Timeout | undefined
  #isClosed = false

  constructor(options: DeferredLocationOptions) {
    const { record, index, log, listener } = options
    this.#options = options
    this.#log = log
    this.#listener = listener
    this.id = record.id
    this.rootIno = index.slot(record.id, '') * SLOT_SIZE + 1
    this.#fromIndex = new FromIndex(index, this.rootIno)
    this.#state = {
      status: { state: 'scanning', unreadable: [] },
      negativeTtlMs: 0,
      nodeCount: 0,
      rootModeMask: this.#fromIndex.rootModeMask,
    }
  }

  start(): void {
    const { index, routeSlot } = this.#options
    for (const { slot, volume } of index.slots()) if (volume === this.id) routeSlot(slot, this)
    this.#start()
  }

  get traits(): VolumeTraits {
    return {
      readOnly: this.#options.readOnly ?? false,
      hardLinks: true,
      symlinks: true,
      specialFiles: true,
      extendedAttributes: true,
      posixAcls: true,
      // The kernel gets no descriptor: its reads and writes would wait without a bound.
      local: false,
      negativeTtlMs: this.#isAway ? 0 : this.#state.negativeTtlMs,
    }
  }

  status(): VolumeStatus {
    const { status } = this.#state
    return this.#isAway ? { state: 'offline', detail: silent().message, unreadable: status.unreadable } : status
  }

  /** How many nodes are held in memory, for status and tests. */
  get nodeCount(): number {
    return this.#state.nodeCount
  }

  rescan(path?: Name): void {
    this.#drive?.rescan(path)
  }

  async verify(request: VerifyRequest): Promise<number> {
    return this.#answering.verify(request)
  }

  /** For tests: the thread fails. */
  failForTest(): void {
    this.#drive?.failForTest()
  }

  idle(): void {
    this.#drive?.idle()
  }

  async close(): Promise<void> {
    this.#isClosed = true
    clearTimeout(this.#restartTimer)
    await this.#drive?.close()
  }

  // --- the thread ---

  #start(): void {
    const { record, readOnly, ownMountpoints, index, deadlineMs, routeSlot } = this.#options
    const settings = { record, readOnly: readOnly ?? false, ownMountpoints: ownMountpoints() }
    try {
      this.#drive = new Drive(settings, deadlineMs ?? DEADLINE_MS, {
        index,
        log: this.#log,
        listener: this.#listener,
        routeSlot: slot => routeSlot(slot, this),
        state: state => {
          this.#state = state
          this.#fromIndex.rootModeMask = state.rootModeMask
        },
        silence: isSilent => {
          const path = JSON.stringify(record.settings.path)
          if (isSilent) this.#log.warning(`the location ${path} is offline: ${silent().message}`)
          else this.#log.info(`the location ${path} answers again`)
        },
        failed: failure => this.#failed(failure),
      })
    } catch (error) {
      this.#failed(error)
    }
  }

  #failed(failure: unknown): void {
    this.#drive = undefined
    if (this.#isClosed) return
    const delayMs = Math.min(FIRST_RESTART_MS * 2 ** this.#restarts++, MOST_RESTART_MS)
    this.#log.error(`the thread of a location ended and is started again in ${delayMs / 1000} s`, failure)
    this.#restartTimer = setTimeout(() => this.#start(), delayMs)
    this.#listener.everythingChanged()
  }

  get #isAway(): boolean {
    return this.#drive === undefined || this.#drive.isSilent
  }

  /** The thread, to ask what the index doesn't know. Throws 'offline' when it doesn't answer. */
  get #answering(): Drive {
    if (this.#drive === undefined || this.#drive.isSilent) throw silent()
    return this.#drive
  }

  /** The thread, for a change. */
  #writable(): Drive {
    if (this.#options.readOnly) throw new FsError('read-only')
    return this.#answering
  }

  // --- names ---

  lookup(context: RequestContext, parent: Ino, name: Name): Answer<Entry | undefined> {
    const fallback = () => this.#fromIndex.lookup(parent, name)
    if (this.#isAway) return fallback()
    return this.#answering
      .call('lookup', context, [parent, name], { fallback, undo: entry => entry && this.forget(entry.attributes.ino, 1) })
      .then(entry => entry && withClass(entry))
  }

  forget(ino: Ino, count: number): void {
    const rest = this.#fromIndex.forget(ino, count)
    if (rest > 0) this.#drive?.forget(ino, rest)
  }

  symlink(context: RequestContext, parent: Ino, name: Name, target: Name): Promise<Entry> {
    const undo = this.#undoEntry(parent, name)
    return this.#writable().call('symlink', context, [parent, name, target], { undo }).then(withClass)
  }

  mknod(context: RequestContext, parent: Ino, name: Name, mode: number, rdev: number): Promise<Entry> {
    const undo = this.#undoEntry(parent, name)
    return this.#writable().call('mknod', context, [parent, name, mode, rdev], { undo }).then(withClass)
  }

  mkdir(context: RequestContext, parent: Ino, name: Name, mode: number): Promise<Entry> {
    const undo = this.#undoEntry(parent, name)
    return this.#writable().call('mkdir', context, [parent, name, mode], { undo }).then(withClass)
  }

  unlink(context: RequestContext, parent: Ino, name: Name): Promise<void> {
    return this.#writable().call('unlink', context, [parent, name], { undo: () => this.#tell([{ parent, name }]) })
  }

  rmdir(context: RequestContext, parent: Ino, name: Name): Promise<void> {
    return this.#writable().call('rmdir', context, [parent, name], { undo: () => this.#tell([{ parent, name }]) })
  }

  rename(context: RequestContext, parent: Ino, name: Name, newParent: Ino, newName: Name, flags: number): Promise<void> {
    const both = [
      { parent, name },
      { parent: newParent, name: newName },
    ]
    return this.#writable().call('rename', context, [parent, name, newParent, newName, flags], { undo: () => this.#tell(both) })
  }

  link(context: RequestContext, ino: Ino, newParent: Ino, newName: Name): Promise<Entry> {
    const undo = this.#undoEntry(newParent, newName)
    return this.#writable().call('link', context, [ino, newParent, newName], { undo }).then(withClass)
  }

  // --- attributes ---

  getattr(context: RequestContext, ino: Ino, file?: OpenFile): Answer<AttributesReply> {
    const fallback = () => this.#fromIndex.getattr(ino)
    if (this.#isAway) return fallback()
    return this.#answering.call('getattr', context, [ino, this.#handle(file)], { fallback }).then(replyWithClass)
  }

  setattr(context: RequestContext, ino: Ino, changes: AttributeChanges, file?: OpenFile): Promise<AttributesReply> {
    const undo = () => this.#listener.inodeChanged(ino, true)
    return this.#writable()
      .call('setattr', context, [ino, { ...changes }, this.#handle(file)], { undo })
      .then(replyWithClass)
  }

  readlink(context: RequestContext, ino: Ino): Promise<Name> {
    return this.#answering.call('readlink', context, [ino])
  }

  access(context: RequestContext, ino: Ino, mask: number): Promise<void> {
    return this.#answering.call('access', context, [ino, mask])
  }

  statfs(context: RequestContext, ino: Ino): Answer<FilesystemStatistics> {
    const fallback = () => this.#fromIndex.statfs()
    return this.#isAway ? fallback() : this.#answering.call('statfs', context, [ino], { fallback })
  }

  setxattr(context: RequestContext, ino: Ino, name: Name, value: Buffer, flags: number, killSetGid: boolean): Promise<void> {
    const bytes = ownBytes(value)
    return this.#writable().call('setxattr', context, [ino, name, bytes, flags, killSetGid], { transfer: bytes.buffer })
  }

  getxattr(context: RequestContext, ino: Ino, name: Name): Promise<Buffer> {
    // The kernel asks for ACLs to check permissions: offline the mode alone counts.
    if (this.#isAway && name.startsWith('system.posix_acl_')) throw new FsError('no-attribute')
    return this.#answering.call('getxattr', context, [ino, name]).then(bufferOf)
  }

  listxattr(context: RequestContext, ino: Ino): Promise<Name[]> {
    return this.#answering.call('listxattr', context, [ino])
  }

  removexattr(context: RequestContext, ino: Ino, name: Name): Promise<void> {
    return this.#writable().call('removexattr', context, [ino, name])
  }

  syncfs(context: RequestContext, ino: Ino): Promise<void> {
    return this.#answering.call('syncfs', context, [ino], { slow: true })
  }

  ioctl(
    context: RequestContext,
    ino: Ino,
    file: OpenFile | undefined,
    command: number,
    input: Buffer,
    outputBytes: number,
  ): Promise<Buffer> {
    return this.#answering.call('ioctl', context, [ino, this.#handle(file), command, ownBytes(input), outputBytes]).then(bufferOf)
  }

  // --- opening ---

  async open(context: RequestContext, ino: Ino, flags: OpenFlags): Promise<OpenFile> {
    const drive = this.#answering
    return new DeferredFile(drive, await drive.call('open', context, [ino, flags], { undo: late => releaseLate(drive, late) }))
  }

  create(context: RequestContext, parent: Ino, name: Name, mode: number, flags: OpenFlags): Promise<CreatedFile<OpenFile>> {
    const drive = this.#writable()
    const undo = this.#undoCreated(drive, [{ parent, name }])
    return drive.call('create', context, [parent, name, mode, flags], { undo }).then(made => created(drive, made))
  }

  tmpfile(context: RequestContext, parent: Ino, mode: number, flags: OpenFlags): Promise<CreatedFile<OpenFile>> {
    const drive = this.#writable()
    return drive.call('tmpfile', context, [parent, mode, flags], { undo: this.#undoCreated(drive, []) }).then(made => created(drive, made))
  }

  opendir(context: RequestContext, ino: Ino): Answer<OpenDirectory> {
    if (this.#isAway) return this.#fromIndex.opendir(ino)
    const drive = this.#answering
    return drive
      .call('opendir', context, [ino], { undo: late => releaseLate(drive, late) })
      .then(opened => new DeferredDirectory(drive, opened, child => this.forget(child, 1)))
  }

  /** The number of an open file in the thread that is there now; one of a thread that has ended is none. */
  #handle(file: OpenFile | undefined): number | undefined {
    return file instanceof DeferredFile && file.drive === this.#drive ? file.opened.handle : undefined
  }

  // --- what came too late ---

  #undoEntry(parent: Ino, name: Name): (entry: Entry) => void {
    return entry => {
      this.forget(entry.attributes.ino, 1)
      this.#tell([{ parent, name }])
    }
  }

  #undoCreated(drive: Drive, changed: Changed): (made: { readonly entry: Entry; readonly file: OpenedFile }) => void {
    return ({ entry, file }) => {
      releaseLate(drive, file)
      this.forget(entry.attributes.ino, 1)
      this.#tell(changed)
    }
  }

  /** It happened after all, and who asked was told that it failed. */
  #tell(changed: Changed): void {
    for (const { parent, name } of changed) {
      this.#listener.entryChanged(parent, name)
      this.#listener.inodeChanged(parent, true)
    }
  }
}

function releaseLate(drive: Drive, { handle }: { readonly handle: number }): void {
  drive.opened()
  drive.release(handle)
}

function created(drive: Drive, { entry, file }: { readonly entry: Entry; readonly file: OpenedFile }): CreatedFile<OpenFile> {
  return { entry: withClass(entry), file: new DeferredFile(drive, file) }
}

function withClass(entry: Entry): Entry {
  return { ...entry, attributes: attributesOf(entry.attributes) }
}

function replyWithClass(reply: AttributesReply): AttributesReply {
  return { ...reply, attributes: attributesOf(reply.attributes) }
}

function bufferOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
}
