/**
 * Where a command prints: results to standard output, remarks, errors and progress to standard error.
 *
 * Must stay true: what goes to standard output is what was asked for and nothing else, so that it can be piped; text
 * that came from file names is made printable (`printable`) before it reaches a terminal. A reader that went away
 * (`sdmount status | head -1`) isn't an error.
 */
import { writeSync } from 'node:fs'
import type { Name } from '../../vfs/contract.ts'
import { textOfName } from '../names.ts'

export interface Terminal {
  /** Standard error shows a person's terminal: progress may be drawn. */
  readonly interactive: boolean
  readonly columns: number
  /** A line to standard output. */
  print(line: string): void
  /** A line to standard error. */
  remark(line: string): void
  /** Raw text to standard error, for what redraws a line. */
  draw(text: string): void
}

export function processTerminal(): Terminal {
  return {
    interactive: process.stderr.isTTY === true && process.env.TERM !== 'dumb',
    columns: process.stderr.columns ?? 80,
    print: line => write(1, `${line}\n`),
    remark: line => write(2, `${line}\n`),
    draw: text => write(2, text),
  }
}

/** Writes all of it, also to a pipe that is full for the moment: exit must not cut output off. */
function write(descriptor: number, text: string): void {
  const bytes = Buffer.from(text)
  for (let done = 0; done < bytes.length; ) {
    try {
      done += writeSync(descriptor, bytes, done)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') return
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5)
    }
  }
}

/** A name or path for a person: UTF-8 where it is, else its odd bytes as \xNN; control characters never reach the terminal. */
export function printable(name: Name): string {
  const readable = textOfName(name) ?? name.replace(/[\x80-\xff]/g, escapeChar)
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are just what must not reach a terminal
  return readable.replace(/[\u0000-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g, escapeChar)
}

function escapeChar(char: string): string {
  const code = char.charCodeAt(0)
  return code < 256 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u${code.toString(16).padStart(4, '0')}`
}
