/**
 * How blocks lie on disk: segment files, filled once from front to back, then only read until they are reused.
 *
 * Owns: the byte tables below and the arithmetic of sizes. It doesn't do I/O. Numbers are little-endian.
 *
 * Segment file (named `s`, or `p` when it holds pinned blocks, and its sequence number in 12 hex digits):
 *   offset  size  field
 *   0       8     "sdmblock"
 *   8       2     version, 1; another one: the segment is discarded (it holds nothing that can't be fetched again)
 *   10      2     flags, 0; unknown ones: discarded
 *   12      4     zero
 *   16      8     sequence number: larger is newer
 *   24      8     zero
 *   32      32    salt of the segment's sealing space (purpose block-contents), new each time the file is filled anew
 *   64      16    tag: an empty piece sealed at position 0 for the place of bytes 0..63
 *   80      16    zero
 *   96      ...   records, without gaps
 *   tail    ...   when it was closed properly: the index, a piece sealed at position `tail` for place "index"
 *   end-64  64    trailer
 *
 * Record:
 *   0       56    header: 40 bytes sealed at the record's offset for place "record"
 *   56      ...   frames: each 32,768 bytes (the last one less) sealed at its own offset in the file, for its place
 * Record header, before sealing:
 *   0       16    object tag: a keyed hash of volume, key and version of the object
 *   16      4     size class of the block in bytes
 *   20      4     block length in bytes (the last block of an object is shorter than its class)
 *   24      8     block index: the block begins at index * class in the object
 *   32      8     zero
 * Place of a frame, before each is sealed (44 bytes):
 *   0       8     "frame" and zeros
 *   8       16    object tag
 *   24      4     size class
 *   28      4     block length
 *   32      8     block index
 *   40      4     frame index
 *
 * Index entry (16 bytes): 8 key of the block in the table (block-table.ts), 4 record offset, 4 block length.
 * Trailer: 0 8 "sdmindex", 8 8 offset of the index, 16 4 entries, 20 4 zero, 24 16 tag: an empty piece sealed at the trailer's
 * offset for the place of its bytes 0..23, 40 24 zero.
 *
 * No (key, nonce) pair repeats: a segment's space has a random salt, its positions are byte offsets of the file, and offsets only
 * grow while it is filled. A segment that was being filled when the process ended is never filled further.
 */
import type { OpeningSpace, SealingSpace } from '../../crypto/sealing.ts'
import { SALT_BYTES, TAG_BYTES } from '../../crypto/sealing.ts'

/** Sizes of blocks. A random read fetches one of the smallest, a stream fills the largest. All are powers of two. */
export const BLOCK_CLASSES = [16 * 1024, 128 * 1024, 1024 * 1024] as const
export const SMALLEST_BLOCK_BYTES = BLOCK_CLASSES[0]
export const LARGEST_BLOCK_BYTES = BLOCK_CLASSES[BLOCK_CLASSES.length - 1]!

/** What is sealed at once: small enough that a random read opens little, large enough that a stream opens at disk speed. */
export const FRAME_BYTES = 32 * 1024
export const SEALED_FRAME_BYTES = FRAME_BYTES + TAG_BYTES

export const OBJECT_TAG_BYTES = 16
export const SEGMENT_HEADER_BYTES = 96
export const RECORD_HEADER_BYTES = 56
export const TRAILER_BYTES = 64
export const INDEX_ENTRY_BYTES = 16
const RECORD_PLAIN_BYTES = RECORD_HEADER_BYTES - TAG_BYTES
const MAGIC = Buffer.from('sdmblock', 'latin1')
const INDEX_MAGIC = Buffer.from('sdmindex', 'latin1')
const VERSION = 1
const RECORD_PLACE = Buffer.from('record', 'latin1')
const INDEX_PLACE = Buffer.from('index', 'latin1')
const EMPTY = Buffer.alloc(0)

/** Bytes that a block of this length takes in a segment. */
export function recordBytes(lengthBytes: number): number {
  return RECORD_HEADER_BYTES + lengthBytes + Math.ceil(lengthBytes / FRAME_BYTES) * TAG_BYTES
}

/** Where frame `index` of a record begins. */
export function frameOffset(recordOffset: number, index: number): number {
  return recordOffset + RECORD_HEADER_BYTES + index * SEALED_FRAME_BYTES
}

export interface SegmentHeader {
  readonly sequence: number
  readonly salt: Buffer
}

export function encodeSegmentHeader(sequence: number, space: SealingSpace): Buffer {
  const bytes = Buffer.alloc(SEGMENT_HEADER_BYTES)
  MAGIC.copy(bytes, 0)
  bytes.writeUInt16LE(VERSION, 8)
  bytes.writeBigUInt64LE(BigInt(sequence), 16)
  space.salt.copy(bytes, 32)
  space.seal(0, bytes.subarray(0, 64), EMPTY, bytes, 64)
  return bytes
}

/** Undefined for what isn't a header of this version. The tag is checked by `segmentHeaderOpens`, which needs the salt first. */
export function decodeSegmentHeader(bytes: Buffer): SegmentHeader | undefined {
  if (bytes.length < SEGMENT_HEADER_BYTES || bytes.compare(MAGIC, 0, 8, 0, 8) !== 0) return undefined
  const sequence = bytes.readBigUInt64LE(16)
  if (bytes.readUInt16LE(8) !== VERSION || bytes.readUInt16LE(10) !== 0 || sequence > BigInt(Number.MAX_SAFE_INTEGER)) return undefined
  return { sequence: Number(sequence), salt: Buffer.from(bytes.subarray(32, 32 + SALT_BYTES)) }
}

export function segmentHeaderOpens(bytes: Buffer, space: OpeningSpace): boolean {
  return space.open(0, bytes.subarray(0, 64), bytes.subarray(64, 64 + TAG_BYTES)) !== undefined
}

export interface RecordHeader {
  readonly objectTag: Buffer
  readonly classBytes: number
  readonly lengthBytes: number
  readonly blockIndex: number
}

/** Seals the header of a record that begins at `offset` of the file into `into` at `at`. */
export function sealRecordHeader(header: RecordHeader, space: SealingSpace, offset: number, into: Buffer, at: number): void {
  const plain = Buffer.alloc(RECORD_PLAIN_BYTES)
  header.objectTag.copy(plain, 0)
  plain.writeUInt32LE(header.classBytes, 16)
  plain.writeUInt32LE(header.lengthBytes, 20)
  plain.writeBigUInt64LE(BigInt(header.blockIndex), 24)
  space.seal(offset, RECORD_PLACE, plain, into, at)
}

/** Undefined when there is no record at `offset`. */
export function openRecordHeader(sealed: Buffer, space: OpeningSpace, offset: number): RecordHeader | undefined {
  if (sealed.length < RECORD_HEADER_BYTES) return undefined
  const plain = space.open(offset, RECORD_PLACE, sealed.subarray(0, RECORD_HEADER_BYTES))
  if (!plain) return undefined
  const classBytes = plain.readUInt32LE(16)
  const lengthBytes = plain.readUInt32LE(20)
  if (!(BLOCK_CLASSES as readonly number[]).includes(classBytes) || lengthBytes === 0 || lengthBytes > classBytes) return undefined
  return {
    objectTag: Buffer.from(plain.subarray(0, OBJECT_TAG_BYTES)),
    classBytes,
    lengthBytes,
    blockIndex: Number(plain.readBigUInt64LE(24)),
  }
}

/** The place of frames: made once per block, with `setFrame` for each of its frames. */
export class FramePlace {
  readonly bytes: Buffer = Buffer.alloc(44)

  constructor() {
    this.bytes.write('frame', 0, 'latin1')
  }

  setBlock(objectTag: Buffer, classBytes: number, lengthBytes: number, blockIndex: number): void {
    objectTag.copy(this.bytes, 8)
    this.bytes.writeUInt32LE(classBytes, 24)
    this.bytes.writeUInt32LE(lengthBytes, 28)
    this.bytes.writeUInt32LE(blockIndex >>> 0, 32)
    this.bytes.writeUInt32LE(Math.floor(blockIndex / 2 ** 32), 36)
  }

  setFrame(index: number): Buffer {
    this.bytes.writeUInt32LE(index, 40)
    return this.bytes
  }
}

/** Bytes of an index with so many entries, sealed, with the trailer. */
export function indexBytes(entries: number): number {
  return entries * INDEX_ENTRY_BYTES + TAG_BYTES + TRAILER_BYTES
}

/** The index at `tail` and the trailer at `trailerOffset`, to be written there. */
export function sealIndex(
  entries: Buffer,
  space: SealingSpace,
  tail: number,
  trailerOffset: number,
): { readonly index: Buffer; readonly trailer: Buffer } {
  const index = Buffer.alloc(entries.length + TAG_BYTES)
  space.seal(tail, INDEX_PLACE, entries, index, 0)
  const trailer = Buffer.alloc(TRAILER_BYTES)
  INDEX_MAGIC.copy(trailer, 0)
  trailer.writeBigUInt64LE(BigInt(tail), 8)
  trailer.writeUInt32LE(entries.length / INDEX_ENTRY_BYTES, 16)
  space.seal(trailerOffset, trailer.subarray(0, 24), EMPTY, trailer, 24)
  return { index, trailer }
}

/** Where the index is, or undefined when the segment wasn't closed. */
export function openTrailer(
  trailer: Buffer,
  space: OpeningSpace,
  trailerOffset: number,
): { readonly offset: number; readonly entries: number } | undefined {
  if (trailer.length < TRAILER_BYTES || trailer.compare(INDEX_MAGIC, 0, 8, 0, 8) !== 0) return undefined
  if (space.open(trailerOffset, trailer.subarray(0, 24), trailer.subarray(24, 24 + TAG_BYTES)) === undefined) return undefined
  return { offset: Number(trailer.readBigUInt64LE(8)), entries: trailer.readUInt32LE(16) }
}

export function openIndex(sealed: Buffer, space: OpeningSpace, offset: number): Buffer | undefined {
  return space.open(offset, INDEX_PLACE, sealed)
}
