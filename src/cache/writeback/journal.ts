/**
 * The journal: what waits to be done in buckets, on disk.
 *
 * Owns: the database `journal.db`. Must stay true:
 * - What `enqueue` answered survives the process at once, and power loss once `durable` answered.
 * - Two pieces of work that touch the same key are given out in the order in which they were queued, the later one only when the
 *   earlier one is gone. What expects 'own' is told what the earlier one left.
 * - The content that a row refers to stays until the row is gone (whoever owns staging asks `roots`).
 * It doesn't: do the work (engine.ts).
 */
import { randomUUID } from 'node:crypto'
import type { SecretKey } from '../../crypto/secret-key.ts'
import { FsError } from '../../errors.ts'
import { type Database, databaseError, openDatabase, type Statement } from '../../sqlite/database.ts'
import { LogFile } from '../../sqlite/log-file.ts'
import type { Ino } from '../../vfs/contract.ts'
import { ACTION_COLUMNS, actionColumns, encodeExpected, STATE, touchedKeys, type WorkRow, workOf } from './rows.ts'
import { migrate } from './schema.ts'
import { type Action, type Expected, HELD_MS, type QueueCounts, type StoredResult, type Work, type WorkId } from './work.ts'

export interface JournalOptions {
  /** Of the database file. */
  readonly path: string
  /** The library's key; what is needed is derived from it. */
  readonly key: SecretKey
  readonly now?: () => number
}

const CACHE_BYTES = 4 * 2 ** 20
/** A row that isn't blocked: nothing earlier touches any of its keys. */
const UNBLOCKED = `NOT EXISTS (
  SELECT 1 FROM touch mine JOIN touch earlier ON earlier.volume = mine.volume AND earlier.key = mine.key AND earlier.work < mine.work
  WHERE mine.work = work.id)`

export class Journal {
  readonly #database: Database
  readonly #logFile: LogFile
  readonly #now: () => number
  readonly #statements: ReturnType<typeof prepare>

  constructor(options: JournalOptions) {
    this.#now = options.now ?? Date.now
    using key = options.key.derive('journal')
    const connect = (cacheBytes: number) => key.use(bytes => openDatabase({ path: options.path, key: bytes, cacheBytes }))
    this.#database = connect(CACHE_BYTES)
    try {
      this.#database.pragma('foreign_keys = ON')
      migrate(this.#database)
      this.#statements = prepare(this.#database)
      this.#logFile = new LogFile(this.#database, connect(0), options.path)
    } catch (error) {
      this.#database.close()
      throw databaseError(error, 'open journal')
    }
  }

  /** All that `work` changes here is changed at once, or nothing of it. */
  together<T>(work: () => T): T {
    return this.#write(work)
  }

  /** Queues actions, all or none. */
  enqueue(actions: readonly Action[]): WorkId[] {
    return this.#write(() => actions.map(action => this.#insert(action)))
  }

  /**
   * Newer content, attributes or key for work that has not begun: the same place in the queue, another write id. False: it has
   * begun or is gone; queue another then, which expects 'own'. `isRunning` of the engine has to be asked before.
   */
  replace(id: WorkId, action: Action): boolean {
    return this.#write(() => {
      const there = this.#statements.get.get(id)
      if (!there || there.state !== STATE.queued || there.upload_id !== null) return false
      this.#statements.replace.run(...actionColumns(action), randomUUID(), id)
      this.#touch(id, action)
      return true
    })
  }

  get(id: WorkId): Work | undefined {
    const row = this.#read(() => this.#statements.get.get(id))
    return row && workOf(row)
  }

  /** Work on a node, oldest first. */
  ofNode(volume: number, node: Ino): Work[] {
    return this.#read(() => this.#statements.ofNode.all(volume, node)).map(workOf)
  }

  /** Work that touches a key, oldest first. */
  ofKey(volume: number, key: string): Work[] {
    return this.#read(() => this.#statements.ofKey.all(volume, key)).map(workOf)
  }

  /** Whether work touches a key from `from` on, before `to`. */
  touchesBetween(volume: number, from: string, to: string): boolean {
    return this.#read(() => this.#statements.between.get(volume, from, to)) !== undefined
  }

  /** Work that may be done now: what the index waits for, then what was begun, then the rest, the longest waiting first. */
  runnable(volume: number, limit: number): Work[] {
    const rows: WorkRow[] = []
    for (const state of [STATE.stored, STATE.uploading, STATE.queued])
      if (rows.length < limit)
        rows.push(...this.#read(() => this.#statements.runnable.all(volume, state, this.#now(), limit - rows.length)))
    return rows.map(workOf)
  }

  /** When the next work is due that isn't yet; undefined: none. */
  nextDueMs(volume: number): number | undefined {
    return this.#read(() => this.#statements.nextDue.get(volume, this.#now()))?.due ?? undefined
  }

  /** An upload in parts was begun. */
  uploading(id: WorkId, uploadId: string, partBytes: number): void {
    this.#write(() => this.#statements.uploading.run(uploadId, partBytes, id))
  }

  /** That upload is gone: another one has to be begun. */
  uploadLost(id: WorkId): void {
    this.#write(() => this.#statements.uploadLost.run(id))
  }

  /** The bucket has it. What waits for this on the same key learns what is there now. */
  stored(id: WorkId, result: StoredResult): void {
    this.#write(() => {
      const row = this.#statements.get.get(id)
      if (!row) return
      this.#statements.stored.run(JSON.stringify(result), id)
      this.#passOn(row, leftBy(result))
    })
  }

  /** Not now: once more at `dueMs`, or (failed) when somebody says so. */
  postpone(id: WorkId, dueMs: number, error: string, failed: boolean): void {
    this.#write(() => this.#statements.postpone.run({ id, dueMs, error, state: failed ? STATE.failed : STATE.queued }))
  }

  /** Not before `letGo`, or the next start: somebody here still needs what it takes away. */
  hold(id: WorkId): void {
    this.#write(() => this.#statements.due.run(HELD_MS, id))
  }

  /** What is held may be done. */
  letGo(id: WorkId): void {
    this.#write(() => {
      if (this.#statements.get.get(id)?.due_ms === HELD_MS) this.#statements.due.run(0, id)
    })
  }

  /**
   * Somebody else changed the object: `id`, and what follows it about the same node, goes to `key` instead of its key; `id` then
   * expects `expected` there.
   */
  retarget(id: WorkId, key: string, expected: Expected, sourceExpected?: Expected): void {
    this.#write(() => {
      const row = this.#statements.get.get(id)
      if (!row) return
      const along = row.node === 0 ? [row] : this.#statements.ofNode.all(row.volume, row.node)
      for (const other of along) {
        if (other.id < id) continue
        this.#statements.move.run({ id: other.id, from: row.key, to: key })
        this.#touch(other.id, workOf(this.#statements.get.get(other.id)!).action)
      }
      // What stays on the old key expects what this one did: nothing of ours was left there.
      if (key !== row.key) this.#resolveNext(row, row.key, row.expected)
      this.#statements.expect.run(
        encodeExpected(expected),
        sourceExpected === undefined ? row.source_expected : encodeExpected(sourceExpected),
        randomUUID(),
        id,
      )
    })
  }

  /** Failed work, and what waits for its time, may be tried now; not what is held. */
  retryAll(volume: number): void {
    this.#write(() => this.#statements.retryAll.run(volume))
  }

  /** A new process: what was queued may have been tried by the last one, with its answer lost; nobody needs what was held. */
  presumeTried(volume: number): void {
    this.#write(() => {
      this.#statements.presumeTried.run(volume)
      this.#statements.letAllGo.run(volume)
    })
  }

  /** It is done, or not wanted any more: then the bucket still has what it expected. */
  remove(id: WorkId): void {
    this.#write(() => {
      const row = this.#statements.get.get(id)
      if (!row) return
      // Also of what is stored: more may have been queued since, which expects what this left.
      const left = row.state === STATE.stored ? leftBy(workOf(row).result) : row.expected
      this.#passOn(row, left)
      this.#statements.remove.run(id)
    })
  }

  /** Whether there is any, also held. */
  hasWork(volume: number): boolean {
    return this.#read(() => this.#statements.any.get(volume)) !== undefined
  }

  /** What waits behind failed work, on its keys, on theirs, and so on: it isn't done before somebody sees to that. */
  stuck(volume: number): WorkId[] {
    return this.#read(() => this.#statements.stuck.all(volume, STATE.failed, STATE.failed)).map(row => row.id)
  }

  /** What is stuck counts as failed. */
  counts(volume: number): QueueCounts {
    const counts = { queued: 0, queuedBytes: 0, stored: 0, failed: 0 }
    for (const row of this.#read(() => this.#statements.counts.all(volume))) {
      if (row.state === STATE.stored) counts.stored += row.count
      else if (row.state === STATE.failed) counts.failed += row.count
      else {
        counts.queued += row.count
        counts.queuedBytes += row.bytes
      }
    }
    if (counts.failed === 0) return counts
    for (const row of this.#read(() => this.#statements.stuck.all(volume, STATE.failed, STATE.failed))) {
      counts.queued--
      counts.failed++
      counts.queuedBytes -= row.bytes
    }
    return counts
  }

  /** For status: what waits, without content. */
  list(volume: number, limit: number): Work[] {
    return this.#read(() => this.#statements.list.all(volume, limit)).map(workOf)
  }

  /** The roots of all staged content that is still needed: of all volumes. */
  *roots(): Generator<Buffer> {
    for (let after = 0; ; ) {
      const rows = this.#read(() => this.#statements.roots.all(after, 100))
      if (rows.length === 0) return
      for (const row of rows) {
        after = row.id
        yield row.root
      }
    }
  }

  /** Forgets all work of a volume that is removed. Answers how much. */
  forget(volume: number): number {
    return this.#write(() => this.#statements.forget.run(volume).changes)
  }

  /** All that was written before survives power loss when this answers. Many callers share one wait for the disk. */
  durable(): Promise<void> {
    return this.#logFile.syncing()
  }

  close(): void {
    this.#logFile.letGo()
    this.#database.close()
    this.#logFile.close()
  }

  /** The next work on each key that expects 'own' expects what is there now: `left` on the row's key, its source unchanged. */
  #passOn(row: WorkRow, left: string): void {
    this.#resolveNext(row, row.key, left)
    if (row.source !== null && row.source !== row.key) this.#resolveNext(row, row.source, row.source_expected!)
  }

  #resolveNext(row: WorkRow, key: string, left: string): void {
    const next = this.#statements.nextOnKey.get(row.volume, key, row.id)
    if (next) this.#statements.resolveOwn.run({ id: next.work, key, left })
  }

  #insert(action: Action): WorkId {
    const id = Number(this.#statements.insert.run(...actionColumns(action), randomUUID(), this.#now()).lastInsertRowid)
    for (const key of touchedKeys(action)) this.#statements.touch.run(action.volume, key, id)
    return id
  }

  #touch(id: WorkId, action: Action): void {
    this.#statements.untouch.run(id)
    for (const key of touchedKeys(action)) this.#statements.touch.run(action.volume, key, id)
  }

  #write<T>(work: () => T): T {
    if (this.#database.inTransaction) return work()
    try {
      this.#statements.begin.run()
      try {
        const result = work()
        this.#statements.commit.run()
        this.#afterCommit()
        return result
      } catch (error) {
        if (this.#database.inTransaction) this.#statements.rollback.run()
        throw error
      }
    } catch (error) {
      throw journalError(error)
    }
  }

  #read<T>(work: () => T): T {
    try {
      return work()
    } catch (error) {
      throw journalError(error)
    }
  }

  #afterCommit(): void {
    if (this.#logFile.copy()) this.#logFile.complete(() => {}).catch(() => {})
  }
}

/** What is on the key when that was done. */
function leftBy(result: StoredResult | undefined): string {
  return encodeExpected(result?.etag === undefined ? 'absent' : { etag: result.etag })
}

function journalError(error: unknown): unknown {
  const mapped = databaseError(error, 'journal')
  return mapped instanceof FsError && mapped.kind === 'busy'
    ? new FsError('io', 'the journal is held by another process', { operation: 'journal', cause: mapped })
    : mapped
}

function prepare(database: Database) {
  const one = <Row = unknown>(sql: string): Statement<Row> => database.prepare<Row>(sql)
  const columns = ACTION_COLUMNS.join(', ')
  const values = ACTION_COLUMNS.map(() => '?').join(', ')
  return {
    begin: one('BEGIN IMMEDIATE'),
    commit: one('COMMIT'),
    rollback: one('ROLLBACK'),
    insert: one(`INSERT INTO work (state, ${columns}, write_id, created_ms) VALUES (0, ${values}, ?, ?)`),
    replace: one(
      `UPDATE work SET ${ACTION_COLUMNS.map(column => `${column} = ?`).join(', ')}, write_id = ?, attempts = 0, due_ms = 0, error = NULL WHERE id = ?`,
    ),
    touch: one('INSERT OR IGNORE INTO touch (volume, key, work) VALUES (?, ?, ?)'),
    untouch: one('DELETE FROM touch WHERE work = ?'),
    get: one<WorkRow>('SELECT * FROM work WHERE id = ?'),
    ofNode: one<WorkRow>('SELECT * FROM work WHERE volume = ? AND node = ? ORDER BY id'),
    ofKey: one<WorkRow>('SELECT work.* FROM touch JOIN work ON work.id = touch.work WHERE touch.volume = ? AND touch.key = ? ORDER BY id'),
    runnable: one<WorkRow>(
      `SELECT * FROM work WHERE volume = ? AND state = ? AND due_ms <= ? AND ${UNBLOCKED} ORDER BY due_ms, id LIMIT ?`,
    ),
    nextDue: one<{ due: number | null }>('SELECT min(due_ms) AS due FROM work WHERE volume = ? AND state IN (0, 1, 2) AND due_ms > ?'),
    uploading: one('UPDATE work SET state = 1, upload_id = ?, part_bytes = ? WHERE id = ?'),
    uploadLost: one('UPDATE work SET state = 0, upload_id = NULL, part_bytes = NULL WHERE id = ?'),
    stored: one('UPDATE work SET state = 2, result = ?, error = NULL, due_ms = 0 WHERE id = ?'),
    // What only rests on the object leaves it as it is: the one after it is told.
    nextOnKey: one<{ work: number }>(
      `SELECT touch.work AS work FROM touch JOIN work ON work.id = touch.work
       WHERE touch.volume = ? AND touch.key = ? AND touch.work > ? AND (work.key = touch.key OR work.source = touch.key)
       ORDER BY touch.work LIMIT 1`,
    ),
    resolveOwn: one(
      `UPDATE work SET
         expected = CASE WHEN key = @key AND expected = 'own' THEN @left ELSE expected END,
         source_expected = CASE WHEN source = @key AND source_expected = 'own' THEN @left ELSE source_expected END
       WHERE id = @id`,
    ),
    between: one('SELECT 1 FROM touch WHERE volume = ? AND key >= ? AND key < ? LIMIT 1'),
    any: one('SELECT 1 FROM work WHERE volume = ? LIMIT 1'),
    due: one('UPDATE work SET due_ms = ? WHERE id = ?'),
    // An upload in parts that was begun goes on where it was.
    postpone: one(
      'UPDATE work SET state = CASE WHEN state = 2 THEN 2 WHEN @state = 0 AND upload_id IS NOT NULL THEN 1 ELSE @state END, due_ms = @dueMs, error = @error, attempts = attempts + 1 WHERE id = @id',
    ),
    move: one(
      'UPDATE work SET key = CASE WHEN key = @from THEN @to ELSE key END, source = CASE WHEN source = @from THEN @to ELSE source END WHERE id = @id',
    ),
    expect: one(
      'UPDATE work SET state = 0, expected = ?, source_expected = ?, write_id = ?, upload_id = NULL, part_bytes = NULL, due_ms = 0, attempts = attempts + 1 WHERE id = ?',
    ),
    retryAll: one(
      `UPDATE work SET state = CASE WHEN upload_id IS NULL THEN 0 ELSE 1 END, due_ms = 0 WHERE volume = ? AND state IN (0, 1, 3) AND (due_ms > 0 OR state = 3) AND due_ms <> ${HELD_MS}`,
    ),
    letAllGo: one(`UPDATE work SET due_ms = 0 WHERE volume = ? AND due_ms = ${HELD_MS}`),
    presumeTried: one('UPDATE work SET attempts = 1 WHERE volume = ? AND state = 0 AND attempts = 0'),
    remove: one('DELETE FROM work WHERE id = ?'),
    forget: one('DELETE FROM work WHERE volume = ?'),
    counts: one<{ state: number; count: number; bytes: number }>(
      `SELECT state, count(*) AS count, sum(CASE WHEN kind = 1 THEN size ELSE 0 END) AS bytes FROM work WHERE volume = ? AND due_ms < ${HELD_MS} GROUP BY state`,
    ),
    stuck: one<{ id: number; bytes: number }>(
      `WITH RECURSIVE behind(id) AS (
         SELECT id FROM work WHERE volume = ? AND state = ?
         UNION
         SELECT later.work FROM behind JOIN touch mine ON mine.work = behind.id
         JOIN touch later ON later.volume = mine.volume AND later.key = mine.key AND later.work > mine.work)
       SELECT work.id AS id, CASE WHEN kind = 1 THEN size ELSE 0 END AS bytes FROM behind JOIN work ON work.id = behind.id
       WHERE state NOT IN (?, ${STATE.stored}) AND due_ms < ${HELD_MS}`,
    ),
    list: one<WorkRow>(
      'SELECT id, volume, node, kind, state, key, expected, source, source_expected, size, attributes, base, write_id, attempts, due_ms, error, upload_id, part_bytes, result, created_ms, NULL AS root FROM work WHERE volume = ? ORDER BY id LIMIT ?',
    ),
    roots: one<{ id: number; root: Buffer }>('SELECT id, root FROM work WHERE id > ? AND root IS NOT NULL ORDER BY id LIMIT ?'),
  }
}
