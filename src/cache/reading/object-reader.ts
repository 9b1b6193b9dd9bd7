/**
 * Reading of cloud objects: from memory, from the block cache, or from the store.
 *
 * Owns: the objects that are open, their read-ahead, and the memory that all of it may take.
 * Must stay true: what is at hand is answered at once; what isn't is fetched in as few and as small ranges as the read-ahead
 * policy says; an aborted read ends at once; bytes always are of the one state that was opened ('stale' when the store has another
 * one by now).
 * It doesn't: know names, attributes, or what to do about a stale object.
 */
import type { Backend } from '../../backends/contract.ts'
import { FsError } from '../../errors.ts'
import { type BlockCache, CachedObject } from '../blocks/block-cache.ts'
import { SMALLEST_BLOCK_BYTES } from '../blocks/format.ts'
import { MemoryBudget } from './memory-budget.ts'
import { ObjectFetches, type ReadingGround } from './object-fetches.ts'
import type { RangeFetch, RemoteObject } from './range-fetch.ts'
import { DEFAULT_READ_AHEAD, ReadAhead, type ReadAheadSettings } from './read-ahead.ts'

export type { RemoteObject } from './range-fetch.ts'

export interface ReadingOptions {
  readonly backend: Backend
  /** The volume's number: part of what names a block. */
  readonly volume: number | string
  /** Undefined: nothing is kept on disk. */
  readonly cache?: BlockCache | undefined
  /** Shared with other volumes; without it there is one for this one, of `memoryBytes`. */
  readonly memory?: MemoryBudget
  readonly memoryBytes?: number
  readonly readAhead?: ReadAheadSettings
}

const DEFAULT_MEMORY_BYTES = 96 * 2 ** 20
/** What is brought in as a whole comes in ranges of this size, so many at once. */
const WARM_RANGE_BYTES = 4 * 2 ** 20
const WARM_RANGES_AT_ONCE = 4

/** All reading from one store. */
export class ObjectReading {
  readonly #volume: number | string
  readonly #cache: BlockCache | undefined
  readonly #readAhead: ReadAheadSettings
  readonly #ground: ReadingGround
  readonly #open = new Map<string, ObjectFetches>()
  readonly #leaveBudget: () => void
  #ticks = 0

  constructor(options: ReadingOptions) {
    this.#volume = options.volume
    this.#cache = options.cache
    this.#readAhead = options.readAhead ?? DEFAULT_READ_AHEAD
    const budget = options.memory ?? new MemoryBudget(options.memoryBytes ?? DEFAULT_MEMORY_BYTES)
    this.#leaveBudget = budget.addGiver(bytes => this.#reclaim(bytes))
    this.#ground = {
      backend: options.backend,
      cache: options.cache,
      budget,
      reclaim: bytes => budget.reclaim(bytes),
      tick: () => ++this.#ticks,
    }
  }

  /** For one open file. `close` it. */
  open(remote: RemoteObject): ObjectReader {
    const fetches = this.#fetches(remote)
    fetches.users++
    return new ObjectReader(this.#ground, fetches, new ReadAhead(remote.sizeBytes, this.#readAhead), () => this.#closed(fetches))
  }

  /**
   * Brings an object (or the first `endBytes` of it) into the cache. Answers how many bytes are there afterwards: less than asked
   * for when the cache has no room.
   */
  async warm(remote: RemoteObject, options: { readonly signal?: AbortSignal; readonly endBytes?: number } = {}): Promise<number> {
    const cache = this.#cache
    if (!cache) return 0
    await cache.whenReady()
    const fetches = this.#fetches(remote)
    fetches.users++
    try {
      const end = Math.min(options.endBytes ?? remote.sizeBytes, remote.sizeBytes)
      let next = 0
      const worker = async () => {
        while (next < end) {
          const begin = next
          next = Math.min(end, begin + WARM_RANGE_BYTES)
          await this.#warmRange(fetches, begin, next, options.signal)
        }
      }
      await Promise.all(Array.from({ length: WARM_RANGES_AT_ONCE }, worker))
      return cache.extent(fetches.cached, 0, end)
    } finally {
      this.#closed(fetches)
    }
  }

  /** No reader is open any more: the shared budget forgets this one. */
  close(): void {
    this.#leaveBudget()
  }

  /** Memory in use, for status and tests. */
  get memory(): { readonly usedBytes: number; readonly limitBytes: number; readonly objects: number } {
    return { usedBytes: this.#ground.budget.usedBytes, limitBytes: this.#ground.budget.limitBytes, objects: this.#open.size }
  }

  async #warmRange(fetches: ObjectFetches, begin: number, end: number, signal: AbortSignal | undefined): Promise<void> {
    for (let at = begin; at < end; ) {
      at = this.#cache!.extent(fetches.cached, at, end)
      if (at >= end) return
      const range = fetches.underWay(at)
      if (!range) await fetches.start(at, end, true, signal)
      const running = fetches.underWay(at)
      if (!running) continue
      await running.wait(end, signal)
      at = running.end
      if (running.state === 'done' && !running.waited) fetches.drop(running)
    }
  }

  #fetches(remote: RemoteObject): ObjectFetches {
    const version = remote.versionId ?? remote.etag
    const name = `${version}\0${remote.key}`
    let fetches = this.#open.get(name)
    if (!fetches) {
      const state = { volume: this.#volume, key: remote.key, version, sizeBytes: remote.sizeBytes }
      fetches = new ObjectFetches(this.#ground, remote, cachedObject(this.#cache, state))
      this.#open.set(name, fetches)
    }
    return fetches
  }

  #closed(fetches: ObjectFetches): void {
    fetches.users--
    fetches.settle()
    if (fetches.users === 0) this.#open.delete(`${fetches.remote.versionId ?? fetches.remote.etag}\0${fetches.remote.key}`)
  }

  /** Forgets ranges that nobody waits for, longest unused first; those in the cache before the others. */
  #reclaim(bytes: number): void {
    const candidates: { readonly fetches: ObjectFetches; readonly range: RangeFetch }[] = []
    for (const fetches of this.#open.values())
      for (const range of fetches.ranges) if (range.state === 'done' && !range.waited) candidates.push({ fetches, range })
    candidates.sort((a, b) => rank(a.range) - rank(b.range) || a.range.usedAt - b.range.usedAt)
    let freed = 0
    for (const { fetches, range } of candidates) {
      if (freed >= bytes) return
      fetches.drop(range)
      freed += range.lengthBytes
    }
  }
}

/** What is given up first: what the cache has and what was read, last what was fetched ahead and is nowhere else. */
function rank(range: RangeFetch): number {
  return (range.inCache ? 0 : 2) + (range.readThrough ? 0 : 1)
}

function cachedObject(cache: BlockCache | undefined, state: { volume: number | string; key: string; version: string; sizeBytes: number }) {
  return cache ? cache.object(state) : new CachedObject(Buffer.alloc(16), state.sizeBytes)
}

/** One open file. */
export class ObjectReader {
  readonly #ground: ReadingGround
  readonly #fetches: ObjectFetches
  readonly #readAhead: ReadAhead
  readonly #onClose: () => void
  #closed = false

  constructor(ground: ReadingGround, fetches: ObjectFetches, readAhead: ReadAhead, onClose: () => void) {
    this.#ground = ground
    this.#fetches = fetches
    this.#readAhead = readAhead
    this.#onClose = onClose
  }

  get sizeBytes(): number {
    return this.#fetches.remote.sizeBytes
  }

  /** As the contract of files says: the count at once, or a promise of the bytes, less than asked for only at the end. */
  read(position: number, into: Buffer, signal: () => AbortSignal | undefined): number | Promise<Buffer> {
    const wanted = Math.max(0, Math.min(into.length, this.sizeBytes - position))
    if (wanted === 0) return 0
    const advice = this.#readAhead.advise(position, wanted)
    const count = this.#fetches.copy(position, into, 0, wanted)
    if (count === wanted) {
      if (advice.aheadEnd > advice.demandEnd) this.#fetchAhead(position + wanted, advice.aheadEnd, advice.rangeBytes)
      return count
    }
    const bytes = Buffer.allocUnsafe(wanted)
    into.copy(bytes, 0, 0, count)
    return this.#readRest(position, bytes, count, advice, signal())
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#onClose()
  }

  async #readRest(
    position: number,
    bytes: Buffer,
    have: number,
    advice: ReturnType<ReadAhead['advise']>,
    signal: AbortSignal | undefined,
  ): Promise<Buffer> {
    let done = have
    // The cache may still be finding out what it holds: that comes before any network.
    if (this.#ground.cache && !this.#ground.cache.ready) await abortable(this.#ground.cache.whenReady(), signal)
    while (done < bytes.length) {
      if (signal?.aborted) throw new FsError('interrupted', 'interrupted', { operation: 'read' })
      const count = this.#fetches.copy(position + done, bytes, done, bytes.length - done)
      if (count > 0) {
        done += count
        continue
      }
      await this.#fetch(position + done, position + bytes.length, advice, signal)
    }
    return bytes
  }

  /** Has `at` fetched, and what else was advised, and waits for the part of it that is asked for. */
  async #fetch(at: number, end: number, advice: ReturnType<ReadAhead['advise']>, signal: AbortSignal | undefined): Promise<void> {
    const begin = Math.floor(at / SMALLEST_BLOCK_BYTES) * SMALLEST_BLOCK_BYTES
    if (!this.#fetches.underWay(at)) {
      const boundary = Math.floor(begin / advice.rangeBytes + 1) * advice.rangeBytes
      await this.#fetches.start(begin, Math.min(advice.demandEnd, Math.max(boundary, begin + SMALLEST_BLOCK_BYTES)), true, signal)
    }
    const range = this.#fetches.underWay(at)
    // It came into the cache meanwhile, or failed: the next turn tells.
    if (!range) return
    if (advice.aheadEnd > range.end) this.#fetchAhead(range.end, advice.aheadEnd, advice.rangeBytes)
    try {
      await range.wait(end, signal)
    } catch (error) {
      if (signal?.aborted) this.#fetches.cancel(range)
      throw error
    }
  }

  /** Starts what is missing up to `end`, in ranges, as far as memory goes. */
  #fetchAhead(from: number, end: number, rangeBytes: number): void {
    let at = Math.floor(from / SMALLEST_BLOCK_BYTES) * SMALLEST_BLOCK_BYTES
    while (at < end) {
      const range = this.#fetches.underWay(at)
      if (range) {
        at = range.end
        continue
      }
      const there = this.#ground.cache?.extent(this.#fetches.cached, at, end) ?? at
      if (there > at) {
        at = Math.ceil(there / SMALLEST_BLOCK_BYTES) * SMALLEST_BLOCK_BYTES
        continue
      }
      const boundary = Math.floor(at / rangeBytes + 1) * rangeBytes
      const stop = Math.min(end, boundary)
      if (!this.#fetches.start(at, stop, false)) return
      at = stop
    }
  }
}

async function abortable(work: Promise<void>, signal: AbortSignal | undefined): Promise<void> {
  if (!signal) return work
  let leave = () => {}
  const aborted = new Promise<never>((_, reject) => {
    leave = () => reject(new FsError('interrupted', 'interrupted', { operation: 'read' }))
    if (signal.aborted) leave()
    else signal.addEventListener('abort', leave, { once: true })
  })
  try {
    await Promise.race([work, aborted])
  } finally {
    signal.removeEventListener('abort', leave)
  }
}
