/**
 * The daemon's end of the control socket.
 *
 * Owns: connections and their bounds; it knows nothing of what is asked (`handle` does).
 * Must stay true: nothing that arrives ends the daemon; a connection that breaks the protocol is told why and closed; a
 * client that doesn't read makes its own request wait (`update` waits), nobody else's.
 * Who may ask: the socket is 0600 in a directory of 0700, so the user of the library and root.
 */
import { chmodSync, rmSync } from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import { describeError } from '../../errors.ts'
import type { Log } from '../../log.ts'
import { CommandError, exitOf } from '../exit-codes.ts'
import { decodeRequest, encodeReply, LineReader, type ReplyMessage, type RequestMessage } from './protocol.ts'
import { shortSocketPath } from './socket-path.ts'

const CONNECTIONS_LIMIT = 64
/** How long what is being answered may take to end once the daemon ends. */
const LAST_ANSWERS_MS = 5_000
const IDLE_MS = 60_000
/** While it works, the daemon says so this often. */
const ALIVE_MS = 5_000
/** A line that waits while another request of the same connection works: more than this is a flood. */
const QUEUED_LINES_LIMIT = 16

export interface RequestContext {
  /** Aborted when the client goes away or the server closes. */
  readonly signal: AbortSignal
  /** Sends an update; waits while the client is slow. */
  update(value: unknown): Promise<void>
}

export type RequestHandler = (request: RequestMessage, context: RequestContext) => Promise<unknown>

export class ControlServer {
  readonly #server: Server
  readonly #handle: RequestHandler
  readonly #log: Log
  readonly #sockets = new Set<Socket>()
  readonly #address: Disposable
  readonly #closed: Promise<void>
  readonly #ending = new AbortController()
  readonly #answers = new Set<Promise<void>>()

  private constructor(server: Server, address: Disposable, handle: RequestHandler, log: Log) {
    this.#server = server
    this.#address = address
    this.#handle = handle
    this.#log = log
    this.#closed = new Promise(resolve => server.on('close', () => resolve()))
    server.maxConnections = CONNECTIONS_LIMIT
    server.on('connection', socket => this.#serve(socket))
    server.on('error', error => log.error('control socket', error))
  }

  /** Listens at `path`; a socket that a dead daemon left there is replaced (hold the library's lock). */
  static async listen(path: string, handle: RequestHandler, log: Log): Promise<ControlServer> {
    rmSync(path, { force: true })
    const address = shortSocketPath(path)
    const server = createServer()
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(address.path, () => {
        server.off('error', reject)
        resolve()
      })
    })
    chmodSync(path, 0o600)
    return new ControlServer(server, address, handle, log)
  }

  /**
   * No new connections, no further requests; the socket's name is gone. What is being answered is cancelled; resolves when
   * all have had their answer, or after a moment.
   */
  async stopAnswering(): Promise<void> {
    this.#ending.abort()
    if (this.#server.listening) this.#server.close()
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<void>(resolve => {
      timer = setTimeout(resolve, LAST_ANSWERS_MS)
    })
    await Promise.race([Promise.allSettled(this.#answers), late])
    clearTimeout(timer)
  }

  /** Drops who is connected: closing tells waiting clients that the daemon has ended. */
  async close(): Promise<void> {
    await this.stopAnswering()
    for (const socket of this.#sockets) socket.destroySoon()
    await this.#closed
    this.#address[Symbol.dispose]()
  }

  #serve(socket: Socket): void {
    this.#sockets.add(socket)
    const gone = new AbortController()
    const reader = new LineReader()
    const queue: string[] = []
    let working = false
    const work = async () => {
      if (working) return
      working = true
      for (let line = queue.shift(); line !== undefined && !gone.signal.aborted; line = queue.shift()) {
        socket.setTimeout(0)
        const answer = this.#answer(socket, line, AbortSignal.any([gone.signal, this.#ending.signal]))
        this.#answers.add(answer)
        await answer
        this.#answers.delete(answer)
        socket.setTimeout(IDLE_MS)
      }
      working = false
    }
    socket.setEncoding('utf8')
    socket.setTimeout(IDLE_MS, () => socket.destroy())
    socket.on('data', chunk => {
      try {
        queue.push(...reader.push(String(chunk)))
        if (queue.length > QUEUED_LINES_LIMIT) throw new CommandError('daemon', 'too many requests at once')
      } catch (error) {
        this.#log.warning('control socket', error)
        send(socket, { id: 0, failure: { exit: 'daemon', message: describeError(error) } })
        socket.destroySoon()
        return
      }
      void work()
    })
    socket.on('error', error => this.#log.debug(`control socket: ${error.message}`))
    socket.on('close', () => {
      this.#sockets.delete(socket)
      gone.abort()
    })
  }

  async #answer(socket: Socket, line: string, signal: AbortSignal): Promise<void> {
    let id = 0
    const alive = setInterval(() => send(socket, { id, alive: true }), ALIVE_MS)
    try {
      const request = decodeRequest(line)
      id = request.id
      if (this.#ending.signal.aborted) throw new CommandError('daemon', 'the daemon is ending')
      const update = (value: unknown) => (send(socket, { id: request.id, update: value }) ? Promise.resolve() : drained(socket, signal))
      const result = await this.#handle(request, { signal, update })
      send(socket, { id, result: result ?? {} })
    } catch (error) {
      const exit = exitOf(error)
      if (exit === 'unexpected' && !signal.aborted) this.#log.error('control request', error)
      send(socket, { id, failure: { exit, message: describeError(error) } })
    } finally {
      clearInterval(alive)
    }
  }
}

/** False: the client should read first. */
function send(socket: Socket, message: ReplyMessage): boolean {
  return socket.writable ? socket.write(encodeReply(message)) : true
}

function drained(socket: Socket, signal: AbortSignal): Promise<void> {
  return new Promise(resolve => {
    const done = () => {
      socket.off('drain', done)
      signal.removeEventListener('abort', done)
      resolve()
    }
    socket.on('drain', done)
    signal.addEventListener('abort', done)
    if (signal.aborted) done()
  })
}
