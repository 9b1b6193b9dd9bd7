/**
 * An open file and an open directory of a vault.
 *
 * Owns: positions of directory readers. Must stay true: a released file is not used again; each counts once in its node's
 * `openCount`.
 */
import { FsError } from '../../../errors.ts'
import {
  FALLOC_KEEP_SIZE,
  FALLOC_PUNCH_HOLE,
  FALLOC_ZERO_RANGE,
  O_ACCMODE,
  O_APPEND,
  O_RDONLY,
  O_WRONLY,
  SEEK_DATA,
} from '../../../sys/flags.ts'
import type { DirectorySink, Ino, Name, OpenDirectory, OpenFile, RequestContext, WriteOptions } from '../../contract.ts'
import { FAR } from './index/extents.ts'
import type { VaultNode } from './nodes/node-record.ts'
import type { VaultParts } from './parts.ts'

/** As large as a file of ext4 with the largest blocks, and far below 2^53. */
export const LARGEST_FILE_BYTES = 2 ** 50

export class VaultFile implements OpenFile {
  readonly ino: Ino
  readonly keepCache = true
  readonly directIo = false
  readonly noFlush = true
  readonly #parts: VaultParts
  readonly #node: VaultNode
  readonly #flags: number

  constructor(parts: VaultParts, node: VaultNode, flags: number) {
    this.#parts = parts
    this.#node = node
    this.#flags = flags
    this.ino = parts.nodes.ino(node.id)
    node.openCount++
  }

  read(_context: RequestContext, position: number, into: Buffer): number {
    if ((this.#flags & O_ACCMODE) === O_WRONLY) throw new FsError('bad-handle', undefined, { operation: 'read' })
    if (!this.#parts.readOnly) this.#parts.nodes.accessed(this.#node)
    return this.#parts.contents.read(this.#node, position, into)
  }

  write(_context: RequestContext, position: number, data: Buffer, options: WriteOptions): number {
    this.#mustWrite('write')
    const { attributes } = this.#node
    const at = options.append || this.#flags & O_APPEND ? attributes.sizeBytes : position
    if (at + data.length > LARGEST_FILE_BYTES) throw new FsError('file-too-large')
    if (data.length === 0) return 0
    this.#parts.room.take(data.length)
    const end = at + data.length
    if (end > attributes.sizeBytes) attributes.sizeBytes = end
    if (options.killPrivileges) this.#parts.nodes.killPrivileges(this.#node)
    this.#parts.nodes.modified(this.#node)
    this.#parts.contents.write(this.#node, at, data)
    this.#parts.commits.settle()
    return data.length
  }

  flush(): void {}

  fsync(): void {
    if (!this.#parts.readOnly) this.#parts.commits.commit('short')
  }

  fallocate(_context: RequestContext, mode: number, offset: number, lengthBytes: number): void {
    this.#mustWrite('fallocate')
    if (offset < 0 || lengthBytes <= 0) throw new FsError('invalid', undefined, { operation: 'fallocate' })
    const end = offset + lengthBytes
    if (end > LARGEST_FILE_BYTES) throw new FsError('file-too-large')
    const { attributes } = this.#node
    switch (mode & ~FALLOC_KEEP_SIZE) {
      case 0:
        this.#parts.room.mustHave(lengthBytes)
        break
      case FALLOC_PUNCH_HOLE:
        if (!(mode & FALLOC_KEEP_SIZE)) throw new FsError('not-supported', undefined, { operation: 'fallocate' })
        this.#parts.contents.hole(this.#node, offset, end)
        break
      case FALLOC_ZERO_RANGE:
        this.#parts.contents.hole(this.#node, offset, end)
        break
      default:
        throw new FsError('not-supported', undefined, { operation: 'fallocate' })
    }
    if (!(mode & (FALLOC_KEEP_SIZE | FALLOC_PUNCH_HOLE)) && end > attributes.sizeBytes) attributes.sizeBytes = end
    this.#parts.nodes.modified(this.#node)
    this.#parts.commits.settle()
  }

  seek(_context: RequestContext, offset: number, whence: number): number {
    const size = this.#node.attributes.sizeBytes
    if (offset < 0 || offset >= size) throw new FsError('no-device', undefined, { operation: 'lseek' })
    if (!this.#parts.readOnly) this.#parts.contents.flush(this.#node, 'chunk')
    let hole = offset
    for (let from = offset; ; ) {
      const extents = this.#parts.extents.find(this.#node.id, from, FAR, 1000)
      for (const { position, length } of extents) {
        if (whence === SEEK_DATA) return Math.max(offset, position)
        if (position > hole) return hole
        hole = position + length
      }
      if (extents.length < 1000) break
      from = hole
    }
    if (whence === SEEK_DATA) throw new FsError('no-device', undefined, { operation: 'lseek' })
    return Math.min(hole, size)
  }

  copyRange(_context: RequestContext, offset: number, target: OpenFile, targetOffset: number, lengthBytes: number): number {
    if (!(target instanceof VaultFile) || target.#parts !== this.#parts) throw new FsError('cross-volume')
    target.#mustWrite('copy_file_range')
    const length = Math.min(lengthBytes, this.#node.attributes.sizeBytes - offset)
    if (length <= 0) return 0
    if (targetOffset + length > LARGEST_FILE_BYTES) throw new FsError('file-too-large')
    if (target.#node === this.#node && targetOffset < offset + length && offset < targetOffset + length)
      throw new FsError('invalid', undefined, { operation: 'copy_file_range' })
    const { contents, nodes, extents, commits } = this.#parts
    contents.flush(this.#node, 'none')
    contents.flush(target.#node, 'none')
    contents.refer(target.#node, targetOffset, length, extents.find(this.#node.id, offset, offset + length), offset)
    const { attributes } = target.#node
    attributes.sizeBytes = Math.max(attributes.sizeBytes, targetOffset + length)
    nodes.modified(target.#node)
    commits.settle()
    return length
  }

  release(): void {
    if (--this.#node.openCount > 0) return
    this.#parts.contents.released(this.#node)
    this.#parts.nodes.collect(this.#node)
  }

  #mustWrite(operation: string): void {
    if (this.#parts.readOnly) throw new FsError('read-only', undefined, { operation })
    if ((this.#flags & O_ACCMODE) === O_RDONLY) throw new FsError('bad-handle', undefined, { operation })
    this.#parts.commits.mustWork()
  }
}

/** Offsets of "." and ".." in a listing; that of an entry is its cookie and these. */
const DOTS = 2
const ROWS_AT_ONCE = 256

export class VaultDirectory implements OpenDirectory {
  readonly ino: Ino
  readonly keepCache = false
  readonly #parts: VaultParts
  readonly #node: VaultNode

  constructor(parts: VaultParts, node: VaultNode) {
    this.#parts = parts
    this.#node = node
    this.ino = parts.nodes.ino(node.id)
    node.openCount++
  }

  read(_context: RequestContext, offset: bigint, withAttributes: boolean, sink: DirectorySink): void {
    const { nodes, index } = this.#parts
    if (!this.#parts.readOnly) nodes.accessed(this.#node)
    const add = (name: Name, id: number, next: number): boolean => {
      const node = nodes.find(id)
      if (!node) return true
      const entry = withAttributes ? nodes.entryOf(node) : undefined
      if (!sink.add(name, nodes.ino(id), node.attributes.mode & 0o170000, BigInt(next), entry)) return false
      if (entry && next > DOTS) nodes.refer(node)
      return true
    }
    if (offset < 1n && !add('.', this.#node.id, 1)) return
    if (offset < 2n && !add('..', this.#node.parent, 2)) return
    for (let after = Math.max(0, Number(offset) - DOTS); ; ) {
      const rows = index.entries(this.#node.id, after, ROWS_AT_ONCE)
      for (const { name, node, cookie } of rows) if (!add(name, node, cookie + DOTS)) return
      if (rows.length < ROWS_AT_ONCE) return
      after = rows.at(-1)!.cookie
    }
  }

  fsync(): void {
    if (!this.#parts.readOnly) this.#parts.commits.commit('short')
  }

  release(): void {
    this.#node.openCount--
    this.#parts.nodes.collect(this.#node)
  }
}
