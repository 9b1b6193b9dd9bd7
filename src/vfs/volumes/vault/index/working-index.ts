/**
 * A vault's tree in SQLite: what its checkpoint and log add up to, ready to be asked.
 *
 * Owns: the database file in the work directory, its transaction, and what each change means for the rows. Must stay true: a
 * transaction that is committed holds whole log records and the position behind the last of them; everything is sealed by a key
 * derived from the vault's. What is here can be thrown away.
 * It doesn't: know POSIX, or what a node's record says save its link count (orphans).
 */
import { join } from 'node:path'
import type { SecretKey } from '../../../../crypto/secret-key.ts'
import { FsError } from '../../../../errors.ts'
import { type Database, databaseError, openDatabase, type Statement } from '../../../../sqlite/database.ts'
import type { Name } from '../../../contract.ts'
import { recordLinks } from '../nodes/node-record.ts'
import type { Changes, ChunkId, NodeId, PackId, StoredChunk } from './changes.ts'
import { Epochs } from './epochs.ts'
import { Extents, FAR } from './extents.ts'
import { createTables, SCHEMA_VERSION } from './schema.ts'

const CACHE_BYTES = 32 * 2 ** 20
const CHECKPOINT_PAGES = 4000
export const INDEX_FILE = 'vault-index.db'

export interface EntryRow {
  readonly name: Name
  readonly node: NodeId
  readonly cookie: number
}

export interface SnapshotRow {
  readonly id: number
  readonly label: string
  readonly time: number
}

/** Numbers that only ascend. */
const COUNTERS = ['node', 'cookie', 'chunk', 'pack'] as const
type Counter = (typeof COUNTERS)[number]

export class WorkingIndex implements Changes {
  readonly database: Database
  readonly extents: Extents
  readonly epochs = new Epochs()
  /** The last number given out, of each kind. */
  readonly last: Record<Counter, number> = { node: 0, cookie: 0, chunk: 0, pack: 0 }
  readonly #sql: ReturnType<typeof prepare>

  constructor(database: Database) {
    this.database = database
    this.#sql = prepare(database)
    this.extents = new Extents(database, this.epochs)
    this.#load()
  }

  /** Opens what is there. Throws 'damaged' for what isn't a working index of this version, with this key. */
  static open(directory: string, key: SecretKey): WorkingIndex {
    const database = key.use(bytes => openDatabase({ path: join(directory, INDEX_FILE), key: bytes, cacheBytes: CACHE_BYTES }))
    try {
      // It is a cache: it may lose its last commits, but pages never mix (NORMAL keeps the order of log and file).
      database.pragma(`wal_autocheckpoint = ${CHECKPOINT_PAGES}`)
      const version = database.pragma('user_version', { simple: true })
      if (version === 0) createTables(database)
      else if (version !== SCHEMA_VERSION) throw new FsError('damaged', `the working index has version ${version}`)
      return new WorkingIndex(database)
    } catch (error) {
      database.close()
      throw databaseError(error, 'open vault index')
    }
  }

  // --- transactions ---

  begin(): void {
    if (!this.database.inTransaction) this.#sql.begin.run()
  }

  /** Commits with the position in the log that the rows have. */
  commit(position: Buffer): void {
    this.begin()
    for (const counter of COUNTERS) this.#sql.putState.run(counter, this.last[counter])
    this.#sql.putState.run('epoch', this.epochs.current)
    this.#sql.putLocal.run('position', position)
    this.#sql.commit.run()
  }

  rollback(): void {
    if (this.database.inTransaction) this.#sql.rollback.run()
    this.#load()
  }

  /** After rows were put beside the changes (a checkpoint). */
  reload(): void {
    this.#load()
  }

  get position(): Buffer | undefined {
    const value = this.#sql.getLocal.get('position')?.value
    return Buffer.isBuffer(value) ? value : undefined
  }

  close(): void {
    if (this.database.inTransaction) this.#sql.rollback.run()
    this.database.close()
  }

  // --- what is there ---

  record(id: NodeId): Buffer | undefined {
    return this.#sql.node.get(id)?.record
  }

  entryOf(parent: NodeId, name: Name): EntryRow | undefined {
    return this.#sql.entryOf.get(parent, name)
  }

  /** Entries behind a cookie, in the order of their cookies. */
  entries(parent: NodeId, after: number, limit: number): EntryRow[] {
    return this.#sql.entries.all(parent, after, limit)
  }

  isEmpty(parent: NodeId): boolean {
    return this.#sql.entries.get(parent, -1, 1) === undefined
  }

  xattrOf(node: NodeId, name: Name): Buffer | undefined {
    return this.#sql.xattr.get(node, name)?.value
  }

  xattrs(node: NodeId): Name[] {
    return this.#sql.xattrs.all(node).map(row => row.name)
  }

  orphans(): NodeId[] {
    return this.#sql.orphans.all().map(row => row.node)
  }

  snapshots(): SnapshotRow[] {
    return this.#sql.snapshots.all()
  }

  hasSnapshot(id: number): boolean {
    return this.#sql.snapshot.get(id) !== undefined
  }

  // --- changes ---

  node(id: NodeId, record: Uint8Array): void {
    this.#keepNode(id)
    this.#sql.putNode.run(id, record, this.epochs.current)
    if (recordLinks(record) === 0) this.#sql.addOrphan.run(id)
    else this.#sql.dropOrphan.run(id)
    if (id > this.last.node) this.last.node = id
  }

  nodeGone(id: NodeId): void {
    this.#keepNode(id)
    for (const name of this.xattrs(id)) this.xattrGone(id, name)
    this.extents.clear(id, 0, FAR)
    this.#sql.dropNode.run(id)
    this.#sql.dropOrphan.run(id)
  }

  entry(parent: NodeId, name: Name, node: NodeId, cookie: number): void {
    this.#keepEntry(parent, name)
    this.#sql.putEntry.run(parent, name, node, cookie, this.epochs.current)
    if (cookie > this.last.cookie) this.last.cookie = cookie
  }

  entryGone(parent: NodeId, name: Name): void {
    this.#keepEntry(parent, name)
    this.#sql.dropEntry.run(parent, name)
  }

  xattr(node: NodeId, name: Name, value: Uint8Array): void {
    this.#keepXattr(node, name)
    this.#sql.putXattr.run(node, name, value, this.epochs.current)
  }

  xattrGone(node: NodeId, name: Name): void {
    this.#keepXattr(node, name)
    this.#sql.dropXattr.run(node, name)
  }

  pack(id: PackId, name: Uint8Array): void {
    this.extents.addPack(id, name)
    if (id > this.last.pack) this.last.pack = id
  }

  packGone(id: PackId): void {
    this.extents.dropPack(id)
  }

  chunk(chunk: StoredChunk): void {
    this.extents.addChunk(chunk)
    if (chunk.id > this.last.chunk) this.last.chunk = chunk.id
  }

  chunkMoved(id: ChunkId, pack: PackId, position: number): void {
    this.extents.moveChunk(id, pack, position)
  }

  chunkGone(id: ChunkId): void {
    this.extents.dropChunk(id)
  }

  chunkLost(id: ChunkId): void {
    this.extents.loseChunk(id)
  }

  /** Answers by how many bytes what the file has grew. */
  extent(node: NodeId, offset: number, lengthBytes: number, chunk: ChunkId, start: number): number {
    return this.extents.put(node, offset, lengthBytes, chunk, start)
  }

  hole(node: NodeId, offset: number, end: number): number {
    return this.extents.clear(node, offset, end)
  }

  snapshot(label: string, timeMs: number): void {
    this.#sql.addSnapshot.run(this.epochs.current, label, timeMs)
    this.epochs.newest = this.epochs.current++
  }

  snapshotGone(id: number): void {
    this.#sql.dropSnapshot.run(id)
    this.epochs.newest = this.#sql.newestSnapshot.get()?.id ?? 0
    // What no snapshot sees any more: of those that saw it, this one was the last.
    for (const { chunk } of this.#sql.unseenExtents.all()) this.extents.forgetPast(chunk)
    for (const statement of this.#sql.dropUnseen) statement.run()
  }

  // --- inside ---

  #load(): void {
    for (const counter of COUNTERS) this.last[counter] = Number(this.#sql.getState.get(counter)?.value ?? 0)
    this.epochs.current = Number(this.#sql.getState.get('epoch')?.value ?? 1)
    this.epochs.newest = this.#sql.newestSnapshot.get()?.id ?? 0
  }

  #keepNode(id: NodeId): void {
    if (this.epochs.newest > 0) this.#sql.keepNode.run({ id, died: this.epochs.current, newest: this.epochs.newest })
  }

  #keepEntry(parent: NodeId, name: Name): void {
    if (this.epochs.newest > 0) this.#sql.keepEntry.run({ parent, name, died: this.epochs.current, newest: this.epochs.newest })
  }

  #keepXattr(node: NodeId, name: Name): void {
    if (this.epochs.newest > 0) this.#sql.keepXattr.run({ node, name, died: this.epochs.current, newest: this.epochs.newest })
  }
}

function prepare(database: Database) {
  const get = <Row>(sql: string): Statement<Row> => database.prepare<Row>(sql)
  const run = (sql: string): Statement => database.prepare(sql)
  const unseen = (table: string) => `FROM ${table} AS row WHERE NOT EXISTS (SELECT 1 FROM snapshots WHERE id >= row.born AND id < row.died)`
  return {
    begin: run('BEGIN IMMEDIATE'),
    commit: run('COMMIT'),
    rollback: run('ROLLBACK'),
    getState: get<{ value: number }>('SELECT value FROM state WHERE key = ?'),
    putState: run('INSERT OR REPLACE INTO state VALUES (?, ?)'),
    getLocal: get<{ value: Buffer }>('SELECT value FROM local WHERE key = ?'),
    putLocal: run('INSERT OR REPLACE INTO local VALUES (?, ?)'),
    node: get<{ record: Buffer }>('SELECT record FROM nodes WHERE id = ?'),
    putNode: run('INSERT OR REPLACE INTO nodes VALUES (?, ?, ?)'),
    dropNode: run('DELETE FROM nodes WHERE id = ?'),
    keepNode: run('INSERT OR IGNORE INTO nodes_past SELECT id, record, born, @died FROM nodes WHERE id = @id AND born <= @newest'),
    orphans: get<{ node: number }>('SELECT node FROM orphans'),
    addOrphan: run('INSERT OR IGNORE INTO orphans VALUES (?)'),
    dropOrphan: run('DELETE FROM orphans WHERE node = ?'),
    entryOf: get<EntryRow>('SELECT name, node, cookie FROM entries WHERE parent = ? AND name = ?'),
    entries: get<EntryRow>('SELECT name, node, cookie FROM entries WHERE parent = ? AND cookie > ? ORDER BY cookie LIMIT ?'),
    putEntry: run('INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?, ?)'),
    dropEntry: run('DELETE FROM entries WHERE parent = ? AND name = ?'),
    keepEntry: run(
      `INSERT OR IGNORE INTO entries_past SELECT parent, name, node, cookie, born, @died FROM entries
       WHERE parent = @parent AND name = @name AND born <= @newest`,
    ),
    xattr: get<{ value: Buffer }>('SELECT value FROM xattrs WHERE node = ? AND name = ?'),
    xattrs: get<{ name: string }>('SELECT name FROM xattrs WHERE node = ?'),
    putXattr: run('INSERT OR REPLACE INTO xattrs VALUES (?, ?, ?, ?)'),
    dropXattr: run('DELETE FROM xattrs WHERE node = ? AND name = ?'),
    keepXattr: run(
      `INSERT OR IGNORE INTO xattrs_past SELECT node, name, value, born, @died FROM xattrs
       WHERE node = @node AND name = @name AND born <= @newest`,
    ),
    snapshots: get<SnapshotRow>('SELECT id, label, time FROM snapshots ORDER BY id'),
    snapshot: get<{ id: number }>('SELECT id FROM snapshots WHERE id = ?'),
    newestSnapshot: get<{ id: number }>('SELECT id FROM snapshots ORDER BY id DESC LIMIT 1'),
    addSnapshot: run('INSERT INTO snapshots VALUES (?, ?, ?)'),
    dropSnapshot: run('DELETE FROM snapshots WHERE id = ?'),
    unseenExtents: get<{ chunk: number }>(`SELECT chunk ${unseen('extents_past')} AND chunk <> 0`),
    dropUnseen: ['nodes_past', 'entries_past', 'xattrs_past', 'extents_past'].map(table => run(`DELETE ${unseen(table)}`)),
  }
}
