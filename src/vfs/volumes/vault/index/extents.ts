/**
 * Where a file's bytes are: rows of extents, split and replaced, with the counts of the chunks they refer to.
 *
 * Owns: the tables extents, extents_past, chunks, packs. Must stay true: extents of a file don't overlap; a chunk's `refs` is the
 * number of rows that name it; a pack's `live` is what its chunks take. Chunk 0 is bytes that are lost.
 */
import type { Database, Statement } from '../../../../sqlite/database.ts'
import type { ChunkId, NodeId, PackId, StoredChunk } from './changes.ts'
import type { Epochs } from './epochs.ts'

export interface Extent {
  readonly position: number
  readonly length: number
  readonly chunk: ChunkId
  readonly start: number
  readonly born: number
}

interface ChunkRow {
  readonly id: number
  readonly name: Buffer
  readonly pack: number
  readonly position: number
  readonly stored: number
  readonly length: number
  readonly form: number
  readonly refs: number
}

export interface PackRow {
  readonly id: PackId
  readonly name: Buffer
  /** Bytes of chunks that are there, referred to or not. */
  readonly live: number
  /** Bytes of all chunks that were ever put there. */
  readonly total: number
}

/** As far as a file can reach, for ranges without an end. */
export const FAR = 2 ** 52

export class Extents {
  readonly #epochs: Epochs
  readonly #overlapping: Statement<Extent>
  readonly #last: Statement<Extent>
  readonly #past: Statement<Extent>
  readonly #insert: Statement
  readonly #delete: Statement
  readonly #keep: Statement
  readonly #refer: Statement
  readonly #chunk: Statement<ChunkRow>
  readonly #named: Statement<{ id: number }>
  readonly #sql: Record<
    'addChunk' | 'moveChunk' | 'dropChunk' | 'loseChunk' | 'loseExtents' | 'losePast' | 'addPack' | 'dropPack' | 'live' | 'total',
    Statement
  >
  readonly #dead: Statement<ChunkRow>
  readonly #inPack: Statement<ChunkRow>
  readonly #after: Statement<ChunkRow>
  readonly #nodesWith: Statement<{ node: number }>
  readonly #deadStored: Statement<{ bytes: number | null }>
  readonly #packs: Statement<PackRow>
  readonly #packNamed: Statement<{ name: Buffer }>

  constructor(database: Database, epochs: Epochs) {
    this.#epochs = epochs
    this.#overlapping = database.prepare(
      `SELECT position, length, chunk, start, born FROM extents WHERE node = ? AND position < ? AND position >=
       coalesce((SELECT position FROM extents WHERE node = ? AND position <= ? ORDER BY position DESC LIMIT 1), 0) ORDER BY position LIMIT ?`,
    )
    this.#last = database.prepare(
      'SELECT position, length, chunk, start, born FROM extents WHERE node = ? AND position < ? ORDER BY position DESC LIMIT 2',
    )
    this.#past = database.prepare(
      `SELECT position, length, chunk, start, born FROM extents WHERE node = ? AND position < ? AND position + length > ? AND born <= ?
       UNION ALL SELECT position, length, chunk, start, born FROM extents_past
       WHERE node = ? AND position < ? AND position + length > ? AND born <= ? AND died > ? ORDER BY position`,
    )
    this.#insert = database.prepare('INSERT INTO extents VALUES (?, ?, ?, ?, ?, ?)')
    this.#delete = database.prepare('DELETE FROM extents WHERE node = ? AND position = ?')
    this.#keep = database.prepare('INSERT INTO extents_past VALUES (?, ?, ?, ?, ?, ?, ?)')
    this.#refer = database.prepare('UPDATE chunks SET refs = refs + ? WHERE id = ?')
    this.#chunk = database.prepare('SELECT * FROM chunks WHERE id = ?')
    this.#named = database.prepare('SELECT id FROM chunks WHERE name = ? AND length(name) > 0')
    this.#dead = database.prepare('SELECT * FROM chunks WHERE refs = 0 AND id > ? ORDER BY id LIMIT ?')
    this.#inPack = database.prepare('SELECT * FROM chunks WHERE pack = ? AND id > ? ORDER BY id LIMIT ?')
    this.#after = database.prepare('SELECT * FROM chunks WHERE id > ? ORDER BY id LIMIT ?')
    this.#nodesWith = database.prepare('SELECT DISTINCT node FROM extents WHERE chunk = ?')
    this.#deadStored = database.prepare('SELECT sum(stored) AS bytes FROM chunks WHERE refs = 0')
    this.#packs = database.prepare('SELECT * FROM packs ORDER BY id')
    this.#packNamed = database.prepare('SELECT name FROM packs WHERE id = ?')
    this.#sql = {
      addChunk: database.prepare('INSERT INTO chunks VALUES (?, ?, ?, ?, ?, ?, ?, 0)'),
      moveChunk: database.prepare('UPDATE chunks SET pack = ?, position = ? WHERE id = ?'),
      dropChunk: database.prepare('DELETE FROM chunks WHERE id = ?'),
      loseChunk: database.prepare("UPDATE chunks SET name = x'', refs = 0 WHERE id = ?"),
      loseExtents: database.prepare('UPDATE extents SET chunk = 0 WHERE chunk = ?'),
      losePast: database.prepare('UPDATE extents_past SET chunk = 0 WHERE chunk = ?'),
      addPack: database.prepare('INSERT INTO packs VALUES (?, ?, 0, 0)'),
      dropPack: database.prepare('DELETE FROM packs WHERE id = ?'),
      live: database.prepare('UPDATE packs SET live = live + ? WHERE id = ?'),
      total: database.prepare('UPDATE packs SET total = total + ? WHERE id = ?'),
    }
  }

  // --- files ---

  /** Extents that touch a range, in order, at most `limit`. */
  find(node: NodeId, from: number, to: number, limit = -1): Extent[] {
    // Nearly always one or two rows are touched: those before the end of the range tell.
    const [last, before] = this.#last.all(node, to)
    if (!last) return []
    if (last.position <= from) return last.position + last.length > from ? [last] : []
    if (!before) return [last]
    if (before.position <= from) return before.position + before.length > from ? [before, last] : [last]
    const rows = this.#overlapping.all(node, to, node, from, limit)
    const first = rows[0]
    if (first && first.position + first.length <= from) rows.shift()
    return rows
  }

  /** The same as a snapshot sees it. */
  findPast(node: NodeId, from: number, to: number, snapshot: number): Extent[] {
    return this.#past.all(node, to, from, snapshot, node, to, from, snapshot, snapshot)
  }

  /** Answers by how many bytes what the file has grew. */
  put(node: NodeId, position: number, length: number, chunk: ChunkId, start: number): number {
    const gone = this.clear(node, position, position + length)
    this.#add(node, position, length, chunk, start)
    return length + gone
  }

  /** Answers by how many bytes what the file has grew: zero or less. */
  clear(node: NodeId, from: number, to: number): number {
    let grown = 0
    for (const extent of this.find(node, from, to)) {
      const { position, length, chunk, start, born } = extent
      const end = position + length
      this.#delete.run(node, position)
      if (this.#epochs.keeps(born)) this.#keep.run(node, position, length, chunk, start, born, this.#epochs.current)
      else this.#count(chunk, -1)
      if (position < from) this.#add(node, position, from - position, chunk, start)
      if (end > to) this.#add(node, to, end - to, chunk, start + to - position)
      grown -= Math.min(end, to) - Math.max(position, from)
    }
    return grown
  }

  // --- chunks ---

  chunkNamed(name: Buffer): ChunkId | undefined {
    return this.#named.get(name)?.id
  }

  chunkById(id: ChunkId): StoredChunk | undefined {
    const row = this.#chunk.get(id)
    return row && stored(row)
  }

  addChunk(chunk: StoredChunk): void {
    const { id, name, pack, position, storedBytes, lengthBytes, form } = chunk
    this.#sql.addChunk.run(id, name, pack, position, storedBytes, lengthBytes, form)
    this.#sql.live.run(storedBytes, pack)
    this.#sql.total.run(storedBytes, pack)
  }

  moveChunk(id: ChunkId, pack: PackId, position: number): void {
    const row = this.#chunk.get(id)
    if (!row) return
    this.#sql.live.run(-row.stored, row.pack)
    this.#sql.live.run(row.stored, pack)
    this.#sql.total.run(row.stored, pack)
    this.#sql.moveChunk.run(pack, position, id)
  }

  dropChunk(id: ChunkId): void {
    const row = this.#chunk.get(id)
    if (!row) return
    this.#sql.live.run(-row.stored, row.pack)
    this.#sql.dropChunk.run(id)
  }

  loseChunk(id: ChunkId): void {
    this.#sql.loseExtents.run(id)
    this.#sql.losePast.run(id)
    this.#sql.loseChunk.run(id)
  }

  /** All chunks, in the order of their numbers. */
  after(id: ChunkId, limit: number): StoredChunk[] {
    return this.#after.all(id, limit).map(stored)
  }

  /** Files that have bytes of a chunk now. */
  nodesWith(chunk: ChunkId): NodeId[] {
    return this.#nodesWith.all(chunk).map(row => row.node)
  }

  /** What chunks take that nothing refers to. */
  deadStoredBytes(): number {
    return this.#deadStored.get()?.bytes ?? 0
  }

  /** Chunks that nothing refers to. */
  dead(after: ChunkId, limit: number): StoredChunk[] {
    return this.#dead.all(after, limit).map(stored)
  }

  inPack(pack: PackId, after: ChunkId, limit: number): (StoredChunk & { readonly refs: number })[] {
    return this.#inPack.all(pack, after, limit).map(row => ({ ...stored(row), refs: row.refs }))
  }

  // --- packs ---

  addPack(id: PackId, name: Uint8Array): void {
    this.#sql.addPack.run(id, name)
  }

  dropPack(id: PackId): void {
    this.#sql.dropPack.run(id)
  }

  packs(): PackRow[] {
    return this.#packs.all()
  }

  packName(id: PackId): Buffer | undefined {
    return this.#packNamed.get(id)?.name
  }

  /** A row of the past that named the chunk is gone. */
  forgetPast(chunk: ChunkId): void {
    this.#count(chunk, -1)
  }

  #add(node: NodeId, position: number, length: number, chunk: ChunkId, start: number): void {
    this.#insert.run(node, position, length, chunk, start, this.#epochs.current)
    this.#count(chunk, 1)
  }

  #count(chunk: ChunkId, change: number): void {
    if (chunk !== 0) this.#refer.run(change, chunk)
  }
}

function stored(row: ChunkRow): StoredChunk {
  const { id, name, pack, position, stored, length, form } = row
  return { id, name, pack, position, storedBytes: stored, lengthBytes: length, form }
}
