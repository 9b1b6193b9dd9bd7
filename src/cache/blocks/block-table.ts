/**
 * Where each cached block is: a hash table in flat arrays, 20 bytes a place, so that a million blocks fit 40 MB and a lookup
 * takes well under a microsecond.
 *
 * Owns: key -> segment, offset, length, and how often the block was asked for lately. A key is 64 bits of a keyed hash; two blocks
 * may share one (once in 2^24 caches of a million blocks): the sealed place tells them apart, and the loser counts as damaged.
 * Must stay true: open addressing with linear probing and backward shifting, so that there are no tombstones and a missing key
 * ends at the first empty place; never more than 3/4 full.
 */

/** How often a block was read since eviction last looked: 0 to 3. */
const HEAT_MAXIMUM = 3
const LENGTH_MASK = 0x1fffff
const HEAT_SHIFT = 21
const HEAT_BITS = 3 << HEAT_SHIFT
/** Reads since the process knows the block, 0 to 15: page-warmer.ts. */
const TOUCH_SHIFT = 23
const TOUCH_MAXIMUM = 15
const TOUCH_BITS = TOUCH_MAXIMUM << TOUCH_SHIFT
const EMPTY = 0xffffffff
const FIRST_CAPACITY = 1 << 14

export interface BlockLocation {
  keyLow: number
  keyHigh: number
  segment: number
  offset: number
  lengthBytes: number
  heat: number
}

export class BlockTable {
  #capacity = FIRST_CAPACITY
  #count = 0
  #keyLow = new Uint32Array(FIRST_CAPACITY)
  #keyHigh = new Uint32Array(FIRST_CAPACITY)
  #segment = new Uint32Array(FIRST_CAPACITY).fill(EMPTY)
  #offset = new Uint32Array(FIRST_CAPACITY)
  #meta = new Uint32Array(FIRST_CAPACITY)

  get count(): number {
    return this.#count
  }

  /** The place of a key, -1 when it isn't there. Valid until the next change. */
  find(keyLow: number, keyHigh: number): number {
    const mask = this.#capacity - 1
    for (let i = keyLow & mask; ; i = (i + 1) & mask) {
      if (this.#segment[i] === EMPTY) return -1
      if (this.#keyLow[i] === keyLow && this.#keyHigh[i] === keyHigh) return i
    }
  }

  segmentAt(place: number): number {
    return this.#segment[place]!
  }
  offsetAt(place: number): number {
    return this.#offset[place]!
  }
  lengthAt(place: number): number {
    return this.#meta[place]! & LENGTH_MASK
  }
  /** The block was read: answers how often now, up to 15. */
  touch(place: number): number {
    let meta = this.#meta[place]!
    if ((meta & HEAT_BITS) >>> HEAT_SHIFT < HEAT_MAXIMUM) meta += 1 << HEAT_SHIFT
    const touches = (meta & TOUCH_BITS) >>> TOUCH_SHIFT
    if (touches < TOUCH_MAXIMUM) meta += 1 << TOUCH_SHIFT
    this.#meta[place] = meta
    return touches + 1
  }
  heatAt(place: number): number {
    return (this.#meta[place]! & HEAT_BITS) >>> HEAT_SHIFT
  }
  touchesAt(place: number): number {
    return (this.#meta[place]! & TOUCH_BITS) >>> TOUCH_SHIFT
  }
  /** As if it had been read often: no more than that is counted. */
  setTouched(place: number): void {
    this.#meta[place]! |= TOUCH_BITS
  }

  /** Makes or replaces. `fresh`: it was just written, so the kernel has it in memory. */
  set(keyLow: number, keyHigh: number, segment: number, offset: number, lengthBytes: number, heat: number, fresh: boolean): void {
    if ((this.#count + 1) * 4 > this.#capacity * 3) this.#grow()
    let place = this.find(keyLow, keyHigh)
    if (place < 0) {
      const mask = this.#capacity - 1
      place = keyLow & mask
      while (this.#segment[place] !== EMPTY) place = (place + 1) & mask
      this.#count++
    }
    this.#keyLow[place] = keyLow
    this.#keyHigh[place] = keyHigh
    this.#segment[place] = segment
    this.#offset[place] = offset
    this.#meta[place] = lengthBytes | (heat << HEAT_SHIFT) | (fresh ? TOUCH_BITS : 0)
  }

  remove(keyLow: number, keyHigh: number): void {
    let hole = this.find(keyLow, keyHigh)
    if (hole < 0) return
    this.#count--
    const mask = this.#capacity - 1
    for (let next = (hole + 1) & mask; this.#segment[next] !== EMPTY; next = (next + 1) & mask) {
      const home = this.#keyLow[next]! & mask
      // What lies behind the hole moves into it, unless it would come to lie before its home.
      if (((next - home) & mask) < ((next - hole) & mask)) continue
      this.#move(next, hole)
      hole = next
    }
    this.#segment[hole] = EMPTY
  }

  /** All blocks of a segment. Looks at every place: some milliseconds for a million. */
  ofSegment(segment: number): BlockLocation[] {
    const found: BlockLocation[] = []
    const segments = this.#segment
    for (let i = 0; i < segments.length; i++) {
      if (segments[i] !== segment) continue
      const meta = this.#meta[i]!
      found.push({
        keyLow: this.#keyLow[i]!,
        keyHigh: this.#keyHigh[i]!,
        segment,
        offset: this.#offset[i]!,
        lengthBytes: meta & LENGTH_MASK,
        heat: (meta & HEAT_BITS) >>> HEAT_SHIFT,
      })
    }
    return found
  }

  clear(): void {
    this.#capacity = FIRST_CAPACITY
    this.#count = 0
    this.#allocate()
  }

  #allocate(): void {
    this.#keyLow = new Uint32Array(this.#capacity)
    this.#keyHigh = new Uint32Array(this.#capacity)
    this.#segment = new Uint32Array(this.#capacity).fill(EMPTY)
    this.#offset = new Uint32Array(this.#capacity)
    this.#meta = new Uint32Array(this.#capacity)
  }

  #move(from: number, to: number): void {
    this.#keyLow[to] = this.#keyLow[from]!
    this.#keyHigh[to] = this.#keyHigh[from]!
    this.#segment[to] = this.#segment[from]!
    this.#offset[to] = this.#offset[from]!
    this.#meta[to] = this.#meta[from]!
  }

  #grow(): void {
    const keyLow = this.#keyLow
    const keyHigh = this.#keyHigh
    const segment = this.#segment
    const offset = this.#offset
    const meta = this.#meta
    this.#capacity *= 2
    this.#allocate()
    const mask = this.#capacity - 1
    for (let i = 0; i < segment.length; i++) {
      if (segment[i] === EMPTY) continue
      let place = keyLow[i]! & mask
      while (this.#segment[place] !== EMPTY) place = (place + 1) & mask
      this.#keyLow[place] = keyLow[i]!
      this.#keyHigh[place] = keyHigh[i]!
      this.#segment[place] = segment[i]!
      this.#offset[place] = offset[i]!
      this.#meta[place] = meta[i]!
    }
  }
}

/** The state of one object as the cache knows it: a tag instead of its name. */
export class CachedObject {
  readonly tag: Buffer
  readonly sizeBytes: number
  readonly #words: Int32Array
  /** The class that its last block was found in: tried first. */
  classHint = 0
  /** Where the last read ended. */
  lastEnd = 0

  constructor(tag: Buffer, sizeBytes: number) {
    this.tag = tag
    this.sizeBytes = sizeBytes
    this.#words = new Int32Array([tag.readInt32LE(0), tag.readInt32LE(4), tag.readInt32LE(8), tag.readInt32LE(12)])
  }

  /** The low half of the table key of a block. `blockClass` is the index of its size class. */
  keyLow(blockClass: number, blockIndex: number): number {
    return mix(this.#words[0]! ^ Math.imul(blockIndex, 0x9e3779b1) ^ Math.imul(blockClass + 1, 0x85ebca6b) ^ this.#words[2]!)
  }
  keyHigh(blockClass: number, blockIndex: number): number {
    return mix(this.#words[1]! + Math.imul(blockIndex, 0xc2b2ae35) + Math.imul(blockClass + 1, 0x27d4eb2f) + this.#words[3]!)
  }
}

/** The finalizer of MurmurHash3: every bit of the input reaches every bit of the result. */
function mix(value: number): number {
  let h = value | 0
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return (h ^ (h >>> 16)) >>> 0
}
