/**
 * An HTTP client that costs next to nothing: bytes out, length or chunks counted in, so that what is measured is the server.
 * Owns: its connections; a request takes a free one or makes one. Must stay true: an unexpected status is an error; a
 * connection that the server closed while it was idle is never taken, or the request on it would wait for ever.
 */
import { connect, type Socket } from 'node:net'

const HEAD_END = Buffer.from('\r\n\r\n')

export class WireClient {
  readonly #port: number
  readonly #idle: Socket[] = []

  constructor(port: number) {
    this.#port = port
  }

  /** One request; resolves when the whole answer has come. */
  async send(method: string, path: string, status: number, headers: Readonly<Record<string, string>> = {}, body?: Buffer): Promise<void> {
    const socket = this.#free()
    const fields = Object.entries({ Host: 'localhost', 'Content-Length': String(body?.length ?? 0), ...headers })
    const head = Buffer.from(`${method} ${path} HTTP/1.1\r\n${fields.map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n`)
    const answered = this.#answer(socket)
    if (body && body.length < 65_536) socket.write(Buffer.concat([head, body]))
    else {
      socket.write(head)
      if (body) socket.write(body)
    }
    const { code, keep } = await answered
    if (keep) this.#idle.push(socket)
    else socket.destroy()
    if (code !== status) throw new Error(`${method} ${path}: ${code}, not ${status}`)
  }

  /** An idle connection that is still good, or a new one. */
  #free(): Socket {
    for (let socket = this.#idle.pop(); socket; socket = this.#idle.pop()) {
      if (socket.writable && !socket.readableEnded) return socket
      socket.destroy()
    }
    return connect({ port: this.#port, host: '127.0.0.1', noDelay: true })
  }

  /** Ends the connections that no request uses. */
  close(): void {
    for (const socket of this.#idle.splice(0)) socket.destroy()
  }

  #answer(socket: Socket): Promise<{ readonly code: number; readonly keep: boolean }> {
    return new Promise((resolve, reject) => {
      let head = Buffer.alloc(0)
      let code = 0
      let keep = true
      let left = -1
      let tail = ''
      const settle = (error?: Error) => {
        socket.removeListener('data', onData)
        socket.removeListener('error', settle)
        socket.removeListener('close', onClose)
        if (error) reject(error)
        else resolve({ code, keep })
      }
      const onClose = () => settle(new Error(`the connection ended, code ${code}, ${left} bytes left`))
      const body = (chunk: Buffer) => {
        if (left >= 0) left -= chunk.length
        else tail = (tail + chunk.subarray(-7).toString('latin1')).slice(-7)
        if (left === 0 || (left < 0 && tail.endsWith('\r\n0\r\n\r\n'))) settle()
      }
      const onData = (chunk: Buffer) => {
        if (code !== 0) return body(chunk)
        head = Buffer.concat([head, chunk])
        const end = head.indexOf(HEAD_END)
        if (end < 0) return
        const text = head.toString('latin1', 0, end)
        code = Number(text.slice(9, 12))
        keep = !/\r\nconnection: close/i.test(text)
        const length = /\r\ncontent-length: (\d+)/i.exec(text)?.[1]
        const chunked = /\r\ntransfer-encoding: chunked/i.test(text)
        left = chunked ? -1 : Number(length ?? 0)
        const rest = head.subarray(end + 4)
        if (left === 0 || rest.length > 0) body(rest)
      }
      socket.on('data', onData)
      socket.on('error', settle)
      socket.on('close', onClose)
    })
  }
}
