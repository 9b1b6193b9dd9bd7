/**
 * Doing one piece of work in the bucket.
 *
 * Owns: the order of questions and writes of a put, a copy and a deletion. Must stay true:
 * - Repeating any of them, from any point, ends in the same state of the bucket, and nothing is written twice as something else:
 *   what an earlier attempt did is recognized by its write id.
 * - What somebody else wrote is never overwritten knowingly: where the server takes conditions, it decides; where it doesn't, the
 *   object is looked at right before (the gap that this leaves is told to the user).
 * It doesn't: repeat, or decide about conflicts (it throws `ConflictFound`).
 */
import type { Backend, Condition, ObjectInfo, UploadedPart } from '../../backends/contract.ts'
import { BackendError, WRITE_ID } from '../../backends/errors.ts'
import { errorKind, FsError } from '../../errors.ts'
import type { Conflict, Step, UploadSource, WritebackHost } from './host.ts'
import type { Journal } from './journal.ts'
import type { CopyAction, DeleteAction, Expected, PutAction, StoredResult, Work } from './work.ts'

export interface PerformSettings {
  /** Larger contents go up in parts. */
  readonly multipartBytes: number
  readonly partBytes: number
  readonly partsAtOnce: number
}

export interface PerformGround {
  readonly backend: Backend
  readonly journal: Journal
  readonly host: WritebackHost
  readonly settings: PerformSettings
  readonly step: (step: Step, work: Work) => void | Promise<void>
  /** So many bytes more have arrived. */
  readonly sent: (work: Work, bytes: number) => void
}

/** Somebody else was there. */
export class ConflictFound extends Error {
  readonly conflict: Conflict
  constructor(conflict: Conflict) {
    super('somebody else changed the object')
    this.conflict = conflict
  }
}

/** Does it; answers what the bucket has afterwards. */
export async function perform(work: Work, ground: PerformGround, signal: AbortSignal): Promise<StoredResult> {
  const { action } = work
  switch (action.kind) {
    case 'put':
      return new PutWork(work, action, ground, signal).run()
    case 'copy':
      return copy(work, action, ground, signal)
    case 'delete':
      return remove(action, ground, signal)
  }
}

class BaseGone extends FsError {}

/** The state of the object that a content rests on is gone from the bucket: the content can't be had whole any more. */
function baseGone(error: unknown): never {
  const kind = errorKind(error)
  if (kind !== 'stale' && kind !== 'not-found') throw error
  throw new BaseGone('damaged', 'the object that the changes were made to is gone', { operation: 'upload', cause: error })
}

/** The object as it is; undefined: there is none. */
async function look(backend: Backend, key: string, signal: AbortSignal): Promise<ObjectInfo | undefined> {
  try {
    return await backend.head(key, { signal })
  } catch (error) {
    if (errorKind(error) === 'not-found') return undefined
    throw error
  }
}

const storedAs = (info: { readonly etag: string; readonly versionId: string | undefined }): StoredResult => ({
  etag: info.etag,
  versionId: info.versionId,
})

function fits(expected: Expected, there: ObjectInfo | undefined): boolean {
  if (expected === 'any') return true
  if (expected === 'absent') return there === undefined
  return expected !== 'own' && there?.etag === expected.etag
}

function conditionFor(expected: Expected): Condition | undefined {
  if (expected === 'any' || expected === 'own') return undefined
  return expected === 'absent' ? { absent: true } : { match: expected.etag }
}

class PutWork {
  readonly #work: Work
  readonly #action: PutAction
  readonly #ground: PerformGround
  readonly #signal: AbortSignal
  /** Some part was copied from the base. */
  #copied = false
  #base: PutAction['base']

  constructor(work: Work, action: PutAction, ground: PerformGround, signal: AbortSignal) {
    this.#work = work
    this.#action = action
    this.#ground = ground
    this.#signal = signal
  }

  async run(): Promise<StoredResult> {
    const { sizeBytes } = this.#action
    const { capabilities } = this.#ground.backend
    if (sizeBytes > capabilities.maximumObjectBytes)
      throw new FsError('file-too-large', 'larger than the store takes', { operation: 'upload' })
    let source: UploadSource | undefined
    try {
      source = await this.#source()
      this.#base = source.base ?? this.#action.base
      if (source.sizeBytes !== sizeBytes)
        throw new FsError('damaged', 'the content that waits for its upload has another size', { operation: 'upload' })
      return await (sizeBytes <= this.#ground.settings.multipartBytes ? this.#whole(source) : this.#inParts(source))
    } catch (error) {
      throw await this.#sortOut(error)
    } finally {
      source?.close()
    }
  }

  async #source(): Promise<UploadSource> {
    if (this.#action.root !== undefined) return this.#ground.host.source(this.#action)
    return { sizeBytes: 0, read: () => 0, baseRuns: () => [], close: () => {} }
  }

  async #whole(source: UploadSource): Promise<StoredResult> {
    const { backend } = this.#ground
    const { key, metadata, contentType, sizeBytes, expected } = this.#action
    const condition = conditionFor(expected)
    const { putIfAbsent, putIfMatch } = backend.capabilities
    const supported = condition === undefined || ('absent' in condition ? putIfAbsent : putIfMatch)
    const body = await this.#bytes(source, 0, sizeBytes)
    if (!supported) {
      const ours = await this.#lookFirst()
      if (ours) return ours
    }
    const result = await backend.put(key, body, {
      metadata,
      contentType,
      writeId: this.#work.writeId,
      signal: this.#signal,
      ...(supported && condition ? { condition } : {}),
    })
    this.#ground.sent(this.#work, sizeBytes)
    await this.#ground.step('sent', this.#work)
    return storedAs(result)
  }

  async #inParts(source: UploadSource): Promise<StoredResult> {
    const { backend } = this.#ground
    const condition = conditionFor(this.#action.expected)
    const { completeIfAbsent, completeIfMatch } = backend.capabilities
    const supported = condition === undefined || ('absent' in condition ? completeIfAbsent : completeIfMatch)
    // Before gigabytes are sent in vain, or twice.
    const already = await this.#lookFirst()
    if (already) return already
    const begun = await this.#begin()
    if ('etag' in begun) return begun
    const parts = await this.#sendParts(source, begun)
    await this.#ground.step('before-complete', this.#work)
    if (this.#copied && !backend.capabilities.copyIfMatch) await this.#checkBase()
    if (!supported) {
      const ours = await this.#lookFirst()
      if (ours) return ours
    }
    const upload = { key: this.#action.key, uploadId: begun.uploadId }
    const result = await backend.uploads.complete(upload, parts, {
      writeId: this.#work.writeId,
      signal: this.#signal,
      ...(supported && condition ? { condition } : {}),
    })
    await this.#ground.step('sent', this.#work)
    return storedAs(result)
  }

  /** The upload of an earlier attempt with what arrived of it, or a new one; or what that attempt made of it already. */
  async #begin(): Promise<
    StoredResult | { readonly uploadId: string; readonly partBytes: number; readonly there: readonly UploadedPart[] }
  > {
    const { backend, journal, settings } = this.#ground
    const { key, metadata, contentType, sizeBytes } = this.#action
    const { upload } = this.#work
    if (upload) {
      try {
        return { ...upload, there: await backend.uploads.parts({ key, uploadId: upload.uploadId }, { signal: this.#signal }) }
      } catch (error) {
        if (errorKind(error) !== 'not-found') throw error
        journal.uploadLost(this.#work.id)
      }
    }
    const { minimumPartBytes, maximumParts } = backend.capabilities
    const mebibytes = Math.ceil(Math.max(settings.partBytes, minimumPartBytes, sizeBytes / maximumParts) / 2 ** 20)
    const partBytes = mebibytes * 2 ** 20
    const created = await backend.uploads.create(key, { metadata, contentType, writeId: this.#work.writeId, signal: this.#signal })
    journal.uploading(this.#work.id, created.uploadId, partBytes)
    await this.#ground.step('upload-created', this.#work)
    return { uploadId: created.uploadId, partBytes, there: [] }
  }

  async #sendParts(
    source: UploadSource,
    begun: { readonly uploadId: string; readonly partBytes: number; readonly there: readonly UploadedPart[] },
  ): Promise<UploadedPart[]> {
    const { partBytes } = begun
    const { sizeBytes } = source
    const count = Math.ceil(sizeBytes / partBytes)
    const there = new Map(begun.there.map(part => [part.number, part]))
    const parts: UploadedPart[] = new Array(count)
    const runs = this.#base ? source.baseRuns() : []
    const abort = new AbortController()
    const signal = AbortSignal.any([this.#signal, abort.signal])
    let next = 0
    const worker = async () => {
      while (next < count) {
        const index = next++
        const begin = index * partBytes
        const length = Math.min(partBytes, sizeBytes - begin)
        const arrived = there.get(index + 1)
        const inBase = runs.some(run => run.begin <= begin && run.end >= begin + length)
        parts[index] =
          arrived?.sizeBytes === length
            ? arrived
            : inBase
              ? await this.#copyPart(begun.uploadId, index + 1, begin, length, signal)
              : await this.#sendPart(source, begun.uploadId, index + 1, begin, length, signal)
        this.#ground.sent(this.#work, length)
        await this.#ground.step('part-sent', this.#work)
      }
    }
    try {
      await Promise.all(Array.from({ length: Math.min(count, this.#ground.settings.partsAtOnce) }, worker))
    } catch (error) {
      // The others have to end before the content is closed under them.
      abort.abort()
      next = count
      throw error
    }
    return parts
  }

  async #sendPart(
    source: UploadSource,
    uploadId: string,
    number: number,
    begin: number,
    length: number,
    signal: AbortSignal,
  ): Promise<UploadedPart> {
    const body = await this.#bytes(source, begin, length)
    return this.#ground.backend.uploads.putPart({ key: this.#action.key, uploadId }, number, body, { signal })
  }

  /** A part of which nothing was changed. */
  #copyPart(uploadId: string, number: number, offset: number, lengthBytes: number, signal: AbortSignal): Promise<UploadedPart> {
    const { backend } = this.#ground
    const base = this.#base!
    this.#copied = true
    const condition = backend.capabilities.copyIfMatch ? { sourceIfMatch: base.etag } : {}
    const upload = { key: this.#action.key, uploadId }
    return backend.uploads.copyPart(upload, number, base.key, { offset, lengthBytes }, { signal, ...condition }).catch(baseGone)
  }

  /** Without conditions on copies, what was copied may be of a newer state: then it is not what this content rests on. */
  async #checkBase(): Promise<void> {
    const base = this.#base!
    const there = await look(this.#ground.backend, base.key, this.#signal)
    // On its own key that is a conflict, which is found next.
    if (there?.etag !== base.etag && base.key !== this.#action.key) baseGone(new BackendError('stale', 'the object was changed meanwhile'))
    if (there?.etag !== base.etag) throw new ConflictFound({ remote: there, source: false })
  }

  async #bytes(source: UploadSource, position: number, length: number): Promise<Buffer> {
    const into = Buffer.allocUnsafe(length)
    const answer = source.read(position, into, () => this.#signal)
    const bytes = typeof answer === 'number' ? into.subarray(0, answer) : await answer.catch(baseGone)
    if (bytes.length !== length) throw new FsError('damaged', 'the content that waits for its upload is cut off', { operation: 'upload' })
    return bytes
  }

  /** Throws when somebody else is there; answers the object when this very work made it. */
  async #lookFirst(): Promise<StoredResult | undefined> {
    const there = await look(this.#ground.backend, this.#action.key, this.#signal)
    if (there?.metadata[WRITE_ID] === this.#work.writeId) return storedAs(there)
    if (!fits(this.#action.expected, there)) throw new ConflictFound({ remote: there, source: false })
    return undefined
  }

  /** What a refusal means: a conflict, or an earlier attempt of this work (then there is nothing to throw, and it is found next time). */
  async #sortOut(error: unknown): Promise<unknown> {
    const kind = errorKind(error)
    if (error instanceof BaseGone || kind === 'damaged') {
      // It may be this very work that took its place, in an attempt whose answer was lost; then the content may be gone as well.
      const there = await look(this.#ground.backend, this.#action.key, this.#signal)
      return there?.metadata[WRITE_ID] === this.#work.writeId ? new AlreadyStored(storedAs(there)) : error
    }
    if (!(error instanceof BackendError) || (kind !== 'exists' && kind !== 'stale' && kind !== 'not-found')) return error
    const there = await look(this.#ground.backend, this.#action.key, this.#signal)
    if (there?.metadata[WRITE_ID] === this.#work.writeId) return new AlreadyStored(storedAs(there))
    if (kind === 'not-found') {
      // The upload in parts is gone, and it wasn't completed.
      this.#ground.journal.uploadLost(this.#work.id)
      return new BackendError('io', 'the upload was lost on the server', { transient: true, operation: 'upload' })
    }
    return new ConflictFound({ remote: there, source: false })
  }
}

/** An earlier attempt had done it. */
export class AlreadyStored extends Error {
  readonly result: StoredResult
  constructor(result: StoredResult) {
    super('stored already')
    this.result = result
  }
}

async function copy(work: Work, action: CopyAction, ground: PerformGround, signal: AbortSignal): Promise<StoredResult> {
  const { backend } = ground
  const target = action.key === action.source ? undefined : await look(backend, action.key, signal)
  if (target?.metadata[WRITE_ID] === work.writeId) return storedAs(target)
  const source = await look(backend, action.source, signal)
  if (source && action.key === action.source && source.metadata[WRITE_ID] === work.writeId) return storedAs(source)
  if (!source || !fits(action.sourceExpected, source)) throw new ConflictFound({ remote: source, source: true })
  if (action.key !== action.source && !fits(action.expected, target)) throw new ConflictFound({ remote: target, source: false })
  const condition = backend.capabilities.copyIfMatch ? { sourceIfMatch: source.etag } : {}
  const { [WRITE_ID]: _, ...kept } = source.metadata
  try {
    const result = await backend.copy(action.source, action.key, {
      ...condition,
      sizeBytes: source.sizeBytes,
      replace: { metadata: action.metadata ?? kept, contentType: action.contentType ?? source.contentType, writeId: work.writeId },
      signal,
    })
    ground.sent(work, source.sizeBytes)
    await ground.step('sent', work)
    return storedAs(result)
  } catch (error) {
    if (errorKind(error) === 'stale' || errorKind(error) === 'not-found')
      throw new ConflictFound({ remote: await look(backend, action.source, signal), source: true })
    throw error
  }
}

async function remove(action: DeleteAction, ground: PerformGround, signal: AbortSignal): Promise<StoredResult> {
  const { backend } = ground
  const gone = { etag: undefined, versionId: undefined }
  const condition = typeof action.expected === 'object' ? action.expected.etag : undefined
  if (action.expected === 'absent') return gone
  if (condition !== undefined && !backend.capabilities.deleteIfMatch) {
    const there = await look(backend, action.key, signal)
    if (!there) return gone
    if (there.etag !== condition) throw new ConflictFound({ remote: there, source: false })
  }
  try {
    await backend.delete(action.key, {
      signal,
      ...(condition !== undefined && backend.capabilities.deleteIfMatch ? { ifMatch: condition } : {}),
    })
    return gone
  } catch (error) {
    if (errorKind(error) === 'stale') throw new ConflictFound({ remote: await look(backend, action.key, signal), source: false })
    throw error
  }
}
