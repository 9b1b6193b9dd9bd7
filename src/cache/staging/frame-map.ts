/**
 * Which frame of a staged file is where: pages of typed arrays, so that a large file costs 16 bytes a frame.
 *
 * Owns: frame index -> slot, position, salt, length; or zeros; or nothing. Must stay true: a page knows whether it changed since it was
 * last sealed (`changed`). It doesn't: know slots' reuse, or what nothing means.
 */
import { type Entry, type EntryValue, PAGE_FRAMES, type PieceRef } from './format.ts'

const ABSENT = 0
const ZEROS = 0xffffffff
const FIRST_CAPACITY = 4

class Page {
  slots = new Uint32Array(FIRST_CAPACITY)
  positions = new Float64Array(FIRST_CAPACITY)
  salts = new Uint16Array(FIRST_CAPACITY)
  /** Less one each. */
  lengths = new Uint16Array(FIRST_CAPACITY)
  count = 0
  changed = true
  /** Where it was sealed last. */
  ref: PieceRef | undefined

  reserve(index: number): void {
    if (index < this.slots.length) return
    const capacity = Math.min(PAGE_FRAMES, 2 ** Math.ceil(Math.log2(index + 1)))
    const { slots, positions, salts, lengths } = this
    this.slots = new Uint32Array(capacity)
    this.positions = new Float64Array(capacity)
    this.salts = new Uint16Array(capacity)
    this.lengths = new Uint16Array(capacity)
    this.slots.set(slots)
    this.positions.set(positions)
    this.salts.set(salts)
    this.lengths.set(lengths)
  }
}

export class FrameMap {
  readonly #pages = new Map<number, Page>()
  #count = 0

  /** Frames that have an entry. */
  get count(): number {
    return this.#count
  }

  get(frame: number): EntryValue | undefined {
    const page = this.#pages.get(Math.floor(frame / PAGE_FRAMES))
    const index = frame % PAGE_FRAMES
    if (!page || index >= page.slots.length) return undefined
    const slot = page.slots[index]!
    if (slot === ABSENT) return undefined
    if (slot === ZEROS) return 'zeros'
    return { slot: slot - 1, position: page.positions[index]!, salt: page.salts[index]!, lengthBytes: page.lengths[index]! + 1 }
  }

  /** Answers what was there. */
  set(frame: number, value: EntryValue): EntryValue | undefined {
    const before = this.get(frame)
    const number = Math.floor(frame / PAGE_FRAMES)
    let page = this.#pages.get(number)
    if (!page) this.#pages.set(number, (page = new Page()))
    const index = frame % PAGE_FRAMES
    page.reserve(index)
    page.slots[index] = value === 'zeros' ? ZEROS : value.slot + 1
    page.positions[index] = value === 'zeros' ? 0 : value.position
    page.salts[index] = value === 'zeros' ? 0 : value.salt
    page.lengths[index] = value === 'zeros' ? 0 : value.lengthBytes - 1
    page.changed = true
    if (before === undefined) {
      page.count++
      this.#count++
    }
    return before
  }

  /** Answers what was there. */
  remove(frame: number): EntryValue | undefined {
    const before = this.get(frame)
    if (before === undefined) return undefined
    const page = this.#pages.get(Math.floor(frame / PAGE_FRAMES))!
    page.slots[frame % PAGE_FRAMES] = ABSENT
    page.changed = true
    page.count--
    this.#count--
    return before
  }

  /** Frames with an entry from `first` on, in order. */
  *from(first: number): Generator<Entry> {
    for (const number of this.#pageNumbers()) {
      if ((number + 1) * PAGE_FRAMES <= first) continue
      const page = this.#pages.get(number)!
      for (let index = 0; index < page.slots.length; index++) {
        const frame = number * PAGE_FRAMES + index
        if (frame < first || page.slots[index] === ABSENT) continue
        yield { index: frame, value: this.get(frame)! }
      }
    }
  }

  /** Pages that hold something, in order; `changed`: they have to be sealed anew. */
  pages(): { readonly number: number; readonly changed: boolean; readonly ref: PieceRef | undefined; entries(): Entry[] }[] {
    return this.#pageNumbers()
      .filter(number => this.#pages.get(number)!.count > 0)
      .map(number => {
        const page = this.#pages.get(number)!
        return { number, changed: page.changed, ref: page.ref, entries: () => this.#entriesOf(number, page) }
      })
  }

  /** The page was sealed there; answers where it was before. */
  sealed(number: number, ref: PieceRef): PieceRef | undefined {
    const page = this.#pages.get(number)
    if (!page) return undefined
    const before = page.ref
    page.ref = ref
    page.changed = false
    return before
  }

  /** Drops pages that hold nothing; answers where they were sealed. */
  dropEmptyPages(): PieceRef[] {
    const refs: PieceRef[] = []
    for (const [number, page] of this.#pages) {
      if (page.count > 0) continue
      if (page.ref) refs.push(page.ref)
      this.#pages.delete(number)
    }
    return refs
  }

  #entriesOf(number: number, page: Page): Entry[] {
    const entries: Entry[] = []
    for (let index = 0; index < page.slots.length; index++)
      if (page.slots[index] !== ABSENT)
        entries.push({ index: number * PAGE_FRAMES + index, value: this.get(number * PAGE_FRAMES + index)! })
    return entries
  }

  #pageNumbers(): number[] {
    return [...this.#pages.keys()].sort((a, b) => a - b)
  }
}
