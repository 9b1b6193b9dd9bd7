/**
 * The schema of the index: its version, its tables, and the way from each older version to this one.
 *
 * Owns: the SQL that makes tables, and the migrations. docs/index-schema.md describes every table and column.
 * Must stay true: a migration, once released, is never changed: a new version is a new entry at the end of the list, and
 * test/fixtures holds a frozen database of each. A database of a newer version is refused and left as it is. A migration
 * happens wholly or not at all.
 */
import { FsError } from '../errors.ts'
import type { Database } from '../sqlite/database.ts'

/** "sdmn": tells this database from others (application_id in the header). */
export const APPLICATION_ID = 0x73646d6e

/** `MIGRATIONS[n]` leads from version n to n + 1. Version 0 is the empty database. */
export const MIGRATIONS: readonly string[] = [
  `
  CREATE TABLE volumes (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    kind     TEXT NOT NULL,
    name     BLOB NOT NULL,
    settings TEXT NOT NULL,
    added_ms INTEGER NOT NULL,
    entries  INTEGER NOT NULL DEFAULT 0,
    removed  INTEGER NOT NULL DEFAULT 0
  );
  CREATE UNIQUE INDEX volumes_name ON volumes (name) WHERE removed = 0;

  CREATE TABLE slots (
    slot       INTEGER PRIMARY KEY AUTOINCREMENT,
    volume     INTEGER NOT NULL,
    device     TEXT NOT NULL,
    next_local INTEGER NOT NULL,
    UNIQUE (volume, device)
  );

  CREATE TABLE assigned (
    slot INTEGER NOT NULL,
    key  TEXT NOT NULL,
    ino  INTEGER NOT NULL,
    PRIMARY KEY (slot, key)
  ) WITHOUT ROWID;

  CREATE TABLE nodes (
    ino        INTEGER PRIMARY KEY,
    mode       INTEGER NOT NULL,
    nlink      INTEGER NOT NULL,
    uid        INTEGER NOT NULL,
    gid        INTEGER NOT NULL,
    rdev       INTEGER NOT NULL,
    size       INTEGER NOT NULL,
    blocks     INTEGER NOT NULL,
    block_size INTEGER NOT NULL,
    atime_sec  INTEGER NOT NULL,
    atime_nsec INTEGER NOT NULL,
    mtime_sec  INTEGER NOT NULL,
    mtime_nsec INTEGER NOT NULL,
    ctime_sec  INTEGER NOT NULL,
    ctime_nsec INTEGER NOT NULL,
    btime_sec  INTEGER NOT NULL,
    btime_nsec INTEGER NOT NULL,
    scanned    INTEGER,
    content    INTEGER
  );
  CREATE INDEX nodes_content ON nodes (content) WHERE content IS NOT NULL;

  CREATE TABLE entries (
    parent INTEGER NOT NULL,
    name   BLOB NOT NULL,
    ino    INTEGER NOT NULL,
    PRIMARY KEY (parent, name)
  ) WITHOUT ROWID;
  CREATE INDEX entries_ino ON entries (ino);

  CREATE TABLE contents (
    id     INTEGER PRIMARY KEY,
    hash   BLOB NOT NULL UNIQUE,
    cas_id TEXT,
    size   INTEGER NOT NULL,
    kind   INTEGER
  );
  CREATE INDEX contents_cas_id ON contents (cas_id) WHERE cas_id IS NOT NULL;

  CREATE TABLE properties (
    ino   INTEGER NOT NULL,
    name  TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (ino, name)
  ) WITHOUT ROWID;

  CREATE TABLE doomed (ino INTEGER PRIMARY KEY);

  CREATE TABLE scans (
    volume     INTEGER PRIMARY KEY,
    scan       INTEGER NOT NULL,
    started_ms INTEGER NOT NULL,
    finished   INTEGER NOT NULL
  );

  CREATE TABLE settings (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

  CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
  INSERT INTO counters VALUES ('nodes', 0);
  `,
  `
  CREATE TABLE objects (
    ino         INTEGER PRIMARY KEY,
    volume      INTEGER NOT NULL,
    key         TEXT,
    etag        TEXT,
    version     TEXT,
    size        INTEGER NOT NULL,
    modified_ms INTEGER NOT NULL,
    type        TEXT,
    flags       INTEGER NOT NULL,
    listed_ms   INTEGER,
    replaces    TEXT
  );
  CREATE INDEX objects_pending ON objects (volume, ino) WHERE flags & 2;
  CREATE INDEX objects_pending_key ON objects (volume, key) WHERE flags & 2;
  CREATE INDEX objects_pinned ON objects (volume) WHERE flags & 4;
  CREATE INDEX objects_unlisted ON objects (volume) WHERE listed_ms = 0;

  CREATE TABLE link_targets (ino INTEGER PRIMARY KEY, target BLOB NOT NULL);

  CREATE TABLE xattrs (
    ino   INTEGER NOT NULL,
    name  BLOB NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (ino, name)
  ) WITHOUT ROWID;

  CREATE TABLE moves (
    id     INTEGER PRIMARY KEY AUTOINCREMENT,
    volume INTEGER NOT NULL,
    ino    INTEGER NOT NULL,
    prefix TEXT NOT NULL
  );
  CREATE INDEX moves_volume ON moves (volume);
  `,
]

/** The version that this program reads and writes. */
export const SCHEMA_VERSION = MIGRATIONS.length

/**
 * Brings the database to this program's version (`migrations` is given for tests). Throws FsError: 'not-supported' for one that a newer program made,
 * 'damaged' for one that isn't an index.
 */
export function migrate(database: Database, migrations: readonly string[] = MIGRATIONS): void {
  const newest = migrations.length
  const version = Number(database.pragma('user_version', { simple: true }))
  if (version > newest) {
    throw new FsError(
      'not-supported',
      `the index was written by a newer sdmount (schema version ${version}, this one reads up to ${newest}): update sdmount`,
    )
  }
  const application = Number(database.pragma('application_id', { simple: true }))
  if (version > 0 && application !== APPLICATION_ID) throw new FsError('damaged', 'the database is not an index of sdmount')
  if (version === newest) return
  database.exec('BEGIN IMMEDIATE')
  try {
    for (const migration of migrations.slice(version)) database.exec(migration)
    database.pragma(`application_id = ${APPLICATION_ID}`)
    database.pragma(`user_version = ${newest}`)
    database.exec('COMMIT')
  } catch (error) {
    if (database.inTransaction) database.exec('ROLLBACK')
    throw error
  }
}
