/**
 * Collecting in the background, now and then, when it is worth it; and that upkeep is done by one at a time.
 *
 * Owns: the clock and the queue of upkeep. Must stay true: nothing of it runs after `close` returned.
 */
import type { Log } from '../../../../log.ts'
import type { VaultParts } from '../parts.ts'
import { collect, deadBytes } from './collector.ts'

const LOOK_EVERY_MS = 5 * 60_000
const WORTH_BYTES = 64 * 2 ** 20
/** Of what is stored, dead. */
const WORTH_SHARE = 0.2

export class Caretaker {
  readonly #parts: VaultParts
  readonly #log: Log
  readonly #ending = new AbortController()
  readonly #timer: NodeJS.Timeout
  #running: Promise<unknown> = Promise.resolve()

  constructor(parts: VaultParts, log: Log) {
    this.#parts = parts
    this.#log = log
    this.#timer = setInterval(() => this.#look(), LOOK_EVERY_MS).unref()
  }

  /** Runs after what is under way; the signal says that the vault is being closed. */
  alone<T>(work: (ending: AbortSignal) => Promise<T>): Promise<T> {
    const result = this.#running.then(() => {
      this.#ending.signal.throwIfAborted()
      return work(this.#ending.signal)
    })
    this.#running = result.catch(() => {})
    return result
  }

  async close(): Promise<void> {
    clearInterval(this.#timer)
    this.#ending.abort()
    await this.#running
  }

  #look(): void {
    if (this.#parts.readOnly || this.#parts.commits.failure) return
    const { dead, stored } = deadBytes(this.#parts)
    if (dead < WORTH_BYTES || dead < stored * WORTH_SHARE) return
    this.alone(ending => collect(this.#parts, ending, () => {})).then(
      ({ freedBytes }) => this.#log.info(`vault: ${freedBytes} bytes were freed`),
      error => {
        if (!this.#ending.signal.aborted) this.#log.warning('vault: collecting failed', error)
      },
    )
  }
}
