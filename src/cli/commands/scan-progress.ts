/** The progress of scans and listings, as one line that is redrawn, or as plain lines where nobody watches. */
import type { ScanUpdate } from '../service/requests.ts'
import { count } from '../terminal/format.ts'
import { Progress } from '../terminal/progress.ts'
import { printable, type Terminal } from '../terminal/terminal.ts'

export class ScanProgressLine {
  readonly #progress: Progress

  constructor(terminal: Terminal) {
    this.#progress = new Progress(terminal)
  }

  show(update: ScanUpdate): void {
    const scan = update.scan
    const counts = scan
      ? `${count(scan.entries)} entries in ${count(scan.directories)} folders, ${count(Math.round(scan.entriesPerSecond))}/s`
      : ''
    this.#progress.show(`${update.done ? 'scanned' : 'scanning'} ${printable(update.name)}${counts ? `: ${counts}` : ''}`)
    if (update.done) this.#progress.end()
  }

  end(): void {
    this.#progress.end()
  }
}
