/**
 * When things are written: the one write transaction, the slices of background work, the moments of commits.
 *
 *   idle --first write--> waiting --a few ms, a full queue, or a read--> open (queue applied) --> committed --> idle
 *
 * Owns: the transaction, the timers, the sources (who delays rows), and what happens when a commit fails.
 *
 * Must stay true:
 * - A turn on the event loop takes at most about SLICE_MS, whatever waits; the rest gets the next turns.
 * - Nothing that was queued is lost by a failed transaction: it is applied again, later, and once more. Only when more
 *   than FAILING_LIMIT changes wait for a disk that takes none is the oldest half dropped; then all scans are undone as
 *   soon as writing works again, so that the rows are read from the disks anew.
 * - A failing index doesn't fail the tree: `queued` never throws for it. Who must know asks by `flush`.
 */
import { FsError } from '../errors.ts'
import type { Log } from '../log.ts'
import { type Database, databaseError, type Statement } from '../sqlite/database.ts'
import type { LogFile } from '../sqlite/log-file.ts'
import type { Scheduler } from './scheduler.ts'
import type { Operation, WriteQueue } from './write-queue.ts'

const COMMIT_DELAY_MS = 5
const SLICE_MS = 4
/** Changes that are held before a write applies them itself. */
const QUEUE_LIMIT = 1024
const FAILING_LIMIT = 65_536
const RETRY_MS = 1000
/** After that long without a write the log is folded into the database file. */
const IDLE_MS = 2000

/** What the committer drives. */
export interface Work {
  apply(operation: Operation): void
  /** A piece of background work within the open transaction, or with its own; true: there is more. */
  background(): boolean
  /** Right before a commit, within the transaction. */
  committing(): void
  committed(): void
  rolledBack(): void
}

export class Committer {
  readonly #database: Database
  readonly #logFile: LogFile
  readonly #queue: WriteQueue
  readonly #work: Work
  readonly #scheduler: Scheduler
  readonly #log: Log
  readonly #begin: Statement
  readonly #commit: Statement
  readonly #sources = new Set<(isRead: boolean) => void>()
  #isOpen = false
  #isSettling = false
  #isClosed = false
  #cancelTurn: (() => void) | undefined
  #cancelIdle: (() => void) | undefined
  /** Set while commits fail. */
  #failure: FsError | undefined
  #retryAtMs = 0
  /** Changes were dropped, or rows that a scan wrote went with a failed transaction. */
  #hasLost = false
  /** The open transaction holds rows that aren't in the queue and whose writer believes them written. */
  #hasUntold = false
  #isFoldFailing = false
  /** Transactions that failed so far: who builds on earlier writes of his own looks whether it's the same. */
  failures = 0

  constructor(database: Database, logFile: LogFile, queue: WriteQueue, work: Work, scheduler: Scheduler, log: Log) {
    this.#database = database
    this.#logFile = logFile
    this.#queue = queue
    this.#work = work
    this.#scheduler = scheduler
    this.#log = log
    this.#begin = database.prepare('BEGIN IMMEDIATE')
    this.#commit = database.prepare('COMMIT')
  }

  addSource(settle: (isRead: boolean) => void): () => void {
    this.#sources.add(settle)
    return () => this.#sources.delete(settle)
  }

  /** Something was put into the queue. */
  queued(): void {
    if (this.#cancelTurn === undefined) this.#schedule(COMMIT_DELAY_MS)
    if (this.#queue.size >= QUEUE_LIMIT) this.#relieve()
  }

  /**
   * Opens the transaction for a write that doesn't go through the queue. `isUntold`: its caller believes it written and
   * won't hear of a commit that fails; the rows have to be read from the disks anew then.
   */
  begin(isUntold = false): void {
    if (isUntold) this.#hasUntold = true
    this.#open()
  }

  /** What is queued, or delayed by a source, is seen by the next statement. */
  settle(): void {
    this.#askSources(true)
    if (this.#queue.waiting > 0) this.#applyAll()
  }

  flush(): void {
    this.settle()
    this.commit()
  }

  /** Commits what is open. Throws FsError where that fails; everything queued then waits again. */
  commit(): void {
    // What was lost has to be told to the scans, also when nothing else is to be written.
    if (this.#hasLost) this.#open()
    if (!this.#isOpen) return
    try {
      if (this.#hasLost) this.#database.exec('DELETE FROM scans')
      this.#work.committing()
      this.#commit.run()
    } catch (error) {
      throw this.#rollBack(error)
    }
    this.#isOpen = false
    this.#hasUntold = false
    this.#queue.committed()
    this.#work.committed()
    this.#recovered()
  }

  commitDurably(): void {
    this.commit()
    this.#logFile.sync()
  }

  /** Background work waits. */
  wake(): void {
    if (this.#cancelTurn === undefined) this.#schedule(COMMIT_DELAY_MS)
  }

  /** Writes what waits, and lets go. Throws FsError where that fails, but lets go all the same. */
  close(): void {
    try {
      this.flush()
    } finally {
      this.#isClosed = true
      this.#cancelTurn?.()
      this.#cancelIdle?.()
      this.#sources.clear()
    }
  }

  #open(): void {
    if (this.#isOpen) return
    try {
      this.#begin.run()
    } catch (error) {
      throw this.#rollBack(error)
    }
    this.#isOpen = true
    if (this.#cancelTurn === undefined) this.#schedule(COMMIT_DELAY_MS)
  }

  #askSources(isRead: boolean): void {
    if (this.#sources.size === 0 || this.#isSettling) return
    this.#isSettling = true
    try {
      for (const settle of this.#sources) settle(isRead)
    } finally {
      this.#isSettling = false
    }
  }

  /** Applies queued operations until there are none or the deadline has come. True: none are left. */
  #applyAll(deadlineMs = Number.POSITIVE_INFINITY): boolean {
    this.#open()
    for (let count = 1; ; count++) {
      const operation = this.#queue.take()
      if (operation === undefined) return true
      try {
        this.#work.apply(operation)
      } catch (error) {
        const known = databaseError(error, 'write index')
        if (known instanceof FsError) throw this.#rollBack(error)
        // A mistake in this program: one change is lost, the others go on.
        this.#log.error(`index: a change could not be applied (${operation.kind})`, error)
        this.#hasLost = true
      }
      if ((count & 15) === 0 && this.#scheduler.nowMs() > deadlineMs) return this.#queue.waiting === 0
    }
  }

  #schedule(delayMs: number): void {
    if (this.#isClosed) return
    this.#cancelIdle?.()
    this.#cancelIdle = undefined
    this.#cancelTurn = this.#scheduler.after(delayMs, () => this.#turn())
  }

  #turn(): void {
    // Held while the turn lasts, so that what it writes itself schedules nothing.
    this.#cancelTurn = () => {}
    const deadlineMs = this.#scheduler.nowMs() + SLICE_MS
    let delayMs: number | undefined
    try {
      this.#askSources(false)
      let isMore = this.#queue.waiting > 0 && !this.#applyAll(deadlineMs)
      while (!isMore && this.#work.background()) isMore = this.#scheduler.nowMs() > deadlineMs
      this.commit()
      this.#tendLog()
      if (isMore) delayMs = 0
    } catch (error) {
      if (!(error instanceof FsError)) this.#log.error('index: background work failed', error)
      delayMs = RETRY_MS
    }
    this.#cancelTurn = undefined
    if (delayMs !== undefined) this.#schedule(delayMs)
  }

  /** The queue is full: it's emptied here and now, or, where the disk takes nothing, kept within bounds. */
  #relieve(): void {
    if (this.#failure === undefined || this.#scheduler.nowMs() >= this.#retryAtMs) {
      try {
        this.#applyAll()
        this.commit()
        return
      } catch (error) {
        if (!(error instanceof FsError)) throw error
      }
    }
    if (this.#queue.size < FAILING_LIMIT) return
    this.#abandon()
    this.#queue.drop(FAILING_LIMIT / 2)
    this.#hasLost = true
  }

  /** Takes the open transaction back without calling it a failure. */
  #abandon(): void {
    if (this.#isOpen) this.#rollBack(undefined)
  }

  #rollBack(cause: unknown): FsError {
    const error = databaseError(cause, 'write index')
    try {
      if (this.#database.inTransaction) this.#database.exec('ROLLBACK')
    } catch (rollbackError) {
      this.#log.error('index: a failed transaction could not be taken back', rollbackError)
    }
    this.#isOpen = false
    this.failures++
    if (this.#hasUntold) this.#hasLost = true
    this.#hasUntold = false
    this.#queue.rolledBack()
    this.#work.rolledBack()
    if (cause !== undefined && !(error instanceof FsError)) throw error
    const failure = error instanceof FsError ? error : new FsError('io', 'the index could not be written')
    if (this.#failure === undefined) this.#log.error('index: writing failed, it is tried again every second', failure)
    this.#failure = failure
    this.#retryAtMs = this.#scheduler.nowMs() + RETRY_MS
    return failure
  }

  #recovered(): void {
    if (this.#failure !== undefined) this.#log.info('index: writing works again')
    if (this.#hasLost) this.#log.warning('index: changes were lost; the locations will be scanned again')
    this.#failure = undefined
    this.#hasLost = false
  }

  #tendLog(): void {
    let isTime = false
    try {
      isTime = this.#logFile.copy()
    } catch (error) {
      this.#foldFailed(error)
    }
    if (isTime) this.#completeLog()
    else
      this.#cancelIdle ??= this.#scheduler.after(IDLE_MS, () => {
        this.#cancelIdle = undefined
        if (!this.#isClosed && this.#logFile.isWaiting) this.#completeLog()
      })
  }

  #completeLog(): void {
    this.#logFile
      // Nothing may be open: what was written meanwhile is committed a little early.
      .complete(() => this.commit())
      .then(
        () => {
          this.#isFoldFailing = false
        },
        error => this.#foldFailed(error),
      )
  }

  /** The log grows on: nothing is lost by it. Told once, until it works again. */
  #foldFailed(error: unknown): void {
    if (!this.#isFoldFailing) this.#log.warning('index: the log could not be folded into the database', databaseError(error, 'checkpoint'))
    this.#isFoldFailing = true
  }
}
