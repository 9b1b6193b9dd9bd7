/**
 * What the tests of the index share: an index in a directory of its own, time held by the test, attributes, randomness.
 */
import { cpSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ExecutionContext } from 'ava'
import type { Index } from '../../src/index/contract.ts'
import { type OpenIndexOptions, openIndex } from '../../src/index/open-index.ts'
import type { Scheduler } from '../../src/index/scheduler.ts'
import { silentLog } from '../../src/log.ts'
import { Attributes, type Ino, S_IFDIR, S_IFREG, SLOT_SIZE } from '../../src/vfs/contract.ts'

export const KEY = Buffer.alloc(32, 0x5a)

export function temporaryDirectory(t: ExecutionContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'sdmount-index-'))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

/** Time stands still until the test lets it go on. */
export class HeldScheduler implements Scheduler {
  #nowMs = 0
  #number = 0
  readonly #tickMs: number
  readonly #waiting = new Map<number, { readonly atMs: number; readonly run: () => void }>()

  /** `tickMs`: what each look at the clock takes. With some milliseconds, every piece of work is too long. */
  constructor(tickMs = 0) {
    this.#tickMs = tickMs
  }

  nowMs(): number {
    this.#nowMs += this.#tickMs
    return this.#nowMs
  }
  after(delayMs: number, run: () => void): () => void {
    const number = ++this.#number
    this.#waiting.set(number, { atMs: this.#nowMs + delayMs, run })
    return () => this.#waiting.delete(number)
  }
  /** Runs the next that is due within `withinMs`; false: nothing is. */
  step(withinMs = 1000): boolean {
    const next = [...this.#waiting].sort((a, b) => a[1].atMs - b[1].atMs || a[0] - b[0])[0]
    if (!next || next[1].atMs > this.#nowMs + withinMs) return false
    this.#waiting.delete(next[0])
    this.#nowMs = Math.max(this.#nowMs, next[1].atMs)
    next[1].run()
    return true
  }
  /** Until nothing is due within a second. */
  settle(): void {
    for (let steps = 0; this.step(); steps++) if (steps > 100_000) throw new Error('it never ends')
  }
  pass(ms: number): void {
    const endMs = this.#nowMs + ms
    while (this.step(endMs - this.#nowMs));
    this.#nowMs = endMs
  }
}

export interface TestIndex {
  readonly index: Index
  readonly directory: string
  readonly volume: number
  readonly base: number
  readonly root: Ino
  readonly scheduler: HeldScheduler
}

/** An index with one location whose root directory is known. Closed with the test. */
export function testIndex(t: ExecutionContext, options: Partial<OpenIndexOptions> = {}): TestIndex {
  const directory = temporaryDirectory(t)
  const scheduler = (options.scheduler as HeldScheduler | undefined) ?? new HeldScheduler()
  const index = openIndex({ directory, key: KEY, log: silentLog, ...options, scheduler })
  t.teardown(() => closeQuietly(index))
  const volume = index.addVolume('location', 'Documents', { path: '/home/somebody/Documents' }).id
  const base = index.slot(volume, '') * SLOT_SIZE
  const root = base + 2
  index.putNode(volume, directoryOf(root))
  return { index, directory, volume, base, root, scheduler }
}

/** What a killed process leaves: the files as they are now. */
export function killedCopy(t: ExecutionContext, directory: string): string {
  const copy = temporaryDirectory(t)
  cpSync(directory, copy, { recursive: true })
  // The shared-memory file of a dead process is made anew.
  rmSync(join(copy, 'index.db-shm'), { force: true })
  return copy
}

export function closeQuietly(index: Index): void {
  try {
    index.close()
  } catch {
    // Closed by the test itself.
  }
}

export function fileOf(ino: Ino, changes: Partial<Attributes> = {}): Attributes {
  return Object.assign(
    new Attributes(),
    { ino, mode: S_IFREG | 0o644, sizeBytes: 5, mtimeSec: 1_700_000_000, mtimeNsec: 123_456_789 },
    changes,
  )
}

export function directoryOf(ino: Ino, changes: Partial<Attributes> = {}): Attributes {
  return Object.assign(new Attributes(), { ino, mode: S_IFDIR | 0o755, nlink: 2 }, changes)
}

/** Random numbers that a printed seed brings back. */
export class Random {
  readonly seed: number
  #state: number

  constructor(seed: number = Number(process.env.SDMOUNT_SEED ?? Math.floor(Math.random() * 2 ** 31))) {
    this.seed = seed
    this.#state = seed >>> 0
  }
  /** mulberry32 */
  #next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0
    let t = this.#state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return (t ^ (t >>> 14)) >>> 0
  }
  below(limit: number): number {
    return this.#next() % limit
  }
  chance(percent: number): boolean {
    return this.below(100) < percent
  }
  pick<T>(from: readonly T[]): T {
    if (from.length === 0) throw new Error('nothing to pick from')
    return from[this.below(from.length)]!
  }
}
