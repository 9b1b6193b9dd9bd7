/**
 * The tables of the journal database.
 *
 * Owns: the schema and its version. The database is encrypted page by page with a key derived for it; docs/formats.md has the
 * columns. A newer version is refused, an older one is brought up here, one step a version.
 */
import { FsError } from '../../errors.ts'
import type { Database } from '../../sqlite/database.ts'

export const JOURNAL_VERSION = 1

const VERSION_1 = `
  CREATE TABLE work (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    volume INTEGER NOT NULL,
    node INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    state INTEGER NOT NULL,
    key TEXT NOT NULL,
    expected TEXT NOT NULL,
    source TEXT,
    source_expected TEXT,
    size INTEGER NOT NULL,
    attributes TEXT NOT NULL,
    base TEXT,
    write_id TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    due_ms INTEGER NOT NULL DEFAULT 0,
    error TEXT,
    upload_id TEXT,
    part_bytes INTEGER,
    result TEXT,
    created_ms INTEGER NOT NULL,
    root BLOB
  );
  CREATE INDEX work_due ON work (volume, state, due_ms, id);
  CREATE INDEX work_node ON work (volume, node, id);
  CREATE TABLE touch (
    volume INTEGER NOT NULL,
    key TEXT NOT NULL,
    work INTEGER NOT NULL REFERENCES work (id) ON DELETE CASCADE,
    PRIMARY KEY (volume, key, work)
  ) WITHOUT ROWID;
  CREATE INDEX touch_work ON touch (work);
`

/** Makes the tables, or brings them up to this version. Throws 'not-supported' for a newer one. */
export function migrate(database: Database): void {
  const version = database.pragma('user_version', { simple: true }) as number
  if (version > JOURNAL_VERSION)
    throw new FsError('not-supported', 'the journal was written by a newer version of sdmount', { operation: 'open journal' })
  if (version === JOURNAL_VERSION) return
  database.exec(`BEGIN IMMEDIATE; ${VERSION_1} PRAGMA user_version = ${JOURNAL_VERSION}; COMMIT`)
}
