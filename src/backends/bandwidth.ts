/**
 * A token bucket: so many bytes a second on average, a little at once; or any number.
 * Owns: the account, which several stores may share. Must stay true: over any longer time no more than the rate is let through;
 * a waiter can be aborted; a new rate holds for what comes after it.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { interrupted } from './errors.ts'

/** What may be used at once after a pause. */
const BURST_SECONDS = 0.25

export class Bandwidth {
  #bytesPerSecond: number | undefined
  readonly #now: () => number
  /** May be negative: what was let through is paid for by those who come next. */
  #tokens: number
  #countedMs: number

  /** `bytesPerSecond` undefined: without limit. */
  constructor(bytesPerSecond: number | undefined, now: () => number = () => performance.now()) {
    this.#bytesPerSecond = bytesPerSecond
    this.#now = now
    this.#tokens = (bytesPerSecond ?? 0) * BURST_SECONDS
    this.#countedMs = now()
  }

  get bytesPerSecond(): number | undefined {
    return this.#bytesPerSecond
  }

  setRate(bytesPerSecond: number | undefined): void {
    if (bytesPerSecond === this.#bytesPerSecond) return
    this.#bytesPerSecond = bytesPerSecond
    this.#tokens = (bytesPerSecond ?? 0) * BURST_SECONDS
    this.#countedMs = this.#now()
  }

  /** Takes `bytes` out; answers a promise when they have to wait. */
  take(bytes: number, signal: AbortSignal | undefined): void | Promise<void> {
    const rate = this.#bytesPerSecond
    if (rate === undefined) return
    const nowMs = this.#now()
    this.#tokens = Math.min(rate * BURST_SECONDS, this.#tokens + ((nowMs - this.#countedMs) / 1000) * rate)
    this.#countedMs = nowMs
    this.#tokens -= bytes
    if (this.#tokens >= 0) return
    return this.#wait((-this.#tokens / rate) * 1000, signal)
  }

  async #wait(delayMs: number, signal: AbortSignal | undefined): Promise<void> {
    try {
      await sleep(delayMs, undefined, signal ? { signal } : {})
    } catch {
      throw interrupted('wait')
    }
  }
}
