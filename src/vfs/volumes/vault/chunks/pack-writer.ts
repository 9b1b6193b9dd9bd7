/**
 * The pack that is being filled.
 *
 * Owns: its space (nobody else can seal in it, and a later process makes packs of its own), its buffer, when it is full. Must
 * stay true: a pack's bytes never change; its header is stored before its chunks; what `sync` returned for is durable.
 * It doesn't: know what chunks are for. A pack is known to the index by a change that goes before its first chunk.
 */
import { randomBytes } from 'node:crypto'
import type { SealingSpace } from '../../../../crypto/sealing.ts'
import { TAG_BYTES } from '../../../../crypto/sealing.ts'
import { type ChunkId, FORM_RAW, type PackId, type StoredChunk } from '../index/changes.ts'
import type { AppendBlob, VaultStore } from '../store/contract.ts'
import {
  ChunkPlace,
  FRAME_BYTES,
  newPack,
  PACK_HEADER_BYTES,
  PACK_ID_BYTES,
  packBlob,
  rawStoredBytes,
  type VaultIdentity,
} from './pack-format.ts'

const BUFFER_BYTES = 4 * 2 ** 20
const FULL_BYTES = 64 * 2 ** 20
/** After so many bytes the disk is told to begin. */
const SOON_BYTES = 16 * 2 ** 20

interface ActivePack {
  readonly id: PackId
  readonly name: Buffer
  readonly space: SealingSpace
  readonly blob: AppendBlob
  /** Bytes of the pack so far, stored or in the buffer. */
  sizeBytes: number
  sinceSoonBytes: number
}

export interface PackWriterOptions {
  readonly vault: VaultIdentity
  readonly store: VaultStore
  /** A pack was begun: its number. */
  readonly begun: (name: Buffer) => PackId
  readonly fullBytes?: number
}

export class PackWriter {
  readonly #options: PackWriterOptions
  readonly #place: ChunkPlace
  readonly #buffer = Buffer.allocUnsafeSlow(BUFFER_BYTES)
  #buffered = 0
  #active: ActivePack | undefined
  /** Full packs that aren't synced yet. */
  #unsynced: AppendBlob[] = []
  #isDirty = false

  constructor(options: PackWriterOptions) {
    this.#options = options
    this.#place = new ChunkPlace(options.vault.vaultId)
  }

  /** The pack that is being filled, and what of it reached the store. */
  get active(): { readonly id: PackId; readonly storedBytes: number } | undefined {
    return this.#active && { id: this.#active.id, storedBytes: this.#active.blob.sizeBytes }
  }

  /** Adds a chunk; `body` is the chunk itself or its compressed form. */
  add(id: ChunkId, name: Buffer, lengthBytes: number, form: number, body: Buffer): StoredChunk {
    const storedBytes = form === FORM_RAW ? rawStoredBytes(lengthBytes) : body.length + TAG_BYTES
    const active = this.#packFor(storedBytes)
    const position = active.sizeBytes
    this.#place.set(active.name, name, lengthBytes, form)
    const frameBytes = form === FORM_RAW ? FRAME_BYTES : body.length
    for (let at = 0, frame = 0; at < body.length; at += frameBytes, frame++) {
      const piece = body.subarray(at, at + frameBytes)
      this.#place.frame = frame
      active.space.seal(active.sizeBytes, this.#place.bytes, piece, this.#buffer, this.#buffered)
      this.#buffered += piece.length + TAG_BYTES
      active.sizeBytes += piece.length + TAG_BYTES
    }
    this.#isDirty = true
    return { id, name, pack: active.id, position, storedBytes, lengthBytes, form }
  }

  /** Hands what is buffered to the store. */
  settle(): void {
    const active = this.#active
    if (!active || this.#buffered === 0) return
    // Where this fails it may be there in part. The buffer stays: the next attempt writes the same bytes at the same place.
    active.blob.append(this.#buffer.subarray(0, this.#buffered))
    active.sinceSoonBytes += this.#buffered
    this.#buffered = 0
    if (active.sinceSoonBytes < SOON_BYTES) return
    active.sinceSoonBytes = 0
    active.blob.syncSoon()
  }

  /** All chunks that were added are on stable storage. */
  sync(): void {
    if (!this.#isDirty) return
    this.settle()
    for (const blob of this.#unsynced) blob.sync()
    for (const blob of this.#unsynced.splice(0)) blob.close()
    this.#active?.blob.sync()
    this.#isDirty = false
  }

  /** Chunks added from now on go to another pack. */
  finish(): void {
    const active = this.#active
    if (!active) return
    this.settle()
    this.#unsynced.push(active.blob)
    this.#active = undefined
  }

  close(): void {
    for (const blob of this.#unsynced) blob.close()
    this.#active?.blob.close()
    this.#active = undefined
    this.#buffer.fill(0)
  }

  #packFor(storedBytes: number): ActivePack {
    if (this.#buffered + storedBytes > BUFFER_BYTES) this.settle()
    if (this.#active && this.#active.sizeBytes + storedBytes <= (this.#options.fullBytes ?? FULL_BYTES)) return this.#active
    this.finish()
    const { vault, store, begun } = this.#options
    const name = randomBytes(PACK_ID_BYTES)
    const { space, header } = newPack(vault, name)
    const blob = store.create(packBlob(name))
    try {
      blob.append(header)
    } catch (error) {
      blob.close()
      store.remove(packBlob(name))
      throw error
    }
    this.#active = { id: begun(name), name, space, blob, sizeBytes: PACK_HEADER_BYTES, sinceSoonBytes: 0 }
    return this.#active
  }
}
