/**
 * The one table from error kinds to what programs get: Linux errno numbers.
 * Must stay true: every kind has a line (tsc checks); an error that isn't an `FsError` is EIO and is logged by the caller.
 */
import { type ErrorKind, FsError } from '../../errors.ts'

const EIO = 5

export const ERRNO_OF_KIND = {
  'not-found': 2,
  exists: 17,
  'not-empty': 39,
  'not-directory': 20,
  'is-directory': 21,
  'access-denied': 13,
  'not-permitted': 1,
  'cross-volume': 18,
  'no-space': 28,
  quota: 122,
  'read-only': 30,
  busy: 16,
  'text-busy': 26,
  'too-many-links': 31,
  'name-too-long': 36,
  'symlink-loop': 40,
  invalid: 22,
  io: EIO,
  'bad-handle': 9,
  'no-attribute': 61,
  range: 34,
  'too-big': 7,
  'file-too-large': 27,
  // The kernel answers ESTALE of a cached name by looking the path up again, so programs seldom see it.
  stale: 116,
  // ENOMEDIUM: programs print "No medium found", which says what happened to an unplugged drive. EIO would suggest a
  // dying disk, ENOENT a lost file, ESTALE makes the kernel retry, ETIMEDOUT and EHOSTDOWN suggest a network.
  offline: 123,
  'timed-out': 110,
  interrupted: 4,
  'not-supported': 95,
  'not-implemented': 38,
  'no-device': 6,
  overflow: 75,
  'out-of-memory': 12,
  'too-many-open': 24,
  'try-again': 11,
  deadlock: 35,
  'no-locks': 37,
  'bad-name': 84,
  'not-tty': 25,
  'illegal-seek': 29,
  // What fcntl(F_SETLK) answers for a lock held by somebody else.
  locked: 11,
  damaged: EIO,
  corrupt: 117,
} as const satisfies Record<ErrorKind, number>

/** The errno of an error; EIO for what isn't an operating error. */
export function errnoOf(error: unknown): number {
  return error instanceof FsError ? ERRNO_OF_KIND[error.kind] : EIO
}
