/**
 * Progress of long work on standard error: one line that is redrawn on a terminal, a plain line now and then elsewhere.
 *
 * Must stay true: nothing of it reaches standard output; a terminal's line is cleared before anything else is printed
 * (call `end`); where nobody watches, what is printed is complete lines and few of them.
 */
import type { Terminal } from './terminal.ts'

const REDRAW_MS = 100
const PLAIN_MS = 5_000
const BAR_COLUMNS = 20
const CLEAR_LINE = '\r\u001b[2K'

export class Progress {
  readonly #terminal: Terminal
  readonly #now: () => number
  #drawnAtMs = -Infinity
  #last = ''
  #shown = ''

  constructor(terminal: Terminal, now: () => number = Date.now) {
    this.#terminal = terminal
    this.#now = now
  }

  /** What is being done now; with `fraction` (0 to 1) a bar shows how far it is. */
  show(text: string, fraction?: number): void {
    this.#last = fraction === undefined ? text : `${bar(fraction)} ${text}`
    const everyMs = this.#terminal.interactive ? REDRAW_MS : PLAIN_MS
    if (this.#now() - this.#drawnAtMs >= everyMs) this.#draw()
  }

  /** The work, or a part of it, is done: the last text stays as a plain line where nobody watches, and goes on a terminal. */
  end(): void {
    if (this.#last === '') return
    if (this.#terminal.interactive) this.#terminal.draw(CLEAR_LINE)
    else if (this.#last !== this.#shown) this.#draw()
    this.#last = ''
    this.#shown = ''
    this.#drawnAtMs = -Infinity
  }

  #draw(): void {
    this.#drawnAtMs = this.#now()
    this.#shown = this.#last
    if (this.#terminal.interactive) this.#terminal.draw(CLEAR_LINE + [...this.#last].slice(0, this.#terminal.columns - 1).join(''))
    else this.#terminal.remark(this.#last)
  }
}

function bar(fraction: number): string {
  const full = Math.round(Math.min(1, Math.max(0, fraction)) * BAR_COLUMNS)
  const percent = Math.floor(Math.min(1, Math.max(0, fraction)) * 100)
  return `[${'#'.repeat(full)}${'.'.repeat(BAR_COLUMNS - full)}] ${String(percent).padStart(3)}%`
}
