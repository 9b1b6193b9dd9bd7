/**
 * What the library has open: the tree's handles, with what a call by handle alone must know.
 *
 * Owns: for each open file its node and how it was opened; for each open directory the page of its listing. Must stay
 * true: an open node holds one reference of the tree, given back when it is released (the callers see to it); a handle
 * means one thing from its open to its release.
 */
import { FsError } from '../../errors.ts'
import type { Answer, DirectorySink, HandleId, Ino, OpenDirectory, OpenFile, RequestContext } from '../../vfs/contract.ts'
import { then } from '../../vfs/tree.ts'
import type { FuseStat, WholeNumber } from './library.ts'
import { toText } from './names.ts'

export interface OpenedFile {
  readonly handle: HandleId
  readonly ino: Ino
  readonly file: OpenFile
  readonly appends: boolean
  /** It holds a reference of the tree; one that was opened by the path of a deleted file holds none. */
  readonly isReferenced: boolean
}

export class OpenFiles {
  readonly #files = new Map<HandleId, OpenedFile>()
  readonly #ofNode = new Map<Ino, HandleId[]>()

  get size(): number {
    return this.#files.size
  }

  add(opened: OpenedFile): void {
    const { handle, ino } = opened
    this.#files.set(handle, opened)
    const others = this.#ofNode.get(ino)
    if (others) others.push(handle)
    else this.#ofNode.set(ino, [handle])
  }

  /** Throws 'bad-handle'. */
  get(fd: WholeNumber): OpenedFile {
    const opened = this.#files.get(Number(fd))
    if (!opened) throw new FsError('bad-handle')
    return opened
  }

  find(fd: WholeNumber): OpenedFile | undefined {
    return this.#files.get(Number(fd))
  }

  /** A handle of the node, if it is open. */
  handleOf(ino: Ino): HandleId | undefined {
    return this.#ofNode.get(ino)?.[0]
  }

  remove(fd: WholeNumber): OpenedFile | undefined {
    const opened = this.find(fd)
    if (!opened) return undefined
    this.#files.delete(opened.handle)
    const others = this.#ofNode.get(opened.ino)!.filter(handle => handle !== opened.handle)
    if (others.length > 0) this.#ofNode.set(opened.ino, others)
    else this.#ofNode.delete(opened.ino)
    return opened
  }
}

/** Entries that are asked of the tree at once. */
const LISTED_AT_ONCE = 512
/** Entries that the library is given at once: what fits into the kernel's page of 4 KiB. */
const GIVEN_AT_ONCE = 128
/** The library gives up a whole listing for one name that is longer. */
const TEXT_LIMIT_BYTES = 255

interface ListedEntry {
  readonly text: string
  readonly stat: FuseStat
  readonly next: bigint
}

export interface ListingPage {
  readonly names: string[]
  readonly stats: FuseStat[]
  readonly nexts: bigint[]
}

/** An open directory. The kernel takes less than the library is given, and comes back for the rest: it is kept. */
export class OpenedDirectory {
  readonly handle: HandleId
  readonly ino: Ino
  readonly directory: OpenDirectory
  #page: ListedEntry[] = []
  /** Where the tree goes on after the page; undefined when it has ended there. */
  #after: bigint | undefined
  /** Names that could not be given since their text is too long, for the log. */
  leftOut = 0

  constructor(handle: HandleId, ino: Ino, directory: OpenDirectory) {
    this.handle = handle
    this.ino = ino
    this.directory = directory
  }

  /** The entries after `offset` (0: from the start); none at the end. */
  read(context: RequestContext, offset: bigint): Answer<ListingPage> {
    if (offset === 0n) return this.#load(context, 0n)
    const at = this.#page.findIndex(entry => entry.next === offset)
    if (at < 0) return this.#load(context, offset)
    if (at + 1 < this.#page.length) return this.#give(at + 1)
    return this.#after === undefined ? this.#give(at + 1) : this.#load(context, this.#after)
  }

  #load(context: RequestContext, offset: bigint): Answer<ListingPage> {
    if (offset === 0n) this.leftOut = 0
    const page: ListedEntry[] = []
    let seen = 0
    let after = offset
    const sink: DirectorySink = {
      add: (name, ino, type, next) => {
        if (seen === LISTED_AT_ONCE) return false
        seen++
        after = next
        const text = toText(name)
        if (Buffer.byteLength(text) <= TEXT_LIMIT_BYTES) page.push({ text, stat: { mode: type, ino }, next })
        else this.leftOut++
        return true
      },
    }
    return then(this.directory.read(context, offset, false, sink), () => {
      // Of as many names none could be given: an empty page would be taken for the end.
      if (page.length === 0 && seen > 0) return this.#load(context, after)
      this.#page = page
      this.#after = seen < LISTED_AT_ONCE ? undefined : after
      return this.#give(0)
    })
  }

  #give(from: number): ListingPage {
    const entries = this.#page.slice(from, from + GIVEN_AT_ONCE)
    return { names: entries.map(entry => entry.text), stats: entries.map(entry => entry.stat), nexts: entries.map(entry => entry.next) }
  }
}
