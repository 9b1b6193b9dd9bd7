/**
 * A bucket on an S3 server as a `Backend`.
 *
 * Owns: the composition of the data plane (our own signed requests: all that is called often) and the control plane (the SDK).
 * Must stay true: a condition that this server ignores is refused here, before anything is sent; an answer is checked to be about
 * what was asked for (tag, range) before its bytes are handed on.
 */
import { createHash } from 'node:crypto'
import type {
  Backend,
  BackendCapabilities,
  Body,
  ByteRange,
  CallOptions,
  Condition,
  Consume,
  CopyOptions,
  DeleteFailure,
  ETag,
  GetOptions,
  ListOptions,
  ListPage,
  MultipartUploads,
  ObjectInfo,
  ObjectKey,
  PutOptions,
  PutResult,
} from '../contract.ts'
import { BackendError, checkKey, checkMetadata, withWriteId } from '../errors.ts'
import { bareETag, errorCode, objectInfo, refusalError } from './answers.ts'
import { ControlPlane } from './control-plane.ts'
import { DataPlane } from './data-plane.ts'
import { parseListing } from './listing.ts'
import type { S3Settings } from './settings.ts'
import { encodePath } from './signature.ts'
import { capabilitiesOf, type S3Traits } from './traits.ts'
import { S3Uploads } from './uploads.ts'
import { xmlText } from './xml.ts'

const DEFAULT_CONTENT_TYPE = 'application/octet-stream'
/** A copy in one request takes as long as the server needs; larger ones go in parts of this size, several at a time. */
const COPY_PART_BYTES = 512 * 2 ** 20
const COPY_PARTS_AT_ONCE = 4
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are just what XML can't hold
const NOT_XML = /[\u0000-\u0008\u000a-\u001f\ufffe\uffff]/

export class S3Backend implements Backend {
  readonly description: string
  readonly capabilities: BackendCapabilities
  readonly uploads: MultipartUploads
  readonly #traits: S3Traits
  readonly #bucket: string
  readonly #data: DataPlane
  readonly #control: ControlPlane

  constructor(settings: S3Settings, now: () => number = Date.now) {
    this.#traits = settings.traits
    this.#bucket = settings.bucket
    this.capabilities = capabilitiesOf(settings.traits)
    this.#data = new DataPlane(settings, now)
    this.#control = new ControlPlane(settings, this.#data)
    this.description =
      settings.endpoint === undefined
        ? `s3://${settings.bucket} (${settings.region})`
        : `s3://${settings.bucket} at ${this.#data.address.endpoint}`
    this.uploads = new S3Uploads(this.#bucket, this.capabilities, this.#data, this.#control, (key, options) => this.head(key, options))
  }

  async check(options: CallOptions = {}): Promise<void> {
    await this.#data.request({ operation: 'check', method: 'GET', query: { 'list-type': '2', 'max-keys': '1' }, signal: options.signal })
  }

  async list(options: ListOptions = {}): Promise<ListPage> {
    const { body } = await this.#data.request({
      operation: 'list',
      method: 'GET',
      query: {
        'list-type': '2',
        'encoding-type': 'url',
        'max-keys': String(Math.min(options.maximumKeys ?? 1000, 1000)),
        prefix: options.prefix || undefined,
        delimiter: options.delimiter || undefined,
        'continuation-token': options.continuation,
      },
      signal: options.signal,
    })
    return parseListing(body.toString('utf8'))
  }

  async head(key: ObjectKey, options: CallOptions & { readonly versionId?: string } = {}): Promise<ObjectInfo> {
    checkKey(key, 'head')
    try {
      const answer = await this.#data.request({
        operation: 'head',
        method: 'HEAD',
        key,
        query: { versionId: options.versionId },
        signal: options.signal,
      })
      return objectInfo(key, answer)
    } catch (error) {
      // An answer to HEAD has no body that could tell a missing object from a missing bucket.
      if (error instanceof BackendError && error.kind === 'not-found') await this.check(options)
      throw error
    }
  }

  async get(key: ObjectKey, consume: Consume, options: GetOptions = {}): Promise<ObjectInfo> {
    checkKey(key, 'get')
    const { range, ifMatch } = options
    if (range && range.lengthBytes <= 0) throw new BackendError('invalid', 'an empty range', { operation: 'get', subject: key })
    const check = new GetCheck(key, range, ifMatch, this.#traits.etagIsMd5)
    const answer = await this.#data.request({
      operation: 'get',
      method: 'GET',
      key,
      query: { versionId: options.versionId },
      headers: { range: range && `bytes=${range.offset}-${range.offset + range.lengthBytes - 1}`, 'if-match': ifMatch && `"${ifMatch}"` },
      condition: ifMatch === undefined ? undefined : { match: ifMatch },
      signal: options.signal,
      consume: (chunk, head) => consume(chunk, check.chunk(chunk, head)),
    })
    return check.end(answer)
  }

  async put(key: ObjectKey, body: Body, options: PutOptions = {}): Promise<PutResult> {
    checkKey(key, 'put')
    checkMetadata(options.metadata, 'put')
    const sizeBytes = body instanceof Uint8Array ? body.byteLength : body.sizeBytes
    if (sizeBytes > this.capabilities.maximumPutBytes)
      throw new BackendError('file-too-large', 'too large for one request', { operation: 'put', subject: key })
    const answer = await this.#data.request({
      operation: 'put',
      method: 'PUT',
      key,
      headers: { ...writeHeaders(options), ...this.#conditionHeaders(options.condition) },
      body,
      sha256: options.sha256,
      condition: options.condition,
      signal: options.signal,
    })
    return { etag: bareETag(answer.headers.etag), versionId: answer.headers['x-amz-version-id'] }
  }

  async copy(source: ObjectKey, target: ObjectKey, options: CopyOptions = {}): Promise<PutResult> {
    checkKey(source, 'copy')
    checkKey(target, 'copy')
    checkMetadata(options.replace?.metadata, 'copy')
    if (options.sourceIfMatch !== undefined && !this.capabilities.copyIfMatch)
      throw new BackendError('not-supported', 'this server ignores conditions on copies', { operation: 'copy' })
    const info = options.sizeBytes === undefined ? await this.head(source, options) : undefined
    const sizeBytes = options.sizeBytes ?? info!.sizeBytes
    if (sizeBytes > this.capabilities.maximumPutBytes)
      return this.#copyInParts(source, target, options, info ?? (await this.head(source, options)))
    const answer = await this.#data.request({
      operation: 'copy',
      method: 'PUT',
      key: target,
      headers: {
        'x-amz-copy-source': `/${this.#bucket}/${encodePath(source)}`,
        'x-amz-copy-source-if-match': options.sourceIfMatch && `"${options.sourceIfMatch}"`,
        ...(options.replace ? { 'x-amz-metadata-directive': 'REPLACE', ...writeHeaders(options.replace) } : {}),
      },
      condition: options.sourceIfMatch === undefined ? undefined : { match: options.sourceIfMatch },
      signal: options.signal,
    })
    return { etag: copyETag(answer.body, source), versionId: answer.headers['x-amz-version-id'] }
  }

  async delete(key: ObjectKey, options: CallOptions & { readonly ifMatch?: ETag } = {}): Promise<void> {
    checkKey(key, 'delete')
    const { ifMatch } = options
    if (ifMatch !== undefined && !this.capabilities.deleteIfMatch)
      throw new BackendError('not-supported', 'this server ignores conditions on deletions', { operation: 'delete' })
    try {
      await this.#data.request({
        operation: 'delete',
        method: 'DELETE',
        key,
        headers: { 'if-match': ifMatch && `"${ifMatch}"` },
        condition: ifMatch === undefined ? undefined : { match: ifMatch },
        signal: options.signal,
      })
    } catch (error) {
      if (!(error instanceof BackendError && error.kind === 'not-found')) throw error
    }
  }

  async deleteMany(keys: readonly ObjectKey[], options: CallOptions = {}): Promise<DeleteFailure[]> {
    for (const key of keys) checkKey(key, 'delete')
    const failures: DeleteFailure[] = []
    // The request is XML, which can't hold every character that a key can: those go one by one.
    for (const key of keys.filter(key => NOT_XML.test(key))) {
      await this.delete(key, options).catch((error: unknown) => {
        if (!(error instanceof BackendError) || error.kind === 'interrupted') throw error
        failures.push({ key, error })
      })
    }
    const plain = keys.filter(key => !NOT_XML.test(key))
    return plain.length === 0 ? failures : [...failures, ...(await this.#control.deleteMany(plain, options))]
  }

  close(): void {
    this.#data.close()
    this.#control.close()
  }

  /** For the probe, which has to ask what nobody may rely on yet. */
  get planes(): { readonly data: DataPlane; readonly control: ControlPlane } {
    return { data: this.#data, control: this.#control }
  }

  #conditionHeaders(condition: Condition | undefined): Record<string, string> {
    if (condition === undefined) return {}
    const supported = 'absent' in condition ? this.capabilities.putIfAbsent : this.capabilities.putIfMatch
    if (!supported) throw new BackendError('not-supported', 'this server ignores conditions on writes', { operation: 'put' })
    if ('absent' in condition) return { 'if-none-match': '*' }
    return { 'if-match': this.#traits.putIfMatch === 'unquoted' ? condition.match : `"${condition.match}"` }
  }

  /** Larger than one copy request takes: an upload whose parts are copies. */
  async #copyInParts(source: ObjectKey, target: ObjectKey, options: CopyOptions, info: ObjectInfo): Promise<PutResult> {
    const write = options.replace ?? { metadata: info.metadata, contentType: info.contentType }
    const upload = await this.uploads.create(target, { ...write, signal: options.signal })
    try {
      const partBytes = Math.max(COPY_PART_BYTES, Math.ceil(info.sizeBytes / this.capabilities.maximumParts))
      const count = Math.ceil(info.sizeBytes / partBytes)
      const parts = Array.from({ length: count }, (_, i) => i)
      const condition = this.capabilities.copyIfMatch ? { sourceIfMatch: info.etag } : {}
      const done = await inTurns(parts, COPY_PARTS_AT_ONCE, i => {
        const range: ByteRange = { offset: i * partBytes, lengthBytes: Math.min(partBytes, info.sizeBytes - i * partBytes) }
        return this.uploads.copyPart(upload, i + 1, source, range, { ...condition, ...(options.signal ? { signal: options.signal } : {}) })
      })
      return await this.uploads.complete(upload, done, options.signal ? { signal: options.signal } : {})
    } catch (error) {
      await this.uploads.abort(upload).catch(() => {})
      throw error
    }
  }
}

/** Holds what comes against what was asked for. */
class GetCheck {
  readonly #key: string
  readonly #range: ByteRange | undefined
  readonly #ifMatch: ETag | undefined
  readonly #etagIsMd5: boolean
  #info: ObjectInfo | undefined
  #sum: ReturnType<typeof createHash> | undefined

  constructor(key: string, range: ByteRange | undefined, ifMatch: ETag | undefined, etagIsMd5: boolean) {
    this.#key = key
    this.#range = range
    this.#ifMatch = ifMatch
    this.#etagIsMd5 = etagIsMd5
  }

  chunk(chunk: Buffer, head: { readonly status: number; readonly headers: Readonly<Record<string, string>> }): ObjectInfo {
    this.#info ??= this.#begin(head)
    this.#sum?.update(chunk)
    return this.#info
  }

  end(head: { readonly status: number; readonly headers: Readonly<Record<string, string>> }): ObjectInfo {
    const info = (this.#info ??= this.#begin(head))
    if (this.#sum && this.#sum.digest('hex') !== info.etag)
      throw new BackendError('damaged', 'the bytes do not fit the checksum', { operation: 'get', subject: this.#key, transient: true })
    return info
  }

  #begin(head: { readonly status: number; readonly headers: Readonly<Record<string, string>> }): ObjectInfo {
    const info = objectInfo(this.#key, head)
    if (this.#ifMatch !== undefined && info.etag !== this.#ifMatch)
      throw new BackendError('stale', 'the object was changed meanwhile', { operation: 'get', subject: this.#key })
    if (this.#range && head.status === 206 && !head.headers['content-range']?.startsWith(`bytes ${this.#range.offset}-`))
      throw new BackendError('io', 'the server sent another range', { operation: 'get', subject: this.#key, transient: true })
    if (this.#range && head.status !== 206 && (this.#range.offset > 0 || info.sizeBytes > this.#range.lengthBytes))
      throw new BackendError('not-supported', 'the server ignores ranges', { operation: 'get', subject: this.#key })
    const whole = !this.#range || (this.#range.offset === 0 && this.#range.lengthBytes >= info.sizeBytes)
    const encrypted =
      head.headers['x-amz-server-side-encryption'] === 'aws:kms' ||
      head.headers['x-amz-server-side-encryption-customer-algorithm'] !== undefined
    if (whole && this.#etagIsMd5 && !encrypted && /^[0-9a-f]{32}$/.test(info.etag)) this.#sum = createHash('md5')
    return info
  }
}

/** Headers of metadata and content type. */
export function writeHeaders(options: {
  readonly metadata?: Readonly<Record<string, string>> | undefined
  readonly contentType?: string | undefined
  readonly writeId?: string | undefined
}): Record<string, string> {
  const headers: Record<string, string> = { 'content-type': options.contentType ?? DEFAULT_CONTENT_TYPE }
  const metadata = withWriteId(options.metadata, options.writeId)
  for (const name in metadata) headers[`x-amz-meta-${name}`] = metadata[name]!
  return headers
}

/** A copy may fail after the server had begun to answer 200. */
function copyETag(body: Buffer, source: ObjectKey): ETag {
  const xml = body.toString('utf8')
  const etag = xmlText(xml, 'ETag')
  if (etag !== undefined && xmlText(xml, 'Code') === undefined) return bareETag(etag)
  throw refusalError({ operation: 'copy', subject: source, status: 500, code: errorCode(body) })
}

/** Maps in order, a few at a time. */
async function inTurns<T, R>(items: readonly T[], atOnce: number, work: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = new Array(items.length)
  let next = 0
  const worker = async () => {
    while (next < items.length) {
      const i = next++
      results[i] = await work(items[i]!)
    }
  }
  await Promise.all(Array.from({ length: Math.min(atOnce, items.length) }, worker))
  return results
}
