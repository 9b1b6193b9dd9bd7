/**
 * The small tables of the library: volumes, settings, the state of scans.
 *
 * Must stay true: volumes and settings are durable before a call returns; a removed volume is never answered, and its
 * rows go piece by piece, also over restarts.
 */
import { FsError } from '../errors.ts'
import type { Database, Statement } from '../sqlite/database.ts'
import type { Name } from '../vfs/contract.ts'
import type { ScanState, VolumeId, VolumeKind, VolumeRecord } from './contract.ts'
import type { Counters } from './counters.ts'
import { nameOfBytes } from './rows.ts'
import type { DurableWrites, Slots } from './slots.ts'

type VolumeRow = readonly [id: number, kind: VolumeKind, name: Buffer, settings: string, addedMs: number]

/** What is kept of nodes of cloud volumes, beside the tree. */
const OBJECT_TABLES = ['objects', 'link_targets', 'xattrs', 'moves'] as const

/** The owner's part: writes as above, and background work. */
export interface VolumeWrites extends DurableWrites {
  commit(): void
}

export class Volumes {
  readonly #writes: VolumeWrites
  readonly #slots: Slots
  readonly #counters: Counters
  readonly #database: Database
  readonly #records = new Map<VolumeId, VolumeRecord>()
  /** Removed volumes whose rows are still there, with what waits for their end. */
  readonly #removed = new Map<VolumeId, (() => void)[]>()
  readonly #setSetting: Statement
  readonly #setting: Statement<string>

  constructor(database: Database, writes: VolumeWrites, slots: Slots, counters: Counters) {
    this.#database = database
    this.#writes = writes
    this.#slots = slots
    this.#counters = counters
    this.#setting = database.prepare<string>('SELECT value FROM settings WHERE key = ?').pluck()
    this.#setSetting = database.prepare(
      'INSERT INTO settings (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value',
    )
    const rows = database.prepare<VolumeRow>('SELECT id, kind, name, settings, added_ms FROM volumes WHERE removed = 0 ORDER BY id').raw()
    for (const [id, kind, name, settings, addedAtMs] of rows.all()) {
      this.#records.set(id, { id, kind, name: nameOfBytes(name), settings: parseSettings(settings), addedAtMs })
    }
    for (const id of database.prepare<number>('SELECT id FROM volumes WHERE removed = 1').pluck().all()) this.#removed.set(id, [])
  }

  list(): VolumeRecord[] {
    return [...this.#records.values()]
  }

  has(id: VolumeId): boolean {
    return this.#records.has(id)
  }

  add(kind: VolumeKind, name: Name, settings: Record<string, unknown>, addedAtMs: number): VolumeRecord {
    for (const record of this.#records.values()) {
      if (record.name === name) throw new FsError('exists', 'a volume of that name exists', { operation: 'add volume' })
    }
    this.#writes.begin()
    const { lastInsertRowid } = this.#database
      .prepare('INSERT INTO volumes (kind, name, settings, added_ms) VALUES (?, ?, ?, ?)')
      .run(kind, Buffer.from(name, 'latin1'), JSON.stringify(settings), addedAtMs)
    this.#writes.commitDurably()
    const record = { id: Number(lastInsertRowid), kind, name, settings, addedAtMs }
    this.#records.set(record.id, record)
    return record
  }

  update(id: VolumeId, settings: Record<string, unknown>): void {
    const record = this.#records.get(id)
    if (!record) throw new FsError('not-found', 'no such volume', { operation: 'update volume' })
    this.#writes.begin()
    this.#database.prepare('UPDATE volumes SET settings = ? WHERE id = ?').run(JSON.stringify(settings), id)
    this.#writes.commitDurably()
    this.#records.set(id, { ...record, settings })
  }

  /** Hides the volume. The promise ends when its rows are gone, or when the index closes (they go when it's next open). */
  remove(id: VolumeId): Promise<void> {
    if (!this.#records.has(id)) throw new FsError('not-found', 'no such volume', { operation: 'remove volume' })
    this.#writes.begin()
    this.#database.prepare('UPDATE volumes SET removed = 1 WHERE id = ?').run(id)
    this.#database.prepare('DELETE FROM scans WHERE volume = ?').run(id)
    this.#writes.commitDurably()
    this.#records.delete(id)
    this.#slots.hide(id)
    return new Promise(resolve => this.#removed.set(id, [resolve]))
  }

  get isRemoving(): boolean {
    return this.#removed.size > 0
  }

  /** Removes up to `limit` rows of a removed volume. Commits. */
  removeSome(limit: number): void {
    const [id, waiting] = this.#removed.entries().next().value ?? []
    if (id === undefined || waiting === undefined) return
    const slots = this.#slots.slotsOf(id)
    this.#writes.begin()
    for (const slot of slots) {
      const { first, last } = this.#slots.range(slot)
      limit -= this.#delete('entries WHERE parent BETWEEN ? AND ?', first, last, limit)
      const nodes = limit > 0 ? this.#delete('nodes WHERE ino BETWEEN ? AND ?', first, last, limit) : 0
      this.#counters.addNodes(-nodes)
      limit -= nodes
      if (limit > 0) limit -= this.#delete('assigned WHERE slot BETWEEN ? AND ?', slot, slot, limit)
      if (limit > 0) limit -= this.#delete('properties WHERE ino BETWEEN ? AND ?', first, last, limit)
      for (const table of OBJECT_TABLES) if (limit > 0) limit -= this.#delete(`${table} WHERE ino BETWEEN ? AND ?`, first, last, limit)
      if (limit > 0) limit -= this.#delete('doomed WHERE ino BETWEEN ? AND ?', first, last, limit)
      if (limit <= 0) break
    }
    if (limit > 0) {
      this.#database.prepare('DELETE FROM slots WHERE volume = ?').run(id)
      this.#database.prepare('DELETE FROM volumes WHERE id = ?').run(id)
    }
    this.#writes.commit()
    if (limit <= 0) return
    for (const slot of slots) this.#slots.forget(slot)
    this.#counters.forget(id)
    this.#removed.delete(id)
    for (const resolve of waiting) resolve()
  }

  /** Nothing more will be done: who waits for a removal goes on. */
  close(): void {
    for (const waiting of this.#removed.values()) for (const resolve of waiting) resolve()
    this.#removed.clear()
  }

  #delete(what: string, first: number, last: number, limit: number): number {
    return this.#database.prepare(`DELETE FROM ${what} LIMIT ?`).run(first, last, limit).changes
  }

  setting(key: string): string | undefined {
    return this.#setting.get(key)
  }

  setSetting(key: string, value: string): void {
    this.#writes.begin()
    this.#setSetting.run(key, value)
    this.#writes.commitDurably()
  }

  scanState(volume: VolumeId): ScanState | undefined {
    const row = this.#database
      .prepare<[number, number, number]>('SELECT scan, started_ms, finished FROM scans WHERE volume = ?')
      .raw()
      .get(volume)
    return row && { scan: row[0], startedAtMs: row[1], finished: row[2] !== 0 }
  }

  setScanState(volume: VolumeId, state: ScanState | undefined): void {
    this.#writes.begin(true)
    if (!state) this.#database.prepare('DELETE FROM scans WHERE volume = ?').run(volume)
    else {
      this.#database
        .prepare('INSERT OR REPLACE INTO scans (volume, scan, started_ms, finished) VALUES (?, ?, ?, ?)')
        .run(volume, state.scan, state.startedAtMs, state.finished ? 1 : 0)
    }
  }
}

function parseSettings(text: string): Record<string, unknown> {
  const settings: unknown = JSON.parse(text)
  if (typeof settings !== 'object' || settings === null) throw new FsError('damaged', 'the settings of a volume are no settings')
  return settings as Record<string, unknown>
}
