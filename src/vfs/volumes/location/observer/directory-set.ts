/**
 * A set of directories by identity (device and host inode number), compact enough for a million of them.
 *
 * Owns: one hash table with open addressing in a Uint32Array, 16 bytes a slot, at most two thirds full.
 * Must stay true: deletion moves later members of a run back, so that no tombstones pile up and lookups end.
 */
const WORDS = 4
const FIRST_SLOTS = 256
/** Devices and inode numbers are never all ones, so this word in the first place marks an empty slot. */
const EMPTY = 0xffffffff

export class DirectorySet {
  #slots: Uint32Array = emptySlots(FIRST_SLOTS)
  #mask = FIRST_SLOTS - 1
  #size = 0

  get size(): number {
    return this.#size
  }

  /** `device` as `StatxBuffer.device` gives it. */
  has(device: number, inoHigh: number, inoLow: number): boolean {
    return this.#slots[this.#find(device, inoHigh, inoLow) * WORDS] !== EMPTY
  }

  add(device: number, inoHigh: number, inoLow: number): void {
    const slot = this.#find(device, inoHigh, inoLow)
    if (this.#slots[slot * WORDS] !== EMPTY) return
    this.#put(slot, device, inoHigh, inoLow)
    this.#size++
    if (this.#size * 3 > (this.#mask + 1) * 2) this.#grow()
  }

  delete(device: number, inoHigh: number, inoLow: number): void {
    let hole = this.#find(device, inoHigh, inoLow)
    const slots = this.#slots
    if (slots[hole * WORDS] === EMPTY) return
    this.#size--
    for (let at = (hole + 1) & this.#mask; slots[at * WORDS] !== EMPTY; at = (at + 1) & this.#mask) {
      const home = this.#homeOf(at)
      // A member may fill the hole when its home isn't between the hole and itself.
      if (((at - home) & this.#mask) < ((at - hole) & this.#mask)) continue
      slots.copyWithin(hole * WORDS, at * WORDS, at * WORDS + WORDS)
      hole = at
    }
    slots[hole * WORDS] = EMPTY
  }

  clear(): void {
    this.#slots = emptySlots(FIRST_SLOTS)
    this.#mask = FIRST_SLOTS - 1
    this.#size = 0
  }

  /** The members as words (device major, minor, inode high, low): to hand the set to another thread. */
  toWords(): Uint32Array<ArrayBuffer> {
    const words = new Uint32Array(this.#size * WORDS)
    let to = 0
    for (let at = 0; at < this.#slots.length; at += WORDS) {
      if (this.#slots[at] === EMPTY) continue
      words.set(this.#slots.subarray(at, at + WORDS), to)
      to += WORDS
    }
    return words
  }

  static fromWords(words: Uint32Array): DirectorySet {
    const set = new DirectorySet()
    for (let at = 0; at + WORDS <= words.length; at += WORDS) set.add(words[at]! * 2 ** 20 + words[at + 1]!, words[at + 2]!, words[at + 3]!)
    return set
  }

  #find(device: number, inoHigh: number, inoLow: number): number {
    const major = Math.floor(device / 2 ** 20)
    const minor = device % 2 ** 20
    const slots = this.#slots
    let slot = hash(major, minor, inoHigh, inoLow) & this.#mask
    for (;;) {
      const at = slot * WORDS
      if (slots[at] === EMPTY) return slot
      if (slots[at + 3] === inoLow && slots[at + 2] === inoHigh && slots[at + 1] === minor && slots[at] === major) return slot
      slot = (slot + 1) & this.#mask
    }
  }

  #homeOf(slot: number): number {
    const at = slot * WORDS
    return hash(this.#slots[at]!, this.#slots[at + 1]!, this.#slots[at + 2]!, this.#slots[at + 3]!) & this.#mask
  }

  #put(slot: number, device: number, inoHigh: number, inoLow: number): void {
    const at = slot * WORDS
    this.#slots[at] = Math.floor(device / 2 ** 20)
    this.#slots[at + 1] = device % 2 ** 20
    this.#slots[at + 2] = inoHigh
    this.#slots[at + 3] = inoLow
  }

  #grow(): void {
    const old = this.#slots
    this.#slots = emptySlots((this.#mask + 1) * 2)
    this.#mask = this.#mask * 2 + 1
    for (let at = 0; at < old.length; at += WORDS) {
      if (old[at] === EMPTY) continue
      const device = old[at]! * 2 ** 20 + old[at + 1]!
      this.#put(this.#find(device, old[at + 2]!, old[at + 3]!), device, old[at + 2]!, old[at + 3]!)
    }
  }
}

function emptySlots(count: number): Uint32Array {
  return new Uint32Array(count * WORDS).fill(EMPTY)
}

function hash(major: number, minor: number, inoHigh: number, inoLow: number): number {
  let h = Math.imul(inoLow ^ Math.imul(inoHigh, 0x85ebca6b), 0x9e3779b1) ^ Math.imul(major ^ (minor << 12), 0xc2b2ae35)
  h = Math.imul(h ^ (h >>> 15), 0x2c1b3c6d)
  return h ^ (h >>> 13)
}
