/**
 * A backend around a backend: every call goes through one function, and bytes may be looked at on their way.
 *
 * Owns: the forwarding, so that wrappers (limit.ts, log.ts, test faults) are a few lines each.
 * Must stay true: it adds nothing of its own; what an interceptor doesn't touch reaches the inner backend as it came.
 */
import type { Backend, BackendCapabilities, Body, CallOptions, Consume, MultipartUploads } from './contract.ts'

export type BackendOperation =
  | 'check'
  | 'list'
  | 'head'
  | 'get'
  | 'put'
  | 'copy'
  | 'delete'
  | 'delete-many'
  | 'create-upload'
  | 'put-part'
  | 'copy-part'
  | 'list-parts'
  | 'complete-upload'
  | 'abort-upload'
  | 'list-uploads'

export interface BackendCall {
  readonly operation: BackendOperation
  /** The key, prefix, or number of keys it is about; for debugging. */
  readonly subject: string
  readonly signal: AbortSignal | undefined
}

export interface PreparedBody {
  readonly body: Body
  readonly sha256: string | undefined
}

export interface Interceptor {
  around<T>(call: BackendCall, run: () => Promise<T>): Promise<T>
  /** Stands between the store and whoever takes the bytes of a `get`. */
  consume?(consume: Consume, signal: AbortSignal | undefined): Consume
  /** Stands between whoever sends bytes and the store. */
  prepare?(body: Body, sha256: string | undefined, signal: AbortSignal | undefined): PreparedBody | Promise<PreparedBody>
}

/** `inner` with every call led through `interceptor`. */
export function intercept(inner: Backend, interceptor: Interceptor): Backend {
  return new InterceptedBackend(inner, interceptor)
}

class InterceptedBackend implements Backend {
  readonly description: string
  readonly capabilities: BackendCapabilities
  readonly uploads: MultipartUploads
  readonly #inner: Backend
  readonly #interceptor: Interceptor

  constructor(inner: Backend, interceptor: Interceptor) {
    this.#inner = inner
    this.#interceptor = interceptor
    this.description = inner.description
    this.capabilities = inner.capabilities
    this.uploads = this.#wrapUploads(inner.uploads)
  }

  check(...args: Parameters<Backend['check']>): ReturnType<Backend['check']> {
    return this.#around('check', '', args[0], () => this.#inner.check(...args))
  }
  list(...args: Parameters<Backend['list']>): ReturnType<Backend['list']> {
    return this.#around('list', args[0]?.prefix ?? '', args[0], () => this.#inner.list(...args))
  }
  head(...args: Parameters<Backend['head']>): ReturnType<Backend['head']> {
    return this.#around('head', args[0], args[1], () => this.#inner.head(...args))
  }
  get(...[key, consume, options]: Parameters<Backend['get']>): ReturnType<Backend['get']> {
    const between = this.#interceptor.consume?.(consume, options?.signal) ?? consume
    return this.#around('get', key, options, () => this.#inner.get(key, between, options))
  }
  put(...[key, body, options]: Parameters<Backend['put']>): ReturnType<Backend['put']> {
    return this.#around('put', key, options, async () => {
      const prepared = await this.#prepare(body, options?.sha256, options)
      return this.#inner.put(key, prepared.body, { ...options, ...withSha256(prepared) })
    })
  }
  copy(...args: Parameters<Backend['copy']>): ReturnType<Backend['copy']> {
    return this.#around('copy', args[0], args[2], () => this.#inner.copy(...args))
  }
  delete(...args: Parameters<Backend['delete']>): ReturnType<Backend['delete']> {
    return this.#around('delete', args[0], args[1], () => this.#inner.delete(...args))
  }
  deleteMany(...args: Parameters<Backend['deleteMany']>): ReturnType<Backend['deleteMany']> {
    return this.#around('delete-many', `${args[0].length} objects`, args[1], () => this.#inner.deleteMany(...args))
  }
  close(): void {
    this.#inner.close()
  }

  #wrapUploads(inner: MultipartUploads): MultipartUploads {
    return {
      create: (...args) => this.#around('create-upload', args[0], args[1], () => inner.create(...args)),
      putPart: (upload, number, body, options) =>
        this.#around('put-part', upload.key, options, async () => {
          const prepared = await this.#prepare(body, options?.sha256, options)
          return inner.putPart(upload, number, prepared.body, { ...options, ...withSha256(prepared) })
        }),
      copyPart: (...args) => this.#around('copy-part', args[0].key, args[4], () => inner.copyPart(...args)),
      parts: (...args) => this.#around('list-parts', args[0].key, args[1], () => inner.parts(...args)),
      complete: (...args) => this.#around('complete-upload', args[0].key, args[2], () => inner.complete(...args)),
      abort: (...args) => this.#around('abort-upload', args[0].key, args[1], () => inner.abort(...args)),
      list: (...args) => this.#around('list-uploads', args[0], args[1], () => inner.list(...args)),
    }
  }

  #around<T>(operation: BackendOperation, subject: string, options: CallOptions | undefined, run: () => Promise<T>): Promise<T> {
    return this.#interceptor.around({ operation, subject, signal: options?.signal }, run)
  }

  #prepare(body: Body, sha256: string | undefined, options: CallOptions | undefined): PreparedBody | Promise<PreparedBody> {
    return this.#interceptor.prepare?.(body, sha256, options?.signal) ?? { body, sha256 }
  }
}

function withSha256(prepared: PreparedBody): { readonly sha256?: string } {
  return prepared.sha256 === undefined ? {} : { sha256: prepared.sha256 }
}
