/**
 * The nodes of an open vault: what is in memory of them, and when they are written down.
 *
 * Owns: the table, which nodes changed, references of front ends, numbers. Must stay true: what changed stays in memory until
 * `save` recorded it; a node lives while it has a name, an open handle or a reference; a directory has two links and one for
 * each directory in it.
 */
import { FsError } from '../../../../errors.ts'
import { type Entry, type Ino, isDirectory, type Name, type RequestContext, SLOT_SIZE, type TimeChange } from '../../../contract.ts'
import type { NodeId } from '../index/changes.ts'
import type { Recorder } from '../log/recorder.ts'
import { decodeNode, encodeNode, VaultNode } from './node-record.ts'

export const NAME_LIMIT_BYTES = 255
const KEPT_LIMIT = 20_000
const TTL_MS = 60_000

/** Seconds and nanoseconds since 1970. */
export interface Timestamp {
  readonly sec: number
  readonly nsec: number
}

export interface NodeTableOptions {
  readonly recorder: Recorder
  readonly slot: number
  readonly now: () => Timestamp
  /** Something changed that is not recorded yet. */
  readonly onChange: () => void
  /** Bytes of a node that are not in extents yet. */
  readonly delayedBytes: (id: NodeId) => number
  /** A node is gone for good. */
  readonly onGone: (id: NodeId) => void
}

export class NodeTable {
  readonly #options: NodeTableOptions
  readonly #recorder: Recorder
  /** The least recently used first. */
  readonly #nodes = new Map<NodeId, VaultNode>()
  readonly #changed = new Set<VaultNode>()
  readonly #references = new Map<NodeId, number>()

  constructor(options: NodeTableOptions) {
    this.#options = options
    this.#recorder = options.recorder
  }

  now(): Timestamp {
    return this.#options.now()
  }

  // --- finding ---

  ino(id: NodeId): Ino {
    return this.#options.slot * SLOT_SIZE + id
  }

  find(id: NodeId): VaultNode | undefined {
    const known = this.#nodes.get(id)
    if (known) return known
    const record = this.#recorder.index.record(id)
    if (!record) return undefined
    const node = decodeNode(id, record)
    this.#nodes.set(id, node)
    if (this.#nodes.size > KEPT_LIMIT) this.#shrink()
    return node
  }

  /** Throws 'stale' for a number that means nothing (any more). */
  get(ino: Ino): VaultNode {
    const id = ino - this.#options.slot * SLOT_SIZE
    const node = Number.isSafeInteger(id) && id > 0 && id < SLOT_SIZE ? this.find(id) : undefined
    if (!node) throw new FsError('stale')
    return node
  }

  directory(ino: Ino): VaultNode {
    const node = this.get(ino)
    if (!isDirectory(node.attributes.mode)) throw new FsError('not-directory')
    return node
  }

  child(directory: VaultNode, name: Name): VaultNode | undefined {
    const entry = this.#recorder.index.entryOf(directory.id, checked(name))
    if (!entry) return undefined
    const node = this.find(entry.node)
    if (!node) throw new FsError('damaged', 'a name leads to a node that is not there', { subject: name })
    return node
  }

  named(directory: VaultNode, name: Name): VaultNode {
    const node = this.child(directory, name)
    if (!node) throw new FsError('not-found')
    return node
  }

  isEmpty(directory: VaultNode): boolean {
    return this.#recorder.index.isEmpty(directory.id)
  }

  // --- making and changing ---

  /** A node without a name. */
  add(mode: number, uid: number, gid: number): VaultNode {
    const node = new VaultNode(++this.#recorder.index.last.node)
    const a = node.attributes
    const now = this.now()
    a.ino = node.id
    a.mode = mode
    a.nlink = isDirectory(mode) ? 2 : 0
    a.uid = uid
    a.gid = gid
    a.atimeSec = a.mtimeSec = a.ctimeSec = a.btimeSec = now.sec
    a.atimeNsec = a.mtimeNsec = a.ctimeNsec = a.btimeNsec = now.nsec
    this.#nodes.set(node.id, node)
    this.changed(node)
    return node
  }

  /** A node with a name in `directory`. */
  make(context: RequestContext, directory: VaultNode, name: Name, mode: number): VaultNode {
    if (this.child(directory, name)) throw new FsError('exists')
    const setGid = isDirectory(mode) && directory.attributes.mode & 0o2000 ? 0o2000 : 0
    const node = this.add(mode | setGid, context.uid, inheritedGroup(directory, context))
    this.enter(directory, name, node)
    if (!isDirectory(mode)) node.attributes.nlink = 1
    this.modified(directory)
    return node
  }

  /** Makes `name` mean `node`; what it meant before must have left. */
  enter(directory: VaultNode, name: Name, node: VaultNode): void {
    const { index } = this.#recorder
    this.#recorder.entry(directory.id, name, node.id, index.last.cookie + 1)
    if (!isDirectory(node.attributes.mode)) return
    directory.attributes.nlink++
    this.changed(directory)
    if (node.parent === directory.id) return
    node.parent = directory.id
    this.changed(node)
  }

  /** Takes the name away; the node's own link count is the caller's business (`unlinked`, or it enters elsewhere). */
  leave(directory: VaultNode, name: Name, node: VaultNode): void {
    this.#recorder.entryGone(directory.id, name)
    if (!isDirectory(node.attributes.mode)) return
    directory.attributes.nlink--
    this.changed(directory)
  }

  unlinked(node: VaultNode): void {
    node.attributes.nlink = isDirectory(node.attributes.mode) ? 0 : node.attributes.nlink - 1
    this.changeTime(node)
    this.collect(node)
  }

  /** Whether `directory` is `node` or lies below it. */
  holds(node: VaultNode, directory: VaultNode): boolean {
    if (!isDirectory(node.attributes.mode)) return false
    for (let at: VaultNode | undefined = directory; at; at = at.parent === at.id ? undefined : this.find(at.parent))
      if (at === node) return true
    return false
  }

  /** The node is written down at the next `save`. */
  changed(node: VaultNode): void {
    if (node.isChanged) return
    node.isChanged = true
    this.#changed.add(node)
    this.#options.onChange()
  }

  /** The content changed: both times, as POSIX asks. */
  modified(node: VaultNode): void {
    const now = this.now()
    const a = node.attributes
    a.mtimeSec = a.ctimeSec = now.sec
    a.mtimeNsec = a.ctimeNsec = now.nsec
    this.changed(node)
  }

  changeTime(node: VaultNode): void {
    const now = this.now()
    node.attributes.ctimeSec = now.sec
    node.attributes.ctimeNsec = now.nsec
    this.changed(node)
  }

  /** relatime: the access time moves when it is older than the content. */
  accessed(node: VaultNode): void {
    const a = node.attributes
    if (a.atimeSec > a.mtimeSec || (a.atimeSec === a.mtimeSec && a.atimeNsec > a.mtimeNsec)) return
    this.setTime(node, 'atime', 'now')
  }

  setTime(node: VaultNode, which: 'atime' | 'mtime' | 'btime', change: TimeChange): void {
    const time = change === 'now' ? this.now() : change
    node.attributes[`${which}Sec`] = time.sec
    node.attributes[`${which}Nsec`] = time.nsec
    this.changed(node)
  }

  /** Clears set-user-id, and set-group-id where the group may execute. */
  killPrivileges(node: VaultNode): void {
    const { mode } = node.attributes
    const cleared = mode & ~0o4000 & (mode & 0o010 ? ~0o2000 : -1)
    if (cleared === mode) return
    node.attributes.mode = cleared
    this.changed(node)
  }

  // --- references ---

  /** An entry that counts as one reference, until `forget`. */
  refer(node: VaultNode): Entry {
    this.#references.set(node.id, (this.#references.get(node.id) ?? 0) + 1)
    return this.entryOf(node)
  }

  entryOf(node: VaultNode): Entry {
    const attributes = node.snapshot(this.ino(node.id), this.#options.delayedBytes(node.id))
    return { attributes, generation: 1, entryTtlMs: TTL_MS, attributeTtlMs: TTL_MS }
  }

  forget(id: NodeId, count: number): void {
    const left = (this.#references.get(id) ?? 0) - count
    if (left > 0) this.#references.set(id, left)
    else this.#references.delete(id)
    const node = left > 0 ? undefined : this.#nodes.get(id)
    if (node) this.collect(node)
  }

  collect(node: VaultNode): void {
    if (node.attributes.nlink > 0 || node.openCount > 0 || this.#references.has(node.id) || this.#nodes.get(node.id) !== node) return
    this.#options.onGone(node.id)
    this.#recorder.nodeGone(node.id)
    this.#nodes.delete(node.id)
    this.#changed.delete(node)
  }

  /** Records all that changed. */
  save(): void {
    for (const node of this.#changed) {
      this.#recorder.node(node.id, encodeNode(node))
      node.isChanged = false
      this.#changed.delete(node)
    }
  }

  clear(): void {
    this.#nodes.clear()
    this.#changed.clear()
    this.#references.clear()
  }

  #shrink(): void {
    for (const [id, node] of this.#nodes) {
      if (!node.isChanged && node.openCount === 0 && node.attributes.nlink > 0) this.#nodes.delete(id)
      if (this.#nodes.size <= KEPT_LIMIT / 2) return
    }
  }
}

/** Throws for what is no name. */
export function checked(name: Name): Name {
  if (name.length > NAME_LIMIT_BYTES) throw new FsError('name-too-long')
  if (name === '' || name === '.' || name === '..' || name.includes('/') || name.includes('\0')) throw new FsError('invalid')
  return name
}

export function inheritedGroup(directory: VaultNode, context: RequestContext): number {
  return directory.attributes.mode & 0o2000 ? directory.attributes.gid : context.gid
}
