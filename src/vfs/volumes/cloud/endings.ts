/**
 * What may go only when the journal has safely forgotten who needed it.
 *
 * Owns: the list of what waits for that. Must stay true: what was added is done after a sync of the journal that began later; so after
 * a power loss a row that is back still has its content. The list is flushed after a moment, or when it is long; what is left when
 * the process ends is an orphan, and goes at the next start.
 */
import type { Journal } from '../../../cache/writeback/journal.ts'
import type { Log } from '../../../log.ts'

const DELAY_MS = 1000
const AT_MOST = 256

export class Endings {
  readonly #journal: Journal
  readonly #log: Log
  #waiting: (() => void)[] = []
  #timer: NodeJS.Timeout | undefined
  #flushing: Promise<void> | undefined

  constructor(journal: Journal, log: Log) {
    this.#journal = journal
    this.#log = log
  }

  add(end: () => void): void {
    this.#waiting.push(end)
    // Never at once: this may be in the middle of a change of the journal.
    if (this.#waiting.length === AT_MOST) this.#schedule(0)
    else if (!this.#timer) this.#schedule(DELAY_MS)
  }

  /** All that was added is done when this answers, or the journal's disk refuses. */
  async flush(): Promise<void> {
    clearTimeout(this.#timer)
    this.#timer = undefined
    while (this.#flushing) await this.#flushing
    const taken = this.#waiting
    if (taken.length === 0) return
    this.#waiting = []
    this.#flushing = this.#end(taken).finally(() => {
      this.#flushing = undefined
    })
    await this.#flushing
  }

  async #end(taken: readonly (() => void)[]): Promise<void> {
    try {
      await this.#journal.durable()
    } catch (error) {
      // It stays on the disk until the next start.
      this.#log.warning('the queue of uploads could not be synced', error)
      return
    }
    for (const end of taken) {
      try {
        end()
      } catch (error) {
        this.#log.warning('a content that is not needed any more could not be removed', error)
      }
    }
  }

  #schedule(delayMs: number): void {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => void this.flush(), delayMs).unref()
  }
}
