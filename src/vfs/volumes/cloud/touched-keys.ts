/**
 * Which keys were touched here since a listing began: what it says of them may be older.
 *
 * Owns: a rising clock and, while listings run, the number of each touched key. Must stay true: bounded; when more was touched
 * than is remembered, every listing under way is told to begin anew.
 */

const LIMIT = 100_000

export class TouchedKeys {
  readonly #keys = new Map<string, number>()
  #clock = 0
  #running = 0
  /** What was touched up to here isn't remembered any more. */
  #forgotten = 0

  /** A listing begins: the number of now. It is to be ended. */
  begin(): number {
    this.#running++
    return this.#clock
  }

  end(): void {
    this.#running--
    if (this.#running === 0) this.#keys.clear()
  }

  touch(key: string): void {
    this.#clock++
    if (this.#running === 0) return
    if (this.#keys.size >= LIMIT) {
      this.#keys.clear()
      this.#forgotten = this.#clock
    }
    this.#keys.set(key, this.#clock)
  }

  /** Everything may have been touched: a directory was renamed. */
  touchAll(): void {
    this.#forgotten = ++this.#clock
  }

  isTouched(key: string, since: number): boolean {
    return (this.#keys.get(key) ?? 0) > since
  }

  /** Some key that begins so was touched. */
  isTouchedBelow(prefix: string, since: number): boolean {
    for (const [key, at] of this.#keys) if (at > since && key.startsWith(prefix)) return true
    return false
  }

  /** The listing that began then has to begin anew. */
  isLost(since: number): boolean {
    return this.#forgotten > since
  }
}
