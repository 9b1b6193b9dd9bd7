/**
 * Numbers for open things: small, reused last-in-first-out, looked up in an array.
 *
 * Owns: which number means what. Must stay true: a number means one thing from `add` to `remove`; 0 is never given out,
 * so that an empty field on the wire means nothing.
 */
import { FsError } from '../errors.ts'

export class HandleTable<T> {
  readonly #slots: (T | undefined)[] = [undefined]
  readonly #free: number[] = []
  #size = 0

  get size(): number {
    return this.#size
  }

  add(value: T): number {
    this.#size++
    const number = this.#free.pop()
    if (number === undefined) return this.#slots.push(value) - 1
    this.#slots[number] = value
    return number
  }

  find(number: number): T | undefined {
    return this.#slots[number]
  }

  /** Throws 'bad-handle' for a number that means nothing. */
  get(number: number): T {
    const value = this.#slots[number]
    if (value === undefined) throw new FsError('bad-handle')
    return value
  }

  remove(number: number): T | undefined {
    const value = this.#slots[number]
    if (value === undefined) return undefined
    this.#slots[number] = undefined
    this.#free.push(number)
    this.#size--
    return value
  }

  /** Puts another value under the numbers of those that `which` picks; answers the ones that stood there. */
  exchange(which: (value: T) => boolean, other: (value: T) => T): T[] {
    const taken: T[] = []
    for (const [number, value] of this.#slots.entries()) {
      if (value === undefined || !which(value)) continue
      taken.push(value)
      this.#slots[number] = other(value)
    }
    return taken
  }

  *values(): Iterable<T> {
    for (const value of this.#slots) if (value !== undefined) yield value
  }
}
