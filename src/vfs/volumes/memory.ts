/**
 * A complete volume in memory: the reference that other volumes and both front ends are tested against.
 *
 * Owns: its nodes. Must stay true: what POSIX says of names, links, times and replacing renames holds here in its plainest
 * form; a node lives while it has a name, an open handle or a reference of a front end.
 * It doesn't: check permissions (as the host's kernel would for a location), keep anything after `close`, or limit more
 * than its capacity.
 */
import { FsError } from '../../errors.ts'
import { O_ACCMODE, O_EXCL, O_RDONLY, O_TRUNC, XATTR_CREATE, XATTR_REPLACE } from '../../sys/flags.ts'
import {
  type AttributeChanges,
  type AttributesReply,
  type CreatedFile,
  type Entry,
  type FilesystemStatistics,
  type Ino,
  isDirectory,
  isRegular,
  isSymlink,
  type Name,
  type OpenDirectory,
  type OpenFile,
  type OpenFlags,
  RENAME_EXCHANGE,
  RENAME_NOREPLACE,
  RENAME_WHITEOUT,
  type RequestContext,
  S_IFCHR,
  S_IFDIR,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
  SLOT_SIZE,
  type Volume,
  type VolumeStatus,
  type VolumeTraits,
} from '../contract.ts'
import { MemoryDirectory, MemoryFile } from './memory-file.ts'
import type { MemoryNode, Timestamp } from './memory-node.ts'
import { inheritedGroup, MemoryNodes, NAME_LIMIT_BYTES } from './memory-nodes.ts'
import { PAGE_BYTES } from './sparse-bytes.ts'

const TARGET_LIMIT_BYTES = 4095
const XATTR_LIMIT_BYTES = 65_536

export interface MemoryVolumeOptions {
  readonly id?: number
  /** Numbers are `slot * SLOT_SIZE + n`. */
  readonly slot?: number
  readonly capacityBytes?: number
  readonly readOnly?: boolean
  /** Called for every time that is kept. */
  readonly now?: () => Timestamp
}

export class MemoryVolume implements Volume {
  readonly id: number
  readonly kind = 'memory'
  readonly rootIno: Ino
  readonly traits: VolumeTraits
  readonly #nodes: MemoryNodes

  constructor(options: MemoryVolumeOptions = {}) {
    this.id = options.id ?? 1
    this.#nodes = new MemoryNodes(options.slot ?? 1, options.capacityBytes ?? 2 ** 40, options.now ?? systemTime)
    this.traits = {
      readOnly: options.readOnly ?? false,
      hardLinks: true,
      symlinks: true,
      specialFiles: true,
      extendedAttributes: true,
      posixAcls: false,
      local: false,
      negativeTtlMs: 1000,
    }
    const root = this.#nodes.add(S_IFDIR | 0o755, 0, 0)
    this.rootIno = root.parent = root.attributes.ino
  }

  /** Nodes that are still there: tests look here for what leaked. */
  get nodeCount(): number {
    return this.#nodes.count
  }

  // --- names ---

  lookup(_context: RequestContext, parent: Ino, name: Name): Entry | undefined {
    const node = this.#nodes.child(this.#nodes.directory(parent), name)
    return node && this.#nodes.refer(node)
  }

  forget(ino: Ino, count: number): void {
    const node = this.#nodes.find(ino)
    if (!node) return
    node.references = Math.max(0, node.references - count)
    this.#nodes.collect(node)
  }

  symlink(context: RequestContext, parent: Ino, name: Name, target: Name): Entry {
    if (target === '') throw new FsError('not-found', undefined, { operation: 'symlink' })
    if (target.length > TARGET_LIMIT_BYTES) throw new FsError('name-too-long', undefined, { operation: 'symlink' })
    const node = this.#nodes.make(context, this.#writableDirectory(parent), name, S_IFLNK | 0o777)
    node.target = target
    return this.#nodes.refer(node)
  }

  mknod(context: RequestContext, parent: Ino, name: Name, mode: number, rdev: number): Entry {
    const node = this.#nodes.make(
      context,
      this.#writableDirectory(parent),
      name,
      ((mode & S_IFMT || S_IFREG) | (mode & 0o7777)) & ~context.umask,
    )
    node.attributes.rdev = rdev
    return this.#nodes.refer(node)
  }

  mkdir(context: RequestContext, parent: Ino, name: Name, mode: number): Entry {
    return this.#nodes.refer(this.#nodes.make(context, this.#writableDirectory(parent), name, S_IFDIR | (mode & 0o7777 & ~context.umask)))
  }

  unlink(_context: RequestContext, parent: Ino, name: Name): void {
    const directory = this.#writableDirectory(parent)
    const node = this.#nodes.named(directory, name)
    if (isDirectory(node.attributes.mode)) throw new FsError('is-directory', undefined, { operation: 'unlink' })
    this.#nodes.leave(directory, name, node)
    directory.touchModify(this.#nodes.now())
    this.#nodes.unlinked(node)
  }

  rmdir(_context: RequestContext, parent: Ino, name: Name): void {
    const directory = this.#writableDirectory(parent)
    const node = this.#nodes.named(directory, name)
    if (!isDirectory(node.attributes.mode)) throw new FsError('not-directory', undefined, { operation: 'rmdir' })
    if (node.entries.size > 0) throw new FsError('not-empty', undefined, { operation: 'rmdir' })
    this.#nodes.leave(directory, name, node)
    directory.touchModify(this.#nodes.now())
    this.#nodes.unlinked(node)
  }

  rename(context: RequestContext, parent: Ino, name: Name, newParent: Ino, newName: Name, flags: number): void {
    const from = this.#writableDirectory(parent)
    const to = this.#writableDirectory(newParent)
    const exchange = (flags & RENAME_EXCHANGE) !== 0
    if (exchange && flags & (RENAME_NOREPLACE | RENAME_WHITEOUT)) throw new FsError('invalid', undefined, { operation: 'rename' })
    const node = this.#nodes.named(from, name)
    const target = this.#nodes.child(to, newName)
    if (target && flags & RENAME_NOREPLACE) throw new FsError('exists', undefined, { operation: 'rename' })
    if (!target && exchange) throw new FsError('not-found', undefined, { operation: 'rename' })
    if (this.#nodes.holds(node, to) || (exchange && target && this.#nodes.holds(target, from)))
      throw new FsError('invalid', undefined, { operation: 'rename' })
    // Two names of one file: nothing happens, as POSIX says.
    if (target === node) return
    if (target && !exchange) mayReplace(node, target)

    this.#nodes.leave(from, name, node)
    if (target) this.#nodes.leave(to, newName, target)
    this.#nodes.enter(to, newName, node)
    if (target && exchange) {
      this.#nodes.enter(from, name, target)
      target.touchChange(this.#nodes.now())
    } else if (target) this.#nodes.unlinked(target)
    if (flags & RENAME_WHITEOUT) this.#nodes.make(context, from, name, S_IFCHR)
    const now = this.#nodes.now()
    from.touchModify(now)
    to.touchModify(now)
    node.touchChange(now)
  }

  link(_context: RequestContext, ino: Ino, newParent: Ino, newName: Name): Entry {
    const directory = this.#writableDirectory(newParent)
    const node = this.#nodes.get(ino)
    if (isDirectory(node.attributes.mode)) throw new FsError('not-permitted', undefined, { operation: 'link' })
    if (node.attributes.nlink === 0 && !node.linkable) throw new FsError('not-found', undefined, { operation: 'link' })
    if (this.#nodes.child(directory, newName)) throw new FsError('exists', undefined, { operation: 'link' })
    this.#nodes.enter(directory, newName, node)
    node.attributes.nlink++
    node.linkable = false
    node.touchChange(this.#nodes.now())
    directory.touchModify(this.#nodes.now())
    return this.#nodes.refer(node)
  }

  readlink(_context: RequestContext, ino: Ino): Name {
    const node = this.#nodes.get(ino)
    if (!isSymlink(node.attributes.mode)) throw new FsError('invalid', undefined, { operation: 'readlink' })
    return node.target
  }

  // --- attributes ---

  getattr(_context: RequestContext, ino: Ino): AttributesReply {
    return { attributes: this.#nodes.get(ino).snapshot(), attributeTtlMs: 1000 }
  }

  setattr(_context: RequestContext, ino: Ino, changes: AttributeChanges): AttributesReply {
    this.#mustBeWritable('setattr')
    const node = this.#nodes.get(ino)
    const a = node.attributes
    const now = this.#nodes.now()
    if (changes.sizeBytes !== undefined) {
      if (isDirectory(a.mode)) throw new FsError('is-directory', undefined, { operation: 'truncate' })
      if (!isRegular(a.mode) || changes.sizeBytes < 0) throw new FsError('invalid', undefined, { operation: 'truncate' })
      this.#nodes.mustHold(changes.sizeBytes)
      node.bytes.truncate(changes.sizeBytes)
      node.touchModify(now)
    }
    if (changes.killPrivileges) node.killPrivileges()
    if (changes.mode !== undefined) a.mode = (a.mode & S_IFMT) | (changes.mode & 0o7777)
    if (changes.uid !== undefined) a.uid = changes.uid
    if (changes.gid !== undefined) a.gid = changes.gid
    for (const which of ['atime', 'mtime', 'btime'] as const) {
      const change = changes[which]
      if (change !== undefined) node.setTime(which, change, now)
    }
    node.touchChange(now)
    return { attributes: node.snapshot(), attributeTtlMs: 1000 }
  }

  access(_context: RequestContext, ino: Ino): void {
    this.#nodes.get(ino)
  }

  statfs(): FilesystemStatistics {
    const blocks = Math.floor(this.#nodes.capacityBytes / PAGE_BYTES)
    const free = Math.max(0, blocks - Math.ceil(this.#nodes.usedBytes / PAGE_BYTES))
    const shared = { blockSizeBytes: PAGE_BYTES, fragmentSizeBytes: PAGE_BYTES, blocks, blocksFree: free, blocksAvailable: free }
    return { ...shared, files: SLOT_SIZE, filesFree: SLOT_SIZE - this.#nodes.count, nameLengthBytes: NAME_LIMIT_BYTES }
  }

  setxattr(_context: RequestContext, ino: Ino, name: Name, value: Buffer, flags: number): void {
    this.#mustBeWritable('setxattr')
    const { xattrs } = this.#nodes.get(ino)
    if (value.length > XATTR_LIMIT_BYTES) throw new FsError('too-big', undefined, { operation: 'setxattr' })
    if (name.length > NAME_LIMIT_BYTES || name === '') throw new FsError('range', undefined, { operation: 'setxattr' })
    if (flags & XATTR_CREATE && xattrs.has(name)) throw new FsError('exists', undefined, { operation: 'setxattr' })
    if (flags & XATTR_REPLACE && !xattrs.has(name)) throw new FsError('no-attribute', undefined, { operation: 'setxattr' })
    xattrs.set(name, Buffer.from(value))
    this.#nodes.get(ino).touchChange(this.#nodes.now())
  }

  getxattr(_context: RequestContext, ino: Ino, name: Name): Buffer {
    const value = this.#nodes.get(ino).xattrs.get(name)
    if (!value) throw new FsError('no-attribute', undefined, { operation: 'getxattr' })
    return Buffer.from(value)
  }

  listxattr(_context: RequestContext, ino: Ino): Name[] {
    return [...this.#nodes.get(ino).xattrs.keys()]
  }

  removexattr(_context: RequestContext, ino: Ino, name: Name): void {
    this.#mustBeWritable('removexattr')
    const node = this.#nodes.get(ino)
    if (!node.xattrs.delete(name)) throw new FsError('no-attribute', undefined, { operation: 'removexattr' })
    node.touchChange(this.#nodes.now())
  }

  // --- open files ---

  open(_context: RequestContext, ino: Ino, flags: OpenFlags): OpenFile {
    const node = this.#nodes.get(ino)
    const writes = (flags & O_ACCMODE) !== O_RDONLY || (flags & O_TRUNC) !== 0
    if (writes) this.#mustBeWritable('open')
    if (isDirectory(node.attributes.mode)) throw new FsError('is-directory', undefined, { operation: 'open' })
    if (isSymlink(node.attributes.mode)) throw new FsError('symlink-loop', undefined, { operation: 'open' })
    if (!isRegular(node.attributes.mode)) throw new FsError('no-device', undefined, { operation: 'open' })
    if (flags & O_TRUNC && node.bytes.sizeBytes > 0) {
      node.bytes.truncate(0)
      node.touchModify(this.#nodes.now())
    }
    return new MemoryFile(this.#nodes, node, flags)
  }

  create(context: RequestContext, parent: Ino, name: Name, mode: number, flags: OpenFlags): CreatedFile<OpenFile> {
    const existing = this.#nodes.child(this.#nodes.directory(parent), name)
    if (existing) {
      if (flags & O_EXCL) throw new FsError('exists', undefined, { operation: 'create' })
      const file = this.open(context, existing.attributes.ino, flags)
      return { entry: this.#nodes.refer(existing), file }
    }
    const node = this.#nodes.make(context, this.#writableDirectory(parent), name, S_IFREG | (mode & 0o7777 & ~context.umask))
    return { entry: this.#nodes.refer(node), file: new MemoryFile(this.#nodes, node, flags) }
  }

  tmpfile(context: RequestContext, parent: Ino, mode: number, flags: OpenFlags): CreatedFile<OpenFile> {
    const directory = this.#writableDirectory(parent)
    const node = this.#nodes.add(S_IFREG | (mode & 0o7777 & ~context.umask), context.uid, inheritedGroup(directory, context))
    node.linkable = (flags & O_EXCL) === 0
    return { entry: this.#nodes.refer(node), file: new MemoryFile(this.#nodes, node, flags) }
  }

  opendir(_context: RequestContext, ino: Ino): OpenDirectory {
    return new MemoryDirectory(this.#nodes, this.#nodes.directory(ino))
  }

  ioctl(): Buffer {
    throw new FsError('not-tty', undefined, { operation: 'ioctl' })
  }

  syncfs(): void {}

  status(): VolumeStatus {
    return { state: 'online', unreadable: [] }
  }

  idle(): void {}

  async close(): Promise<void> {
    this.#nodes.clear()
  }
  // --- inside ---

  #writableDirectory(ino: Ino): MemoryNode {
    this.#mustBeWritable('change')
    const node = this.#nodes.directory(ino)
    if (node.attributes.nlink === 0) throw new FsError('not-found')
    return node
  }

  #mustBeWritable(operation: string): void {
    if (this.traits.readOnly) throw new FsError('read-only', undefined, { operation })
  }
}

function mayReplace(node: MemoryNode, target: MemoryNode): void {
  const directory = isDirectory(node.attributes.mode)
  if (directory && !isDirectory(target.attributes.mode)) throw new FsError('not-directory', undefined, { operation: 'rename' })
  if (!directory && isDirectory(target.attributes.mode)) throw new FsError('is-directory', undefined, { operation: 'rename' })
  if (target.entries.size > 0) throw new FsError('not-empty', undefined, { operation: 'rename' })
}

function systemTime(): Timestamp {
  const nanoseconds = BigInt(Math.round(performance.timeOrigin * 1000)) * 1000n + BigInt(Math.round(performance.now() * 1e6))
  return { sec: Number(nanoseconds / 1_000_000_000n), nsec: Number(nanoseconds % 1_000_000_000n) }
}
