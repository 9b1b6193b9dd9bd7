/**
 * Which slots of a staging file may be written to.
 *
 * Owns: free slots, and those that a root may still need. Must stay true: a slot that some root which still counts refers to is
 * never given out; roots are numbered in the order they were made, and end in any order.
 */
export class Slots {
  #next = 0
  readonly #free: number[] = []
  /** Given out since the last root: no root refers to them. */
  #fresh = new Set<number>()
  /** Given up, but perhaps referred to by roots up to a number; in the order of those numbers. */
  #held: { readonly slot: number; readonly root: number }[] = []
  #lastRoot = 0
  readonly #alive = new Set<number>()

  /** Slots that have been used at all. */
  get used(): number {
    return this.#next
  }

  take(): number {
    const slot = this.#free.pop() ?? this.#next++
    this.#fresh.add(slot)
    return slot
  }

  /** Its content is no longer part of the file. */
  giveUp(slot: number): void {
    if (this.#fresh.delete(slot)) this.#free.push(slot)
    else this.#held.push({ slot, root: this.#lastRoot })
    this.#collect()
  }

  /** A root is made of all that is in use now: answers its number. */
  root(): number {
    this.#fresh = new Set()
    this.#alive.add(++this.#lastRoot)
    return this.#lastRoot
  }

  /** A root doesn't count any more. */
  endRoot(number: number): void {
    this.#alive.delete(number)
    this.#collect()
  }

  /** After a start: these slots are in use, the others below the highest are free. */
  restore(used: ReadonlySet<number>): void {
    for (const slot of used) this.#next = Math.max(this.#next, slot + 1)
    for (let slot = 0; slot < this.#next; slot++) if (!used.has(slot)) this.#free.push(slot)
  }

  #collect(): void {
    if (this.#held.length === 0) return
    const oldest = Math.min(...this.#alive, Number.POSITIVE_INFINITY)
    let count = 0
    while (count < this.#held.length && this.#held[count]!.root < oldest) this.#free.push(this.#held[count++]!.slot)
    if (count > 0) this.#held = this.#held.slice(count)
  }
}
