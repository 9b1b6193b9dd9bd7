/**
 * From paths to nodes: the library knows only paths, the tree only parents and names.
 *
 * Owns: a bounded cache of directories that were walked through. Must stay true:
 * - Only directories are remembered; the last name of a path is asked of the tree each time, so what a program is told
 *   is what the tree says now.
 * - A remembered directory holds one reference of the tree (`forget` is called once for each that leaves the cache), and
 *   is believed for as long as the tree said, unless the tree says otherwise before (`VfsListener`).
 * - A directory in use by a call that waits is `pinned`: it may leave the cache, but its reference stays until the call
 *   has ended.
 * It doesn't: decide what an operation means, or know which files are open (operations.ts).
 */
import { FsError } from '../../errors.ts'
import { type Answer, type Entry, type Ino, isDirectory, type Name, type RequestContext, ROOT_INO, type Vfs } from '../../vfs/contract.ts'
import { then } from '../../vfs/tree.ts'
import { ensuring } from './answers.ts'
import { fromText } from './names.ts'

const DIRECTORIES_REMEMBERED = 4096
const NAME_LIMIT_BYTES = 255

interface Directory {
  readonly ino: Ino
  readonly parent: Directory | undefined
  readonly name: Name
  readonly children: Map<Name, Directory>
  believedUntilMs: number
  pins: number
  isDropped: boolean
}

export interface ResolverOptions {
  readonly vfs: Pick<Vfs, 'lookup' | 'getattr' | 'forget'>
  /** Milliseconds that only grow. */
  readonly now?: () => number
  /** How many directories are remembered. */
  readonly limit?: number
}

export class PathResolver {
  readonly #vfs: Pick<Vfs, 'lookup' | 'getattr' | 'forget'>
  readonly #now: () => number
  readonly #limit: number
  readonly #root: Directory
  /** All that are remembered but the root, the one used longest ago first. */
  readonly #directories = new Map<Ino, Directory>()
  /** Counts what we were told of changes: an answer that was under way meanwhile may be older, so it is not believed. */
  #changes = 0

  constructor(options: ResolverOptions) {
    this.#vfs = options.vfs
    this.#now = options.now ?? (() => performance.now())
    this.#limit = options.limit ?? DIRECTORIES_REMEMBERED
    this.#root = { ino: ROOT_INO, parent: undefined, name: '', children: new Map(), believedUntilMs: Infinity, pins: 1, isDropped: false }
  }

  get size(): number {
    return this.#directories.size
  }

  /** Calls `use` with the directory and the name that `path` ends in. Throws 'not-found', 'not-directory', 'invalid' for "/". */
  parent<T>(context: RequestContext, path: string, use: (parent: Ino, name: Name) => Answer<T>): Answer<T> {
    const names = split(path)
    const name = names.pop()
    if (name === undefined) throw new FsError('invalid', 'the top of the tree has no parent')
    return this.#in(context, names, directory => use(directory.ino, name))
  }

  /** What `path` means now: a reference that the caller gives back with `release`. Throws 'not-found'. */
  lookup(context: RequestContext, path: string): Answer<Entry> {
    const names = split(path)
    const name = names.pop()
    if (name === undefined) return this.#rootEntry(context)
    return this.#in(context, names, directory => {
      const asked = this.#changes
      return then(this.#vfs.lookup(context, directory.ino, name), entry => {
        this.#learned(directory, name, entry, asked)
        if (!entry) throw new FsError('not-found')
        return entry
      })
    })
  }

  /** Calls `use` with what `path` means now, and gives the reference back when it has answered. */
  node<T>(context: RequestContext, path: string, use: (entry: Entry) => Answer<T>): Answer<T> {
    return then(this.lookup(context, path), entry =>
      ensuring(
        () => use(entry),
        () => this.release(entry.attributes.ino),
      ),
    )
  }

  /** Gives one reference back. */
  release(ino: Ino): void {
    if (ino !== ROOT_INO) this.#vfs.forget(ino, 1)
  }

  /** The name may mean another directory now. */
  forgetName(parent: Ino, name: Name): void {
    this.#changes++
    const directory = parent === ROOT_INO ? this.#root : this.#directories.get(parent)
    const child = directory?.children.get(name)
    if (child) this.#drop(child)
  }

  /** Nothing that was remembered on the way to `path` is believed any longer. */
  forgetPath(path: string): void {
    const first = split(path)[0]
    if (first !== undefined) this.forgetName(ROOT_INO, first)
  }

  /** Gives all references back. */
  clear(): void {
    this.#changes++
    for (const child of [...this.#root.children.values()]) this.#drop(child)
  }

  #rootEntry(context: RequestContext): Answer<Entry> {
    return then(this.#vfs.getattr(context, ROOT_INO), reply => ({ ...reply, generation: 0, entryTtlMs: Infinity }))
  }

  /** Calls `use` with the directory at the end of `names`, pinned until it has answered. */
  #in<T>(context: RequestContext, names: readonly Name[], use: (directory: Directory) => Answer<T>): Answer<T> {
    return then(this.#walk(context, this.#root, names, 0), directory =>
      ensuring(
        () => use(directory),
        () => this.#unpin(directory),
      ),
    )
  }

  /** From `at`, for which the caller need not hold a pin, to the end of `names`: pinned. */
  #walk(context: RequestContext, at: Directory, names: readonly Name[], from: number): Answer<Directory> {
    at.pins++
    for (let i = from; i < names.length; i++) {
      const here = at
      const next = ensuring(
        () => this.#step(context, here, names[i]!),
        () => this.#unpin(here),
      )
      if (next instanceof Promise)
        return next.then(directory =>
          ensuring(
            () => this.#walk(context, directory, names, i + 1),
            () => this.#unpin(directory),
          ),
        )
      at = next
    }
    return at
  }

  /** The directory `name` in `at`, pinned. */
  #step(context: RequestContext, at: Directory, name: Name): Answer<Directory> {
    const known = at.children.get(name)
    if (known && known.believedUntilMs > this.#now()) {
      this.#touch(known)
      known.pins++
      return known
    }
    const asked = this.#changes
    return then(this.#vfs.lookup(context, at.ino, name), entry => {
      this.#learned(at, name, entry, asked)
      if (!entry) throw new FsError('not-found')
      const { ino, mode } = entry.attributes
      if (!isDirectory(mode)) {
        this.release(ino)
        throw new FsError('not-directory')
      }
      const remembered = at.children.get(name)
      if (remembered) {
        this.release(ino)
        this.#touch(remembered)
        remembered.pins++
        return remembered
      }
      return this.#remember(at, name, entry, asked)
    })
  }

  #remember(parent: Directory, name: Name, entry: Entry, asked: number): Directory {
    const { ino } = entry.attributes
    // It was elsewhere before: moved, from beside the mount.
    const elsewhere = this.#directories.get(ino)
    if (elsewhere) this.#drop(elsewhere)
    const believedUntilMs = asked === this.#changes ? this.#now() + entry.entryTtlMs : 0
    const directory: Directory = { ino, parent, name, children: new Map(), believedUntilMs, pins: 1, isDropped: parent.isDropped }
    // Below what left the cache while we waited nothing is remembered: its reference goes with the pin.
    if (parent.isDropped) return directory
    parent.children.set(name, directory)
    this.#directories.set(ino, directory)
    while (this.#directories.size > this.#limit) this.#drop(this.#directories.values().next().value!)
    return directory
  }

  /** The tree said what a name means: what is remembered of it is right for longer, or wrong. */
  #learned(parent: Directory, name: Name, entry: Entry | undefined, asked: number): void {
    const known = parent.children.get(name)
    if (!known) return
    if (entry?.attributes.ino === known.ino) {
      if (asked === this.#changes) known.believedUntilMs = this.#now() + entry.entryTtlMs
    } else this.#drop(known)
  }

  #touch(directory: Directory): void {
    if (directory.isDropped) return
    this.#directories.delete(directory.ino)
    this.#directories.set(directory.ino, directory)
  }

  /** Takes a directory, and all below it, out of the cache. */
  #drop(directory: Directory): void {
    directory.isDropped = true
    directory.parent?.children.delete(directory.name)
    this.#directories.delete(directory.ino)
    for (const child of [...directory.children.values()]) this.#drop(child)
    if (directory.pins === 0) this.release(directory.ino)
  }

  #unpin(directory: Directory): void {
    directory.pins--
    if (directory.pins === 0 && directory.isDropped) this.release(directory.ino)
  }
}

/** The names of a path of the library ("/" has none). Throws 'name-too-long', 'bad-name'. */
export function split(path: string): Name[] {
  if (path === '/') return []
  const names = path.slice(1).split('/')
  for (let i = 0; i < names.length; i++) {
    const name = (names[i] = fromText(names[i]!))
    if (name.length > NAME_LIMIT_BYTES) throw new FsError('name-too-long')
    if (name === '' || name === '.' || name === '..') throw new FsError('invalid', 'not a name')
  }
  return names
}
