/**
 * Repeats what failed for a passing reason.
 *
 * Owns: when and how often a call is repeated. Must stay true:
 * - Bounded in attempts and in time; waits grow, with jitter, and honour the server's Retry-After; an abort ends a wait at once.
 * - Only what is harmless to repeat is repeated, or what can be told apart afterwards: a conditional write whose answer was lost
 *   is recognized by its `writeId`; without one it isn't repeated.
 * - A `get` that broke goes on where it was, of the same state of the object: no byte is handed out twice.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { errorKind } from '../errors.ts'
import type {
  Backend,
  BackendCapabilities,
  CallOptions,
  Consume,
  DeleteFailure,
  GetOptions,
  MultipartUploads,
  ObjectInfo,
  ObjectKey,
  PutResult,
} from './contract.ts'
import { BackendError, interrupted, isTransient, mayHaveHappened, WRITE_ID } from './errors.ts'

export interface RetrySettings {
  readonly maximumAttempts: number
  readonly firstDelayMs: number
  readonly maximumDelayMs: number
  /** No attempt begins later than this after the first one began. */
  readonly maximumTotalMs: number
  readonly random: () => number
  readonly sleep: (delayMs: number, signal: AbortSignal | undefined) => Promise<unknown>
  readonly now: () => number
}

export const DEFAULT_RETRY: RetrySettings = {
  maximumAttempts: 5,
  firstDelayMs: 50,
  maximumDelayMs: 5_000,
  maximumTotalMs: 8_000,
  random: Math.random,
  sleep: (delayMs, signal) => sleep(delayMs, undefined, signal ? { signal } : {}),
  now: () => performance.now(),
}

/** `inner`, with passing failures repeated. */
export function retrying(inner: Backend, settings: Partial<RetrySettings> = {}): Backend {
  return new RetryingBackend(inner, { ...DEFAULT_RETRY, ...settings })
}

class RetryingBackend implements Backend {
  readonly description: string
  readonly capabilities: BackendCapabilities
  readonly uploads: MultipartUploads
  readonly #inner: Backend
  readonly #settings: RetrySettings

  constructor(inner: Backend, settings: RetrySettings) {
    this.#inner = inner
    this.#settings = settings
    this.description = inner.description
    this.capabilities = inner.capabilities
    this.uploads = this.#wrapUploads(inner.uploads)
  }

  check(options?: CallOptions): Promise<void> {
    return this.#again(options, () => this.#inner.check(options))
  }
  list(...args: Parameters<Backend['list']>): ReturnType<Backend['list']> {
    return this.#again(args[0], () => this.#inner.list(...args))
  }
  head(...args: Parameters<Backend['head']>): ReturnType<Backend['head']> {
    return this.#again(args[1], () => this.#inner.head(...args))
  }

  get(key: ObjectKey, consume: Consume, options: GetOptions = {}): Promise<ObjectInfo> {
    let takenBytes = 0
    let first: ObjectInfo | undefined
    const take: Consume = (chunk, info) => {
      first ??= info
      takenBytes += chunk.length
      return consume(chunk, first)
    }
    return this.#again(
      options,
      async () => {
        if (!first) return this.#inner.get(key, take, options)
        const offset = options.range?.offset ?? 0
        const end = Math.min(first.sizeBytes, options.range ? offset + options.range.lengthBytes : first.sizeBytes)
        // Broken off after the last byte: nothing is missing.
        if (offset + takenBytes >= end) return first
        const rest = { offset: offset + takenBytes, lengthBytes: end - offset - takenBytes }
        await this.#inner.get(key, take, { ...options, range: rest, ifMatch: first.etag })
        return first
      },
      // Damaged bytes were handed out already: whoever took them has to begin anew.
      error => errorKind(error) !== 'damaged' || takenBytes === 0,
    )
  }

  put(...[key, body, options]: Parameters<Backend['put']>): ReturnType<Backend['put']> {
    return this.#write(key, options?.writeId, options?.condition !== undefined, options, () => this.#inner.put(key, body, options))
  }
  copy(...args: Parameters<Backend['copy']>): ReturnType<Backend['copy']> {
    return this.#again(args[2], () => this.#inner.copy(...args))
  }
  delete(...args: Parameters<Backend['delete']>): ReturnType<Backend['delete']> {
    return this.#again(args[1], () => this.#inner.delete(...args))
  }

  async deleteMany(keys: readonly ObjectKey[], options?: CallOptions): Promise<DeleteFailure[]> {
    const final: DeleteFailure[] = []
    let left = keys
    const passing = await this.#again(options, async () => {
      const failures = await this.#inner.deleteMany(left, options)
      const transient = failures.filter(failure => isTransient(failure.error))
      final.push(...failures.filter(failure => !isTransient(failure.error)))
      left = transient.map(failure => failure.key)
      if (transient.length > 0) throw new SomeFailed(transient)
      return []
    }).catch((error: unknown) => {
      if (error instanceof SomeFailed) return error.failures
      throw error
    })
    return [...final, ...passing]
  }

  close(): void {
    this.#inner.close()
  }

  #wrapUploads(inner: MultipartUploads): MultipartUploads {
    return {
      create: (...args) => this.#again(args[1], () => inner.create(...args)),
      putPart: (...args) => this.#again(args[3], () => inner.putPart(...args)),
      copyPart: (...args) => this.#again(args[4], () => inner.copyPart(...args)),
      parts: (...args) => this.#again(args[1], () => inner.parts(...args)),
      complete: (...args) => this.#write(args[0].key, args[2]?.writeId, true, args[2], () => inner.complete(...args)),
      abort: (...args) => this.#again(args[1], () => inner.abort(...args)),
      list: (...args) => this.#again(args[1], () => inner.list(...args)),
    }
  }

  /** A write that must not take place twice: `single` when a second try could be refused because of the first. */
  #write(
    key: ObjectKey,
    writeId: string | undefined,
    single: boolean,
    options: CallOptions | undefined,
    run: () => Promise<PutResult>,
  ): Promise<PutResult> {
    let unsure = false
    return this.#again(
      options,
      async () => {
        try {
          return await run()
        } catch (error) {
          const refused = error instanceof BackendError && (error.kind === 'exists' || error.kind === 'stale' || error.kind === 'not-found')
          unsure ||= mayHaveHappened(error)
          if (unsure && refused && writeId !== undefined) {
            const ours = await this.#ours(key, writeId, options)
            if (ours) return ours
          }
          throw error
        }
      },
      error => !single || writeId !== undefined || !mayHaveHappened(error),
    )
  }

  /** The object as it is, when this write made it. */
  async #ours(key: ObjectKey, writeId: string, options: CallOptions | undefined): Promise<PutResult | undefined> {
    try {
      const info = await this.#inner.head(key, options)
      return info.metadata[WRITE_ID] === writeId ? { etag: info.etag, versionId: info.versionId } : undefined
    } catch (error) {
      if (errorKind(error) === 'not-found') return undefined
      throw error
    }
  }

  async #again<T>(
    options: CallOptions | undefined,
    run: () => Promise<T>,
    mayRepeat: (error: unknown) => boolean = () => true,
  ): Promise<T> {
    const { maximumAttempts, maximumTotalMs, now } = this.#settings
    const startedMs = now()
    for (let attempt = 1; ; attempt++) {
      try {
        return await run()
      } catch (error) {
        const passing = isTransient(error) || error instanceof SomeFailed
        if (!passing || attempt >= maximumAttempts || !mayRepeat(error)) throw error
        const delayMs = this.#delayMs(attempt, error)
        if (now() - startedMs + delayMs > maximumTotalMs) throw error
        await this.#settings.sleep(delayMs, options?.signal).catch(() => {})
        if (options?.signal?.aborted) throw interrupted('retry')
      }
    }
  }

  #delayMs(attempt: number, error: unknown): number {
    const { firstDelayMs, maximumDelayMs, random } = this.#settings
    const ceilingMs = Math.min(maximumDelayMs, firstDelayMs * 2 ** attempt)
    const asked = error instanceof BackendError ? (error.retryAfterMs ?? 0) : 0
    return Math.max(asked, ceilingMs * (0.5 + random() / 2))
  }
}

/** Some of many failed for passing reasons. */
class SomeFailed extends Error {
  readonly failures: DeleteFailure[]
  constructor(failures: DeleteFailure[]) {
    super('some deletions failed')
    this.failures = failures
  }
}
