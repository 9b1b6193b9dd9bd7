/**
 * The WebDAV server: one tree over HTTP.
 *
 * Owns: the listening socket and its bounds. Must stay true: beyond the loopback interface it listens only with TLS and a
 * password; connections, headers and waiting are bounded; `close` ends every request and every timer.
 * It doesn't: know volumes (only the `Vfs`), or start system clients (system-client.ts).
 */
import { lookup } from 'node:dns/promises'
import { createServer, type RequestListener, type Server, type ServerOptions } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo, Socket } from 'node:net'
import type { PropertyStore } from '../../index/property-store.ts'
import type { Log } from '../../log.ts'
import type { Ino, Name, Vfs } from '../../vfs/contract.ts'
import type { NodeLocks } from '../../vfs/guarded-vfs.ts'
import type { Credentials } from './auth-basic.ts'
import { Authenticator, isLoopback, type Scheme } from './authenticator.ts'
import { Dispatcher } from './dispatch.ts'
import type { Identity } from './exchange.ts'
import { DEFAULT_LIMITS, type WebdavLimits } from './limits.ts'
import { LockTable } from './locks.ts'
import { OriginGuard } from './origin.ts'

export interface WebdavOptions {
  readonly vfs: Vfs
  readonly log: Log
  /** An address, or a name that resolves to one. */
  readonly host: string
  /** 0: any free one. */
  readonly port: number
  /** Who may log in. */
  readonly credentials?: Credentials | readonly Credentials[]
  /** Ways to log in that are offered; the default: both. Basic only where nobody can listen in any case. */
  readonly schemes?: readonly Scheme[]
  /** Nobody needs to log in. Only on the loopback interface, and only when no credentials are given. */
  readonly anonymous?: boolean
  readonly readOnly: boolean
  /** PEM texts. */
  readonly tls?: { readonly key: string; readonly cert: string }
  readonly properties: PropertyStore
  readonly limits?: Partial<WebdavLimits>
  /** Whether desktop clutter may be written below this folder of the root; the default: anywhere. */
  readonly acceptsLitter?: (top: Name) => boolean
  /** Resolves when other front ends know of every change so far; answers to changes wait for it (at most a second). */
  readonly settled?: () => Promise<void>
  /** Whether a program on the machine has locked the node, where the tree is mounted too (src/sys/program-locks.ts). */
  readonly heldByProgram?: (ino: Ino) => boolean
  /** Under whose name the operations run. */
  readonly identity: Identity
  /** Names, besides localhost and the machine's, under which clients reach this server. */
  readonly hostNames?: readonly string[]
  /** Milliseconds; for tests. */
  readonly now?: () => number
}

export interface WebdavServer {
  /** With "/" at its end. */
  readonly url: string
  readonly port: number
  /** Requests that are being answered. */
  readonly activeRequests: number
  /** The nodes that WebDAV clients have locked, for a front end beside this one (src/vfs/guarded-vfs.ts). */
  readonly locks: NodeLocks
  /** Stops listening, lets requests end for a moment, then ends them. */
  close(): Promise<void>
  /** Resolves when it was closed, rejects when it ended by itself. */
  readonly ended: Promise<void>
}

const SWEEP_MS = 50

/** Starts listening. Throws a plain Error for settings that would be unsafe, and what listen(2) says. */
export async function serveWebdav(options: WebdavOptions): Promise<WebdavServer> {
  const limits = { ...DEFAULT_LIMITS, ...options.limits }
  const credentials = [options.credentials ?? []].flat()
  if (credentials.length === 0 && !options.anonymous)
    throw new Error('WebDAV needs a user and a password, or to be told that anybody may come')
  const { address } = await lookup(options.host)
  if (!isLoopback(address) && (credentials.length === 0 || !options.tls))
    throw new Error('WebDAV beyond this machine needs TLS and a password')
  const now = options.now ?? Date.now
  const { vfs, log, properties, identity, readOnly } = options
  const acceptsLitter = options.acceptsLitter ?? (() => true)
  const heldByProgram = options.heldByProgram ?? (() => false)
  const settled = options.settled ?? (async () => {})
  const locks = new LockTable(now)
  const service = {
    vfs,
    log,
    properties,
    limits,
    identity,
    readOnly,
    acceptsLitter,
    heldByProgram,
    settled,
    locks,
    withoutUnnamed: new Set<number>(),
  }
  const authenticator = new Authenticator({
    credentials,
    schemes: options.schemes ?? ['digest', 'basic'],
    tls: options.tls !== undefined,
    now,
  })
  const dispatcher = new Dispatcher(service, authenticator, new OriginGuard(options.hostNames ?? [options.host]))
  const server = createHttpServer(options, limits, (request, response) => void dispatcher.handle(request, response))
  await listen(server, address, options.port)
  return new RunningServer(server, dispatcher, locks, options, (server.address() as AddressInfo).port, limits, log)
}

class RunningServer implements WebdavServer {
  readonly url: string
  readonly port: number
  readonly ended: Promise<void>
  readonly locks: NodeLocks
  readonly #server: Server
  readonly #dispatcher: Dispatcher
  readonly #closeMs: number

  constructor(
    server: Server,
    dispatcher: Dispatcher,
    locks: NodeLocks,
    options: WebdavOptions,
    port: number,
    limits: WebdavLimits,
    log: Log,
  ) {
    this.#server = server
    this.#dispatcher = dispatcher
    this.locks = locks
    this.#closeMs = limits.closeMs
    const host = options.host.includes(':') ? `[${options.host}]` : options.host
    this.port = port
    this.url = `${options.tls ? 'https' : 'http'}://${host}:${port}/`
    this.ended = new Promise((resolve, reject) => {
      server.once('close', () => resolve())
      server.on('error', error => {
        log.error('webdav: the server failed', error)
        reject(error)
      })
    })
    // Whoever waits for it hears of the failure; nobody has to.
    this.ended.catch(() => {})
  }

  get activeRequests(): number {
    return this.#dispatcher.active
  }

  async close(): Promise<void> {
    const closed = new Promise<void>(resolve => this.#server.close(() => resolve()))
    // A connection is idle once its request is answered; node doesn't look again by itself.
    const sweep = setInterval(() => this.#server.closeIdleConnections(), SWEEP_MS)
    const timer = setTimeout(() => {
      this.#dispatcher.abort()
      this.#server.closeAllConnections()
    }, this.#closeMs)
    await closed
    clearInterval(sweep)
    clearTimeout(timer)
  }
}

function createHttpServer({ tls }: WebdavOptions, limits: WebdavLimits, listener: RequestListener): Server {
  const settings: ServerOptions = {
    maxHeaderSize: limits.headerBytes,
    headersTimeout: limits.headersTimeoutMs,
    keepAliveTimeout: limits.keepAliveMs,
    // A large upload over a slow line takes hours; what stands still is ended by the stall timers (body.ts).
    requestTimeout: 0,
    connectionsCheckingInterval: Math.min(5000, limits.headersTimeoutMs),
  }
  const server = tls
    ? createTlsServer({ ...settings, ...tls, minVersion: 'TLSv1.2', handshakeTimeout: limits.headersTimeoutMs })
    : createServer(settings)
  server.maxConnections = limits.connections
  server.on('request', listener)
  // With a listener, the decision to invite the body is ours: after login and conditions.
  server.on('checkContinue', listener)
  server.on('checkExpectation', listener)
  server.on('clientError', (error: NodeJS.ErrnoException, socket: Socket) => answerBrokenRequest(error, socket))
  return server
}

/** A request that node couldn't parse gets one line, and the connection ends. */
function answerBrokenRequest(error: NodeJS.ErrnoException, socket: Socket): void {
  if (socket.destroyed || !socket.writable || error.code === 'ECONNRESET') {
    socket.destroy()
    return
  }
  const status =
    error.code === 'HPE_HEADER_OVERFLOW'
      ? '431 Request Header Fields Too Large'
      : error.code === 'ERR_HTTP_REQUEST_TIMEOUT'
        ? '408 Request Timeout'
        : '400 Bad Request'
  socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`)
  socket.destroySoon()
}

function listen(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, host, () => {
      server.removeListener('error', reject)
      resolve()
    })
  })
}
