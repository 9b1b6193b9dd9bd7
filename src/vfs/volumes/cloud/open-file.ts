/**
 * An open file of a cloud volume: one handle on a node.
 *
 * Owns: nothing but its own reader; the node (open-node.ts) has the content, the writer (writer.ts) what becomes of it. Must stay
 * true: a read sees every write before it; what `flush` answered is queued and survives the process, what `fsync` answered survives
 * power loss.
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
import type { Answer, Ino, OpenFile, RequestContext, WriteOptions } from '../../contract.ts'
import type { FollowingReader, OpenNode } from './open-node.ts'
import type { Writer } from './writer.ts'

/** As large as the largest object of S3 is far from: positions stay exact. */
const LARGEST_FILE_BYTES = 2 ** 50
const COPY_BYTES = 1 << 20

export class CloudFile implements OpenFile {
  readonly ino: Ino
  readonly keepCache: boolean
  readonly directIo = false
  readonly noFlush: boolean
  readonly node: OpenNode
  readonly #writer: Writer
  readonly #flags: number
  readonly #reader: FollowingReader

  constructor(node: OpenNode, writer: Writer, flags: number, keepCache: boolean) {
    this.node = node
    this.ino = node.ino
    this.keepCache = keepCache
    this.#writer = writer
    this.#flags = flags
    this.noFlush = (flags & O_ACCMODE) === O_RDONLY
    this.#reader = node.reader()
    node.handles++
  }

  read(context: RequestContext, position: number, into: Buffer): number | Promise<Buffer> {
    if ((this.#flags & O_ACCMODE) === O_WRONLY) throw new FsError('bad-handle', undefined, { operation: 'read' })
    return this.node.read(position, into, () => context.signal, this.#reader)
  }

  write(context: RequestContext, position: number, data: Buffer, options: WriteOptions): Answer<number> {
    this.#mustWrite('write')
    const { node } = this
    const at = options.append || this.#flags & O_APPEND ? node.sizeBytes : position
    if (at + data.length > LARGEST_FILE_BYTES) throw new FsError('file-too-large', undefined, { operation: 'write' })
    const length = data.length
    const written = this.#writer.write(node, at, data, () => context.signal)
    if (!written) {
      this.#writer.contentChanged(node, options.killPrivileges ?? false)
      return length
    }
    return written.then(() => {
      this.#writer.contentChanged(node, options.killPrivileges ?? false)
      return length
    })
  }

  flush(context: RequestContext): Answer<void> {
    if (this.noFlush) return
    return this.#writer.flush(this.node, () => context.signal)
  }

  fsync(context: RequestContext): Answer<void> {
    return this.#writer.fsync(this.node, () => context.signal)
  }

  fallocate(context: RequestContext, mode: number, offset: number, lengthBytes: number): Answer<void> {
    this.#mustWrite('fallocate')
    const end = offset + lengthBytes
    if (offset < 0 || lengthBytes <= 0) throw new FsError('invalid', undefined, { operation: 'fallocate' })
    if (end > LARGEST_FILE_BYTES) throw new FsError('file-too-large', undefined, { operation: 'fallocate' })
    const { node } = this
    const kind = mode & ~FALLOC_KEEP_SIZE
    const punches = kind === FALLOC_PUNCH_HOLE && (mode & FALLOC_KEEP_SIZE) !== 0
    if (kind !== 0 && kind !== FALLOC_ZERO_RANGE && !punches) throw new FsError('not-supported', undefined, { operation: 'fallocate' })
    this.#writer.willWrite(node)
    const staged = node.forWriting()
    const finish = () => {
      if (!(mode & FALLOC_KEEP_SIZE) && end > staged.sizeBytes) staged.truncate(end)
      this.#writer.contentChanged(node, false)
    }
    const zeroed = kind === 0 ? undefined : staged.zero(offset, lengthBytes, () => context.signal)
    return zeroed ? this.#writer.changing(node, zeroed.then(finish)) : finish()
  }

  seek(_context: RequestContext, offset: number, whence: number): number {
    const { staged, sizeBytes } = this.node
    if (staged) return staged.seek(offset, whence)
    if (offset >= sizeBytes) throw new FsError('no-device', undefined, { operation: 'lseek' })
    return whence === SEEK_DATA ? offset : sizeBytes
  }

  copyRange(context: RequestContext, offset: number, target: OpenFile, targetOffset: number, lengthBytes: number): Answer<number> {
    if (!(target instanceof CloudFile)) throw new FsError('cross-volume', undefined, { operation: 'copy_file_range' })
    const wanted = Math.max(0, Math.min(lengthBytes, COPY_BYTES, this.node.sizeBytes - offset))
    if (wanted === 0) return 0
    const into = Buffer.allocUnsafe(wanted)
    const answer = this.read(context, offset, into)
    if (typeof answer === 'number') return target.write(context, targetOffset, into.subarray(0, answer), {})
    return answer.then(bytes => target.write(context, targetOffset, bytes, {}))
  }

  release(): Answer<void> {
    this.#reader.close()
    return this.#writer.released(this.node)
  }

  #mustWrite(operation: string): void {
    if ((this.#flags & O_ACCMODE) === O_RDONLY) throw new FsError('bad-handle', undefined, { operation })
  }
}
