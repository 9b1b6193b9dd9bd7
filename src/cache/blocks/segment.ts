/**
 * One segment file: filled from front to back, then only read, then filled anew for other blocks.
 *
 * Owns: the descriptor, the sealing space and the index entries while it is being filled.
 * Must stay true: the tail only grows while a space is in use, also past a write that failed; after any failed write nothing more
 * is added. It doesn't: know what is in other segments, or evict.
 *
 * States: filling -> closed (full, failed, or the process ended) -> filling (reused, under a new salt) | removed.
 */
import { closeSync, fstatSync, ftruncateSync, openSync, readSync, renameSync, rmSync, unlinkSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { OpeningSpace, SealingSpace } from '../../crypto/sealing.ts'
import type { SecretKey } from '../../crypto/secret-key.ts'
import { linux } from '../../sys/linux.ts'
import {
  decodeSegmentHeader,
  encodeSegmentHeader,
  FRAME_BYTES,
  type FramePlace,
  frameOffset,
  INDEX_ENTRY_BYTES,
  indexBytes,
  openIndex,
  openRecordHeader,
  openTrailer,
  RECORD_HEADER_BYTES,
  type RecordHeader,
  recordBytes,
  SEALED_FRAME_BYTES,
  SEGMENT_HEADER_BYTES,
  sealIndex,
  sealRecordHeader,
  segmentHeaderOpens,
  TRAILER_BYTES,
} from './format.ts'
import type { PageWarmer } from './page-warmer.ts'

const NAME = /^([sp])([0-9a-f]{12})$/
/** What a file can take on disk beyond its length: the tree of its extents. */
const OVERHEAD_BYTES = 16 * 1024
const DISK_BLOCK_BYTES = 4096
const EMPTY_FIRST_ENTRIES = 64

/** What a file of this length may take on disk. */
export function diskBytes(fileBytes: number): number {
  return Math.ceil(fileBytes / DISK_BLOCK_BYTES) * DISK_BLOCK_BYTES + OVERHEAD_BYTES
}

export interface SegmentName {
  readonly pinned: boolean
  readonly sequence: number
}

/** What a file's name tells, or undefined when it is no segment. */
export function parseSegmentName(name: string): SegmentName | undefined {
  const match = NAME.exec(name)
  return match ? { pinned: match[1] === 'p', sequence: Number.parseInt(match[2]!, 16) } : undefined
}

export function segmentName(name: SegmentName): string {
  return `${name.pinned ? 'p' : 's'}${name.sequence.toString(16).padStart(12, '0')}`
}

export interface IndexEntry {
  readonly keyLow: number
  readonly keyHigh: number
  readonly offset: number
  readonly lengthBytes: number
}

export class Segment {
  readonly #directory: string
  readonly #key: SecretKey
  readonly #fd: number
  #name: SegmentName
  readonly #fileBytes: number
  #sealing: SealingSpace | undefined
  #opening: OpeningSpace | undefined
  #tail = SEGMENT_HEADER_BYTES
  #entries = Buffer.alloc(0)
  #entryCount = 0

  private constructor(directory: string, key: SecretKey, fd: number, name: SegmentName, fileBytes: number) {
    this.#directory = directory
    this.#key = key
    this.#fd = fd
    this.#name = name
    this.#fileBytes = fileBytes
  }

  /** A new file with all of its room allocated. Throws the host's error (ENOSPC) and leaves nothing then. */
  static create(directory: string, key: SecretKey, name: SegmentName, fileBytes: number): Segment {
    const path = join(directory, segmentName(name))
    const fd = openSync(path, 'wx+', 0o600)
    try {
      allocate(fd, fileBytes)
      const segment = new Segment(directory, key, fd, name, fileBytes)
      segment.#begin()
      return segment
    } catch (error) {
      closeSync(fd)
      unlinkSync(path)
      throw error
    }
  }

  /** A file that is there, for reading. */
  static open(directory: string, key: SecretKey, name: SegmentName): Segment {
    const fd = openSync(join(directory, segmentName(name)), 'r+')
    return new Segment(directory, key, fd, name, fstatSync(fd).size)
  }

  get pinned(): boolean {
    return this.#name.pinned
  }
  get sequence(): number {
    return this.#name.sequence
  }
  get fileBytes(): number {
    return this.#fileBytes
  }
  get filling(): boolean {
    return this.#sealing !== undefined
  }

  /** Empties the file for other blocks, under a new salt. */
  reuse(name: SegmentName): void {
    renameSync(join(this.#directory, segmentName(this.#name)), join(this.#directory, segmentName(name)))
    this.#name = name
    this.#begin()
  }

  /** From now on it holds ordinary blocks. */
  demote(): void {
    const name = { ...this.#name, pinned: false }
    renameSync(join(this.#directory, segmentName(this.#name)), join(this.#directory, segmentName(name)))
    this.#name = name
  }

  /** Writes a block; answers its record's offset, or undefined when there is no room or the disk failed (then it is closed). */
  append(header: RecordHeader, keyLow: number, keyHigh: number, data: Uint8Array, place: FramePlace, scratch: Buffer): number | undefined {
    const space = this.#sealing
    const offset = this.#tail
    const bytes = recordBytes(data.byteLength)
    if (!space || offset + bytes + indexBytes(this.#entryCount + 1) > this.#fileBytes) return undefined
    this.#tail = offset + bytes
    sealRecordHeader(header, space, offset, scratch, 0)
    place.setBlock(header.objectTag, header.classBytes, header.lengthBytes, header.blockIndex)
    for (let i = 0, at = 0; at < data.byteLength; i++, at += FRAME_BYTES) {
      const frameAt = frameOffset(0, i)
      space.seal(offset + frameAt, place.setFrame(i), data.subarray(at, at + FRAME_BYTES), scratch, frameAt)
    }
    if (!writeAll(this.#fd, scratch, bytes, offset)) {
      this.#sealing = undefined
      return undefined
    }
    this.#addEntry(keyLow, keyHigh, offset, data.byteLength)
    return offset
  }

  /**
   * Reads `count` bytes of a block from `from` into `into` at `at`. `place` is set to the block. False: the bytes are not that
   * block's (damaged, foreign, or the disk failed).
   */
  readBlock(
    place: FramePlace,
    recordOffset: number,
    lengthBytes: number,
    from: number,
    count: number,
    into: Buffer,
    at: number,
    scratch: Buffer,
  ): boolean {
    const space = this.#opening
    if (!space) return false
    const first = Math.floor(from / FRAME_BYTES)
    const last = Math.floor((from + count - 1) / FRAME_BYTES)
    const start = frameOffset(recordOffset, first)
    const sealedBytes =
      (last - first) * SEALED_FRAME_BYTES + Math.min(FRAME_BYTES, lengthBytes - last * FRAME_BYTES) + (SEALED_FRAME_BYTES - FRAME_BYTES)
    if (!readAll(this.#fd, scratch, sealedBytes, start)) return false
    for (let i = first, taken = 0; i <= last; i++) {
      const sealedAt = (i - first) * SEALED_FRAME_BYTES
      const plain = space.open(
        frameOffset(recordOffset, i),
        place.setFrame(i),
        scratch.subarray(sealedAt, Math.min(sealedAt + SEALED_FRAME_BYTES, sealedBytes)),
      )
      if (!plain) return false
      const begin = i === first ? from - first * FRAME_BYTES : 0
      taken += plain.copy(into, at + taken, begin, Math.min(plain.length, begin + count - taken))
    }
    return true
  }

  /** Has the kernel read a record into its page cache. */
  warm(warmer: PageWarmer, recordOffset: number, lengthBytes: number): void {
    warmer.warm(this.#fd, recordOffset, recordBytes(lengthBytes))
  }

  /** The header of the record at `offset`. */
  readRecordHeader(offset: number): RecordHeader | undefined {
    const sealed = Buffer.alloc(RECORD_HEADER_BYTES)
    if (!this.#opening || !readAll(this.#fd, sealed, sealed.length, offset)) return undefined
    return openRecordHeader(sealed, this.#opening, offset)
  }

  /** Nothing more is added; the index is written so that the next start needn't look at each record. */
  finish(): void {
    const space = this.#sealing
    if (!space) return
    this.#sealing = undefined
    const trailerOffset = this.#fileBytes - TRAILER_BYTES
    const { index, trailer } = sealIndex(this.#entries.subarray(0, this.#entryCount * INDEX_ENTRY_BYTES), space, this.#tail, trailerOffset)
    if (writeAll(this.#fd, index, index.length, this.#tail)) writeAll(this.#fd, trailer, trailer.length, trailerOffset)
    this.#entries = Buffer.alloc(0)
  }

  /** What lies in a file that was there. 'empty': the process ended before it began. Undefined: not a segment of this key and version. */
  load(tableKey: (header: RecordHeader) => { readonly keyLow: number; readonly keyHigh: number }): IndexEntry[] | 'empty' | undefined {
    const bytes = Buffer.alloc(SEGMENT_HEADER_BYTES)
    if (!readAll(this.#fd, bytes, bytes.length, 0)) return this.#fileBytes === 0 ? 'empty' : undefined
    if (bytes.every(byte => byte === 0)) return 'empty'
    const header = decodeSegmentHeader(bytes)
    if (!header) return undefined
    const space = new OpeningSpace(this.#key, 'block-contents', header.salt)
    if (!segmentHeaderOpens(bytes, space)) return undefined
    this.#opening = space
    return this.#loadIndex(space) ?? this.#scan(space, tableKey)
  }

  close(): void {
    closeSync(this.#fd)
  }

  /** Also when the file is gone already. */
  remove(): void {
    closeSync(this.#fd)
    rmSync(join(this.#directory, segmentName(this.#name)), { force: true })
  }

  #begin(): void {
    const space = new SealingSpace(this.#key, 'block-contents')
    const header = encodeSegmentHeader(this.#name.sequence, space)
    if (!writeAll(this.#fd, header, header.length, 0)) throw new Error('the header of a cache segment could not be written')
    this.#sealing = space
    this.#opening = new OpeningSpace(this.#key, 'block-contents', space.salt)
    this.#tail = SEGMENT_HEADER_BYTES
    this.#entries = Buffer.alloc(EMPTY_FIRST_ENTRIES * INDEX_ENTRY_BYTES)
    this.#entryCount = 0
  }

  #addEntry(keyLow: number, keyHigh: number, offset: number, lengthBytes: number): void {
    const at = this.#entryCount++ * INDEX_ENTRY_BYTES
    if (at === this.#entries.length) this.#entries = Buffer.concat([this.#entries, Buffer.alloc(this.#entries.length)])
    this.#entries.writeUInt32LE(keyLow, at)
    this.#entries.writeUInt32LE(keyHigh, at + 4)
    this.#entries.writeUInt32LE(offset, at + 8)
    this.#entries.writeUInt32LE(lengthBytes, at + 12)
  }

  #loadIndex(space: OpeningSpace): IndexEntry[] | undefined {
    const trailerOffset = this.#fileBytes - TRAILER_BYTES
    const bytes = Buffer.alloc(TRAILER_BYTES)
    if (trailerOffset < SEGMENT_HEADER_BYTES || !readAll(this.#fd, bytes, bytes.length, trailerOffset)) return undefined
    const trailer = openTrailer(bytes, space, trailerOffset)
    if (!trailer || trailer.offset + indexBytes(trailer.entries) > this.#fileBytes) return undefined
    const sealed = Buffer.alloc(indexBytes(trailer.entries) - TRAILER_BYTES)
    if (!readAll(this.#fd, sealed, sealed.length, trailer.offset)) return undefined
    const plain = openIndex(sealed, space, trailer.offset)
    if (!plain) return undefined
    const entries: IndexEntry[] = []
    for (let at = 0; at < plain.length; at += INDEX_ENTRY_BYTES)
      entries.push({
        keyLow: plain.readUInt32LE(at),
        keyHigh: plain.readUInt32LE(at + 4),
        offset: plain.readUInt32LE(at + 8),
        lengthBytes: plain.readUInt32LE(at + 12),
      })
    return entries
  }

  /** It was being filled when the process ended: from record to record, until one doesn't open. */
  #scan(space: OpeningSpace, tableKey: (header: RecordHeader) => { readonly keyLow: number; readonly keyHigh: number }): IndexEntry[] {
    const entries: IndexEntry[] = []
    const sealed = Buffer.alloc(RECORD_HEADER_BYTES)
    let offset = SEGMENT_HEADER_BYTES
    while (offset + RECORD_HEADER_BYTES <= this.#fileBytes && readAll(this.#fd, sealed, sealed.length, offset)) {
      const header = openRecordHeader(sealed, space, offset)
      if (!header || offset + recordBytes(header.lengthBytes) > this.#fileBytes) break
      entries.push({ ...tableKey(header), offset, lengthBytes: header.lengthBytes })
      offset += recordBytes(header.lengthBytes)
    }
    return entries
  }
}

/** Takes the room on disk now, so that a full disk shows here and not in the middle of a block. */
function allocate(fd: number, fileBytes: number): void {
  if (process.platform === 'linux') {
    const result = linux().fallocate(fd, 0, 0, fileBytes)
    if (result === 0) return
    // EOPNOTSUPP: the filesystem can't, so a full disk shows later, as a write that fails.
    if (result !== -95)
      throw Object.assign(new Error('no room for a cache segment'), { code: result === -28 || result === -122 ? 'ENOSPC' : 'EIO' })
  }
  ftruncateSync(fd, fileBytes)
}

function writeAll(fd: number, bytes: Buffer, length: number, position: number): boolean {
  try {
    for (let done = 0; done < length; ) done += writeSync(fd, bytes, done, length - done, position + done)
    return true
  } catch {
    return false
  }
}

function readAll(fd: number, into: Buffer, length: number, position: number): boolean {
  try {
    for (let done = 0; done < length; ) {
      const n = readSync(fd, into, done, length - done, position + done)
      if (n === 0) return false
      done += n
    }
    return true
  } catch {
    return false
  }
}
