/**
 * What was written to one file and is not in chunks yet: runs of bytes.
 *
 * Owns: the runs, sorted, never overlapping. A run is dirty, or it is a copy of what is stored already: the end of a file that
 * is being written, kept so that its last chunk can be cut again where the content says when more follows. Pure memory.
 */

/** As long as a run gets; above the largest chunk, so that cuts are found and little is moved. */
export const RUN_LIMIT_BYTES = 4 * 2 ** 20
const LEAST_GROWTH_BYTES = 64 * 1024

export class Run {
  start: number
  buffer: Buffer
  length: number
  isDirty = true

  constructor(start: number, data: Buffer) {
    this.start = start
    this.buffer = Buffer.from(data)
    this.length = data.length
  }

  get end(): number {
    return this.start + this.length
  }

  get bytes(): Buffer {
    return this.buffer.subarray(0, this.length)
  }

  put(position: number, data: Buffer): void {
    const at = position - this.start
    const length = Math.max(this.length, at + data.length)
    if (length > this.buffer.length) {
      const larger = Buffer.allocUnsafeSlow(Math.min(RUN_LIMIT_BYTES, Math.max(length * 2, LEAST_GROWTH_BYTES)))
      this.buffer.copy(larger, 0, 0, this.length)
      this.buffer = larger
    }
    data.copy(this.buffer, at)
    this.length = length
    this.isDirty = true
  }

  /** The first bytes go. */
  shift(count: number): void {
    this.buffer.copyWithin(0, count, this.length)
    this.start += count
    this.length -= count
  }
}

export class Runs {
  #runs: Run[] = []

  get all(): readonly Run[] {
    return this.#runs
  }

  get isDirty(): boolean {
    return this.#runs.some(run => run.isDirty)
  }

  get bytes(): number {
    let bytes = 0
    for (const run of this.#runs) bytes += run.length
    return bytes
  }

  /** The run that holds or ends at a position. */
  touching(position: number): Run | undefined {
    const run = this.#runs[this.#before(position)]
    return run && position <= run.end ? run : undefined
  }

  /** Runs that overlap a range. */
  overlapping(from: number, to: number): Run[] {
    const found: Run[] = []
    for (let i = Math.max(0, this.#before(from)); i < this.#runs.length; i++) {
      const run = this.#runs[i]!
      if (run.start >= to) break
      if (run.end > from) found.push(run)
    }
    return found
  }

  /** Takes a range out of all runs but `except`. */
  cut(from: number, to: number, except?: Run): void {
    for (const run of this.overlapping(from, to)) {
      if (run === except) continue
      const i = this.#runs.indexOf(run)
      const parts: Run[] = []
      if (run.start < from) parts.push(part(run, run.start, from))
      if (run.end > to) parts.push(part(run, to, run.end))
      this.#runs.splice(i, 1, ...parts)
    }
  }

  /** Nothing overlaps it. */
  insert(run: Run): void {
    this.#runs.splice(this.#before(run.start) + 1, 0, run)
  }

  remove(run: Run): void {
    const i = this.#runs.indexOf(run)
    if (i >= 0) this.#runs.splice(i, 1)
  }

  /** Index of the last run that starts at or before a position; -1. */
  #before(position: number): number {
    let low = 0
    let high = this.#runs.length
    while (low < high) {
      const middle = (low + high) >> 1
      if (this.#runs[middle]!.start <= position) low = middle + 1
      else high = middle
    }
    return low - 1
  }
}

function part(run: Run, from: number, to: number): Run {
  const made = new Run(from, run.buffer.subarray(from - run.start, to - run.start))
  made.isDirty = run.isDirty
  return made
}
