/**
 * What all callbacks share: the way from a call of the library to a call of the tree and back.
 *
 * Owns: the calls that wait, and turning errors into errnos. Must stay true: each call is answered exactly once; what
 * throws is answered, an `FsError` by its errno, anything else with EIO and one log line; a node that turns out to be
 * another one than the path said ('stale') is looked for once more, as the kernel would.
 * It doesn't: know what an operation means (path-operations.ts, handle-operations.ts).
 */
import { FsError } from '../../errors.ts'
import type { Log } from '../../log.ts'
import { type Answer, type AttributesReply, type Entry, type Ino, isDirectory, type Vfs } from '../../vfs/contract.ts'
import { then } from '../../vfs/tree.ts'
import type { ChannelStatistics } from '../fuse/channel.ts'
import { ensuring, recovering } from './answers.ts'
import { HiddenFiles } from './hidden-files.ts'
import type { Host } from './host.ts'
import type { FuseContext, FuseStat, Reply, WholeNumber } from './library.ts'
import { type OpenedDirectory, OpenFiles } from './open-handles.ts'
import { CALL_TIMEOUT_MS, PathRequest } from './request.ts'
import { PathResolver } from './resolver.ts'

/** How long without a call until the tree is told that it is idle. */
const IDLE_MS = 30

export interface AdapterOptions {
  readonly vfs: Vfs
  readonly log: Log
  readonly host: Host
  readonly readOnly: boolean
  /** Who asks, during a callback. */
  readonly asking: () => FuseContext | null
}

export interface Call<T> {
  /** In the words of the kernel, for the log. */
  readonly operation: string
  /** The path to look for again when it turns out to be stale; null for calls by handle. */
  readonly path: string | null
  readonly reply: Reply
  readonly run: (request: PathRequest) => Answer<T>
  /** Hands the value to the library; without it the answer is 0. */
  readonly done?: (value: T) => void
  /** Changes the tree: refused on a read-only mount. */
  readonly mutates?: boolean
  readonly timeoutMs?: number
}

export class Adapter {
  readonly vfs: Vfs
  readonly host: Host
  readonly log: Log
  readonly readOnly: boolean
  readonly resolver: PathResolver
  readonly files: OpenFiles = new OpenFiles()
  readonly directories: Map<number, OpenedDirectory> = new Map<number, OpenedDirectory>()
  readonly hidden: HiddenFiles = new HiddenFiles()
  readonly #asking: () => FuseContext | null
  readonly #waiting = new Set<PathRequest>()
  readonly #byOperation = new Map<string, number>()
  #idleTimer: NodeJS.Timeout | undefined
  #isIdle = true
  #isEnded = false
  #requests = 0
  #errors = 0

  constructor(options: AdapterOptions) {
    this.vfs = options.vfs
    this.host = options.host
    this.log = options.log
    this.readOnly = options.readOnly
    this.resolver = new PathResolver({ vfs: options.vfs })
    this.#asking = options.asking
  }

  statistics(): ChannelStatistics {
    return {
      requests: this.#requests,
      errors: this.#errors,
      waiting: this.#waiting.size,
      byOperation: Object.fromEntries(this.#byOperation),
    }
  }

  /** Carries one call of the library out. */
  serve<T>(call: Call<T>): void {
    this.#requests++
    this.#byOperation.set(call.operation, (this.#byOperation.get(call.operation) ?? 0) + 1)
    this.#awake()
    const request = new PathRequest(this.#asking(), call.timeoutMs ?? CALL_TIMEOUT_MS)
    try {
      if (call.mutates && this.readOnly) throw new FsError('read-only')
      const answer = recovering(
        () => call.run(request),
        error => this.#again(call, request, error),
      )
      if (answer instanceof Promise) this.#later(call, request, answer)
      else this.#answer(call, request, answer)
    } catch (error) {
      this.#fail(call, request, error)
    }
  }

  /** The program's waiting calls end with 'offline'; nothing is remembered any more. */
  end(): void {
    this.#isEnded = true
    clearTimeout(this.#idleTimer)
    for (const request of this.#waiting) request.abort(new FsError('offline', 'unmounted'))
    this.resolver.clear()
  }

  /** Calls `use` with what `path` means: also when it is the path that libfuse gave to a deleted file. */
  node<T>(request: PathRequest, path: string, use: (entry: Entry, handle: number | undefined) => Answer<T>): Answer<T> {
    const ino = this.hidden.find(path)
    if (ino === undefined) return this.resolver.node(request, path, entry => use(entry, undefined))
    const handle = this.files.handleOf(ino)
    return then(this.vfs.getattr(request, ino, handle), reply => use({ ...reply, generation: 0, entryTtlMs: 0 }, handle))
  }

  /** Calls `use` with the node of an open file or directory, or else with that of `path`. */
  nodeOf<T>(
    request: PathRequest,
    path: string | null,
    fd: WholeNumber,
    use: (ino: Ino, handle: number | undefined) => Answer<T>,
  ): Answer<T> {
    const opened = this.files.find(fd)
    // A directory and a file may have the same number: with a path, it decides.
    if (path === null) {
      if (opened) return use(opened.ino, opened.handle)
      throw new FsError('bad-handle')
    }
    return this.node(request, path, (entry, handle) => {
      const { ino, mode } = entry.attributes
      return use(ino, opened?.ino === ino && !isDirectory(mode) ? opened.handle : handle)
    })
  }

  /** Throws 'bad-handle'. */
  directory(fd: WholeNumber): OpenedDirectory {
    const opened = this.directories.get(Number(fd))
    if (!opened) throw new FsError('bad-handle')
    return opened
  }

  /** Attributes in the library's words. */
  stat({ attributes: a }: AttributesReply): FuseStat {
    return {
      mode: a.mode,
      ino: a.ino,
      nlink: a.nlink,
      uid: a.uid,
      gid: a.gid,
      rdev: a.rdev,
      size: a.sizeBytes,
      blksize: a.blockSizeBytes,
      blocks: a.blocks,
      atime: { seconds: a.atimeSec, nanoseconds: a.atimeNsec },
      mtime: { seconds: a.mtimeSec, nanoseconds: a.mtimeNsec },
      ctime: { seconds: a.ctimeSec, nanoseconds: a.ctimeNsec },
    }
  }

  #again<T>(call: Call<T>, request: PathRequest, error: unknown): Answer<T> {
    if (call.path === null || !(error instanceof FsError) || error.kind !== 'stale') throw error
    this.resolver.forgetPath(call.path)
    return call.run(request)
  }

  #later<T>(call: Call<T>, request: PathRequest, answer: Promise<T>): void {
    this.#waiting.add(request)
    void ensuring(
      () =>
        answer.then(
          value => this.#answer(call, request, value),
          error => this.#fail(call, request, error),
        ),
      () => this.#waiting.delete(request),
    )
  }

  #answer<T>(call: Call<T>, request: PathRequest, value: T): void {
    request.done()
    try {
      if (call.done) call.done(value)
      else call.reply(0)
    } catch (error) {
      this.#fail(call, request, error)
    }
  }

  #fail<T>(call: Call<T>, request: PathRequest, error: unknown): void {
    request.done()
    this.#errors++
    if (!(error instanceof FsError)) {
      this.log.error(`${call.operation} of ${call.path ?? 'an open file'} failed unexpectedly`, error)
      if (error instanceof Error && error.stack) this.log.debug(error.stack)
    }
    call.reply(-this.host.errnoOf(error))
  }

  #awake(): void {
    this.#isIdle = false
    this.#idleTimer ??= setTimeout(this.#idled, IDLE_MS).unref()
  }

  readonly #idled = (): void => {
    this.#idleTimer = undefined
    if (this.#isEnded) return
    if (this.#isIdle) return this.vfs.idle()
    this.#isIdle = true
    this.#idleTimer = setTimeout(this.#idled, IDLE_MS).unref()
  }
}
