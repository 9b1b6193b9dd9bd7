/**
 * The system calls that Node lacks, through koffi: the one place where the project meets libc.
 *
 * Owns: signatures and the memory layout of what they fill in. Every function answers what the call answers, or a
 * negative errno: nothing here throws, nothing is cached, nothing blocks longer than the call itself.
 * Must stay true: names are Buffers or latin1 Names, passed with a NUL; 64-bit values are numbers below 2^53, except
 * directory offsets, which are bigints.
 * It doesn't: decide what an errno means (errno.ts), nor run anywhere but Linux (`linux()` throws there).
 */
import koffi from 'koffi'
import { Attributes, type Name } from '../vfs/contract.ts'

export const AT_FDCWD = -100
export const AT_SYMLINK_NOFOLLOW = 0x100
export const AT_REMOVEDIR = 0x200
export const AT_SYMLINK_FOLLOW = 0x400
export const AT_EMPTY_PATH = 0x1000
export const AT_NO_AUTOMOUNT = 0x800
/** Type, mode, nlink, uid, gid, times, ino, size, blocks, btime. */
export const STATX_BASIC_AND_BTIME = 0xfff
export const UTIME_NOW = 0x3fffffff
export const UTIME_OMIT = 0x3ffffffe
export const MNT_DETACH = 2
export const RESOLVE_NO_XDEV = 1
export const RESOLVE_NO_SYMLINKS = 4

const NAME_SCRATCH_BYTES = 70_000

/** Where statx(2) writes, and the reading of it. One per user of it: calls overwrite it. */
export class StatxBuffer {
  readonly bytes: Buffer = Buffer.alloc(256)
  readonly #words: Uint32Array = new Uint32Array(this.bytes.buffer, this.bytes.byteOffset, 64)

  get mode(): number {
    return this.#words[7]! & 0xffff
  }
  /** The host's inode number; may lose precision above 2^53, see `inoHigh`. */
  get ino(): number {
    return this.#words[8]! + this.#words[9]! * 2 ** 32
  }
  get inoHigh(): number {
    return this.#words[9]!
  }
  get inoLow(): number {
    return this.#words[8]!
  }
  /** Device number of the filesystem that holds the node: an opaque key. */
  get device(): number {
    return this.#words[34]! * 2 ** 20 + this.#words[35]!
  }
  get sizeBytes(): number {
    return this.#words[10]! + this.#words[11]! * 2 ** 32
  }
  get uid(): number {
    return this.#words[5]!
  }
  /** Allocated blocks of 512 bytes. */
  get blocks(): number {
    return this.#words[12]! + this.#words[13]! * 2 ** 32
  }
  get nlink(): number {
    return this.#words[4]!
  }
  get mtimeSec(): number {
    return this.#words[28]! + (this.#words[29]! | 0) * 2 ** 32
  }
  get mtimeNsec(): number {
    return this.#words[30]!
  }
  get ctimeSec(): number {
    return this.#words[24]! + (this.#words[25]! | 0) * 2 ** 32
  }
  get ctimeNsec(): number {
    return this.#words[26]!
  }
  get btimeSec(): number {
    return this.#words[20]! + (this.#words[21]! | 0) * 2 ** 32
  }
  get btimeNsec(): number {
    return this.#words[22]!
  }
  /** The whole, under the tree's inode number. */
  attributes(ino: number): Attributes {
    const w = this.#words
    const a = new Attributes()
    a.ino = ino
    a.mode = w[7]! & 0xffff
    a.nlink = w[4]!
    a.uid = w[5]!
    a.gid = w[6]!
    a.sizeBytes = w[10]! + w[11]! * 2 ** 32
    a.blocks = w[12]! + w[13]! * 2 ** 32
    a.blockSizeBytes = w[1]!
    a.rdev = encodeDevice(w[32]!, w[33]!)
    a.atimeSec = w[16]! + (w[17]! | 0) * 2 ** 32
    a.atimeNsec = w[18]!
    a.btimeSec = w[20]! + (w[21]! | 0) * 2 ** 32
    a.btimeNsec = w[22]!
    a.ctimeSec = w[24]! + (w[25]! | 0) * 2 ** 32
    a.ctimeNsec = w[26]!
    a.mtimeSec = w[28]! + (w[29]! | 0) * 2 ** 32
    a.mtimeNsec = w[30]!
    return a
  }
}

/** The kernel's 32-bit device number (new_encode_dev). */
export function encodeDevice(major: number, minor: number): number {
  return ((minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12)) >>> 0
}

/** statfs(2), as much as is used. `type` is the magic number, `filesystemId` f_fsid as hex. */
export interface HostStatfs {
  readonly type: number
  readonly blockSizeBytes: number
  readonly fragmentSizeBytes: number
  readonly blocks: number
  readonly blocksFree: number
  readonly blocksAvailable: number
  readonly files: number
  readonly filesFree: number
  readonly filesystemId: string
  readonly nameLengthBytes: number
  readonly flags: number
}

export type Linux = ReturnType<typeof load>

let loaded: Linux | undefined

/** The system calls of this Linux. Throws a plain Error on other systems. */
export function linux(): Linux {
  return (loaded ??= load())
}

function load() {
  if (process.platform !== 'linux') throw new Error(`the kernel channel needs Linux, this is ${process.platform}`)
  const libc = koffi.load('libc.so.6')
  const errno = () => koffi.errno()
  // biome-ignore lint/suspicious/noExplicitAny: foreign functions have no types of their own
  const call = (signature: string): ((...args: any[]) => number) => libc.func(signature) as never
  const wrap = (signature: string) => {
    const f = call(signature)
    // biome-ignore lint/suspicious/noExplicitAny: see above
    return (...args: any[]): number => {
      const result = f(...args)
      return result === -1 ? -errno() : result
    }
  }

  const raw = {
    read: call('long read(int fd, void *buf, size_t n)'),
    write: call('long write(int fd, const void *buf, size_t n)'),
    pread: call('long pread64(int fd, void *buf, size_t n, int64_t off)'),
    pwrite: call('long pwrite64(int fd, const void *buf, size_t n, int64_t off)'),
    openat: call('int openat(int dirfd, const void *path, int flags, uint mode)'),
    close: call('int close(int fd)'),
    statx: call('int statx(int dirfd, const void *path, int flags, uint mask, void *buf)'),
    getdents: call('long syscall(long n, int fd, void *buf, size_t len)'),
    ioctl: call('int ioctl(int fd, ulong request, void *arg)'),
    poll: call('int poll(void *fds, ulong n, int timeout)'),
  }
  const mkdirat = wrap('int mkdirat(int dirfd, const void *path, uint mode)')
  const mknodat = wrap('int mknodat(int dirfd, const void *path, uint mode, uint64_t dev)')
  const symlinkat = wrap('int symlinkat(const void *target, int dirfd, const void *path)')
  const unlinkat = wrap('int unlinkat(int dirfd, const void *path, int flags)')
  const linkat = wrap('int linkat(int olddirfd, const void *old, int newdirfd, const void *path, int flags)')
  const renameat2 = wrap('int renameat2(int olddirfd, const void *old, int newdirfd, const void *path, uint flags)')
  const readlinkat = wrap('long readlinkat(int dirfd, const void *path, void *buf, size_t n)')
  const fchownat = wrap('int fchownat(int dirfd, const void *path, uint uid, uint gid, int flags)')
  const fchmod = wrap('int fchmod(int fd, uint mode)')
  const chmod = wrap('int chmod(const void *path, uint mode)')
  const utimensat = wrap('int utimensat(int dirfd, const void *path, const void *times, int flags)')
  const ftruncate = wrap('int ftruncate64(int fd, int64_t length)')
  const truncate = wrap('int truncate64(const void *path, int64_t length)')
  const fallocate = wrap('int fallocate64(int fd, int mode, int64_t offset, int64_t length)')
  const lseek = wrap('int64_t lseek64(int fd, int64_t offset, int whence)')
  const pwritev2 = wrap('long pwritev2(int fd, const void *iov, int count, int64_t offset, int flags)')
  const fgetxattr = wrap('long fgetxattr(int fd, const void *name, void *value, size_t n)')
  const fsetxattr = wrap('int fsetxattr(int fd, const void *name, const void *value, size_t n, int flags)')
  const flistxattr = wrap('long flistxattr(int fd, void *list, size_t n)')
  const fremovexattr = wrap('int fremovexattr(int fd, const void *name)')
  const copyFileRange = wrap('long copy_file_range(int in, void *offin, int out, void *offout, size_t n, uint flags)')
  const faccessat = wrap('int faccessat(int dirfd, const void *path, int mode, int flags)')
  const lsetxattr = wrap('int lsetxattr(const void *path, const void *name, const void *value, size_t n, int flags)')
  const lgetxattr = wrap('long lgetxattr(const void *path, const void *name, void *value, size_t n)')
  const llistxattr = wrap('long llistxattr(const void *path, void *list, size_t n)')
  const lremovexattr = wrap('int lremovexattr(const void *path, const void *name)')
  const setfsuid = call('int setfsuid(uint uid)')
  const setfsgid = call('int setfsgid(uint gid)')
  const umask = call('uint umask(uint mask)')
  const prctl = wrap('int prctl(int option, ulong a, ulong b, ulong c, ulong d)')
  const setrlimit = wrap('int setrlimit(int resource, const void *limits)')
  const exitNow = call('void _exit(int code)')
  const dup2 = wrap('int dup2(int fd, int target)')
  const capget = wrap('int capget(void *header, void *data)')
  const capset = wrap('int capset(void *header, const void *data)')
  const unshare = wrap('int unshare(int flags)')
  const statfs = wrap('int statfs64(const void *path, void *buf)')
  const fstatfs = wrap('int fstatfs64(int fd, void *buf)')
  const mount = wrap('int mount(const void *source, const void *target, const void *type, ulong flags, const void *data)')
  const umount2 = wrap('int umount2(const void *path, int flags)')
  const flock = wrap('int flock(int fd, int operation)')
  const fcntl = wrap('int fcntl(int fd, int command, long argument)')
  const socketpair = wrap('int socketpair(int domain, int type, int protocol, void *pair)')
  const recvmsg = wrap('long recvmsg(int fd, void *message, int flags)')
  const openat2 = wrap('long syscall(long n, int dirfd, const void *path, const void *how, size_t size)')
  const eventfd = wrap('int eventfd(uint initial, int flags)')
  const inotifyInit = wrap('int inotify_init1(int flags)')
  const inotifyAddWatch = wrap('int inotify_add_watch(int fd, const void *path, uint mask)')
  const inotifyRemoveWatch = wrap('int inotify_rm_watch(int fd, int watch)')

  const pool = {
    fsync: libc.func('int fsync(int fd)'),
    fdatasync: libc.func('int fdatasync(int fd)'),
    syncfs: libc.func('int syncfs(int fd)'),
    close: libc.func('int close(int fd)'),
    poll: libc.func('int poll(void *fds, ulong n, int timeout)'),
    write: libc.func('long write(int fd, const void *buf, size_t n)'),
  }

  const SYS_openat2 = 437 // the same number on every architecture
  const SYS_getdents64 = process.arch === 'arm64' ? 61 : 217

  // Names go through scratch buffers: a call is synchronous, so two of each are enough and nothing is allocated.
  const scratch = [Buffer.allocUnsafeSlow(NAME_SCRATCH_BYTES), Buffer.allocUnsafeSlow(NAME_SCRATCH_BYTES)] as const
  const cstr = (name: Name, which: 0 | 1 = 0): Buffer => {
    const buffer = scratch[which]
    if (name.length >= NAME_SCRATCH_BYTES) return Buffer.from(`${name}\0`, 'latin1')
    const n = buffer.write(name, 0, 'latin1')
    buffer[n] = 0
    return buffer
  }
  const iovec = Buffer.alloc(16)
  const timeScratch = Buffer.alloc(32)
  const offsets = [Buffer.alloc(8), Buffer.alloc(8)] as const
  const statfsScratch = Buffer.alloc(256)
  const howScratch = Buffer.alloc(24)

  const parseStatfs = (): HostStatfs => {
    const b = statfsScratch
    const n = (o: number) => Number(b.readBigUInt64LE(o))
    return {
      type: b.readUInt32LE(0),
      blockSizeBytes: n(8),
      blocks: n(16),
      blocksFree: n(24),
      blocksAvailable: n(32),
      files: n(40),
      filesFree: n(48),
      filesystemId: b.toString('hex', 56, 64),
      nameLengthBytes: n(64),
      fragmentSizeBytes: n(72) || n(8),
      flags: n(80),
    }
  }

  return {
    errno,
    /** Raw calls for hot paths: -1 on error, then `errno()`. Paths are NUL-terminated Buffers. */
    raw,
    cstr,

    openat(dirfd: number, path: Name, flags: number, mode = 0): number {
      const fd = raw.openat(dirfd, cstr(path), flags | 0o2000000, mode)
      return fd < 0 ? -errno() : fd
    },
    /** openat2(2) without a mode: `resolve` holds RESOLVE_ bits. -ENOSYS before Linux 5.6, -EPERM in some sandboxes. */
    openat2(dirfd: number, path: Name, flags: number, resolve: number): number {
      howScratch.writeUInt32LE(flags | 0o2000000, 0)
      howScratch.writeUInt32LE(resolve, 16)
      return openat2(SYS_openat2, dirfd, cstr(path), howScratch, 24)
    },
    close(fd: number): number {
      return raw.close(fd) < 0 ? -errno() : 0
    },
    /** poll(2) in the thread pool: `pollfds` is an array of struct pollfd and stays the caller's until it answers. */
    pollInPool: (pollfds: Buffer, timeoutMs: number) => inPool(pool.poll, pollfds, pollfds.length / 8, timeoutMs),
    /** write(2) in the thread pool, for what may wait for this very thread. */
    writeInPool: (fd: number, data: Buffer) => inPool(pool.write, fd, data, data.length),
    /** close(2) in the thread pool: the last close of a large deleted file can take long. */
    closeInPool: (fd: number) => inPool(pool.close, fd),
    /** statx of `path` below `dirfd` (never following a last symlink), or of `dirfd` itself when the path is empty. */
    statx(dirfd: number, path: Name, into: StatxBuffer): number {
      const flags = path === '' ? AT_EMPTY_PATH : AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT
      return raw.statx(dirfd, cstr(path), flags, STATX_BASIC_AND_BTIME, into.bytes) < 0 ? -errno() : 0
    },
    /** statx of a path, following symlinks. */
    statxFollow(path: Name, into: StatxBuffer): number {
      return raw.statx(AT_FDCWD, cstr(path), 0, STATX_BASIC_AND_BTIME, into.bytes) < 0 ? -errno() : 0
    },
    read: (fd: number, into: Buffer): number => {
      const n = raw.read(fd, into, into.length)
      return n < 0 ? -errno() : n
    },
    write: (fd: number, data: Buffer): number => {
      const n = raw.write(fd, data, data.length)
      return n < 0 ? -errno() : n
    },
    pread: (fd: number, into: Buffer, position: number): number => {
      const n = raw.pread(fd, into, into.length, position)
      return n < 0 ? -errno() : n
    },
    pwrite: (fd: number, data: Buffer, position: number): number => {
      const n = raw.pwrite(fd, data, data.length, position)
      return n < 0 ? -errno() : n
    },
    /** getdents64(2): bytes filled, 0 at the end. */
    getdents(fd: number, into: Buffer): number {
      const n = raw.getdents(SYS_getdents64, fd, into, into.length)
      return n < 0 ? -errno() : n
    },
    mkdirat: (dirfd: number, path: Name, mode: number) => mkdirat(dirfd, cstr(path), mode),
    mknodat: (dirfd: number, path: Name, mode: number, device: number) => mknodat(dirfd, cstr(path), mode, decodeDevice(device)),
    symlinkat: (target: Name, dirfd: number, path: Name) => symlinkat(cstr(target, 1), dirfd, cstr(path)),
    unlinkat: (dirfd: number, path: Name, flags: number) => unlinkat(dirfd, cstr(path), flags),
    linkat: (oldDirfd: number, old: Name, newDirfd: number, path: Name, flags: number) =>
      linkat(oldDirfd, cstr(old, 1), newDirfd, cstr(path), flags),
    renameat2: (oldDirfd: number, old: Name, newDirfd: number, path: Name, flags: number) =>
      renameat2(oldDirfd, cstr(old, 1), newDirfd, cstr(path), flags),
    readlinkat: (dirfd: number, path: Name, into: Buffer) => readlinkat(dirfd, cstr(path), into, into.length),
    /** -1 as an id: stays. */
    fchownat: (dirfd: number, path: Name, uid: number, gid: number) =>
      fchownat(dirfd, cstr(path), uid >>> 0, gid >>> 0, path === '' ? AT_EMPTY_PATH : AT_SYMLINK_NOFOLLOW),
    fchmod,
    /** Follows symlinks: give it /proc/self/fd/N. */
    chmod: (path: Name, mode: number) => chmod(cstr(path), mode),
    utimensat(dirfd: number, path: Name, times: { readonly sec: number; readonly nsec: number }[]): number {
      for (let i = 0; i < 2; i++) {
        timeScratch.writeBigInt64LE(BigInt(times[i]!.sec), i * 16)
        timeScratch.writeBigInt64LE(BigInt(times[i]!.nsec), i * 16 + 8)
      }
      return utimensat(dirfd, cstr(path), timeScratch, path === '' ? AT_EMPTY_PATH : AT_SYMLINK_NOFOLLOW)
    },
    ftruncate,
    truncate: (path: Name, length: number) => truncate(cstr(path), length),
    fallocate,
    lseek,
    copyFileRange(input: number, inputOffset: number, output: number, outputOffset: number, length: number): number {
      offsets[0].writeBigInt64LE(BigInt(inputOffset))
      offsets[1].writeBigInt64LE(BigInt(outputOffset))
      return copyFileRange(input, offsets[0], output, offsets[1], length, 0)
    },
    /** These wait for the disk, so they run in the thread pool and answer 0 or a negative errno there. */
    fsync: (fd: number) => inPool(pool.fsync, fd),
    fdatasync: (fd: number) => inPool(pool.fdatasync, fd),
    syncfs: (fd: number) => inPool(pool.syncfs, fd),
    faccessat: (dirfd: number, path: Name, mask: number, flags: number) => faccessat(dirfd, cstr(path), mask, flags),
    lsetxattr: (path: Name, name: Name, value: Buffer, flags: number) => lsetxattr(cstr(path), cstr(name, 1), value, value.length, flags),
    lgetxattr: (path: Name, name: Name, into: Buffer | null) => lgetxattr(cstr(path), cstr(name, 1), into, into?.length ?? 0),
    llistxattr: (path: Name, into: Buffer | null) => llistxattr(cstr(path), into, into?.length ?? 0),
    lremovexattr: (path: Name, name: Name) => lremovexattr(cstr(path), cstr(name, 1)),
    fgetxattr: (fd: number, name: Name, into: Buffer | null) => fgetxattr(fd, cstr(name, 1), into, into?.length ?? 0),
    fsetxattr: (fd: number, name: Name, value: Buffer, flags: number) => fsetxattr(fd, cstr(name, 1), value, value.length, flags),
    flistxattr: (fd: number, into: Buffer | null) => flistxattr(fd, into, into?.length ?? 0),
    fremovexattr: (fd: number, name: Name) => fremovexattr(fd, cstr(name, 1)),
    /** Appends to the end of the file whatever other writers do meanwhile (pwritev2 with RWF_APPEND). */
    append(fd: number, data: Buffer): number {
      iovec.writeBigUInt64LE(koffi.address(data) as bigint, 0)
      iovec.writeBigUInt64LE(BigInt(data.length), 8)
      return pwritev2(fd, iovec, 1, 0, 0x10)
    },
    /** These two act on the calling thread alone, as every raw setfsuid does. */
    setfsuid,
    setfsgid,
    umask,
    prctl,
    /** A limit of the process (RLIMIT_CORE 4), soft and hard. */
    setrlimit(resource: number, soft: number, hard: number): number {
      const limits = Buffer.alloc(16)
      limits.writeBigUInt64LE(BigInt(soft), 0)
      limits.writeBigUInt64LE(BigInt(hard), 8)
      return setrlimit(resource, limits)
    },
    dup2,
    /** Ends the process at once: no handlers, no teardown. Threads that are in the midst of something don't matter then. */
    exitNow,
    capget,
    capset,
    unshare,
    statfs(path: Name): HostStatfs | number {
      const result = statfs(cstr(path), statfsScratch)
      return result < 0 ? result : parseStatfs()
    },
    fstatfs(fd: number): HostStatfs | number {
      const result = fstatfs(fd, statfsScratch)
      return result < 0 ? result : parseStatfs()
    },
    mount: (source: string, target: Name, type: string, flags: number, data: string) =>
      mount(Buffer.from(`${source}\0`), cstr(target), Buffer.from(`${type}\0`), flags, Buffer.from(`${data}\0`)),
    umount2: (path: Name, flags: number) => umount2(cstr(path), flags),
    /** LOCK_SH 1, LOCK_EX 2, LOCK_NB 4, LOCK_UN 8. */
    flock,
    fcntl,
    socketpair,
    recvmsg,
    /** A counter to wake a poll(2) with. Flags: EFD_NONBLOCK and EFD_CLOEXEC have the numbers of O_NONBLOCK and O_CLOEXEC. */
    eventfd,
    inotifyInit,
    inotifyAddWatch: (fd: number, path: Name, mask: number) => inotifyAddWatch(fd, cstr(path), mask),
    inotifyRemoveWatch,
    ioctl(fd: number, request: number, argument: Buffer): number {
      const result = raw.ioctl(fd, request, argument)
      return result < 0 ? -errno() : result
    },
    /** The address of a Buffer, for structures that hold pointers. */
    address: (buffer: Buffer): bigint => koffi.address(buffer) as bigint,
  }
}

/** Runs one foreign call in the thread pool: its result, or a negative errno. It ends when the call does. */
// biome-ignore lint/suspicious/noExplicitAny: foreign functions have no types of their own
function inPool(f: any, ...args: unknown[]): Promise<number> {
  return new Promise(resolve => {
    f.async(...args, (error: unknown, result: number) => resolve(error ? -5 : result === -1 ? -koffi.errno() : result))
  })
}

/** From the kernel's 32-bit device number to glibc's dev_t. */
function decodeDevice(device: number): number {
  const major = (device >>> 8) & 0xfff
  const minor = (device & 0xff) | ((device >>> 12) & 0xfff00)
  return (minor & 0xff) + (major & 0xfff) * 2 ** 8 + (minor & ~0xff) * 2 ** 12
}
