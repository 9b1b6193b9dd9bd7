/**
 * Puts directories at their place in the table, and finds those that have moved.
 *
 * Owns: the rule that a watch is a directory's identity over its moves, and the limbo: directories that lost their place in
 * the midst of a round of changes and may be found again at another one before it ends.
 * Must stay true: limbo is empty between rounds; what nobody claimed is forgotten with all below it.
 */
import type { Name } from '../../../contract.ts'
import type { DirectoryIdentity } from './batch.ts'
import { MARK_MOVED_UNTOLD, MARK_UNTOLD, type SessionContext } from './context.ts'
import { type DirectoryNumber, NONE, ROOT } from './directory-table.ts'

export function identityOf(statx: Uint32Array): DirectoryIdentity {
  return { deviceMajor: statx[34]!, deviceMinor: statx[35]!, inoHigh: statx[9]!, inoLow: statx[8]! }
}

/**
 * Watches a directory that is open at `fd`. When its watch is known from another place it has moved: then the entry from
 * there, with all below it, takes this place, and `directory` goes; `moving` is told just before. Answers the entry that
 * stands here now, or NONE when none can (the tree is being turned inside out: the events that tell of it are on their way).
 */
export function claim(
  context: SessionContext,
  directory: DirectoryNumber,
  fd: number,
  moving?: (owner: DirectoryNumber) => void,
): DirectoryNumber {
  const { table, watches } = context
  const watch = watches.add(fd, directory)
  const owner = watch === NONE ? directory : watches.owner(watch)
  if (owner === directory) {
    table.setWatch(directory, watch)
    return directory
  }
  const parent = table.parent(directory)
  const name = table.name(directory)
  if (owner === ROOT || directory === ROOT || table.isBelow(parent, owner)) return NONE
  const isUntold = table.hasMark(directory, MARK_UNTOLD)
  table.remove(directory)
  // Removing it can't have removed the owner: the owner would have to be below a directory that has the same identity.
  if (!table.isLive(owner)) return NONE
  moving?.(owner)
  table.move(owner, parent, name)
  if (isUntold) table.setMark(owner, MARK_MOVED_UNTOLD, true)
  return owner
}

/** The name of a known directory was told. Answers whether its contents, told before, may have been forgotten. */
export function toldName(context: SessionContext, directory: DirectoryNumber): boolean {
  const isForgotten = context.table.hasMark(directory, MARK_MOVED_UNTOLD)
  context.table.setMark(directory, MARK_UNTOLD | MARK_MOVED_UNTOLD, false)
  return isForgotten
}

/** No name on disk has a NUL: none is in the way, and no path into limbo can be opened. */
const LIMBO_MARK = '\0'

export class Limbo {
  readonly #context: SessionContext
  readonly #names = new Set<Name>()
  readonly #nameless = new Set<DirectoryNumber>()
  #next = 0

  constructor(context: SessionContext) {
    this.#context = context
  }

  /** Takes a directory from its place. `overwritten`: it was told already that something else stands there. */
  take(directory: DirectoryNumber, overwritten: boolean): void {
    if (overwritten) this.#nameless.add(directory)
    const name = `${LIMBO_MARK}${this.#next++}`
    this.#names.add(name)
    this.#context.table.move(directory, ROOT, name)
  }

  /** Whether the directory, as told, was without a name for a while, or one above it: who was told has forgotten what is in it. */
  isForgotten(directory: DirectoryNumber): boolean {
    if (this.#nameless.size === 0) return false
    const { table } = this.#context
    for (let at = directory; at !== ROOT; at = table.parent(at)) if (this.#nameless.has(at)) return true
    return false
  }

  /** Whether a path (or a name) of the table is in limbo. */
  holds(path: Name): boolean {
    return path.startsWith(LIMBO_MARK)
  }

  /** Forgets what nobody claimed. */
  empty(): void {
    const { table } = this.#context
    for (const name of this.#names) {
      const directory = table.child(ROOT, name)
      if (directory !== NONE) table.remove(directory)
    }
    this.#names.clear()
    this.#nameless.clear()
  }
}
