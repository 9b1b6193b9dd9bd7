/**
 * Uploads in parts of the bucket in memory.
 *
 * Owns: the uploads under way. Must stay true: it refuses what a server refuses: small parts, wrong tags, wrong order, ended uploads.
 */
import { createHash, hash, randomBytes } from 'node:crypto'
import { collect } from './body.ts'
import type {
  BackendCapabilities,
  Body,
  ByteRange,
  CallOptions,
  Condition,
  ETag,
  MultipartUploads,
  ObjectKey,
  PutResult,
  Upload,
  UploadedPart,
  WriteOptions,
} from './contract.ts'
import { BackendError, checkKey, checkMetadata } from './errors.ts'
import type { StoredObject } from './memory.ts'

/** What the bucket does for its uploads. */
interface Bucket {
  readonly capabilities: BackendCapabilities
  readonly now: () => number
  begin(operation: string, options: CallOptions): Promise<void>
  find(key: ObjectKey): StoredObject
  checkCondition(key: ObjectKey, condition: Condition | undefined, operation: string): void
  store(key: ObjectKey, bytes: Buffer, etag: ETag, options: WriteOptions): PutResult
}

interface Pending {
  readonly key: ObjectKey
  readonly startedMs: number
  readonly options: WriteOptions
  readonly parts: Map<number, { readonly bytes: Buffer; readonly etag: ETag }>
}

export class MemoryUploads implements MultipartUploads {
  readonly #bucket: Bucket
  readonly #pending = new Map<string, Pending>()

  constructor(bucket: Bucket) {
    this.#bucket = bucket
  }

  async create(key: ObjectKey, options: WriteOptions = {}): Promise<Upload> {
    checkKey(key, 'create-upload')
    checkMetadata(options.metadata, 'create-upload')
    await this.#bucket.begin('create-upload', options)
    if (!this.#bucket.capabilities.writable)
      throw new BackendError('access-denied', 'the server denies access', { operation: 'create-upload', subject: key })
    const uploadId = randomBytes(16).toString('hex')
    const { metadata, contentType, writeId } = options
    this.#pending.set(uploadId, { key, startedMs: this.#bucket.now(), options: { metadata, contentType, writeId }, parts: new Map() })
    return { key, uploadId }
  }

  async putPart(
    upload: Upload,
    number: number,
    body: Body,
    options: CallOptions & { readonly sha256?: string } = {},
  ): Promise<UploadedPart> {
    await this.#bucket.begin('put-part', options)
    this.#find(upload, 'put-part')
    const bytes = await collect(body, this.#bucket.capabilities.maximumPartBytes, options.signal)
    if (options.sha256 !== undefined && hash('sha256', bytes, 'hex') !== options.sha256)
      throw new BackendError('damaged', 'the bytes arrived damaged', { operation: 'put-part', subject: upload.key, transient: true })
    return this.#add(upload, number, bytes)
  }

  async copyPart(
    upload: Upload,
    number: number,
    source: ObjectKey,
    range: ByteRange,
    options: CallOptions & { readonly sourceIfMatch?: ETag } = {},
  ): Promise<UploadedPart> {
    await this.#bucket.begin('copy-part', options)
    if (options.sourceIfMatch !== undefined && !this.#bucket.capabilities.copyIfMatch)
      throw new BackendError('not-supported', 'this store ignores conditions on copies', { operation: 'copy-part' })
    const { info, bytes } = this.#bucket.find(source)
    if (options.sourceIfMatch !== undefined && options.sourceIfMatch !== info.etag)
      throw new BackendError('stale', 'the object was changed meanwhile', { operation: 'copy-part', subject: source })
    if (range.offset + range.lengthBytes > bytes.length)
      throw new BackendError('invalid', 'the range ends past the end', { operation: 'copy-part', subject: source })
    return this.#add(upload, number, Buffer.from(bytes.subarray(range.offset, range.offset + range.lengthBytes)))
  }

  async parts(upload: Upload, options: CallOptions = {}): Promise<UploadedPart[]> {
    await this.#bucket.begin('list-parts', options)
    return [...this.#find(upload, 'list-parts').parts]
      .map(([number, part]) => ({ number, etag: part.etag, sizeBytes: part.bytes.length }))
      .sort((a, b) => a.number - b.number)
  }

  async complete(
    upload: Upload,
    parts: readonly UploadedPart[],
    options: CallOptions & { readonly condition?: Condition } = {},
  ): Promise<PutResult> {
    await this.#bucket.begin('complete-upload', options)
    const { condition } = options
    const { capabilities } = this.#bucket
    if (condition && !('absent' in condition ? capabilities.completeIfAbsent : capabilities.completeIfMatch))
      throw new BackendError('not-supported', 'this store ignores conditions here', { operation: 'complete-upload' })
    const pending = this.#find(upload, 'complete-upload')
    const invalid = (message: string) => new BackendError('invalid', message, { operation: 'complete-upload', subject: upload.key })
    if (parts.length === 0) throw invalid('an upload has at least one part')
    const found = parts.map((part, i) => {
      const there = pending.parts.get(part.number)
      if (!there || there.etag !== part.etag) throw invalid('a part of the upload is missing or another')
      if (i > 0 && part.number <= parts[i - 1]!.number) throw invalid('the parts of the upload are out of order')
      if (i < parts.length - 1 && there.bytes.length < capabilities.minimumPartBytes) throw invalid('a part of the upload is too small')
      return there
    })
    this.#bucket.checkCondition(upload.key, condition, 'complete-upload')
    const sum = createHash('md5')
    for (const part of found) sum.update(part.etag, 'hex')
    this.#pending.delete(upload.uploadId)
    return this.#bucket.store(
      upload.key,
      Buffer.concat(found.map(part => part.bytes)),
      `${sum.digest('hex')}-${found.length}`,
      pending.options,
    )
  }

  async abort(upload: Upload, options: CallOptions = {}): Promise<void> {
    await this.#bucket.begin('abort-upload', options)
    this.#pending.delete(upload.uploadId)
  }

  async list(prefix: string, options: CallOptions = {}): ReturnType<MultipartUploads['list']> {
    await this.#bucket.begin('list-uploads', options)
    const all = [...this.#pending].filter(([, pending]) => pending.key.startsWith(prefix))
    return all.map(([uploadId, pending]) => ({ key: pending.key, uploadId, startedMs: pending.startedMs }))
  }

  #find(upload: Upload, operation: string): Pending {
    const pending = this.#pending.get(upload.uploadId)
    if (!pending || pending.key !== upload.key) throw new BackendError('not-found', 'no such upload', { operation, subject: upload.key })
    return pending
  }

  #add(upload: Upload, number: number, bytes: Buffer): UploadedPart {
    const { maximumParts } = this.#bucket.capabilities
    if (!Number.isInteger(number) || number < 1 || number > maximumParts)
      throw new BackendError('invalid', `part numbers go from 1 to ${maximumParts}`, { operation: 'put-part', subject: upload.key })
    const etag = createHash('md5').update(bytes).digest('hex')
    this.#find(upload, 'put-part').parts.set(number, { bytes, etag })
    return { number, etag, sizeBytes: bytes.length }
  }
}
