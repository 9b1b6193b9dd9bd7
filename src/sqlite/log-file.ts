/**
 * The write-ahead log on the disk: when it is made durable, and when it is folded into the database file.
 *
 * A checkpoint of SQLite copies pages from the log to the database file, and a complete one waits for the disk to take
 * them: tens of milliseconds on a slow disk, on the thread that answers requests. So here:
 *
 *   copying      every STEP_FRAMES the log is flushed in the background, then the pages of the last step are copied. A
 *                second connection holds a snapshot that trails behind, so that the checkpoint is never complete and
 *                SQLite doesn't wait for the database file.
 *   completing   every LOG_FRAMES, or when nothing was written for a while: both files are flushed on a thread of the
 *                pool, then the snapshot is let go and the rest copied; the wait for the disk is short by then, and the
 *                next commit begins the log anew.
 *
 * Owns: descriptors of both files, kept open beside SQLite's own, and the connection that trails.
 *
 * Must stay true:
 * - What was committed before `sync` or `syncing` began is on stable storage when it returned. (Commits themselves flush
 *   nothing: synchronous=NORMAL.)
 * - The order of log and database file is SQLite's: it flushes the log before it writes a page, and the file before the
 *   log begins anew. What is flushed here ahead of it only makes its own waiting short.
 * - The descriptor of the database file is closed after SQLite closed its own: closing it earlier drops SQLite's locks.
 */
import { closeSync, fsync, fsyncSync, openSync } from 'node:fs'
import { dirname } from 'node:path'
import { FsError } from '../errors.ts'
import type { Database, Statement } from './database.ts'

/** A row as an array of its columns. */
type Row = readonly (number | string | Buffer | null)[]

/** Frames hold a page of 4 KiB each. Copying one takes some 5 µs. */
const STEP_FRAMES = 400
const LOG_FRAMES = 4096
/** The log never gets longer than this, whatever else is under way: 64 MiB. */
const LOG_LIMIT_FRAMES = 16_384

export class LogFile {
  readonly #trailing: Database
  readonly #logFd: number
  readonly #databaseFd: number
  readonly #frames: Statement<Row>
  readonly #checkpoint: Statement<Row>
  /** A flush of the log before a step of copying: none, under way, done. */
  #flushed: 'no' | 'soon' | 'yes' = 'no'
  #isCompleting = false
  #running: Promise<void> | undefined
  #next: Promise<void> | undefined
  #isClosed = false

  /** `trailing`: a second connection to the same database, owned from here on. */
  constructor(database: Database, trailing: Database, databasePath: string) {
    this.#trailing = trailing
    this.#frames = database.prepare<Row>('PRAGMA wal_checkpoint(NOOP)').raw()
    this.#checkpoint = database.prepare<Row>('PRAGMA wal_checkpoint(PASSIVE)').raw()
    this.#logFd = openSync(`${databasePath}-wal`, 'r+')
    this.#databaseFd = openSync(databasePath, 'r+')
    syncDirectory(dirname(databasePath))
  }

  /** Waits for the disk. */
  sync(): void {
    try {
      fsyncSync(this.#logFd)
    } catch (error) {
      throw notDurable(error)
    }
  }

  /** The same without stopping the thread. Callers that come while a flush is under way share the next one. */
  syncing(): Promise<void> {
    if (!this.#running) return this.#start()
    this.#next ??= this.#running
      .catch(() => {})
      .then(() => {
        this.#next = undefined
        return this.#start()
      })
    return this.#next
  }

  /** To be called now and then after a commit, while no transaction is open. True: it's time to `complete`. */
  copy(): boolean {
    const { log, waiting } = this.#state()
    if (log >= LOG_LIMIT_FRAMES) this.#foldAll()
    else if (waiting >= STEP_FRAMES) this.#step()
    return log >= LOG_FRAMES && !this.#isCompleting
  }

  /** There is something to complete. */
  get isWaiting(): boolean {
    return this.#state().waiting > 0 && !this.#isCompleting
  }

  /** Flushes both files in the background, then has `commit` end an open transaction, and folds all. */
  async complete(commit: () => void): Promise<void> {
    if (this.#isCompleting) return
    this.#isCompleting = true
    try {
      await this.syncing()
      await flush(this.#databaseFd)
      if (this.#isClosed) return
      commit()
      this.#foldAll()
    } finally {
      this.#isCompleting = false
      if (this.#isClosed) closeSync(this.#databaseFd)
    }
  }

  /** Before the database is closed. */
  letGo(): void {
    this.#isClosed = true
    this.#trailing.close()
  }

  /** After the database was closed. */
  close(): void {
    if (!this.#running) closeSync(this.#logFd)
    if (!this.#isCompleting) closeSync(this.#databaseFd)
  }

  /** Frames in the log, and those of them that aren't in the database file yet. */
  #state(): { log: number; waiting: number } {
    const [, log, copied] = this.#frames.get() as [number, number, number]
    return { log: log === copied ? 0 : log, waiting: log - copied }
  }

  #step(): void {
    if (this.#flushed === 'soon') return
    if (this.#flushed === 'yes') {
      this.#flushed = 'no'
      if (this.#trailing.inTransaction) this.#checkpoint.get()
      this.#trail()
      return
    }
    this.#flushed = 'soon'
    const ended = () => {
      this.#flushed = 'yes'
    }
    // A flush that fails here fails in the checkpoint too, and is reported there.
    this.syncing().then(ended, ended)
  }

  /** The snapshot of the trailing connection is what is committed now. */
  #trail(): void {
    this.#letSnapshotGo()
    this.#trailing.exec('BEGIN; SELECT 1 FROM sqlite_schema LIMIT 1')
  }

  #foldAll(): void {
    this.#letSnapshotGo()
    this.#checkpoint.get()
  }

  #letSnapshotGo(): void {
    if (this.#trailing.inTransaction) this.#trailing.exec('COMMIT')
  }

  #start(): Promise<void> {
    if (this.#isClosed) return Promise.resolve()
    const running = flush(this.#logFd).finally(() => {
      if (this.#running === running) this.#running = undefined
      if (this.#isClosed) closeSync(this.#logFd)
    })
    this.#running = running
    return running
  }
}

function flush(fd: number): Promise<void> {
  return new Promise((resolve, reject) => {
    fsync(fd, error => (error ? reject(notDurable(error)) : resolve()))
  })
}

function notDurable(cause: unknown): FsError {
  return new FsError('io', 'the disk did not take the index', { operation: 'flush index', cause })
}

/** Makes the log's own entry in its directory durable, once. */
function syncDirectory(directory: string): void {
  if (process.platform === 'win32') return
  const fd = openSync(directory, 'r')
  try {
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}
