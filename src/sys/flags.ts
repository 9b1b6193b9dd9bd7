/**
 * Linux numbers of open(2) flags and the like, the same on every platform: what the contracts in src/vfs speak.
 * Owns: constants only. x86-64 and arm64 agree on all but O_DIRECT, O_DIRECTORY, O_NOFOLLOW and O_LARGEFILE.
 */
const arm = process.arch === 'arm64' || process.arch === 'arm'

export const O_ACCMODE = 3
export const O_RDONLY = 0
export const O_WRONLY = 1
export const O_RDWR = 2
export const O_CREAT = 0o100
export const O_EXCL = 0o200
export const O_NOCTTY = 0o400
export const O_TRUNC = 0o1000
export const O_APPEND = 0o2000
export const O_NONBLOCK = 0o4000
export const O_DSYNC = 0o10000
export const O_DIRECT = arm ? 0o200000 : 0o40000
export const O_LARGEFILE = arm ? 0o400000 : 0o100000
export const O_DIRECTORY = arm ? 0o40000 : 0o200000
export const O_NOFOLLOW = arm ? 0o100000 : 0o400000
export const O_NOATIME = 0o1000000
export const O_CLOEXEC = 0o2000000
export const O_SYNC = 0o4010000
export const O_PATH = 0o10000000
export const O_TMPFILE = 0o20000000 | O_DIRECTORY
export const FMODE_EXEC = 0x20

export const SEEK_DATA = 3
export const SEEK_HOLE = 4

export const FALLOC_KEEP_SIZE = 1
export const FALLOC_PUNCH_HOLE = 2
export const FALLOC_COLLAPSE_RANGE = 8
export const FALLOC_ZERO_RANGE = 16
export const FALLOC_INSERT_RANGE = 32

export const XATTR_CREATE = 1
export const XATTR_REPLACE = 2
