/**
 * A bucket in memory that checks like a real server: for tests of everything above.
 *
 * Owns: objects, versions and uploads of one process. Must stay true: it refuses whatever S3 refuses (sizes, checksums, part
 * numbers, conditions), lists in byte order in pages, and hands out copies, so that nothing above can lean on what only memory
 * gives. It doesn't: survive, or limit what it holds.
 */
import { createHash, hash, randomBytes } from 'node:crypto'
import { collect } from './body.ts'
import type {
  Backend,
  BackendCapabilities,
  Body,
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
} from './contract.ts'
import { BackendError, checkKey, checkMetadata, interrupted, withWriteId } from './errors.ts'
import { MemoryUploads } from './memory-uploads.ts'

const CHUNK_BYTES = 64 * 1024

export const MEMORY_CAPABILITIES: BackendCapabilities = {
  writable: true,
  putIfAbsent: true,
  putIfMatch: true,
  completeIfAbsent: true,
  completeIfMatch: true,
  copyIfMatch: true,
  deleteIfMatch: true,
  versions: false,
  etagIsMd5: true,
  maximumPutBytes: 5 * 2 ** 30,
  minimumPartBytes: 5 * 2 ** 20,
  maximumPartBytes: 5 * 2 ** 30,
  maximumParts: 10_000,
  maximumObjectBytes: 5 * 2 ** 40,
}

export interface StoredObject {
  readonly info: ObjectInfo
  readonly bytes: Buffer
  readonly utf8: Buffer
}

export class MemoryBackend implements Backend {
  readonly description = 'memory'
  readonly capabilities: BackendCapabilities
  readonly uploads: MultipartUploads
  readonly #now: () => number
  readonly #objects = new Map<ObjectKey, StoredObject>()
  readonly #versions = new Map<string, StoredObject>()
  #sorted: StoredObject[] | undefined
  #closed = false

  constructor(capabilities: Partial<BackendCapabilities> = {}, now: () => number = Date.now) {
    this.capabilities = { ...MEMORY_CAPABILITIES, ...capabilities }
    this.#now = now
    this.uploads = new MemoryUploads({
      capabilities: this.capabilities,
      now,
      begin: (operation, options) => this.#begin(operation, options),
      find: key => this.#find(key, undefined, 'copy-part'),
      checkCondition: (key, condition, operation) => this.#checkCondition(key, condition, operation),
      store: (key, bytes, etag, options) => this.#store(key, bytes, etag, options),
    })
  }

  check(options: CallOptions = {}): Promise<void> {
    return this.#begin('check', options)
  }

  async list(options: ListOptions = {}): Promise<ListPage> {
    await this.#begin('list', options)
    const { prefix = '', delimiter = '' } = options
    const limit = Math.min(options.maximumKeys ?? 1000, 1000)
    const after = options.continuation === undefined ? undefined : Buffer.from(options.continuation, 'base64')
    this.#sorted ??= [...this.#objects.values()].sort((a, b) => Buffer.compare(a.utf8, b.utf8))
    const objects: ObjectInfo[] = []
    const prefixes: string[] = []
    let last = ''
    for (const { info, utf8 } of this.#sorted) {
      if (!info.key.startsWith(prefix)) continue
      const fold = delimiter === '' ? -1 : info.key.indexOf(delimiter, prefix.length)
      const name = fold < 0 ? info.key : info.key.slice(0, fold + delimiter.length)
      if (name === prefixes.at(-1)) continue
      if (after && Buffer.compare(fold < 0 ? utf8 : Buffer.from(name), after) <= 0) continue
      if (objects.length + prefixes.length === limit) return { objects, prefixes, next: Buffer.from(last).toString('base64') }
      if (fold < 0) objects.push({ ...info, metadata: {} })
      else prefixes.push(name)
      last = name
    }
    return { objects, prefixes, next: undefined }
  }

  async head(key: ObjectKey, options: CallOptions & { readonly versionId?: string } = {}): Promise<ObjectInfo> {
    checkKey(key, 'head')
    await this.#begin('head', options)
    return this.#find(key, options.versionId, 'head').info
  }

  async get(key: ObjectKey, consume: Consume, options: GetOptions = {}): Promise<ObjectInfo> {
    checkKey(key, 'get')
    await this.#begin('get', options)
    const { info, bytes } = this.#find(key, options.versionId, 'get')
    if (options.ifMatch !== undefined && options.ifMatch !== info.etag) throw stale('get', key)
    const offset = options.range?.offset ?? 0
    if (options.range && (offset < 0 || offset >= bytes.length || options.range.lengthBytes <= 0))
      throw new BackendError('invalid', 'the range begins past the end', { operation: 'get', subject: key })
    const end = Math.min(bytes.length, options.range ? offset + options.range.lengthBytes : bytes.length)
    for (let at = offset; at < end; at += CHUNK_BYTES) {
      const chunk = Buffer.from(bytes.subarray(at, Math.min(end, at + CHUNK_BYTES)))
      const answer = consume(chunk, info)
      if (answer) await answer
      await this.#begin('get', options)
      // What is kept of a lent chunk must not stay right by accident.
      chunk.fill(0xdb)
    }
    return info
  }

  async put(key: ObjectKey, body: Body, options: PutOptions = {}): Promise<PutResult> {
    checkKey(key, 'put')
    checkMetadata(options.metadata, 'put')
    await this.#begin('put', options)
    this.#requireCondition(options.condition, this.capabilities.putIfAbsent, this.capabilities.putIfMatch, 'put')
    const bytes = await collect(body, this.capabilities.maximumPutBytes, options.signal)
    if (options.sha256 !== undefined && hash('sha256', bytes, 'hex') !== options.sha256)
      throw new BackendError('damaged', 'the bytes arrived damaged', { operation: 'put', subject: key, transient: true })
    this.#checkCondition(key, options.condition, 'put')
    return this.#store(key, bytes, undefined, options)
  }

  async copy(source: ObjectKey, target: ObjectKey, options: CopyOptions = {}): Promise<PutResult> {
    checkKey(source, 'copy')
    checkKey(target, 'copy')
    checkMetadata(options.replace?.metadata, 'copy')
    await this.#begin('copy', options)
    if (options.sourceIfMatch !== undefined && !this.capabilities.copyIfMatch) throw notSupported('copy')
    const { info, bytes } = this.#find(source, undefined, 'copy')
    if (options.sourceIfMatch !== undefined && options.sourceIfMatch !== info.etag) throw stale('copy', source)
    if (source === target && !options.replace)
      throw new BackendError('invalid', 'a copy onto itself must change something', { operation: 'copy', subject: source })
    return this.#store(target, bytes, undefined, options.replace ?? { metadata: info.metadata, contentType: info.contentType })
  }

  async delete(key: ObjectKey, options: CallOptions & { readonly ifMatch?: ETag } = {}): Promise<void> {
    checkKey(key, 'delete')
    await this.#begin('delete', options)
    if (options.ifMatch !== undefined) {
      if (!this.capabilities.deleteIfMatch) throw notSupported('delete')
      const there = this.#objects.get(key)
      if (there && there.info.etag !== options.ifMatch) throw stale('delete', key)
    }
    this.#remove(key)
  }

  async deleteMany(keys: readonly ObjectKey[], options: CallOptions = {}): Promise<DeleteFailure[]> {
    for (const key of keys) checkKey(key, 'delete')
    await this.#begin('delete', options)
    for (const key of keys) this.#remove(key)
    return []
  }

  close(): void {
    this.#closed = true
  }

  async #begin(operation: string, options: CallOptions): Promise<void> {
    await Promise.resolve()
    if (options.signal?.aborted || this.#closed) throw interrupted(operation)
  }

  #find(key: ObjectKey, versionId: string | undefined, operation: string): StoredObject {
    const found = versionId === undefined ? this.#objects.get(key) : this.#versions.get(`${versionId}\0${key}`)
    if (!found) throw new BackendError('not-found', 'no such object', { operation, subject: key })
    return found
  }

  #requireCondition(condition: Condition | undefined, ifAbsent: boolean, ifMatch: boolean, operation: string): void {
    if (condition && !('absent' in condition ? ifAbsent : ifMatch)) throw notSupported(operation)
  }

  #checkCondition(key: ObjectKey, condition: Condition | undefined, operation: string): void {
    if (!condition) return
    const there = this.#objects.get(key)
    if ('absent' in condition) {
      if (there) throw new BackendError('exists', 'there is an object already', { operation, subject: key })
    } else if (there?.info.etag !== condition.match) throw stale(operation, key)
  }

  #store(
    key: ObjectKey,
    bytes: Buffer,
    etag: ETag | undefined,
    options: {
      readonly metadata?: Readonly<Record<string, string>> | undefined
      readonly contentType?: string | undefined
      readonly writeId?: string | undefined
    },
  ): PutResult {
    if (!this.capabilities.writable) throw new BackendError('access-denied', 'the server denies access', { operation: 'put', subject: key })
    const info: ObjectInfo = {
      key,
      sizeBytes: bytes.length,
      etag: etag ?? createHash('md5').update(bytes).digest('hex'),
      modifiedMs: Math.floor(this.#now() / 1000) * 1000,
      metadata: { ...withWriteId(options.metadata, options.writeId) },
      contentType: options.contentType ?? 'application/octet-stream',
      versionId: this.capabilities.versions ? randomBytes(12).toString('hex') : undefined,
    }
    const stored = { info, bytes, utf8: Buffer.from(key) }
    if (!this.#objects.has(key)) this.#sorted = undefined
    else if (this.#sorted) this.#sorted[this.#sorted.findIndex(other => other.info.key === key)] = stored
    this.#objects.set(key, stored)
    if (info.versionId !== undefined) this.#versions.set(`${info.versionId}\0${key}`, stored)
    return { etag: info.etag, versionId: info.versionId }
  }

  #remove(key: ObjectKey): void {
    if (!this.capabilities.writable)
      throw new BackendError('access-denied', 'the server denies access', { operation: 'delete', subject: key })
    if (this.#objects.delete(key)) this.#sorted = undefined
  }
}

const notSupported = (operation: string) => new BackendError('not-supported', 'this store ignores conditions here', { operation })
const stale = (operation: string, subject: string) => new BackendError('stale', 'the object was changed meanwhile', { operation, subject })
