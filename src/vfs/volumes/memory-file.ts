/**
 * An open file and an open directory of the memory volume.
 *
 * Owns: positions of directory readers. Must stay true: a released file is not used again; each counts once in its
 * node's `openCount`.
 */
import { FsError } from '../../errors.ts'
import {
  FALLOC_COLLAPSE_RANGE,
  FALLOC_INSERT_RANGE,
  FALLOC_KEEP_SIZE,
  FALLOC_PUNCH_HOLE,
  FALLOC_ZERO_RANGE,
  O_ACCMODE,
  O_APPEND,
  O_RDONLY,
  O_WRONLY,
} from '../../sys/flags.ts'
import type { DirectorySink, Ino, Name, OpenDirectory, OpenFile, RequestContext, WriteOptions } from '../contract.ts'
import type { MemoryEntry, MemoryNode } from './memory-node.ts'
import { FIRST_COOKIE, type MemoryNodes } from './memory-nodes.ts'
import { PAGE_BYTES } from './sparse-bytes.ts'

export class MemoryFile implements OpenFile {
  readonly ino: Ino
  readonly keepCache = true
  readonly directIo = false
  readonly noFlush = true
  readonly #nodes: MemoryNodes
  readonly #node: MemoryNode
  readonly #flags: number

  constructor(nodes: MemoryNodes, node: MemoryNode, flags: number) {
    this.#nodes = nodes
    this.#node = node
    this.#flags = flags
    this.ino = node.attributes.ino
    node.openCount++
  }

  read(_context: RequestContext, position: number, into: Buffer): number {
    if ((this.#flags & O_ACCMODE) === O_WRONLY) throw new FsError('bad-handle', undefined, { operation: 'read' })
    this.#nodes.accessed(this.#node)
    return this.#node.bytes.read(position, into)
  }

  write(_context: RequestContext, position: number, data: Buffer, options: WriteOptions): number {
    this.#mustWrite('write')
    const { bytes } = this.#node
    const at = options.append || this.#flags & O_APPEND ? bytes.sizeBytes : position
    const length = this.#nodes.roomFor(this.#node, at, data.length)
    bytes.write(at, length < data.length ? data.subarray(0, length) : data)
    if (options.killPrivileges) this.#node.killPrivileges()
    this.#node.touchModify(this.#nodes.now())
    return length
  }

  flush(): void {}

  fsync(): void {}

  fallocate(_context: RequestContext, mode: number, offset: number, lengthBytes: number): void {
    this.#mustWrite('fallocate')
    if (offset < 0 || lengthBytes <= 0) throw new FsError('invalid', undefined, { operation: 'fallocate' })
    const { bytes } = this.#node
    const end = offset + lengthBytes
    this.#nodes.mustHold(end)
    const aligned = offset % PAGE_BYTES === 0 && lengthBytes % PAGE_BYTES === 0
    const grow = () => {
      if (!(mode & FALLOC_KEEP_SIZE) && end > bytes.sizeBytes) bytes.truncate(end)
    }
    switch (mode & ~FALLOC_KEEP_SIZE) {
      case 0:
        if (this.#nodes.roomFor(this.#node, offset, lengthBytes) < lengthBytes) throw new FsError('no-space')
        grow()
        bytes.allocate(offset, Math.max(0, Math.min(end, bytes.sizeBytes) - offset))
        break
      case FALLOC_PUNCH_HOLE:
        if (!(mode & FALLOC_KEEP_SIZE)) throw new FsError('not-supported', undefined, { operation: 'fallocate' })
        bytes.punch(offset, lengthBytes)
        break
      case FALLOC_ZERO_RANGE:
        bytes.punch(offset, lengthBytes)
        grow()
        break
      case FALLOC_COLLAPSE_RANGE:
        if (!aligned || end >= bytes.sizeBytes) throw new FsError('invalid', undefined, { operation: 'fallocate' })
        bytes.shift(offset, -lengthBytes)
        break
      case FALLOC_INSERT_RANGE:
        if (!aligned || offset >= bytes.sizeBytes) throw new FsError('invalid', undefined, { operation: 'fallocate' })
        this.#nodes.mustHold(bytes.sizeBytes + lengthBytes)
        bytes.shift(offset, lengthBytes)
        break
      default:
        throw new FsError('not-supported', undefined, { operation: 'fallocate' })
    }
    this.#node.touchModify(this.#nodes.now())
  }

  seek(_context: RequestContext, offset: number, whence: number): number {
    const found = this.#node.bytes.seek(offset, whence)
    if (found === undefined) throw new FsError('no-device', undefined, { operation: 'lseek' })
    return found
  }

  copyRange(context: RequestContext, offset: number, target: OpenFile, targetOffset: number, lengthBytes: number): number {
    if (!(target instanceof MemoryFile) || target.#nodes !== this.#nodes) throw new FsError('cross-volume')
    const part = Buffer.alloc(Math.min(lengthBytes, 1 << 20))
    const length = this.read(context, offset, part)
    return length === 0 ? 0 : target.write(context, targetOffset, part.subarray(0, length), {})
  }

  release(): void {
    this.#node.openCount--
    this.#nodes.collect(this.#node)
  }

  #mustWrite(operation: string): void {
    if ((this.#flags & O_ACCMODE) === O_RDONLY) throw new FsError('bad-handle', undefined, { operation })
  }
}

/** Cookies of "." and ".."; those of entries are larger. */
const DOT_COOKIE = 1n
const DOT_DOT_COOKIE = 2n

export class MemoryDirectory implements OpenDirectory {
  readonly ino: Ino
  readonly keepCache = false
  readonly #nodes: MemoryNodes
  readonly #node: MemoryNode
  // Maps iterate in order of insertion and bear changes meanwhile: the iterator is kept from read to read.
  #rest: Iterator<[Name, MemoryEntry]> | undefined
  #pending: [Name, MemoryEntry] | undefined
  #at = -1n

  constructor(nodes: MemoryNodes, node: MemoryNode) {
    this.#nodes = nodes
    this.#node = node
    this.ino = node.attributes.ino
    node.openCount++
  }

  read(_context: RequestContext, offset: bigint, withAttributes: boolean, sink: DirectorySink): void {
    this.#nodes.accessed(this.#node)
    const add = (name: Name, ino: Ino, cookie: bigint): boolean => {
      const node = this.#nodes.find(ino)
      if (!node) return true
      const dots = cookie < FIRST_COOKIE
      const taken = sink.add(name, ino, node.attributes.mode & 0o170000, cookie, withAttributes ? this.#nodes.entryOf(node) : undefined)
      if (taken && withAttributes && !dots) node.references++
      return taken
    }
    if (offset < DOT_COOKIE && !add('.', this.ino, DOT_COOKIE)) return
    if (offset < DOT_DOT_COOKIE && !add('..', this.#node.parent, DOT_DOT_COOKIE)) return
    if (offset !== this.#at || !this.#rest) {
      this.#rest = this.#node.entries.entries()
      this.#pending = undefined
    }
    for (let entry = this.#pending ?? this.#next(); entry; entry = this.#next()) {
      const [name, { ino, cookie }] = entry
      if (cookie <= offset || this.#node.entries.get(name)?.cookie !== cookie) continue
      if (!add(name, ino, cookie)) {
        this.#pending = entry
        return
      }
      this.#at = cookie
    }
    this.#pending = undefined
    this.#rest = undefined
  }

  fsync(): void {}

  release(): void {
    this.#node.openCount--
    this.#nodes.collect(this.#node)
  }

  #next(): [Name, MemoryEntry] | undefined {
    const { value, done } = this.#rest!.next()
    return done ? undefined : value
  }
}
