/**
 * The directories of one location as the observer's thread knows them: identity, place, watch and what is due.
 *
 * Owns: a table of columns (typed arrays), so that a million directories cost about a hundred bytes each.
 * Must stay true:
 * - Entry 0 is the root and is never removed. Every other live entry is in its parent's list of children and in the name
 *   hash; (parent, name) is unique.
 * - A number is used again after `remove`: who keeps numbers over time asks `isLive`, and forgets them in `onRemove`.
 * It doesn't: know files, descriptors or the disk.
 */
import type { Name } from '../../../contract.ts'
import type { DirectoryIdentity } from './batch.ts'

/** The number of a directory in the table. */
export type DirectoryNumber = number
export const ROOT: DirectoryNumber = 0
export const NONE = -1

const LIVE = 1
const FIRST_CAPACITY = 1024

export class DirectoryTable {
  #capacity = FIRST_CAPACITY
  #parent = new Int32Array(FIRST_CAPACITY)
  #firstChild = new Int32Array(FIRST_CAPACITY)
  #nextSibling = new Int32Array(FIRST_CAPACITY)
  #previousSibling = new Int32Array(FIRST_CAPACITY)
  #hashNext = new Int32Array(FIRST_CAPACITY)
  #buckets = new Int32Array(FIRST_CAPACITY).fill(NONE)
  #identity = new Uint32Array(FIRST_CAPACITY * 4)
  #live = new Uint8Array(FIRST_CAPACITY)
  readonly #names: Name[] = []
  #watch = new Int32Array(FIRST_CAPACITY)
  #scan = new Uint32Array(FIRST_CAPACITY)
  #seen = new Uint32Array(FIRST_CAPACITY)
  #marks = new Uint8Array(FIRST_CAPACITY)
  #changeTime = new Float64Array(FIRST_CAPACITY)
  readonly #free: DirectoryNumber[] = []
  #used = 0
  #count = 0
  readonly #onRemove: (directory: DirectoryNumber) => void

  /** `onRemove` is told of every entry just before it goes, children first. */
  constructor(root: DirectoryIdentity, onRemove: (directory: DirectoryNumber) => void) {
    this.#onRemove = onRemove
    this.#allocate(NONE, '', root)
  }

  get count(): number {
    return this.#count
  }
  /** All numbers are below this. */
  get end(): DirectoryNumber {
    return this.#used
  }
  isLive(directory: DirectoryNumber): boolean {
    return this.#live[directory] === LIVE
  }

  parent(directory: DirectoryNumber): DirectoryNumber {
    return this.#parent[directory]!
  }
  name(directory: DirectoryNumber): Name {
    return this.#names[directory]!
  }
  identity(directory: DirectoryNumber): DirectoryIdentity {
    const at = directory * 4
    const w = this.#identity
    return { deviceMajor: w[at]!, deviceMinor: w[at + 1]!, inoHigh: w[at + 2]!, inoLow: w[at + 3]! }
  }
  /** Whether the words of a struct statx are about this directory. */
  isSame(directory: DirectoryNumber, statx: Uint32Array): boolean {
    const at = directory * 4
    const w = this.#identity
    return w[at + 3] === statx[8] && w[at + 2] === statx[9] && w[at] === statx[34] && w[at + 1] === statx[35]
  }

  /** The inotify watch, or NONE. */
  watch(directory: DirectoryNumber): number {
    return this.#watch[directory]!
  }
  setWatch(directory: DirectoryNumber, watch: number): void {
    this.#watch[directory] = watch
  }
  /** The number of the scan that last listed the directory; 0: none did. */
  scan(directory: DirectoryNumber): number {
    return this.#scan[directory]!
  }
  setScan(directory: DirectoryNumber, scan: number): void {
    this.#scan[directory] = scan
  }
  /** The number of the listing of the parent that last saw the directory. */
  seen(directory: DirectoryNumber): number {
    return this.#seen[directory]!
  }
  setSeen(directory: DirectoryNumber, listing: number): void {
    this.#seen[directory] = listing
  }
  /** When the directory's names last changed, in nanoseconds, roundly: only compared for equality. */
  changeTime(directory: DirectoryNumber): number {
    return this.#changeTime[directory]!
  }
  setChangeTime(directory: DirectoryNumber, time: number): void {
    this.#changeTime[directory] = time
  }
  /** Eight bits for the table's users. */
  hasMark(directory: DirectoryNumber, mark: number): boolean {
    return (this.#marks[directory]! & mark) !== 0
  }
  setMark(directory: DirectoryNumber, mark: number, on: boolean): void {
    if (on) this.#marks[directory]! |= mark
    else this.#marks[directory]! &= ~mark
  }

  /** The path below the root, names joined by "/"; '' for the root. */
  path(directory: DirectoryNumber): Name {
    let path = ''
    for (let at = directory; at !== ROOT; at = this.#parent[at]!) path = path === '' ? this.#names[at]! : `${this.#names[at]}/${path}`
    return path
  }
  depth(directory: DirectoryNumber): number {
    let depth = 0
    for (let at = directory; at !== ROOT; at = this.#parent[at]!) depth++
    return depth
  }
  /** Whether `directory` is `ancestor` or lies below it. */
  isBelow(directory: DirectoryNumber, ancestor: DirectoryNumber): boolean {
    let at = directory
    while (at !== ancestor && at !== ROOT) at = this.#parent[at]!
    return at === ancestor
  }

  child(parent: DirectoryNumber, name: Name): DirectoryNumber {
    let at = this.#buckets[this.#bucket(parent, name)]!
    while (at !== NONE && (this.#parent[at] !== parent || this.#names[at] !== name)) at = this.#hashNext[at]!
    return at
  }
  firstChild(directory: DirectoryNumber): DirectoryNumber {
    return this.#firstChild[directory]!
  }
  nextSibling(directory: DirectoryNumber): DirectoryNumber {
    return this.#nextSibling[directory]!
  }

  /** The directory at a path, or as far toward it as is known, with the names that remain. */
  find(path: Name): { readonly directory: DirectoryNumber; readonly rest: Name[] } {
    const names = path === '' ? [] : path.split('/')
    let directory = ROOT
    for (let i = 0; i < names.length; i++) {
      const next = this.child(directory, names[i]!)
      if (next === NONE) return { directory, rest: names.slice(i) }
      directory = next
    }
    return { directory, rest: [] }
  }

  /** Adds a directory at a free place. */
  add(parent: DirectoryNumber, name: Name, identity: DirectoryIdentity): DirectoryNumber {
    if (this.child(parent, name) !== NONE) throw new Error('the name is taken')
    const directory = this.#allocate(parent, name, identity)
    this.#link(directory)
    return directory
  }

  /** Moves a directory, with all below it, to a free place that isn't below itself. */
  move(directory: DirectoryNumber, parent: DirectoryNumber, name: Name): void {
    if (directory === ROOT || this.isBelow(parent, directory)) throw new Error('a directory cannot move below itself')
    if (this.child(parent, name) !== NONE) throw new Error('the name is taken')
    this.#unlink(directory)
    this.#parent[directory] = parent
    this.#names[directory] = name
    this.#link(directory)
  }

  /** Removes a directory with all below it. */
  remove(directory: DirectoryNumber): void {
    if (directory === ROOT) throw new Error('the root stays')
    // The last of a chain of first children has none: no recursion, however deep the tree is.
    let at = directory
    for (;;) {
      while (this.#firstChild[at] !== NONE) at = this.#firstChild[at]!
      const parent = this.#parent[at]!
      this.#onRemove(at)
      this.#unlink(at)
      this.#live[at] = 0
      this.#names[at] = ''
      this.#free.push(at)
      this.#count--
      if (at === directory) return
      at = parent
    }
  }

  #allocate(parent: DirectoryNumber, name: Name, identity: DirectoryIdentity): DirectoryNumber {
    const directory = this.#free.pop() ?? this.#used++
    if (directory >= this.#capacity) this.#grow()
    this.#parent[directory] = parent
    this.#firstChild[directory] = NONE
    this.#names[directory] = name
    this.#identity.set([identity.deviceMajor, identity.deviceMinor, identity.inoHigh, identity.inoLow], directory * 4)
    this.#live[directory] = LIVE
    this.#watch[directory] = NONE
    this.#scan[directory] = 0
    this.#seen[directory] = 0
    this.#marks[directory] = 0
    this.#changeTime[directory] = 0
    this.#count++
    return directory
  }

  #link(directory: DirectoryNumber): void {
    const parent = this.#parent[directory]!
    const first = this.#firstChild[parent]!
    this.#nextSibling[directory] = first
    this.#previousSibling[directory] = NONE
    if (first !== NONE) this.#previousSibling[first] = directory
    this.#firstChild[parent] = directory
    this.#addToBucket(directory)
  }

  #unlink(directory: DirectoryNumber): void {
    const next = this.#nextSibling[directory]!
    const previous = this.#previousSibling[directory]!
    if (next !== NONE) this.#previousSibling[next] = previous
    if (previous !== NONE) this.#nextSibling[previous] = next
    else this.#firstChild[this.#parent[directory]!] = next
    const bucket = this.#bucket(this.#parent[directory]!, this.#names[directory]!)
    let at = this.#buckets[bucket]!
    if (at === directory) {
      this.#buckets[bucket] = this.#hashNext[directory]!
      return
    }
    while (this.#hashNext[at] !== directory) at = this.#hashNext[at]!
    this.#hashNext[at] = this.#hashNext[directory]!
  }

  #addToBucket(directory: DirectoryNumber): void {
    const bucket = this.#bucket(this.#parent[directory]!, this.#names[directory]!)
    this.#hashNext[directory] = this.#buckets[bucket]!
    this.#buckets[bucket] = directory
  }

  #bucket(parent: DirectoryNumber, name: Name): number {
    let hash = Math.imul(parent, 0x9e3779b1)
    for (let i = 0; i < name.length; i++) hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193)
    return (hash ^ (hash >>> 15)) & (this.#buckets.length - 1)
  }

  #grow(): void {
    this.#capacity *= 2
    this.#parent = grown(this.#parent, new Int32Array(this.#capacity))
    this.#firstChild = grown(this.#firstChild, new Int32Array(this.#capacity))
    this.#nextSibling = grown(this.#nextSibling, new Int32Array(this.#capacity))
    this.#previousSibling = grown(this.#previousSibling, new Int32Array(this.#capacity))
    this.#identity = grown(this.#identity, new Uint32Array(this.#capacity * 4))
    this.#live = grown(this.#live, new Uint8Array(this.#capacity))
    this.#watch = grown(this.#watch, new Int32Array(this.#capacity))
    this.#scan = grown(this.#scan, new Uint32Array(this.#capacity))
    this.#seen = grown(this.#seen, new Uint32Array(this.#capacity))
    this.#marks = grown(this.#marks, new Uint8Array(this.#capacity))
    this.#changeTime = grown(this.#changeTime, new Float64Array(this.#capacity))
    this.#hashNext = new Int32Array(this.#capacity)
    this.#buckets = new Int32Array(this.#capacity).fill(NONE)
    for (let directory = 1; directory < this.#used; directory++) if (this.#live[directory] === LIVE) this.#addToBucket(directory)
  }
}

function grown<Column extends { set(values: Column): void }>(old: Column, column: Column): Column {
  column.set(old)
  return column
}
