/**
 * The errors of object stores: an `FsError` that also says what a retry has to know.
 *
 * Owns: `BackendError`, and the checks of arguments that every store shares. It doesn't know any protocol: each store turns its
 * own answers into these. Must stay true: messages carry no secret (no signature, no key, no signed address).
 */
import { type ErrorDetails, type ErrorKind, FsError } from '../errors.ts'
import type { Metadata, ObjectKey } from './contract.ts'

export interface BackendErrorDetails extends ErrorDetails {
  /** The same call may succeed a little later. */
  readonly transient?: boolean
  /** The store may have done what was asked, only its answer was lost. */
  readonly mayHaveHappened?: boolean
  /** The store asked to wait this long. */
  readonly retryAfterMs?: number | undefined
  /** The store's own word for it (`SlowDown`), for logs. */
  readonly code?: string | undefined
}

export class BackendError extends FsError {
  readonly transient: boolean
  readonly mayHaveHappened: boolean
  readonly retryAfterMs: number | undefined
  readonly code: string | undefined

  constructor(kind: ErrorKind, message: string, details: BackendErrorDetails = {}) {
    super(kind, message, details)
    this.name = 'BackendError'
    this.transient = details.transient ?? false
    this.mayHaveHappened = details.mayHaveHappened ?? false
    this.retryAfterMs = details.retryAfterMs
    this.code = details.code
  }
}

/** Whether the same call may succeed a little later. */
export function isTransient(error: unknown): boolean {
  return error instanceof BackendError && error.transient
}

/** Whether a failed call may have taken effect. */
export function mayHaveHappened(error: unknown): boolean {
  return error instanceof BackendError && error.mayHaveHappened
}

/** The error of a call whose signal was aborted. */
export function interrupted(operation: string): BackendError {
  return new BackendError('interrupted', 'interrupted', { operation, mayHaveHappened: true })
}

const KEY_LIMIT_BYTES = 1024
const METADATA_LIMIT_BYTES = 2048

/** Refuses what no store takes as a key. */
export function checkKey(key: ObjectKey, operation: string): void {
  if (key.length === 0) throw new BackendError('bad-name', 'an object needs a name', { operation })
  if (!key.isWellFormed() || key.includes('\0'))
    throw new BackendError('bad-name', 'the name is not valid Unicode text', { operation, subject: key })
  if (key.length * 3 > KEY_LIMIT_BYTES && Buffer.byteLength(key) > KEY_LIMIT_BYTES)
    throw new BackendError('name-too-long', `the name has more than ${KEY_LIMIT_BYTES} bytes`, { operation, subject: key.slice(0, 80) })
}

/** Refuses metadata that wouldn't come back as it was given. */
export function checkMetadata(metadata: Metadata | undefined, operation: string): void {
  if (!metadata) return
  let total = 0
  for (const name in metadata) {
    const value = metadata[name]!
    total += name.length + value.length
    if (!/^[a-z0-9][a-z0-9._-]*$/.test(name) || !/^([!-~]([ -~]*[!-~])?)?$/.test(value))
      throw new BackendError('invalid', 'metadata is printable ASCII under lower-case names', { operation, subject: name })
  }
  if (total > METADATA_LIMIT_BYTES) throw new BackendError('too-big', `metadata is limited to ${METADATA_LIMIT_BYTES} bytes`, { operation })
}

/** The metadata name under which `writeId` is kept. */
export const WRITE_ID = 'sdmount-write'

/** Metadata together with the token of the write. */
export function withWriteId(metadata: Metadata | undefined, writeId: string | undefined): Metadata {
  if (writeId === undefined) return metadata ?? {}
  return { ...metadata, [WRITE_ID]: writeId }
}
