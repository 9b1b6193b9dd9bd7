/**
 * The thread that drives a location, as the main thread sees it.
 *
 * Owns: the worker, its channel, and whether it answers.
 * Must stay true: nothing here waits for the thread without a bound. When it doesn't get on, or leaves a call unanswered for
 * too long, it counts as silent: what waits is given up and what comes is refused, until it shows that it gets on again.
 * `close` ends also while the thread hangs; the thread is left behind then.
 */
import { MessageChannel, type MessagePort, Worker } from 'node:worker_threads'
import { FsError } from '../../../../errors.ts'
import type { Log } from '../../../../log.ts'
import type { Ino, Name, RequestContext, VfsListener } from '../../../contract.ts'
import type { LocationIndex } from '../location-index.ts'
import type { VerifyRequest } from '../verify.ts'
import { IndexService } from './index-service.ts'
import {
  DriveMemory,
  type DriveSettings,
  type DriveState,
  type DriveThreadData,
  errorOf,
  type FromDrive,
  type Handle,
  type OperationName,
  type Operations,
  type ToDrive,
} from './protocol.ts'
import { Verifications } from './verifications.ts'
import { timedOut, WaitingCalls } from './waiting-calls.ts'

const TICKS_IN_DEADLINE = 20
/** A thread that gets on shows it some times a second. */
const STILL_MS = 1_000
/** What flushes or moves much may take so many times longer. */
const SLOW_FACTOR = 6
/** How long the thread may take to load: on a machine that starts, everything does. */
const LOAD_MS = 60_000
/** How long `close` waits for a thread that gets on, and for one that doesn't. */
const CLOSE_MS = 5_000
const CLOSE_SILENT_MS = 100

export interface DriveEvents {
  readonly index: LocationIndex
  readonly log: Log
  readonly listener: VfsListener
  readonly routeSlot: (slot: number) => void
  readonly state: (state: DriveState) => void
  /** It doesn't answer, or answers again. */
  readonly silence: (isSilent: boolean) => void
  /** The thread has ended though it wasn't told to; all that was open is gone. */
  readonly failed: (failure: unknown) => void
}

export interface CallOptions<T> {
  /** What the location answers without its filesystem. */
  readonly fallback?: () => T
  /** Takes back what an answer that came too late has given. */
  readonly undo?: (value: T) => void
  readonly slow?: boolean
  /** Memory that goes over to the thread. */
  readonly transfer?: ArrayBuffer
}

export class Drive {
  readonly #events: DriveEvents
  readonly #memory = new DriveMemory()
  readonly #worker: Worker
  readonly #port: MessagePort
  readonly #replies: MessagePort
  readonly #service: IndexService
  readonly #calls = new WaitingCalls()
  readonly #verifications = new Verifications()
  readonly #ticker: NodeJS.Timeout
  readonly #tickMs: number
  readonly #loadTicks: number
  readonly #closed: Promise<void>
  #closedNow: () => void = () => {}
  /** References to be given back, number and count by turns. */
  #forgotten: number[] = []
  #isLoaded = false
  #isSilent = false
  #isEnded = false
  #isClosing = false
  #isClosed = false
  #lastBeat = 0
  #ticksWithoutBeat = 0
  #handles = 0

  /** Throws a plain Error when no thread is to be had. */
  constructor(settings: DriveSettings, deadlineMs: number, events: DriveEvents) {
    this.#events = events
    this.#service = new IndexService(events.index, events.log)
    const calls = new MessageChannel()
    const replies = new MessageChannel()
    this.#port = calls.port1
    this.#replies = replies.port1
    this.#closed = new Promise(resolve => {
      this.#closedNow = resolve
    })
    const workerData: DriveThreadData = { port: calls.port2, replies: replies.port2, memory: this.#memory.memory, settings }
    // Run from source or built: the thread's file is of the same kind as this one.
    const extension = import.meta.url.slice(import.meta.url.lastIndexOf('.'))
    this.#worker = new Worker(new URL(`./drive-thread${extension}`, import.meta.url), {
      workerData,
      transferList: [calls.port2, replies.port2],
      name: 'location',
    })
    let failure: unknown
    this.#worker.on('error', error => {
      failure = error
    })
    this.#worker.on('exit', () => this.#exited(failure))
    this.#port.on('message', (message: FromDrive) => this.#receive(message))
    this.#tickMs = deadlineMs / TICKS_IN_DEADLINE
    this.#loadTicks = Math.ceil(Math.max(LOAD_MS, deadlineMs) / this.#tickMs)
    this.#ticker = setInterval(() => this.#tick(), this.#tickMs)
  }

  get isSilent(): boolean {
    return this.#isSilent
  }

  /** Throws or rejects: 'offline' while the thread is silent, 'timed-out', 'interrupted', or what the location says. */
  call<K extends OperationName>(
    operation: K,
    context: RequestContext,
    args: Parameters<Operations[K]>,
    options: CallOptions<ReturnType<Operations[K]>> = {},
  ): Promise<ReturnType<Operations[K]>> {
    if (this.#isEnded) throw new FsError('io', 'the thread that had the file open has ended')
    if (this.#isSilent) throw silent()
    const { uid, gid, pid, umask, signal } = context
    const { transfer } = options
    const ticks = this.#isLoaded ? TICKS_IN_DEADLINE * (options.slow ? SLOW_FACTOR : 1) : this.#loadTicks
    const { fallback, undo } = options
    return this.#calls.add({ ticks, signal, bytes: transfer?.byteLength ?? 0, fallback, undo }, id => {
      this.#flushForgotten()
      this.#send({ kind: 'call', id, operation, caller: { uid, gid, pid, umask }, args }, transfer ? [transfer] : [])
    })
  }

  forget(ino: Ino, count: number): void {
    if (this.#forgotten.length === 0) setImmediate(() => this.#flushForgotten())
    this.#forgotten.push(ino, count)
  }

  /** Something was opened: the thread stays until it is released. */
  opened(): void {
    this.#handles++
  }

  release(handle: Handle): void {
    this.#send({ kind: 'release', handle })
    this.#handles--
    if (this.#isClosed && this.#handles === 0) this.#end()
  }

  idle(): void {
    this.#send({ kind: 'idle' })
  }

  /** Compares the index with the folder; rejects 'offline' when the thread doesn't get on. */
  verify(request: VerifyRequest): Promise<number> {
    if (this.#isEnded || this.#isSilent) throw silent()
    return this.#verifications.start(request, message => this.#send(message))
  }

  /** For tests: the thread fails. */
  failForTest(): void {
    this.#send({ kind: 'fail' })
  }

  rescan(path: Name | undefined): void {
    this.#send({ kind: 'rescan', path })
  }

  /** Ends the location. What is open in it stays usable, and the thread with it. */
  async close(): Promise<void> {
    if (this.#isClosing || this.#isEnded) return
    this.#isClosing = true
    this.#flushForgotten()
    this.#send({ kind: 'close' })
    const patienceMs = this.#isSilent ? CLOSE_SILENT_MS : this.#isLoaded ? CLOSE_MS : LOAD_MS
    if (!(await endsWithin(this.#closed, patienceMs))) return this.#abandon()
    this.#isClosed = true
    this.#service.close()
    if (this.#handles === 0) this.#end()
  }

  // --- the thread ---

  #send(message: ToDrive, transfer: readonly ArrayBuffer[] = []): void {
    if (!this.#isEnded) this.#port.postMessage(message, transfer)
  }

  #flushForgotten(): void {
    if (this.#forgotten.length === 0) return
    this.#send({ kind: 'forget', references: this.#forgotten })
    this.#forgotten = []
  }

  #receive(message: FromDrive): void {
    switch (message.kind) {
      case 'answer':
        return this.#calls.answered(message.id, message.value)
      case 'failure':
        return this.#calls.failed(message.id, errorOf(message.error))
      case 'left-out':
        return this.#calls.leftOut(message.id)
      case 'order':
        if (!this.#isClosed) this.#service.order(message.method, message.args)
        return
      case 'question':
        this.#replies.postMessage(
          this.#isClosed
            ? { error: { kind: 'offline', message: 'the location was closed' } }
            : this.#service.answer(message.method, message.args),
        )
        return this.#memory.replied()
      case 'told':
        if (this.#isClosed) return
        return (this.#events.listener[message.method] as (...args: readonly unknown[]) => void)(...message.args)
      case 'slot':
        return this.#events.routeSlot(message.slot)
      case 'log':
        return this.#events.log[message.level](message.message)
      case 'state':
        return this.#events.state(message.state)
      case 'loaded':
        this.#isLoaded = true
        return
      case 'difference':
      case 'checked':
      case 'verified':
        return this.#verifications.receive(message)
      case 'closed':
        if (message.error) this.#events.log.warning('a location could not be closed well', errorOf(message.error))
        this.#closedNow()
    }
  }

  /** The thread is silent when it stands still, or when it left a call without an answer. */
  #tick(): void {
    const { beat } = this.#memory
    const standsStill = beat === this.#lastBeat
    this.#lastBeat = beat
    this.#ticksWithoutBeat = standsStill ? this.#ticksWithoutBeat + 1 : 0
    if (this.#isSilent) {
      if (!standsStill) this.#answersAgain()
      return
    }
    const isStill = this.#ticksWithoutBeat * this.#tickMs >= Math.min(STILL_MS, this.#tickMs * TICKS_IN_DEADLINE)
    const limit = this.#isLoaded ? TICKS_IN_DEADLINE : this.#loadTicks
    const late = this.#calls.tick()
    if (this.#ticksWithoutBeat >= limit || (late.length > 0 && isStill)) return this.#fallsSilent()
    // It waits beside the thread (fsync), which gets on.
    for (const id of late) this.#calls.giveUp(id, timedOut())
  }

  #fallsSilent(): void {
    this.#isSilent = true
    this.#memory.cancelled = this.#calls.last
    this.#events.silence(true)
    this.#calls.giveUpAll(timedOut)
    this.#verifications.giveUp(silent())
  }

  #answersAgain(): void {
    this.#isSilent = false
    this.#ticksWithoutBeat = 0
    // Names and attributes were answered from the index meanwhile.
    this.#send({ kind: 'distrust' })
    this.#events.silence(false)
  }

  #exited(failure: unknown): void {
    if (this.#isEnded) return
    this.#letGo()
    this.#closedNow()
    if (!this.#isClosing) this.#events.failed(failure)
  }

  /** It has nothing more to do, and ends by itself. */
  #end(): void {
    this.#send({ kind: 'end' })
    this.#letGo()
  }

  /** It hangs in the host's filesystem. */
  #abandon(): void {
    this.#events.log.warning('the thread of a location hangs in the filesystem and is left behind')
    this.#worker.unref()
    this.#letGo()
    if (this.#isLoaded) void this.#worker.terminate()
  }

  #letGo(): void {
    clearInterval(this.#ticker)
    this.#isEnded = true
    this.#isClosed = true
    this.#service.close()
    this.#verifications.giveUp(silent())
    this.#calls.end(() => new FsError('io', 'the thread of the location has ended'))
    this.#port.close()
    this.#replies.close()
  }
}

const SILENT = 'its filesystem does not answer'

/** The error of what needs a filesystem that does not answer. */
export function silent(): FsError {
  return new FsError('offline', SILENT)
}

async function endsWithin(ended: Promise<void>, ms: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined
  const timeout = new Promise<false>(resolve => {
    timer = setTimeout(() => resolve(false), ms)
  })
  const result = await Promise.race([ended.then(() => true as const), timeout])
  clearTimeout(timer)
  return result
}
