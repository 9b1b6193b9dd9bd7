/**
 * Chunks by their content: stored once, read back verified.
 *
 * Owns: names of contents, the packs that are open, the small cache of what was opened last. Must stay true: a read answers the
 * very bytes that were put or throws 'damaged', with a line in the log that says what is damaged; a chunk that turned out
 * damaged is no duplicate for anything that is written later.
 */
import { LRUCache } from 'lru-cache'
import { contentName } from '../../../../crypto/keyed-hash.ts'
import type { OpeningSpace } from '../../../../crypto/sealing.ts'
import type { SecretKey } from '../../../../crypto/secret-key.ts'
import { FsError } from '../../../../errors.ts'
import type { Log } from '../../../../log.ts'
import { type ChunkId, FORM_RAW, FORM_ZSTD, type PackId, type StoredChunk } from '../index/changes.ts'
import type { Recorder } from '../log/recorder.ts'
import type { VaultStore } from '../store/contract.ts'
import { compress, decompress } from './compression.ts'
import { ChunkPlace, FRAME_BYTES, FRAME_STORED_BYTES, openPack, PACK_HEADER_BYTES, packBlob, type VaultIdentity } from './pack-format.ts'
import { PackWriter } from './pack-writer.ts'

const CACHE_BYTES = 32 * 2 ** 20
const OPEN_PACKS_LIMIT = 1024
/** Key of a whole chunk in the cache; frames have smaller ones. */
const WHOLE = 63
const KEYS_PER_CHUNK = 64

export interface ChunkStoreOptions {
  readonly vault: VaultIdentity
  readonly store: VaultStore
  readonly recorder: Recorder
  readonly log: Log
  readonly packBytes?: number | undefined
}

interface OpenedPack {
  readonly name: Buffer
  readonly space: OpeningSpace
}

export class ChunkStore {
  readonly writer: PackWriter
  readonly #options: ChunkStoreOptions
  readonly #names: SecretKey
  readonly #place: ChunkPlace
  readonly #packs = new LRUCache<PackId, OpenedPack>({ max: OPEN_PACKS_LIMIT })
  readonly #opened = new LRUCache<number, Buffer>({ maxSize: CACHE_BYTES, sizeCalculation: bytes => Math.max(1, bytes.length) })
  readonly #damaged = new Set<ChunkId>()
  #piece = Buffer.allocUnsafeSlow(2 * FRAME_STORED_BYTES)
  /** Bytes handed to `put`, and those of them that were there already. */
  readonly saved = { putBytes: 0, duplicateBytes: 0 }

  constructor(options: ChunkStoreOptions) {
    const { vault, store, recorder, packBytes } = options
    this.#options = options
    this.#names = vault.master.derive('vault-names')
    this.#place = new ChunkPlace(vault.vaultId)
    const begun = (name: Buffer): PackId => {
      const id = recorder.index.last.pack + 1
      recorder.pack(id, name)
      return id
    }
    this.writer = new PackWriter({ vault, store, begun, ...(packBytes === undefined ? {} : { fullBytes: packBytes }) })
  }

  /** The chunk with this content, made where there is none. */
  put(content: Buffer): ChunkId {
    const { recorder } = this.#options
    const name = contentName(this.#names, content)
    this.saved.putBytes += content.length
    const known = recorder.index.extents.chunkNamed(name)
    if (known !== undefined && !this.#damaged.has(known)) {
      this.saved.duplicateBytes += content.length
      return known
    }
    // Its bytes are lost; what has them keeps saying so, what is written now is whole.
    if (known !== undefined) recorder.chunkLost(known)
    const compressed = compress(content)
    const id = recorder.index.last.chunk + 1
    const form = compressed ? FORM_ZSTD : FORM_RAW
    recorder.chunk(this.writer.add(id, name, content.length, form, compressed ?? content))
    return id
  }

  /** Bytes `start` to `start + length` of a chunk, to `into` at `at`. */
  read(id: ChunkId, start: number, length: number, into: Uint8Array, at: number): void {
    if (id === 0) throw new FsError('damaged', 'these bytes were lost and given up by a repair', { operation: 'read' })
    const chunk = this.#options.recorder.index.extents.chunkById(id)
    if (!chunk || start + length > chunk.lengthBytes) throw new FsError('damaged', `chunk ${id} is not in the index`, { operation: 'read' })
    try {
      if (chunk.form === FORM_RAW) this.#readRaw(chunk, start, length, into, at)
      else into.set(this.#whole(chunk).subarray(start, start + length), at)
    } catch (error) {
      if (error instanceof FsError && (error.kind === 'damaged' || error.kind === 'not-found')) throw this.#found(chunk, error)
      throw error
    }
  }

  /** The stored body of a chunk: it itself, or its compressed form. */
  body(chunk: StoredChunk): Buffer {
    if (chunk.form !== FORM_RAW) return this.#compressed(chunk)
    const body = Buffer.allocUnsafe(chunk.lengthBytes)
    this.#readRaw(chunk, 0, chunk.lengthBytes, body, 0)
    return body
  }

  /** Whether a chunk is what its name says; reads it from the store. */
  isWhole(chunk: StoredChunk): boolean {
    this.#forget(chunk.id)
    const content = Buffer.allocUnsafe(chunk.lengthBytes)
    try {
      this.read(chunk.id, 0, chunk.lengthBytes, content, 0)
    } catch (error) {
      if (error instanceof FsError && (error.kind === 'damaged' || error.kind === 'io')) return false
      throw error
    }
    return contentName(this.#names, content).equals(chunk.name)
  }

  /** A pack's file is gone. */
  forgetPack(id: PackId): void {
    this.#packs.delete(id)
  }

  close(): void {
    this.writer.close()
    this.#names[Symbol.dispose]()
    this.#opened.clear()
    this.#packs.clear()
    this.#piece.fill(0)
  }

  #readRaw(chunk: StoredChunk, start: number, length: number, into: Uint8Array, at: number): void {
    const end = start + length
    const first = Math.floor(start / FRAME_BYTES)
    const last = Math.floor((end - 1) / FRAME_BYTES)
    if (first === last && length < FRAME_BYTES) {
      const key = chunk.id * KEYS_PER_CHUNK + first
      const frame = this.#opened.get(key) ?? this.#frames(chunk, first, 1)[0]!
      this.#opened.set(key, frame)
      into.set(frame.subarray(start - first * FRAME_BYTES, end - first * FRAME_BYTES), at)
      return
    }
    for (const [i, frame] of this.#frames(chunk, first, last - first + 1).entries()) {
      const position = (first + i) * FRAME_BYTES
      const from = Math.max(start, position)
      into.set(frame.subarray(from - position, Math.min(end, position + frame.length) - position), at + from - start)
    }
  }

  #frames(chunk: StoredChunk, first: number, count: number): Buffer[] {
    const { space } = this.#pack(chunk.pack, chunk)
    const position = chunk.position + first * FRAME_STORED_BYTES
    const stored = this.#stored(chunk, position, Math.min(count * FRAME_STORED_BYTES, chunk.position + chunk.storedBytes - position))
    const frames: Buffer[] = []
    for (let i = 0; i < count; i++) {
      this.#place.frame = first + i
      const piece = space.open(
        position + i * FRAME_STORED_BYTES,
        this.#place.bytes,
        stored.subarray(i * FRAME_STORED_BYTES, (i + 1) * FRAME_STORED_BYTES),
      )
      if (!piece) throw new FsError('damaged', 'sealed bytes were changed')
      frames.push(piece)
    }
    return frames
  }

  #whole(chunk: StoredChunk): Buffer {
    const key = chunk.id * KEYS_PER_CHUNK + WHOLE
    const known = this.#opened.get(key)
    if (known) return known
    const content = decompress(this.#compressed(chunk), chunk.lengthBytes)
    if (!content) throw new FsError('damaged', 'what was compressed does not open')
    this.#opened.set(key, content)
    return content
  }

  #compressed(chunk: StoredChunk): Buffer {
    const { space } = this.#pack(chunk.pack, chunk)
    const piece = space.open(chunk.position, this.#place.bytes, this.#stored(chunk, chunk.position, chunk.storedBytes))
    if (!piece) throw new FsError('damaged', 'sealed bytes were changed')
    return piece
  }

  /** The chunk's pack, with `#place` set for the chunk. */
  #pack(id: PackId, chunk: StoredChunk): OpenedPack {
    let opened = this.#packs.get(id)
    if (!opened) {
      const name = this.#options.recorder.index.extents.packName(id)
      if (!name) throw new FsError('damaged', `pack ${id} is not in the index`)
      const header = Buffer.alloc(PACK_HEADER_BYTES)
      const length = this.#options.store.read(packBlob(name), 0, header)
      opened = { name, space: openPack(this.#options.vault, name, header.subarray(0, length)) }
      this.#packs.set(id, opened)
    }
    this.#place.set(opened.name, chunk.name, chunk.lengthBytes, chunk.form)
    return opened
  }

  /** A view into one buffer, good until the next call. */
  #stored(chunk: StoredChunk, position: number, length: number): Buffer {
    const { active } = this.writer
    if (active?.id === chunk.pack && position + length > active.storedBytes) this.writer.settle()
    if (this.#piece.length < length) this.#piece = Buffer.allocUnsafeSlow(length)
    const into = this.#piece.subarray(0, length)
    const name = this.#options.recorder.index.extents.packName(chunk.pack)
    if (!name || this.#options.store.read(packBlob(name), position, into) < length) throw new FsError('damaged', 'a pack is cut off')
    return into
  }

  #found(chunk: StoredChunk, cause: FsError): FsError {
    const name = this.#options.recorder.index.extents.packName(chunk.pack)
    const message = `a chunk of ${chunk.lengthBytes} bytes at ${chunk.position} in ${name ? packBlob(name) : `pack ${chunk.pack}`} is damaged`
    if (!this.#damaged.has(chunk.id)) this.#options.log.error(`vault: ${message}`, cause)
    this.#damaged.add(chunk.id)
    return new FsError('damaged', message, { operation: 'read', cause })
  }

  #forget(id: ChunkId): void {
    for (let frame = 0; frame < KEYS_PER_CHUNK; frame++) this.#opened.delete(id * KEYS_PER_CHUNK + frame)
  }
}
