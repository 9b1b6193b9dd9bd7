/**
 * How far ahead of a reader to fetch: pure policy, no I/O.
 *
 * Owns: what one open file has read so far. Must stay true:
 * - A read that doesn't go on where others ended fetches one small block and nothing ahead.
 * - A stream is fetched ahead by as much as it has read already (twice that, up to the window), so that no more than twice of what
 *   was used is fetched in vain; ranges grow with the window, so that there are several at once and not too many.
 * - Reads that come a little out of order (the kernel sends several at once) still are one stream.
 */
import { SMALLEST_BLOCK_BYTES } from '../blocks/format.ts'

export interface ReadAheadSettings {
  /** The first guess, at the beginning of a file. */
  readonly firstBytes: number
  /** No more than this is fetched ahead. */
  readonly windowBytes: number
  /** No single range is longer. A power of two, and at least a block. */
  readonly rangeBytes: number
}

export const DEFAULT_READ_AHEAD: ReadAheadSettings = { firstBytes: 128 * 1024, windowBytes: 32 * 2 ** 20, rangeBytes: 4 * 2 ** 20 }

/** How far apart two reads of one stream may be. */
const OUT_OF_ORDER_BYTES = 512 * 1024
/** A window is fetched in so many ranges at once, but not in smaller ones than this. */
const RANGES_AT_ONCE = 8
const SMALL_RANGE_BYTES = 128 * 1024

export interface Advice {
  /** What is missing is fetched up to here: the end of the read, up to a boundary. */
  readonly demandEnd: number
  /** Beyond that, up to here, if it isn't on its way. Equal to `demandEnd`: nothing more for now. */
  readonly aheadEnd: number
  /** How long single ranges should be. A power of two. */
  readonly rangeBytes: number
}

export class ReadAhead {
  readonly #sizeBytes: number
  readonly #settings: ReadAheadSettings
  #begun = false
  /** The stream: how much of it was read, where it is, and the least it is fetched ahead by. */
  #streamBytes = 0
  #end = 0
  #leastBytes = 0
  /** Up to where fetching was advised. */
  #advisedEnd = 0

  constructor(sizeBytes: number, settings: ReadAheadSettings = DEFAULT_READ_AHEAD) {
    this.#sizeBytes = sizeBytes
    this.#settings = settings
  }

  /** A read takes place: what to fetch. */
  advise(position: number, lengthBytes: number): Advice {
    const end = Math.min(this.#sizeBytes, position + lengthBytes)
    if (!this.#goesOn(position)) {
      this.#streamBytes = end - position
      this.#end = end
      this.#leastBytes = 0
      this.#advisedEnd = this.#roundUp(end, SMALLEST_BLOCK_BYTES)
      this.#begun = true
      return { demandEnd: this.#advisedEnd, aheadEnd: this.#advisedEnd, rangeBytes: SMALL_RANGE_BYTES }
    }
    if (!this.#begun) this.#leastBytes = this.#settings.firstBytes
    this.#begun = true
    this.#streamBytes += Math.max(0, end - Math.max(position, this.#end))
    this.#end = Math.max(this.#end, end)
    const window = Math.min(this.#settings.windowBytes, Math.max(this.#leastBytes, 2 * this.#streamBytes))
    const rangeBytes = this.#rangeBytes(window)
    const demandEnd = this.#roundUp(end, rangeBytes)
    // Not for every read a little: when half of what was fetched ahead is used up, the window is filled again.
    if (this.#advisedEnd - this.#end >= window / 2 || this.#advisedEnd >= this.#sizeBytes)
      return { demandEnd, aheadEnd: demandEnd, rangeBytes }
    this.#advisedEnd = Math.max(this.#advisedEnd, this.#roundUp(this.#end + window, rangeBytes))
    return { demandEnd, aheadEnd: Math.max(demandEnd, this.#advisedEnd), rangeBytes }
  }

  /** The beginning of a file promises a stream; later on it's one when reads follow one another, as near as the stream is long. */
  #goesOn(position: number): boolean {
    if (!this.#begun) return position === 0
    return Math.abs(position - this.#end) <= Math.min(OUT_OF_ORDER_BYTES, this.#streamBytes)
  }

  #rangeBytes(window: number): number {
    const aimed = Math.max(Math.min(window, SMALL_RANGE_BYTES), window / RANGES_AT_ONCE)
    return Math.max(SMALLEST_BLOCK_BYTES, Math.min(this.#settings.rangeBytes, 2 ** Math.floor(Math.log2(aimed))))
  }

  #roundUp(position: number, unit: number): number {
    return Math.min(this.#sizeBytes, Math.ceil(position / unit) * unit)
  }
}
