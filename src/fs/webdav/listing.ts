/**
 * The entries of a folder, in slices.
 *
 * Owns: reading a directory with attributes through the sink of the contract. Must stay true: a slice is bounded, however
 * large the folder; each reference that came with an entry is given back when the next slice is asked for; the directory
 * is closed however the reading ended. Of our own unfinished uploads nothing is shown.
 */
import type { Attributes, Entry, HandleId, Ino, Name, OpenDirectory } from '../../vfs/contract.ts'
import { isDraftName } from './draft-name.ts'
import type { TreeWalk } from './tree-walk.ts'

export interface ListedEntry {
  readonly name: Name
  readonly attributes: Attributes
}

export class Listing {
  readonly #walk: TreeWalk
  readonly #handle: HandleId
  readonly #directory: OpenDirectory
  /** Nodes of the last slice: who reads it may use them until he asks for the next. */
  #held: Ino[] = []
  #offset = 0n
  #closed = false

  /** Opens the folder; throws when it may not be read, before anything was answered. */
  static async open(walk: TreeWalk, ino: Ino): Promise<Listing> {
    const { handle, directory } = await walk.vfs.opendir(walk.context, ino)
    return new Listing(walk, handle, directory)
  }

  private constructor(walk: TreeWalk, handle: HandleId, directory: OpenDirectory) {
    this.#walk = walk
    this.#handle = handle
    this.#directory = directory
  }

  /** Slices of at most `size` entries, until the end. Closes the folder. */
  async *slices(size: number): AsyncGenerator<ListedEntry[]> {
    try {
      for (let more = true; more; ) {
        const slice: ListedEntry[] = []
        more = await this.#slice(size, slice)
        if (slice.length > 0) yield slice
      }
    } finally {
      await this.close()
    }
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    this.#forgetHeld()
    await this.#walk.vfs.releasedir(this.#handle)
  }

  /** Reads one slice; whether there may be more. */
  async #slice(size: number, slice: ListedEntry[]): Promise<boolean> {
    const { vfs, context } = this.#walk
    this.#forgetHeld()
    const found: { readonly name: Name; readonly entry: Entry | undefined }[] = []
    const before = this.#offset
    await this.#directory.read(context, this.#offset, true, {
      add: (name, _ino, _type, next, entry) => {
        if (found.length >= size) return false
        this.#offset = next
        if (name === '.' || name === '..') return true
        if (entry) this.#held.push(entry.attributes.ino)
        found.push({ name, entry })
        return true
      },
    })
    for (const { name, entry } of found) {
      const known = entry ?? (await vfs.lookup(context, this.#directory.ino, name))
      // A name that went meanwhile is no entry any more.
      if (!known) continue
      if (!entry) this.#held.push(known.attributes.ino)
      if (!isDraftName(name)) slice.push({ name, attributes: known.attributes })
    }
    return this.#offset !== before
  }

  #forgetHeld(): void {
    for (const ino of this.#held) this.#walk.vfs.forget(ino, 1)
    this.#held = []
  }
}
