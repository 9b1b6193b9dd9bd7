/**
 * A command's end of the control socket.
 *
 * Owns: one connection. Must stay true: every wait takes the signal; a daemon that goes away in the middle is a
 * CommandError 'daemon', never a hang.
 */
import { connect, type Socket } from 'node:net'
import { CommandError } from '../exit-codes.ts'
import { decodeReply, encodeRequest, LineReader, type ReplyMessage } from './protocol.ts'
import { shortSocketPath } from './socket-path.ts'

const CONNECT_MS = 5_000
/** A daemon that works says so every few seconds. */
const SILENCE_MS = 20_000

export class ControlClient implements Disposable {
  readonly #socket: Socket
  #lastId = 0
  #waiting: { resolve(reply: ReplyMessage): void; reject(error: Error): void } | undefined
  #replies: ReplyMessage[] = []
  #broken: CommandError | undefined
  readonly #ended: Promise<void>

  private constructor(socket: Socket) {
    this.#socket = socket
    const reader = new LineReader()
    socket.setEncoding('utf8')
    socket.on('data', chunk => {
      try {
        for (const line of reader.push(String(chunk))) this.#take(decodeReply(line))
      } catch (error) {
        this.#break(error instanceof CommandError ? error : new CommandError('daemon', String(error)))
        socket.destroy()
      }
    })
    socket.on('error', () => {})
    this.#ended = new Promise(resolve =>
      socket.on('close', () => {
        this.#break(new CommandError('daemon', 'the daemon ended before it had answered; its log says more'))
        resolve()
      }),
    )
  }

  /** Connects to the daemon of a library; undefined when none is listening. */
  static async connect(path: string): Promise<ControlClient | undefined> {
    let address: ReturnType<typeof shortSocketPath>
    try {
      address = shortSocketPath(path)
    } catch {
      return undefined // The directory isn't there.
    }
    using _ = address
    return await new Promise((resolve, reject) => {
      const socket = connect(address.path)
      socket.setTimeout(CONNECT_MS, () => socket.destroy(new CommandError('daemon', 'the daemon does not answer')))
      socket.once('connect', () => {
        socket.setTimeout(0)
        socket.removeAllListeners()
        resolve(new ControlClient(socket))
      })
      socket.once('error', (error: NodeJS.ErrnoException) => {
        if (error.code === 'ENOENT' || error.code === 'ECONNREFUSED' || error.code === 'ENOTDIR') resolve(undefined)
        else if (error instanceof CommandError) reject(error)
        else reject(new CommandError('daemon', `can't reach the daemon: ${error.message}`))
      })
    })
  }

  /** Asks and waits for the result; `update` sees what comes before it. */
  async request(
    name: string,
    given: Readonly<Record<string, unknown>>,
    signal: AbortSignal,
    update: (value: unknown) => void,
  ): Promise<unknown> {
    const id = ++this.#lastId
    const interrupt = () => this.#break(new CommandError('interrupted', 'interrupted'))
    signal.addEventListener('abort', interrupt)
    try {
      if (signal.aborted) interrupt()
      this.#socket.setTimeout(SILENCE_MS, () => this.#break(new CommandError('daemon', 'the daemon does not answer')))
      this.#socket.write(encodeRequest({ id, request: name, arguments: given }))
      for (;;) {
        const reply = await this.#next()
        if (reply.id !== id && reply.id !== 0) continue
        if ('alive' in reply) continue
        if ('update' in reply) update(reply.update)
        else if ('result' in reply) return reply.result
        else throw new CommandError(reply.failure.exit, reply.failure.message)
      }
    } finally {
      signal.removeEventListener('abort', interrupt)
      this.#socket.setTimeout(0)
    }
  }

  /** Resolves when the daemon has closed the connection: it has ended. */
  async ended(signal: AbortSignal): Promise<void> {
    const { promise, reject } = Promise.withResolvers<never>()
    const interrupt = () => reject(new CommandError('interrupted', 'interrupted'))
    signal.addEventListener('abort', interrupt)
    try {
      await Promise.race([this.#ended, promise])
    } finally {
      signal.removeEventListener('abort', interrupt)
    }
  }

  [Symbol.dispose](): void {
    this.#socket.destroy()
  }

  #take(reply: ReplyMessage): void {
    const waiting = this.#waiting
    this.#waiting = undefined
    if (waiting) waiting.resolve(reply)
    else this.#replies.push(reply)
  }

  #break(error: CommandError): void {
    this.#broken ??= error
    this.#waiting?.reject(error)
    this.#waiting = undefined
  }

  #next(): Promise<ReplyMessage> {
    const reply = this.#replies.shift()
    if (reply) return Promise.resolve(reply)
    if (this.#broken) return Promise.reject(this.#broken)
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject }
    })
  }
}
