/**
 * Batches: what the observer's thread found, on its way to the main thread, as one block of bytes.
 *
 * Owns: the layout, its writing (`BatchWriter`, on the observer's thread) and its reading (`BatchReader`, on the main
 * thread). A batch lives in memory between two threads of one process: it has no version and nothing of it is stored.
 *
 * Must stay true: sections and rows stand in the order in which the disk was looked at; a later row about a name is newer.
 *
 * A batch is a sequence of sections, each about one directory; numbers are 32-bit words in the machine's order:
 *
 *   word  section                                      word  row
 *   0     bytes of the section, this word included     0     name length | flags << 16
 *   1     kind | flags << 8                            1     mode            2-4   nlink, uid, gid
 *   2     number of rows                               5     rdev, encoded   6, 7  device major, minor
 *   3, 4  directory: device major, minor               8, 9  inode low, high
 *   5, 6  directory: inode low, high                   10,11 size low, high  12,13 blocks low, high
 *   7, 8  token low, high: see `Control`               14    block size
 *   9     bytes of the path                            15-17 atime low, high, nanoseconds
 *   10..  path below the root, padded to 4 bytes       18-20 btime  21-23 ctime  24-26 mtime
 *         rows                                         27..  name, padded to 4 bytes
 *
 * A row with the flag GONE has no words 1 to 26. A row with an empty name is about the directory itself.
 */
import { encodeDevice } from '../../../../sys/linux.ts'
import { Attributes, type Name } from '../../../contract.ts'

/** What a directory holds, in one or more pages. */
export const SECTION_LISTING = 1
/** Names that were looked at again because something happened to them. */
export const SECTION_CHANGES = 2
/** The directory isn't watched any more (it is gone, or out of reach). No rows. */
export const SECTION_UNWATCHED = 3
export type SectionKind = typeof SECTION_LISTING | typeof SECTION_CHANGES | typeof SECTION_UNWATCHED

/** Listing: the first page. */
export const PAGE_FIRST = 1
/** Listing: the last page. */
export const PAGE_LAST = 2
/** Listing, last page: the directory was read to its end, so a name that was in no page isn't there. */
export const LISTING_COMPLETE = 4
/** Changes in the directory are reported from now on. */
export const DIRECTORY_WATCHED = 8

/** The name isn't there. */
export const ROW_GONE = 1
/** Attributes can't be had (permission, or they must not be asked for): only the type in `mode` and the inode hold. */
export const ROW_PARTIAL = 2
/** Another filesystem is mounted there that isn't entered: the directory counts as empty. */
export const ROW_EXCLUDED = 4

const SECTION_WORDS = 10
const ROW_WORDS = 27
const FIRST_CAPACITY_BYTES = 256 * 1024

/** Where a row's numbers stand in struct statx (words): the order of the row's words 1 to 26, save rdev. */
const NO_WORD = -1
const STATX_WORDS = [7, 4, 5, 6, NO_WORD, 34, 35, 8, 9, 10, 11, 12, 13, 1, 16, 17, 18, 20, 21, 22, 24, 25, 26, 28, 29, 30] as const

export interface DirectoryIdentity {
  readonly deviceMajor: number
  readonly deviceMinor: number
  readonly inoHigh: number
  readonly inoLow: number
}

/** Builds one batch after the other in a buffer of its own. */
export class BatchWriter {
  #words = new Uint32Array(FIRST_CAPACITY_BYTES / 4)
  #bytes = new Uint8Array(this.#words.buffer)
  /** Bytes written. Always a multiple of 4. */
  #length = 0
  #sectionAt = -1
  #sectionRows = 0
  #rows = 0

  get sizeBytes(): number {
    return this.#length
  }
  get isInSection(): boolean {
    return this.#sectionAt >= 0
  }

  begin(kind: SectionKind, directory: DirectoryIdentity, path: Name, token: number): void {
    if (this.#sectionAt >= 0) throw new Error('the last section has no end')
    this.#reserve(SECTION_WORDS * 4 + path.length + 4)
    const at = this.#length / 4
    const w = this.#words
    w[at + 1] = kind
    w[at + 3] = directory.deviceMajor
    w[at + 4] = directory.deviceMinor
    w[at + 5] = directory.inoLow
    w[at + 6] = directory.inoHigh
    w[at + 7] = token % 2 ** 32
    w[at + 8] = Math.floor(token / 2 ** 32)
    w[at + 9] = path.length
    this.#sectionAt = at
    this.#sectionRows = 0
    this.#length += SECTION_WORDS * 4
    this.#addText(path)
  }

  /** Ends the section with these flags. */
  end(flags: number): void {
    const at = this.#sectionAt
    this.#words[at] = this.#length - at * 4
    this.#words[at + 1]! |= flags << 8
    this.#words[at + 2] = this.#sectionRows
    this.#sectionAt = -1
  }

  /** A row whose name is `length` bytes of `name` from `start`; `statx` are the words of struct statx. */
  addRow(statx: Uint32Array, name: Uint8Array, start: number, length: number): void {
    this.#reserve(ROW_WORDS * 4 + length + 4)
    this.#addAttributes(statx, length)
    const bytes = this.#bytes
    let to = this.#length
    for (let i = 0; i < length; i++) bytes[to++] = name[start + i]!
    this.#pad(to)
  }

  addNamedRow(statx: Uint32Array, name: Name): void {
    this.#reserve(ROW_WORDS * 4 + name.length + 4)
    this.#addAttributes(statx, name.length)
    this.#addText(name)
  }

  /** A row of which only type and inode are known. */
  addPartialRow(name: Name, flags: number, mode: number, device: DirectoryIdentity, inoLow: number, inoHigh: number): void {
    this.#reserve(ROW_WORDS * 4 + name.length + 4)
    const at = this.#length / 4
    const w = this.#words
    w.fill(0, at, at + ROW_WORDS)
    w[at] = name.length | (flags << 16)
    w[at + 1] = mode
    w[at + 6] = device.deviceMajor
    w[at + 7] = device.deviceMinor
    w[at + 8] = inoLow
    w[at + 9] = inoHigh
    this.#countRow(ROW_WORDS)
    this.#addText(name)
  }

  addGone(name: Name): void {
    this.#reserve(8 + name.length)
    this.#words[this.#length / 4] = name.length | (ROW_GONE << 16)
    this.#countRow(1)
    this.#addText(name)
  }

  /** What was written since the last call, or undefined: valid until more is written. No section may be open. */
  take(): { readonly bytes: Uint8Array; readonly rows: number } | undefined {
    if (this.#sectionAt >= 0) throw new Error('a section is open')
    if (this.#length === 0) return undefined
    const taken = { bytes: this.#bytes.subarray(0, this.#length), rows: this.#rows }
    this.#length = 0
    this.#rows = 0
    return taken
  }

  #addAttributes(statx: Uint32Array, nameLength: number): void {
    const at = this.#length / 4
    const w = this.#words
    w[at] = nameLength
    for (let i = 0; i < STATX_WORDS.length; i++) w[at + 1 + i] = statx[STATX_WORDS[i]!]!
    w[at + 1]! &= 0xffff
    w[at + 5] = encodeDevice(statx[32]!, statx[33]!)
    this.#countRow(ROW_WORDS)
  }

  #countRow(words: number): void {
    this.#length += words * 4
    this.#sectionRows++
    this.#rows++
  }

  #addText(text: Name): void {
    const bytes = this.#bytes
    let to = this.#length
    for (let i = 0; i < text.length; i++) bytes[to++] = text.charCodeAt(i)
    this.#pad(to)
  }

  #pad(to: number): void {
    while (to % 4) this.#bytes[to++] = 0
    this.#length = to
  }

  #reserve(more: number): void {
    const needed = this.#length + more
    if (needed <= this.#bytes.length) return
    const words = new Uint32Array(Math.ceil((needed * 2) / 4))
    words.set(this.#words.subarray(0, this.#length / 4))
    this.#words = words
    this.#bytes = new Uint8Array(words.buffer)
  }
}

/**
 * Reads a batch with a cursor: `nextSection()`, then `nextRow()` until it is false, and so on. May be left at any row and
 * taken up later. The getters speak of the section and the row that the cursor is at; nothing is allocated but what they
 * answer.
 */
export class BatchReader {
  readonly #words: Uint32Array
  readonly #text: Buffer
  #section = 0
  #nextSection = 0
  #rowsLeft = 0
  #row = 0
  #nextRow = 0

  constructor(bytes: Uint8Array) {
    this.#words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4)
    this.#text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
  }

  /** Goes to the next section; false: there is none. Rows that weren't read are skipped. */
  nextSection(): boolean {
    const at = this.#nextSection
    if (at >= this.#words.length) return false
    this.#section = at
    this.#nextSection = at + this.#words[at]! / 4
    this.#rowsLeft = this.#words[at + 2]!
    this.#nextRow = at + SECTION_WORDS + wordsOf(this.#words[at + 9]!)
    return true
  }

  /** Goes back to the start. */
  rewind(): void {
    this.#nextSection = 0
    this.#rowsLeft = 0
  }

  get kind(): SectionKind {
    return (this.#words[this.#section + 1]! & 0xff) as SectionKind
  }
  get isFirstPage(): boolean {
    return this.#hasSectionFlag(PAGE_FIRST)
  }
  get isLastPage(): boolean {
    return this.#hasSectionFlag(PAGE_LAST)
  }
  /** The listing ends here and nothing is missing: what was in none of its pages isn't in the directory. */
  get isComplete(): boolean {
    return this.#hasSectionFlag(LISTING_COMPLETE)
  }
  get isWatched(): boolean {
    return this.#hasSectionFlag(DIRECTORY_WATCHED)
  }
  /** Rows of this section. */
  get rowCount(): number {
    return this.#words[this.#section + 2]!
  }
  /** The directory's device as `StatxBuffer.device` gives it. */
  get directoryDevice(): number {
    return this.#words[this.#section + 3]! * 2 ** 20 + this.#words[this.#section + 4]!
  }
  get directoryInoLow(): number {
    return this.#words[this.#section + 5]!
  }
  get directoryInoHigh(): number {
    return this.#words[this.#section + 6]!
  }
  /** The token that was published last before the directory was looked at (`Observer.publishToken`). */
  get token(): number {
    return this.#words[this.#section + 7]! + this.#words[this.#section + 8]! * 2 ** 32
  }
  /** Where the directory was, below the root, names joined by "/"; '' for the root. */
  get directoryPath(): Name {
    const start = (this.#section + SECTION_WORDS) * 4
    return this.#text.toString('latin1', start, start + this.#words[this.#section + 9]!)
  }

  /** Goes to the next row of the section; false: there is none. */
  nextRow(): boolean {
    if (this.#rowsLeft === 0) return false
    this.#rowsLeft--
    const at = this.#nextRow
    this.#row = at
    const first = this.#words[at]!
    this.#nextRow = at + ((first >>> 16) & ROW_GONE ? 1 : ROW_WORDS) + wordsOf(first & 0xffff)
    return true
  }

  /** '': the row is about the directory itself. */
  get name(): Name {
    const first = this.#words[this.#row]!
    const start = (this.#row + ((first >>> 16) & ROW_GONE ? 1 : ROW_WORDS)) * 4
    return this.#text.toString('latin1', start, start + (first & 0xffff))
  }
  get isAboutDirectory(): boolean {
    return (this.#words[this.#row]! & 0xffff) === 0
  }
  /** The name isn't there: the row has nothing else. */
  get isGone(): boolean {
    return this.#hasRowFlag(ROW_GONE)
  }
  /** Only the type in `mode`, the device and the inode number hold; for a listing also that the name is there. */
  get isPartial(): boolean {
    return this.#hasRowFlag(ROW_PARTIAL)
  }
  get isExcluded(): boolean {
    return this.#hasRowFlag(ROW_EXCLUDED)
  }
  get mode(): number {
    return this.#words[this.#row + 1]!
  }
  get nlink(): number {
    return this.#words[this.#row + 2]!
  }
  get device(): number {
    return this.#words[this.#row + 6]! * 2 ** 20 + this.#words[this.#row + 7]!
  }
  get inoLow(): number {
    return this.#words[this.#row + 8]!
  }
  get inoHigh(): number {
    return this.#words[this.#row + 9]!
  }
  get sizeBytes(): number {
    return this.#words[this.#row + 10]! + this.#words[this.#row + 11]! * 2 ** 32
  }
  get mtimeSec(): number {
    return this.#seconds(24)
  }
  get mtimeNsec(): number {
    return this.#words[this.#row + 26]!
  }
  get ctimeSec(): number {
    return this.#seconds(21)
  }
  get ctimeNsec(): number {
    return this.#words[this.#row + 23]!
  }
  get btimeSec(): number {
    return this.#seconds(18)
  }
  get btimeNsec(): number {
    return this.#words[this.#row + 20]!
  }

  /** The row's attributes under the tree's inode number. */
  attributes(ino: number): Attributes {
    const w = this.#words
    const at = this.#row
    const a = new Attributes()
    a.ino = ino
    a.mode = w[at + 1]!
    a.nlink = w[at + 2]!
    a.uid = w[at + 3]!
    a.gid = w[at + 4]!
    a.rdev = w[at + 5]!
    a.sizeBytes = this.sizeBytes
    a.blocks = w[at + 12]! + w[at + 13]! * 2 ** 32
    a.blockSizeBytes = w[at + 14]!
    a.atimeSec = this.#seconds(15)
    a.atimeNsec = w[at + 17]!
    a.btimeSec = this.#seconds(18)
    a.btimeNsec = w[at + 20]!
    a.ctimeSec = this.#seconds(21)
    a.ctimeNsec = w[at + 23]!
    a.mtimeSec = this.#seconds(24)
    a.mtimeNsec = w[at + 26]!
    return a
  }

  /**
   * Whether the row says what `known` says (reading times, the inode number and the birth time aside). ctime changes with
   * everything else that is compared, but a clock may stand still between two changes, so all is compared.
   */
  equals(known: Attributes): boolean {
    const w = this.#words
    const at = this.#row
    return (
      w[at + 23] === known.ctimeNsec &&
      w[at + 26] === known.mtimeNsec &&
      this.sizeBytes === known.sizeBytes &&
      w[at + 1] === known.mode &&
      w[at + 2] === known.nlink &&
      w[at + 3] === known.uid &&
      w[at + 4] === known.gid &&
      w[at + 12]! + w[at + 13]! * 2 ** 32 === known.blocks &&
      this.#seconds(24) === known.mtimeSec &&
      this.#seconds(21) === known.ctimeSec &&
      w[at + 5] === known.rdev
    )
  }

  #seconds(word: number): number {
    return this.#words[this.#row + word]! + (this.#words[this.#row + word + 1]! | 0) * 2 ** 32
  }
  #hasSectionFlag(flag: number): boolean {
    return ((this.#words[this.#section + 1]! >>> 8) & flag) !== 0
  }
  #hasRowFlag(flag: number): boolean {
    return ((this.#words[this.#row]! >>> 16) & flag) !== 0
  }
}

function wordsOf(bytes: number): number {
  return (bytes + 3) >>> 2
}
