/**
 * Asks a person on the terminal of the process, whatever its standard input and output are.
 *
 * Owns: the terminal's mode while a secret is typed. Must stay true: a secret is never shown; the terminal is as it was
 * afterwards, also after Ctrl-C.
 */
import { closeSync, openSync, writeSync } from 'node:fs'
import { ReadStream } from 'node:tty'
import { CommandError } from '../exit-codes.ts'

const TERMINAL = '/dev/tty'
const ANSWER_LIMIT = 4096
const ENTER = /[\r\n]/
const CTRL_C = '\u0003'
const CTRL_D = '\u0004'
const CTRL_U = '\u0015'
const ERASE = new Set(['\u007f', '\b'])

/** Whether there is somebody to ask. */
export function canAsk(): boolean {
  const fd = openTerminal()
  if (fd === undefined) return false
  closeSync(fd)
  return true
}

/** One line; with `secret` nothing of it is shown. Throws CommandError 'usage' where there is no terminal, 'interrupted' on Ctrl-C. */
export async function ask(question: string, options: { readonly secret: boolean; readonly signal: AbortSignal }): Promise<string> {
  const fd = openTerminal()
  if (fd === undefined) throw new CommandError('usage', 'there is no terminal to ask on: use --credentials-file')
  const stream = new ReadStream(fd)
  const show = (text: string) => void writeSync(fd, text)
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

function typed(stream: ReadStream, show: (text: string) => void, signal: AbortSignal): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>()
  const interrupt = () => reject(new CommandError('interrupted', 'interrupted'))
  let answer = ''
  let isDone = false
  const done = () => {
    isDone = true
    resolve(answer)
  }
  stream.setEncoding('utf8')
  stream.on('data', chunk => {
    for (const char of String(chunk)) {
      // What was pasted behind the answer may be the next one, and a secret: it isn't shown, and has to be given again.
      if (isDone) break
      if (char === CTRL_C) interrupt()
      else if (ENTER.test(char) || char === CTRL_D) done()
      else if (char === CTRL_U) answer = ''
      else if (ERASE.has(char)) {
        if (answer !== '') show('\b \b')
        answer = [...answer].slice(0, -1).join('')
      } else if (char >= ' ' && answer.length < ANSWER_LIMIT) {
        answer += char
        show(char)
      }
    }
  })
  stream.on('error', () => reject(new CommandError('usage', 'the terminal went away')))
  stream.on('end', () => resolve(answer))
  signal.addEventListener('abort', interrupt)
  if (signal.aborted) interrupt()
  return promise.finally(() => signal.removeEventListener('abort', interrupt))
}
