/**
 * `.snapshots/`: the vault as it was, for reading.
 *
 * Owns: numbers of past nodes (in the upper half of the slot; they hold while a front end refers to them, and a while longer) and the
 * operations on them. Must stay true: nothing here changes anything; a number of a snapshot that was removed is stale.
 */
import { FsError } from '../../../../errors.ts'
import { O_ACCMODE, O_RDONLY, O_TRUNC, SEEK_DATA } from '../../../../sys/flags.ts'
import {
  type Attributes,
  type AttributesReply,
  type DirectorySink,
  type Entry,
  type Ino,
  isDirectory,
  isRegular,
  isSymlink,
  type Name,
  type OpenDirectory,
  type OpenFile,
  type OpenFlags,
  type RequestContext,
  S_IFDIR,
  SLOT_SIZE,
} from '../../../contract.ts'
import type { NodeId } from '../index/changes.ts'
import { FAR } from '../index/extents.ts'
import { Past } from '../index/past.ts'
import { decodeNode, type VaultNode } from '../nodes/node-record.ts'
import { checked } from '../nodes/node-table.ts'
import { ROOT_ID, type VaultParts } from '../parts.ts'
import { snapshotName } from './snapshot-names.ts'

export const SNAPSHOTS_NAME = '.snapshots'
/** Local numbers from here on are past nodes; the first is `.snapshots` itself. */
export const FIRST_PAST = 2 ** 39
const TTL_MS = 60_000
const NUMBERS_LIMIT = 50_000

interface PastNode {
  /** 0: `.snapshots` itself. */
  readonly snapshot: number
  readonly node: NodeId
  uses: number
}

export class PastTree {
  readonly #parts: VaultParts
  readonly #base: number
  readonly #past: Past
  readonly #byNumber = new Map<number, PastNode>([[FIRST_PAST, { snapshot: 0, node: 0, uses: 1 }]])
  readonly #byKey = new Map<string, number>([['0:0', FIRST_PAST]])
  #last = FIRST_PAST

  constructor(parts: VaultParts, slot: number) {
    this.#parts = parts
    this.#base = slot * SLOT_SIZE
    this.#past = new Past(parts.index.database)
  }

  /** Whether a number is one of these. */
  has(ino: Ino): boolean {
    return ino - this.#base >= FIRST_PAST
  }

  /** `.snapshots` itself. */
  folder(): Entry {
    return this.#refer(0, 0)
  }

  lookup(parent: Ino, name: Name): Entry | undefined {
    const { snapshot, node } = this.#directory(parent)
    checked(name)
    if (snapshot === 0) {
      const found = this.#snapshots().find(one => one.name === name)
      return found && this.#refer(found.id, ROOT_ID)
    }
    const entry = this.#past.entryOf(snapshot, node, name)
    return entry && this.#refer(snapshot, entry.node)
  }

  forget(ino: Ino, count: number): void {
    const number = ino - this.#base
    const past = this.#byNumber.get(number)
    if (!past || number === FIRST_PAST) return
    past.uses = Math.max(0, past.uses - count)
  }

  getattr(ino: Ino): AttributesReply {
    const { snapshot, node } = this.#get(ino)
    return { attributes: this.#attributes(ino, snapshot, node), attributeTtlMs: TTL_MS }
  }

  readlink(ino: Ino): Name {
    const node = this.#node(ino)
    if (!node || !isSymlink(node.attributes.mode)) throw new FsError('invalid', undefined, { operation: 'readlink' })
    return node.target
  }

  getxattr(ino: Ino, name: Name): Buffer {
    const { snapshot, node } = this.#get(ino)
    const value = snapshot === 0 ? undefined : this.#past.xattrOf(snapshot, node, name)
    if (!value) throw new FsError('no-attribute', undefined, { operation: 'getxattr' })
    return value
  }

  listxattr(ino: Ino): Name[] {
    const { snapshot, node } = this.#get(ino)
    return snapshot === 0 ? [] : this.#past.xattrs(snapshot, node)
  }

  open(ino: Ino, flags: OpenFlags): OpenFile {
    if ((flags & O_ACCMODE) !== O_RDONLY || flags & O_TRUNC) throw new FsError('read-only', undefined, { operation: 'open' })
    const past = this.#get(ino)
    const node = this.#node(ino)
    if (!node || isDirectory(node.attributes.mode)) throw new FsError('is-directory', undefined, { operation: 'open' })
    if (isSymlink(node.attributes.mode)) throw new FsError('symlink-loop', undefined, { operation: 'open' })
    if (!isRegular(node.attributes.mode)) throw new FsError('no-device', undefined, { operation: 'open' })
    past.uses++
    return new PastFile(this.#parts, ino, past.snapshot, node, () => this.forget(ino, 1))
  }

  opendir(ino: Ino): OpenDirectory {
    const past = this.#directory(ino)
    past.uses++
    return {
      ino,
      keepCache: false,
      read: (_context, offset, withAttributes, sink) => this.#list(ino, past, offset, withAttributes, sink),
      fsync() {},
      release: () => this.forget(ino, 1),
    }
  }

  #list(ino: Ino, { snapshot, node }: PastNode, offset: bigint, withAttributes: boolean, sink: DirectorySink): void {
    if (offset < 1n && !sink.add('.', ino, S_IFDIR, 1n, undefined)) return
    if (offset < 2n && !sink.add('..', this.#base + (snapshot === 0 ? ROOT_ID : FIRST_PAST), S_IFDIR, 2n, undefined)) return
    const add = (name: Name, of: number, id: NodeId, next: number): boolean => {
      const entry = this.#refer(of, id)
      const isTaken = sink.add(
        name,
        entry.attributes.ino,
        entry.attributes.mode & 0o170000,
        BigInt(next),
        withAttributes ? entry : undefined,
      )
      if (!isTaken || !withAttributes) this.forget(entry.attributes.ino, 1)
      return isTaken
    }
    const after = Math.max(0, Number(offset) - 2)
    if (snapshot === 0) {
      for (const { id, name } of this.#snapshots()) if (id > after && !add(name, id, ROOT_ID, id + 2)) return
      return
    }
    for (let from = after; ; ) {
      const rows = this.#past.entries(snapshot, node, from, 256)
      for (const row of rows) if (!add(row.name, snapshot, row.node, row.cookie + 2)) return
      if (rows.length < 256) return
      from = rows.at(-1)!.cookie
    }
  }

  #snapshots(): { readonly id: number; readonly name: Name }[] {
    const rows = this.#parts.index.snapshots()
    return rows.map(row => ({ id: row.id, name: snapshotName(row, rows) }))
  }

  #get(ino: Ino): PastNode {
    const past = this.#byNumber.get(ino - this.#base)
    if (!past || (past.snapshot > 0 && !this.#parts.index.hasSnapshot(past.snapshot))) throw new FsError('stale')
    return past
  }

  #directory(ino: Ino): PastNode {
    const past = this.#get(ino)
    if (past.snapshot > 0 && !isDirectory(this.#read(past.snapshot, past.node).attributes.mode)) throw new FsError('not-directory')
    return past
  }

  /** undefined: `.snapshots` itself. */
  #node(ino: Ino): VaultNode | undefined {
    const { snapshot, node } = this.#get(ino)
    return snapshot === 0 ? undefined : this.#read(snapshot, node)
  }

  #read(snapshot: number, id: NodeId): VaultNode {
    const record = this.#past.record(snapshot, id)
    if (!record) throw new FsError('damaged', 'a name in a snapshot leads to a node that is not there')
    return decodeNode(id, record)
  }

  #refer(snapshot: number, node: NodeId): Entry {
    const key = `${snapshot}:${node}`
    let number = this.#byKey.get(key)
    if (number === undefined) {
      number = ++this.#last
      this.#byKey.set(key, number)
      this.#byNumber.set(number, { snapshot, node, uses: 0 })
      if (this.#byNumber.size > NUMBERS_LIMIT) this.#shrink(number)
    }
    this.#byNumber.get(number)!.uses++
    const ino = this.#base + number
    return { attributes: this.#attributes(ino, snapshot, node), generation: 1, entryTtlMs: TTL_MS, attributeTtlMs: TTL_MS }
  }

  /** Lets go of the oldest numbers that nobody refers to. */
  #shrink(newest: number): void {
    for (const [number, past] of this.#byNumber) {
      if (past.uses > 0 || number === newest) continue
      this.#byNumber.delete(number)
      this.#byKey.delete(`${past.snapshot}:${past.node}`)
      if (this.#byNumber.size <= NUMBERS_LIMIT / 2) return
    }
  }

  #attributes(ino: Ino, snapshot: number, id: NodeId): Attributes {
    if (snapshot > 0) return this.#read(snapshot, id).snapshot(ino, 0)
    const a = this.#parts.nodes.get(this.#base + ROOT_ID).snapshot(ino, 0)
    a.mode = S_IFDIR | (a.mode & 0o555)
    a.nlink = 2
    return a
  }
}

class PastFile implements OpenFile {
  readonly ino: Ino
  readonly keepCache = true
  readonly directIo = false
  readonly noFlush = true
  readonly #parts: VaultParts
  readonly #snapshot: number
  readonly #node: VaultNode
  readonly #released: () => void

  constructor(parts: VaultParts, ino: Ino, snapshot: number, node: VaultNode, released: () => void) {
    this.#parts = parts
    this.ino = ino
    this.#snapshot = snapshot
    this.#node = node
    this.#released = released
  }

  read(_context: RequestContext, position: number, into: Buffer): number {
    const length = Math.min(into.length, this.#node.attributes.sizeBytes - position)
    if (length <= 0) return 0
    // Without its snapshot the rows of what changed since are gone: they would read as holes.
    if (!this.#parts.index.hasSnapshot(this.#snapshot)) throw new FsError('stale')
    const extents = this.#parts.extents.findPast(this.#node.id, position, position + length, this.#snapshot)
    this.#parts.contents.readExtents(extents, position, length, into)
    return length
  }

  seek(_context: RequestContext, offset: number, whence: number): number {
    const size = this.#node.attributes.sizeBytes
    if (offset < 0 || offset >= size) throw new FsError('no-device', undefined, { operation: 'lseek' })
    let hole = offset
    for (const { position, length } of this.#parts.extents.findPast(this.#node.id, offset, FAR, this.#snapshot)) {
      if (whence === SEEK_DATA) return Math.max(offset, position)
      if (position > hole) break
      hole = position + length
    }
    if (whence === SEEK_DATA) throw new FsError('no-device', undefined, { operation: 'lseek' })
    return Math.min(hole, size)
  }

  write(): number {
    throw new FsError('bad-handle', undefined, { operation: 'write' })
  }

  fallocate(): void {
    throw new FsError('bad-handle', undefined, { operation: 'fallocate' })
  }

  /** The caller copies by reading: what a snapshot has is not in one table. */
  copyRange(): number {
    throw new FsError('not-supported', undefined, { operation: 'copy_file_range' })
  }

  flush(): void {}

  fsync(): void {}

  release(): void {
    this.#released()
  }
}
