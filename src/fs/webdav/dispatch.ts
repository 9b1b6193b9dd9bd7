/**
 * From an HTTP request to its handler.
 *
 * Owns: the order of checks (target, host and origin, login, method, handler) and the table of methods. Must stay true:
 * a malformed target is refused before and after login alike; nothing of the tree is seen without login; whatever a
 * handler throws becomes an answer, and every exchange ends.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { FsError } from '../../errors.ts'
import type { Authenticator } from './authenticator.ts'
import { del, mkcol } from './delete.ts'
import { Exchange, type Service } from './exchange.ts'
import { get } from './get.ts'
import { lock, unlock } from './lock.ts'
import type { OriginGuard } from './origin.ts'
import { propfind } from './propfind.ts'
import { proppatch } from './proppatch.ts'
import { put } from './put.ts'
import { refuse, sendEmpty, sendError } from './respond.ts'
import { Refusal, statusOf } from './status.ts'
import { parsePath, parseReference, type Target } from './target.ts'
import { copy, move } from './transfer.ts'

type Handler = (x: Exchange) => Promise<void>

interface Method {
  readonly handle: Handler
  readonly writes: boolean
}

const METHODS: ReadonlyMap<string, Method> = new Map([
  ['GET', { handle: get, writes: false }],
  ['HEAD', { handle: get, writes: false }],
  ['PUT', { handle: put, writes: true }],
  ['DELETE', { handle: del, writes: true }],
  ['MKCOL', { handle: mkcol, writes: true }],
  ['COPY', { handle: copy, writes: true }],
  ['MOVE', { handle: move, writes: true }],
  ['PROPFIND', { handle: propfind, writes: false }],
  ['PROPPATCH', { handle: proppatch, writes: true }],
  ['LOCK', { handle: lock, writes: true }],
  ['UNLOCK', { handle: unlock, writes: true }],
])

const ALLOW = ['OPTIONS', ...METHODS.keys()].join(', ')

export class Dispatcher {
  readonly #service: Service
  readonly #authenticator: Authenticator
  readonly #origins: OriginGuard
  readonly #active = new Set<Exchange>()

  constructor(service: Service, authenticator: Authenticator, origins: OriginGuard) {
    this.#service = service
    this.#authenticator = authenticator
    this.#origins = origins
  }

  /** Requests that are being answered. */
  get active(): number {
    return this.#active.size
  }

  /** Ends the work for all of them. */
  abort(): void {
    for (const exchange of this.#active) exchange.abort()
  }

  /** Answers. Never throws. */
  async handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    response.on('error', () => {})
    let exchange: Exchange | undefined
    try {
      const target = targetOf(request)
      this.#origins.check(request)
      if (request.method === 'OPTIONS') return options(response)
      const user = await this.#login(request, response)
      const method = METHODS.get(request.method ?? '')
      if (!method) throw new Refusal(405, 'no such method', { headers: { Allow: ALLOW } })
      if (method.writes && this.#service.readOnly) throw new Refusal(403, 'this server is read-only')
      exchange = new Exchange(this.#service, request, response, target, user)
      this.#active.add(exchange)
      await run(method.handle, exchange)
    } catch (error) {
      if (exchange) sendError(exchange, error)
      else if (response.destroyed) response.destroy()
      else refuse(response, statusOf(error), error, this.#service.log)
    } finally {
      if (exchange) {
        exchange.end()
        this.#active.delete(exchange)
      }
    }
  }

  async #login(request: IncomingMessage, response: ServerResponse): Promise<string> {
    const left = new AbortController()
    const leave = () => left.abort()
    response.once('close', leave)
    try {
      return await this.#authenticator.user(request, left.signal)
    } finally {
      response.removeListener('close', leave)
    }
  }
}

/** Runs a handler; once more when a name changed its meaning under it before anything was read or answered. */
async function run(handle: Handler, x: Exchange): Promise<void> {
  try {
    await handle(x)
  } catch (error) {
    const repeatable = error instanceof FsError && error.kind === 'stale' && !x.hasBody && !x.response.headersSent
    if (!repeatable) throw error
    x.walk.release()
    await handle(x)
  }
}

/** The request target: a path, or an absolute URL as proxies send it. */
function targetOf(request: IncomingMessage): Target {
  const raw = request.url ?? ''
  if (raw === '*' && request.method === 'OPTIONS') return parsePath('/')
  const target = parseReference(raw, request.headers.host)
  if (!target) throw new Refusal(421, 'this server has another name')
  return target
}

function options(response: ServerResponse): void {
  sendEmpty(response, 200, { DAV: '1, 2, 3', 'MS-Author-Via': 'DAV', Allow: ALLOW, 'Accept-Ranges': 'bytes' })
}
