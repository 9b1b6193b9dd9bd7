/**
 * How written bytes lie on disk until they are uploaded: staging files, and the roots that say what in them counts.
 *
 * Owns: the byte tables below. It doesn't do I/O. Numbers are little-endian.
 *
 * Staging file (named by its id in hex):
 *   offset  size      field
 *   0       8         "sdmstage"
 *   8       2         version, 1; another one is refused
 *   10      6         zero
 *   16      16        file id, random
 *   4096    ...       slots of 32,784 bytes: a frame of up to 32,768 bytes and its tag, or a page of the map and its tag
 *
 * Which slot holds which frame, and under which nonce, is the map. A frame is never overwritten in place: its new state goes to a
 * free slot, so that what a root says stays true until a newer root is written. The root is the journal's (a row of an encrypted
 * database): it is what makes a state of the file the state that counts. The root of a small content holds it all: making and
 * removing a file costs more than the row.
 *
 * Root:
 *   0       2         version, 1; another one is refused
 *   2       2         salts
 *   4       4         entries; of kind 3: bytes of content
 *   8       8         size of the content
 *   16      8         up to here, what isn't in a slot is what the base object has; beyond it is zeros
 *   24      16        file id
 *   40      4         1: entries are frames; 2: entries are pages of the map; 3: the content itself follows, there is no file
 *   44      4         zero
 *   48      32 each   salts of the sealing spaces, one for each run of the program that wrote to the file
 *   ...     20 each   entries, in ascending order of their indexes
 * Entry (of a root, or of a page):
 *   0       4         frame index, or page index
 *   4       4         slot + 1; 0xffffffff: zeros, whatever the base has
 *   8       6         position in the sealing space
 *   14      2         which salt
 *   16      2         length of the plaintext - 1
 *   18      2         zero
 * Page of the map: entries of those of the 1,024 frames from 1,024 * page index on that have one. A frame shorter than its
 * place in the content goes on with zeros.
 *
 * Place of a sealed piece (32 bytes): 0 8 "stage" and zeros, 8 16 file id, 24 4 frame or page index, 28 1 kind (1 frame, 2 page),
 * 29 3 length of the plaintext.
 *
 * No (key, nonce) pair repeats: each run makes a space of its own with a random salt, and counts positions up in memory.
 */

import { SALT_BYTES, TAG_BYTES } from '../../crypto/sealing.ts'
import { FsError } from '../../errors.ts'

export const STAGE_FRAME_BYTES = 32 * 1024
export const SLOT_BYTES = STAGE_FRAME_BYTES + TAG_BYTES
export const SLOTS_OFFSET = 4096
export const FILE_ID_BYTES = 16
const HEADER_BYTES = 32
const ROOT_HEADER_BYTES = 48
export const ENTRY_BYTES = 20
/** Frames in a page of the map: its entries fit a slot. */
export const PAGE_FRAMES = 1024
/** A root holds up to so many frames itself. */
export const INLINE_FRAMES = 64
const MAGIC = Buffer.from('sdmstage', 'latin1')
const VERSION = 1
const ZEROS_SLOT = 0xffffffff

export type PieceKind = 'frame' | 'page'
const CONTENT_KIND = 3
const KIND_NUMBER: Record<PieceKind, number> = { frame: 1, page: 2 }

export function slotOffset(slot: number): number {
  return SLOTS_OFFSET + slot * SLOT_BYTES
}

export function encodeHeader(fileId: Buffer): Buffer {
  const bytes = Buffer.alloc(HEADER_BYTES)
  MAGIC.copy(bytes, 0)
  bytes.writeUInt16LE(VERSION, 8)
  fileId.copy(bytes, 16)
  return bytes
}

/** Throws 'damaged' when this isn't the file with that id. */
export function checkHeader(bytes: Buffer, fileId: Buffer): void {
  if (
    bytes.length < HEADER_BYTES ||
    bytes.compare(MAGIC, 0, 8, 0, 8) !== 0 ||
    bytes.compare(fileId, 0, FILE_ID_BYTES, 16, 16 + FILE_ID_BYTES) !== 0
  )
    throw new FsError('damaged', 'a staging file is damaged', { operation: 'open staging' })
  if (bytes.readUInt16LE(8) !== VERSION)
    throw new FsError('not-supported', 'a staging file was written by a newer version', { operation: 'open staging' })
}

/** The place of sealed pieces: `set` it before each. */
export class StagePlace {
  readonly #bytes: Buffer = Buffer.alloc(32)

  constructor(fileId: Buffer) {
    this.#bytes.write('stage', 0, 'latin1')
    fileId.copy(this.#bytes, 8)
  }

  set(kind: PieceKind, index: number, lengthBytes: number): Buffer {
    this.#bytes.writeUInt32LE(index, 24)
    this.#bytes.writeUInt8(KIND_NUMBER[kind], 28)
    this.#bytes.writeUIntLE(lengthBytes, 29, 3)
    return this.#bytes
  }
}

/** Where a sealed piece is: a slot, the position it was sealed at, and in whose space. */
export interface PieceRef {
  readonly slot: number
  readonly position: number
  readonly salt: number
  readonly lengthBytes: number
}

export type EntryValue = PieceRef | 'zeros'

export interface Entry {
  readonly index: number
  readonly value: EntryValue
}

export function encodeEntries(entries: readonly Entry[]): Buffer {
  const bytes = Buffer.alloc(entries.length * ENTRY_BYTES)
  for (const [i, { index, value }] of entries.entries()) {
    const at = i * ENTRY_BYTES
    bytes.writeUInt32LE(index, at)
    if (value === 'zeros') {
      bytes.writeUInt32LE(ZEROS_SLOT, at + 4)
      continue
    }
    bytes.writeUInt32LE(value.slot + 1, at + 4)
    bytes.writeUIntLE(value.position, at + 8, 6)
    bytes.writeUInt16LE(value.salt, at + 14)
    bytes.writeUInt16LE(value.lengthBytes - 1, at + 16)
  }
  return bytes
}

/** Throws 'damaged' for what `encodeEntries` can't have made. */
export function decodeEntries(bytes: Buffer, salts: number): Entry[] {
  const damaged = () => new FsError('damaged', 'the map of a staging file is damaged', { operation: 'open staging' })
  if (bytes.length % ENTRY_BYTES !== 0) throw damaged()
  const entries: Entry[] = []
  let previous = -1
  for (let at = 0; at < bytes.length; at += ENTRY_BYTES) {
    const index = bytes.readUInt32LE(at)
    const slot = bytes.readUInt32LE(at + 4)
    const salt = bytes.readUInt16LE(at + 14)
    const lengthBytes = bytes.readUInt16LE(at + 16) + 1
    if (index <= previous || slot === 0 || (slot !== ZEROS_SLOT && (salt >= salts || lengthBytes > STAGE_FRAME_BYTES))) throw damaged()
    previous = index
    entries.push({
      index,
      value: slot === ZEROS_SLOT ? 'zeros' : { slot: slot - 1, position: bytes.readUIntLE(at + 8, 6), salt, lengthBytes },
    })
  }
  return entries
}

/** A root of this much content holds it itself. */
export const CONTENT_IN_ROOT_BYTES = STAGE_FRAME_BYTES

export interface Root {
  readonly fileId: Buffer
  readonly sizeBytes: number
  readonly baseEnd: number
  readonly salts: readonly Buffer[]
  readonly holds: PieceKind | 'content'
  readonly entries: readonly Entry[]
  /** When it holds that. */
  readonly content?: Buffer
}

export function encodeRoot(root: Root): Buffer {
  const header = Buffer.alloc(ROOT_HEADER_BYTES)
  header.writeUInt16LE(VERSION, 0)
  header.writeUInt16LE(root.salts.length, 2)
  header.writeUInt32LE(root.content?.length ?? root.entries.length, 4)
  header.writeBigUInt64LE(BigInt(root.sizeBytes), 8)
  header.writeBigUInt64LE(BigInt(root.baseEnd), 16)
  root.fileId.copy(header, 24)
  header.writeUInt32LE(root.holds === 'content' ? CONTENT_KIND : KIND_NUMBER[root.holds], 40)
  return Buffer.concat([header, ...root.salts, root.content ?? encodeEntries(root.entries)])
}

/** Throws 'damaged', or 'not-supported' for a newer version. */
export function decodeRoot(bytes: Buffer): Root {
  const damaged = () => new FsError('damaged', 'the root of a staging file is damaged', { operation: 'open staging' })
  if (bytes.length < ROOT_HEADER_BYTES) throw damaged()
  if (bytes.readUInt16LE(0) !== VERSION)
    throw new FsError('not-supported', 'the root of a staging file was written by a newer version', { operation: 'open staging' })
  const saltCount = bytes.readUInt16LE(2)
  const entryCount = bytes.readUInt32LE(4)
  const kind = bytes.readUInt32LE(40)
  const entriesAt = ROOT_HEADER_BYTES + saltCount * SALT_BYTES
  if (bytes.length !== entriesAt + entryCount * (kind === CONTENT_KIND ? 1 : ENTRY_BYTES) || kind < 1 || kind > CONTENT_KIND)
    throw damaged()
  const sizeBytes = bytes.readBigUInt64LE(8)
  const baseEnd = bytes.readBigUInt64LE(16)
  if (sizeBytes > BigInt(Number.MAX_SAFE_INTEGER) || baseEnd > sizeBytes) throw damaged()
  const isContent = kind === CONTENT_KIND
  if (isContent && sizeBytes !== BigInt(entryCount)) throw damaged()
  return {
    fileId: Buffer.from(bytes.subarray(24, 24 + FILE_ID_BYTES)),
    sizeBytes: Number(sizeBytes),
    baseEnd: Number(baseEnd),
    salts: Array.from({ length: saltCount }, (_, i) =>
      Buffer.from(bytes.subarray(ROOT_HEADER_BYTES + i * SALT_BYTES, ROOT_HEADER_BYTES + (i + 1) * SALT_BYTES)),
    ),
    holds: isContent ? 'content' : kind === 1 ? 'frame' : 'page',
    entries: isContent ? [] : decodeEntries(bytes.subarray(entriesAt), saltCount),
    ...(isContent ? { content: Buffer.from(bytes.subarray(entriesAt)) } : {}),
  }
}
