/** The progress of uploads as one line with a bar. Owns: what counts as the whole: the most that ever waited, by bytes, else by number. */
import type { QueueInfo } from '../service/requests.ts'
import { bytes, count } from '../terminal/format.ts'
import { Progress } from '../terminal/progress.ts'
import { printable, type Terminal } from '../terminal/terminal.ts'

const RATE_WINDOW_MS = 5_000

export class QueueProgress {
  readonly #progress: Progress
  readonly #samples: { readonly atMs: number; readonly sentBytes: number }[] = []
  #mostBytes = 0
  #mostWorks = 0

  constructor(terminal: Terminal) {
    this.#progress = new Progress(terminal)
  }

  show(queues: readonly QueueInfo[]): void {
    const sum = (of: (queue: QueueInfo) => number) => queues.reduce((total, queue) => total + of(queue), 0)
    const works = sum(queue => queue.queued)
    const leftBytes = Math.max(0, sum(queue => queue.queuedBytes) - sum(queue => queue.runningBytes))
    this.#mostBytes = Math.max(this.#mostBytes, leftBytes)
    this.#mostWorks = Math.max(this.#mostWorks, works)
    const done = this.#mostBytes > 0 ? 1 - leftBytes / this.#mostBytes : 1 - works / Math.max(1, this.#mostWorks)
    const rate = this.#rate(sum(queue => queue.sentBytes))
    const away = queues.find(queue => queue.state === 'offline' && queue.queued > 0)
    const trouble = away ? `; ${printable(away.name)} can't be reached${away.lastError === undefined ? '' : ` (${away.lastError})`}` : ''
    this.#progress.show(`uploading: ${count(works)} left, ${bytes(leftBytes)}, ${bytes(Math.round(rate))}/s${trouble}`, done)
  }

  end(): void {
    this.#progress.end()
  }

  #rate(sentBytes: number): number {
    const atMs = Date.now()
    this.#samples.push({ atMs, sentBytes })
    while (this.#samples.length > 2 && atMs - this.#samples[0]!.atMs > RATE_WINDOW_MS) this.#samples.shift()
    const first = this.#samples[0]!
    return atMs > first.atMs ? ((sentBytes - first.sentBytes) * 1000) / (atMs - first.atMs) : 0
  }
}
