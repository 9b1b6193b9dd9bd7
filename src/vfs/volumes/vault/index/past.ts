/**
 * The tree as a snapshot sees it. Owns: the questions. Must stay true: of each thing there is one row that a snapshot sees, living or
 * past (schema.ts says which).
 */
import type { Database, Statement } from '../../../../sqlite/database.ts'
import type { Name } from '../../../contract.ts'
import type { NodeId } from './changes.ts'
import type { EntryRow } from './working-index.ts'

export class Past {
  readonly #record: Statement<{ record: Buffer }>
  readonly #entryOf: Statement<EntryRow>
  readonly #entries: Statement<EntryRow>
  readonly #xattr: Statement<{ value: Buffer }>
  readonly #xattrs: Statement<{ name: string }>

  constructor(database: Database) {
    const both = <Row>(columns: string, table: string, where: string, rest = ''): Statement<Row> =>
      database.prepare(
        `SELECT ${columns} FROM ${table} WHERE ${where} AND born <= @snapshot UNION ALL
         SELECT ${columns} FROM ${table}_past WHERE ${where} AND born <= @snapshot AND died > @snapshot ${rest}`,
      )
    this.#record = both('record', 'nodes', 'id = @id')
    this.#entryOf = both('name, node, cookie', 'entries', 'parent = @parent AND name = @name')
    this.#entries = both('name, node, cookie', 'entries', 'parent = @parent AND cookie > @after', 'ORDER BY cookie LIMIT @limit')
    this.#xattr = both('value', 'xattrs', 'node = @node AND name = @name')
    this.#xattrs = both('name', 'xattrs', 'node = @node')
  }

  record(snapshot: number, id: NodeId): Buffer | undefined {
    return this.#record.get({ snapshot, id })?.record
  }

  entryOf(snapshot: number, parent: NodeId, name: Name): EntryRow | undefined {
    return this.#entryOf.get({ snapshot, parent, name })
  }

  entries(snapshot: number, parent: NodeId, after: number, limit: number): EntryRow[] {
    return this.#entries.all({ snapshot, parent, after, limit })
  }

  xattrOf(snapshot: number, node: NodeId, name: Name): Buffer | undefined {
    return this.#xattr.get({ snapshot, node, name })?.value
  }

  xattrs(snapshot: number, node: NodeId): Name[] {
    return this.#xattrs.all({ snapshot, node }).map(row => row.name)
  }
}
