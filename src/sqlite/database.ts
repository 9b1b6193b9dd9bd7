/**
 * The one entry point of the SQLite library (better-sqlite3-multiple-ciphers): opening an encrypted database file.
 *
 * Owns: the choice of cipher, the connection's settings, and the table from SQLite's errors to `FsError`.
 * Must stay true: no page, log frame or temporary table of a database ever reaches the disk unsealed (temporary data
 * stays in memory); the key is used as it is, without a derivation, so that opening costs nothing; nothing else of the
 * project imports the library.
 * It doesn't: know a table. docs/index-schema.md says why this cipher.
 */
import { statSync } from 'node:fs'
import Sqlite, { type Statement as SqliteStatement } from 'better-sqlite3-multiple-ciphers'
import { type ErrorKind, FsError } from '../errors.ts'

export type Database = Sqlite
/** A prepared statement that answers `Row`s. */
export type Statement<Row = unknown> = SqliteStatement<Row>

export const KEY_BYTES = 32
const PAGE_BYTES = 4096
/** What remains of the log's file when the log begins anew after it was longer. */
const LOG_KEPT_BYTES = 16 * 2 ** 20
/**
 * AEGIS-256: authenticated, and with the AES instructions of every CPU of the last decade the fastest of those offered.
 * Each page is sealed under a fresh random nonce of 32 bytes and bound to its page number.
 */
const CIPHER = 'aegis'
const ALGORITHM = 'aegis-256'
/** How long a lock held by another connection (a reader that recovers the log) is waited for. */
const LOCK_WAIT_MS = 1000

export interface DatabaseOptions {
  readonly path: string
  /** 32 bytes. Copied, and the copy is wiped. */
  readonly key: Buffer
  /** Bound of the page cache. */
  readonly cacheBytes: number
}

/**
 * Opens the file, or makes it. Throws FsError: 'damaged' where the key is wrong or the file isn't such a database, and
 * what the host says ('access-denied', 'io', ...) where it can't be read.
 */
export function openDatabase(options: DatabaseOptions): Database {
  if (options.key.length !== KEY_BYTES) throw new Error(`a database key has ${KEY_BYTES} bytes, this one ${options.key.length}`)
  // SQLite would take a scrap for an empty database and write over it.
  const sizeBytes = statSync(options.path, { throwIfNoEntry: false })?.size ?? 0
  if (sizeBytes > 0 && sizeBytes < PAGE_BYTES)
    throw new FsError('damaged', 'the index is damaged: its file is cut off', { operation: 'open index' })
  let database: Database | undefined
  try {
    database = new Sqlite(options.path, { timeout: LOCK_WAIT_MS })
    database.pragma(`cipher = '${CIPHER}'`)
    database.pragma(`algorithm = '${ALGORITHM}'`)
    // Before the first write: a database made here has such pages, one that exists keeps its own.
    database.pragma(`page_size = ${PAGE_BYTES}`)
    unlock(database, options.key)
    database.pragma('temp_store = MEMORY')
    database.pragma('trusted_schema = OFF')
    database.pragma(`cache_size = -${Math.max(64, Math.floor(options.cacheBytes / 1024))}`)
    // The first access to the file: here a wrong key shows.
    const mode = database.pragma('journal_mode = WAL', { simple: true })
    if (mode !== 'wal') throw new FsError('not-supported', 'the filesystem that holds the index has no shared memory for its log')
    database.pragma('synchronous = NORMAL')
    // log-file.ts chooses the moments.
    database.pragma('wal_autocheckpoint = 0')
    database.pragma(`journal_size_limit = ${LOG_KEPT_BYTES}`)
    return database
  } catch (error) {
    try {
      database?.close()
    } catch {
      // The first error says what is wrong.
    }
    throw databaseError(error, 'open index')
  }
}

function unlock(database: Database, key: Buffer): void {
  const raw = Buffer.concat([Buffer.from('raw:'), key])
  try {
    database.key(raw)
  } finally {
    raw.fill(0)
  }
}

/** SQLite's result codes (without their extension) that are operating errors. The others are a programmer's. */
const KINDS: Readonly<Record<string, ErrorKind>> = {
  SQLITE_FULL: 'no-space',
  SQLITE_CORRUPT: 'damaged',
  SQLITE_NOTADB: 'damaged',
  SQLITE_IOERR: 'io',
  SQLITE_CANTOPEN: 'io',
  SQLITE_PROTOCOL: 'io',
  SQLITE_BUSY: 'busy',
  SQLITE_LOCKED: 'busy',
  SQLITE_READONLY: 'read-only',
  SQLITE_PERM: 'access-denied',
  SQLITE_AUTH: 'access-denied',
  SQLITE_NOMEM: 'out-of-memory',
}

/** An `FsError` for what can happen to a database in operation; anything else comes back as it is. */
export function databaseError(error: unknown, operation: string): unknown {
  if (!(error instanceof Sqlite.SqliteError)) return error
  const code = /^SQLITE_[A-Z]+/.exec(error.code)?.[0] ?? ''
  const kind = KINDS[code]
  if (kind === undefined) return error
  const message =
    kind === 'damaged'
      ? 'the index is damaged, or the key is not its key'
      : kind === 'no-space'
        ? 'the disk that holds the index is full'
        : `the index can't be used: ${error.message} (${error.code})`
  return new FsError(kind, message, { operation })
}
