/**
 * The connections to one server: a bounded number, kept alive for a while, given out newest first.
 *
 * Owns: connections and the queue for them. Must stay true: never more than the limit; a waiter that is aborted leaves the
 * queue; a request is repeated by itself only when it went out on a kept connection that the server had closed already, and
 * when the caller said that repeating is harmless.
 */
import { BackendError, interrupted, mayHaveHappened } from '../errors.ts'
import { type ConnectionLimits, HttpConnection, type HttpRequest, type Origin } from './connection.ts'
import type { ResponseSink } from './response-parser.ts'

export interface PoolLimits extends ConnectionLimits {
  readonly maximumConnections: number
  /** Servers close idle connections without a word: ours are closed first. */
  readonly keepAliveMs: number
}

export const DEFAULT_POOL_LIMITS: PoolLimits = {
  maximumConnections: 32,
  keepAliveMs: 12_000,
  connectTimeoutMs: 5_000,
  stallTimeoutMs: 20_000,
}

interface Waiter {
  readonly take: (connection: HttpConnection) => void
  readonly reject: (error: unknown) => void
}

export class HttpPool {
  readonly #origin: Origin
  readonly #limits: PoolLimits
  readonly #all = new Set<HttpConnection>()
  #idle: { readonly connection: HttpConnection; readonly sinceMs: number }[] = []
  #waiters: Waiter[] = []
  #sweep: NodeJS.Timeout | undefined
  #closed = false

  constructor(origin: Origin, limits: Partial<PoolLimits> = {}) {
    this.#origin = origin
    this.#limits = { ...DEFAULT_POOL_LIMITS, ...limits }
  }

  /** `repeatable`: sending the request twice does no harm. The sink may see a second head then, never a second body. */
  async request(
    request: HttpRequest,
    sink: ResponseSink,
    options: { readonly signal: AbortSignal | undefined; readonly repeatable: boolean },
  ): Promise<void> {
    for (;;) {
      const connection = this.#take() ?? (await this.#wait(request.method, options.signal))
      const { reused } = connection
      let answered = false
      const watch: ResponseSink = {
        head: head => {
          answered = true
          sink.head(head)
        },
        data: chunk => sink.data(chunk),
      }
      try {
        await connection.exchange(request, watch, options.signal)
        return
      } catch (error) {
        const hungUp = reused && !answered && error instanceof BackendError && error.kind === 'offline' && !this.#closed
        if (!hungUp || (mayHaveHappened(error) && !options.repeatable)) throw error
      } finally {
        this.#giveBack(connection)
      }
    }
  }

  close(): void {
    this.#closed = true
    clearTimeout(this.#sweep)
    for (const waiter of this.#waiters.splice(0)) waiter.reject(interrupted('close'))
    for (const connection of [...this.#all]) connection.close()
  }

  /** Connections open and requests waiting for one. */
  get load(): { readonly connections: number; readonly idle: number; readonly waiting: number } {
    return { connections: this.#all.size, idle: this.#idle.length, waiting: this.#waiters.length }
  }

  #take(): HttpConnection | undefined {
    if (this.#closed) throw interrupted('close')
    for (;;) {
      const idle = this.#idle.pop()
      if (!idle) break
      if (!idle.connection.usable) continue
      if (idle.sinceMs + this.#limits.keepAliveMs < performance.now()) {
        idle.connection.close()
        continue
      }
      idle.connection.wake()
      return idle.connection
    }
    if (this.#all.size >= this.#limits.maximumConnections) return undefined
    const connection = new HttpConnection(this.#origin, this.#limits, gone => this.#gone(gone))
    this.#all.add(connection)
    return connection
  }

  #wait(operation: string, signal: AbortSignal | undefined): Promise<HttpConnection> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(interrupted(operation))
      const waiter: Waiter = {
        take: connection => {
          signal?.removeEventListener('abort', onAbort)
          resolve(connection)
        },
        reject,
      }
      const onAbort = () => {
        this.#waiters = this.#waiters.filter(other => other !== waiter)
        reject(interrupted(operation))
      }
      signal?.addEventListener('abort', onAbort, { once: true })
      this.#waiters.push(waiter)
    })
  }

  #giveBack(connection: HttpConnection): void {
    if (!connection.usable) return
    connection.rest()
    const waiter = this.#waiters.shift()
    if (waiter) {
      connection.wake()
      waiter.take(connection)
      return
    }
    this.#idle.push({ connection, sinceMs: performance.now() })
    this.#sweep ??= setTimeout(() => this.#closeIdle(), this.#limits.keepAliveMs).unref()
  }

  #closeIdle(): void {
    this.#sweep = undefined
    const limit = performance.now() - this.#limits.keepAliveMs
    const old = this.#idle.filter(idle => idle.sinceMs <= limit)
    this.#idle = this.#idle.filter(idle => idle.sinceMs > limit)
    for (const { connection } of old) connection.close()
    if (this.#idle.length > 0) this.#sweep = setTimeout(() => this.#closeIdle(), this.#limits.keepAliveMs).unref()
  }

  #gone(connection: HttpConnection): void {
    this.#all.delete(connection)
    this.#idle = this.#idle.filter(idle => idle.connection !== connection)
    if (this.#closed || this.#waiters.length === 0) return
    const next = this.#take()
    if (next) this.#waiters.shift()!.take(next)
  }
}
