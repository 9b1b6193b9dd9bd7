/**
 * The properties that clients attach to nodes, kept in the index.
 *
 * Must stay true: a change is committed when the call returns (it survives the process); a node's properties go with its
 * row, also when its number goes to another node; a tree without properties pays nothing for that.
 */

import { type Database, databaseError, type Statement } from '../sqlite/database.ts'
import type { Ino } from '../vfs/contract.ts'
import type { Committer } from './committer.ts'
import type { Properties, PropertyName, PropertyStore } from './property-store.ts'

export class PropertyTable implements PropertyStore {
  readonly #committer: Pick<Committer, 'begin' | 'flush'>
  readonly #select: Statement<readonly [PropertyName, string]>
  readonly #put: Statement
  readonly #delete: Statement
  readonly #deleteAll: Statement
  readonly #copy: Statement
  /** There may be properties: before the first one nothing has to be removed with nodes. */
  #isUsed: boolean

  constructor(database: Database, committer: Pick<Committer, 'begin' | 'flush'>) {
    this.#committer = committer
    this.#select = database.prepare<readonly [PropertyName, string]>('SELECT name, value FROM properties WHERE ino = ?').raw()
    this.#put = database.prepare(
      'INSERT INTO properties (ino, name, value) VALUES (?, ?, ?) ON CONFLICT (ino, name) DO UPDATE SET value = excluded.value',
    )
    this.#delete = database.prepare('DELETE FROM properties WHERE ino = ? AND name = ?')
    this.#deleteAll = database.prepare('DELETE FROM properties WHERE ino = ?')
    this.#copy = database.prepare('INSERT INTO properties (ino, name, value) SELECT ?, name, value FROM properties WHERE ino = ?')
    this.#isUsed = database.prepare('SELECT 1 FROM properties LIMIT 1').get() !== undefined
  }

  read(inos: readonly Ino[]): ReadonlyMap<Ino, Properties> {
    const found = new Map<Ino, Properties>()
    if (!this.#isUsed) return found
    for (const ino of inos) {
      const rows = this.#select.all(ino)
      if (rows.length > 0) found.set(ino, new Map(rows))
    }
    return found
  }

  change(ino: Ino, changes: ReadonlyMap<PropertyName, string | undefined>): void {
    this.#commit(() => {
      for (const [name, value] of changes) {
        if (value === undefined) this.#delete.run(ino, name)
        else this.#put.run(ino, name, value)
      }
    })
  }

  copy(from: Ino, to: Ino): void {
    if (from === to) return
    this.#commit(() => {
      this.#deleteAll.run(to)
      this.#copy.run(to, from)
    })
  }

  remove(ino: Ino): void {
    if (this.#isUsed) this.#commit(() => this.#deleteAll.run(ino))
  }

  /** Within the transaction that removes the node's row, or gives its number to another node. */
  nodeGone(ino: Ino): void {
    if (this.#isUsed) this.#deleteAll.run(ino)
  }

  #commit(write: () => void): void {
    this.#isUsed = true
    try {
      // What is queued goes first: a node that was removed before must not take new properties along.
      this.#committer.flush()
      this.#committer.begin()
      write()
      this.#committer.flush()
    } catch (error) {
      throw databaseError(error, 'change properties')
    }
  }
}
