/**
 * The bytes of a file in memory, with holes.
 *
 * Owns: a map from page number to page. Must stay true: a page that isn't there reads as zeros; no page lies wholly behind
 * the end; the bytes of the last page behind the end are zero, so that growing a file shows zeros.
 * It doesn't: know times, modes or limits (memory.ts does).
 */
import { SEEK_DATA } from '../../sys/flags.ts'

export const PAGE_BYTES = 4096

/** What all files of a volume take together. */
export interface Ledger {
  usedBytes: number
}

export class SparseBytes {
  #pages = new Map<number, Buffer>()
  #sizeBytes = 0
  readonly #ledger: Ledger

  constructor(ledger: Ledger) {
    this.#ledger = ledger
  }

  get sizeBytes(): number {
    return this.#sizeBytes
  }

  get allocatedBytes(): number {
    return this.#pages.size * PAGE_BYTES
  }

  /** Fills `into` from `position`; the byte count, less than asked only at the end. */
  read(position: number, into: Buffer): number {
    const end = Math.min(position + into.length, this.#sizeBytes)
    for (let at = position; at < end; ) {
      const offset = at % PAGE_BYTES
      const length = Math.min(PAGE_BYTES - offset, end - at)
      const page = this.#pages.get((at - offset) / PAGE_BYTES)
      if (page) page.copy(into, at - position, offset, offset + length)
      else into.fill(0, at - position, at - position + length)
      at += length
    }
    return Math.max(0, end - position)
  }

  write(position: number, data: Buffer): void {
    const end = position + data.length
    for (let at = position; at < end; ) {
      const offset = at % PAGE_BYTES
      const length = Math.min(PAGE_BYTES - offset, end - at)
      data.copy(this.#page((at - offset) / PAGE_BYTES), offset, at - position, at - position + length)
      at += length
    }
    if (end > this.#sizeBytes && data.length > 0) this.#sizeBytes = end
  }

  truncate(sizeBytes: number): void {
    if (sizeBytes < this.#sizeBytes) {
      const firstGone = Math.ceil(sizeBytes / PAGE_BYTES)
      for (const number of this.#pages.keys()) if (number >= firstGone) this.#drop(number)
      this.#pages.get(firstGone - 1)?.fill(0, sizeBytes - (firstGone - 1) * PAGE_BYTES)
    }
    this.#sizeBytes = sizeBytes
  }

  /** Pages for a range, so that writing there can't run out of space; the size stays. */
  allocate(position: number, lengthBytes: number): void {
    const end = Math.ceil((position + lengthBytes) / PAGE_BYTES)
    for (let number = Math.floor(position / PAGE_BYTES); number < end; number++) this.#page(number)
  }

  /** Zeros in a range; whole pages become holes. */
  punch(position: number, lengthBytes: number): void {
    const end = position + lengthBytes
    for (const [number, page] of this.#pages) {
      const start = number * PAGE_BYTES
      if (start + PAGE_BYTES <= position || start >= end) continue
      if (start >= position && start + PAGE_BYTES <= end) this.#drop(number)
      else page.fill(0, Math.max(0, position - start), Math.min(PAGE_BYTES, end - start))
    }
  }

  /** Takes a range out (negative `byBytes`) or makes room for one: all pages from `position` on move. Page-aligned. */
  shift(position: number, byBytes: number): void {
    const first = position / PAGE_BYTES
    const by = byBytes / PAGE_BYTES
    const moved = new Map<number, Buffer>()
    for (const [number, page] of this.#pages) {
      if (number < first) moved.set(number, page)
      else if (number + by >= first) moved.set(number + by, page)
      else this.#ledger.usedBytes -= PAGE_BYTES
    }
    this.#pages = moved
    this.#sizeBytes += byBytes
  }

  /** SEEK_DATA or SEEK_HOLE, by pages; undefined behind the end, and when no data follows. */
  seek(position: number, whence: number): number | undefined {
    if (position < 0 || position >= this.#sizeBytes) return undefined
    const first = Math.floor(position / PAGE_BYTES)
    if (whence === SEEK_DATA) {
      // By the pages that are there: the file may be a hole of any size.
      let next = Number.POSITIVE_INFINITY
      for (const number of this.#pages.keys()) if (number >= first && number < next) next = number
      const at = Math.max(position, next * PAGE_BYTES)
      return at < this.#sizeBytes ? at : undefined
    }
    let number = first
    while (this.#pages.has(number)) number++
    return Math.min(this.#sizeBytes, Math.max(position, number * PAGE_BYTES))
  }

  #page(number: number): Buffer {
    let page = this.#pages.get(number)
    if (!page) {
      this.#pages.set(number, (page = Buffer.alloc(PAGE_BYTES)))
      this.#ledger.usedBytes += PAGE_BYTES
    }
    return page
  }

  #drop(number: number): void {
    this.#pages.delete(number)
    this.#ledger.usedBytes -= PAGE_BYTES
  }
}
