/**
 * Has the kernel read ahead in the cache's own files, where it can't see that it pays.
 *
 * Owns: a few reads under way whose bytes nobody looks at: they are in the page cache afterwards. A block that is read here and
 * there from a cold disk costs one wait per piece; after TOUCHES_TO_WARM of them the whole block is read at once, which costs
 * about as much as was spent already (so that at worst twice the time is spent, and mostly a tenth).
 * Must stay true: bounded, never waited for, errors don't matter.
 */
import { read } from 'node:fs'

export const TOUCHES_TO_WARM = 4
const READS_AT_ONCE = 3

export class PageWarmer {
  readonly #scraps: Buffer[] = []
  #reading = 0

  /** Starts reading, or does nothing when enough is under way. A descriptor that is closed meanwhile does no harm. */
  warm(fd: number, offset: number, lengthBytes: number): void {
    if (this.#reading >= READS_AT_ONCE) return
    this.#reading++
    const pooled = this.#scraps.pop()
    const scrap = pooled && pooled.length >= lengthBytes ? pooled : Buffer.allocUnsafeSlow(lengthBytes)
    read(fd, scrap, 0, lengthBytes, offset, () => {
      this.#reading--
      this.#scraps.push(scrap)
    })
  }
}
