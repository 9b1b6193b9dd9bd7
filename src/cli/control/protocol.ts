/**
 * How commands talk to the daemon: JSON lines over a unix socket in the library's directory.
 *
 * Owns: the form of messages and their bounds. What can be asked is in service/requests.ts.
 *   to the daemon:  {"sdmount":1,"id":N,"request":"status","arguments":{...}}
 *   back, in order: {"id":N,"update":...}   any number, while it works
 *                   {"id":N,"alive":true}  every few seconds, so that a daemon that hangs is told from one that works
 *                   {"id":N,"result":...}   or   {"id":N,"failure":{"exit":"busy","message":"..."}}
 * One request at a time on a connection; closing it cancels the request.
 * Must stay true: a line has a bound (MESSAGE_LIMIT_BYTES); whatever arrives, decoding answers a message or throws
 * CommandError, nothing else. Names and paths travel one char per byte, which JSON keeps.
 */
import { CommandError, type ExitName, isExitName } from '../exit-codes.ts'

export const PROTOCOL_VERSION = 1
export const MESSAGE_LIMIT_BYTES = 1 << 20

export interface RequestMessage {
  readonly id: number
  readonly request: string
  readonly arguments: Readonly<Record<string, unknown>>
}

export type ReplyMessage =
  | { readonly id: number; readonly alive: true }
  | { readonly id: number; readonly update: unknown }
  | { readonly id: number; readonly result: unknown }
  | { readonly id: number; readonly failure: { readonly exit: ExitName; readonly message: string } }

export function encodeRequest(message: RequestMessage): string {
  return `${JSON.stringify({ sdmount: PROTOCOL_VERSION, ...message })}\n`
}

export function encodeReply(message: ReplyMessage): string {
  return `${JSON.stringify(message)}\n`
}

/** Throws CommandError 'daemon' with a line for the log; `id` is 0 where none could be read. */
export function decodeRequest(line: string): RequestMessage {
  const value = parseObject(line)
  if (value.sdmount !== PROTOCOL_VERSION) {
    throw new CommandError(
      'daemon',
      `the running daemon speaks protocol ${PROTOCOL_VERSION}, not ${String(value.sdmount)}: run sdmount umount, then mount again`,
    )
  }
  const { id, request } = value
  const given = value.arguments ?? {}
  if (!Number.isSafeInteger(id) || typeof request !== 'string' || !isObject(given))
    throw new CommandError('daemon', 'a request without id, name or arguments')
  return { id: id as number, request, arguments: given }
}

export function decodeReply(line: string): ReplyMessage {
  const value = parseObject(line)
  const id = value.id
  if (!Number.isSafeInteger(id)) throw new CommandError('daemon', 'the daemon answered without an id')
  if (value.alive === true) return { id: id as number, alive: true }
  if ('update' in value) return { id: id as number, update: value.update }
  if ('result' in value) return { id: id as number, result: value.result }
  const failure = value.failure
  if (!isObject(failure) || typeof failure.message !== 'string')
    throw new CommandError('daemon', 'the daemon answered something else than a reply')
  return { id: id as number, failure: { exit: isExitName(failure.exit) ? failure.exit : 'unexpected', message: failure.message } }
}

function parseObject(line: string): Record<string, unknown> {
  let value: unknown
  try {
    value = JSON.parse(line)
  } catch {
    throw new CommandError('daemon', 'a message that is not JSON')
  }
  if (!isObject(value)) throw new CommandError('daemon', 'a message that is not an object')
  return value
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Cuts a stream of bytes into lines of bounded length. */
export class LineReader {
  #rest = ''

  /** The lines that `chunk` completes. Throws CommandError 'daemon' when a line passes the bound. */
  push(chunk: string): string[] {
    const lines = (this.#rest + chunk).split('\n')
    this.#rest = lines.pop()!
    if (this.#rest.length > MESSAGE_LIMIT_BYTES || lines.some(line => line.length > MESSAGE_LIMIT_BYTES)) {
      throw new CommandError('daemon', 'a message that is too long')
    }
    return lines
  }
}
