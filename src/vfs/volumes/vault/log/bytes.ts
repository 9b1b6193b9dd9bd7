/**
 * Numbers, names and bytes in a row: the ground of the vault's records.
 *
 * Owns: the form of each. Must stay true: what one writes the other reads; a reader never reads past its end (it throws
 * 'damaged'): records are authenticated before they are read, so that is a bug or a newer form, and stops there.
 *
 *   number   7 bits a byte, the lowest first, the eighth bit set in all but the last; up to 2^53 - 1
 *   signed   a number: 2n of n >= 0, -2n - 1 of n < 0; |n| up to 2^52 - 1
 *   bytes    number of them, then they
 *   name     as bytes, one byte a character
 */
import { FsError } from '../../../../errors.ts'

export class ByteWriter {
  #buffer = Buffer.allocUnsafe(4096)
  #length = 0

  get length(): number {
    return this.#length
  }

  /** What was written; a view that holds until the next write. */
  get written(): Buffer {
    return this.#buffer.subarray(0, this.#length)
  }

  clear(): void {
    this.#length = 0
  }

  number(value: number): void {
    if (!Number.isSafeInteger(value) || value < 0) throw new Error(`${value} is no number for a record`)
    this.#reserve(8)
    let rest = value
    while (rest > 0x7fffffff) {
      this.#buffer[this.#length++] = (rest % 128) | 0x80
      rest = Math.floor(rest / 128)
    }
    while (rest > 0x7f) {
      this.#buffer[this.#length++] = (rest & 0x7f) | 0x80
      rest >>>= 7
    }
    this.#buffer[this.#length++] = rest
  }

  signed(value: number): void {
    this.number(value >= 0 ? value * 2 : -value * 2 - 1)
  }

  bytes(value: Uint8Array): void {
    this.number(value.byteLength)
    this.#reserve(value.byteLength)
    this.#buffer.set(value, this.#length)
    this.#length += value.byteLength
  }

  name(value: string): void {
    this.number(value.length)
    this.#reserve(value.length)
    this.#length += this.#buffer.write(value, this.#length, 'latin1')
  }

  #reserve(more: number): void {
    const needed = this.#length + more + 8
    if (needed <= this.#buffer.length) return
    const larger = Buffer.allocUnsafe(Math.max(needed, this.#buffer.length * 2))
    this.#buffer.copy(larger, 0, 0, this.#length)
    this.#buffer = larger
  }
}

export class ByteReader {
  readonly #buffer: Buffer
  #at = 0

  constructor(buffer: Buffer) {
    this.#buffer = buffer
  }

  get ended(): boolean {
    return this.#at === this.#buffer.length
  }

  number(): number {
    let value = 0
    for (let factor = 1; factor <= 2 ** 49; factor *= 128) {
      const byte = this.#buffer[this.#at++]
      if (byte === undefined) throw cut()
      value += (byte & 0x7f) * factor
      if (byte < 0x80) {
        if (!Number.isSafeInteger(value)) throw cut()
        return value
      }
    }
    throw cut()
  }

  signed(): number {
    const value = this.number()
    return value % 2 === 0 ? value / 2 : -(value + 1) / 2
  }

  /** A view. */
  bytes(): Buffer {
    const length = this.number()
    const end = this.#at + length
    if (end > this.#buffer.length) throw cut()
    const value = this.#buffer.subarray(this.#at, end)
    this.#at = end
    return value
  }

  name(): string {
    return this.bytes().toString('latin1')
  }
}

function cut(): FsError {
  return new FsError('damaged', 'a record of the vault ends too early')
}
