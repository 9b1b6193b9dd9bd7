/**
 * Follows a location's folder: whether it is there, and the observer's messages on their way to the index.
 *
 * Owns: the location's state (online, offline), the observer, and the scan's bookkeeping.
 * Must stay true: the root is accepted only when it is the folder that was added (observer/root-identity.ts): the empty
 * mount point of an unplugged drive is not an empty location. The main thread looks at the root only on filesystems that
 * don't hang; what was offline comes back by the observer's word alone.
 * It doesn't: read directories itself (observer/), apply rows (batch-applier.ts), or answer programs (location.ts).
 */
import { realpathSync } from 'node:fs'
import type { VolumeRecord } from '../../../index/contract.ts'
import { AT_FDCWD } from '../../../sys/linux.ts'
import { isWithin, mayHang, mountOf, readMounts } from '../../../sys/mountinfo.ts'
import type { Name, VolumeStatus } from '../../contract.ts'
import { BatchApplier } from './batch-applier.ts'
import type { Core } from './core.ts'
import type { LocationNode } from './node.ts'
import { Control, Descriptors } from './observer/control.ts'
import { DirectorySet } from './observer/directory-set.ts'
import { Observer } from './observer/observer.ts'
import type { FilesystemFacts } from './observer/protocol.ts'
import { RootFinder } from './observer/root-finder.ts'
import { judgeRoot, type RootIdentity } from './observer/root-identity.ts'
import { reachableMode } from './reachability.ts'

/** How much of a core the scan may use while programs work in the location. */
const BUSY_SHARE_PERCENT = 25
const BUSY_CHECK_MS = 250
/** So many operations in one check: programs work here. */
const BUSY_OPERATIONS = 50
/** Listings carry the token that was published last: an old one would have to be read again. */
const TOKEN_MS = 500
/** Directories of an interrupted scan that are collected in one step, so that the mount is ready at once. */
const RESUME_STEP = 2_000

export interface FollowerOptions {
  readonly core: Core
  readonly record: VolumeRecord
  readonly ownMountpoints: () => readonly Name[]
}

export class Follower {
  readonly #core: Core
  readonly #record: VolumeRecord
  readonly #ownMountpoints: () => readonly Name[]
  readonly #finder: RootFinder
  readonly #applier: BatchApplier
  #observer: Observer | undefined
  #identity: RootIdentity | undefined
  #mayHang = false
  readonly #systemDevice: number
  #fullyWatched = false
  #watchRefusal: string | undefined
  #isScanned = false
  #scan = 0
  #operations = 0
  #timer: NodeJS.Timeout | undefined
  #tokenAtMs = 0
  #closed = false

  constructor(options: FollowerOptions) {
    this.#core = options.core
    this.#record = options.record
    this.#ownMountpoints = options.ownMountpoints
    this.#identity = options.record.settings.identity as RootIdentity | undefined
    const { sys, stat } = options.core
    this.#systemDevice = sys.statxFollow('/', stat) === 0 ? stat.device : 0
    this.#finder = new RootFinder(sys, new Descriptors(sys, new Control()), options.core.path)
    this.#applier = new BatchApplier(options.core, {
      acknowledge: batch => this.#observer?.acknowledge(batch),
      listAgain: path => {
        this.#publishToken()
        this.#observer?.rescan(path)
      },
      listed: directory => {
        if (this.#scan > 0) this.#core.index.markScanned(directory, this.#scan)
      },
    })
    options.core.isWatched = node => this.#isWatched(node)
    options.core.isScanned = () => this.#isScanned
  }

  /** Looks at the root, so that the location answers at once, and starts to follow in the background. */
  start(): void {
    const core = this.#core
    core.offlineReason = 'it was not looked at yet'
    const mount = mountOf(readMounts(), core.path)
    this.#mayHang = mount !== undefined && mayHang(mount.type)
    if (!this.#mayHang) {
      const verdict = this.#judge()
      if ('online' in verdict) this.#cameOnline(verdict.online)
      else core.offlineReason = verdict.offline
    }
    void this.#resume()
  }

  /** All of the location is watched: what is cached of it is told when it changes. */
  get isFullyWatched(): boolean {
    return this.#fullyWatched
  }

  /** It may be unmounted some day: nothing of it is kept open without need. */
  get isRemovable(): boolean {
    return this.#core.nodes.root.device !== this.#systemDevice
  }

  /** Looks whether the folder is still there; when it isn't, the location is offline when this returns. */
  checkRoot(): void {
    if (this.#core.offlineReason !== undefined || this.#closed) return
    const verdict = this.#judge()
    if ('offline' in verdict) this.#goOffline(verdict.offline)
    this.#observer?.check()
  }

  /** Counts an operation of the mount: the scan steps back while there are many. */
  used(): void {
    this.#operations++
  }

  /** The directory is looked at by a program: if it's still to be scanned, it comes first. */
  prioritize(node: LocationNode): void {
    if (this.#scan > 0 && !this.#fullyWatched && !this.#isWatched(node)) this.#observer?.prioritize(node.path())
  }

  rescan(path: Name = ''): void {
    this.#publishToken()
    this.#observer?.rescan(path)
  }

  status(): VolumeStatus {
    const observed = this.#observer?.status()
    const counts = observed?.counts
    const unreadable = counts?.unreadable ?? []
    if (this.#core.offlineReason !== undefined) return { state: 'offline', detail: this.#core.offlineReason, unreadable }
    const detail = observed?.state === 'failed' ? observed.reason : this.#watchRefusal
    const scanning = this.#scan > 0 || this.#applier.isBusy || counts?.scanning === true || observed?.state === 'starting' || !observed
    return {
      state: scanning ? 'scanning' : 'online',
      unreadable,
      ...(detail === undefined ? {} : { detail }),
      ...(counts
        ? {
            scan: {
              directories: counts.directories,
              entries: counts.entries,
              entriesPerSecond: counts.entriesPerSecond,
              startedAtMs: counts.startedAtMs,
            },
          }
        : {}),
    }
  }

  async close(): Promise<void> {
    this.#closed = true
    clearInterval(this.#timer)
    this.#applier.close()
    await this.#observer?.close()
  }

  // --- coming and going ---

  #judge() {
    return judgeRoot(this.#identity, this.#finder.find())
  }

  #cameOnline(identity: RootIdentity): void {
    const core = this.#core
    if (core.sys.statx(AT_FDCWD, core.path, core.stat) < 0) return this.#goOffline('its folder is not there')
    const again = this.#identity !== undefined
    this.#remember(identity)
    core.directories.closeAll()
    core.numbers.clear()
    const statfs = core.sys.statfs(core.path)
    if (typeof statfs === 'number') return this.#goOffline('its filesystem does not answer')
    core.numbers.register(core.stat.device, statfs)
    core.rootModeMask = core.credentials.isRoot ? reachableMode(Buffer.from(core.path, 'latin1')) : 0o7777
    // Following the path's last symlink is what was asked for when the location was added.
    core.sys.statxFollow(core.path, core.stat)
    core.identifyRoot()
    this.#blockMounts()
    core.offlineReason = undefined
    core.index.putNode(core.volume, core.stat.attributes(core.nodes.root.ino))
    if (again) core.distrustAll()
  }

  /**
   * Own mount points and filesystems that may hang, below the location: known before the first request, since asking the
   * host about our own mount would wait for ourselves.
   */
  #blockMounts(): void {
    const core = this.#core
    const root = realpathSync(Buffer.from(core.path, 'latin1'), 'buffer').toString('latin1')
    const foreign = readMounts().filter(mount => mayHang(mount.type))
    const paths = [...this.#ownMountpoints(), ...foreign.map(mount => mount.mountPoint)].filter(
      path => path !== root && isWithin(root, path),
    )
    for (const path of paths) {
      const slash = path.lastIndexOf('/')
      const parentPath = path.slice(0, slash)
      if (paths.some(other => isWithin(other, parentPath))) continue
      if (core.sys.statx(AT_FDCWD, parentPath, core.stat) < 0) continue
      const numbers = core.numbers.of(core.stat.device) ?? core.registerPath(core.stat.device, parentPath.slice(root.length + 1))
      const parent = parentPath === root ? core.nodes.root.ino : numbers && core.numbers.ino(numbers, core.stat)
      if (parent !== undefined) core.foreign.block(parent, path.slice(slash + 1))
    }
  }

  #remember(identity: RootIdentity): void {
    const known = this.#identity
    this.#identity = identity
    if (known?.filesystem === identity.filesystem && known.ino === identity.ino) return
    this.#core.index.updateVolume(this.#record.id, { ...this.#record.settings, identity })
  }

  #goOffline(reason: string): void {
    const core = this.#core
    if (core.offlineReason === undefined) core.log.info(`the location ${JSON.stringify(core.path)} is offline: ${reason}`)
    core.offlineReason = reason
    this.#fullyWatched = false
    this.#isScanned = false
    this.#scan = 0
    this.#applier.drop()
    core.directories.closeAll()
  }

  // --- the observer ---

  /** Collects what an interrupted scan has done, then starts to observe. */
  async #resume(): Promise<void> {
    const { index, volume } = this.#core
    const state = index.scanState(volume)
    let scanned: DirectorySet | undefined
    if (state && !state.finished) {
      scanned = new DirectorySet()
      const device = this.#core.nodes.root.device
      const base = this.#core.numbers.of(device)?.base ?? 0
      let steps = 0
      for (const { ino } of index.directories(volume)) {
        if (ino >= base && ino < base + 2 ** 39 && index.isScanned(ino, state.scan))
          scanned.add(device, Math.floor((ino - base) / 2 ** 32), (ino - base) >>> 0)
        if (++steps % RESUME_STEP === 0) await new Promise(resolve => setImmediate(resolve))
        if (this.#closed) return
      }
    }
    if (this.#closed) return
    const core = this.#core
    this.#observer = new Observer({
      path: core.path,
      identity: this.#identity,
      excluded: this.#ownMountpoints(),
      scanned,
      log: core.log,
      batch: batch => this.#applier.add(batch),
      online: (identity, filesystem) => this.#online(identity, filesystem),
      offline: reason => this.#goOffline(reason),
      scanStarted: () => this.#scanStarted(),
      scanFinished: (_scan, counts) =>
        this.#applier.afterwards(() => this.#scanFinished(counts.watchRefusal, counts.known === counts.watched)),
      eventsLost: () => {
        this.#fullyWatched = false
        core.distrustAll()
      },
      watchRefused: reason => {
        this.#watchRefusal = reason
        core.log.warning(reason)
      },
    })
    this.#publishToken()
    this.#observer.start()
    this.#timer = setInterval(() => this.#tick(), BUSY_CHECK_MS)
    this.#timer.unref()
  }

  #online(identity: RootIdentity, filesystem: FilesystemFacts): void {
    this.#mayHang = filesystem.mayHang
    const wasOffline = this.#core.offlineReason !== undefined
    if (wasOffline || identity.ino !== this.#identity?.ino || identity.filesystem !== this.#identity.filesystem) this.#cameOnline(identity)
    if (wasOffline) this.#core.log.info(`the location ${JSON.stringify(this.#core.path)} is online`)
  }

  #scanStarted(): void {
    const { index, volume } = this.#core
    const last = index.scanState(volume)
    this.#scan = last && !last.finished ? last.scan : (last?.scan ?? 0) + 1
    index.setScanState(volume, { scan: this.#scan, startedAtMs: Date.now(), finished: false })
    this.#publishToken()
  }

  #scanFinished(watchRefusal: string | undefined, allWatched: boolean): void {
    const { index, volume } = this.#core
    if (this.#scan === 0) return
    index.setScanState(volume, { scan: this.#scan, startedAtMs: index.scanState(volume)?.startedAtMs ?? 0, finished: true })
    this.#scan = 0
    this.#isScanned = true
    this.#watchRefusal = watchRefusal
    this.#fullyWatched = allWatched && watchRefusal === undefined && !this.#mayHang && this.#core.offlineReason === undefined
  }

  #isWatched(node: LocationNode): boolean {
    return this.#observer?.isWatched(node.device, node.inoHigh, node.inoLow) ?? false
  }

  #tick(): void {
    if (this.#scan > 0) {
      this.#observer?.setShare(this.#operations > BUSY_OPERATIONS ? BUSY_SHARE_PERCENT : 100)
      if (Date.now() - this.#tokenAtMs > TOKEN_MS) this.#publishToken()
    }
    this.#operations = 0
  }

  #publishToken(): void {
    this.#tokenAtMs = Date.now()
    this.#observer?.publishToken(this.#core.index.scanToken())
  }
}
