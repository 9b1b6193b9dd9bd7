/**
 * Uploads in parts on an S3 server.
 *
 * Owns: `MultipartUploads`: parts go through the data plane, the rest through the SDK. Must stay true: `complete` always answers
 * a tag (Ceph 16 answers an empty one: it is asked for), and conditions that the server ignores are refused.
 */
import { errorKind } from '../../errors.ts'
import type {
  BackendCapabilities,
  Body,
  ByteRange,
  CallOptions,
  Condition,
  ETag,
  MultipartUploads,
  ObjectInfo,
  ObjectKey,
  PutResult,
  Upload,
  UploadedPart,
  WriteOptions,
} from '../contract.ts'
import { BackendError, checkKey, checkMetadata, withWriteId } from '../errors.ts'
import { bareETag } from './answers.ts'
import type { ControlPlane } from './control-plane.ts'
import type { DataPlane } from './data-plane.ts'
import { encodePath } from './signature.ts'

export class S3Uploads implements MultipartUploads {
  readonly #bucket: string
  readonly #capabilities: BackendCapabilities
  readonly #data: DataPlane
  readonly #control: ControlPlane
  readonly #head: (key: ObjectKey, options: CallOptions) => Promise<ObjectInfo>

  constructor(
    bucket: string,
    capabilities: BackendCapabilities,
    data: DataPlane,
    control: ControlPlane,
    head: (key: ObjectKey, options: CallOptions) => Promise<ObjectInfo>,
  ) {
    this.#bucket = bucket
    this.#capabilities = capabilities
    this.#data = data
    this.#control = control
    this.#head = head
  }

  create(key: ObjectKey, options: WriteOptions = {}): Promise<Upload> {
    checkKey(key, 'create-upload')
    checkMetadata(options.metadata, 'create-upload')
    return this.#control.createUpload(key, withWriteId(options.metadata, options.writeId), options.contentType, options)
  }

  async putPart(
    upload: Upload,
    number: number,
    body: Body,
    options: CallOptions & { readonly sha256?: string } = {},
  ): Promise<UploadedPart> {
    const sizeBytes = body instanceof Uint8Array ? body.byteLength : body.sizeBytes
    const answer = await this.#data.request({
      operation: 'put-part',
      method: 'PUT',
      key: upload.key,
      query: { partNumber: String(number), uploadId: upload.uploadId },
      body,
      sha256: options.sha256,
      signal: options.signal,
    })
    return { number, etag: bareETag(answer.headers.etag), sizeBytes }
  }

  async copyPart(
    upload: Upload,
    number: number,
    source: ObjectKey,
    range: ByteRange,
    options: CallOptions & { readonly sourceIfMatch?: ETag } = {},
  ): Promise<UploadedPart> {
    if (options.sourceIfMatch !== undefined && !this.#capabilities.copyIfMatch)
      throw new BackendError('not-supported', 'this server ignores conditions on copies', { operation: 'copy-part' })
    const bytes = `bytes=${range.offset}-${range.offset + range.lengthBytes - 1}`
    const etag = await this.#control.copyPart(
      upload,
      number,
      `${this.#bucket}/${encodePath(source)}`,
      bytes,
      options.sourceIfMatch,
      options,
    )
    return { number, etag, sizeBytes: range.lengthBytes }
  }

  parts(upload: Upload, options: CallOptions = {}): Promise<UploadedPart[]> {
    return this.#control.parts(upload, options)
  }

  async complete(
    upload: Upload,
    parts: readonly UploadedPart[],
    options: CallOptions & { readonly condition?: Condition } = {},
  ): Promise<PutResult> {
    const { condition } = options
    if (condition) {
      const supported = 'absent' in condition ? this.#capabilities.completeIfAbsent : this.#capabilities.completeIfMatch
      if (!supported)
        throw new BackendError('not-supported', 'this server ignores conditions on uploads in parts', { operation: 'complete-upload' })
    }
    const result = await this.#complete(upload, parts, options)
    if (result.etag !== '') return result
    try {
      const info = await this.#head(upload.key, options)
      return { etag: info.etag, versionId: info.versionId }
    } catch (cause) {
      // The object is made, only its tag couldn't be asked for: whoever repeats this has to look first.
      throw new BackendError('io', 'the upload was completed, but its tag is unknown', {
        operation: 'complete-upload',
        transient: true,
        mayHaveHappened: true,
        cause,
      })
    }
  }

  async #complete(
    upload: Upload,
    parts: readonly UploadedPart[],
    options: CallOptions & { readonly condition?: Condition },
  ): Promise<PutResult> {
    try {
      return await this.#control.completeUpload(upload, parts, options.condition, options)
    } catch (error) {
      // Ceph 16 fails with 500 when the upload is gone: asked for its parts, it says so.
      if (!(error instanceof BackendError && error.code === 'InternalError')) throw error
      await this.parts(upload, options).catch((cause: unknown) => {
        if (errorKind(cause) !== 'not-found') throw error
        throw new BackendError('not-found', 'no such upload', { operation: 'complete-upload', subject: upload.key, mayHaveHappened: true })
      })
      throw error
    }
  }

  abort(upload: Upload, options: CallOptions = {}): Promise<void> {
    return this.#control.abortUpload(upload, options)
  }

  list(prefix: string, options: CallOptions = {}): ReturnType<MultipartUploads['list']> {
    return this.#control.uploads(prefix, options)
  }
}
