/**
 * The SQL of the tree: every statement on nodes and entries, prepared once.
 *
 * Owns: the text of the statements and thin functions over them that speak of names and attributes. What they mean
 * together (when a node goes with its last name, ...) is tree-writer.ts, listing.ts and tree-reader.ts.
 * Must stay true: each function does one statement; names go through rows.ts.
 */

import type { Database, Statement } from '../sqlite/database.ts'
import type { Attributes, Ino, Name } from '../vfs/contract.ts'
import { S_IFDIR, S_IFMT } from '../vfs/contract.ts'
import { ATTRIBUTE_COLUMNS, attributesOfRow, nameOfBytes, nameOfText, nameParameter, type Row } from './rows.ts'

const COLUMNS = ATTRIBUTE_COLUMNS.join(', ')
const NODE_COLUMNS = ATTRIBUTE_COLUMNS.map(column => `n.${column}`).join(', ')
/** What a file holds is as known as before while its size and modification time stay. */
const KEEP_CONTENT = 'content = CASE WHEN size = ? AND mtime_sec = ? AND mtime_nsec = ? THEN content END'

/** An entry as it is stored; `row` has the node's attributes from column 2 on, null where the node isn't known. */
export interface StoredEntry {
  readonly ino: Ino
  readonly row: Row
}
/** Where the attributes begin in `StoredEntry.row` and what `children` reads. */
export const ENTRY_ATTRIBUTES_AT = 2

export type Statements = ReturnType<typeof prepareStatements>

export function prepareStatements(database: Database) {
  const run = (sql: string) => {
    const statement = database.prepare<unknown>(sql)
    return (...parameters: unknown[]): number => statement.run(...parameters).changes
  }
  const raw = (sql: string) => database.prepare<Row>(sql).raw()
  const pluck = (sql: string) => database.prepare<number>(sql).pluck()

  // --- nodes ---
  const insertNode = run(`INSERT OR IGNORE INTO nodes (ino, ${COLUMNS}) VALUES (${Array(17).fill('?').join(', ')})`)
  const assignments = ATTRIBUTE_COLUMNS.map(column => `${column} = ?`).join(', ')
  const updateNode = run(`UPDATE nodes SET ${KEEP_CONTENT}, ${assignments} WHERE ino = ? AND (mode & ${S_IFMT}) = ?`)
  const replaceNode = run(`UPDATE nodes SET scanned = NULL, content = NULL, ${assignments} WHERE ino = ?`)
  const deleteNode = pluck('DELETE FROM nodes WHERE ino = ? RETURNING mode')
  const selectNode = raw(`SELECT ${COLUMNS} FROM nodes WHERE ino = ?`)
  const selectMode = pluck('SELECT mode FROM nodes WHERE ino = ?')

  const directoriesBetween = raw(
    `SELECT ino, ${COLUMNS} FROM nodes WHERE ino > ? AND ino <= ? AND (mode & ${S_IFMT}) = ${S_IFDIR} ORDER BY ino`,
  )
  const stepEnd = pluck('SELECT ino FROM nodes WHERE ino > ? AND ino <= ? ORDER BY ino LIMIT 1 OFFSET ?')
  const mark = run('UPDATE nodes SET scanned = ? WHERE ino = ?')
  const selectMark = pluck('SELECT scanned FROM nodes WHERE ino = ?')

  // --- entries ---
  const insertEntry = run('INSERT OR IGNORE INTO entries (parent, name, ino) VALUES (?, CAST(? AS BLOB), ?)')
  const updateEntry = run('UPDATE entries SET ino = ? WHERE parent = ? AND name = CAST(? AS BLOB)')
  const deleteEntry = pluck('DELETE FROM entries WHERE parent = ? AND name = CAST(? AS BLOB) RETURNING ino')
  const selectEntry = pluck('SELECT ino FROM entries WHERE parent = ? AND name = CAST(? AS BLOB)')
  const selectHasName = pluck('SELECT 1 FROM entries WHERE ino = ? LIMIT 1')
  const selectHasChild = pluck('SELECT 1 FROM entries WHERE parent = ? LIMIT 1')
  const selectParent = pluck('SELECT parent FROM entries WHERE ino = ? LIMIT 1')
  const namesSql = (name: string) => `SELECT parent, ${name} FROM entries WHERE ino = ? LIMIT ?`
  const names = raw(namesSql('CAST(name AS TEXT)'))
  const namesBytes = raw(namesSql('name'))
  const someSql = (name: string) => `SELECT ino, ${name} FROM entries WHERE parent = ? LIMIT ?`
  const some = raw(someSql('CAST(name AS TEXT)'))
  const someBytes = raw(someSql('name'))

  // --- entries with their nodes ---
  const lookup = raw(
    `SELECT n.ino, NULL, ${NODE_COLUMNS} FROM entries e JOIN nodes n ON n.ino = e.ino WHERE e.parent = ? AND e.name = CAST(? AS BLOB)`,
  )
  const childrenSql = (name: string) =>
    `SELECT e.ino, ${name}, ${NODE_COLUMNS} FROM entries e JOIN nodes n ON n.ino = e.ino WHERE e.parent = ? AND e.name > CAST(? AS BLOB) ORDER BY e.name LIMIT ?`
  const children = raw(childrenSql('CAST(e.name AS TEXT)'))
  const childrenBytes = raw(childrenSql('e.name'))
  const childNamesSql = (name: string) =>
    `SELECT ino, ${name} FROM entries WHERE parent = ? AND name > CAST(? AS BLOB) ORDER BY name LIMIT ?`
  const childNames = raw(childNamesSql('CAST(name AS TEXT)'))
  const childNamesBytes = raw(childNamesSql('name'))
  const storedSql = (name: string) =>
    `SELECT e.ino, ${name}, ${NODE_COLUMNS} FROM entries e LEFT JOIN nodes n ON n.ino = e.ino WHERE e.parent = ? LIMIT ?`
  const stored = raw(storedSql('CAST(e.name AS TEXT)'))
  const storedBytes = raw(storedSql('e.name'))
  const storedEntry = raw(
    `SELECT e.ino, NULL, ${NODE_COLUMNS} FROM entries e LEFT JOIN nodes n ON n.ino = e.ino WHERE e.parent = ? AND e.name = CAST(? AS BLOB)`,
  )

  // --- directories on their way out ---
  const insertDoomed = run('INSERT OR IGNORE INTO doomed (ino) VALUES (?)')
  const deleteDoomed = run('DELETE FROM doomed WHERE ino = ?')
  const selectDoomed = pluck('SELECT ino FROM doomed ORDER BY ino DESC LIMIT 1')
  const selectIsDoomed = pluck('SELECT 1 FROM doomed WHERE ino = ?')
  const countDoomed = pluck('SELECT count(*) FROM doomed')

  /** Rows with their names: by text where that says them all, else once more by bytes. */
  const named = (byText: Statement<Row>, byBytes: Statement<Row>, parameters: unknown[]): { names: Name[]; rows: Row[] } => {
    const rows = byText.all(...parameters)
    const names: Name[] = new Array(rows.length)
    for (let i = 0; i < rows.length; i++) {
      const name = nameOfText(rows[i]![1] as string)
      if (name === undefined) {
        const again = byBytes.all(...parameters)
        return { rows: again, names: again.map(row => nameOfBytes(row[1] as Buffer)) }
      }
      names[i] = name
    }
    return { names, rows }
  }

  return {
    /** False: there is a node of that number, and it stays as it is. */
    insertNode: (a: Attributes): boolean =>
      insertNode(
        a.ino,
        a.mode,
        a.nlink,
        a.uid,
        a.gid,
        a.rdev,
        a.sizeBytes,
        a.blocks,
        a.blockSizeBytes,
        a.atimeSec,
        a.atimeNsec,
        a.mtimeSec,
        a.mtimeNsec,
        a.ctimeSec,
        a.ctimeNsec,
        a.btimeSec,
        a.btimeNsec,
      ) > 0,
    /** New attributes for a node of the same type. False: there is none. */
    updateNode: (a: Attributes): boolean =>
      updateNode(
        a.sizeBytes,
        a.mtimeSec,
        a.mtimeNsec,
        a.mode,
        a.nlink,
        a.uid,
        a.gid,
        a.rdev,
        a.sizeBytes,
        a.blocks,
        a.blockSizeBytes,
        a.atimeSec,
        a.atimeNsec,
        a.mtimeSec,
        a.mtimeNsec,
        a.ctimeSec,
        a.ctimeNsec,
        a.btimeSec,
        a.btimeNsec,
        a.ino,
        a.mode & S_IFMT,
      ) > 0,
    /** The number means another node now: all of its row is written anew. */
    replaceNode: (a: Attributes): boolean =>
      replaceNode(
        a.mode,
        a.nlink,
        a.uid,
        a.gid,
        a.rdev,
        a.sizeBytes,
        a.blocks,
        a.blockSizeBytes,
        a.atimeSec,
        a.atimeNsec,
        a.mtimeSec,
        a.mtimeNsec,
        a.ctimeSec,
        a.ctimeNsec,
        a.btimeSec,
        a.btimeNsec,
        a.ino,
      ) > 0,
    /** The mode of the node that was removed. */
    deleteNode: (ino: Ino): number | undefined => deleteNode.get(ino),
    node(ino: Ino): Attributes | undefined {
      const row = selectNode.get(ino)
      return row && attributesOfRow(ino, row, 0)
    },
    nodeRow: (ino: Ino): Row | undefined => selectNode.get(ino),
    mode: (ino: Ino): number | undefined => selectMode.get(ino),
    /** The directories among the next `rows` nodes after `after`, up to `last`; `next`: where to go on. */
    directoriesAfter(after: Ino, last: Ino, rows: number): { directories: Attributes[]; next: Ino } {
      const next = stepEnd.get(after, last, rows - 1) ?? last
      const directories = directoriesBetween.all(after, next).map(row => attributesOfRow(row[0] as number, row, 1))
      return { directories, next }
    },
    markScanned: (ino: Ino, scan: number): boolean => mark(scan, ino) > 0,
    scanned: (ino: Ino): number | undefined => selectMark.get(ino) ?? undefined,

    /** False: the name is taken, and stays as it is. */
    insertEntry: (parent: Ino, name: Name, ino: Ino): boolean => insertEntry(parent, nameParameter(name), ino) > 0,
    updateEntry: (parent: Ino, name: Name, ino: Ino): boolean => updateEntry(ino, parent, nameParameter(name)) > 0,
    /** What the name meant. */
    deleteEntry: (parent: Ino, name: Name): Ino | undefined => deleteEntry.get(parent, nameParameter(name)),
    entry: (parent: Ino, name: Name): Ino | undefined => selectEntry.get(parent, nameParameter(name)),
    hasName: (ino: Ino): boolean => selectHasName.get(ino) !== undefined,
    hasChild: (parent: Ino): boolean => selectHasChild.get(parent) !== undefined,
    /** The directory of one of the node's names. */
    parentOf: (ino: Ino): Ino | undefined => selectParent.get(ino),
    /** Names of the node, all of them unless there are more than `limit`. */
    names(ino: Ino, limit = Number.MAX_SAFE_INTEGER): { parent: Ino; name: Name }[] {
      const found = named(names, namesBytes, [ino, limit])
      return found.names.map((name, i) => ({ parent: found.rows[i]![0] as number, name }))
    },
    someChildren(parent: Ino, limit: number): { name: Name; ino: Ino }[] {
      const found = named(some, someBytes, [parent, limit])
      return found.names.map((name, i) => ({ name, ino: found.rows[i]![0] as number }))
    },

    lookup(parent: Ino, name: Name): Attributes | undefined {
      const row = lookup.get(parent, nameParameter(name))
      return row && attributesOfRow(row[0] as number, row, ENTRY_ATTRIBUTES_AT)
    },
    /** In the order of the names' bytes; entries whose node isn't known are left out. */
    children: (parent: Ino, after: Name, limit: number) => named(children, childrenBytes, [parent, nameParameter(after), limit]),
    /** In the same order, also of entries whose node isn't known. */
    childNames: (parent: Ino, after: Name, limit: number): Name[] =>
      named(childNames, childNamesBytes, [parent, nameParameter(after), limit]).names,
    /** All entries of a directory, also those whose node isn't known, in any order. */
    stored: (parent: Ino, limit: number) => named(stored, storedBytes, [parent, limit]),
    storedEntry(parent: Ino, name: Name): StoredEntry | undefined {
      const row = storedEntry.get(parent, nameParameter(name))
      return row && { ino: row[0] as number, row }
    },

    insertDoomed: (ino: Ino): boolean => insertDoomed(ino) > 0,
    deleteDoomed: (ino: Ino): boolean => deleteDoomed(ino) > 0,
    someDoomed: (): Ino | undefined => selectDoomed.get(),
    isDoomed: (ino: Ino): boolean => selectIsDoomed.get(ino) !== undefined,
    countDoomed: (): number => countDoomed.get()!,
  }
}
