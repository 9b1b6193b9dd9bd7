/**
 * Finds out by trying what an S3 server can do: once per volume, before it is first used.
 *
 * Owns: the trials, on two small objects of its own that are removed again. Must stay true: nothing else in the bucket is touched;
 * whatever can't be shown to work counts as not working; a key that may only read is no failure but an answer.
 */
import { createHash, randomBytes } from 'node:crypto'
import { errorKind } from '../../errors.ts'
import type { CallOptions } from '../contract.ts'
import { BackendError, isTransient } from '../errors.ts'
import { bareETag } from './answers.ts'
import type { S3Backend } from './s3-backend.ts'
import { encodePath } from './signature.ts'
import { CAUTIOUS_TRAITS, type S3Traits } from './traits.ts'

const PROBE_NAME = '.sdmount-probe-'
const OTHER_ETAG = '00000000000000000000000000000000'

/** Tries the server out below `prefix`. Throws what `check` throws, and passing failures. */
export async function probeS3(backend: S3Backend, bucket: string, prefix: string, options: CallOptions = {}): Promise<S3Traits> {
  await backend.check(options)
  const trial = new Trial(backend, bucket, `${prefix}${PROBE_NAME}${randomBytes(8).toString('hex')}`, options)
  try {
    return await trial.run()
  } finally {
    await trial.clear()
  }
}

class Trial {
  readonly #backend: S3Backend
  readonly #bucket: string
  readonly #key: string
  readonly #options: CallOptions
  #count = 0

  constructor(backend: S3Backend, bucket: string, key: string, options: CallOptions) {
    this.#backend = backend
    this.#bucket = bucket
    this.#key = key
    this.#options = options
  }

  async run(): Promise<S3Traits> {
    const body = Buffer.from('sdmount tries out what this server can do')
    try {
      const { etag } = await this.#backend.put(this.#key, body, this.#options)
      const putIfAbsent = await this.#refuses(() => this.#put({ 'if-none-match': '*' }))
      return {
        writable: true,
        putIfAbsent,
        putIfMatch: (await this.#putIfMatch('"')) ? 'quoted' : (await this.#putIfMatch('')) ? 'unquoted' : 'no',
        completeIfAbsent: await this.#refuses(() => this.#complete({ absent: true })),
        completeIfMatch:
          (await this.#refuses(() => this.#complete({ match: OTHER_ETAG }))) && (await this.#accepts(() => this.#completeMatching())),
        copyIfMatch: await this.#refuses(() => this.#copy()),
        deleteIfMatch: await this.#refuses(() => this.#delete()),
        versions: await this.#backend.planes.control.versioning(this.#options),
        etagIsMd5: etag === createHash('md5').update(body).digest('hex'),
      }
    } catch (error) {
      if (errorKind(error) === 'access-denied' || errorKind(error) === 'read-only') return { ...CAUTIOUS_TRAITS, writable: false }
      throw error
    }
  }

  async clear(): Promise<void> {
    for (const key of [this.#key, `${this.#key}-copy`]) await this.#backend.delete(key).catch(() => {})
  }

  /** Whether the server refused just for the condition. */
  async #refuses(run: () => Promise<unknown>): Promise<boolean> {
    try {
      await run()
      return false
    } catch (error) {
      if (error instanceof BackendError && error.code === 'PreconditionFailed') return true
      if (error instanceof BackendError && error.code === '412') return true
      if (isTransient(error) || errorKind(error) === 'interrupted') throw error
      return false
    }
  }

  async #accepts(run: () => Promise<unknown>): Promise<boolean> {
    try {
      await run()
      return true
    } catch (error) {
      if (isTransient(error) || errorKind(error) === 'interrupted') throw error
      return false
    }
  }

  async #put(headers: Record<string, string>): Promise<string> {
    const answer = await this.#backend.planes.data.request({
      operation: 'probe',
      method: 'PUT',
      key: this.#key,
      headers,
      body: Buffer.from(`trial ${this.#count++}`),
      signal: this.#options.signal,
    })
    return bareETag(answer.headers.etag)
  }

  async #putIfMatch(quote: string): Promise<boolean> {
    const etag = await this.#put({})
    if (!(await this.#refuses(() => this.#put({ 'if-match': `${quote}${OTHER_ETAG}${quote}` })))) return false
    return this.#accepts(() => this.#put({ 'if-match': `${quote}${etag}${quote}` }))
  }

  async #complete(condition: { readonly absent: true } | { readonly match: string }): Promise<void> {
    const { control } = this.#backend.planes
    const upload = await this.#backend.uploads.create(this.#key, this.#options)
    try {
      const part = await this.#backend.uploads.putPart(upload, 1, Buffer.from('part'), { ...this.#options })
      await control.completeUpload(upload, [part], condition, this.#options)
    } finally {
      await this.#backend.uploads.abort(upload).catch(() => {})
    }
  }

  async #completeMatching(): Promise<void> {
    const etag = await this.#put({})
    await this.#complete({ match: etag })
  }

  async #copy(): Promise<void> {
    await this.#backend.planes.data.request({
      operation: 'probe',
      method: 'PUT',
      key: `${this.#key}-copy`,
      headers: { 'x-amz-copy-source': `/${this.#bucket}/${encodePath(this.#key)}`, 'x-amz-copy-source-if-match': `"${OTHER_ETAG}"` },
      signal: this.#options.signal,
    })
  }

  async #delete(): Promise<void> {
    await this.#put({})
    await this.#backend.planes.data.request({
      operation: 'probe',
      method: 'DELETE',
      key: this.#key,
      headers: { 'if-match': `"${OTHER_ETAG}"` },
      signal: this.#options.signal,
    })
  }
}
