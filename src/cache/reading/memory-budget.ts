/**
 * How many bytes may be held in memory at once, shared by all readers.
 * Owns: the account and the queue for it. Must stay true: never above the limit; who waits gets in turn; an aborted waiter leaves.
 */
import { FsError } from '../../errors.ts'

interface Waiter {
  readonly bytes: number
  readonly enter: () => void
}

export class MemoryBudget {
  readonly limitBytes: number
  #usedBytes = 0
  #queue: Waiter[] = []
  readonly #givers = new Set<(bytes: number) => void>()

  constructor(limitBytes: number) {
    this.limitBytes = limitBytes
  }

  get usedBytes(): number {
    return this.#usedBytes
  }
  get waiting(): number {
    return this.#queue.length
  }

  /** Registers somebody who holds what could be given up: asked by `reclaim`. Answers a function that takes it out again. */
  addGiver(giveUp: (bytes: number) => void): () => void {
    this.#givers.add(giveUp)
    return () => this.#givers.delete(giveUp)
  }

  /** Has all who hold what isn't in use give up about so many bytes. */
  reclaim(bytes: number): void {
    const goalBytes = Math.max(0, this.#usedBytes - bytes)
    for (const giveUp of this.#givers) {
      if (this.#usedBytes <= goalBytes) return
      giveUp(this.#usedBytes - goalBytes)
    }
  }

  /** Takes them if they are free and nobody waits; leaves `reserveBytes` for others. */
  tryTake(bytes: number, reserveBytes = 0): boolean {
    if (this.#queue.length > 0 || this.#usedBytes + bytes > this.limitBytes - reserveBytes) return false
    this.#usedBytes += bytes
    return true
  }

  /** Waits for them. More than the whole budget is never given: that is a bug. */
  take(bytes: number, signal: AbortSignal | undefined): Promise<void> {
    if (bytes > this.limitBytes) throw new Error('more bytes than the whole budget')
    if (this.tryTake(bytes)) return Promise.resolve()
    return new Promise((resolve, reject) => {
      const leave = () => {
        this.#queue = this.#queue.filter(other => other !== waiter)
        reject(new FsError('interrupted', 'interrupted', { operation: 'read' }))
      }
      const waiter: Waiter = {
        bytes,
        enter: () => {
          signal?.removeEventListener('abort', leave)
          resolve()
        },
      }
      if (signal?.aborted) return leave()
      signal?.addEventListener('abort', leave, { once: true })
      this.#queue.push(waiter)
    })
  }

  release(bytes: number): void {
    this.#usedBytes -= bytes
    while (this.#queue.length > 0 && this.#usedBytes + this.#queue[0]!.bytes <= this.limitBytes) {
      const next = this.#queue.shift()!
      this.#usedBytes += next.bytes
      next.enter()
    }
  }
}
