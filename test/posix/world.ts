/**
 * What a POSIX test works with: system calls in one directory, in somebody's name, each call and its outcome recorded.
 *
 * Owns: the record. A test body runs in two worlds, a plain directory of the host and the same in a mount, and the two
 * records must be equal; so what is recorded holds nothing that may differ (descriptors, inode numbers, times).
 * Answers: the call's result (0, a descriptor, a count, bytes), or the name of the errno, as 'ENOENT'.
 */
import { type SpawnSyncReturns, spawnSync } from 'node:child_process'
import { constants } from 'node:os'
import { O_CREAT, O_RDONLY, O_RDWR, O_WRONLY } from '../../src/sys/flags.ts'
import { AT_FDCWD, AT_REMOVEDIR, AT_SYMLINK_FOLLOW, AT_SYMLINK_NOFOLLOW, encodeDevice, linux, UTIME_OMIT } from '../../src/sys/linux.ts'
import type { Name } from '../../src/vfs/contract.ts'
import { asPersona, lockStructure, type Persona, testCalls } from '../support/system-calls.ts'

export type Errno = string
export const ERRNO_NAMES: ReadonlyMap<number, string> = new Map(
  Object.entries({ ...constants.errno, EWOULDBLOCK: -1, EUSERS: 87 })
    .filter(([name]) => name !== 'EWOULDBLOCK' && name !== 'EOPNOTSUPP')
    .map(([name, number]) => [number, name]),
)

export interface Stat {
  readonly ino: number
  /** S_IFMT bits. */
  readonly type: number
  /** Permission bits, with set-id and sticky. */
  readonly mode: number
  readonly nlink: number
  readonly uid: number
  readonly gid: number
  readonly size: number
  readonly blocks: number
  readonly major: number
  readonly minor: number
  /** Nanoseconds. */
  readonly atime: bigint
  readonly mtime: bigint
  readonly ctime: bigint
}

export interface DirectoryEntry {
  readonly name: Name
  readonly ino: number
  readonly type: number
  /** Where a listing goes on after this entry. */
  readonly next: bigint
}

const STATX_BASIC = 0x7ff
const SEEK_SET = 0

export class World {
  /** The directory, absolute. Paths that don't begin with "/" are below it. */
  readonly root: Name
  readonly record: string[] = []
  /** Who acts if nobody else is named. */
  readonly persona: Persona
  #acting: Persona
  #quiet = 0
  readonly #sys = linux()
  readonly #calls = testCalls()

  constructor(root: Name, persona: Persona) {
    this.root = root
    this.persona = persona
    this.#acting = persona
  }

  // --- who, and what is recorded ---

  /** Acts as somebody else meanwhile. `action` must not wait. */
  as<T>(persona: Persona, action: () => T): T {
    const before = this.#acting
    this.#acting = persona
    try {
      return action()
    } finally {
      this.#acting = before
    }
  }

  /** Runs any code in the acting user's name. */
  run<T>(action: () => T): T {
    return this.#quiet > 0 ? action() : asPersona(this.#acting, action)
  }

  /** Adds to the record: for what a test finds out by other means than the calls below. */
  note(...values: unknown[]): void {
    this.record.push(values.map(String).join(' ').replaceAll(this.root, '.'))
  }

  /** Without a record, and changing to the acting user once: for loops of thousands. `as` can't be used inside. */
  quietly<T>(action: () => T): T {
    if (this.#quiet > 0) return action()
    this.#quiet++
    try {
      return asPersona(this.#acting, action)
    } finally {
      this.#quiet--
    }
  }

  path(path: Name): Name {
    return path.startsWith('/') ? path : path === '.' || path === '' ? this.root : `${this.root}/${path}`
  }

  /** Calls, names the errno and records. `show` turns a result into what both worlds must agree on. */
  #do(what: string, call: () => number, show: (result: number) => unknown = result => result): number | Errno {
    const result = this.run(call)
    const answer = result < 0 ? (ERRNO_NAMES.get(-result) ?? `errno ${-result}`) : result
    if (this.#quiet === 0) this.note(what, '->', result < 0 ? answer : show(result))
    return answer
  }

  // --- names ---

  mkdir(path: Name, mode = 0o755): number | Errno {
    return this.#do(`mkdir ${path} ${mode.toString(8)}`, () => this.#sys.mkdirat(AT_FDCWD, this.path(path), mode))
  }
  rmdir(path: Name): number | Errno {
    return this.#do(`rmdir ${path}`, () => this.#sys.unlinkat(AT_FDCWD, this.path(path), AT_REMOVEDIR))
  }
  unlink(path: Name): number | Errno {
    return this.#do(`unlink ${path}`, () => this.#sys.unlinkat(AT_FDCWD, this.path(path), 0))
  }
  mknod(path: Name, mode: number, major = 0, minor = 0): number | Errno {
    return this.#do(`mknod ${path} ${mode.toString(8)}`, () =>
      this.#sys.mknodat(AT_FDCWD, this.path(path), mode, encodeDevice(major, minor)),
    )
  }
  symlink(target: Name, path: Name): number | Errno {
    return this.#do(`symlink ${target} ${path}`, () => this.#sys.symlinkat(target, AT_FDCWD, this.path(path)))
  }
  link(from: Name, to: Name, follow = false): number | Errno {
    return this.#do(`link ${from} ${to}`, () =>
      this.#sys.linkat(AT_FDCWD, this.path(from), AT_FDCWD, this.path(to), follow ? AT_SYMLINK_FOLLOW : 0),
    )
  }
  /** Gives the file behind a descriptor a name. */
  linkDescriptor(fd: number, to: Name): number | Errno {
    return this.#do(`link descriptor ${to}`, () =>
      this.#sys.linkat(AT_FDCWD, `/proc/self/fd/${fd}`, AT_FDCWD, this.path(to), AT_SYMLINK_FOLLOW),
    )
  }
  rename(from: Name, to: Name, flags = 0): number | Errno {
    return this.#do(`rename ${from} ${to} ${flags}`, () => this.#sys.renameat2(AT_FDCWD, this.path(from), AT_FDCWD, this.path(to), flags))
  }
  readlink(path: Name): Name | Errno {
    const bytes = Buffer.alloc(5000)
    const length = this.#do(
      `readlink ${path}`,
      () => this.#sys.readlinkat(AT_FDCWD, this.path(path), bytes),
      n => bytes.toString('latin1', 0, n),
    )
    return typeof length === 'string' ? length : bytes.toString('latin1', 0, length)
  }

  // --- attributes ---

  chmod(path: Name, mode: number): number | Errno {
    return this.#do(`chmod ${path} ${mode.toString(8)}`, () => this.#sys.chmod(this.path(path), mode))
  }
  fchmod(fd: number, mode: number): number | Errno {
    return this.#do(`fchmod ${mode.toString(8)}`, () => this.#sys.fchmod(fd, mode))
  }
  /** -1: stays. */
  chown(path: Name, uid: number, gid: number): number | Errno {
    return this.#do(`chown ${path} ${uid} ${gid}`, () =>
      this.#calls.fchownat(AT_FDCWD, this.#sys.cstr(this.path(path)), uid >>> 0, gid >>> 0, 0),
    )
  }
  lchown(path: Name, uid: number, gid: number): number | Errno {
    return this.#do(`lchown ${path} ${uid} ${gid}`, () => this.#sys.fchownat(AT_FDCWD, this.path(path), uid, gid))
  }
  fchown(fd: number, uid: number, gid: number): number | Errno {
    return this.#do(`fchown ${uid} ${gid}`, () => this.#sys.fchownat(fd, '', uid, gid))
  }
  truncate(path: Name, size: number): number | Errno {
    return this.#do(`truncate ${path} ${size}`, () => this.#sys.truncate(this.path(path), size))
  }
  ftruncate(fd: number, size: number): number | Errno {
    return this.#do(`ftruncate ${size}`, () => this.#sys.ftruncate(fd, size))
  }
  /** Nanoseconds since 1970, or 'now', or undefined: stays. Doesn't follow a last symlink. */
  utimens(path: Name, atime: bigint | 'now' | undefined, mtime: bigint | 'now' | undefined): number | Errno {
    return this.#do(`utimens ${path}`, () => this.#sys.utimensat(AT_FDCWD, this.path(path), [hostTime(atime), hostTime(mtime)]))
  }
  access(path: Name, mask: number): number | Errno {
    return this.#do(`access ${path} ${mask}`, () => this.#sys.faccessat(AT_FDCWD, this.path(path), mask, 0))
  }
  stat(path: Name): Stat | Errno {
    return this.#stat(`stat ${path}`, AT_FDCWD, this.path(path), 0)
  }
  lstat(path: Name): Stat | Errno {
    return this.#stat(`lstat ${path}`, AT_FDCWD, this.path(path), AT_SYMLINK_NOFOLLOW)
  }
  fstat(fd: number): Stat | Errno {
    return this.#stat('fstat', fd, '', 0x1000)
  }
  /** The attributes of something that must be there. */
  attributes(path: Name): Stat {
    const stat = this.lstat(path)
    if (typeof stat === 'string') throw new Error(`lstat ${path}: ${stat}`)
    return stat
  }
  fattributes(fd: number): Stat {
    const stat = this.fstat(fd)
    if (typeof stat === 'string') throw new Error(`fstat: ${stat}`)
    return stat
  }

  #stat(what: string, fd: number, path: Name, flags: number): Stat | Errno {
    const b = Buffer.alloc(256)
    const parse = (): Stat => {
      const time = (at: number) => b.readBigInt64LE(at) * 1_000_000_000n + BigInt(b.readUInt32LE(at + 8))
      const mode = b.readUInt16LE(28)
      return {
        ino: Number(b.readBigUInt64LE(32)),
        type: mode & 0o170000,
        mode: mode & 0o7777,
        nlink: b.readUInt32LE(16),
        uid: b.readUInt32LE(20),
        gid: b.readUInt32LE(24),
        size: Number(b.readBigUInt64LE(40)),
        blocks: Number(b.readBigUInt64LE(48)),
        major: b.readUInt32LE(128),
        minor: b.readUInt32LE(132),
        atime: time(64),
        ctime: time(96),
        mtime: time(112),
      }
    }
    const result = this.#do(
      what,
      () => this.#calls.statx(fd, this.#sys.cstr(path), flags, STATX_BASIC, b),
      () => {
        const s = parse()
        // The size of a directory is the filesystem's own affair.
        const size = s.type === constants_S_IFDIR ? '' : s.size
        return `${(s.type | s.mode).toString(8)} ${s.nlink} ${s.uid}:${s.gid} ${size} ${s.major}:${s.minor}`
      },
    )
    return typeof result === 'string' ? result : parse()
  }

  // --- files ---

  open(path: Name, flags: number = O_RDONLY, mode = 0o644): number | Errno {
    return this.#do(
      `open ${path} ${flags.toString(8)} ${mode.toString(8)}`,
      () => this.#sys.openat(AT_FDCWD, this.path(path), flags, mode),
      () => 'descriptor',
    )
  }
  /** Opens what must be there. */
  fd(path: Name, flags: number = O_RDWR, mode = 0o644): number {
    const fd = this.open(path, flags, mode)
    if (typeof fd === 'string') throw new Error(`open ${path}: ${fd}`)
    return fd
  }
  close(fd: number): number | Errno {
    return this.#do('close', () => this.#sys.close(fd))
  }
  /** Makes a file with this content. */
  write(path: Name, content: string | Buffer = '', mode = 0o644): void {
    const fd = this.fd(path, O_WRONLY | O_CREAT | 0o1000, mode)
    const bytes = typeof content === 'string' ? Buffer.from(content, 'latin1') : content
    for (let at = 0; at < bytes.length; ) {
      const n = this.pwrite(fd, bytes.subarray(at), at)
      if (typeof n === 'string') throw new Error(`write ${path}: ${n}`)
      at += n
    }
    this.close(fd)
  }
  /** The content of a file, or the errno of opening it. */
  read(path: Name): string {
    const fd = this.open(path)
    if (typeof fd === 'string') return fd
    try {
      return this.content(fd)
    } finally {
      this.close(fd)
    }
  }
  /** All bytes of an open file. */
  content(fd: number): string {
    const pieces: Buffer[] = []
    for (let at = 0; ; ) {
      const piece = this.pread(fd, 1 << 16, at)
      if (typeof piece === 'string') return piece
      if (piece.length === 0) return Buffer.concat(pieces).toString('latin1')
      pieces.push(piece)
      at += piece.length
    }
  }
  pread(fd: number, length: number, position: number): Buffer | Errno {
    const bytes = Buffer.alloc(length)
    const n = this.#do(
      `pread ${length} ${position}`,
      () => this.#sys.pread(fd, bytes, position),
      got => `${got}: ${shown(bytes.subarray(0, got))}`,
    )
    return typeof n === 'string' ? n : bytes.subarray(0, n)
  }
  pwrite(fd: number, data: string | Buffer, position: number): number | Errno {
    const bytes = typeof data === 'string' ? Buffer.from(data, 'latin1') : data
    return this.#do(`pwrite ${bytes.length} ${position}`, () => this.#sys.pwrite(fd, bytes, position))
  }
  /** At the descriptor's own position. */
  append(fd: number, data: string | Buffer): number | Errno {
    const bytes = typeof data === 'string' ? Buffer.from(data, 'latin1') : data
    return this.#do(`write ${bytes.length}`, () => this.#sys.write(fd, bytes))
  }
  seek(fd: number, offset: number, whence: number): number | Errno {
    return this.#do(`lseek ${offset} ${whence}`, () => this.#sys.lseek(fd, offset, whence))
  }
  fallocate(fd: number, mode: number, offset: number, length: number): number | Errno {
    return this.#do(`fallocate ${mode} ${offset} ${length}`, () => this.#sys.fallocate(fd, mode, offset, length))
  }
  posixFallocate(fd: number, offset: number, length: number): number | Errno {
    return this.#do(`posix_fallocate ${offset} ${length}`, () => 0 - this.#calls.posixFallocate(fd, offset, length))
  }
  copyRange(from: number, fromOffset: number, to: number, toOffset: number, length: number): number | Errno {
    return this.#do(`copy_file_range ${fromOffset} ${toOffset} ${length}`, () =>
      this.#sys.copyFileRange(from, fromOffset, to, toOffset, length),
    )
  }
  async fsync(fd: number, dataOnly = false): Promise<number | Errno> {
    const result = await (dataOnly ? this.#sys.fdatasync(fd) : this.#sys.fsync(fd))
    return this.#do('fsync', () => result)
  }
  async syncfs(fd: number): Promise<number | Errno> {
    const result = await this.#sys.syncfs(fd)
    return this.#do('syncfs', () => result)
  }

  // --- directories ---

  /** Entries from the descriptor's position on, at most `least` rounded up to what one call gives. */
  entries(fd: number, least = Number.POSITIVE_INFINITY, bufferBytes = 32_768): DirectoryEntry[] {
    const buffer = Buffer.alloc(bufferBytes)
    const found: DirectoryEntry[] = []
    while (found.length < least) {
      const got = this.run(() => this.#sys.getdents(fd, buffer))
      if (got < 0) throw new Error(`getdents: ${ERRNO_NAMES.get(-got)}`)
      if (got === 0) break
      for (let at = 0; at < got; at += buffer.readUInt16LE(at + 16)) {
        const end = buffer.indexOf(0, at + 19)
        found.push({
          name: buffer.toString('latin1', at + 19, end),
          ino: Number(buffer.readBigUInt64LE(at)),
          type: buffer[at + 18]! << 12,
          next: buffer.readBigInt64LE(at + 8),
        })
      }
    }
    return found
  }
  /** Names in a directory without "." and "..", sorted. */
  list(path: Name = '.'): Name[] | Errno {
    const fd = this.quietly(() => this.open(path, 0o200000))
    if (typeof fd === 'string') {
      this.note('list', path, '->', fd)
      return fd
    }
    const names = this.entries(fd)
      .map(entry => entry.name)
      .filter(name => name !== '.' && name !== '..')
      .sort()
    this.quietly(() => this.close(fd))
    if (this.#quiet === 0) this.note('list', path, '->', names.join(','))
    return names
  }
  seekDirectory(fd: number, offset: bigint): void {
    const result = this.#sys.lseek(fd, offset, SEEK_SET)
    if (result < 0) throw new Error(`lseek: ${ERRNO_NAMES.get(-result)}`)
  }

  // --- extended attributes ---

  setxattr(path: Name, name: Name, value: string | Buffer, flags = 0): number | Errno {
    const bytes = typeof value === 'string' ? Buffer.from(value, 'latin1') : value
    return this.#do(`setxattr ${path} ${name} ${bytes.length} ${flags}`, () => this.#sys.lsetxattr(this.path(path), name, bytes, flags))
  }
  getxattr(path: Name, name: Name, sizeBytes = 65_536): string {
    const bytes = Buffer.alloc(sizeBytes)
    const n = this.#do(
      `getxattr ${path} ${name}`,
      () => this.#sys.lgetxattr(this.path(path), name, sizeBytes === 0 ? null : bytes),
      got => `${got} ${shown(bytes.subarray(0, got))}`,
    )
    return typeof n === 'string' ? n : sizeBytes === 0 ? `${n} bytes` : bytes.toString('latin1', 0, n)
  }
  listxattr(path: Name): Name[] | Errno {
    const bytes = Buffer.alloc(65_536)
    const names = (n: number) => bytes.toString('latin1', 0, n).split('\0').filter(Boolean).sort()
    const n = this.#do(`listxattr ${path}`, () => this.#sys.llistxattr(this.path(path), bytes), names)
    return typeof n === 'string' ? n : names(n)
  }
  removexattr(path: Name, name: Name): number | Errno {
    return this.#do(`removexattr ${path} ${name}`, () => this.#sys.lremovexattr(this.path(path), name))
  }

  // --- locks ---

  /** fcntl(2) with a lock: `command` F_SETLK, F_OFD_SETLK, ... */
  lock(fd: number, command: number, type: number, start: number, length: number): number | Errno {
    return this.#do(`fcntl ${command} ${type} ${start} ${length}`, () => this.#calls.fcntl(fd, command, lockStructure(type, start, length)))
  }
  flock(fd: number, operation: number): number | Errno {
    return this.#do(`flock ${operation}`, () => this.#sys.flock(fd, operation))
  }

  // --- programs ---

  /** Runs a program in the directory, in the acting user's name. Its outcome isn't recorded. */
  program(command: string, ...args: string[]): SpawnSyncReturns<string> {
    return this.run(() =>
      spawnSync(command, args, { cwd: this.root, encoding: 'utf8', env: { ...process.env, LC_ALL: 'C' }, timeout: 60_000 }),
    )
  }
}

const constants_S_IFDIR = 0o040000

function hostTime(time: bigint | 'now' | undefined): { readonly sec: number; readonly nsec: number } {
  if (time === undefined) return { sec: 0, nsec: UTIME_OMIT }
  if (time === 'now') return { sec: 0, nsec: 0x3fffffff }
  const nsec = ((time % 1_000_000_000n) + 1_000_000_000n) % 1_000_000_000n
  return { sec: Number((time - nsec) / 1_000_000_000n), nsec: Number(nsec) }
}

/** Bytes for the record: short ones in full, long ones by both ends and a sum. */
function shown(bytes: Buffer): string {
  if (bytes.length <= 64) return JSON.stringify(bytes.toString('latin1'))
  let sum = 0
  for (const byte of bytes) sum = (Math.imul(sum, 31) + byte) | 0
  return `${bytes.length} bytes ${sum}`
}
