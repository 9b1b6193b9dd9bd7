/**
 * Linux errno numbers and what kind of error each one is.
 * Owns: the way in (host errno to `ErrorKind`). The way out to programs is src/fs/fuse/errno.ts.
 */
import { type ErrorKind, FsError } from '../errors.ts'

export const EPERM = 1
export const ENOENT = 2
export const EINTR = 4
export const EIO = 5
export const EAGAIN = 11
export const EEXIST = 17
export const ENODEV = 19
export const ENOTDIR = 20
export const EINVAL = 22
export const ENOSYS = 38
export const ELOOP = 40
export const ENODATA = 61
export const EOPNOTSUPP = 95
export const ENOTCONN = 107

const KINDS: Readonly<Record<number, ErrorKind>> = {
  1: 'not-permitted',
  2: 'not-found',
  4: 'interrupted',
  5: 'io',
  6: 'no-device',
  7: 'too-big',
  9: 'bad-handle',
  11: 'try-again',
  12: 'out-of-memory',
  13: 'access-denied',
  16: 'busy',
  17: 'exists',
  18: 'cross-volume',
  19: 'no-device',
  20: 'not-directory',
  21: 'is-directory',
  22: 'invalid',
  23: 'too-many-open',
  24: 'too-many-open',
  25: 'not-tty',
  26: 'text-busy',
  27: 'file-too-large',
  28: 'no-space',
  29: 'illegal-seek',
  30: 'read-only',
  31: 'too-many-links',
  34: 'range',
  35: 'deadlock',
  36: 'name-too-long',
  37: 'no-locks',
  38: 'not-supported', // ENOSYS of the host is one call that it lacks, not a word to the kernel that we lack it
  39: 'not-empty',
  40: 'symlink-loop',
  61: 'no-attribute',
  75: 'overflow',
  84: 'bad-name',
  95: 'not-supported',
  107: 'offline',
  108: 'offline',
  110: 'timed-out',
  112: 'offline',
  113: 'offline',
  116: 'stale',
  117: 'corrupt',
  121: 'io',
  122: 'quota',
  123: 'offline',
}

/** The error for a host errno (positive number). Unknown ones are 'io', with the number in the message. */
export function errnoError(errno: number, operation: string, subject?: string): FsError {
  const kind = KINDS[errno]
  return new FsError(kind ?? 'io', kind ?? `errno ${errno}`, subject === undefined ? { operation } : { operation, subject })
}
