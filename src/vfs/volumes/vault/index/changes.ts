/**
 * What can change in a vault's tree, as calls: the log is a list of them, the working index is what they add up to.
 *
 * Owns: the changes and their encoding. Must stay true: applying the same changes in the same order to the same index gives
 * the same index: nothing here depends on a clock, on chance, or on what only one process knows.
 *
 * A change is its code (a number) and its fields in the order of the parameters; forms in log/bytes.ts.
 */
import { FsError } from '../../../../errors.ts'
import type { Name } from '../../../contract.ts'
import { type ByteReader, ByteWriter } from '../log/bytes.ts'

/** The number of a node in its vault: ascending from 1 (the root), never used again. */
export type NodeId = number
export type ChunkId = number
export type PackId = number

/** How a chunk is stored: as it is, in frames, or compressed by zstd in one piece. */
export const FORM_RAW = 0
export const FORM_ZSTD = 1

export interface StoredChunk {
  readonly id: ChunkId
  /** Keyed BLAKE3-256 of the content. */
  readonly name: Buffer
  readonly pack: PackId
  /** Of its first piece in the pack. */
  readonly position: number
  /** What it takes there, tags and all. */
  readonly storedBytes: number
  readonly lengthBytes: number
  readonly form: number
}

export interface Changes {
  /** A node, made or replaced: node-record.ts has its form. */
  node(id: NodeId, record: Uint8Array): void
  /** A node with its attributes and content. */
  nodeGone(id: NodeId): void
  /** A name, made or pointed elsewhere. `cookie`: its place in the listing, larger than any before. */
  entry(parent: NodeId, name: Name, node: NodeId, cookie: number): void
  entryGone(parent: NodeId, name: Name): void
  xattr(node: NodeId, name: Name, value: Uint8Array): void
  xattrGone(node: NodeId, name: Name): void
  pack(id: PackId, name: Uint8Array): void
  packGone(id: PackId): void
  chunk(chunk: StoredChunk): void
  /** It lies elsewhere now, the same bytes sealed anew. */
  chunkMoved(id: ChunkId, pack: PackId, position: number): void
  /** A chunk that nothing refers to. */
  chunkGone(id: ChunkId): void
  /** These bytes of the file are those of the chunk from `start` on. `chunk` 0: they are lost. */
  extent(node: NodeId, offset: number, lengthBytes: number, chunk: ChunkId, start: number): void
  /** A hole; `end` may lie behind everything. */
  hole(node: NodeId, offset: number, end: number): void
  snapshot(label: string, timeMs: number): void
  snapshotGone(id: number): void
  /** The chunk's bytes are lost: what has them is marked, and it takes part in nothing any more. */
  chunkLost(id: ChunkId): void
}

const CODE = {
  node: 1,
  nodeGone: 2,
  entry: 3,
  entryGone: 4,
  xattr: 5,
  xattrGone: 6,
  pack: 7,
  packGone: 8,
  chunk: 9,
  chunkMoved: 10,
  chunkGone: 11,
  extent: 12,
  hole: 13,
  snapshot: 14,
  snapshotGone: 15,
  chunkLost: 16,
} as const satisfies Record<keyof Changes, number>

/** Writes changes down. */
export class ChangeEncoder implements Changes {
  readonly out = new ByteWriter()

  node(id: NodeId, record: Uint8Array): void {
    this.#begin(CODE.node, id)
    this.out.bytes(record)
  }

  nodeGone(id: NodeId): void {
    this.#begin(CODE.nodeGone, id)
  }

  entry(parent: NodeId, name: Name, node: NodeId, cookie: number): void {
    this.#begin(CODE.entry, parent)
    this.out.name(name)
    this.out.number(node)
    this.out.number(cookie)
  }

  entryGone(parent: NodeId, name: Name): void {
    this.#begin(CODE.entryGone, parent)
    this.out.name(name)
  }

  xattr(node: NodeId, name: Name, value: Uint8Array): void {
    this.#begin(CODE.xattr, node)
    this.out.name(name)
    this.out.bytes(value)
  }

  xattrGone(node: NodeId, name: Name): void {
    this.#begin(CODE.xattrGone, node)
    this.out.name(name)
  }

  pack(id: PackId, name: Uint8Array): void {
    this.#begin(CODE.pack, id)
    this.out.bytes(name)
  }

  packGone(id: PackId): void {
    this.#begin(CODE.packGone, id)
  }

  chunk(chunk: StoredChunk): void {
    this.#begin(CODE.chunk, chunk.id)
    this.out.bytes(chunk.name)
    for (const value of [chunk.pack, chunk.position, chunk.storedBytes, chunk.lengthBytes, chunk.form]) this.out.number(value)
  }

  chunkMoved(id: ChunkId, pack: PackId, position: number): void {
    this.#begin(CODE.chunkMoved, id)
    this.out.number(pack)
    this.out.number(position)
  }

  chunkGone(id: ChunkId): void {
    this.#begin(CODE.chunkGone, id)
  }

  extent(node: NodeId, offset: number, lengthBytes: number, chunk: ChunkId, start: number): void {
    this.#begin(CODE.extent, node)
    for (const value of [offset, lengthBytes, chunk, start]) this.out.number(value)
  }

  hole(node: NodeId, offset: number, end: number): void {
    this.#begin(CODE.hole, node)
    this.out.number(offset)
    this.out.number(end)
  }

  snapshot(label: string, timeMs: number): void {
    this.out.number(CODE.snapshot)
    this.out.bytes(Buffer.from(label))
    this.out.number(timeMs)
  }

  snapshotGone(id: number): void {
    this.#begin(CODE.snapshotGone, id)
  }

  chunkLost(id: ChunkId): void {
    this.#begin(CODE.chunkLost, id)
  }

  #begin(code: number, id: number): void {
    this.out.number(code)
    this.out.number(id)
  }
}

/** Reads all changes that `from` holds and makes them. */
export function replay(from: ByteReader, changes: Changes): void {
  while (!from.ended) {
    const code = from.number()
    switch (code) {
      case CODE.node:
        changes.node(from.number(), from.bytes())
        break
      case CODE.nodeGone:
        changes.nodeGone(from.number())
        break
      case CODE.entry:
        changes.entry(from.number(), from.name(), from.number(), from.number())
        break
      case CODE.entryGone:
        changes.entryGone(from.number(), from.name())
        break
      case CODE.xattr:
        changes.xattr(from.number(), from.name(), from.bytes())
        break
      case CODE.xattrGone:
        changes.xattrGone(from.number(), from.name())
        break
      case CODE.pack:
        changes.pack(from.number(), from.bytes())
        break
      case CODE.packGone:
        changes.packGone(from.number())
        break
      case CODE.chunk:
        changes.chunk(readChunk(from))
        break
      case CODE.chunkMoved:
        changes.chunkMoved(from.number(), from.number(), from.number())
        break
      case CODE.chunkGone:
        changes.chunkGone(from.number())
        break
      case CODE.extent:
        changes.extent(from.number(), from.number(), from.number(), from.number(), from.number())
        break
      case CODE.hole:
        changes.hole(from.number(), from.number(), from.number())
        break
      case CODE.snapshot:
        changes.snapshot(from.bytes().toString(), from.number())
        break
      case CODE.snapshotGone:
        changes.snapshotGone(from.number())
        break
      case CODE.chunkLost:
        changes.chunkLost(from.number())
        break
      default:
        throw new FsError('not-supported', `the vault has a change of kind ${code}: a newer sdmount wrote it`)
    }
  }
}

function readChunk(from: ByteReader): StoredChunk {
  const id = from.number()
  const name = from.bytes()
  const [pack, position, storedBytes, lengthBytes, form] = [from.number(), from.number(), from.number(), from.number(), from.number()]
  return { id, name, pack, position, storedBytes, lengthBytes, form }
}
