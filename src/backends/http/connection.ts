/**
 * One keep-alive HTTP/1.1 connection, for bulk bytes: a request at a time, one receive buffer for its whole life.
 *
 * Owns: a socket, its receive buffer, the exchange under way. Why not node:http: it allocates a buffer per piece received
 * (8 MiB took 39 ms of CPU, here 4 ms) and spends twice the time per small request.
 * Must stay true: an exchange ends exactly once; after a failure, an abort or a surprise the connection is never used again;
 * time spent waiting for our own side (a slow sink or source) doesn't count as a stalled server.
 * It doesn't: retry, follow redirects, pipeline, sign.
 */
import net from 'node:net'
import tls from 'node:tls'
import type { Body } from '../contract.ts'
import { BackendError, interrupted } from '../errors.ts'
import { ProtocolError, ResponseParser, type ResponseSink } from './response-parser.ts'

export interface Origin {
  readonly secure: boolean
  readonly host: string
  readonly port: number
}

export interface HttpRequest {
  readonly method: string
  /** Path and query, encoded. */
  readonly target: string
  /** With `host`; without `content-length`, which comes from the body. */
  readonly headers: Readonly<Record<string, string>>
  readonly body?: Body | undefined
}

export interface ConnectionLimits {
  readonly connectTimeoutMs: number
  /** Without a byte in either direction for this long, the exchange fails with 'timed-out'. */
  readonly stallTimeoutMs: number
}

const RECEIVE_BUFFER_BYTES = 64 * 1024

interface Exchange {
  readonly parser: ResponseParser
  readonly resolve: () => void
  readonly reject: (error: unknown) => void
  readonly signal: AbortSignal | undefined
  readonly onAbort: () => void
  /** All of the request was handed to the socket. */
  sent: boolean
  /** Somebody here is being waited for. */
  localWaits: number
}

export class HttpConnection {
  readonly #socket: net.Socket
  readonly #limits: ConnectionLimits
  readonly #onClose: (connection: HttpConnection) => void
  #exchange: Exchange | undefined
  #connected = false
  #dead = false
  #reused = false
  #drained: (() => void) | undefined

  /** `onClose` is called once, when the connection can't be used any more. */
  constructor(origin: Origin, limits: ConnectionLimits, onClose: (connection: HttpConnection) => void) {
    this.#limits = limits
    this.#onClose = onClose
    const onread = {
      buffer: Buffer.allocUnsafeSlow(RECEIVE_BUFFER_BYTES),
      callback: (n: number, buffer: Uint8Array) => this.#receive(buffer as Buffer, 0, n),
    }
    const common = { host: origin.host, port: origin.port, noDelay: true, onread }
    const ready = () => {
      this.#connected = true
      this.#socket.setTimeout(limits.stallTimeoutMs)
    }
    const servername = net.isIP(origin.host) ? {} : { servername: origin.host }
    this.#socket = origin.secure
      ? tls.connect({ ...common, ...servername, ALPNProtocols: ['http/1.1'] } as tls.ConnectionOptions, ready)
      : net.connect(common, ready)
    this.#socket.setTimeout(limits.connectTimeoutMs)
    this.#socket.on('timeout', () => this.#timeout())
    this.#socket.on('error', error => this.#fail(networkError(error, this.#connected, this.#mayHaveHappened())))
    this.#socket.on('drain', () => this.#wakeSender())
    this.#socket.on('end', () => this.#ended())
    this.#socket.on('close', () => this.#ended())
  }

  get usable(): boolean {
    return !this.#dead && this.#exchange === undefined
  }
  /** It has served a request before: the server may have hung up just now without fault. */
  get reused(): boolean {
    return this.#reused
  }

  /** Sends a request and feeds the response to `sink`. */
  exchange(request: HttpRequest, sink: ResponseSink, signal: AbortSignal | undefined): Promise<void> {
    if (!this.usable) throw new Error('the connection is in use')
    if (signal?.aborted) return Promise.reject(interrupted(request.method))
    return new Promise((resolve, reject) => {
      const onAbort = () => this.#fail(interrupted(request.method))
      signal?.addEventListener('abort', onAbort, { once: true })
      this.#exchange = { parser: new ResponseParser(sink, request.method), resolve, reject, signal, onAbort, sent: false, localWaits: 0 }
      this.#send(request, this.#exchange)
    })
  }

  /** Ends it; an exchange under way fails with 'interrupted'. */
  close(): void {
    if (this.#exchange) this.#fail(interrupted('close'))
    else this.#destroy()
  }

  /** While idle the process may exit; the stall timer of the server's side doesn't run. */
  rest(): void {
    this.#reused = true
    this.#socket.setTimeout(0)
    this.#socket.unref()
  }
  wake(): void {
    this.#socket.ref()
    this.#socket.setTimeout(this.#connected ? this.#limits.stallTimeoutMs : this.#limits.connectTimeoutMs)
  }

  #send(request: HttpRequest, exchange: Exchange): void {
    let head = `${request.method} ${request.target} HTTP/1.1\r\n`
    for (const name in request.headers) head += `${name}: ${request.headers[name]}\r\n`
    const { body } = request
    if (body === undefined) {
      if (request.method === 'PUT' || request.method === 'POST') head += 'content-length: 0\r\n'
      this.#socket.write(`${head}\r\n`, 'latin1')
      exchange.sent = true
    } else if (body instanceof Uint8Array) {
      this.#socket.cork()
      this.#socket.write(`${head}content-length: ${body.byteLength}\r\n\r\n`, 'latin1')
      if (body.byteLength > 0) this.#socket.write(body)
      this.#socket.uncork()
      exchange.sent = true
    } else {
      this.#socket.write(`${head}content-length: ${body.sizeBytes}\r\n\r\n`, 'latin1')
      this.#pump(body, exchange).catch(error => {
        if (this.#exchange === exchange) this.#fail(error)
      })
    }
  }

  async #pump(source: Exclude<Body, Uint8Array>, exchange: Exchange): Promise<void> {
    const iterator = source.open()[Symbol.asyncIterator]()
    let left = source.sizeBytes
    try {
      while (this.#exchange === exchange) {
        exchange.localWaits++
        const step = await iterator.next().finally(() => exchange.localWaits--)
        if (this.#exchange !== exchange) return
        if (step.done) break
        left -= step.value.byteLength
        if (left < 0) throw new BackendError('io', 'there are more bytes to send than was said', { operation: 'put' })
        if (step.value.byteLength > 0 && !this.#socket.write(step.value)) await new Promise<void>(resolve => (this.#drained = resolve))
      }
      if (this.#exchange !== exchange) return
      if (left > 0) throw new BackendError('io', 'there are fewer bytes to send than was said', { operation: 'put' })
      exchange.sent = true
    } finally {
      await iterator.return?.()
    }
  }

  #wakeSender(): void {
    const drained = this.#drained
    this.#drained = undefined
    drained?.()
  }

  /** Answers false to hold the socket back. */
  #receive(buffer: Buffer, from: number, end: number): boolean {
    let at = from
    while (at < end) {
      const exchange = this.#exchange
      if (!exchange) {
        // Bytes that nobody asked for.
        this.#destroy()
        return true
      }
      try {
        at = exchange.parser.take(buffer, at, end)
      } catch (error) {
        this.#fail(error instanceof ProtocolError ? nonsense(error, exchange) : error)
        return true
      }
      const { pending } = exchange.parser
      if (pending) {
        exchange.parser.pending = undefined
        this.#wait(exchange, pending, buffer, at, end)
        return false
      }
      if (exchange.parser.done) this.#finish(exchange)
    }
    return true
  }

  #wait(exchange: Exchange, pending: Promise<void>, buffer: Buffer, at: number, end: number): void {
    exchange.localWaits++
    pending.then(
      () => {
        exchange.localWaits--
        if (this.#exchange !== exchange) return
        if (exchange.parser.done) this.#finish(exchange)
        if (this.#receive(buffer, at, end) && !this.#dead) this.#socket.resume()
      },
      error => {
        if (this.#exchange === exchange) this.#fail(error)
      },
    )
  }

  #finish(exchange: Exchange): void {
    this.#exchange = undefined
    exchange.signal?.removeEventListener('abort', exchange.onAbort)
    this.#wakeSender()
    // An answer that came before the whole request was sent leaves the connection in an unknown state.
    if (!exchange.parser.persistent || !exchange.sent) this.#destroy()
    exchange.resolve()
  }

  #ended(): void {
    const exchange = this.#exchange
    if (exchange && exchange.localWaits === 0 && exchange.parser.end()) this.#finish(exchange)
    this.#fail(networkError(undefined, this.#connected, this.#mayHaveHappened()))
  }

  #timeout(): void {
    if (this.#exchange && this.#exchange.localWaits > 0) return
    const message = this.#connected ? 'the server stopped answering' : 'no connection in time'
    this.#fail(new BackendError('timed-out', message, { transient: true, mayHaveHappened: this.#mayHaveHappened() }))
  }

  #mayHaveHappened(): boolean {
    return this.#connected && this.#exchange !== undefined
  }

  #fail(error: unknown): void {
    const exchange = this.#exchange
    this.#exchange = undefined
    this.#destroy()
    if (!exchange) return
    exchange.signal?.removeEventListener('abort', exchange.onAbort)
    this.#wakeSender()
    exchange.reject(error)
  }

  #destroy(): void {
    if (this.#dead) return
    this.#dead = true
    this.#socket.destroy()
    this.#onClose(this)
  }
}

function nonsense(error: ProtocolError, exchange: Exchange): BackendError {
  return new BackendError('io', `the answer can't be read: ${error.message}`, { transient: true, mayHaveHappened: exchange.sent })
}

const FINAL_NETWORK_CODES = /^(CERT_|ERR_TLS|ERR_SSL|EPROTO|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO)/

function networkError(cause: unknown, connected: boolean, mayHaveHappened: boolean): BackendError {
  const code = (cause as { code?: unknown } | undefined)?.code
  const name = typeof code === 'string' ? code : undefined
  const message = connected ? 'the connection broke' : 'no connection to the server'
  const transient = !(name && FINAL_NETWORK_CODES.test(name))
  return new BackendError('offline', name ? `${message} (${name})` : message, { transient, mayHaveHappened, code: name })
}
