/**
 * What an object store promises to the volumes above it: one short contract, implemented by each store and by each wrapper.
 *
 * Owns: types and their promises, no behaviour. Read this file and you know what may be asked of a bucket.
 *
 * Rules that bind every implementation:
 * - Every method takes a signal; an aborted call ends at once with 'interrupted', and what it had sent may or may not have
 *   taken effect. Without an abort every call ends by itself (an implementation over a network has time limits).
 * - Operating errors are `BackendError`s (errors.ts). Allowed everywhere: 'interrupted', 'offline' (the store can't be reached,
 *   or the bucket is gone), 'timed-out', 'try-again' (asked to slow down), 'io' (the store failed), 'access-denied' (wrong or
 *   expired key, or no permission). Each method names what it adds. 'not-found' always means the object, never the bucket, so
 *   that a missing bucket can't pass for a deletion.
 * - A condition that `capabilities` doesn't promise is refused with 'not-supported', never silently dropped: the caller then
 *   compares a `head` first and knows that this leaves a gap.
 * - A write is whole or absent: no reader ever sees a part of one.
 * - Buffers handed in must stay unchanged until the call has ended. Chunks handed out are only lent for the call.
 */
import type { Answer } from '../vfs/contract.ts'

/** The name of an object: Unicode text, 1 to 1024 bytes as UTF-8. What isn't gets 'bad-name'. */
export type ObjectKey = string

/** The name of one state of one object: opaque, without quotes. Equal tags of one key mean equal bytes. */
export type ETag = string

/** Text by lower-case name, printable ASCII, 2 KiB at most in all: `x-amz-meta-*` without the prefix. */
export type Metadata = Readonly<Record<string, string>>

export interface CallOptions {
  readonly signal?: AbortSignal | undefined
}

/** What a listing tells of an object. */
export interface ListedObject {
  readonly key: ObjectKey
  readonly sizeBytes: number
  readonly etag: ETag
  /** When the store took it, by the store's clock. */
  readonly modifiedMs: number
}

/** What the object itself tells. */
export interface ObjectInfo extends ListedObject {
  readonly metadata: Metadata
  readonly contentType: string | undefined
  /** Where the bucket keeps versions. */
  readonly versionId: string | undefined
}

export interface ListOptions extends CallOptions {
  readonly prefix?: string
  /** Keys that go on beyond the next delimiter after the prefix are folded into `prefixes`. */
  readonly delimiter?: string
  /** `next` of the page before. */
  readonly continuation?: string | undefined
  /** At most this many objects and prefixes together; a store may give fewer, 1000 at most. */
  readonly maximumKeys?: number
}

export interface ListPage {
  /** In order of their UTF-8 bytes, after those of the page before. */
  readonly objects: readonly ListedObject[]
  readonly prefixes: readonly string[]
  /** Undefined: this was the last page. */
  readonly next: string | undefined
}

/** A run of bytes. A range that goes on past the end is cut there; one that begins there or later is 'invalid'. */
export interface ByteRange {
  readonly offset: number
  readonly lengthBytes: number
}

export interface GetOptions extends CallOptions {
  /** All of it when undefined. */
  readonly range?: ByteRange | undefined
  /** Only this state of the object; another one is 'stale'. */
  readonly ifMatch?: ETag | undefined
  readonly versionId?: string | undefined
}

/**
 * Takes the bytes in order, each once. The chunk is lent until the function (or its promise) is done. A promise holds the
 * transfer back. What it throws ends the transfer and is what `get` throws.
 */
export type Consume = (chunk: Buffer, info: ObjectInfo) => Answer<void>

/** Bytes to send: at hand, or made anew each time that they have to be sent. */
export type Body = Uint8Array | BodySource

export interface BodySource {
  readonly sizeBytes: number
  /** The same bytes at each call. A short or long one fails the write with 'io'. */
  open(): AsyncIterable<Uint8Array>
}

/** A write only takes place when nothing is there ('exists' otherwise), or just this ('stale' otherwise, also when it's gone). */
export type Condition = { readonly absent: true } | { readonly match: ETag }

export interface WriteOptions extends CallOptions {
  readonly metadata?: Metadata | undefined
  readonly contentType?: string | undefined
  /**
   * A token of this one write, kept with the object as metadata `sdmount-write`: when the answer was lost, it tells whether
   * the write took place.
   */
  readonly writeId?: string | undefined
}

export interface PutOptions extends WriteOptions {
  readonly condition?: Condition | undefined
  /** SHA-256 of the body in hex where the caller knows it; else it's computed. */
  readonly sha256?: string | undefined
}

export interface PutResult {
  readonly etag: ETag
  readonly versionId: string | undefined
}

export interface CopyOptions extends CallOptions {
  /** Only this state of the source; another one is 'stale'. Needs `copyIfMatch`. */
  readonly sourceIfMatch?: ETag | undefined
  /** New metadata and content type; undefined: those of the source. */
  readonly replace?: WriteOptions | undefined
  /** The size of the source where it is known: spares a question. */
  readonly sizeBytes?: number | undefined
}

export interface DeleteFailure {
  readonly key: ObjectKey
  readonly error: Error
}

/** Differences between stores, as data. All sizes in bytes. */
export interface BackendCapabilities {
  /** This key may write. */
  readonly writable: boolean
  readonly putIfAbsent: boolean
  readonly putIfMatch: boolean
  readonly completeIfAbsent: boolean
  readonly completeIfMatch: boolean
  readonly copyIfMatch: boolean
  readonly deleteIfMatch: boolean
  /** The bucket keeps what is overwritten. */
  readonly versions: boolean
  /** The tag of an object that was put whole is the MD5 of its bytes: whole reads are checked against it. */
  readonly etagIsMd5: boolean
  readonly maximumPutBytes: number
  readonly minimumPartBytes: number
  readonly maximumPartBytes: number
  readonly maximumParts: number
  readonly maximumObjectBytes: number
}

/** An object store: one bucket, seen through one key. */
export interface Backend {
  /** For people: `s3://bucket at endpoint`. No secrets. */
  readonly description: string
  readonly capabilities: BackendCapabilities
  readonly uploads: MultipartUploads
  /** Answers when the bucket can be listed; throws one clear line when not. Changes nothing. */
  check(options?: CallOptions): Promise<void>
  /** One page. Repeating it is harmless. What is written meanwhile may or may not be in it. */
  list(options?: ListOptions): Promise<ListPage>
  /** Throws 'not-found'. */
  head(key: ObjectKey, options?: CallOptions & { readonly versionId?: string }): Promise<ObjectInfo>
  /**
   * Hands the bytes to `consume` and answers when all have been taken. Throws 'not-found', 'stale', 'invalid' (range), and
   * 'damaged' when a checksum doesn't fit: then the chunks that were handed out are worth nothing.
   */
  get(key: ObjectKey, consume: Consume, options?: GetOptions): Promise<ObjectInfo>
  /**
   * Makes or replaces an object. The store checks what arrived against its SHA-256 ('damaged'). Throws 'exists' and 'stale'
   * (condition), 'not-supported' (condition), 'file-too-large', 'quota', 'read-only'. Without a condition repeating is harmless.
   */
  put(key: ObjectKey, body: Body, options?: PutOptions): Promise<PutResult>
  /**
   * Copies within the bucket, whatever the size, without the bytes coming here. Throws 'not-found', 'stale', 'not-supported'.
   * Repeating is harmless; an aborted copy of a large object leaves no upload behind where that can be helped.
   */
  copy(source: ObjectKey, target: ObjectKey, options?: CopyOptions): Promise<PutResult>
  /** Also when it was gone already. With `ifMatch` (needs `deleteIfMatch`) throws 'stale' when it is another state by now. */
  delete(key: ObjectKey, options?: CallOptions & { readonly ifMatch?: ETag }): Promise<void>
  /** Deletes any number; answers those that failed (what is gone already didn't). Repeating is harmless. */
  deleteMany(keys: readonly ObjectKey[], options?: CallOptions): Promise<DeleteFailure[]>
  /** Ends all that is under way with 'interrupted'. Afterwards no method is called. */
  close(): void
}

/** An upload in parts: nothing is seen of it until it is completed. */
export interface Upload {
  readonly key: ObjectKey
  readonly uploadId: string
}

export interface UploadedPart {
  /** From 1. */
  readonly number: number
  readonly etag: ETag
  readonly sizeBytes: number
}

/** Uploads in parts, which can be resumed by whoever knows their id. An unknown or ended upload is 'not-found'. */
export interface MultipartUploads {
  /** Repeating leaves an empty upload behind, which `list` finds. */
  create(key: ObjectKey, options?: WriteOptions): Promise<Upload>
  /** Part `number` again replaces it. All parts but the last are of at least `minimumPartBytes`. */
  putPart(upload: Upload, number: number, body: Body, options?: CallOptions & { readonly sha256?: string }): Promise<UploadedPart>
  /** A part from bytes of another object of the bucket. Throws 'stale', 'not-supported' (needs `copyIfMatch` for a condition). */
  copyPart(
    upload: Upload,
    number: number,
    source: ObjectKey,
    range: ByteRange,
    options?: CallOptions & { readonly sourceIfMatch?: ETag },
  ): Promise<UploadedPart>
  /** What arrived so far, by number. */
  parts(upload: Upload, options?: CallOptions): Promise<UploadedPart[]>
  /**
   * Makes the object from its parts, in ascending numbers. Throws 'invalid' (a part is missing, another, or too small),
   * 'exists' and 'stale' (condition). When the answer was lost, the upload is gone: `head` and `writeId` tell.
   */
  complete(
    upload: Upload,
    parts: readonly UploadedPart[],
    options?: CallOptions & { readonly condition?: Condition; readonly writeId?: string },
  ): Promise<PutResult>
  /** Also when it is gone already. */
  abort(upload: Upload, options?: CallOptions): Promise<void>
  /** Uploads under way below a prefix, for the clearing of orphans. */
  list(prefix: string, options?: CallOptions): Promise<(Upload & { readonly startedMs: number })[]>
}
