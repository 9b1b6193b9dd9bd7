/**
 * The numbers of macOS, and the way between them and those of Linux, which the tree speaks.
 *
 * Owns: these tables. Must stay true: every error kind has a line (tsc checks). They were written from the system's
 * headers (sys/errno.h, sys/fcntl.h, sys/xattr.h, sys/stdio.h, unistd.h); no test here has met a Mac.
 */
import { type ErrorKind, FsError } from '../../errors.ts'
import {
  FALLOC_KEEP_SIZE,
  O_ACCMODE,
  O_APPEND,
  O_CLOEXEC,
  O_CREAT,
  O_DIRECTORY,
  O_DSYNC,
  O_EXCL,
  O_NOCTTY,
  O_NOFOLLOW,
  O_NONBLOCK,
  O_SYNC,
  O_TRUNC,
  SEEK_DATA,
  SEEK_HOLE,
  XATTR_CREATE,
  XATTR_REPLACE,
} from '../../sys/flags.ts'
import { RENAME_EXCHANGE, RENAME_NOREPLACE } from '../../vfs/contract.ts'
import type { Host } from './host.ts'

const EIO = 5

export const DARWIN_ERRNO_OF_KIND = {
  'not-found': 2,
  exists: 17,
  'not-empty': 66,
  'not-directory': 20,
  'is-directory': 21,
  'access-denied': 13,
  'not-permitted': 1,
  'cross-volume': 18,
  'no-space': 28,
  quota: 69,
  'read-only': 30,
  busy: 16,
  'text-busy': 26,
  'too-many-links': 31,
  'name-too-long': 63,
  'symlink-loop': 62,
  invalid: 22,
  io: EIO,
  'bad-handle': 9,
  // ENOATTR: macOS has an ENODATA too (96), but no program looks for it.
  'no-attribute': 93,
  range: 34,
  'too-big': 7,
  'file-too-large': 27,
  stale: 70,
  // macOS has no ENOMEDIUM. ENXIO, "Device not configured", is what its own filesystems say of a drive that was pulled.
  offline: 6,
  'timed-out': 60,
  interrupted: 4,
  // ENOTSUP, not EOPNOTSUPP (102): it is what makes the system fall back (xattrs to ._ files, clonefile to a copy).
  'not-supported': 45,
  'not-implemented': 78,
  'no-device': 6,
  overflow: 84,
  'out-of-memory': 12,
  'too-many-open': 24,
  'try-again': 35,
  deadlock: 11,
  'no-locks': 77,
  'bad-name': 92,
  'not-tty': 25,
  'illegal-seek': 29,
  locked: 35,
  damaged: EIO,
  // No EUCLEAN here.
  corrupt: EIO,
} as const satisfies Record<ErrorKind, number>

/** Bits of macOS to bits of Linux; what isn't named means nothing to the tree (O_EVTONLY, O_SHLOCK, O_SYMLINK, ...). */
const OPEN_BITS: readonly (readonly [darwin: number, linux: number])[] = [
  [0x4, O_NONBLOCK],
  [0x8, O_APPEND],
  [0x80, O_SYNC],
  [0x100, O_NOFOLLOW],
  [0x200, O_CREAT],
  [0x400, O_TRUNC],
  [0x800, O_EXCL],
  [0x20000, O_NOCTTY],
  [0x100000, O_DIRECTORY],
  [0x400000, O_DSYNC],
  [0x1000000, O_CLOEXEC],
]

const XATTR_CREATE_DARWIN = 2
const XATTR_REPLACE_DARWIN = 4
const RENAME_SWAP = 2
const RENAME_EXCL = 4
const SEEK_HOLE_DARWIN = 3
const SEEK_DATA_DARWIN = 4
const USER_NAMESPACE = 'user.'

export const DARWIN: Host = {
  errnoOf: error => (error instanceof FsError ? DARWIN_ERRNO_OF_KIND[error.kind] : EIO),

  openFlags(flags) {
    let result = flags & O_ACCMODE
    for (const [darwin, linux] of OPEN_BITS) if (flags & darwin) result |= linux
    return result
  },

  attributeFlags: flags => (flags & XATTR_CREATE_DARWIN ? XATTR_CREATE : 0) | (flags & XATTR_REPLACE_DARWIN ? XATTR_REPLACE : 0),

  renameFlags(flags) {
    if (flags & ~(RENAME_SWAP | RENAME_EXCL)) throw new FsError('invalid', undefined, { operation: 'rename' })
    return (flags & RENAME_SWAP ? RENAME_EXCHANGE : 0) | (flags & RENAME_EXCL ? RENAME_NOREPLACE : 0)
  },

  seekWhence: whence => (whence === SEEK_HOLE_DARWIN ? SEEK_HOLE : whence === SEEK_DATA_DARWIN ? SEEK_DATA : whence),

  // F_PREALLOCATE reserves room and leaves the size; its bits (contiguous, all or nothing) are wishes.
  allocateMode: () => FALLOC_KEEP_SIZE,

  // macOS has no namespaces: a program's `com.apple.FinderInfo` is `user.com.apple.FinderInfo` in the tree, so that the
  // same volume shows it on Linux.
  attributeName: text => USER_NAMESPACE + text,
  attributeText: name => (name.startsWith(USER_NAMESPACE) ? name.slice(USER_NAMESPACE.length) : undefined),

  // statfs(2) counts in f_bsize; the library copies the fields as they are.
  blocksAreIn: 'blocks',
  // Numbers of ioctls are other ones.
  ioctls: false,
  // The system asks the user to eject after this many seconds without an answer; its default of 60 is less than a slow
  // upload takes when close waits for it.
  mountWords: ['daemon_timeout=600'],
}
