/**
 * Lines with secrets, read from a file or from a descriptor that the caller of the command opened.
 *
 * Owns: the reading, as bytes, in memory that is wiped. Must stay true: a line has a bound; two lines of one descriptor are read
 * one after the other; a pipe that nobody writes to can be interrupted (a read that blocks a thread would make the process hang
 * at its end).
 */
import { constants, fstatSync, openSync, readSync } from 'node:fs'
import { Socket } from 'node:net'
import { isatty, ReadStream } from 'node:tty'
import { wipeableBytes } from '../../crypto/secret-key.ts'
import { CommandError } from '../exit-codes.ts'
import { pathProblem } from '../paths.ts'

const LINE_LIMIT_BYTES = 16 * 1024
const NEWLINE = 0x0a
const RETURN = 0x0d
const READ_BYTES = 4096

interface Source {
  readonly name: string
  /** Bytes that were read beyond the last line. */
  rest: Buffer
  ended: boolean
  more(signal: AbortSignal): Promise<Buffer | undefined>
}

/** Remembers what it read of each descriptor. */
export class SecretLines {
  readonly #sources = new Map<string, Source>()

  /** The next line, without its end; empty at the end. Whoever got it wipes it. Throws CommandError 'usage'. */
  async next(from: { readonly file: string } | { readonly descriptor: number }, signal: AbortSignal): Promise<Buffer> {
    const source = this.#source(from)
    for (;;) {
      const end = source.rest.indexOf(NEWLINE)
      if (end >= 0 || source.ended) {
        const all = source.rest
        const line = wipeableBytes(end < 0 ? all.length : end > 0 && all[end - 1] === RETURN ? end - 1 : end)
        all.copy(line)
        source.rest = end < 0 ? Buffer.alloc(0) : copied(all.subarray(end + 1))
        all.fill(0)
        return line
      }
      if (source.rest.length > LINE_LIMIT_BYTES) throw new CommandError('usage', `the line in ${source.name} is too long`)
      const piece = await source.more(signal)
      if (!piece) source.ended = true
      else {
        const old = source.rest
        source.rest = wipeableBytes(old.length + piece.length)
        old.copy(source.rest)
        piece.copy(source.rest, old.length)
        old.fill(0)
        piece.fill(0)
      }
    }
  }

  #source(from: { readonly file: string } | { readonly descriptor: number }): Source {
    const name = 'file' in from ? from.file : `file descriptor ${from.descriptor}`
    const known = this.#sources.get(name)
    if (known) return known
    const source = { name, rest: Buffer.alloc(0), ended: false, more: reader(name, from) }
    this.#sources.set(name, source)
    return source
  }
}

function reader(name: string, from: { readonly file: string } | { readonly descriptor: number }): Source['more'] {
  try {
    const fd =
      'descriptor' in from ? from.descriptor : from.file === '-' ? 0 : openSync(from.file, constants.O_RDONLY | constants.O_NONBLOCK)
    const status = fstatSync(fd)
    if (status.isDirectory()) throw new CommandError('usage', `${name} is a folder`)
    if (isatty(fd)) return streamed(new ReadStream(fd), name)
    if (status.isFIFO() || status.isSocket()) return streamed(new Socket({ fd, readable: true, writable: false }), name)
    return async () => {
      const piece = wipeableBytes(READ_BYTES)
      const length = readSync(fd, piece, 0, READ_BYTES, null)
      return length === 0 ? undefined : piece.subarray(0, length)
    }
  } catch (error) {
    if (error instanceof CommandError) throw error
    const closed = (error as NodeJS.ErrnoException).code === 'EBADF'
    throw new CommandError('usage', `can't read ${name}: ${closed ? 'it is not open' : pathProblem(error)}`)
  }
}

function streamed(stream: Socket, name: string): Source['more'] {
  const pieces: Buffer[] = []
  let ended = false
  let failed: Error | undefined
  let wake = () => {}
  stream.on('data', (piece: Buffer) => {
    pieces.push(piece)
    stream.pause()
    wake()
  })
  stream.on('end', () => {
    ended = true
    wake()
  })
  stream.on('error', error => {
    failed = error
    wake()
  })
  stream.pause()
  return async signal => {
    for (;;) {
      const piece = pieces.shift()
      if (piece) return piece
      if (failed) throw new CommandError('usage', `can't read ${name}: ${failed.message}`)
      if (ended) return undefined
      if (signal.aborted) throw new CommandError('interrupted', 'interrupted')
      stream.resume()
      await new Promise<void>(resolve => {
        wake = resolve
        signal.addEventListener('abort', () => resolve(), { once: true })
      })
    }
  }
}

function copied(bytes: Buffer): Buffer {
  const copy = wipeableBytes(bytes.length)
  bytes.copy(copy)
  return copy
}
