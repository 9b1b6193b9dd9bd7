/**
 * What changed since a directory was read: so that an older listing never undoes a newer change.
 *
 * A listing takes time: the directory is read, later its rows arrive here. What the mount made, removed, renamed or
 * changed in between is newer and must win. So each change has a number of one rising clock, `token` gives the number
 * that "now" has, and while listings are under way the numbers of changed names and nodes are remembered.
 *
 * Owns: the clock and that memory. It doesn't: read or write rows.
 * Must stay true:
 * - The memory is bounded. When it's full it is dropped as a whole and every listing under way turns stale: it has to be
 *   read again (`isStale`). Nothing is ever guessed.
 * - Nothing is remembered while no listing is under way (none asked for a token or used one for `WINDOW_MS`).
 */
import type { Ino, Name } from '../vfs/contract.ts'

const WINDOW_MS = 60_000
const LISTING_LIMIT = 16_384

export class RecentChanges {
  readonly #now: () => number
  readonly #recordLimit: number
  #clock = 0
  /** Changes with a number above this are remembered, all of them; undefined: nothing is. */
  #knownFrom: number | undefined
  #windowEndsMs = 0
  #records = 0
  readonly #names = new Map<Ino, Map<Name, number>>()
  readonly #nodes = new Map<Ino, number>()
  /** Directories that went, or whose number went to another node. */
  readonly #directories = new Map<Ino, number>()
  /** Directory -> token of the newest listing applied; in the order of application. */
  readonly #listings = new Map<Ino, number>()
  /** The newest token among the listings that were forgotten. */
  #listingsFloor = 0

  constructor(now: () => number, recordLimit: number) {
    this.#now = now
    this.#recordLimit = recordLimit
  }

  /** The number of a change that happens now. */
  next(): number {
    return ++this.#clock
  }

  /** A number for "now": what changes from here on is newer than it. */
  token(): number {
    this.#knownFrom ??= this.#clock
    this.#windowEndsMs = this.#now() + WINDOW_MS
    return ++this.#clock
  }

  /** Drops the memory when no listing was heard of for a while. Called now and then. */
  expire(): void {
    if (this.#knownFrom !== undefined && this.#now() > this.#windowEndsMs) this.#forget(undefined)
  }

  nameChanged(parent: Ino, name: Name, change: number): void {
    if (this.#knownFrom === undefined) return
    let names = this.#names.get(parent)
    if (!names) this.#names.set(parent, (names = new Map()))
    names.set(name, change)
    this.#count()
  }

  nodeChanged(ino: Ino, change: number): void {
    if (this.#knownFrom === undefined) return
    this.#nodes.set(ino, change)
    this.#count()
  }

  directoryGone(ino: Ino, change: number): void {
    if (this.#knownFrom === undefined) return
    this.#directories.set(ino, Math.max(change, this.#directories.get(ino) ?? 0))
    this.#count()
  }

  listingApplied(directory: Ino, since: number): void {
    this.#listings.delete(directory)
    this.#listings.set(directory, since)
    if (this.#listings.size <= LISTING_LIMIT) return
    for (const [oldest, token] of this.#listings) {
      if (this.#listings.size <= LISTING_LIMIT / 2) break
      this.#listings.delete(oldest)
      this.#listingsFloor = Math.max(this.#listingsFloor, token)
    }
  }

  /** A listing of `directory` read since then says nothing that can be relied on: it has to be read again. */
  isStale(directory: Ino, since: number): boolean {
    this.#windowEndsMs = this.#now() + WINDOW_MS
    if (this.#knownFrom === undefined || since <= this.#knownFrom) return true
    if ((this.#directories.get(directory) ?? 0) > since) return true
    return since < (this.#listings.get(directory) ?? this.#listingsFloor)
  }

  /** The names of the directory that changed, with the numbers of their changes; undefined where none did. */
  changedNames(directory: Ino): ReadonlyMap<Name, number> | undefined {
    return this.#names.get(directory)
  }

  isNodeNewer(ino: Ino, since: number): boolean {
    return this.#nodes.size > 0 && (this.#nodes.get(ino) ?? 0) > since
  }

  #count(): void {
    // Counts writes, not what is kept: a little early is as good, and cheaper.
    if (++this.#records > this.#recordLimit) this.#forget(this.#clock)
  }

  #forget(knownFrom: number | undefined): void {
    this.#knownFrom = knownFrom
    this.#records = 0
    this.#names.clear()
    this.#nodes.clear()
    this.#directories.clear()
    this.#listings.clear()
    this.#listingsFloor = 0
  }
}
