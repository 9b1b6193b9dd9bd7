/**
 * One range of an object on its way from the store, readable while it arrives.
 *
 * Owns: the buffer of the range, how much of it has arrived, who waits for it, and the bringing of finished blocks into the cache.
 * Must stay true: waiters get bytes only once they have arrived, and those of a range that is the whole object only once its
 * checksum fitted; when nobody waits and nobody needs it any more, the transfer ends.
 */
import type { Backend, ObjectInfo } from '../../backends/contract.ts'
import { FsError } from '../../errors.ts'
import type { BlockCache, CachedObject } from '../blocks/block-cache.ts'
import { LARGEST_BLOCK_BYTES } from '../blocks/format.ts'

/** What is fetched. */
export interface RemoteObject {
  readonly key: string
  readonly etag: string
  readonly versionId?: string | undefined
  readonly sizeBytes: number
}

interface Waiter {
  readonly end: number
  readonly resolve: () => void
  readonly reject: (error: unknown) => void
}

export class RangeFetch {
  readonly begin: number
  readonly end: number
  readonly #bytes: Buffer
  readonly #abort = new AbortController()
  #arrived: number
  #kept: number
  #waiters: Waiter[] = []
  #state: 'running' | 'done' | 'failed' = 'running'
  #error: unknown
  /** It was read to its end. */
  #readThrough = false
  /** Whatever was fetched could be put into the cache. */
  #inCache = true
  /** Counted up with each use, by whoever keeps them in order. */
  usedAt = 0

  constructor(begin: number, end: number) {
    this.begin = begin
    this.end = end
    this.#bytes = Buffer.allocUnsafeSlow(end - begin)
    this.#arrived = begin
    this.#kept = begin
  }

  get lengthBytes(): number {
    return this.end - this.begin
  }
  get readThrough(): boolean {
    return this.#readThrough
  }
  get state(): 'running' | 'done' | 'failed' {
    return this.#state
  }
  get waited(): boolean {
    return this.#waiters.length > 0
  }
  /** All of it is in the cache too: forgetting it loses nothing. */
  get inCache(): boolean {
    return this.#state === 'done' && this.#inCache
  }

  /** Bytes up to here may be read. */
  get readable(): number {
    return this.#arrived
  }

  copy(position: number, into: Buffer, at: number, lengthBytes: number): number {
    const end = Math.min(this.#arrived, position + lengthBytes)
    if (position < this.begin || position >= end) return 0
    if (end === this.end) this.#readThrough = true
    return this.#bytes.copy(into, at, position - this.begin, end - this.begin)
  }

  /** Fetches; never rejects, its waiters are told. `cache` undefined: nothing is kept. */
  async run(backend: Backend, remote: RemoteObject, cache: BlockCache | undefined, cached: CachedObject): Promise<void> {
    const whole = this.begin === 0 && this.end === remote.sizeBytes
    for (let attempt = 0; ; attempt++) {
      let filled = 0
      try {
        await backend.get(
          remote.key,
          (chunk, info) => {
            this.#check(info, remote)
            if (filled + chunk.length > this.#bytes.length)
              throw new FsError('io', 'the store sent more bytes than asked for', { operation: 'read' })
            filled += chunk.copy(this.#bytes, filled)
            if (!whole) this.#advance(this.begin + filled, cache, cached)
          },
          {
            range: whole ? undefined : { offset: this.begin, lengthBytes: this.lengthBytes },
            ifMatch: remote.versionId === undefined ? remote.etag : undefined,
            versionId: remote.versionId,
            signal: this.#abort.signal,
          },
        )
        if (filled < this.#bytes.length) throw new FsError('stale', 'the object is shorter than it was', { operation: 'read' })
        this.#advance(this.end, cache, cached)
        this.#state = 'done'
        return
      } catch (error) {
        // Bytes that didn't fit their checksum were given to nobody: once more.
        if (attempt === 0 && whole && error instanceof FsError && error.kind === 'damaged') continue
        this.#state = 'failed'
        this.#error = error
        for (const waiter of this.#waiters.splice(0)) waiter.reject(error)
        return
      }
    }
  }

  /** Answers when bytes up to `end` may be read. */
  wait(end: number, signal: AbortSignal | undefined): Promise<void> {
    const upTo = Math.min(end, this.end)
    if (this.#arrived >= upTo) return Promise.resolve()
    if (this.#state === 'failed') return Promise.reject(this.#error)
    return new Promise((resolve, reject) => {
      const done = () => signal?.removeEventListener('abort', leave)
      const waiter: Waiter = {
        end: upTo,
        resolve: () => {
          done()
          resolve()
        },
        reject: error => {
          done()
          reject(error)
        },
      }
      const leave = () => {
        this.#waiters = this.#waiters.filter(other => other !== waiter)
        reject(new FsError('interrupted', 'interrupted', { operation: 'read' }))
      }
      if (signal?.aborted) return leave()
      signal?.addEventListener('abort', leave, { once: true })
      this.#waiters.push(waiter)
    })
  }

  cancel(): void {
    this.#abort.abort()
  }

  #check(info: ObjectInfo, remote: RemoteObject): void {
    if (info.sizeBytes !== remote.sizeBytes) throw new FsError('stale', 'the object has another size than it had', { operation: 'read' })
  }

  #advance(arrived: number, cache: BlockCache | undefined, cached: CachedObject): void {
    this.#arrived = arrived
    // Whole large blocks as they come, the rest at the end: so the thread is never held up for long.
    const boundary = arrived === this.end ? arrived : Math.floor(arrived / LARGEST_BLOCK_BYTES) * LARGEST_BLOCK_BYTES
    if (boundary > this.#kept) {
      const kept = cache?.put(cached, this.#kept, this.#bytes.subarray(this.#kept - this.begin, boundary - this.begin)) ?? false
      if (!kept) this.#inCache = false
      this.#kept = boundary
    }
    if (this.#waiters.length === 0) return
    const ready = this.#waiters.filter(waiter => waiter.end <= arrived)
    this.#waiters = this.#waiters.filter(waiter => waiter.end > arrived)
    for (const waiter of ready) waiter.resolve()
  }
}
