/**
 * Follows a location's folder: scans it, watches it, and tells when it goes and comes.
 *
 * Owns: the observer's thread (its start, its end, its restart after a crash), and the set of directories that are watched.
 * Must stay true:
 * - Callbacks come on the main thread, one after the other, in the order in which the disk was looked at. None comes after
 *   `close` was called.
 * - The folder's filesystem is touched by the observer's thread alone: when it hangs, that thread hangs, and `offline` says so.
 * - Every batch is to be acknowledged once, when it has been dealt with; the scan stops while too many are not.
 * It doesn't: know inode numbers of the tree, or compare what it tells with the index.
 */
import type { Log } from '../../../../log.ts'
import type { Name } from '../../../contract.ts'
import { BatchReader, SECTION_UNWATCHED } from './batch.ts'
import { DirectorySet } from './directory-set.ts'
import type { Command, Counts, FilesystemFacts, ObserverLimits, Report } from './protocol.ts'
import type { RootIdentity } from './root-identity.ts'
import { ThreadRun } from './thread-run.ts'

/** So many batches may wait before the scan stops, and as many again for changes. */
const BATCHES = 8
/** The thread is looked after this often; so many times without progress, and the folder counts as hanging. */
const WATCHDOG_MS = 1_000
const HANGING_CHECKS = 5
const FIRST_RESTART_MS = 1_000
const MOST_RESTART_MS = 60_000
/** After so many crashes without a quiet hour the observer gives up. */
const MOST_RESTARTS = 8
const QUIET_MS = 3_600_000

/**
 * Rows on their way to the index. Read them with `reader`, at once or in slices, then call `Observer.acknowledge`: after
 * that the reader's memory belongs to another batch.
 */
export interface Batch {
  readonly reader: BatchReader
  readonly rows: number
  /** The run of the thread that it came from, and where it lies in the memory of that run. */
  readonly run: ThreadRun
  readonly place: number
}

export interface ObserverCallbacks {
  /**
   * Listings and changes; see `BatchReader`. The disk goes on changing while it is looked at: for a moment a directory may
   * be told at two places, even below itself; rows that follow put it right.
   */
  batch(batch: Batch): void
  /**
   * The folder is there; a scan starts. Comes again without `offline` in between when another folder took its place, or
   * when the thread was started anew. All that was believed of the location's names and attributes is to be asked again.
   */
  online(identity: RootIdentity, filesystem: FilesystemFacts): void
  /** The folder is away, or doesn't answer; `reason` is one line. */
  offline(reason: string): void
  scanStarted(scan: number): void
  /** All batches of the scan were handed over before. */
  scanFinished(scan: number, counts: Counts): void
  /** Changes were lost: what was believed is to be asked again. A scan follows. Until it has passed a directory, that isn't watched. */
  eventsLost(): void
  /** Not all directories can be watched; `reason` says how to change that. Once. */
  watchRefused(reason: string): void
}

export interface ObserverOptions extends ObserverCallbacks {
  /** Absolute path of the folder, as bytes. */
  readonly path: Name
  /** What the folder was when it was last online. */
  readonly identity?: RootIdentity | undefined
  /** Absolute paths (without symlinks) that must never be touched: the own mount points, before they are mounted. */
  readonly excluded?: readonly Name[] | undefined
  /** Directories that a scan that was interrupted has dealt with: they come last in the first scan. */
  readonly scanned?: DirectorySet | undefined
  readonly log: Log
  readonly limits?: ObserverLimits | undefined
}

export interface ObserverStatus {
  readonly state: 'starting' | 'online' | 'offline' | 'failed' | 'closed'
  /** Why it is offline or has failed. */
  readonly reason: string | undefined
  readonly paused: boolean
  readonly counts: Counts
  readonly restarts: number
  /** After `close`: the thread still hangs in the filesystem. Then only SIGKILL ends the process: process.exit waits for threads. */
  readonly leftBehind: boolean
}

const NO_COUNTS: Counts = {
  scan: 0,
  scanning: false,
  startedAtMs: 0,
  directories: 0,
  entries: 0,
  entriesPerSecond: 0,
  known: 0,
  watched: 0,
  watchRefusal: undefined,
  unreadableCount: 0,
  unreadable: [],
}

export class Observer {
  readonly #options: ObserverOptions
  readonly #watched = new DirectorySet()
  #identity: RootIdentity | undefined
  #excluded: readonly Name[]
  #scanned: DirectorySet | undefined
  #run: ThreadRun | undefined
  #state: ObserverStatus['state'] = 'starting'
  #reason: string | undefined
  #paused = false
  #sharePercent = 100
  #token = 0
  #counts = NO_COUNTS
  #restarts = 0
  #crashedAtMs = 0
  #restartTimer: NodeJS.Timeout | undefined
  #watchdog: NodeJS.Timeout | undefined
  #lastProgress = 0
  #checksWithoutProgress = 0
  #closing: Promise<void> | undefined
  #leftBehind = false

  constructor(options: ObserverOptions) {
    this.#options = options
    this.#identity = options.identity
    this.#excluded = options.excluded ?? []
    this.#scanned = options.scanned
  }

  /** Starts the thread; `online` or `offline` follows. */
  start(): void {
    if (this.#run || this.#closing) throw new Error('the observer was started before')
    this.#startRun()
    this.#watchdog = setInterval(() => this.#checkProgress(), WATCHDOG_MS)
    this.#watchdog.unref()
  }

  /** The batch was dealt with. To be called once for each, also for those that came before the folder went away. */
  acknowledge(batch: Batch): void {
    const run = this.#run
    if (!run || batch.run !== run) return
    if (batch.place >= 0) run.batches.free(batch.place)
    run.control.addAcknowledged()
    if (run.control.isHungry) run.wake()
  }

  /** The newest token of the index: a section carries the one that was published before its directory was looked at. */
  publishToken(token: number): void {
    this.#token = token
    if (this.#run) this.#run.control.token = token
  }

  /** Whether all that changes in a directory is told as it happens. `device` as `StatxBuffer.device` gives it. */
  isWatched(device: number, inoHigh: number, inoLow: number): boolean {
    return this.#watched.has(device, inoHigh, inoLow)
  }

  /** The scan stops (also to let a drive be unmounted); watching goes on. */
  pause(): void {
    this.#paused = true
    this.#send({ type: 'pause' })
  }
  resume(): void {
    this.#paused = false
    this.#send({ type: 'resume' })
  }
  /** How much of the time the scan may use (1 to 100): less while the mount is busy. */
  setShare(percent: number): void {
    this.#sharePercent = percent
    if (this.#run) this.#run.control.sharePercent = percent
  }
  /** Scans everything again, or the directory at `path` (below the root) with all below it; the latter isn't told as a scan. */
  rescan(path: Name = ''): void {
    this.#send({ type: 'rescan', path })
  }
  /** The directory at `path` (below the root) alone is listed again. */
  relist(path: Name): void {
    this.#send({ type: 'relist', path })
  }
  /** The directory at `path` (below the root) is listed first, if it's still to be listed. */
  prioritize(path: Name): void {
    this.#send({ type: 'prioritize', path })
  }
  /** Replaces the paths that must not be touched. A path is to be excluded before it is mounted. */
  exclude(paths: readonly Name[]): void {
    this.#excluded = paths
    this.#send({ type: 'exclude', paths })
  }
  /** The root is looked at now: something suggests that it is away. */
  check(): void {
    this.#send({ type: 'check', again: false })
  }
  /** For tests: the thread fails. */
  failForTest(): void {
    this.#send({ type: 'fail' })
  }

  status(): ObserverStatus {
    return {
      state: this.#state,
      reason: this.#reason,
      paused: this.#paused,
      counts: this.#counts,
      restarts: this.#restarts,
      leftBehind: this.#leftBehind,
    }
  }

  /** Ends the thread, within a second; one that hangs in the host's filesystem is left behind. No callback comes any more. */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    this.#state = 'closed'
    clearInterval(this.#watchdog)
    clearTimeout(this.#restartTimer)
    this.#watched.clear()
    const run = this.#run
    if (!run) return
    if (await run.stop()) return
    this.#leftBehind = true
    void run.ended.then(() => {
      this.#leftBehind = false
    })
    this.#options.log.warning(`the observer of a folder hangs in the filesystem and is left behind: ${displayPath(this.#options.path)}`)
  }

  // --- the thread ---

  #startRun(): void {
    const { path, limits } = this.#options
    const settings = {
      rootPath: path,
      identity: this.#identity,
      excluded: this.#excluded,
      scanned: this.#scanned?.toWords(),
      limits: { ...limits, batches: limits?.batches ?? BATCHES },
    }
    const run = new ThreadRun(settings, this.#sharePercent, this.#token, {
      report: report => this.#receive(run, report),
      failed: failure => {
        this.#run = undefined
        this.#crashed(failure)
      },
    })
    this.#run = run
    this.#lastProgress = 0
    this.#checksWithoutProgress = 0
    if (this.#paused) this.#send({ type: 'pause' })
  }

  #crashed(failure: unknown): void {
    const { log } = this.#options
    const now = Date.now()
    if (now - this.#crashedAtMs > QUIET_MS) this.#restarts = 0
    this.#crashedAtMs = now
    const first = this.#state !== 'offline' && this.#state !== 'failed'
    this.#watched.clear()
    if (++this.#restarts > MOST_RESTARTS) {
      this.#state = 'failed'
      this.#reason = 'changes beside the mount are not followed any more: the observer failed too often'
      log.error(this.#reason, failure)
    } else {
      const delayMs = Math.min(FIRST_RESTART_MS * 2 ** (this.#restarts - 1), MOST_RESTART_MS)
      log.error(`the observer of ${displayPath(this.#options.path)} failed and is started again in ${delayMs / 1000} s`, failure)
      this.#restartTimer = setTimeout(() => this.#restart(), delayMs)
    }
    // Nothing is followed meanwhile; the folder itself is there.
    if (first) this.#options.eventsLost()
  }

  #restart(): void {
    try {
      this.#startRun()
    } catch (error) {
      // No descriptors or threads are to be had now.
      this.#crashed(error)
    }
  }

  #send(command: Command): void {
    this.#run?.send(command)
  }

  // --- reports ---

  #receive(run: ThreadRun, report: Report): void {
    const { reason } = report as { reason: string }
    switch (report.type) {
      case 'batch':
        this.#receiveBatch(run, report)
        break
      case 'online':
        this.#watched.clear()
        this.#state = 'online'
        this.#reason = undefined
        this.#identity = report.identity
        this.#options.online(report.identity, report.filesystem)
        break
      case 'offline':
        this.#goOffline(reason)
        break
      case 'scan-started':
        this.#options.scanStarted(report.scan)
        break
      case 'scan-finished':
        this.#counts = report.counts
        this.#scanned = undefined
        this.#options.scanFinished(report.scan, report.counts)
        break
      case 'events-lost':
        this.#watched.clear()
        this.#options.eventsLost()
        break
      case 'watch-refused':
        this.#options.watchRefused(reason)
        break
      case 'counts':
        this.#counts = report.counts
        break
      case 'stopped':
        break
    }
  }

  #receiveBatch(run: ThreadRun, report: Extract<Report, { type: 'batch' }>): void {
    const reader = new BatchReader(report.bytes ?? run.batches.bytes(report.place, report.lengthBytes))
    this.#noteWatched(reader)
    this.#options.batch({ reader, rows: report.rows, run, place: report.place })
  }

  #goOffline(reason: string): void {
    this.#watched.clear()
    this.#state = 'offline'
    this.#reason = reason
    this.#options.offline(reason)
  }

  #noteWatched(reader: BatchReader): void {
    while (reader.nextSection()) {
      if (reader.kind === SECTION_UNWATCHED) this.#watched.delete(reader.directoryDevice, reader.directoryInoHigh, reader.directoryInoLow)
      else if (reader.isWatched) this.#watched.add(reader.directoryDevice, reader.directoryInoHigh, reader.directoryInoLow)
    }
    reader.rewind()
  }

  /** A thread that neither rests nor gets on hangs in a call to the host's filesystem. */
  #checkProgress(): void {
    const control = this.#run?.control
    if (!control) return
    const { progress } = control
    const isStuck = !control.isResting && progress === this.#lastProgress
    this.#lastProgress = progress
    const wasHanging = this.#checksWithoutProgress >= HANGING_CHECKS
    this.#checksWithoutProgress = isStuck ? this.#checksWithoutProgress + 1 : 0
    if (this.#checksWithoutProgress === HANGING_CHECKS) this.#goOffline('the folder does not answer')
    else if (wasHanging && !isStuck) this.#send({ type: 'check', again: true })
  }
}

/** A path for a person: what isn't UTF-8 is replaced. */
function displayPath(path: Name): string {
  return Buffer.from(path, 'latin1').toString('utf8')
}
