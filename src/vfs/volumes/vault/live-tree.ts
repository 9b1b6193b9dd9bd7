/**
 * The tree of a vault as it is now: what POSIX says of names, links and attributes.
 *
 * Owns: the operations on living nodes; past-tree.ts has those of snapshots, vault.ts tells them apart. Must stay true: each
 * operation checks all that can be wrong before it changes anything. Permissions are checked by the front end's kernel, as for
 * every volume that isn't a location.
 */
import { FsError } from '../../../errors.ts'
import { O_ACCMODE, O_EXCL, O_RDONLY, O_TRUNC, XATTR_CREATE, XATTR_REPLACE } from '../../../sys/flags.ts'
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
} from '../../contract.ts'
import type { VaultNode } from './nodes/node-record.ts'
import { inheritedGroup, NAME_LIMIT_BYTES } from './nodes/node-table.ts'
import type { VaultParts } from './parts.ts'
import { LARGEST_FILE_BYTES, VaultDirectory, VaultFile } from './vault-file.ts'

const TARGET_LIMIT_BYTES = 4095
const XATTR_LIMIT_BYTES = 65_536
const BLOCK_BYTES = 4096
const TTL_MS = 60_000

export class LiveTree {
  readonly #parts: VaultParts
  readonly #slot: number

  constructor(parts: VaultParts, slot: number) {
    this.#parts = parts
    this.#slot = slot
  }

  // --- names ---

  lookup(_context: RequestContext, parent: Ino, name: Name): Entry | undefined {
    const { nodes } = this.#parts
    const node = nodes.child(nodes.directory(parent), name)
    return node && nodes.refer(node)
  }

  forget(ino: Ino, count: number): void {
    this.#parts.nodes.forget(ino - this.#slot * SLOT_SIZE, count)
  }

  symlink(context: RequestContext, parent: Ino, name: Name, target: Name): Entry {
    if (target === '') throw new FsError('not-found', undefined, { operation: 'symlink' })
    if (target.length > TARGET_LIMIT_BYTES) throw new FsError('name-too-long', undefined, { operation: 'symlink' })
    const node = this.#parts.nodes.make(context, this.#writableDirectory(parent), name, S_IFLNK | 0o777)
    node.target = target
    return this.#made(node)
  }

  mknod(context: RequestContext, parent: Ino, name: Name, mode: number, rdev: number): Entry {
    const type = mode & S_IFMT || S_IFREG
    const node = this.#parts.nodes.make(context, this.#writableDirectory(parent), name, (type | (mode & 0o7777)) & ~context.umask)
    node.attributes.rdev = rdev
    return this.#made(node)
  }

  mkdir(context: RequestContext, parent: Ino, name: Name, mode: number): Entry {
    return this.#made(this.#parts.nodes.make(context, this.#writableDirectory(parent), name, S_IFDIR | (mode & 0o7777 & ~context.umask)))
  }

  unlink(_context: RequestContext, parent: Ino, name: Name): void {
    const { nodes, commits } = this.#parts
    const directory = this.#writableDirectory(parent)
    const node = nodes.named(directory, name)
    if (isDirectory(node.attributes.mode)) throw new FsError('is-directory', undefined, { operation: 'unlink' })
    nodes.leave(directory, name, node)
    nodes.modified(directory)
    nodes.unlinked(node)
    commits.settle()
  }

  rmdir(_context: RequestContext, parent: Ino, name: Name): void {
    const { nodes, commits } = this.#parts
    const directory = this.#writableDirectory(parent)
    const node = nodes.named(directory, name)
    if (!isDirectory(node.attributes.mode)) throw new FsError('not-directory', undefined, { operation: 'rmdir' })
    if (!nodes.isEmpty(node)) throw new FsError('not-empty', undefined, { operation: 'rmdir' })
    nodes.leave(directory, name, node)
    nodes.modified(directory)
    nodes.unlinked(node)
    commits.settle()
  }

  rename(context: RequestContext, parent: Ino, name: Name, newParent: Ino, newName: Name, flags: number): void {
    const { nodes, commits } = this.#parts
    const from = this.#writableDirectory(parent)
    const to = this.#writableDirectory(newParent)
    const exchange = (flags & RENAME_EXCHANGE) !== 0
    if (exchange && flags & (RENAME_NOREPLACE | RENAME_WHITEOUT)) throw new FsError('invalid', undefined, { operation: 'rename' })
    const node = nodes.named(from, name)
    const target = nodes.child(to, newName)
    if (target && flags & RENAME_NOREPLACE) throw new FsError('exists', undefined, { operation: 'rename' })
    if (!target && exchange) throw new FsError('not-found', undefined, { operation: 'rename' })
    if (nodes.holds(node, to) || (exchange && target && nodes.holds(target, from)))
      throw new FsError('invalid', undefined, { operation: 'rename' })
    // Two names of one file: nothing happens, as POSIX says.
    if (target === node) return
    if (target && !exchange) this.#mayReplace(node, target)

    nodes.leave(from, name, node)
    if (target) nodes.leave(to, newName, target)
    nodes.enter(to, newName, node)
    if (target && exchange) {
      nodes.enter(from, name, target)
      nodes.changeTime(target)
    } else if (target) nodes.unlinked(target)
    if (flags & RENAME_WHITEOUT) nodes.make(context, from, name, S_IFCHR)
    nodes.modified(from)
    nodes.modified(to)
    nodes.changeTime(node)
    commits.settle()
  }

  link(_context: RequestContext, ino: Ino, newParent: Ino, newName: Name): Entry {
    const { nodes } = this.#parts
    const directory = this.#writableDirectory(newParent)
    const node = nodes.get(ino)
    if (isDirectory(node.attributes.mode)) throw new FsError('not-permitted', undefined, { operation: 'link' })
    if (node.attributes.nlink === 0 && !node.linkable) throw new FsError('not-found', undefined, { operation: 'link' })
    if (nodes.child(directory, newName)) throw new FsError('exists', undefined, { operation: 'link' })
    nodes.enter(directory, newName, node)
    node.attributes.nlink++
    node.linkable = false
    nodes.changeTime(node)
    nodes.modified(directory)
    return this.#made(node)
  }

  readlink(_context: RequestContext, ino: Ino): Name {
    const node = this.#parts.nodes.get(ino)
    if (!isSymlink(node.attributes.mode)) throw new FsError('invalid', undefined, { operation: 'readlink' })
    return node.target
  }

  // --- attributes ---

  getattr(_context: RequestContext, ino: Ino): AttributesReply {
    return this.#attributes(this.#parts.nodes.get(ino))
  }

  setattr(_context: RequestContext, ino: Ino, changes: AttributeChanges): AttributesReply {
    this.#mustBeWritable('setattr')
    const { nodes, contents, commits } = this.#parts
    const node = nodes.get(ino)
    const a = node.attributes
    if (changes.sizeBytes !== undefined) {
      if (isDirectory(a.mode)) throw new FsError('is-directory', undefined, { operation: 'truncate' })
      if (!isRegular(a.mode) || changes.sizeBytes < 0) throw new FsError('invalid', undefined, { operation: 'truncate' })
      if (changes.sizeBytes > LARGEST_FILE_BYTES) throw new FsError('file-too-large')
      if (changes.sizeBytes < a.sizeBytes) contents.truncate(node, changes.sizeBytes)
      a.sizeBytes = changes.sizeBytes
      nodes.modified(node)
    }
    if (changes.killPrivileges) nodes.killPrivileges(node)
    if (changes.mode !== undefined) a.mode = (a.mode & S_IFMT) | (changes.mode & 0o7777)
    if (changes.uid !== undefined) a.uid = changes.uid
    if (changes.gid !== undefined) a.gid = changes.gid
    for (const which of ['atime', 'mtime', 'btime'] as const) {
      const change = changes[which]
      if (change !== undefined) nodes.setTime(node, which, change)
    }
    nodes.changeTime(node)
    commits.settle()
    return this.#attributes(node)
  }

  access(_context: RequestContext, ino: Ino): void {
    this.#parts.nodes.get(ino)
  }

  statfs(): FilesystemStatistics {
    const { totalBytes, freeBytes, availableBytes } = this.#parts.store.space()
    const [blocks, blocksFree, blocksAvailable] = [totalBytes, freeBytes, availableBytes].map(bytes => Math.floor(bytes / BLOCK_BYTES)) as [
      number,
      number,
      number,
    ]
    const used = this.#parts.index.last.node
    const shared = { blockSizeBytes: BLOCK_BYTES, fragmentSizeBytes: BLOCK_BYTES, blocks, blocksFree, blocksAvailable }
    return { ...shared, files: 2 ** 32, filesFree: Math.max(0, 2 ** 32 - used), nameLengthBytes: NAME_LIMIT_BYTES }
  }

  setxattr(_context: RequestContext, ino: Ino, name: Name, value: Buffer, flags: number): void {
    this.#mustBeWritable('setxattr')
    const { nodes, index, recorder, commits } = this.#parts
    const node = nodes.get(ino)
    if (value.length > XATTR_LIMIT_BYTES) throw new FsError('too-big', undefined, { operation: 'setxattr' })
    if (name.length > NAME_LIMIT_BYTES || name === '') throw new FsError('range', undefined, { operation: 'setxattr' })
    mustNotBeAcl(name, 'setxattr')
    const known = flags & (XATTR_CREATE | XATTR_REPLACE) ? index.xattrOf(node.id, name) : undefined
    if (flags & XATTR_CREATE && known) throw new FsError('exists', undefined, { operation: 'setxattr' })
    if (flags & XATTR_REPLACE && !known) throw new FsError('no-attribute', undefined, { operation: 'setxattr' })
    recorder.xattr(node.id, name, value)
    nodes.changeTime(node)
    commits.settle()
  }

  getxattr(_context: RequestContext, ino: Ino, name: Name): Buffer {
    mustNotBeAcl(name, 'getxattr')
    const value = this.#parts.index.xattrOf(this.#parts.nodes.get(ino).id, name)
    if (!value) throw new FsError('no-attribute', undefined, { operation: 'getxattr' })
    return value
  }

  listxattr(_context: RequestContext, ino: Ino): Name[] {
    return this.#parts.index.xattrs(this.#parts.nodes.get(ino).id)
  }

  removexattr(_context: RequestContext, ino: Ino, name: Name): void {
    this.#mustBeWritable('removexattr')
    const { nodes, index, recorder, commits } = this.#parts
    const node = nodes.get(ino)
    if (!index.xattrOf(node.id, name)) throw new FsError('no-attribute', undefined, { operation: 'removexattr' })
    recorder.xattrGone(node.id, name)
    nodes.changeTime(node)
    commits.settle()
  }

  // --- open files ---

  open(_context: RequestContext, ino: Ino, flags: OpenFlags): OpenFile {
    const { nodes, contents } = this.#parts
    const node = nodes.get(ino)
    const writes = (flags & O_ACCMODE) !== O_RDONLY || (flags & O_TRUNC) !== 0
    if (writes) this.#mustBeWritable('open')
    if (isDirectory(node.attributes.mode)) throw new FsError('is-directory', undefined, { operation: 'open' })
    if (isSymlink(node.attributes.mode)) throw new FsError('symlink-loop', undefined, { operation: 'open' })
    if (!isRegular(node.attributes.mode)) throw new FsError('no-device', undefined, { operation: 'open' })
    if (flags & O_TRUNC) {
      if (node.attributes.sizeBytes > 0) contents.truncate(node, 0)
      node.attributes.sizeBytes = 0
      // Of an empty file too: the kernel leaves the times of an O_TRUNC to the filesystem.
      nodes.modified(node)
    }
    return new VaultFile(this.#parts, node, flags)
  }

  create(context: RequestContext, parent: Ino, name: Name, mode: number, flags: OpenFlags): CreatedFile<OpenFile> {
    const { nodes } = this.#parts
    const existing = nodes.child(nodes.directory(parent), name)
    if (existing) {
      if (flags & O_EXCL) throw new FsError('exists', undefined, { operation: 'create' })
      const file = this.open(context, nodes.ino(existing.id), flags)
      return { entry: nodes.refer(existing), file }
    }
    const node = nodes.make(context, this.#writableDirectory(parent), name, S_IFREG | (mode & 0o7777 & ~context.umask))
    return { entry: this.#made(node), file: new VaultFile(this.#parts, node, flags) }
  }

  tmpfile(context: RequestContext, parent: Ino, mode: number, flags: OpenFlags): CreatedFile<OpenFile> {
    const directory = this.#writableDirectory(parent)
    const node = this.#parts.nodes.add(S_IFREG | (mode & 0o7777 & ~context.umask), context.uid, inheritedGroup(directory, context))
    node.linkable = (flags & O_EXCL) === 0
    return { entry: this.#made(node), file: new VaultFile(this.#parts, node, flags) }
  }

  opendir(_context: RequestContext, ino: Ino): OpenDirectory {
    return new VaultDirectory(this.#parts, this.#parts.nodes.directory(ino))
  }

  syncfs(): void {
    if (!this.#parts.readOnly) this.#parts.commits.commit('short')
  }

  // --- inside ---

  #made(node: VaultNode): Entry {
    const entry = this.#parts.nodes.refer(node)
    this.#parts.commits.settle()
    return entry
  }

  #attributes(node: VaultNode): AttributesReply {
    return { attributes: this.#parts.nodes.entryOf(node).attributes, attributeTtlMs: TTL_MS }
  }

  #mayReplace(node: VaultNode, target: VaultNode): void {
    const directory = isDirectory(node.attributes.mode)
    if (directory && !isDirectory(target.attributes.mode)) throw new FsError('not-directory', undefined, { operation: 'rename' })
    if (!directory && isDirectory(target.attributes.mode)) throw new FsError('is-directory', undefined, { operation: 'rename' })
    if (directory && !this.#parts.nodes.isEmpty(target)) throw new FsError('not-empty', undefined, { operation: 'rename' })
  }

  #writableDirectory(ino: Ino): VaultNode {
    this.#mustBeWritable('change')
    const node = this.#parts.nodes.directory(ino)
    if (node.attributes.nlink === 0) throw new FsError('not-found')
    return node
  }

  #mustBeWritable(operation: string): void {
    if (this.#parts.readOnly) throw new FsError('read-only', undefined, { operation })
    this.#parts.commits.mustWork()
  }
}

/** An ACL kept as a plain attribute would be shown and never enforced. */
function mustNotBeAcl(name: Name, operation: string): void {
  if (name.startsWith('system.posix_acl_')) throw new FsError('not-supported', undefined, { operation })
}
