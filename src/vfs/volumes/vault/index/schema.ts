/**
 * The tables of a vault's working index.
 *
 * Owns: the schema, and the list of tables that a checkpoint carries. Must stay true: everything here can be made again from
 * the vault's checkpoint and log; another version is thrown away and made again.
 *
 * `born` is the epoch in which a row got its present form; a snapshot ends an epoch. A row that a snapshot sees and that
 * changes goes to the table with the same name and `_past`, with the epoch in which it went (`died`): snapshot s sees the
 * rows with born <= s < died, and of the living ones those with born <= s. `refs` of a chunk counts rows of extents and
 * extents_past. Names are one character a byte.
 */
import type { Database } from '../../../../sqlite/database.ts'

export const SCHEMA_VERSION = 1

const TABLES = `
  CREATE TABLE nodes (id INTEGER PRIMARY KEY, record BLOB NOT NULL, born INTEGER NOT NULL);
  CREATE TABLE entries (parent INTEGER, name TEXT, node INTEGER NOT NULL, cookie INTEGER NOT NULL, born INTEGER NOT NULL,
    PRIMARY KEY (parent, name)) WITHOUT ROWID;
  CREATE TABLE xattrs (node INTEGER, name TEXT, value BLOB NOT NULL, born INTEGER NOT NULL, PRIMARY KEY (node, name)) WITHOUT ROWID;
  CREATE TABLE extents (node INTEGER, position INTEGER, length INTEGER NOT NULL, chunk INTEGER NOT NULL, start INTEGER NOT NULL,
    born INTEGER NOT NULL, PRIMARY KEY (node, position)) WITHOUT ROWID;
  CREATE TABLE orphans (node INTEGER PRIMARY KEY);
  CREATE TABLE chunks (id INTEGER PRIMARY KEY, name BLOB NOT NULL, pack INTEGER NOT NULL, position INTEGER NOT NULL,
    stored INTEGER NOT NULL, length INTEGER NOT NULL, form INTEGER NOT NULL, refs INTEGER NOT NULL);
  CREATE TABLE packs (id INTEGER PRIMARY KEY, name BLOB NOT NULL, live INTEGER NOT NULL, total INTEGER NOT NULL);
  CREATE TABLE snapshots (id INTEGER PRIMARY KEY, label TEXT NOT NULL, time INTEGER NOT NULL);
  CREATE TABLE nodes_past (id INTEGER, record BLOB NOT NULL, born INTEGER, died INTEGER, PRIMARY KEY (id, born, died)) WITHOUT ROWID;
  CREATE TABLE entries_past (parent INTEGER, name TEXT, node INTEGER NOT NULL, cookie INTEGER NOT NULL, born INTEGER, died INTEGER,
    PRIMARY KEY (parent, name, born, died)) WITHOUT ROWID;
  CREATE TABLE xattrs_past (node INTEGER, name TEXT, value BLOB NOT NULL, born INTEGER, died INTEGER,
    PRIMARY KEY (node, name, born, died)) WITHOUT ROWID;
  CREATE TABLE extents_past (node INTEGER, position INTEGER, length INTEGER NOT NULL, chunk INTEGER NOT NULL, start INTEGER NOT NULL,
    born INTEGER, died INTEGER, PRIMARY KEY (node, position, born, died)) WITHOUT ROWID;
  CREATE TABLE state (key TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;
  CREATE TABLE local (key TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;
  CREATE INDEX entries_listing ON entries (parent, cookie);
  CREATE UNIQUE INDEX chunks_name ON chunks (name) WHERE length(name) > 0;
  CREATE INDEX chunks_dead ON chunks (id) WHERE refs = 0;
  CREATE INDEX chunks_pack ON chunks (pack);
`

/** What a checkpoint carries, with how many columns; `local` belongs to this machine. Stored: only ever appended to. */
export const CHECKPOINT_TABLES: readonly { readonly name: string; readonly key: readonly string[]; readonly columns: number }[] = [
  { name: 'nodes', key: ['id'], columns: 3 },
  { name: 'entries', key: ['parent', 'name'], columns: 5 },
  { name: 'xattrs', key: ['node', 'name'], columns: 4 },
  { name: 'extents', key: ['node', 'position'], columns: 6 },
  { name: 'orphans', key: ['node'], columns: 1 },
  { name: 'chunks', key: ['id'], columns: 8 },
  { name: 'packs', key: ['id'], columns: 4 },
  { name: 'snapshots', key: ['id'], columns: 3 },
  { name: 'nodes_past', key: ['id', 'born', 'died'], columns: 4 },
  { name: 'entries_past', key: ['parent', 'name', 'born', 'died'], columns: 6 },
  { name: 'xattrs_past', key: ['node', 'name', 'born', 'died'], columns: 5 },
  { name: 'extents_past', key: ['node', 'position', 'born', 'died'], columns: 7 },
  { name: 'state', key: ['key'], columns: 2 },
]

export function createTables(database: Database): void {
  database.exec(`BEGIN; ${TABLES} PRAGMA user_version = ${SCHEMA_VERSION}; COMMIT`)
}
