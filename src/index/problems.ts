/**
 * What is wrong with an index in itself: rows that contradict each other.
 *
 * Owns: the checks, a line for a person each. Must stay true: it reads only, in bounded memory. Names are shown with
 * what isn't printable ASCII escaped.
 */

import type { Database } from '../sqlite/database.ts'
import { S_IFDIR, S_IFMT } from '../vfs/contract.ts'
import { nameOfBytes } from './rows.ts'

/** Lines of one kind that are told; more than that are the same mistake. */
const LIMIT = 100

type Value = number | string | Buffer | null

const CHECKS: readonly { readonly sql: string; readonly line: (row: readonly Value[]) => string }[] = [
  {
    sql: 'SELECT parent, name, ino FROM entries e WHERE NOT EXISTS (SELECT 1 FROM nodes n WHERE n.ino = e.ino)',
    line: row => `the name ${show(row[1])} in directory ${row[0]} means node ${row[2]}, which isn't known`,
  },
  {
    sql: `SELECT DISTINCT parent FROM entries e
      WHERE NOT EXISTS (SELECT 1 FROM nodes n WHERE n.ino = e.parent AND (n.mode & ${S_IFMT}) = ${S_IFDIR})
        AND NOT EXISTS (SELECT 1 FROM doomed d WHERE d.ino = e.parent)`,
    line: row => `there are names in ${row[0]}, which isn't a directory`,
  },
  {
    sql: `SELECT ino FROM nodes n
      WHERE (n.mode & ${S_IFMT}) <> ${S_IFDIR} AND NOT EXISTS (SELECT 1 FROM entries e WHERE e.ino = n.ino)`,
    line: row => `node ${row[0]} has no name`,
  },
  {
    sql: `SELECT n.ino, count(*) FROM nodes n JOIN entries e ON e.ino = n.ino
      WHERE (n.mode & ${S_IFMT}) = ${S_IFDIR} GROUP BY n.ino HAVING count(*) > 1`,
    line: row => `directory ${row[0]} has ${row[1]} names`,
  },
  {
    sql: `SELECT v.id, v.entries, (SELECT count(*) FROM slots s JOIN entries e
        ON e.parent BETWEEN s.slot << 40 AND ((s.slot + 1) << 40) - 1 WHERE s.volume = v.id) AS counted
      FROM volumes v WHERE v.entries <> counted`,
    line: row => `volume ${row[0]} counts ${row[1]} entries and has ${row[2]}`,
  },
  {
    sql: "SELECT c.value, (SELECT count(*) FROM nodes) AS counted FROM counters c WHERE c.name = 'nodes' AND c.value <> counted",
    line: row => `${row[0]} nodes are counted and ${row[1]} are there`,
  },
]

/** The problems found, none where all is well. Everything written must have been committed. */
export function* findProblems(database: Database): Generator<string> {
  for (const { sql, line } of CHECKS) {
    const rows = database.prepare<readonly Value[]>(`${sql} LIMIT ${LIMIT}`).raw().all()
    for (const row of rows) yield line(row)
  }
  for (const row of database.prepare<readonly Value[]>(`PRAGMA integrity_check(${LIMIT})`).raw().all()) {
    if (row[0] !== 'ok') yield `the database says: ${row[0]}`
  }
}

function show(name: Value | undefined): string {
  const text = Buffer.isBuffer(name) ? nameOfBytes(name) : String(name)
  return JSON.stringify(text.replace(/[^ -~]/g, c => `\\x${c.charCodeAt(0).toString(16).padStart(2, '0')}`))
}
