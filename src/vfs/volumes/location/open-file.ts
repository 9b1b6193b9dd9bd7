/**
 * An open file of a location: the host's descriptor, used in place.
 *
 * Owns: the descriptor. Must stay true: it is open without O_APPEND, O_SYNC and O_DIRECT, whatever the program asked for:
 * the kernel turns those into appends, fsyncs and uncached requests of its own, and pages written back through mmap come
 * with whichever descriptor is at hand; `release` closes it once.
 */
import { FsError } from '../../../errors.ts'
import { errnoError } from '../../../sys/errno.ts'
import { O_ACCMODE, O_RDONLY } from '../../../sys/flags.ts'
import type { StatxBuffer } from '../../../sys/linux.ts'
import { type Answer, type OpenFile, type RequestContext, S_IFMT, S_IFREG, type WriteOptions } from '../../contract.ts'
import { type Core, closeGone } from './core.ts'
import type { LocationNode } from './node.ts'

export class LocationFile implements OpenFile {
  readonly node: LocationNode
  readonly fd: number
  readonly keepCache: boolean
  readonly directIo = false
  readonly noFlush = true
  readonly writable: boolean
  readonly #core: Core
  readonly #isRegular: boolean
  #seen = ''

  /** `core.stat` must be of this descriptor. */
  constructor(core: Core, node: LocationNode, fd: number, flags: number) {
    this.#core = core
    this.node = node
    this.fd = fd
    this.writable = (flags & O_ACCMODE) !== O_RDONLY
    const { stat } = core
    this.#isRegular = (stat.mode & S_IFMT) === S_IFREG
    const version = versionOf(stat)
    this.keepCache = node.version === version
    node.version = version
    if (node.files) node.files.push(this)
    else node.files = [this]
    this.#seen = version
  }

  /** Whoever takes it may write without `write`: from then on the index looks for itself. */
  get backingFd(): number | undefined {
    if (!this.#isRegular) return undefined
    if (this.writable) this.#core.rows.writers.add(this)
    return this.fd
  }

  /** Something changed since this was last asked. */
  wasWritten(): boolean {
    const { sys, stat } = this.#core
    if (sys.statx(this.fd, '', stat) < 0) return false
    const version = versionOf(stat)
    if (version === this.#seen) return false
    this.#seen = version
    return true
  }

  get ino(): number {
    return this.node.ino
  }

  read(_context: RequestContext, position: number, into: Buffer): number {
    const got = this.#core.sys.pread(this.fd, into, position)
    if (got < 0) throw errnoError(-got, 'read')
    return got
  }

  write(_context: RequestContext, position: number, data: Buffer, options: WriteOptions): number {
    const { sys } = this.#core
    let written = 0
    while (written < data.length) {
      const rest = written === 0 ? data : data.subarray(written)
      const result = options.append ? sys.append(this.fd, rest) : sys.pwrite(this.fd, rest, position + written)
      if (result < 0) {
        // What was written is answered; the error comes with the next write, as from the host.
        if (written > 0) break
        throw errnoError(-result, 'write')
      }
      if (result === 0) break
      written += result
    }
    if (options.killPrivileges) this.killPrivileges()
    this.#core.rows.touch(this.node)
    return written
  }

  /** A change that the kernel sends without saying whether the caller may keep set-user-id: root may. */
  #wrote(context: RequestContext): void {
    if (context.uid !== 0) this.killPrivileges()
  }

  /** As the host does for a writer without CAP_FSETID; the daemon of root has it, so the host leaves the bits. */
  killPrivileges(): void {
    const core = this.#core
    if (core.sys.statx(this.fd, '', core.stat) < 0) return
    const mode = withoutPrivileges(core.stat.mode)
    if (mode !== core.stat.mode) core.sys.fchmod(this.fd, mode & 0o7777)
  }

  flush(): void {}

  fsync(_context: RequestContext, dataOnly: boolean): Promise<void> {
    const { sys } = this.#core
    return (dataOnly ? sys.fdatasync(this.fd) : sys.fsync(this.fd)).then(result => {
      if (result < 0) throw errnoError(-result, 'fsync')
    })
  }

  fallocate(context: RequestContext, mode: number, offset: number, lengthBytes: number): void {
    const result = this.#core.sys.fallocate(this.fd, mode, offset, lengthBytes)
    if (result < 0) throw errnoError(-result, 'fallocate')
    this.#wrote(context)
    this.#core.rows.touch(this.node)
  }

  seek(_context: RequestContext, offset: number, whence: number): number {
    const result = this.#core.sys.lseek(this.fd, offset, whence)
    if (result < 0) throw errnoError(-result, 'lseek')
    return result
  }

  copyRange(context: RequestContext, offset: number, target: OpenFile, targetOffset: number, lengthBytes: number): Answer<number> {
    if (!(target instanceof LocationFile)) throw new FsError('cross-volume', undefined, { operation: 'copy_file_range' })
    // In pieces: the host may copy at once (reflink), or read and write while everybody waits.
    const result = this.#core.sys.copyFileRange(this.fd, offset, target.fd, targetOffset, Math.min(lengthBytes, COPY_AT_ONCE_BYTES))
    if (result < 0) throw errnoError(-result, 'copy_file_range')
    target.#wrote(context)
    target.#core.rows.touch(target.node)
    return result
  }

  release(): Answer<void> {
    const core = this.#core
    const { node } = this
    core.rows.writers.delete(this)
    if (this.writable && !node.gone) core.rows.touch(node)
    const last = node.files?.length === 1
    if (node.gone && last && core.sys.statx(this.fd, '', core.stat) === 0) node.last = core.attributesOf(node)
    const closed = node.gone ? closeGone(core.sys, core.stat, this.fd) : core.sys.close(this.fd)
    node.files = last ? undefined : node.files?.filter(file => file !== this)
    core.dropIfUnused(node)
    if (closed instanceof Promise) return closed.then(() => {})
  }
}

const COPY_AT_ONCE_BYTES = 16 << 20

function versionOf(stat: StatxBuffer): string {
  return `${stat.mtimeSec}.${stat.mtimeNsec}/${stat.ctimeSec}.${stat.ctimeNsec}/${stat.sizeBytes}`
}

/** Without set-user-id; without set-group-id where it means that (group execute is set), as the kernel's should_remove_suid. */
export function withoutPrivileges(mode: number): number {
  const withoutUser = mode & ~0o4000
  return (mode & 0o2010) === 0o2010 ? withoutUser & ~0o2000 : withoutUser
}
