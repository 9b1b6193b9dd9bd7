/**
 * How many entries each volume has, and how many nodes there are: counted as they come and go, never by counting rows.
 *
 * Must stay true: the numbers in the database and the rows they count change in the same transaction; a transaction that
 * fails takes its part of the numbers with it.
 */

import type { Database, Statement } from '../sqlite/database.ts'
import type { VolumeId } from './contract.ts'

export class Counters {
  readonly #entries = new Map<VolumeId, number>()
  #nodes: number
  /** What the open transaction changed. */
  readonly #entryChanges = new Map<VolumeId, number>()
  #nodeChange = 0
  readonly #writeEntries: Statement
  readonly #writeNodes: Statement

  constructor(database: Database) {
    for (const [id, entries] of database.prepare<[number, number]>('SELECT id, entries FROM volumes').raw().all())
      this.#entries.set(id, entries)
    this.#nodes = database.prepare<number>("SELECT value FROM counters WHERE name = 'nodes'").pluck().get() ?? 0
    this.#writeEntries = database.prepare('UPDATE volumes SET entries = ? WHERE id = ?')
    this.#writeNodes = database.prepare("UPDATE counters SET value = ? WHERE name = 'nodes'")
  }

  addEntries(volume: VolumeId, change: number): void {
    this.#entries.set(volume, (this.#entries.get(volume) ?? 0) + change)
    this.#entryChanges.set(volume, (this.#entryChanges.get(volume) ?? 0) + change)
  }

  addNodes(change: number): void {
    this.#nodes += change
    this.#nodeChange += change
  }

  entries(volume: VolumeId): number {
    return this.#entries.get(volume) ?? 0
  }

  get allEntries(): number {
    let sum = 0
    for (const entries of this.#entries.values()) sum += entries
    return sum
  }

  get nodes(): number {
    return this.#nodes
  }

  /** Writes what the open transaction changed into it. */
  write(): void {
    for (const [volume, change] of this.#entryChanges) if (change !== 0) this.#writeEntries.run(this.#entries.get(volume), volume)
    if (this.#nodeChange !== 0) this.#writeNodes.run(this.#nodes)
  }

  committed(): void {
    this.#entryChanges.clear()
    this.#nodeChange = 0
  }

  rolledBack(): void {
    for (const [volume, change] of this.#entryChanges) this.#entries.set(volume, (this.#entries.get(volume) ?? 0) - change)
    this.#nodes -= this.#nodeChange
    this.committed()
  }

  /** The volume's row is gone. */
  forget(volume: VolumeId): void {
    this.#entries.delete(volume)
    this.#entryChanges.delete(volume)
  }
}
