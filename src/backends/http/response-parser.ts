/**
 * Reads HTTP/1.1 responses out of whatever pieces a connection delivers.
 *
 * Owns: the state of one response at a time: head, then a body by length, in chunks, or until the connection ends.
 * Must stay true: it takes at least one byte or throws; nothing is held but an unfinished head or chunk line, both bounded;
 * body bytes are handed on as views of the caller's buffer, never copied. It doesn't know sockets.
 */
import type { Answer } from '../../vfs/contract.ts'

export interface ResponseHead {
  readonly status: number
  /** By lower-case name; repeated ones joined by ", ". */
  readonly headers: Readonly<Record<string, string>>
}

/** Where a response goes. A promise from `data` holds the connection back until it settles. */
export interface ResponseSink {
  head(head: ResponseHead): void
  /** The chunk is lent until the call (or its promise) ends. */
  data(chunk: Buffer): Answer<void>
}

/** The server's bytes are not an HTTP/1.1 response. */
export class ProtocolError extends Error {}

const HEAD_LIMIT_BYTES = 64 * 1024
const LINE_LIMIT_BYTES = 1024

type State = 'head' | 'length' | 'until-close' | 'chunk-line' | 'chunk-data' | 'chunk-end' | 'trailer' | 'done'

export class ResponseParser {
  readonly #sink: ResponseSink
  readonly #bodyless: boolean
  #state: State = 'head'
  #text = ''
  #leftBytes = 0
  #persistent = true

  /** Set by `take` when the sink asked for time: no more may be taken before it settled. */
  pending: Promise<void> | undefined

  constructor(sink: ResponseSink, method: string) {
    this.#sink = sink
    this.#bodyless = method === 'HEAD'
  }

  get done(): boolean {
    return this.#state === 'done'
  }
  /** Something of the response has arrived. */
  get begun(): boolean {
    return this.#state !== 'head' || this.#text !== ''
  }
  /** The connection may be used again once `done`. */
  get persistent(): boolean {
    return this.#persistent
  }

  /** Takes bytes of `buffer` from `at`, at least one, at most until `end`; answers where it stopped. Throws on nonsense. */
  take(buffer: Buffer, at: number, end: number): number {
    switch (this.#state) {
      case 'head':
        return this.#takeHead(buffer, at, end)
      case 'length':
      case 'chunk-data':
        return this.#takeBody(buffer, at, end)
      case 'until-close':
        this.#emit(buffer.subarray(at, end))
        return end
      case 'chunk-line':
      case 'chunk-end':
      case 'trailer':
        return this.#takeLine(buffer, at, end)
      case 'done':
        throw new ProtocolError('bytes after the end of the response')
    }
  }

  /** The connection ended. Answers whether that was a proper end of the response. */
  end(): boolean {
    if (this.#state === 'until-close') this.#state = 'done'
    return this.#state === 'done'
  }

  #emit(chunk: Buffer): void {
    const answer = this.#sink.data(chunk)
    if (answer) this.pending = answer
  }

  #takeHead(buffer: Buffer, at: number, end: number): number {
    const before = this.#text.length
    this.#text += buffer.toString('latin1', at, Math.min(end, at + HEAD_LIMIT_BYTES))
    const close = this.#text.indexOf('\r\n\r\n', Math.max(0, before - 3))
    if (close < 0) {
      if (this.#text.length >= HEAD_LIMIT_BYTES) throw new ProtocolError('the head of the response is too long')
      return Math.min(end, at + HEAD_LIMIT_BYTES)
    }
    const head = parseHead(this.#text.slice(0, close))
    this.#text = ''
    // 100 Continue and the like: the real head follows.
    if (head.status >= 200) this.#begin(head)
    return at + close + 4 - before
  }

  #begin(head: ResponseHead): void {
    const { headers, status } = head
    const connection = headers.connection?.toLowerCase()
    if (connection?.includes('close') || (headers['x-http-minor'] === '0' && !connection?.includes('keep-alive'))) this.#persistent = false
    const encoding = headers['transfer-encoding']
    const length = headers['content-length']
    if (this.#bodyless || status === 204 || status === 304) this.#state = 'done'
    else if (encoding !== undefined) {
      if (encoding.toLowerCase() !== 'chunked') throw new ProtocolError('an unknown transfer encoding')
      this.#state = 'chunk-line'
    } else if (length !== undefined) {
      if (!/^\d{1,15}$/.test(length)) throw new ProtocolError('a malformed content length')
      this.#leftBytes = Number(length)
      this.#state = this.#leftBytes === 0 ? 'done' : 'length'
    } else {
      this.#state = 'until-close'
      this.#persistent = false
    }
    this.#sink.head(head)
  }

  #takeBody(buffer: Buffer, at: number, end: number): number {
    const stop = Math.min(end, at + this.#leftBytes)
    this.#leftBytes -= stop - at
    if (this.#leftBytes === 0) this.#state = this.#state === 'length' ? 'done' : 'chunk-end'
    this.#emit(buffer.subarray(at, stop))
    return stop
  }

  #takeLine(buffer: Buffer, at: number, end: number): number {
    const newline = buffer.subarray(at, end).indexOf(10)
    const stop = newline < 0 ? end : at + newline + 1
    this.#text += buffer.toString('latin1', at, stop)
    if (this.#text.length > LINE_LIMIT_BYTES) throw new ProtocolError('a line between chunks is too long')
    if (newline < 0) return stop
    const line = this.#text.replace(/\r?\n$/, '')
    this.#text = ''
    if (this.#state === 'chunk-end') {
      if (line !== '') throw new ProtocolError('a chunk is longer than it said')
      this.#state = 'chunk-line'
    } else if (this.#state === 'trailer') {
      if (line === '') this.#state = 'done'
    } else {
      const match = /^([0-9a-fA-F]{1,12})[ \t]*(;.*)?$/.exec(line)
      if (!match) throw new ProtocolError('a malformed chunk size')
      this.#leftBytes = Number.parseInt(match[1]!, 16)
      this.#state = this.#leftBytes === 0 ? 'trailer' : 'chunk-data'
    }
    return stop
  }
}

function parseHead(text: string): ResponseHead {
  const lines = text.split('\r\n')
  const match = /^HTTP\/1\.([01]) (\d{3})(?: |$)/.exec(lines[0]!)
  if (!match) throw new ProtocolError('not an HTTP/1.1 response')
  const headers: Record<string, string> = Object.create(null)
  if (match[1] === '0') headers['x-http-minor'] = '0'
  for (let i = 1; i < lines.length; i++) {
    const line = lines[i]!
    const colon = line.indexOf(':')
    if (colon <= 0) throw new ProtocolError('a malformed header')
    const name = line.slice(0, colon).toLowerCase()
    const value = line.slice(colon + 1).trim()
    const previous = headers[name]
    if (previous === undefined) headers[name] = value
    else if (name === 'content-length') {
      if (previous !== value) throw new ProtocolError('two content lengths')
    } else headers[name] = `${previous}, ${value}`
  }
  return { status: Number(match[2]), headers }
}
