/**
 * The calls that wait for the thread that drives a location.
 *
 * Owns: their number and bytes, which are bounded, how long each has waited, and what becomes of an answer that nobody
 * waits for any more.
 * Must stay true: every call ends: with its answer, after its time, or soon after its signal. The time is counted in ticks of
 * this thread: one that was stopped itself (a laptop that slept) blames nobody. References and handles in an answer that
 * comes too late are given back.
 */
import { FsError } from '../../../../errors.ts'

/** An interrupted call that is answered at once all the same has its answer: programs get signals for their own reasons. */
const INTERRUPTED_MS = 100
const MOST_WAITING = 4_096
const MOST_WAITING_BYTES = 128 << 20

export interface WaitingOptions<T> {
  /** Ticks until it has waited too long. */
  readonly ticks: number
  readonly signal: AbortSignal
  /** What it holds in memory. */
  readonly bytes: number
  /** What the location answers without its filesystem. */
  readonly fallback: (() => T) | undefined
  /** Takes back what an answer that came too late has given. */
  readonly undo: ((value: T) => void) | undefined
}

interface Waiting {
  readonly options: WaitingOptions<unknown>
  ticksLeft: number
  readonly resolve: (value: unknown) => void
  readonly reject: (error: unknown) => void
  readonly interrupted: () => void
}

export class WaitingCalls {
  readonly #waiting = new Map<number, Waiting>()
  /** Calls that were given up while the thread may still do them. */
  readonly #late = new Map<number, ((value: unknown) => void) | undefined>()
  #last = 0
  #bytes = 0

  /** The number of the newest call. */
  get last(): number {
    return this.#last
  }

  /** Those that somebody waits for. */
  get count(): number {
    return this.#waiting.size
  }

  /** Throws 'busy' when there are too many. `send` gets the call's number. */
  add<T>(options: WaitingOptions<T>, send: (id: number) => void): Promise<T> {
    if (options.signal.aborted) throw new FsError('interrupted')
    if (this.#waiting.size + this.#late.size >= MOST_WAITING || this.#bytes + options.bytes > MOST_WAITING_BYTES)
      throw new FsError('busy', 'too many calls wait for the filesystem of the location')
    const id = ++this.#last
    return new Promise<T>((resolve, reject) => {
      const interrupted = () => {
        setTimeout(() => this.giveUp(id, new FsError('interrupted')), INTERRUPTED_MS)
      }
      this.#waiting.set(id, {
        options: options as WaitingOptions<unknown>,
        ticksLeft: options.ticks,
        resolve: resolve as (value: unknown) => void,
        reject,
        interrupted,
      })
      this.#bytes += options.bytes
      options.signal.addEventListener('abort', interrupted, { once: true })
      send(id)
    })
  }

  answered(id: number, value: unknown): void {
    const call = this.#take(id)
    if (call) return call.resolve(value)
    const undo = this.#late.get(id)
    this.#late.delete(id)
    undo?.(value)
  }

  failed(id: number, error: Error): void {
    this.#late.delete(id)
    this.#take(id)?.reject(error)
  }

  /** The thread left it out, as it was told to. */
  leftOut(id: number): void {
    this.failed(id, timedOut())
  }

  /** Some time has passed: the numbers of those that have waited too long, for `giveUp`. */
  tick(): number[] {
    const late: number[] = []
    for (const [id, call] of this.#waiting) if (--call.ticksLeft <= 0) late.push(id)
    return late
  }

  /** All that wait get what can be answered without the filesystem, or fail. */
  giveUpAll(error: () => Error): void {
    for (const [id, { options, resolve }] of this.#waiting) {
      let value: unknown
      try {
        if (!options.fallback) throw error()
        value = options.fallback()
      } catch (reason) {
        this.giveUp(id, reason)
        continue
      }
      this.#late.set(id, options.undo)
      this.#take(id)
      resolve(value)
    }
  }

  /** No answer comes any more. */
  end(error: () => Error): void {
    this.giveUpAll(error)
    this.#late.clear()
  }

  /** Nobody waits for it any more. */
  giveUp(id: number, error: unknown): void {
    const call = this.#take(id)
    if (!call) return
    this.#late.set(id, call.options.undo)
    call.reject(error)
  }

  #take(id: number): Waiting | undefined {
    const call = this.#waiting.get(id)
    if (!call) return undefined
    this.#waiting.delete(id)
    this.#bytes -= call.options.bytes
    call.options.signal.removeEventListener('abort', call.interrupted)
    return call
  }
}

/** The error of what has waited too long. */
export function timedOut(): FsError {
  return new FsError('timed-out', 'the filesystem of the location does not answer')
}
