/**
 * Lets others work during a long piece of work.
 * Owns: when a long walk last gave way. Must stay true: between two turns of the event loop it works for at most a few
 * milliseconds, so that a listing, copy or delete of many files doesn't stop the tree.
 */

const TURN_MS = 5

export class Pacer {
  #sinceMs = performance.now()

  /** Call between small steps. */
  async pause(): Promise<void> {
    if (performance.now() - this.#sinceMs < TURN_MS) return
    await new Promise(resolve => setImmediate(resolve))
    this.#sinceMs = performance.now()
  }
}
