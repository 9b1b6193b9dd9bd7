/**
 * The one error type of sdmount and its closed set of kinds.
 *
 * Owns: what an operating error is. Every layer below a front end throws `FsError` for what can happen in operation
 * (a missing file, a full disk, a volume that is away); each front end maps the kinds once, in one exhaustive table
 * (src/fs/fuse/errno.ts, src/fs/webdav/status.ts).
 * Must stay true: messages and causes carry no secret; a programmer's error is a plain `Error`, never an `FsError`.
 */

/** Why an operation failed. The comment names the POSIX errno that says the same. */
export type ErrorKind =
  | 'not-found' // ENOENT
  | 'exists' // EEXIST
  | 'not-empty' // ENOTEMPTY
  | 'not-directory' // ENOTDIR
  | 'is-directory' // EISDIR
  | 'access-denied' // EACCES: the permission bits say no
  | 'not-permitted' // EPERM: never allowed, whoever asks
  | 'cross-volume' // EXDEV
  | 'no-space' // ENOSPC
  | 'quota' // EDQUOT
  | 'read-only' // EROFS
  | 'busy' // EBUSY
  | 'text-busy' // ETXTBSY
  | 'too-many-links' // EMLINK
  | 'name-too-long' // ENAMETOOLONG
  | 'symlink-loop' // ELOOP
  | 'invalid' // EINVAL
  | 'io' // EIO
  | 'bad-handle' // EBADF
  | 'no-attribute' // ENODATA: no such extended attribute
  | 'range' // ERANGE: the buffer given is too small
  | 'too-big' // E2BIG
  | 'file-too-large' // EFBIG
  | 'stale' // ESTALE: the name now means another file; look it up again
  | 'offline' // ENOMEDIUM: the volume's folder, drive or network is away
  | 'timed-out' // ETIMEDOUT
  | 'interrupted' // EINTR
  | 'not-supported' // EOPNOTSUPP: this volume can't, others may
  | 'not-implemented' // ENOSYS: don't ask again
  | 'no-device' // ENXIO: also SEEK_DATA past the end
  | 'overflow' // EOVERFLOW
  | 'out-of-memory' // ENOMEM
  | 'too-many-open' // EMFILE, ENFILE
  | 'try-again' // EAGAIN
  | 'deadlock' // EDEADLK
  | 'no-locks' // ENOLCK
  | 'bad-name' // EILSEQ: a name this volume can't hold
  | 'not-tty' // ENOTTY: an ioctl this file doesn't know
  | 'illegal-seek' // ESPIPE
  | 'locked' // EAGAIN to programs, 423 over WebDAV: a lock of somebody else covers it
  | 'damaged' // EIO: stored bytes failed their authentication
  | 'corrupt' // EUCLEAN: the host's filesystem says that its structure needs cleaning

export interface ErrorDetails {
  /** The operation that failed, in the kernel's words: `lookup`, `open`, `rename`. */
  readonly operation?: string
  /** What it was about, for a person: a name or path, never file contents or keys. */
  readonly subject?: string
  readonly cause?: unknown
}

/** An operating error. Cheap to make (no stack is captured): programs ask for what doesn't exist all day. */
export class FsError extends Error {
  readonly kind: ErrorKind
  readonly operation: string | undefined
  readonly subject: string | undefined

  constructor(kind: ErrorKind, message?: string, details: ErrorDetails = {}) {
    const limit = Error.stackTraceLimit
    Error.stackTraceLimit = 0
    super(message ?? kind, details.cause === undefined ? undefined : { cause: details.cause })
    Error.stackTraceLimit = limit
    this.name = 'FsError'
    this.kind = kind
    this.operation = details.operation
    this.subject = details.subject
  }
}

/** The kind of an error: its own, or undefined for what isn't an operating error (a bug, a foreign exception). */
export function errorKind(error: unknown): ErrorKind | undefined {
  return error instanceof FsError ? error.kind : undefined
}

/** One line for a person or a log: the message with its causes, without stacks. */
export function describeError(error: unknown): string {
  const parts: string[] = []
  for (let e: unknown = error, depth = 0; e !== undefined && depth < 5; depth++) {
    if (!(e instanceof Error)) {
      parts.push(String(e))
      break
    }
    const where = e instanceof FsError && (e.operation || e.subject) ? ` (${[e.operation, e.subject].filter(Boolean).join(' ')})` : ''
    parts.push(e.message + where)
    e = e.cause
  }
  return parts.join(': ')
}
