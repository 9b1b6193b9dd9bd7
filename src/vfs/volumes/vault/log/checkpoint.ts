/**
 * Checkpoints: the whole working index at one position of the log, so that the log before it can go.
 *
 * Owns: the form, writing one without stopping the vault (a second connection reads one state of the index in slices), and
 * reading one back. Must stay true: a checkpoint counts only when its last frame is there and says how many frames there are;
 * frames are bound to their number, so that none is missing, doubled or from another checkpoint.
 *
 * Checkpoint `checkpoints/<number, 12 hex digits>`, little-endian:
 *   offset  size  field
 *   0       8     `sdmv-chk`
 *   8       2     version, 1
 *   10      6     zero
 *   16      8     number of the checkpoint, ascending
 *   24      8     zero
 *   32      32    salt of the space, purpose `vault checkpoint`, parent: the master key
 *   64      16    tag: an empty piece at position 0; place: bytes 0..63, then the vault id
 *   80            frames: 4 bytes length of the piece, then the piece, at the position of the frame's number (from 1); place:
 *                 `vcheck` and zeros to 8, vault id 16, number of the checkpoint 8, number of the frame 8, length 4
 * What is at 0..9 and 32..79 stays there in all versions to come.
 *   plaintext of a frame: rows (forms in log/bytes.ts): number of the table, then its columns. A column: 0 nothing; 1 and a
 *   signed number; 2 and a name (text, one character a byte); 3 and bytes. The last frame: table number 255, the number of
 *   frames before it, the position in the log (64 bytes, log-format.ts).
 */
import { OpeningSpace, SealingSpace, TAG_BYTES } from '../../../../crypto/sealing.ts'
import { FsError } from '../../../../errors.ts'
import type { Database } from '../../../../sqlite/database.ts'
import type { VaultIdentity } from '../chunks/pack-format.ts'
import { CHECKPOINT_TABLES } from '../index/schema.ts'
import type { VaultStore } from '../store/contract.ts'
import { ByteReader, ByteWriter } from './bytes.ts'
import { decodePosition, encodePosition, type LogPosition } from './log-format.ts'

const MAGIC = Buffer.from('sdmv-chk')
const VERSION = 1
const HEADER_BYTES = 80
const SEALED_FROM = 64
const FRAME_BYTES = 256 * 1024
/** Above what a frame can be: one row more than FRAME_BYTES. */
const FRAME_LIMIT_BYTES = 4 * 2 ** 20
const ROWS_AT_ONCE = 2000
const PLACE_TAG = Buffer.from('vcheck\0\0')
const LAST = 255
/** LAST as it is written: a frame of its own begins with it. */
const [LAST_FIRST_BYTE, LAST_SECOND_BYTE] = [0xff, 0x01]

type Column = number | string | Buffer | null

export function checkpointBlob(number: number): string {
  return `checkpoints/${number.toString(16).padStart(12, '0')}`
}

function headerPlace(vault: VaultIdentity, header: Buffer): Buffer {
  return Buffer.concat([header.subarray(0, SEALED_FROM), vault.vaultId])
}

class FramePlace {
  readonly bytes = Buffer.alloc(44)

  constructor(vaultId: Buffer, checkpoint: number) {
    PLACE_TAG.copy(this.bytes)
    vaultId.copy(this.bytes, 8)
    this.bytes.writeBigUInt64LE(BigInt(checkpoint), 24)
  }

  of(frame: number, length: number): Buffer {
    this.bytes.writeBigUInt64LE(BigInt(frame), 32)
    this.bytes.writeUInt32LE(length, 40)
    return this.bytes
  }
}

export interface CheckpointSource {
  readonly vault: VaultIdentity
  readonly store: VaultStore
  readonly number: number
  /** A connection of its own, on which a read transaction holds the state at `position`. */
  readonly reader: Database
  readonly position: LogPosition
}

/** Writes a checkpoint in slices: each `next` does some milliseconds' work. Durable when it is done; answers its size. */
export function* writeCheckpoint(source: CheckpointSource): Generator<undefined, number> {
  const { vault, store, number, reader, position } = source
  const name = checkpointBlob(number)
  const space = new SealingSpace(vault.master, 'vault-checkpoint')
  const header = Buffer.alloc(HEADER_BYTES)
  MAGIC.copy(header)
  header.writeUInt16LE(VERSION, 8)
  header.writeBigUInt64LE(BigInt(number), 16)
  space.salt.copy(header, 32)
  space.seal(0, headerPlace(vault, header), new Uint8Array(0), header, SEALED_FROM)
  const place = new FramePlace(vault.vaultId, number)
  const out = new ByteWriter()
  let frame = 0
  const blob = store.create(name)
  const end = () => {
    const length = out.length + TAG_BYTES
    const bytes = Buffer.allocUnsafe(4 + length)
    bytes.writeUInt32LE(length)
    space.seal(++frame, place.of(frame, length), out.written, bytes, 4)
    blob.append(bytes)
    out.clear()
  }
  let isDone = false
  try {
    blob.append(header)
    for (const [table, rows] of tableSlices(reader)) {
      for (const row of rows) {
        writeRow(out, table, row)
        if (out.length >= FRAME_BYTES) end()
      }
      yield
    }
    if (out.length > 0) end()
    out.number(LAST)
    out.number(frame)
    out.bytes(encodePosition(position))
    end()
    blob.sync()
    isDone = true
    return blob.sizeBytes
  } finally {
    blob.close()
    if (!isDone) store.remove(name)
  }
}

function* tableSlices(reader: Database): Generator<[number, Column[][]]> {
  for (const [number, { name, key }] of CHECKPOINT_TABLES.entries()) {
    const columns = reader.prepare<{ name: string }>('SELECT name FROM pragma_table_info(?)').all(name)
    const indexes = key.map(column => columns.findIndex(info => info.name === column))
    const order = key.join(', ')
    const first = reader.prepare<Column[]>(`SELECT * FROM ${name} ORDER BY ${order} LIMIT ${ROWS_AT_ONCE}`).raw()
    const next = reader
      .prepare<Column[]>(
        `SELECT * FROM ${name} WHERE (${order}) > (${key.map(() => '?').join(', ')}) ORDER BY ${order} LIMIT ${ROWS_AT_ONCE}`,
      )
      .raw()
    for (let rows = first.all(); rows.length > 0; ) {
      yield [number, rows]
      const last = rows.at(-1)!
      rows = next.all(...indexes.map(index => last[index]!))
    }
  }
}

function writeRow(out: ByteWriter, table: number, row: readonly Column[]): void {
  out.number(table)
  for (const value of row) {
    if (value === null) out.number(0)
    else if (typeof value === 'number') {
      out.number(1)
      out.signed(value)
    } else if (typeof value === 'string') {
      out.number(2)
      out.name(value)
    } else {
      out.number(3)
      out.bytes(value)
    }
  }
}

function readColumn(from: ByteReader): Column {
  const kind = from.number()
  if (kind === 0) return null
  if (kind === 1) return from.signed()
  if (kind === 2) return from.name()
  if (kind === 3) return from.bytes()
  throw new FsError('not-supported', `a checkpoint has a column of kind ${kind}: a newer sdmount wrote it`)
}

/**
 * Fills an empty index from a checkpoint, within the caller's transaction; answers the position in the log. Throws 'damaged' where
 * it isn't whole, 'not-supported' where it is newer.
 */
export function loadCheckpoint(vault: VaultIdentity, store: VaultStore, number: number, database: Database): LogPosition {
  const inserts = CHECKPOINT_TABLES.map(({ name, columns }) =>
    database.prepare(`INSERT INTO ${name} VALUES (${Array(columns).fill('?').join(', ')})`),
  )
  let frame = 0
  for (const piece of checkpointFrames(vault, store, number)) {
    const from = new ByteReader(piece)
    while (!from.ended) {
      const table = from.number()
      if (table === LAST) {
        const frames = from.number()
        const position = decodePosition(from.bytes())
        if (frames !== frame || !from.ended) throw damaged(number, 'frames are missing')
        return position
      }
      const known = CHECKPOINT_TABLES[table]
      if (!known) throw new FsError('not-supported', `a checkpoint has table ${table}: a newer sdmount wrote it`)
      inserts[table]!.run(...Array.from({ length: known.columns }, () => readColumn(from)))
    }
    frame++
  }
  throw damaged(number, 'it is cut off')
}

/** The position of a checkpoint that is whole; reads all of it. Throws as `loadCheckpoint`. */
export function checkpointPosition(vault: VaultIdentity, store: VaultStore, number: number): LogPosition {
  let frame = 0
  for (const piece of checkpointFrames(vault, store, number)) {
    if (piece[0] === LAST_FIRST_BYTE && piece[1] === LAST_SECOND_BYTE) {
      const from = new ByteReader(piece)
      from.number()
      if (from.number() !== frame) throw damaged(number, 'frames are missing')
      return decodePosition(from.bytes())
    }
    frame++
  }
  throw damaged(number, 'it is cut off')
}

function* checkpointFrames(vault: VaultIdentity, store: VaultStore, number: number): Generator<Buffer> {
  const name = checkpointBlob(number)
  const header = Buffer.alloc(HEADER_BYTES)
  if (store.read(name, 0, header) < HEADER_BYTES || !header.subarray(0, 8).equals(MAGIC)) throw damaged(number, 'it has no header')
  const space = new OpeningSpace(vault.master, 'vault-checkpoint', header.subarray(32, SEALED_FROM))
  if (!space.open(0, headerPlace(vault, header), header.subarray(SEALED_FROM))) throw damaged(number, 'its header is damaged')
  const version = header.readUInt16LE(8)
  if (version > VERSION) throw new FsError('not-supported', `a checkpoint has version ${version}, this program knows ${VERSION}`)
  if (Number(header.readBigUInt64LE(16)) !== number) throw damaged(number, 'this is another checkpoint')
  const place = new FramePlace(vault.vaultId, number)
  const size = Buffer.alloc(4)
  for (let at = HEADER_BYTES, frame = 1; store.read(name, at, size) === 4; frame++) {
    const length = size.readUInt32LE()
    if (length < TAG_BYTES || length > FRAME_LIMIT_BYTES) throw damaged(number, `frame ${frame} is damaged`)
    const piece = Buffer.allocUnsafe(length)
    if (store.read(name, at + 4, piece) < length) throw damaged(number, 'it is cut off')
    const plain = space.open(frame, place.of(frame, length), piece)
    if (!plain) throw damaged(number, `frame ${frame} is damaged`)
    yield plain
    at += 4 + length
  }
}

function damaged(number: number, what: string): FsError {
  return new FsError('damaged', `${checkpointBlob(number)}: ${what}`)
}
