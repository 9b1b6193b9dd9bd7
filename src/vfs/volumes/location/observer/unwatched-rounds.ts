/**
 * Looks at the directories that can't be watched, round after round.
 *
 * Owns: the place in the table where the round is, and when the next one begins.
 * Must stay true: a round looks at one time of each unwatched directory and has it listed when it changed; every tenth
 * round has all of them listed, for what a directory's time doesn't show (contents and attributes of files). Rounds take
 * at most a twentieth of the time.
 */
import { changeTimeOf, type SessionContext } from './context.ts'
import { type DirectoryNumber, NONE, ROOT } from './directory-table.ts'
import { DIRECTORY_PATH_ONLY, isMissing } from './host-tree.ts'
import type { Scanner } from './scanner.ts'

const ROUND_MS = 30_000
const ROUNDS_BETWEEN_LISTINGS = 10
const REST_PER_WORK = 20

export class UnwatchedRounds {
  readonly #context: SessionContext
  readonly #scanner: Scanner
  readonly #roundMs: number
  /** The next directory to look at, or NONE between rounds. */
  #at: DirectoryNumber = NONE
  #round = 0
  #workedMs = 0
  #nextMs: number

  constructor(context: SessionContext, scanner: Scanner, roundMs: number | undefined) {
    this.#context = context
    this.#scanner = scanner
    this.#roundMs = roundMs ?? ROUND_MS
    this.#nextMs = performance.now() + this.#roundMs
  }

  /** When there is something to do (by performance.now). */
  get dueMs(): number {
    if (this.#at !== NONE) return 0
    const { table, watches, watchesTellAll } = this.#context
    return watchesTellAll && watches.count >= table.count ? Number.POSITIVE_INFINITY : this.#nextMs
  }

  step(deadline: number): void {
    const { table, control, watchesTellAll } = this.#context
    const started = performance.now()
    if (this.#at === NONE) {
      this.#at = ROOT
      this.#round++
      this.#workedMs = 0
    }
    let now = started
    for (; this.#at < table.end && now < deadline; this.#at++) {
      if (!table.isLive(this.#at) || table.scan(this.#at) === 0 || (watchesTellAll && table.watch(this.#at) !== NONE)) continue
      this.#look(this.#at)
      control.progressed()
      now = performance.now()
    }
    this.#workedMs += now - started
    if (this.#at < table.end) return
    this.#at = NONE
    this.#nextMs = now + Math.max(this.#roundMs, this.#workedMs * REST_PER_WORK)
  }

  #look(directory: DirectoryNumber): void {
    const { table, tree, watches, descriptors } = this.#context
    const fd = tree.open(directory, table.path(directory), 'changes', DIRECTORY_PATH_ONLY)
    if (fd < 0) {
      if (isMissing(-fd) && directory !== ROOT) this.#scanner.relist(table.parent(directory))
      return
    }
    const changed = changeTimeOf(tree.stat) !== table.changeTime(directory)
    descriptors.close('changes')
    // A listing also tries to watch, which succeeds when the limit was raised or others were removed.
    if (changed || this.#round % ROUNDS_BETWEEN_LISTINGS === 0 || (watches.canAdd && table.watch(directory) === NONE))
      this.#scanner.relist(directory)
  }
}
