/**
 * A small HTTP client for tests: sends exactly what it is told, on connections that it keeps.
 * Owns: its connections. Nothing is followed, decoded or retried.
 */
import { Agent, request as httpRequest, type IncomingHttpHeaders, type OutgoingHttpHeaders } from 'node:http'
import { request as httpsRequest, Agent as TlsAgent } from 'node:https'
import { connect } from 'node:net'

export interface Reply {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  /** Headers as sent, for those that may come more than once. */
  readonly raw: readonly string[]
  readonly body: Buffer
  readonly text: string
}

export type Body = string | Buffer | undefined

export class HttpClient {
  readonly port: number
  readonly #agent: Agent | TlsAgent
  readonly #tls: boolean
  /** Sent with every request. */
  headers: OutgoingHttpHeaders = {}

  constructor(port: number, tls = false) {
    this.port = port
    this.#tls = tls
    this.#agent = tls ? new TlsAgent({ keepAlive: true, rejectUnauthorized: false }) : new Agent({ keepAlive: true })
  }

  /** One request; the whole answer. `path` goes out as it is. */
  send(method: string, path: string, headers: OutgoingHttpHeaders = {}, body?: Body): Promise<Reply> {
    return new Promise((resolve, reject) => {
      const all: OutgoingHttpHeaders = { ...this.headers, ...headers }
      if (body !== undefined && !('transfer-encoding' in all) && !('content-length' in all)) all['content-length'] = Buffer.byteLength(body)
      const options = { host: '127.0.0.1', port: this.port, method, path, headers: all, agent: this.#agent }
      const request = (this.#tls ? httpsRequest : httpRequest)(options, response => {
        const chunks: Buffer[] = []
        response.on('data', chunk => chunks.push(chunk))
        response.on('error', reject)
        response.on('end', () => {
          const whole = Buffer.concat(chunks)
          resolve({
            status: response.statusCode!,
            headers: response.headers,
            raw: response.rawHeaders,
            body: whole,
            text: whole.toString('utf8'),
          })
        })
      })
      request.on('error', reject)
      request.end(body)
    })
  }

  /** Bytes as they are, on a connection of its own; all that comes back until the server closes or `until` matches. */
  raw(bytes: string | Buffer, until?: RegExp, timeoutMs = 60_000): Promise<string> {
    return new Promise((resolve, reject) => {
      const socket = connect(this.port, '127.0.0.1')
      let text = ''
      const timer = setTimeout(() => {
        socket.destroy()
        reject(new Error(`nothing came of ${String(bytes).slice(0, 80)}; so far: ${text.slice(0, 200)}`))
      }, timeoutMs)
      const settle = () => {
        clearTimeout(timer)
        socket.destroy()
        resolve(text)
      }
      socket.on('data', chunk => {
        text += chunk.toString('latin1')
        if (until?.test(text)) settle()
      })
      socket.on('close', settle)
      socket.on('error', settle)
      socket.write(bytes)
    })
  }

  close(): void {
    this.#agent.destroy()
  }
}
