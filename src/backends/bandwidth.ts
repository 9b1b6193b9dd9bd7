/**
 * A token bucket: so many bytes a second on average, a little at once.
 * Owns: the account. Must stay true: over any longer time no more than the rate is let through; a waiter can be aborted.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { interrupted } from './errors.ts'

/** What may be used at once after a pause. */
const BURST_SECONDS = 0.25

export class Bandwidth {
  readonly #bytesPerSecond: number
  readonly #now: () => number
  /** May be negative: what was let through is paid for by those who come next. */
  #tokens: number
  #countedMs: number

  constructor(bytesPerSecond: number, now: () => number = () => performance.now()) {
    this.#bytesPerSecond = bytesPerSecond
    this.#now = now
    this.#tokens = bytesPerSecond * BURST_SECONDS
    this.#countedMs = now()
  }

  /** Takes `bytes` out; answers a promise when they have to wait. */
  take(bytes: number, signal: AbortSignal | undefined): void | Promise<void> {
    const nowMs = this.#now()
    this.#tokens = Math.min(this.#bytesPerSecond * BURST_SECONDS, this.#tokens + ((nowMs - this.#countedMs) / 1000) * this.#bytesPerSecond)
    this.#countedMs = nowMs
    this.#tokens -= bytes
    if (this.#tokens >= 0) return
    return this.#wait((-this.#tokens / this.#bytesPerSecond) * 1000, signal)
  }

  async #wait(delayMs: number, signal: AbortSignal | undefined): Promise<void> {
    try {
      await sleep(delayMs, undefined, signal ? { signal } : {})
    } catch {
      throw interrupted('wait')
    }
  }
}
