/**
 * What goes wrong, as HTTP says it.
 *
 * Owns: the table from kinds of errors to status codes, and `Refusal`, the front end's own "no". Must stay true: every
 * `ErrorKind` has a status (a missing one fails the type check); what is neither an `FsError` nor a `Refusal` is 500 and
 * is logged.
 */
import { type ErrorKind, FsError } from '../../errors.ts'

const STATUS = {
  'not-found': 404,
  // MKCOL says 405 itself; elsewhere somebody else was faster.
  exists: 409,
  'not-empty': 409,
  'not-directory': 409,
  'is-directory': 405,
  'access-denied': 403,
  'not-permitted': 403,
  // COPY and MOVE cope with it themselves.
  'cross-volume': 403,
  'no-space': 507,
  quota: 507,
  'read-only': 403,
  busy: 409,
  'text-busy': 409,
  'too-many-links': 409,
  'name-too-long': 400,
  'symlink-loop': 409,
  invalid: 400,
  io: 500,
  'bad-handle': 500,
  'no-attribute': 404,
  range: 500,
  'too-big': 413,
  'file-too-large': 413,
  // The name meant another file a moment ago: asking again helps.
  stale: 503,
  offline: 503,
  'timed-out': 504,
  interrupted: 503,
  // Not 501, which would say that the method is unknown to the whole server.
  'not-supported': 403,
  'not-implemented': 403,
  'no-device': 403,
  overflow: 413,
  'out-of-memory': 503,
  'too-many-open': 503,
  'try-again': 503,
  deadlock: 409,
  'no-locks': 503,
  'bad-name': 400,
  'not-tty': 500,
  'illegal-seek': 500,
  locked: 423,
  damaged: 500,
  corrupt: 500,
} as const satisfies Record<ErrorKind, number>

/** Names of preconditions that a client can act on: elements of the DAV: namespace in an error body. */
export type DavCondition =
  | 'propfind-finite-depth'
  | 'no-conflicting-lock'
  | 'lock-token-submitted'
  | 'lock-token-matches-request-uri'
  | 'cannot-modify-protected-property'
  | 'no-external-entities'
  | 'quota-not-exceeded'

export interface RefusalDetails {
  readonly condition?: DavCondition
  /** Paths (as hrefs) that the condition speaks of. */
  readonly hrefs?: readonly string[]
  readonly headers?: Readonly<Record<string, string | readonly string[]>>
  /** The connection can't be used any more (its body was not read to the end). */
  readonly close?: boolean
}

/** A request that is refused by this front end. Cheap to make: no stack. */
export class Refusal extends Error {
  readonly status: number
  readonly details: RefusalDetails

  constructor(status: number, message: string, details: RefusalDetails = {}) {
    const limit = Error.stackTraceLimit
    Error.stackTraceLimit = 0
    super(message)
    Error.stackTraceLimit = limit
    this.name = 'Refusal'
    this.status = status
    this.details = details
  }
}

/** The status for whatever was thrown. */
export function statusOf(error: unknown): number {
  if (error instanceof Refusal) return error.status
  if (error instanceof FsError) return STATUS[error.kind]
  return 500
}
