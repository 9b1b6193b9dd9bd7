/**
 * Numbers of the kernel's FUSE protocol (include/uapi/linux/fuse.h, up to 7.45).
 * Owns: constants only. Offsets of structures stand where they are decoded or encoded.
 */
export const FUSE_KERNEL_VERSION = 7
/** The newest minor version this code knows; the kernel answers with the smaller of the two. */
export const FUSE_KERNEL_MINOR = 44
/** Older kernels lack what this code counts on (7.31 is Linux 5.4). */
export const FUSE_KERNEL_MINOR_LEAST = 31

export const IN_HEADER_BYTES = 40
export const OUT_HEADER_BYTES = 16
export const MAX_WRITE_BYTES = 1 << 20
export const MAX_PAGES = 256
/** One request: a write of the largest size and its headers. */
export const REQUEST_BUFFER_BYTES = MAX_WRITE_BYTES + 8192

export const Op = {
  LOOKUP: 1,
  FORGET: 2,
  GETATTR: 3,
  SETATTR: 4,
  READLINK: 5,
  SYMLINK: 6,
  MKNOD: 8,
  MKDIR: 9,
  UNLINK: 10,
  RMDIR: 11,
  RENAME: 12,
  LINK: 13,
  OPEN: 14,
  READ: 15,
  WRITE: 16,
  STATFS: 17,
  RELEASE: 18,
  FSYNC: 20,
  SETXATTR: 21,
  GETXATTR: 22,
  LISTXATTR: 23,
  REMOVEXATTR: 24,
  FLUSH: 25,
  INIT: 26,
  OPENDIR: 27,
  READDIR: 28,
  RELEASEDIR: 29,
  FSYNCDIR: 30,
  GETLK: 31,
  SETLK: 32,
  SETLKW: 33,
  ACCESS: 34,
  CREATE: 35,
  INTERRUPT: 36,
  BMAP: 37,
  DESTROY: 38,
  IOCTL: 39,
  POLL: 40,
  NOTIFY_REPLY: 41,
  BATCH_FORGET: 42,
  FALLOCATE: 43,
  READDIRPLUS: 44,
  RENAME2: 45,
  LSEEK: 46,
  COPY_FILE_RANGE: 47,
  SYNCFS: 50,
  TMPFILE: 51,
  STATX: 52,
} as const

/** Names for the log. */
export const OP_NAMES: readonly (string | undefined)[] = (() => {
  const names: (string | undefined)[] = []
  for (const [name, number] of Object.entries(Op)) names[number] = name.toLowerCase()
  return names
})()

// INIT flags.
export const FUSE_ASYNC_READ = 1 << 0
export const FUSE_ATOMIC_O_TRUNC = 1 << 3
export const FUSE_BIG_WRITES = 1 << 5
export const FUSE_DONT_MASK = 1 << 6
export const FUSE_HAS_IOCTL_DIR = 1 << 11
export const FUSE_AUTO_INVAL_DATA = 1 << 12
export const FUSE_DO_READDIRPLUS = 1 << 13
export const FUSE_READDIRPLUS_AUTO = 1 << 14
export const FUSE_ASYNC_DIO = 1 << 15
export const FUSE_PARALLEL_DIROPS = 1 << 18
export const FUSE_POSIX_ACL = 1 << 20
export const FUSE_MAX_PAGES = 1 << 22
export const FUSE_CACHE_SYMLINKS = 1 << 23
export const FUSE_HANDLE_KILLPRIV_V2 = 1 << 28
export const FUSE_SETXATTR_EXT = 1 << 29
export const FUSE_INIT_EXT = 1 << 30
// INIT flags2 (bit 32 and up of the whole).
export const FUSE_HAS_EXPIRE_ONLY = 1 << 3
export const FUSE_DIRECT_IO_ALLOW_MMAP = 1 << 4
export const FUSE_PASSTHROUGH = 1 << 5

// Open reply flags.
export const FOPEN_DIRECT_IO = 1 << 0
export const FOPEN_KEEP_CACHE = 1 << 1
export const FOPEN_CACHE_DIR = 1 << 3
export const FOPEN_NOFLUSH = 1 << 5
export const FOPEN_PARALLEL_DIRECT_WRITES = 1 << 6
export const FOPEN_PASSTHROUGH = 1 << 7

export const FUSE_OPEN_KILL_SUIDGID = 1
export const FUSE_WRITE_CACHE = 1 << 0
export const FUSE_WRITE_KILL_SUIDGID = 1 << 2
export const FUSE_GETATTR_FH = 1
export const FUSE_FSYNC_FDATASYNC = 1
export const FUSE_SETXATTR_ACL_KILL_SGID = 1
export const FUSE_IOCTL_DIR = 1 << 4

// SETATTR valid bits.
export const FATTR_MODE = 1 << 0
export const FATTR_UID = 1 << 1
export const FATTR_GID = 1 << 2
export const FATTR_SIZE = 1 << 3
export const FATTR_ATIME = 1 << 4
export const FATTR_MTIME = 1 << 5
export const FATTR_FH = 1 << 6
export const FATTR_ATIME_NOW = 1 << 7
export const FATTR_MTIME_NOW = 1 << 8
export const FATTR_KILL_SUIDGID = 1 << 11

// Notifications.
export const FUSE_NOTIFY_INVAL_INODE = 2
export const FUSE_NOTIFY_INVAL_ENTRY = 3
export const FUSE_NOTIFY_DELETE = 6
export const FUSE_NOTIFY_INC_EPOCH = 8
/** Flag of FUSE_NOTIFY_INVAL_ENTRY (7.38; a field that older kernels ignore). */
export const FUSE_EXPIRE_ONLY = 1

export const FUSE_DEV_IOC_BACKING_OPEN = ((1 << 30) | (16 << 16) | (229 << 8) | 1) >>> 0
export const FUSE_DEV_IOC_BACKING_CLOSE = ((1 << 30) | (4 << 16) | (229 << 8) | 2) >>> 0
