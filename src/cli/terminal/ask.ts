/**
 * Asks a person on the terminal of the process, whatever its standard input and output are.
 *
 * Owns: the terminal's mode while a secret is typed. Must stay true: a secret is never shown; the terminal is as it was
 * afterwards, also after Ctrl-C. A secret that is asked for as bytes never becomes a JavaScript string, which can't be wiped.
 */
import { closeSync, openSync, writeSync } from 'node:fs'
import { ReadStream } from 'node:tty'
import { wipeableBytes } from '../../crypto/secret-key.ts'
import { CommandError } from '../exit-codes.ts'

const TERMINAL = '/dev/tty'
const ANSWER_LIMIT_BYTES = 4096
const ENTER = new Set([0x0d, 0x0a])
const CTRL_C = 0x03
const CTRL_D = 0x04
const CTRL_U = 0x15
const ERASE = new Set([0x7f, 0x08])
const SPACE = 0x20

export interface Question {
  /** Nothing of the answer is shown. */
  readonly secret: boolean
  readonly signal: AbortSignal
  /** What to do where nobody can be asked, for the error's line. */
  readonly otherwise?: string
}

/** Whether there is somebody to ask. */
export function canAsk(): boolean {
  const fd = openTerminal()
  if (fd === undefined) return false
  closeSync(fd)
  return true
}

/** One line. Throws CommandError 'usage' where there is no terminal, 'interrupted' on Ctrl-C. */
export async function ask(question: string, options: Question): Promise<string> {
  return (await askBytes(question, options)).toString('utf8')
}

/** The same, as the bytes that the terminal sent, in memory of their own: whoever asked wipes them. */
export async function askBytes(question: string, options: Question): Promise<Buffer> {
  const fd = openTerminal()
  if (fd === undefined) throw new CommandError('usage', `there is no terminal to ask on: use ${options.otherwise ?? '--credentials-file'}`)
  const stream = new ReadStream(fd)
  const show = (shown: string | Uint8Array) => void writeSync(fd, shown as Uint8Array)
  try {
    stream.setRawMode(true)
    show(question)
    return await typed(stream, options.secret ? () => {} : show, options.signal)
  } finally {
    show('\r\n')
    stream.setRawMode(false)
    stream.destroy()
  }
}

function openTerminal(): number | undefined {
  try {
    return openSync(TERMINAL, 'r+')
  } catch {
    return undefined
  }
}

function typed(stream: ReadStream, show: (shown: string | Uint8Array) => void, signal: AbortSignal): Promise<Buffer> {
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>()
  const interrupt = () => reject(new CommandError('interrupted', 'interrupted'))
  const answer = wipeableBytes(ANSWER_LIMIT_BYTES)
  let length = 0
  let isDone = false
  const done = () => {
    isDone = true
    resolve(Buffer.from(new Uint8Array(answer.subarray(0, length)).buffer))
  }
  stream.on('data', (chunk: Buffer) => {
    for (const byte of chunk) {
      // What was pasted behind the answer may be the next one, and a secret: it isn't shown, and has to be given again.
      if (isDone) break
      if (byte === CTRL_C) interrupt()
      else if (ENTER.has(byte) || byte === CTRL_D) done()
      else if (byte === CTRL_U) length = 0
      else if (ERASE.has(byte)) {
        if (length > 0) show('\b \b')
        // A character of several bytes goes as a whole.
        while (length > 0 && (answer[--length]! & 0xc0) === 0x80);
      } else if (byte >= SPACE && length < ANSWER_LIMIT_BYTES) {
        answer[length++] = byte
        show(Uint8Array.of(byte))
      }
    }
    chunk.fill(0)
  })
  stream.on('error', () => reject(new CommandError('usage', 'the terminal went away')))
  stream.on('end', done)
  signal.addEventListener('abort', interrupt)
  if (signal.aborted) interrupt()
  return promise.finally(() => {
    answer.fill(0)
    signal.removeEventListener('abort', interrupt)
  })
}
