/**
 * The node table of the memory volume.
 *
 * Owns: which number is which node, the entries that lead to nodes, and the space they take. Must stay true: a node lives
 * while it has a name, an open handle or a reference of a front end; a directory has two links and one for each directory
 * in it; a listing's cookies grow in the order of its entries.
 */
import { FsError } from '../../errors.ts'
import { type Entry, type Ino, isDirectory, type Name, type RequestContext, SLOT_SIZE } from '../contract.ts'
import { MemoryNode, type Timestamp } from './memory-node.ts'
import type { Ledger } from './sparse-bytes.ts'

/** As large as a file of ext4 with the largest blocks, and far below 2^53. */
const LARGEST_FILE_BYTES = 2 ** 50
export const NAME_LIMIT_BYTES = 255
/** Cookies below are those of "." and "..". */
export const FIRST_COOKIE = 3n

export class MemoryNodes {
  readonly now: () => Timestamp
  readonly capacityBytes: number
  readonly #ledger: Ledger = { usedBytes: 0 }
  readonly #nodes = new Map<Ino, MemoryNode>()
  #lastIno: Ino
  #lastCookie = FIRST_COOKIE

  constructor(slot: number, capacityBytes: number, now: () => Timestamp) {
    this.#lastIno = slot * SLOT_SIZE
    this.capacityBytes = capacityBytes
    this.now = now
  }

  get count(): number {
    return this.#nodes.size
  }

  get usedBytes(): number {
    return this.#ledger.usedBytes
  }

  find(ino: Ino): MemoryNode | undefined {
    return this.#nodes.get(ino)
  }

  /** Throws 'stale' for a number that means nothing (any more). */
  get(ino: Ino): MemoryNode {
    const node = this.#nodes.get(ino)
    if (!node) throw new FsError('stale')
    return node
  }

  directory(ino: Ino): MemoryNode {
    const node = this.get(ino)
    if (!isDirectory(node.attributes.mode)) throw new FsError('not-directory')
    return node
  }

  child(directory: MemoryNode, name: Name): MemoryNode | undefined {
    const entry = directory.entries.get(checked(name))
    return entry && this.get(entry.ino)
  }

  named(directory: MemoryNode, name: Name): MemoryNode {
    const node = this.child(directory, name)
    if (!node) throw new FsError('not-found')
    return node
  }

  /** A node without a name. */
  add(mode: number, uid: number, gid: number): MemoryNode {
    const node = new MemoryNode(this.#ledger)
    const a = node.attributes
    const now = this.now()
    a.ino = ++this.#lastIno
    a.mode = mode
    a.nlink = isDirectory(mode) ? 2 : 0
    a.uid = uid
    a.gid = gid
    node.touchAccess(now)
    node.touchModify(now)
    node.setTime('btime', now, now)
    this.#nodes.set(a.ino, node)
    return node
  }

  /** A node with a name in `directory`. */
  make(context: RequestContext, directory: MemoryNode, name: Name, mode: number): MemoryNode {
    if (this.child(directory, name)) throw new FsError('exists')
    const setGid = isDirectory(mode) && directory.attributes.mode & 0o2000 ? 0o2000 : 0
    const node = this.add(mode | setGid, context.uid, inheritedGroup(directory, context))
    this.enter(directory, name, node)
    if (!isDirectory(mode)) node.attributes.nlink = 1
    directory.touchModify(this.now())
    return node
  }

  /** Makes `name` mean `node`; what it meant before must have left. */
  enter(directory: MemoryNode, name: Name, node: MemoryNode): void {
    directory.entries.set(name, { ino: node.attributes.ino, cookie: ++this.#lastCookie })
    if (!isDirectory(node.attributes.mode)) return
    directory.attributes.nlink++
    node.parent = directory.attributes.ino
  }

  /** Takes the name away; the node's own link count is the caller's business (`unlinked`, or it enters elsewhere). */
  leave(directory: MemoryNode, name: Name, node: MemoryNode): void {
    directory.entries.delete(name)
    if (isDirectory(node.attributes.mode)) directory.attributes.nlink--
  }

  unlinked(node: MemoryNode): void {
    node.attributes.nlink = isDirectory(node.attributes.mode) ? 0 : node.attributes.nlink - 1
    node.touchChange(this.now())
    this.collect(node)
  }

  /** Whether `directory` is `node` or lies below it. */
  holds(node: MemoryNode, directory: MemoryNode): boolean {
    if (!isDirectory(node.attributes.mode)) return false
    for (let at = directory; ; at = this.get(at.parent)) {
      if (at === node) return true
      if (at.parent === at.attributes.ino) return false
    }
  }

  collect(node: MemoryNode): void {
    if (node.attributes.nlink > 0 || node.openCount > 0 || node.references > 0) return
    node.bytes.truncate(0)
    this.#nodes.delete(node.attributes.ino)
  }

  clear(): void {
    this.#nodes.clear()
  }

  /** An entry that counts as one reference, until `forget`. */
  refer(node: MemoryNode): Entry {
    node.references++
    return this.entryOf(node)
  }

  entryOf(node: MemoryNode): Entry {
    return { attributes: node.snapshot(), generation: 1, entryTtlMs: 1000, attributeTtlMs: 1000 }
  }

  /** relatime: the access time moves when it is older than the content. */
  accessed(node: MemoryNode): void {
    const a = node.attributes
    if (a.atimeSec < a.mtimeSec || (a.atimeSec === a.mtimeSec && a.atimeNsec <= a.mtimeNsec)) node.touchAccess(this.now())
  }

  /** Throws 'file-too-large' for a file that would end beyond what positions are exact for. */
  mustHold(endBytes: number): void {
    if (endBytes > LARGEST_FILE_BYTES) throw new FsError('file-too-large')
  }

  /** How many of `lengthBytes` fit at `position`; throws 'no-space' when none do. Overwriting needs no room. */
  roomFor(node: MemoryNode, position: number, lengthBytes: number): number {
    this.mustHold(position + lengthBytes)
    const grows = position + lengthBytes - Math.max(position, node.bytes.sizeBytes)
    const room = this.capacityBytes - this.usedBytes
    if (grows <= room) return lengthBytes
    const fits = lengthBytes - (grows - room)
    if (fits <= 0) throw new FsError('no-space', undefined, { operation: 'write' })
    return fits
  }
}

/** Throws for what is no name. */
export function checked(name: Name): Name {
  if (name.length > NAME_LIMIT_BYTES) throw new FsError('name-too-long')
  if (name === '' || name === '.' || name === '..' || name.includes('/') || name.includes('\0')) throw new FsError('invalid')
  return name
}

export function inheritedGroup(directory: MemoryNode, context: RequestContext): number {
  return directory.attributes.mode & 0o2000 ? directory.attributes.gid : context.gid
}
