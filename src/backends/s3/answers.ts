/**
 * What an S3 server's refusals mean: its error codes and HTTP statuses as `BackendError`s, and the headers of an object.
 *
 * Owns: the two tables and the reading of error documents and object headers. Both ways to the server (our own requests and the
 * SDK's) come through here, so that they can't disagree.
 */
import type { ErrorKind } from '../../errors.ts'
import type { Condition, ETag, Metadata, ObjectInfo } from '../contract.ts'
import { BackendError, type BackendErrorDetails } from '../errors.ts'
import type { ResponseHead } from '../http/response-parser.ts'
import { xmlText } from './xml.ts'

interface Meaning {
  readonly kind: ErrorKind
  readonly message: string
  readonly transient?: true
  /** The store may have done it all the same. */
  readonly unsure?: true
}

const BY_CODE: Readonly<Record<string, Meaning>> = {
  NoSuchKey: { kind: 'not-found', message: 'no such object' },
  NoSuchVersion: { kind: 'not-found', message: 'no such version' },
  NoSuchUpload: { kind: 'not-found', message: 'no such upload' },
  NoSuchBucket: { kind: 'offline', message: 'the bucket does not exist' },
  InvalidBucketName: { kind: 'offline', message: 'no bucket can have this name' },
  PermanentRedirect: { kind: 'offline', message: 'the bucket is in another region' },
  AuthorizationHeaderMalformed: { kind: 'offline', message: 'the bucket is in another region' },
  AccessDenied: { kind: 'access-denied', message: 'the server denies access' },
  AllAccessDisabled: { kind: 'access-denied', message: 'the server denies access' },
  AccountProblem: { kind: 'access-denied', message: 'there is a problem with the account' },
  InvalidAccessKeyId: { kind: 'access-denied', message: 'the server does not know this access key' },
  SignatureDoesNotMatch: { kind: 'access-denied', message: 'the secret key does not fit the access key' },
  ExpiredToken: { kind: 'access-denied', message: 'the credentials have expired' },
  InvalidToken: { kind: 'access-denied', message: 'the session token is not valid' },
  TokenRefreshRequired: { kind: 'access-denied', message: 'the credentials have expired' },
  RequestTimeTooSkewed: { kind: 'access-denied', message: "this machine's clock differs too much from the server's" },
  RequestExpired: { kind: 'access-denied', message: "this machine's clock differs too much from the server's" },
  InvalidObjectState: { kind: 'not-supported', message: 'the object is archived and must be restored first' },
  ConditionalRequestConflict: { kind: 'try-again', message: 'another write to the object was under way', transient: true },
  OperationAborted: { kind: 'try-again', message: 'another operation was under way', transient: true },
  SlowDown: { kind: 'try-again', message: 'the server asks to slow down', transient: true },
  ServiceUnavailable: { kind: 'try-again', message: 'the server is overloaded', transient: true },
  Throttling: { kind: 'try-again', message: 'the server asks to slow down', transient: true },
  ThrottlingException: { kind: 'try-again', message: 'the server asks to slow down', transient: true },
  TooManyRequests: { kind: 'try-again', message: 'the server asks to slow down', transient: true },
  RequestLimitExceeded: { kind: 'try-again', message: 'the server asks to slow down', transient: true },
  InternalError: { kind: 'io', message: 'the server failed', transient: true, unsure: true },
  RequestTimeout: { kind: 'timed-out', message: 'the server waited too long for our bytes', transient: true },
  IncompleteBody: { kind: 'io', message: 'the server got fewer bytes than were sent', transient: true },
  BadDigest: { kind: 'damaged', message: 'the bytes arrived damaged', transient: true },
  XAmzContentSHA256Mismatch: { kind: 'damaged', message: 'the bytes arrived damaged', transient: true },
  XAmzContentChecksumMismatch: { kind: 'damaged', message: 'the bytes arrived damaged', transient: true },
  EntityTooLarge: { kind: 'file-too-large', message: 'the object is larger than the server takes' },
  EntityTooSmall: { kind: 'invalid', message: 'a part of the upload is too small' },
  InvalidPart: { kind: 'invalid', message: 'a part of the upload is missing or another' },
  InvalidPartOrder: { kind: 'invalid', message: 'the parts of the upload are out of order' },
  InvalidRange: { kind: 'invalid', message: 'the range begins past the end' },
  KeyTooLongError: { kind: 'name-too-long', message: 'the name is longer than the server takes' },
  MetadataTooLarge: { kind: 'too-big', message: 'the metadata is larger than the server takes' },
  QuotaExceeded: { kind: 'quota', message: 'the quota of the bucket is used up' },
  InsufficientStorage: { kind: 'no-space', message: 'the server is full' },
  MethodNotAllowed: { kind: 'not-supported', message: 'the server does not do this' },
  NotImplemented: { kind: 'not-supported', message: 'the server does not do this' },
}

const BY_STATUS: Readonly<Record<number, Meaning>> = {
  301: BY_CODE.PermanentRedirect!,
  307: BY_CODE.PermanentRedirect!,
  401: BY_CODE.AccessDenied!,
  403: BY_CODE.AccessDenied!,
  404: BY_CODE.NoSuchKey!,
  405: BY_CODE.MethodNotAllowed!,
  408: BY_CODE.RequestTimeout!,
  409: BY_CODE.OperationAborted!,
  413: BY_CODE.EntityTooLarge!,
  416: BY_CODE.InvalidRange!,
  429: BY_CODE.SlowDown!,
  501: BY_CODE.NotImplemented!,
  503: BY_CODE.ServiceUnavailable!,
  507: BY_CODE.InsufficientStorage!,
}

export interface Refusal {
  readonly operation: string
  readonly subject?: string | undefined
  readonly status: number
  readonly code?: string | undefined
  readonly retryAfter?: string | undefined
  /** What was asked for: decides what a failed condition means. */
  readonly condition?: Condition | undefined
  /** Where the server says that the bucket is. */
  readonly region?: string | undefined
}

/** The error for a refusal. */
export function refusalError(refusal: Refusal): BackendError {
  const { status, code } = refusal
  const meaning =
    status === 412 || code === 'PreconditionFailed'
      ? conditionFailed(refusal.condition)
      : ((code !== undefined ? BY_CODE[code] : undefined) ??
        BY_STATUS[status] ??
        (status >= 500 ? BY_CODE.InternalError! : { kind: 'io' as const, message: `the server answered ${status}` }))
  const known =
    code !== undefined && BY_CODE[code] === undefined && meaning.kind === 'io' ? `${meaning.message} (${code})` : meaning.message
  const details: BackendErrorDetails = {
    operation: refusal.operation,
    transient: meaning.transient ?? false,
    mayHaveHappened: meaning.unsure ?? status === 504,
    retryAfterMs: parseRetryAfter(refusal.retryAfter),
    code: code ?? String(status),
  }
  const message = meaning === BY_CODE.PermanentRedirect && refusal.region ? `${known}: ${refusal.region}` : known
  return new BackendError(meaning.kind, message, refusal.subject === undefined ? details : { ...details, subject: refusal.subject })
}

function conditionFailed(condition: Condition | undefined): Meaning {
  if (condition && 'absent' in condition) return { kind: 'exists', message: 'there is an object already' }
  return { kind: 'stale', message: 'the object was changed meanwhile' }
}

function parseRetryAfter(value: string | undefined): number | undefined {
  if (value === undefined || !/^\d{1,5}$/.test(value)) return undefined
  return Number(value) * 1000
}

/** The code in an error document; undefined when there is none. */
export function errorCode(body: Buffer): string | undefined {
  return body.length === 0 ? undefined : xmlText(body.toString('utf8'), 'Code')
}

/** An entity tag as the contract has it: without quotes. */
export function bareETag(value: string | undefined): ETag {
  if (value === undefined) return ''
  return value
    .replace(/^W\//, '')
    .replace(/^"|"$/g, '')
    .replace(/^&quot;|&quot;$/g, '')
}

const META = 'x-amz-meta-'

/** What the headers of a GET or HEAD tell of the object. */
export function objectInfo(key: string, head: ResponseHead): ObjectInfo {
  const { headers } = head
  const metadata: Record<string, string> = {}
  for (const name in headers) if (name.startsWith(META)) metadata[name.slice(META.length)] = headers[name]!
  const total =
    head.status === 206 ? headers['content-range']?.slice(headers['content-range'].lastIndexOf('/') + 1) : headers['content-length']
  const modifiedMs = Date.parse(headers['last-modified'] ?? '')
  return {
    key,
    sizeBytes: Number(total ?? 0),
    etag: bareETag(headers.etag),
    modifiedMs: Number.isNaN(modifiedMs) ? 0 : modifiedMs,
    metadata: metadata satisfies Metadata,
    contentType: headers['content-type'],
    versionId: headers['x-amz-version-id'],
  }
}
