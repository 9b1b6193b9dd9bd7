/**
 * Files that were deleted while they are open, which libfuse keeps by renaming them to `.fuse_hidden<16 hex digits>`.
 *
 * Owns: which such paths stand for which node. Must stay true: no such name ever reaches a volume: the rename is carried
 * out as the unlink that the program asked for, and the path means the open node until its last handle is closed.
 * libfuse gives the name only to a file that is open, so a rename to such a name is taken for this only then; who gives
 * an open file such a name himself deletes it.
 */
import type { Ino } from '../../vfs/contract.ts'

const HIDDEN_NAME = /\/\.fuse_hidden[0-9a-f]{16}$/

export function isHiddenPath(path: string): boolean {
  return HIDDEN_NAME.test(path)
}

export class HiddenFiles {
  readonly #inoOf = new Map<string, Ino>()

  get size(): number {
    return this.#inoOf.size
  }

  add(path: string, ino: Ino): void {
    this.#inoOf.set(path, ino)
  }

  find(path: string): Ino | undefined {
    return this.#inoOf.size === 0 ? undefined : this.#inoOf.get(path)
  }

  /** libfuse deletes it: true if it was one. */
  remove(path: string): boolean {
    return this.#inoOf.delete(path)
  }

  /** The last handle of a node was closed. */
  closed(ino: Ino): void {
    for (const [path, hidden] of this.#inoOf) if (hidden === ino) this.#inoOf.delete(path)
  }

  /** A directory was renamed (or two changed places): libfuse's paths of what was deleted in it follow. */
  renamed(from: string, to: string, exchange: boolean): void {
    for (const [path, ino] of [...this.#inoOf]) {
      const moved = path.startsWith(`${from}/`)
        ? to + path.slice(from.length)
        : exchange && path.startsWith(`${to}/`)
          ? from + path.slice(to.length)
          : undefined
      if (moved === undefined) continue
      this.#inoOf.delete(path)
      this.#inoOf.set(moved, ino)
    }
  }
}
