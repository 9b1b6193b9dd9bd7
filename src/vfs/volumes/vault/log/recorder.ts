/**
 * Every change of the open vault goes through here: into the working index at once, and on the list for the next log record.
 *
 * Owns: the list. Must stay true: index and list have the same changes in the same order.
 */
import type { Name } from '../../../contract.ts'
import { ChangeEncoder, type Changes, type ChunkId, type NodeId, type PackId, type StoredChunk } from '../index/changes.ts'
import type { WorkingIndex } from '../index/working-index.ts'

export class Recorder implements Changes {
  readonly index: WorkingIndex
  readonly #encoder = new ChangeEncoder()
  /** Called before the first change after a `clear`. */
  readonly #onFirst: () => void

  constructor(index: WorkingIndex, onFirst: () => void) {
    this.index = index
    this.#onFirst = onFirst
  }

  get pendingBytes(): number {
    return this.#encoder.out.length
  }

  /** The changes since the last `clear`. */
  get pending(): Buffer {
    return this.#encoder.out.written
  }

  clear(): void {
    this.#encoder.out.clear()
  }

  node(id: NodeId, record: Uint8Array): void {
    this.#begin()
    this.index.node(id, record)
    this.#encoder.node(id, record)
  }

  nodeGone(id: NodeId): void {
    this.#begin()
    this.index.nodeGone(id)
    this.#encoder.nodeGone(id)
  }

  entry(parent: NodeId, name: Name, node: NodeId, cookie: number): void {
    this.#begin()
    this.index.entry(parent, name, node, cookie)
    this.#encoder.entry(parent, name, node, cookie)
  }

  entryGone(parent: NodeId, name: Name): void {
    this.#begin()
    this.index.entryGone(parent, name)
    this.#encoder.entryGone(parent, name)
  }

  xattr(node: NodeId, name: Name, value: Uint8Array): void {
    this.#begin()
    this.index.xattr(node, name, value)
    this.#encoder.xattr(node, name, value)
  }

  xattrGone(node: NodeId, name: Name): void {
    this.#begin()
    this.index.xattrGone(node, name)
    this.#encoder.xattrGone(node, name)
  }

  pack(id: PackId, name: Uint8Array): void {
    this.#begin()
    this.index.pack(id, name)
    this.#encoder.pack(id, name)
  }

  packGone(id: PackId): void {
    this.#begin()
    this.index.packGone(id)
    this.#encoder.packGone(id)
  }

  chunk(chunk: StoredChunk): void {
    this.#begin()
    this.index.chunk(chunk)
    this.#encoder.chunk(chunk)
  }

  chunkMoved(id: ChunkId, pack: PackId, position: number): void {
    this.#begin()
    this.index.chunkMoved(id, pack, position)
    this.#encoder.chunkMoved(id, pack, position)
  }

  chunkGone(id: ChunkId): void {
    this.#begin()
    this.index.chunkGone(id)
    this.#encoder.chunkGone(id)
  }

  chunkLost(id: ChunkId): void {
    this.#begin()
    this.index.chunkLost(id)
    this.#encoder.chunkLost(id)
  }

  /** Answers by how many bytes what the file has grew. */
  extent(node: NodeId, offset: number, lengthBytes: number, chunk: ChunkId, start: number): number {
    this.#begin()
    const grown = this.index.extent(node, offset, lengthBytes, chunk, start)
    this.#encoder.extent(node, offset, lengthBytes, chunk, start)
    return grown
  }

  /** Answers by how many bytes what the file has grew: zero or less. */
  hole(node: NodeId, offset: number, end: number): number {
    this.#begin()
    const grown = this.index.hole(node, offset, end)
    this.#encoder.hole(node, offset, end)
    return grown
  }

  snapshot(label: string, timeMs: number): void {
    this.#begin()
    this.index.snapshot(label, timeMs)
    this.#encoder.snapshot(label, timeMs)
  }

  snapshotGone(id: number): void {
    this.#begin()
    this.index.snapshotGone(id)
    this.#encoder.snapshotGone(id)
  }

  #begin(): void {
    if (this.#encoder.out.length > 0) return
    this.index.begin()
    this.#onFirst()
  }
}
