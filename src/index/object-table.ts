/**
 * The objects of cloud volumes, kept in the index (object-store.ts is the contract).
 *
 * Must stay true: what is queued for the tree is applied before anything is written or read here, in the same transaction; a
 * node's rows go with the node's row; a library without cloud volumes pays nothing for that.
 */
import { type Database, databaseError, type Statement } from '../sqlite/database.ts'
import type { Ino, Name } from '../vfs/contract.ts'
import type { Committer } from './committer.ts'
import type { VolumeId } from './contract.ts'
import type { ChildObject, ObjectRecord, ObjectStore, PendingMove } from './object-store.ts'
import { nameOfBytes, nameParameter } from './rows.ts'

/** Bits of `objects.flags`; they never change their meaning. */
const KNOWN = 1
const PENDING = 2
const PINNED = 4

type Row = readonly (number | string | Buffer | null)[]

const COLUMNS = 'ino, volume, key, etag, version, size, modified_ms, type, flags, listed_ms, replaces'

export class ObjectTable implements ObjectStore {
  readonly #committer: Pick<Committer, 'begin' | 'settle'>
  readonly #sql: ReturnType<typeof prepare>
  #isUsed: boolean

  constructor(database: Database, committer: Pick<Committer, 'begin' | 'settle'>) {
    this.#committer = committer
    this.#sql = prepare(database)
    this.#isUsed = this.#sql.any.get() !== undefined
  }

  get(ino: Ino): ObjectRecord | undefined {
    const row = this.#read(() => this.#sql.get.get(ino))
    return row && recordOf(row, 0)
  }

  put(record: ObjectRecord): void {
    const flags = (record.known ? KNOWN : 0) | (record.pending ? PENDING : 0) | (record.pinned ? PINNED : 0)
    this.#write(() =>
      this.#sql.put.run(
        record.ino,
        record.volume,
        record.key ?? null,
        record.etag ?? null,
        record.versionId ?? null,
        record.sizeBytes,
        record.modifiedMs,
        record.contentType ?? null,
        flags,
        record.listedMs ?? null,
        record.replaces ?? null,
      ),
    )
  }

  children(parent: Ino, after: Name, limit: number): ChildObject[] {
    return this.#read(() => this.#sql.children.all(parent, nameParameter(after), limit)).map(childOf)
  }

  child(parent: Ino, name: Name): ChildObject | undefined {
    const row = this.#read(() => this.#sql.child.get(parent, nameParameter(name)))
    return row && childOf(row)
  }

  pending(volume: VolumeId, after: Ino, limit: number): ObjectRecord[] {
    return this.#read(() => this.#sql.pending.all(volume, after, limit)).map(row => recordOf(row, 0))
  }

  pendingAt(volume: VolumeId, key: string): ObjectRecord | undefined {
    const row = this.#read(() => this.#sql.pendingAt.get(volume, key))
    return row && recordOf(row, 0)
  }

  hasPendingBetween(volume: VolumeId, from: string, to: string): boolean {
    return this.#read(() => this.#sql.pendingBetween.get(volume, from, to)) !== undefined
  }

  unlisted(volume: VolumeId, limit: number): Ino[] {
    return this.#read(() => this.#sql.unlisted.all(volume, limit))
  }

  pinned(volume: VolumeId): Ino[] {
    return this.#read(() => this.#sql.pinned.all(volume))
  }

  target(ino: Ino): Name | undefined {
    const bytes = this.#read(() => this.#sql.target.get(ino))
    return bytes && nameOfBytes(bytes)
  }

  setTarget(ino: Ino, target: Name): void {
    this.#write(() => this.#sql.setTarget.run(ino, Buffer.from(target, 'latin1')))
  }

  attributes(ino: Ino): Map<Name, Buffer> {
    return new Map(this.#read(() => this.#sql.attributes.all(ino)).map(row => [nameOfBytes(row[0]), row[1]]))
  }

  setAttributes(ino: Ino, attributes: ReadonlyMap<Name, Buffer>): void {
    this.#write(() => {
      this.#sql.clearAttributes.run(ino)
      for (const [name, value] of attributes) this.#sql.setAttribute.run(ino, Buffer.from(name, 'latin1'), value)
    })
  }

  moves(volume: VolumeId): PendingMove[] {
    return this.#read(() => this.#sql.moves.all(volume)).map(row => ({ id: row[0], ino: row[1], prefix: row[2] }))
  }

  addMove(volume: VolumeId, ino: Ino, prefix: string): number {
    return this.#write(() => Number(this.#sql.addMove.run(volume, ino, prefix).lastInsertRowid))
  }

  removeMove(id: number): void {
    this.#write(() => this.#sql.removeMove.run(id))
  }

  /** Within the transaction that removes the node's row, or gives its number to another node. */
  nodeGone(ino: Ino): void {
    if (!this.#isUsed) return
    if (this.#sql.remove.run(ino).changes === 0) return
    this.#sql.removeTarget.run(ino)
    this.#sql.clearAttributes.run(ino)
  }

  #read<T>(read: () => T): T {
    try {
      this.#committer.settle()
      return read()
    } catch (error) {
      throw databaseError(error, 'read index')
    }
  }

  #write<T>(write: () => T): T {
    this.#isUsed = true
    try {
      this.#committer.settle()
      this.#committer.begin()
      return write()
    } catch (error) {
      throw databaseError(error, 'write index')
    }
  }
}

function childOf(row: Row): ChildObject {
  return {
    name: nameOfBytes(row[0] as Buffer),
    ino: row[1] as number,
    mode: row[2] as number,
    object: row[3] === null ? undefined : recordOf(row, 3),
  }
}

function recordOf(row: Row, at: number): ObjectRecord {
  const flags = row[at + 8] as number
  return {
    ino: row[at] as number,
    volume: row[at + 1] as number,
    key: (row[at + 2] as string | null) ?? undefined,
    etag: (row[at + 3] as string | null) ?? undefined,
    versionId: (row[at + 4] as string | null) ?? undefined,
    sizeBytes: row[at + 5] as number,
    modifiedMs: row[at + 6] as number,
    contentType: (row[at + 7] as string | null) ?? undefined,
    known: (flags & KNOWN) !== 0,
    pending: (flags & PENDING) !== 0,
    pinned: (flags & PINNED) !== 0,
    listedMs: (row[at + 9] as number | null) ?? undefined,
    replaces: (row[at + 10] as string | null) ?? undefined,
  }
}

function prepare(database: Database) {
  const raw = (sql: string): Statement<Row> => database.prepare<Row>(sql).raw()
  const columns = COLUMNS.split(', ')
    .map(column => `o.${column}`)
    .join(', ')
  const children = `SELECT e.name, n.ino, n.mode, ${columns} FROM entries e JOIN nodes n ON n.ino = e.ino LEFT JOIN objects o ON o.ino = e.ino`
  return {
    any: database.prepare('SELECT 1 FROM objects LIMIT 1'),
    get: raw(`SELECT ${COLUMNS} FROM objects WHERE ino = ?`),
    put: database.prepare(`INSERT OR REPLACE INTO objects (${COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`),
    remove: database.prepare('DELETE FROM objects WHERE ino = ?'),
    children: raw(`${children} WHERE e.parent = ? AND e.name > CAST(? AS BLOB) ORDER BY e.name LIMIT ?`),
    child: raw(`${children} WHERE e.parent = ? AND e.name = CAST(? AS BLOB)`),
    pending: raw(`SELECT ${COLUMNS} FROM objects WHERE volume = ? AND flags & ${PENDING} AND ino > ? ORDER BY ino LIMIT ?`),
    pendingAt: raw(`SELECT ${COLUMNS} FROM objects WHERE volume = ? AND flags & ${PENDING} AND key = ? LIMIT 1`),
    pendingBetween: raw(`SELECT 1 FROM objects WHERE volume = ? AND flags & ${PENDING} AND key >= ? AND key < ? LIMIT 1`),
    unlisted: database
      .prepare<number>(
        `SELECT o.ino FROM objects o JOIN nodes n ON n.ino = o.ino
         WHERE o.volume = ? AND o.listed_ms = 0 LIMIT ?`,
      )
      .pluck(),
    pinned: database.prepare<number>(`SELECT ino FROM objects WHERE volume = ? AND flags & ${PINNED}`).pluck(),
    target: database.prepare<Buffer>('SELECT target FROM link_targets WHERE ino = ?').pluck(),
    setTarget: database.prepare('INSERT OR REPLACE INTO link_targets (ino, target) VALUES (?, ?)'),
    removeTarget: database.prepare('DELETE FROM link_targets WHERE ino = ?'),
    attributes: database.prepare<readonly [Buffer, Buffer]>('SELECT name, value FROM xattrs WHERE ino = ? ORDER BY name').raw(),
    setAttribute: database.prepare('INSERT INTO xattrs (ino, name, value) VALUES (?, ?, ?)'),
    clearAttributes: database.prepare('DELETE FROM xattrs WHERE ino = ?'),
    moves: database.prepare<readonly [number, number, string]>('SELECT id, ino, prefix FROM moves WHERE volume = ? ORDER BY id').raw(),
    addMove: database.prepare('INSERT INTO moves (volume, ino, prefix) VALUES (?, ?, ?)'),
    removeMove: database.prepare('DELETE FROM moves WHERE id = ?'),
  }
}
