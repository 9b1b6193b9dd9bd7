/**
 * The vault's log: segments of sealed records, each chained to the one before.
 *
 * Owns: the form of segments, records and of a position in the log. Pure.
 *
 * Segment `log/<number, 12 hex digits>`, little-endian:
 *   offset  size  field
 *   0       8     `sdmv-log`
 *   8       2     version, 1
 *   10      6     zero
 *   16      8     number of the segment, ascending
 *   24      8     sequence of the record before the first one here
 *   32      32    its chain value (of sequence 0: SHA-256 of the vault id)
 *   64      32    salt of the segment's space, purpose `vault log`, parent: the master key
 *   96      16    tag: an empty piece at position 0; place: bytes 0..95, then the vault id
 *   112           records, without gaps
 * What is at 0..9 and 64..111 stays there in all versions to come, so that a newer one is told from a damaged one.
 *
 * Record:
 *   0       4     length of the sealed piece, tag and all
 *   4       4     the same, all bits turned: a length that was damaged is told from one that was never written
 *   8             the piece, at the position of the record's offset; place: `vlog` and zeros to 8, vault id 16, number of the
 *                 segment 8, offset 8, length 4
 *   plaintext of the piece:
 *   0       8     sequence: one more than the record before
 *   8       8     when, milliseconds since 1970
 *   16      32    chain value of the record before
 *   48      1     1: changes follow (index/changes.ts); 2: nothing follows, the vault was closed
 * The chain value of a record is the SHA-256 of its plaintext.
 */
import { createHash } from 'node:crypto'
import { OpeningSpace, SealingSpace, TAG_BYTES } from '../../../../crypto/sealing.ts'
import { FsError } from '../../../../errors.ts'
import type { VaultIdentity } from '../chunks/pack-format.ts'

const MAGIC = Buffer.from('sdmv-log')
const VERSION = 1
const SEALED_FROM = 96
export const SEGMENT_HEADER_BYTES = 112
export const RECORD_HEADER_BYTES = 8
const PLACE_TAG = Buffer.from('vlog\0\0\0\0')
const FIXED_BYTES = 49
export const RECORD_CHANGES = 1
export const RECORD_CLOSED = 2

/** Up to where the log was applied: behind a record. */
export interface LogPosition {
  readonly segment: number
  /** Of that record in its segment; where it ends; 0, 0: the record isn't there any more (a checkpoint has it). */
  readonly offset: number
  readonly end: number
  readonly sequence: number
  readonly chain: Buffer
}

export interface SegmentHeader {
  readonly number: number
  readonly sequence: number
  readonly chain: Buffer
}

export interface LogRecord {
  readonly sequence: number
  readonly timeMs: number
  readonly before: Buffer
  readonly kind: number
  readonly changes: Buffer
  /** Of this record. */
  readonly chain: Buffer
}

export function segmentBlob(number: number): string {
  return `log/${number.toString(16).padStart(12, '0')}`
}

export function blobNumber(name: string): number {
  return Number.parseInt(name.slice(name.indexOf('/') + 1), 16)
}

/** The position before everything. */
export function startOfLog(vaultId: Buffer): LogPosition {
  return { segment: 0, offset: 0, end: 0, sequence: 0, chain: createHash('sha256').update(vaultId).digest() }
}

export function newSegment(
  vault: VaultIdentity,
  number: number,
  after: LogPosition,
): { readonly space: SealingSpace; readonly header: Buffer } {
  const space = new SealingSpace(vault.master, 'vault-log')
  const header = Buffer.alloc(SEGMENT_HEADER_BYTES)
  MAGIC.copy(header)
  header.writeUInt16LE(VERSION, 8)
  header.writeBigUInt64LE(BigInt(number), 16)
  header.writeBigUInt64LE(BigInt(after.sequence), 24)
  after.chain.copy(header, 32)
  space.salt.copy(header, 64)
  space.seal(0, Buffer.concat([header.subarray(0, SEALED_FROM), vault.vaultId]), new Uint8Array(0), header, SEALED_FROM)
  return { space, header }
}

/** Throws 'damaged' for what isn't that segment's header, 'not-supported' for a newer one. */
export function openSegment(
  vault: VaultIdentity,
  number: number,
  header: Buffer,
): { readonly space: OpeningSpace; readonly header: SegmentHeader } {
  const damaged = (what: string) => new FsError('damaged', `${segmentBlob(number)}: ${what}`)
  if (header.length < SEGMENT_HEADER_BYTES || !header.subarray(0, 8).equals(MAGIC)) throw damaged('no header')
  const space = new OpeningSpace(vault.master, 'vault-log', header.subarray(64, SEALED_FROM))
  const place = Buffer.concat([header.subarray(0, SEALED_FROM), vault.vaultId])
  if (!space.open(0, place, header.subarray(SEALED_FROM, SEGMENT_HEADER_BYTES))) throw damaged('the header is damaged')
  const version = header.readUInt16LE(8)
  if (version > VERSION) throw new FsError('not-supported', `the vault's log has version ${version}, this program knows ${VERSION}`)
  if (Number(header.readBigUInt64LE(16)) !== number) throw damaged('this is another segment')
  return { space, header: { number, sequence: Number(header.readBigUInt64LE(24)), chain: Buffer.from(header.subarray(32, 64)) } }
}

function recordPlace(vaultId: Buffer, segment: number, offset: number, length: number): Buffer {
  const place = Buffer.alloc(44)
  PLACE_TAG.copy(place)
  vaultId.copy(place, 8)
  place.writeBigUInt64LE(BigInt(segment), 24)
  place.writeBigUInt64LE(BigInt(offset), 32)
  place.writeUInt32LE(length, 40)
  return place
}

export interface NewRecord {
  readonly sequence: number
  readonly timeMs: number
  readonly before: Buffer
  readonly kind: number
  readonly changes: Buffer
}

/** The bytes of a record at `offset` of a segment, and its chain value. */
export function sealRecord(
  space: SealingSpace,
  vaultId: Buffer,
  segment: number,
  offset: number,
  record: NewRecord,
): { readonly bytes: Buffer; readonly chain: Buffer } {
  const plain = Buffer.allocUnsafe(FIXED_BYTES + record.changes.length)
  plain.writeBigUInt64LE(BigInt(record.sequence), 0)
  plain.writeBigUInt64LE(BigInt(record.timeMs), 8)
  record.before.copy(plain, 16)
  plain[48] = record.kind
  record.changes.copy(plain, FIXED_BYTES)
  const length = plain.length + TAG_BYTES
  const bytes = Buffer.allocUnsafe(RECORD_HEADER_BYTES + length)
  bytes.writeUInt32LE(length, 0)
  bytes.writeUInt32LE(~length >>> 0, 4)
  space.seal(offset, recordPlace(vaultId, segment, offset, length), plain, bytes, RECORD_HEADER_BYTES)
  return { bytes, chain: createHash('sha256').update(plain).digest() }
}

/** The length of the piece that a record's header announces; 'unwritten' for zeros, 'damaged' for what can't be. */
export function recordLength(header: Buffer): number | 'unwritten' | 'damaged' {
  const length = header.readUInt32LE(0)
  const turned = header.readUInt32LE(4)
  if (length === 0 && turned === 0) return 'unwritten'
  return turned === ~length >>> 0 && length >= FIXED_BYTES + TAG_BYTES ? length : 'damaged'
}

/** The record, or undefined where that isn't what was sealed there. */
export function openRecord(space: OpeningSpace, vaultId: Buffer, segment: number, offset: number, piece: Buffer): LogRecord | undefined {
  const plain = space.open(offset, recordPlace(vaultId, segment, offset, piece.length), piece)
  if (!plain || plain.length < FIXED_BYTES) return undefined
  return {
    sequence: Number(plain.readBigUInt64LE(0)),
    timeMs: Number(plain.readBigUInt64LE(8)),
    before: plain.subarray(16, 48),
    kind: plain[48]!,
    changes: plain.subarray(FIXED_BYTES),
    chain: createHash('sha256').update(plain).digest(),
  }
}

/**
 * A position as it is stored in the working index and in a checkpoint: segment 8, offset 8, end 8, sequence 8, chain 32.
 */
export function encodePosition(position: LogPosition): Buffer {
  const bytes = Buffer.alloc(64)
  const numbers = [position.segment, position.offset, position.end, position.sequence]
  for (const [i, value] of numbers.entries()) bytes.writeBigUInt64LE(BigInt(value), i * 8)
  position.chain.copy(bytes, 32)
  return bytes
}

export function decodePosition(bytes: Buffer): LogPosition {
  if (bytes.length !== 64) throw new FsError('damaged', 'a position in the log has another length')
  const [segment, offset, end, sequence] = [0, 8, 16, 24].map(at => Number(bytes.readBigUInt64LE(at))) as [number, number, number, number]
  return { segment, offset, end, sequence, chain: Buffer.from(bytes.subarray(32)) }
}
