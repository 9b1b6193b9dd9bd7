/**
 * A set of very many names in little memory: hashes of 64 bits, in two flat arrays.
 *
 * Must stay true: a name that was added is found. One that wasn't is found by mistake with a probability of about
 * (names in the set) / 2^64; each set hashes differently, so a mistake isn't made twice.
 */
import { randomBytes } from 'node:crypto'
import type { Name } from '../vfs/contract.ts'

const FIRST_CAPACITY = 1024

export class NameSet {
  readonly #seedHigh = randomBytes(4).readUInt32LE()
  readonly #seedLow = randomBytes(4).readUInt32LE()
  /** Open addressing with linear probing; a slot whose low half is 0 is free. */
  #high = new Uint32Array(FIRST_CAPACITY)
  #low = new Uint32Array(FIRST_CAPACITY)
  #size = 0
  #hashHigh = 0
  #hashLow = 0

  add(name: Name): void {
    this.#hash(name)
    const slot = this.#find(this.#hashHigh, this.#hashLow)
    if (this.#isUsed(slot)) return
    this.#high[slot] = this.#hashHigh
    this.#low[slot] = this.#hashLow
    if (++this.#size > this.#high.length / 2) this.#grow()
  }

  has(name: Name): boolean {
    this.#hash(name)
    return this.#isUsed(this.#find(this.#hashHigh, this.#hashLow))
  }

  /** cyrb64 by bryc, public domain. */
  #hash(name: Name): void {
    let high = this.#seedHigh ^ 0xdeadbeef
    let low = this.#seedLow ^ 0x41c6ce57
    for (let i = 0; i < name.length; i++) {
      const byte = name.charCodeAt(i)
      high = Math.imul(high ^ byte, 2_654_435_761)
      low = Math.imul(low ^ byte, 1_597_334_677)
    }
    high = Math.imul(high ^ (high >>> 16), 2_246_822_507) ^ Math.imul(low ^ (low >>> 13), 3_266_489_909)
    low = Math.imul(low ^ (low >>> 16), 2_246_822_507) ^ Math.imul(high ^ (high >>> 13), 3_266_489_909)
    this.#hashHigh = high >>> 0
    // Never 0, which stands for a free slot.
    this.#hashLow = low >>> 0 || 1
  }

  /** The slot of the hash, or the free one where it belongs. */
  #find(high: number, low: number): number {
    const mask = this.#high.length - 1
    let slot = low & mask
    while (this.#isUsed(slot) && (this.#high[slot] !== high || this.#low[slot] !== low)) slot = (slot + 1) & mask
    return slot
  }

  #isUsed(slot: number): boolean {
    return this.#low[slot] !== 0
  }

  #grow(): void {
    const high = this.#high
    const low = this.#low
    this.#high = new Uint32Array(high.length * 2)
    this.#low = new Uint32Array(low.length * 2)
    for (let i = 0; i < low.length; i++) {
      if (low[i] === 0) continue
      const slot = this.#find(high[i]!, low[i]!)
      this.#high[slot] = high[i]!
      this.#low[slot] = low[i]!
    }
  }
}
