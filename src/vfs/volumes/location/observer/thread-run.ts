/**
 * One run of the observer's thread, as the main thread sees it: the thread, its channel, and the memory they share.
 *
 * Owns: the worker, the wake-up descriptor, and what the thread had open, which is closed when it has ended, however it did.
 * Must stay true: a command wakes the thread, since it sleeps in poll(2) and not in an event loop. `stop` answers within a
 * second, also when the thread hangs in the host's filesystem; then its descriptors stay, for it still uses them.
 */
import { MessageChannel, type MessagePort, Worker } from 'node:worker_threads'
import { O_CLOEXEC, O_NONBLOCK } from '../../../../sys/flags.ts'
import { linux } from '../../../../sys/linux.ts'
import { BatchMemory } from './batch-memory.ts'
import { Control, Descriptors } from './control.ts'
import type { Command, ObserverSettings, ObserverThreadData, Report } from './protocol.ts'

/** How long `stop` waits for the thread to end by itself, and then for its termination. */
const STOP_MS = 600
const TERMINATE_MS = 200

export interface RunEvents {
  report(report: Report): void
  /** The thread has ended though it wasn't told to. */
  failed(failure: unknown): void
}

export class ThreadRun {
  readonly control: Control = new Control()
  readonly batches: BatchMemory
  /** Resolves when the thread has ended. */
  readonly ended: Promise<void>
  readonly #worker: Worker
  readonly #port: MessagePort
  readonly #wakeFd: number
  #isStopping = false

  /** Throws a plain Error when no thread is to be had. */
  constructor(settings: ObserverSettings, sharePercent: number, token: number, events: RunEvents) {
    const sys = linux()
    const { port1, port2 } = new MessageChannel()
    this.#port = port1
    this.control.sharePercent = sharePercent
    this.control.token = token
    this.batches = new BatchMemory(2 * settings.limits.batches)
    this.#wakeFd = sys.eventfd(0, O_NONBLOCK | O_CLOEXEC)
    if (this.#wakeFd < 0) throw new Error(`eventfd failed: errno ${-this.#wakeFd}`)
    const data: ObserverThreadData = {
      port: port2,
      control: this.control.memory,
      batches: this.batches.memory,
      wakeFd: this.#wakeFd,
      settings,
    }
    // Run from source or built: the thread's file is of the same kind as this one.
    const extension = import.meta.url.slice(import.meta.url.lastIndexOf('.'))
    this.#worker = new Worker(new URL(`./observer-thread${extension}`, import.meta.url), {
      workerData: data,
      transferList: [port2],
      name: 'observer',
      // What lives long in the thread is outside of the heap; a small nursery keeps the process small.
      resourceLimits: { maxYoungGenerationSizeMb: 8 },
    })
    let failure: unknown
    this.#worker.on('error', error => {
      failure = error
    })
    this.#port.on('message', (report: Report) => {
      if (!this.#isStopping) events.report(report)
    })
    this.ended = new Promise(resolve =>
      this.#worker.on('exit', () => {
        new Descriptors(sys, this.control).closeAll()
        sys.close(this.#wakeFd)
        this.#port.close()
        resolve()
        if (!this.#isStopping) events.failed(failure)
      }),
    )
  }

  send(command: Command): void {
    this.#port.postMessage(command)
    this.wake()
  }

  wake(): void {
    const one = Buffer.alloc(8)
    one.writeUInt8(1)
    linux().write(this.#wakeFd, one)
  }

  /** No event comes any more. Answers whether the thread has ended (or has not begun); else it is left behind. */
  async stop(): Promise<boolean> {
    this.#isStopping = true
    this.send({ type: 'stop' })
    if (await endsWithin(this.ended, STOP_MS)) return true
    if (this.control.progress === 0) {
      // It still loads (the machine is busy), has nothing open, and sees the command when it has loaded. Terminating a
      // thread that loads a native module makes Node-API end the process.
      this.#worker.unref()
      this.#port.unref()
      return true
    }
    void this.#worker.terminate()
    this.wake()
    if (await endsWithin(this.ended, TERMINATE_MS)) return true
    this.#worker.unref()
    this.#port.unref()
    return false
  }
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
