/**
 * Which directory is listed next: the scan of the location, and single listings outside of it.
 *
 * Owns: the queues, the scan's number and counts, and the retries of directories that were not where they should be.
 * Must stay true:
 * - A directory is due when this scan hasn't listed it, or when it is marked for it. Queues may name a directory twice or
 *   name one that is gone: what isn't due is skipped when its turn comes.
 * - A scan has ended when nothing is queued and no retry waits.
 */
import { getSystemErrorMessage } from 'node:util'
import type { Name } from '../../../contract.ts'
import { MARK_LAST, MARK_RELIST, MARK_UNTOLD, type SessionContext } from './context.ts'
import type { DirectorySet } from './directory-set.ts'
import { type DirectoryNumber, NONE, ROOT } from './directory-table.ts'
import { DIRECTORY_PATH_ONLY, EXDEV, isMissing } from './host-tree.ts'
import { Listing } from './listing.ts'
import { identityOf, toldName } from './placement.ts'

const EMFILE = 24
const ENFILE = 23
const RETRY_MS = 50
/** After so many retries the parent is listed again, and after as many more the directory counts as unreadable. */
const RETRIES = 4
/** Directories that were asked for and wait. */
const ASKED_LIMIT = 1_000

export interface ScannerEvents {
  /** A listing ended: names that changed meanwhile are to be told again. */
  listed(directory: DirectoryNumber): void
  /** The disk answered with an error that suggests that it is away. */
  suspect(): void
}

export class Scanner {
  readonly listing: Listing
  readonly #context: SessionContext
  readonly #events: ScannerEvents
  /** Already scanned by an earlier run of the same scan. */
  #scanned: DirectorySet | undefined
  #scan: number
  #scanning = false
  #startedAtMs = 0
  #finishedAtMs = 0
  #directories = 0
  #entries = 0
  /** New directories and those that were asked for: last in, first out. */
  #urgent: DirectoryNumber[] = []
  #queue: DirectoryNumber[] = []
  #last: DirectoryNumber[] = []
  #retries: { readonly directory: DirectoryNumber; readonly atMs: number }[] = []
  readonly #tries = new Map<DirectoryNumber, number>()
  /** What is being listed now is to be listed once more: part of it was read too early. */
  #listAgain = false

  constructor(context: SessionContext, firstScan: number, scanned: DirectorySet | undefined, events: ScannerEvents) {
    this.#context = context
    this.#scan = firstScan - 1
    this.#scanned = scanned
    this.#events = events
    this.listing = new Listing(context, { foundDirectory: directory => this.#found(directory) })
  }

  get scan(): number {
    return this.#scan
  }
  get isScanning(): boolean {
    return this.#scanning
  }
  get startedAtMs(): number {
    return this.#startedAtMs
  }
  get directories(): number {
    return this.#directories
  }
  get entries(): number {
    return this.#entries
  }
  get elapsedMs(): number {
    return (this.#scanning ? Date.now() : this.#finishedAtMs) - this.#startedAtMs
  }
  /** Whether nothing is to be done now; retries wait for their time. */
  get isIdle(): boolean {
    return this.listing.directory === NONE && this.#urgent.length === 0 && this.#queue.length === 0 && this.#last.length === 0
  }
  /** When the next retry is due (by performance.now), Infinity when there is none. */
  get nextRetryMs(): number {
    return this.#retries[0]?.atMs ?? Number.POSITIVE_INFINITY
  }

  /** Begins a scan of everything. */
  start(): void {
    this.interrupt()
    this.#scan++
    this.#scanning = true
    this.#startedAtMs = Date.now()
    this.#directories = 0
    this.#entries = 0
    this.#queue = [ROOT]
    this.#last = []
  }

  /** To be called when idle: whether a scan has just ended. */
  takeFinished(): boolean {
    if (!this.#scanning || !this.isIdle || this.#retries.length > 0) return false
    this.#scanning = false
    this.#finishedAtMs = Date.now()
    this.#scanned = undefined
    return true
  }

  /** Lists a directory soon, whatever the scan has done. */
  relist(directory: DirectoryNumber): void {
    if (directory === this.listing.directory) this.#listAgain = true
    if (this.#context.table.hasMark(directory, MARK_RELIST)) return
    this.#context.table.setMark(directory, MARK_RELIST, true)
    this.#urgent.push(directory)
  }

  /** A directory that appeared. */
  add(directory: DirectoryNumber): void {
    this.#urgent.push(directory)
  }

  /** Gives up the listing that is under way, and closes its descriptor; the directory's turn comes again. */
  interrupt(): void {
    const { directory } = this.listing
    if (directory === NONE) return
    this.listing.abandon()
    // It may have the mark already, but its turn in the queue is over.
    this.#context.table.setMark(directory, MARK_RELIST, true)
    this.#urgent.push(directory)
  }

  /** Lists a directory and all below it again, also what has just been listed of it. */
  rescanBelow(directory: DirectoryNumber): void {
    this.interrupt()
    this.forgotten(directory)
  }

  /** What was told of a directory and all below it is to be told again; what is being listed isn't among it. */
  forgotten(directory: DirectoryNumber): void {
    const { table } = this.#context
    const waiting = [directory]
    for (let at = waiting.pop(); at !== undefined; at = waiting.pop()) {
      table.setScan(at, 0)
      for (let child = table.firstChild(at); child !== NONE; child = table.nextSibling(child)) waiting.push(child)
    }
    this.#urgent.push(directory)
  }

  /** A directory was asked for: it comes first. Its way down is added to the table when the scan hasn't got there yet. */
  prioritize(path: Name): void {
    const { table, tree, mounts } = this.#context
    if (mounts.isExcluded(path)) return
    let { directory, rest } = table.find(path)
    for (const name of rest) {
      const directoryPath = table.path(directory)
      const fd = tree.open(directory, directoryPath, 'child', DIRECTORY_PATH_ONLY)
      const child = fd < 0 ? fd : tree.openBelow(fd, directoryPath, name, 'child', DIRECTORY_PATH_ONLY)
      if (child < 0 || tree.statDescriptor(child) < 0) {
        this.#context.descriptors.close('child')
        return
      }
      directory = table.add(directory, name, identityOf(tree.stat))
      table.setMark(directory, MARK_UNTOLD, true)
      // While the parent is being listed the listing must know that the entry is no remainder of an earlier one.
      table.setSeen(directory, this.listing.number)
      this.#context.descriptors.close('child')
    }
    if (this.#isDue(directory) && this.#urgent.length < ASKED_LIMIT) this.#urgent.push(directory)
  }

  /** An entry goes from the table. */
  forget(directory: DirectoryNumber): void {
    if (this.listing.directory === directory) this.listing.abandon()
    this.#tries.delete(directory)
    this.#context.unreadable.remove(this.#context.table, directory)
  }

  /** Lists until the deadline or until the outbox is full. Answers false when there was nothing to do. */
  step(deadline: number): boolean {
    const { outbox } = this.#context
    this.#takeRetries()
    if (this.isIdle) return false
    while (outbox.hasRoom(false)) {
      if (this.listing.directory === NONE && !this.#next()) break
      if (this.listing.directory !== NONE) {
        const result = this.listing.step(deadline)
        if (result === 'more') this.listing.endPage(0)
        else this.#finish(result === 'done' ? 0 : result)
      }
      this.#context.control.progressed()
      if (performance.now() >= deadline) break
    }
    return true
  }

  #isDue(directory: DirectoryNumber): boolean {
    const { table } = this.#context
    return table.isLive(directory) && (table.scan(directory) !== this.#scan || table.hasMark(directory, MARK_RELIST))
  }

  /** Begins the next listing. Answers false when no queue has one. */
  #next(): boolean {
    for (const queue of [this.#urgent, this.#queue, this.#last]) {
      for (let directory = queue.pop(); directory !== undefined; directory = queue.pop()) {
        if (!this.#isDue(directory)) continue
        this.#open(directory, this.#comesLast(directory, queue === this.#queue))
        return true
      }
    }
    return false
  }

  /** What an earlier run has dealt with is only walked through at first, and listed when all else is done. */
  #comesLast(directory: DirectoryNumber, isScan: boolean): boolean {
    const { table } = this.#context
    if (!isScan || !this.#scanned || table.hasMark(directory, MARK_LAST)) return false
    const { deviceMajor, deviceMinor, inoHigh, inoLow } = table.identity(directory)
    return this.#scanned.has(deviceMajor * 2 ** 20 + deviceMinor, inoHigh, inoLow)
  }

  #open(directory: DirectoryNumber, descendOnly: boolean): void {
    this.#listAgain = false
    const opened = this.listing.open(directory, descendOnly)
    if ('errno' in opened) this.#failed(directory, opened.errno)
  }

  #finish(errno: number): void {
    const { table, unreadable } = this.#context
    const { listing } = this
    const { directory, number, descendOnly } = listing
    if (errno === 0) {
      for (let child = table.firstChild(directory); child !== NONE; ) {
        const next = table.nextSibling(child)
        if (table.seen(child) !== number && !descendOnly) table.remove(child)
        child = next
      }
    }
    if (errno !== 0) this.#events.suspect()
    const denied = errno || listing.denied
    listing.finish(errno === 0)
    this.#tries.delete(directory)
    if (descendOnly) {
      table.setMark(directory, MARK_LAST, true)
      this.#last.push(directory)
      return
    }
    this.#count(directory, listing.entries)
    if (denied) unreadable.add(table, directory, table.path(directory), getSystemErrorMessage(-denied))
    else unreadable.remove(table, directory)
    this.#events.listed(directory)
    if (this.#listAgain) this.relist(directory)
  }

  #count(directory: DirectoryNumber, entries: number): void {
    const { table } = this.#context
    table.setScan(directory, this.#scan)
    table.setMark(directory, MARK_RELIST | MARK_LAST, false)
    if (!this.#scanning) return
    this.#directories++
    this.#entries += entries
  }

  #found(directory: DirectoryNumber): void {
    if (toldName(this.#context, directory)) this.forgotten(directory)
    else if (this.#isDue(directory)) this.#queue.push(directory)
  }

  #failed(directory: DirectoryNumber, errno: number): void {
    const { table, unreadable, outbox, control } = this.#context
    if (!table.isLive(directory)) return
    const tries = this.#tries.get(directory) ?? 0
    if ((isMissing(errno) && tries < RETRIES * 2) || errno === EMFILE || errno === ENFILE) {
      this.#tries.set(directory, tries + 1)
      this.#retries.push({ directory, atMs: performance.now() + RETRY_MS })
      if (isMissing(errno) && tries % RETRIES === RETRIES - 1 && directory !== ROOT) this.relist(table.parent(directory))
      if (directory === ROOT) this.#events.suspect()
      return
    }
    this.#tries.delete(directory)
    if (errno === EXDEV && directory !== ROOT) {
      table.remove(directory)
      return
    }
    this.#events.suspect()
    this.#count(directory, 0)
    unreadable.add(table, directory, table.path(directory), getSystemErrorMessage(-errno))
    outbox.addEmptyListing(table.identity(directory), table.path(directory), control.token, 0)
  }

  #takeRetries(): void {
    const now = performance.now()
    while (this.#retries.length > 0 && this.#retries[0]!.atMs <= now) this.#urgent.push(this.#retries.shift()!.directory)
  }
}
