/**
 * What is asked of S3 seldom: multipart uploads' beginning and end, bulk deletion, versioning. Through the SDK, which is the one
 * entry point of @aws-sdk/client-s3 and is loaded when first needed (loading takes longer than mounting).
 *
 * Owns: the SDK client, and the turning of its exceptions into `BackendError`s.
 * Must stay true: the SDK never retries by itself (retry.ts does, in one place for all); no checksums that old servers refuse
 * (a streamed body with a trailing checksum gets 411 from Ceph 16).
 */
import type { CompletedPart, S3Client } from '@aws-sdk/client-s3'
import type { CallOptions, Condition, DeleteFailure, Metadata, ObjectKey, Upload, UploadedPart } from '../contract.ts'
import { BackendError, interrupted } from '../errors.ts'
import { DEFAULT_POOL_LIMITS } from '../http/pool.ts'
import { bareETag, refusalError } from './answers.ts'
import type { DataPlane } from './data-plane.ts'
import type { S3Settings } from './settings.ts'

type Sdk = typeof import('@aws-sdk/client-s3')

interface Asked {
  readonly operation: string
  readonly key?: string
  readonly condition?: Condition | undefined
  readonly signal?: AbortSignal | undefined
}

const DELETE_BATCH = 1000
/** Completing an upload of ten thousand parts takes its time. */
const REQUEST_TIMEOUT_MS = 600_000

export class ControlPlane {
  readonly #settings: S3Settings
  readonly #dataPlane: DataPlane
  #client: Promise<{ readonly sdk: Sdk; readonly client: S3Client }> | undefined
  readonly #closing = new AbortController()

  constructor(settings: S3Settings, dataPlane: DataPlane) {
    this.#settings = settings
    this.#dataPlane = dataPlane
  }

  close(): void {
    this.#closing.abort()
    this.#client?.then(
      ({ client }) => client.destroy(),
      () => {},
    )
  }

  async createUpload(key: ObjectKey, metadata: Metadata, contentType: string | undefined, options: CallOptions): Promise<Upload> {
    const answer = await this.#ask({ operation: 'create-upload', key, signal: options.signal }, (sdk, client, abortSignal) =>
      client.send(
        new sdk.CreateMultipartUploadCommand({
          ...this.#where(key),
          Metadata: { ...metadata },
          ...(contentType === undefined ? {} : { ContentType: contentType }),
        }),
        {
          abortSignal,
        },
      ),
    )
    if (!answer.UploadId)
      throw new BackendError('io', 'the server gave no upload id', { operation: 'create-upload', subject: key, transient: true })
    return { key, uploadId: answer.UploadId }
  }

  async copyPart(
    upload: Upload,
    number: number,
    source: string,
    range: string,
    sourceIfMatch: string | undefined,
    options: CallOptions,
  ): Promise<string> {
    const condition = sourceIfMatch === undefined ? undefined : { match: sourceIfMatch }
    const answer = await this.#ask(
      { operation: 'copy-part', key: upload.key, condition, signal: options.signal },
      (sdk, client, abortSignal) =>
        client.send(
          new sdk.UploadPartCopyCommand({
            ...this.#where(upload.key),
            UploadId: upload.uploadId,
            PartNumber: number,
            CopySource: source,
            CopySourceRange: range,
            ...(sourceIfMatch === undefined ? {} : { CopySourceIfMatch: `"${sourceIfMatch}"` }),
          }),
          { abortSignal },
        ),
    )
    return bareETag(answer.CopyPartResult?.ETag)
  }

  async parts(upload: Upload, options: CallOptions): Promise<UploadedPart[]> {
    const parts: UploadedPart[] = []
    let marker: string | undefined
    do {
      const page = await this.#ask({ operation: 'list-parts', key: upload.key, signal: options.signal }, (sdk, client, abortSignal) =>
        client.send(
          new sdk.ListPartsCommand({
            ...this.#where(upload.key),
            UploadId: upload.uploadId,
            ...(marker === undefined ? {} : { PartNumberMarker: marker }),
          }),
          { abortSignal },
        ),
      )
      for (const part of page.Parts ?? [])
        parts.push({ number: part.PartNumber ?? 0, etag: bareETag(part.ETag), sizeBytes: part.Size ?? 0 })
      marker = page.IsTruncated && page.NextPartNumberMarker !== marker ? page.NextPartNumberMarker : undefined
    } while (marker !== undefined)
    return parts
  }

  /** The tag may come back empty (Ceph 16). */
  async completeUpload(
    upload: Upload,
    parts: readonly UploadedPart[],
    condition: Condition | undefined,
    options: CallOptions,
  ): Promise<{ readonly etag: string; readonly versionId: string | undefined }> {
    const conditions = condition === undefined ? {} : 'absent' in condition ? { IfNoneMatch: '*' } : { IfMatch: `"${condition.match}"` }
    const completed: CompletedPart[] = parts.map(part => ({ PartNumber: part.number, ETag: `"${part.etag}"` }))
    const answer = await this.#ask(
      { operation: 'complete-upload', key: upload.key, condition, signal: options.signal },
      (sdk, client, abortSignal) =>
        client.send(
          new sdk.CompleteMultipartUploadCommand({
            ...this.#where(upload.key),
            UploadId: upload.uploadId,
            MultipartUpload: { Parts: completed },
            ...conditions,
          }),
          { abortSignal },
        ),
    )
    return { etag: bareETag(answer.ETag), versionId: answer.VersionId }
  }

  async abortUpload(upload: Upload, options: CallOptions): Promise<void> {
    try {
      await this.#ask({ operation: 'abort-upload', key: upload.key, signal: options.signal }, (sdk, client, abortSignal) =>
        client.send(new sdk.AbortMultipartUploadCommand({ ...this.#where(upload.key), UploadId: upload.uploadId }), { abortSignal }),
      )
    } catch (error) {
      if (!(error instanceof BackendError && error.kind === 'not-found')) throw error
    }
  }

  async uploads(prefix: string, options: CallOptions): Promise<(Upload & { readonly startedMs: number })[]> {
    const uploads: (Upload & { readonly startedMs: number })[] = []
    let from: { readonly KeyMarker?: string; readonly UploadIdMarker?: string } = {}
    for (;;) {
      const page = await this.#ask({ operation: 'list-uploads', signal: options.signal }, (sdk, client, abortSignal) =>
        client.send(new sdk.ListMultipartUploadsCommand({ Bucket: this.#settings.bucket, Prefix: prefix, ...from }), { abortSignal }),
      )
      for (const upload of page.Uploads ?? [])
        if (upload.Key !== undefined && upload.UploadId !== undefined)
          uploads.push({ key: upload.Key, uploadId: upload.UploadId, startedMs: upload.Initiated?.getTime() ?? 0 })
      if (!page.IsTruncated || page.NextKeyMarker === undefined || page.NextUploadIdMarker === from.UploadIdMarker) return uploads
      from = {
        KeyMarker: page.NextKeyMarker,
        ...(page.NextUploadIdMarker === undefined ? {} : { UploadIdMarker: page.NextUploadIdMarker }),
      }
    }
  }

  async deleteMany(keys: readonly ObjectKey[], options: CallOptions): Promise<DeleteFailure[]> {
    const failures: DeleteFailure[] = []
    for (let at = 0; at < keys.length; at += DELETE_BATCH) {
      const Objects = keys.slice(at, at + DELETE_BATCH).map(Key => ({ Key }))
      const answer = await this.#ask({ operation: 'delete', signal: options.signal }, (sdk, client, abortSignal) =>
        client.send(new sdk.DeleteObjectsCommand({ Bucket: this.#settings.bucket, Delete: { Objects, Quiet: true } }), { abortSignal }),
      )
      for (const failed of answer.Errors ?? []) {
        const key = failed.Key ?? ''
        const error = refusalError({ operation: 'delete', subject: key, status: 500, code: failed.Code })
        if (error.kind !== 'not-found') failures.push({ key, error })
      }
    }
    return failures
  }

  /** Whether the bucket keeps versions; false where the server doesn't say. */
  async versioning(options: CallOptions): Promise<boolean> {
    try {
      const answer = await this.#ask({ operation: 'versioning', signal: options.signal }, (sdk, client, abortSignal) =>
        client.send(new sdk.GetBucketVersioningCommand({ Bucket: this.#settings.bucket }), { abortSignal }),
      )
      return answer.Status === 'Enabled'
    } catch (error) {
      if (error instanceof BackendError && (error.kind === 'access-denied' || error.kind === 'not-supported')) return false
      throw error
    }
  }

  #where(Key: ObjectKey): { readonly Bucket: string; readonly Key: string } {
    return { Bucket: this.#settings.bucket, Key }
  }

  async #ask<T>(asked: Asked, call: (sdk: Sdk, client: S3Client, signal: AbortSignal) => Promise<T>): Promise<T> {
    const limits = [this.#closing.signal, AbortSignal.timeout(REQUEST_TIMEOUT_MS)]
    const signal = AbortSignal.any(asked.signal ? [...limits, asked.signal] : limits)
    try {
      if (asked.signal?.aborted) throw interrupted(asked.operation)
      this.#client ??= this.#connect()
      const { sdk, client } = await this.#client
      return await call(sdk, client, signal)
    } catch (error) {
      if (asked.signal?.aborted || this.#closing.signal.aborted) throw interrupted(asked.operation)
      throw sdkError(error, asked)
    }
  }

  async #connect(): Promise<{ readonly sdk: Sdk; readonly client: S3Client }> {
    const sdk = await import('@aws-sdk/client-s3')
    const { address } = this.#dataPlane
    const limits = { ...DEFAULT_POOL_LIMITS, ...this.#settings.connections }
    const client = new sdk.S3Client({
      region: this.#settings.region,
      ...(this.#settings.endpoint === undefined ? {} : { endpoint: address.endpoint }),
      forcePathStyle: address.pathStyle,
      credentials: async () => {
        const { accessKeyId, secretAccessKey, sessionToken, expiration } = await this.#dataPlane.credentials()
        return {
          accessKeyId,
          secretAccessKey,
          ...(sessionToken === undefined ? {} : { sessionToken }),
          ...(expiration === undefined ? {} : { expiration }),
        }
      },
      maxAttempts: 1,
      systemClockOffset: this.#dataPlane.serverNowMs - Date.now(),
      requestHandler: { connectionTimeout: limits.connectTimeoutMs, socketTimeout: limits.stallTimeoutMs },
      requestChecksumCalculation: 'WHEN_REQUIRED',
      responseChecksumValidation: 'WHEN_REQUIRED',
    })
    return { sdk, client }
  }
}

interface SdkException {
  readonly name?: string
  readonly message?: string
  readonly code?: string
  readonly Code?: string
  readonly $metadata?: { readonly httpStatusCode?: number }
  readonly $response?: { readonly headers?: Record<string, string> }
}

/** What an exception of the SDK means. */
function sdkError(thrown: unknown, asked: Asked): BackendError {
  if (thrown instanceof BackendError) return thrown
  const error = thrown as SdkException
  const status = error.$metadata?.httpStatusCode
  if (status !== undefined && status >= 300) {
    const code = error.Code ?? (error.name === 'Error' || error.name === 'UnknownError' ? undefined : error.name)
    return refusalError({
      operation: asked.operation,
      subject: asked.key,
      status,
      code,
      retryAfter: error.$response?.headers?.['retry-after'],
      condition: asked.condition,
    })
  }
  // A refusal inside an answer of 200: the server found out while it worked.
  if (status !== undefined)
    return refusalError({
      operation: asked.operation,
      subject: asked.key,
      status: 500,
      code: error.Code ?? error.name,
      condition: asked.condition,
    })
  if (error.name === 'AbortError' || error.name === 'TimeoutError')
    return new BackendError('timed-out', 'the server stopped answering', {
      operation: asked.operation,
      transient: true,
      mayHaveHappened: true,
    })
  const refused = error.code === 'ECONNREFUSED' || error.code === 'ENOTFOUND'
  return new BackendError('offline', error.code ? `no connection to the server (${error.code})` : 'the connection broke', {
    operation: asked.operation,
    transient: true,
    mayHaveHappened: !refused,
    code: error.code ?? error.name,
  })
}
