/**
 * What of one object state is in memory or on its way, shared by all who read it.
 *
 * Owns: the ranges of the object, in order, never overlapping. Must stay true: no byte is fetched twice at the same time; ranges
 * are given up least recently used first, those that the cache holds before those that it couldn't take.
 */
import type { Backend } from '../../backends/contract.ts'
import type { BlockCache, CachedObject } from '../blocks/block-cache.ts'
import { SMALLEST_BLOCK_BYTES } from '../blocks/format.ts'
import type { MemoryBudget } from './memory-budget.ts'
import { RangeFetch, type RemoteObject } from './range-fetch.ts'

/** What readers share. */
export interface ReadingGround {
  readonly backend: Backend
  readonly cache: BlockCache | undefined
  readonly budget: MemoryBudget
  /** Frees memory that isn't in use, of any object: about so many bytes. */
  reclaim(bytes: number): void
  /** A counter that tells what was used last. */
  tick(): number
}

export class ObjectFetches {
  readonly remote: RemoteObject
  readonly cached: CachedObject
  readonly #ground: ReadingGround
  #ranges: RangeFetch[] = []
  /** Open files on it. */
  users = 0

  constructor(ground: ReadingGround, remote: RemoteObject, cached: CachedObject) {
    this.#ground = ground
    this.remote = remote
    this.cached = cached
  }

  get ranges(): readonly RangeFetch[] {
    return this.#ranges
  }

  /** Copies what is at hand from `position` on, without a gap. */
  copy(position: number, into: Buffer, at: number, lengthBytes: number): number {
    let done = 0
    while (done < lengthBytes) {
      const range = this.#at(position + done)
      let count = range?.copy(position + done, into, at + done, lengthBytes - done) ?? 0
      if (range && count > 0) range.usedAt = this.#ground.tick()
      if (count === 0 && !range) count = this.#copyCached(position + done, into, at + done, lengthBytes - done)
      if (count === 0) break
      done += count
    }
    return done
  }

  /** The range on its way that will hold `position`, if there is one. */
  underWay(position: number): RangeFetch | undefined {
    return this.#at(position)
  }

  /**
   * Starts fetching [begin, end), or the part of it up to what is there or under way already. `begin` is missing, and a multiple
   * of the smallest block. False: there is no memory for it now.
   */
  start(begin: number, end: number, mustWait: false): boolean
  start(begin: number, end: number, mustWait: true, signal: AbortSignal | undefined): Promise<void>
  start(begin: number, end: number, mustWait: boolean, signal?: AbortSignal): boolean | Promise<void> {
    const stop = this.#freeUntil(begin, end)
    const bytes = stop - begin
    const { budget } = this.#ground
    // What is fetched ahead leaves a quarter for what somebody waits for.
    const reserve = mustWait ? 0 : budget.limitBytes / 4
    if (!budget.tryTake(bytes, reserve)) {
      this.#ground.reclaim(bytes)
      if (!budget.tryTake(bytes, reserve)) {
        if (!mustWait) return false
        return budget.take(bytes, signal).then(() => this.#run(begin, this.#freeUntil(begin, stop), bytes))
      }
    }
    this.#run(begin, stop, bytes)
    return mustWait ? Promise.resolve() : true
  }

  /** Forgets a range, once. */
  drop(range: RangeFetch): void {
    if (!this.#ranges.includes(range)) return
    this.#ranges = this.#ranges.filter(other => other !== range)
    this.#ground.budget.release(range.lengthBytes)
  }

  /** Ends a transfer that nobody waits for. Whoever wants these bytes from now on starts another. */
  cancel(range: RangeFetch): void {
    if (range.state !== 'running' || range.waited) return
    range.cancel()
    this.drop(range)
  }

  /** Ends what is under way and nobody waits for; forgets all of it when nobody has the object open. */
  settle(): void {
    for (const range of [...this.#ranges]) {
      this.cancel(range)
      if (this.users === 0 && range.state === 'done') this.drop(range)
    }
  }

  #run(begin: number, end: number, takenBytes: number): void {
    this.#ground.budget.release(takenBytes - (end - begin))
    if (end === begin) return
    const range = new RangeFetch(begin, end)
    range.usedAt = this.#ground.tick()
    this.#ranges.push(range)
    this.#ranges.sort((a, b) => a.begin - b.begin)
    void range.run(this.#ground.backend, this.remote, this.#ground.cache, this.cached).then(() => {
      if (range.state === 'failed' || this.users === 0) this.drop(range)
    })
  }

  #at(position: number): RangeFetch | undefined {
    for (const range of this.#ranges) if (position >= range.begin && position < range.end) return range
    return undefined
  }

  #copyCached(position: number, into: Buffer, at: number, lengthBytes: number): number {
    const { cache } = this.#ground
    if (!cache) return 0
    const next = this.#nextBegin(position)
    return cache.read(this.cached, position, into.subarray(at, at + Math.min(lengthBytes, next - position)))
  }

  #nextBegin(position: number): number {
    let next = Number.POSITIVE_INFINITY
    for (const range of this.#ranges) if (range.begin > position && range.begin < next) next = range.begin
    return next
  }

  /** Up to where nothing is under way or in the cache. */
  #freeUntil(begin: number, end: number): number {
    if (this.#at(begin)) return begin
    let stop = Math.min(end, this.#nextBegin(begin))
    const { cache } = this.#ground
    if (!cache) return stop
    for (let at = begin; at < stop; at += SMALLEST_BLOCK_BYTES) {
      if (cache.extent(this.cached, at, at + 1) === at) continue
      stop = at
      break
    }
    return stop
  }
}
