/**
 * The observer's thread: one loop around poll(2) that never returns to the event loop until it is told to stop.
 *
 * Owns: the order of work. Commands first, then events, then changes that are due, then the scan in short slices, then
 * rounds over what isn't watched; then sleep until a descriptor or a clock says that there is more.
 * Must stay true:
 * - It sleeps with no descriptor of the location's filesystem open, unless a listing waits for room in the outbox.
 * - The thread isn't nice: one that reads events too late loses them, and the remedy is a whole scan. The scan is held back
 *   by its share of the time instead.
 * - Every path through the loop leads back to poll and to the commands within some milliseconds, save while the host's
 *   filesystem itself hangs (the main thread watches for that).
 */
import { type MessagePort, receiveMessageOnPort, workerData } from 'node:worker_threads'
import { type Linux, linux } from '../../../../sys/linux.ts'
import { mayHang } from '../../../../sys/mountinfo.ts'
import { BatchMemory } from './batch-memory.ts'
import { Control, Descriptors } from './control.ts'
import { DirectorySet } from './directory-set.ts'
import { Mounts } from './mounts.ts'
import { Outbox } from './outbox.ts'
import type { Command, Counts, ObserverSettings, ObserverThreadData } from './protocol.ts'
import { type FoundRoot, RootFinder } from './root-finder.ts'
import { judgeRoot, type RootIdentity } from './root-identity.ts'
import { Session, type SessionParts } from './session.ts'
import { Watches } from './watches.ts'

const POLLIN = 1
const POLLERR_AND_POLLPRI = 0x0a
/** How long the scan works before events are read again. */
const SLICE_MS = 8
const ROOT_CHECK_MS = 1_000
/** The root is looked at no more often than this, whatever happens around it. */
const ROOT_CHECK_LEAST_MS = 50
const COUNTS_MS = 250
/** After events were lost, a new scan starts at once, and the next one no sooner than this, doubled each time. */
const RESCAN_MS = 10_000
const RESCAN_MOST_MS = 600_000

class ObserverThread {
  readonly #settings: ObserverSettings
  readonly #port: MessagePort
  readonly #sys: Linux = linux()
  readonly #control: Control
  readonly #parts: SessionParts
  readonly #root: RootFinder
  readonly #wakeFd: number
  readonly #pollEntries = Buffer.alloc(24)
  readonly #wakeBytes = Buffer.alloc(8)
  #session: Session | undefined
  #identity: RootIdentity | undefined
  #found: FoundRoot | undefined
  #offlineReason: string | undefined
  #scanned: DirectorySet | undefined
  #nextScan = 1
  #paused = false
  #stopped = false
  #rootCheckedMs = Number.NEGATIVE_INFINITY
  #rootSuspect = true
  #countsSentMs = 0
  #countsSent = ''
  #refusalTold = false
  /** Events were lost, and the scan that makes up for it hasn't begun. */
  #eventsLost = false
  #lossTold = false
  #rescanAllowedMs = 0
  #rescanRestMs: number
  /** When the scan may go on, so that it takes no more than its share of the time. */
  #scanAfterMs = 0

  constructor(data: ObserverThreadData) {
    const { settings } = data
    this.#settings = settings
    this.#port = data.port
    this.#wakeFd = data.wakeFd
    this.#control = new Control(data.control)
    this.#identity = settings.identity
    this.#scanned = settings.scanned && DirectorySet.fromWords(settings.scanned)
    this.#rescanRestMs = settings.limits.rescanMs ?? RESCAN_MS
    const descriptors = new Descriptors(this.#sys, this.#control)
    const watches = new Watches(this.#sys, descriptors, settings.limits, {
      changed: (directory, name, mask) => this.#session?.changed(directory, name, mask),
      ancestorChanged: () => this.#suspectRoot(),
      overflowed: () => {
        this.#eventsLost = true
      },
    })
    this.#parts = {
      sys: this.#sys,
      control: this.#control,
      descriptors,
      mounts: new Mounts(this.#sys, descriptors, settings.excluded),
      watches,
      outbox: new Outbox(data.port, this.#control, new BatchMemory(data.batches), settings.limits.batches),
      limits: settings.limits,
    }
    this.#root = new RootFinder(this.#sys, descriptors, settings.rootPath)
  }

  run(): void {
    try {
      while (!this.#stopped) this.#turn()
    } finally {
      this.#session?.end()
      this.#parts.descriptors.closeAll()
    }
    this.#parts.outbox.send({ type: 'stopped' })
    this.#port.close()
  }

  #turn(): void {
    this.#control.progressed()
    this.#receiveCommands()
    if (this.#stopped) return
    this.#parts.watches.read()
    this.#checkMounts()
    if (this.#rootCheckDueMs() <= performance.now()) this.#checkRoot()
    const session = this.#session
    if (session) {
      if (this.#eventsLost) this.#rescanLost(session)
      this.#work(session)
    }
    this.#sendCounts()
    this.#parts.outbox.flush()
    this.#sleep()
  }

  // --- commands ---

  #receiveCommands(): void {
    this.#sys.read(this.#wakeFd, this.#wakeBytes)
    for (let received = receiveMessageOnPort(this.#port); received; received = receiveMessageOnPort(this.#port))
      this.#obey(received.message as Command)
  }

  #obey(command: Command): void {
    switch (command.type) {
      case 'pause':
        this.#paused = true
        this.#session?.scanner.interrupt()
        break
      case 'resume':
        this.#paused = false
        break
      case 'rescan':
        if (command.path !== '') this.#session?.rescan(command.path)
        else if (this.#session) this.#startScan(this.#session)
        break
      case 'relist':
        this.#session?.relist(command.path)
        break
      case 'prioritize':
        this.#session?.scanner.prioritize(command.path)
        break
      case 'exclude':
        this.#parts.mounts.setOwn(command.paths)
        break
      case 'check':
        if (command.again) this.#goOffline(undefined)
        this.#suspectRoot()
        break
      case 'stop':
        this.#stopped = true
        break
      case 'fail':
        throw new Error('the observer fails as it was told')
    }
  }

  // --- work ---

  #work(session: Session): void {
    const { outbox, watches } = this.#parts
    const { scanner, changes, rounds, storms } = session
    if (storms.dueMs <= performance.now()) storms.step()
    if (changes.dueMs <= performance.now() && outbox.hasRoom(true)) changes.round(() => watches.read())
    const started = performance.now()
    if (this.#paused || started < this.#scanAfterMs) return
    if (!scanner.step(started + SLICE_MS) && rounds.dueMs <= started && outbox.hasRoom(false)) rounds.step(started + SLICE_MS)
    if (scanner.takeFinished()) this.#parts.outbox.send({ type: 'scan-finished', scan: scanner.scan, counts: session.counts() })
    const share = this.#control.sharePercent
    const ended = performance.now()
    if (share > 0 && share < 100) this.#scanAfterMs = ended + ((ended - started) * (100 - share)) / share
  }

  #startScan(session: Session): void {
    session.scanner.start()
    this.#nextScan = session.scanner.scan + 1
    this.#parts.outbox.send({ type: 'scan-started', scan: session.scanner.scan })
  }

  /** Events were lost: what was told may be wrong, which is said at once, and all is to be looked at again, not too often. */
  #rescanLost(session: Session): void {
    if (!this.#lossTold) this.#parts.outbox.send({ type: 'events-lost' })
    this.#lossTold = true
    const now = performance.now()
    if (now < this.#rescanAllowedMs) return
    this.#eventsLost = false
    this.#lossTold = false
    const leastMs = this.#settings.limits.rescanMs ?? RESCAN_MS
    const isRare = now > this.#rescanAllowedMs + this.#rescanRestMs * 4
    this.#rescanRestMs = isRare ? leastMs : Math.min(this.#rescanRestMs * 2, RESCAN_MOST_MS)
    this.#rescanAllowedMs = now + this.#rescanRestMs
    this.#startScan(session)
  }

  #sendCounts(): void {
    const now = performance.now()
    const { watches, outbox } = this.#parts
    if (!this.#session || now < this.#countsSentMs + COUNTS_MS) return
    if (watches.refusal !== undefined && !this.#refusalTold) {
      this.#refusalTold = true
      outbox.send({ type: 'watch-refused', reason: watches.refusal })
    }
    this.#countsSentMs = now
    const counts = this.#session.counts()
    const summary = summaryOf(counts)
    if (summary === this.#countsSent) return
    this.#countsSent = summary
    outbox.send({ type: 'counts', counts })
  }

  // --- the root and the mount table ---

  #checkMounts(): void {
    const { mounts } = this.#parts
    if (mounts.hasChanged()) {
      mounts.refresh()
      this.#suspectRoot()
    }
    const changed = mounts.takeChanged()
    this.#session?.mountsChanged(changed)
  }

  #suspectRoot(): void {
    this.#rootSuspect = true
  }

  #rootCheckDueMs(): number {
    return this.#rootCheckedMs + (this.#rootSuspect ? ROOT_CHECK_LEAST_MS : (this.#settings.limits.rootCheckMs ?? ROOT_CHECK_MS))
  }

  #checkRoot(): void {
    this.#rootCheckedMs = performance.now()
    this.#rootSuspect = false
    if (this.#parts.mounts.refuses(this.#settings.rootPath)) {
      this.#goOffline('the folder lies inside a mount of this program')
      return
    }
    if (this.#session && this.#found && this.#root.isAt(this.#found.directory)) return
    const found = this.#root.find()
    const verdict = judgeRoot(this.#identity, found)
    if ('offline' in verdict) this.#goOffline(verdict.offline)
    else if (found.kind === 'folder') this.#goOnline(found)
  }

  #goOnline(found: FoundRoot): void {
    const { mounts, watches, outbox } = this.#parts
    this.#endSession()
    this.#found = found
    this.#identity = found.identity
    this.#offlineReason = undefined
    mounts.setRoot(found.path)
    watches.reset()
    watches.watchAncestors(this.#settings.rootPath, false)
    const type = mounts.rootMount?.type ?? 'unknown'
    const hangs = mayHang(type)
    outbox.send({ type: 'online', identity: found.identity, filesystem: { type, mayHang: hangs, device: found.device } })
    this.#session = new Session(this.#parts, {
      rootPath: found.path,
      root: found.directory,
      watchesTellAll: !hangs,
      scan: this.#nextScan,
      scanned: this.#scanned,
      suspectRoot: () => this.#suspectRoot(),
    })
    this.#scanned = undefined
    this.#eventsLost = false
    this.#lossTold = false
    this.#countsSent = ''
    this.#startScan(this.#session)
  }

  /** `reason` undefined: it isn't told, what comes next is. */
  #goOffline(reason: string | undefined): void {
    const { mounts, watches, outbox } = this.#parts
    this.#endSession()
    const isNews = reason !== this.#offlineReason
    this.#offlineReason = reason
    if (isNews) {
      mounts.setRoot(undefined)
      watches.reset()
    }
    if (reason === undefined) return
    // Each time: folders above may have come since. Not through a mount of our own.
    if (!mounts.refuses(this.#settings.rootPath)) watches.watchAncestors(this.#settings.rootPath, true)
    if (isNews) outbox.send({ type: 'offline', reason })
  }

  #endSession(): void {
    this.#session?.end()
    this.#session = undefined
    this.#found = undefined
  }

  // --- sleep ---

  #sleep(): void {
    const { watches, descriptors, outbox } = this.#parts
    const timeoutMs = this.#timeoutMs()
    if (timeoutMs > 0) {
      this.#session?.rest()
      // Said before the last look: an acknowledgement after it is followed by a wake-up.
      this.#control.isHungry = true
      if (this.#wantsRoom() && outbox.hasRoom(false)) {
        this.#control.isHungry = false
        return
      }
      this.#control.isResting = true
    }
    const entries = this.#pollEntries
    const wanted = [this.#wakeFd, watches.descriptor, descriptors.get('mountinfo')]
    wanted.forEach((fd, i) => {
      entries.writeInt32LE(fd, i * 8)
      entries.writeInt32LE(i === 2 ? POLLERR_AND_POLLPRI : POLLIN, i * 8 + 4)
    })
    this.#sys.raw.poll(entries, 3, timeoutMs)
    this.#control.isResting = false
    this.#control.isHungry = false
    // The kernel tells of a changed mount table only once.
    if (entries.readInt16LE(2 * 8 + 6) !== 0) {
      this.#parts.mounts.refresh()
      this.#suspectRoot()
    }
  }

  #wantsRoom(): boolean {
    const { changes, scanner } = this.#session ?? {}
    return changes !== undefined && (!scanner!.isIdle || changes.dueMs <= performance.now())
  }

  #timeoutMs(): number {
    const now = performance.now()
    let until = this.#rootCheckDueMs()
    const session = this.#session
    if (session) {
      const { outbox } = this.#parts
      const { scanner, changes, rounds, storms } = session
      until = Math.min(until, storms.dueMs)
      if (outbox.hasRoom(true)) until = Math.min(until, changes.dueMs)
      if (!this.#paused) {
        let scanDue = Math.min(scanner.nextRetryMs, rounds.dueMs)
        if (!scanner.isIdle) scanDue = 0
        if (outbox.hasRoom(false)) until = Math.min(until, Math.max(scanDue, this.#scanAfterMs))
      }
      if (this.#eventsLost) until = Math.min(until, this.#rescanAllowedMs)
    }
    // What has changed since the last counts is told at the latest when nothing more comes.
    if (session && summaryOf(session.counts()) !== this.#countsSent) until = Math.min(until, this.#countsSentMs + COUNTS_MS)
    return Math.max(0, Math.min(60_000, Math.ceil(until - now)))
  }
}

/** What of the counts is worth telling when it changes: all but the clock's part. */
function summaryOf(counts: Counts): string {
  const { directories, entries, known, watched, scanning, scan, unreadableCount } = counts
  return [directories, entries, known, watched, scanning, scan, unreadableCount].join()
}

new ObserverThread(workerData as ObserverThreadData).run()
