/**
 * A folder of the host as a subject of the model tests: a plain one, or one in a mount. Real system calls.
 */
import { O_APPEND, O_CREAT, O_EXCL, O_NOFOLLOW, O_RDWR, O_TRUNC } from '../../src/sys/flags.ts'
import { S_IFDIR, S_IFLNK } from '../../src/vfs/contract.ts'
import { type Stat, World } from '../posix/world.ts'
import { type Subject, sha, snapshotLine, statLine } from './model.ts'
import { bytesOf, type Operation, SLOTS } from './operations.ts'

const CALL_BYTES = 1 << 16

export class FolderSubject implements Subject {
  readonly #world: World
  readonly #slots: number[] = Array(SLOTS).fill(-1)

  /** `root` must be there and empty. */
  constructor(root: string, who: { readonly uid: number; readonly gid: number }) {
    // A location in this process has its own.
    process.umask(0o022)
    this.#world = new World(root, { uid: who.uid, gid: who.gid, groups: [who.gid] })
  }

  run(operation: Operation): string | Promise<string> {
    const w = this.#world
    w.record.length = 0
    const outcome = (answer: number | string) => (typeof answer === 'string' ? answer : 'ok')
    switch (operation.op) {
      case 'open':
        return this.#open(operation)
      case 'close':
        this.#close(operation.slot)
        return 'ok'
      case 'fsync':
        return this.#opened(operation.slot, async fd => outcome(await w.fsync(fd)))
      case 'fstat':
        return this.#opened(operation.slot, fd => this.#line(w.fstat(fd)))
      case 'write':
        return this.#opened(operation.slot, fd => this.#write(fd, bytesOf(operation.length, operation.fill), operation.position))
      case 'read':
        return this.#opened(operation.slot, fd => {
          const bytes = this.#read(fd, operation.position, operation.length)
          return typeof bytes === 'string' ? bytes : `${bytes.length} ${sha(bytes)}`
        })
      case 'truncate':
        return this.#opened(operation.slot, fd => outcome(w.ftruncate(fd, operation.size)))
      case 'allocate':
        return this.#opened(operation.slot, fd => outcome(w.fallocate(fd, operation.mode, operation.offset, operation.length)))
      case 'copy':
        return this.#opened(operation.from, from => this.#opened(operation.to, to => this.#copy(from, to, operation)))
      case 'mkdir':
        return outcome(w.mkdir(operation.path))
      case 'rmdir':
        return outcome(w.rmdir(operation.path))
      case 'unlink':
        return outcome(w.unlink(operation.path))
      case 'symlink':
        return outcome(w.symlink(operation.target, operation.path))
      case 'link':
        return outcome(w.link(operation.path, operation.to))
      case 'rename':
        return outcome(w.rename(operation.path, operation.to, operation.flags))
      case 'readlink':
        return w.readlink(operation.path)
      case 'stat':
        return this.#line(w.lstat(operation.path))
      case 'list': {
        const names = w.list(operation.path)
        return typeof names === 'string' ? names : names.join(',')
      }
      case 'chmod':
        return outcome(w.chmod(operation.path, operation.mode))
      case 'setxattr':
        return outcome(w.setxattr(operation.path, operation.name, operation.value, operation.flags))
      case 'getxattr':
        return w.getxattr(operation.path, operation.name)
      case 'removexattr':
        return outcome(w.removexattr(operation.path, operation.name))
      case 'listxattr': {
        const names = w.listxattr(operation.path)
        return typeof names === 'string' ? names : this.#own(names).join(',')
      }
    }
  }

  snapshot(): string[] {
    const w = this.#world
    const lines: string[] = []
    const first = new Map<number, string>()
    const walk = (directory: string, prefix: string) => {
      for (const name of w.list(directory) as string[]) {
        const path = prefix + name
        const stat = w.attributes(path)
        const same = first.get(stat.ino) ?? path
        first.set(stat.ino, same)
        const content = stat.type === S_IFDIR ? '' : stat.type === S_IFLNK ? w.readlink(path) : sha(Buffer.from(w.read(path), 'latin1'))
        const xattrs = stat.type === S_IFLNK ? [] : this.#own(w.listxattr(path) as string[])
        lines.push(
          snapshotLine(path, this.#line(stat), [
            content,
            same === path ? '' : `= ${same}`.replaceAll('x'.repeat(255), 'X'),
            xattrs.map(xattr => `${xattr}=${w.getxattr(path, xattr).length}`).join(','),
          ]),
        )
        if (stat.type === S_IFDIR) walk(path, `${path}/`)
      }
    }
    walk('.', '')
    w.record.length = 0
    return lines
  }

  /** Closes what is open. */
  dispose(): void {
    for (let slot = 0; slot < SLOTS; slot++) this.#close(slot)
  }

  /** The host may add attributes of its own (security labels). */
  #own(names: readonly string[]): string[] {
    return names.filter(name => name.startsWith('user.'))
  }

  #open({ slot, path, how }: Extract<Operation, { op: 'open' }>): string {
    this.#close(slot)
    let flags = O_RDWR | O_NOFOLLOW
    if (how.includes('create')) flags |= O_CREAT
    if (how.includes('exclusive')) flags |= O_EXCL
    if (how.includes('truncate')) flags |= O_TRUNC
    if (how.includes('append')) flags |= O_APPEND
    const fd = this.#world.open(path, flags)
    if (typeof fd === 'string') return fd
    this.#slots[slot] = fd
    return 'ok'
  }

  #close(slot: number): void {
    const fd = this.#slots[slot]!
    if (fd >= 0) this.#world.close(fd)
    this.#slots[slot] = -1
  }

  #opened<T>(slot: number, action: (fd: number) => T): T | string {
    const fd = this.#slots[slot]!
    return fd < 0 ? 'not open' : action(fd)
  }

  #write(fd: number, bytes: Buffer, position: number): string {
    for (let at = 0; at < bytes.length; ) {
      const count = this.#world.pwrite(fd, bytes.subarray(at), position + at)
      if (typeof count === 'string') return count
      at += count
    }
    return `${bytes.length}`
  }

  #read(fd: number, position: number, length: number): Buffer | string {
    const pieces: Buffer[] = []
    for (let at = 0; at < length; ) {
      const piece = this.#world.pread(fd, Math.min(CALL_BYTES, length - at), position + at)
      if (typeof piece === 'string') return piece
      if (piece.length === 0) break
      pieces.push(piece)
      at += piece.length
    }
    return Buffer.concat(pieces)
  }

  #copy(from: number, to: number, { offset, target, length }: Extract<Operation, { op: 'copy' }>): string {
    // A call may copy less than asked. What a copy onto itself adds behind the end isn't copied again.
    const end = Math.min(length, this.#world.fattributes(from).size - offset)
    let done = 0
    do {
      const count = this.#world.copyRange(from, offset + done, to, target + done, length - done)
      if (typeof count === 'string') return count
      if (count === 0) break
      done += count
    } while (done < end)
    return `${done}`
  }

  #line(stat: Stat | string): string {
    if (typeof stat === 'string') return stat
    const type = stat.type === S_IFDIR ? 'directory' : stat.type === S_IFLNK ? 'symlink' : 'file'
    return statLine(type, stat.mode, stat.nlink, stat.size)
  }
}
