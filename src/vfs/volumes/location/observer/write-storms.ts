/**
 * Directories in which files are written so fast that the events of each write would fill the queue: for these the kernel
 * isn't asked about writes for a while, and the files are looked at now and then instead.
 *
 * Owns: the counts of writes, and which directories are muted.
 * Must stay true:
 * - Only IN_MODIFY is muted: names, attributes and the closing of written files are told as ever.
 * - Files that were being written are looked at again after each mute, and when the storm is over the whole directory is:
 *   a file that was written only during a mute is told then, at the latest.
 */
import type { Name } from '../../../contract.ts'
import type { Changes } from './changes.ts'
import type { SessionContext } from './context.ts'
import type { DirectoryNumber } from './directory-table.ts'
import { DIRECTORY_PATH_ONLY } from './host-tree.ts'
import type { Scanner } from './scanner.ts'
import { IN_ATTRIB } from './watches.ts'

const WINDOW_MS = 250
/** So many writes in a window are a storm: 8,000 a second. */
const STORM_WRITES = 2_000
const MUTE_MS = 500
/** More files than this aren't remembered: the listing in the end finds them. */
const NAMES = 1_000

interface Storm {
  readonly names: Set<Name>
  /** 'rising': to be muted at once. 'muted' and 'heard' (to see whether it goes on) last until `untilMs`. */
  state: 'rising' | 'muted' | 'heard'
  untilMs: number
}

interface Count {
  writes: number
  readonly names: Set<Name>
}

export class WriteStorms {
  readonly #context: SessionContext
  readonly #changes: Changes
  readonly #scanner: Scanner
  readonly #storms = new Map<DirectoryNumber, Storm>()
  #counts = new Map<DirectoryNumber, Count>()
  #windowEndMs = 0
  #hasRising = false

  constructor(context: SessionContext, changes: Changes, scanner: Scanner) {
    this.#context = context
    this.#changes = changes
    this.#scanner = scanner
  }

  /** When `step` has something to do (by performance.now). */
  get dueMs(): number {
    if (this.#hasRising) return 0
    let due = Number.POSITIVE_INFINITY
    for (const storm of this.#storms.values()) due = Math.min(due, storm.untilMs)
    return due
  }

  /** A file was written. */
  written(directory: DirectoryNumber, name: Name): void {
    const now = performance.now()
    if (now >= this.#windowEndMs) {
      this.#counts = new Map()
      this.#windowEndMs = now + WINDOW_MS
    }
    let count = this.#counts.get(directory)
    if (!count) this.#counts.set(directory, (count = { writes: 0, names: new Set() }))
    if (count.names.size < NAMES) count.names.add(name)
    if (++count.writes < STORM_WRITES || this.#storms.get(directory)?.state === 'rising') return
    this.#counts.delete(directory)
    this.#storms.set(directory, { names: count.names, state: 'rising', untilMs: 0 })
    this.#hasRising = true
  }

  forget(directory: DirectoryNumber): void {
    this.#storms.delete(directory)
    this.#counts.delete(directory)
  }

  step(): void {
    this.#hasRising = false
    const now = performance.now()
    for (const [directory, storm] of this.#storms) {
      if (now < storm.untilMs) continue
      if (storm.state === 'heard') {
        this.#storms.delete(directory)
        this.#scanner.relist(directory)
        continue
      }
      const mute = storm.state === 'rising'
      if (!this.#setMuted(directory, mute)) {
        this.#storms.delete(directory)
        this.#scanner.relist(directory)
        continue
      }
      storm.state = mute ? 'muted' : 'heard'
      storm.untilMs = now + (mute ? MUTE_MS : WINDOW_MS)
      // After the change of the watch, so that no write falls between.
      for (const name of storm.names) this.#changes.note(directory, name, IN_ATTRIB)
    }
  }

  #setMuted(directory: DirectoryNumber, muted: boolean): boolean {
    const { table, tree, watches, descriptors } = this.#context
    const fd = tree.open(directory, table.path(directory), 'changes', DIRECTORY_PATH_ONLY)
    if (fd < 0) return false
    const done = watches.setMuted(fd, muted)
    descriptors.close('changes')
    return done
  }
}
