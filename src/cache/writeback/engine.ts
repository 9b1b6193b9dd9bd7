/**
 * The write-back engine: takes work from the journal and does it, several pieces at once, for as long as it takes.
 *
 * Owns: what is running, when to try again, and whether the store is away. Must stay true:
 * - Nothing leaves the journal before the host has it in the index; nothing is given up: what fails for good stays as 'failed'.
 * - A store that is away is asked for now and then, by one question and not by every piece of work.
 * - `stop` ends at once and leaves everything as it is for the next time.
 * It doesn't: know staging or the index (host.ts), or the order of work (journal.ts).
 */
import type { Backend } from '../../backends/contract.ts'
import { isTransient } from '../../backends/errors.ts'
import { describeError, type ErrorKind, errorKind, FsError } from '../../errors.ts'
import { type Log, silentLog } from '../../log.ts'
import type { Step, WritebackHost } from './host.ts'
import type { Journal } from './journal.ts'
import { AlreadyStored, ConflictFound, type PerformGround, type PerformSettings, perform } from './perform.ts'
import type { QueueCounts, StoredResult, Work, WorkId } from './work.ts'

export interface EngineSettings extends PerformSettings {
  readonly worksAtOnce: number
  readonly firstDelayMs: number
  readonly maximumDelayMs: number
  /** How often a store that is away is asked for: from, to. */
  readonly firstProbeMs: number
  readonly maximumProbeMs: number
}

export const DEFAULT_ENGINE: EngineSettings = {
  multipartBytes: 16 * 2 ** 20,
  partBytes: 8 * 2 ** 20,
  partsAtOnce: 4,
  worksAtOnce: 8,
  firstDelayMs: 500,
  maximumDelayMs: 5 * 60_000,
  firstProbeMs: 1000,
  maximumProbeMs: 30_000,
}

export interface EngineOptions {
  readonly volume: number
  readonly journal: Journal
  readonly backend: Backend
  readonly host: WritebackHost
  readonly settings?: Partial<EngineSettings>
  readonly log?: Log
  readonly now?: () => number
  readonly random?: () => number
  /** For tests: called at each step; what it throws ends the work as if the process had ended. */
  readonly step?: (step: Step, work: Work) => void | Promise<void>
}

export interface EngineStatus extends QueueCounts {
  readonly state: 'stopped' | 'idle' | 'working' | 'waiting' | 'offline'
  readonly running: readonly { readonly id: WorkId; readonly key: string; readonly sentBytes: number; readonly sizeBytes: number }[]
  /** Sent since the start. */
  readonly sentBytes: number
  readonly lastError: string | undefined
}

/** These don't pass by themselves: somebody has to do something first. */
const FINAL_KINDS: ReadonlySet<ErrorKind> = new Set<ErrorKind>([
  'file-too-large',
  'bad-name',
  'name-too-long',
  'invalid',
  'not-supported',
  'damaged',
  'too-big',
  'read-only',
])

interface Running {
  readonly work: Work
  readonly abort: AbortController
  done: Promise<void>
  sentBytes: number
}

interface Waiter {
  readonly resolve: () => void
  readonly reject: (error: unknown) => void
}

export class WritebackEngine {
  readonly #volume: number
  readonly #journal: Journal
  readonly #backend: Backend
  readonly #host: WritebackHost
  readonly #settings: EngineSettings
  readonly #log: Log
  readonly #now: () => number
  readonly #random: () => number
  readonly #ground: PerformGround
  readonly #running = new Map<WorkId, Running>()
  readonly #waiters = new Map<WorkId, Set<Waiter>>()
  #idleWaiters: (() => void)[] = []
  #started = false
  #timer: NodeJS.Timeout | undefined
  #probe: { delayMs: number; timer: NodeJS.Timeout | undefined; readonly abort: AbortController } | undefined
  #sentBytes = 0
  #lastError: string | undefined

  constructor(options: EngineOptions) {
    this.#volume = options.volume
    this.#journal = options.journal
    this.#backend = options.backend
    this.#host = options.host
    this.#settings = { ...DEFAULT_ENGINE, ...options.settings }
    this.#log = options.log ?? silentLog
    this.#now = options.now ?? Date.now
    this.#random = options.random ?? Math.random
    const step = options.step ?? (() => {})
    this.#ground = {
      backend: this.#backend,
      journal: this.#journal,
      host: this.#host,
      settings: this.#settings,
      step,
      sent: (work, bytes) => {
        this.#sentBytes += bytes
        const running = this.#running.get(work.id)
        if (running) running.sentBytes += bytes
      },
    }
  }

  start(): void {
    this.#started = true
    this.#pump()
  }

  /** Ends what is running, at once. The journal keeps it all. */
  async stop(): Promise<void> {
    this.#started = false
    clearTimeout(this.#timer)
    clearTimeout(this.#probe?.timer)
    this.#probe?.abort.abort()
    this.#probe = undefined
    for (const running of this.#running.values()) running.abort.abort()
    await Promise.all([...this.#running.values()].map(running => running.done))
    const ended = new FsError('interrupted', 'the upload queue was stopped', { operation: 'upload' })
    for (const waiters of this.#waiters.values()) for (const waiter of waiters) waiter.reject(ended)
    this.#waiters.clear()
  }

  /** There is new work. */
  kick(): void {
    if (this.#started && !this.#probe) this.#pump()
  }

  /** Try everything now: what failed, what waits, and whether the store is there. */
  retryNow(): void {
    this.#journal.retryAll(this.#volume)
    if (this.#probe) this.#ask()
    else this.kick()
  }

  isRunning(id: WorkId): boolean {
    return this.#running.has(id)
  }

  /** Ends work and forgets it: its object isn't wanted any more. Other work may follow on its key. */
  async cancel(id: WorkId): Promise<void> {
    const running = this.#running.get(id)
    running?.abort.abort()
    await running?.done
    const work = this.#journal.get(id)
    if (!work) return
    this.#finish(work)
    if (work.upload) await this.#backend.uploads.abort({ key: work.action.key, uploadId: work.upload.uploadId }).catch(() => {})
    this.kick()
  }

  /** Answers when the work is done. Rejects when it failed, with the reason, or when `signal` is aborted; the work goes on. */
  done(id: WorkId, signal?: AbortSignal): Promise<void> {
    const work = this.#journal.get(id)
    if (!work) return Promise.resolve()
    if (work.state === 'failed') return Promise.reject(new FsError('io', work.error ?? 'failed', { operation: 'upload' }))
    if (this.#journal.stuck(this.#volume).includes(id))
      return Promise.reject(new FsError('io', 'an earlier upload to this name failed', { operation: 'upload' }))
    return new Promise((resolve, reject) => {
      const waiters = this.#waiters.get(id) ?? new Set()
      this.#waiters.set(id, waiters)
      const leave = () => {
        signal?.removeEventListener('abort', aborted)
        waiters.delete(waiter)
        if (waiters.size === 0) this.#waiters.delete(id)
      }
      const waiter: Waiter = {
        resolve: () => {
          leave()
          resolve()
        },
        reject: error => {
          leave()
          reject(error)
        },
      }
      const aborted = () => waiter.reject(new FsError('interrupted', 'interrupted', { operation: 'upload' }))
      waiters.add(waiter)
      if (signal?.aborted) aborted()
      else signal?.addEventListener('abort', aborted, { once: true })
    })
  }

  /** Answers when nothing is left but what failed. */
  async drained(signal?: AbortSignal): Promise<void> {
    while (this.#pending() > 0) {
      if (signal?.aborted) throw new FsError('interrupted', 'interrupted', { operation: 'sync' })
      await new Promise<void>(resolve => {
        const wake = () => {
          signal?.removeEventListener('abort', wake)
          this.#idleWaiters = this.#idleWaiters.filter(other => other !== wake)
          resolve()
        }
        this.#idleWaiters.push(wake)
        signal?.addEventListener('abort', wake, { once: true })
      })
    }
  }

  status(): EngineStatus {
    const counts = this.#journal.counts(this.#volume)
    const state = !this.#started
      ? 'stopped'
      : this.#probe
        ? 'offline'
        : this.#running.size > 0
          ? 'working'
          : counts.queued + counts.stored > 0
            ? 'waiting'
            : 'idle'
    const running = [...this.#running.values()].map(({ work, sentBytes }) => ({
      id: work.id,
      key: work.action.key,
      sentBytes,
      sizeBytes: work.action.kind === 'delete' ? 0 : work.action.sizeBytes,
    }))
    return { ...counts, state, running, sentBytes: this.#sentBytes, lastError: this.#lastError }
  }

  #pending(): number {
    const counts = this.#journal.counts(this.#volume)
    return counts.queued + counts.stored
  }

  #pump(): void {
    clearTimeout(this.#timer)
    if (!this.#started || this.#probe) return
    try {
      this.#takeWork()
    } catch (error) {
      this.#lastError = describeError(error)
      this.#log.error('the upload queue can not read its journal', error)
      this.#away()
    }
  }

  #takeWork(): void {
    const free = this.#settings.worksAtOnce - this.#running.size
    if (free > 0) {
      const works = this.#journal.runnable(this.#volume, this.#settings.worksAtOnce + this.#running.size)
      for (const work of works.filter(work => !this.#running.has(work.id)).slice(0, free)) this.#begin(work)
    }
    const dueMs = this.#journal.nextDueMs(this.#volume)
    if (dueMs !== undefined) this.#timer = setTimeout(() => this.#pump(), Math.min(Math.max(10, dueMs - this.#now()), 60_000))
  }

  #begin(work: Work): void {
    const abort = new AbortController()
    const running: Running = { work, abort, sentBytes: 0, done: Promise.resolve() }
    this.#running.set(work.id, running)
    running.done = this.#run(work, abort.signal)
      .catch(error => this.#failed(work, error, abort.signal))
      .finally(() => {
        this.#running.delete(work.id)
        this.#pump()
        for (const wake of [...this.#idleWaiters]) wake()
      })
  }

  async #run(work: Work, signal: AbortSignal): Promise<void> {
    await this.#ground.step('begun', work)
    let result = work.result
    if (work.state !== 'stored' || !result) {
      result = await this.#perform(work, signal)
      this.#journal.stored(work.id, result)
      await this.#ground.step('stored', work)
    }
    await this.#host.stored(work, result)
    await this.#ground.step('indexed', work)
    this.#finish(work)
    await this.#ground.step('removed', work)
  }

  async #perform(work: Work, signal: AbortSignal): Promise<StoredResult> {
    try {
      return await perform(work, this.#ground, signal)
    } catch (error) {
      if (error instanceof AlreadyStored) return error.result
      throw error
    }
  }

  #finish(work: Work): void {
    this.#journal.remove(work.id)
    this.#host.finished(work)
    for (const waiter of this.#waiters.get(work.id) ?? []) waiter.resolve()
  }

  async #failed(work: Work, error: unknown, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return
    try {
      if (error instanceof ConflictFound) await this.#resolve(work, error)
      else this.#postpone(work, error)
    } catch (second) {
      this.#lastError = describeError(second)
      this.#log.error('the upload queue can not keep its journal', second)
      // The journal keeps what it had; after a while it is tried again.
      this.#away()
    }
  }

  async #resolve(work: Work, found: ConflictFound): Promise<void> {
    const resolution = await this.#host.conflict(work, found.conflict)
    if (work.upload) await this.#backend.uploads.abort({ key: work.action.key, uploadId: work.upload.uploadId }).catch(() => {})
    if (resolution.decision === 'drop') {
      this.#finish(work)
      return
    }
    this.#journal.retarget(work.id, resolution.key, resolution.expected, resolution.sourceExpected)
  }

  #postpone(work: Work, error: unknown): void {
    const kind = errorKind(error)
    const reason = describeError(error)
    this.#lastError = reason
    if (kind === undefined) this.#log.error('an upload failed for a reason that is a bug', error)
    if (kind === 'offline' || (kind === 'timed-out' && isTransient(error))) {
      this.#journal.postpone(work.id, 0, reason, false)
      this.#away()
      return
    }
    const failed = kind === undefined || (FINAL_KINDS.has(kind) && !isTransient(error))
    const ceilingMs = Math.min(this.#settings.maximumDelayMs, this.#settings.firstDelayMs * 2 ** Math.min(work.attempts, 20))
    const delayMs = ceilingMs * (0.5 + this.#random() / 2)
    this.#journal.postpone(work.id, this.#now() + delayMs, reason, failed)
    if (failed) {
      this.#log.warning('an upload failed and needs attention', error)
      for (const id of [work.id, ...this.#journal.stuck(this.#volume)])
        for (const waiter of this.#waiters.get(id) ?? []) waiter.reject(error)
    }
  }

  /** The store is away: one question now and then, until it answers. */
  #away(): void {
    if (!this.#started || this.#probe) return
    this.#probe = { delayMs: this.#settings.firstProbeMs, timer: undefined, abort: new AbortController() }
    this.#probe.timer = setTimeout(() => this.#ask(), this.#probe.delayMs)
  }

  #ask(): void {
    const probe = this.#probe
    if (!probe) return
    clearTimeout(probe.timer)
    this.#backend.check({ signal: probe.abort.signal }).then(
      () => {
        if (this.#probe !== probe) return
        this.#probe = undefined
        this.#pump()
      },
      error => {
        if (this.#probe !== probe) return
        this.#lastError = describeError(error)
        probe.delayMs = Math.min(probe.delayMs * 2, this.#settings.maximumProbeMs)
        probe.timer = setTimeout(() => this.#ask(), probe.delayMs)
      },
    )
  }
}
