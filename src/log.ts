/**
 * The log: one line an event, to standard error or to the daemon's log file.
 *
 * Owns: levels and the form of a line. Must stay true: a line is one line (control characters are escaped), bounded in
 * length, and carries no secret; logging never throws and never fills a disk without bound (the daemon rotates its file).
 */
import { describeError } from './errors.ts'

export type LogLevel = 'debug' | 'info' | 'warning' | 'error'
const RANK: Record<LogLevel, number> = { debug: 0, info: 1, warning: 2, error: 3 }
const LINE_LIMIT = 2000

export interface Log {
  debug(message: string): void
  info(message: string): void
  warning(message: string, error?: unknown): void
  error(message: string, error?: unknown): void
}

/** A log that writes lines of at least `level` through `write`; `now` is given for tests. */
export function createLog(write: (line: string) => void, level: LogLevel = 'info', now: () => Date = () => new Date()): Log {
  const emit = (lineLevel: LogLevel, message: string, error?: unknown) => {
    if (RANK[lineLevel] < RANK[level]) return
    const text = error === undefined ? message : `${message}: ${describeError(error)}`
    // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are just what must not reach a log line
    const line = text.replace(/[\u0000-\u001f\u007f]/g, c => `\\x${c.charCodeAt(0).toString(16).padStart(2, '0')}`)
    try {
      write(`${now().toISOString()} ${lineLevel} ${line.slice(0, LINE_LIMIT)}\n`)
    } catch {
      // A log that can't be written must not stop the filesystem.
    }
  }
  return {
    debug: message => emit('debug', message),
    info: message => emit('info', message),
    warning: (message, error) => emit('warning', message, error),
    error: (message, error) => emit('error', message, error),
  }
}

/** A log that says nothing, for tests and one-shot commands. */
export const silentLog: Log = createLog(() => {})
