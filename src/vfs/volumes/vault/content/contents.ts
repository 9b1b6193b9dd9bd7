/**
 * The bytes of files: what is in chunks, with what was written since over it.
 *
 * Owns: the runs of all files and their bound in memory, and how runs become chunks: cut by content, where a run is long enough to
 * be cut. Must stay true: a read sees what was written last; memory for what was written stays below the bound; what became
 * chunks is in extents by the same step.
 * It doesn't: sizes and times of nodes (save `allocatedBytes`), or when all is made durable (commits.ts).
 */
import { type ChunkCutter, LARGEST_CHUNK_BYTES } from '../../../../cache/content/chunk-cutter.ts'
import type { ChunkStore } from '../chunks/chunk-store.ts'
import type { NodeId } from '../index/changes.ts'
import { type Extent, FAR } from '../index/extents.ts'
import type { Recorder } from '../log/recorder.ts'
import type { VaultNode } from '../nodes/node-record.ts'
import { RUN_LIMIT_BYTES, Run, Runs } from './runs.ts'

const BOUND_BYTES = 64 * 2 ** 20
const RUNS_BOUND = 1024
const FILES_BOUND = 4096
const PIECE_BYTES = 1024 * 1024
/** An end so short is written again with what follows it, so that a file of many small appends has few extents. */
const SHORT_END_BYTES = 16 * 1024

/** What stays in memory of the end of a file after a flush: nothing, a short one, or its last chunk. */
export type KeptEnd = 'none' | 'short' | 'chunk'

export interface ContentsOptions {
  readonly recorder: Recorder
  readonly chunks: ChunkStore
  readonly cutter: ChunkCutter
  readonly find: (id: NodeId) => VaultNode | undefined
  readonly changed: (node: VaultNode) => void
}

export class Contents {
  readonly #options: ContentsOptions
  readonly #recorder: Recorder
  readonly #chunks: ChunkStore
  readonly #runs = new Map<NodeId, Runs>()
  #writtenBytes = 0
  #merge = Buffer.alloc(0)

  constructor(options: ContentsOptions) {
    this.#options = options
    this.#recorder = options.recorder
    this.#chunks = options.chunks
  }

  /** About how many bytes of all files are not in chunks. */
  get totalDelayedBytes(): number {
    return this.#writtenBytes
  }

  /** Bytes that are not in extents. */
  delayedBytes(id: NodeId): number {
    let bytes = 0
    for (const run of this.#runs.get(id)?.all ?? []) if (run.isDirty) bytes += run.length
    return bytes
  }

  /** Fills `into` from `position`; the byte count, less than asked only at the end. */
  read(node: VaultNode, position: number, into: Buffer): number {
    const length = Math.min(into.length, node.attributes.sizeBytes - position)
    if (length <= 0) return 0
    const end = position + length
    const runs = this.#runs.get(node.id)?.overlapping(position, end) ?? []
    const first = runs[0]
    if (!first || first.start > position || first.end < end) {
      const extents = this.#recorder.index.extents.find(node.id, position, end)
      this.readExtents(extents, position, length, into)
    }
    for (const run of runs) {
      const from = Math.max(position, run.start)
      run.buffer.copy(into, from - position, from - run.start, Math.min(end, run.end) - run.start)
    }
    return length
  }

  /** Bytes of a range by its extents; what lies in none is zeros. */
  readExtents(extents: readonly Extent[], position: number, length: number, into: Buffer): void {
    let at = position
    for (const extent of extents) {
      const from = Math.max(position, extent.position)
      const to = Math.min(position + length, extent.position + extent.length)
      if (from > at) into.fill(0, at - position, from - position)
      this.#chunks.read(extent.chunk, extent.start + from - extent.position, to - from, into, from - position)
      at = to
    }
    if (at < position + length) into.fill(0, at - position, length)
  }

  write(node: VaultNode, position: number, data: Buffer): void {
    for (let at = 0; at < data.length; at += PIECE_BYTES) this.#write(node, position + at, data.subarray(at, at + PIECE_BYTES))
  }

  /** The file's bytes from `size` on are gone. */
  truncate(node: VaultNode, size: number): void {
    this.hole(node, size, FAR)
  }

  hole(node: VaultNode, from: number, to: number): void {
    this.#runs.get(node.id)?.cut(from, to)
    if (node.allocatedBytes === 0) return
    node.allocatedBytes += this.#recorder.hole(node.id, from, to)
    this.#options.changed(node)
  }

  /** Bytes of another file's extents, by reference; both files' runs must have been flushed. */
  refer(node: VaultNode, position: number, length: number, extents: readonly Extent[], offset: number): void {
    this.hole(node, position, position + length)
    for (const extent of extents) {
      const from = Math.max(offset, extent.position)
      const to = Math.min(offset + length, extent.position + extent.length)
      const start = extent.start + from - extent.position
      node.allocatedBytes += this.#recorder.extent(node.id, position + from - offset, to - from, extent.chunk, start)
    }
    this.#options.changed(node)
  }

  /** What was written to a file is in extents. */
  flush(node: VaultNode, kept: KeptEnd): void {
    const runs = this.#runs.get(node.id)
    if (!runs) return
    const list = runs.all.slice()
    for (let i = 0; i < list.length; ) {
      const run = list[i]!
      if (!run.isDirty) {
        if (kept === 'none') runs.remove(run)
        i++
        continue
      }
      // Runs that touch each other are one piece of content.
      let next = i + 1
      let end = run.end
      for (
        ;
        next < list.length && list[next]!.isDirty && list[next]!.start === end && list[next]!.end - run.start <= RUN_LIMIT_BYTES;
        next++
      )
        end = list[next]!.end
      const isEnd = next === list.length && end === node.attributes.sizeBytes
      if (next - i > 1) {
        this.#store(node, run.start, this.#merged(list.slice(i, next)))
        for (const one of list.slice(i, next)) runs.remove(one)
      } else this.#end(node, runs, run, isEnd ? kept : 'none')
      i = next
    }
    if (runs.all.length === 0) this.#runs.delete(node.id)
  }

  flushAll(kept: KeptEnd): void {
    for (const id of [...this.#runs.keys()]) {
      const node = this.#options.find(id)
      if (node) this.flush(node, kept)
      else this.#runs.delete(id)
    }
    this.#writtenBytes = 0
    if (kept !== 'chunk') return
    let bytes = 0
    for (const runs of this.#runs.values()) bytes += runs.bytes
    this.#writtenBytes = bytes
    if (bytes > BOUND_BYTES / 2) this.flushAll('none')
  }

  /** Nobody writes to it any more: copies of what is stored can go. */
  released(node: VaultNode): void {
    const runs = this.#runs.get(node.id)
    if (!runs) return
    for (const run of runs.all.filter(run => !run.isDirty)) runs.remove(run)
    if (runs.all.length === 0) this.#runs.delete(node.id)
  }

  drop(id: NodeId): void {
    this.#runs.delete(id)
  }

  clear(): void {
    for (const runs of this.#runs.values()) for (const run of runs.all) run.buffer.fill(0)
    this.#runs.clear()
    this.#merge.fill(0)
  }

  #write(node: VaultNode, position: number, data: Buffer): void {
    const end = position + data.length
    let runs = this.#runs.get(node.id)
    if (!runs) this.#runs.set(node.id, (runs = new Runs()))
    let run = runs.touching(position)
    if (run && end - run.start > RUN_LIMIT_BYTES) {
      this.#drain(node, run)
      run = runs.touching(position)
      if (run && end - run.start > RUN_LIMIT_BYTES) run = undefined
    }
    runs.cut(position, end, run)
    if (run) run.put(position, data)
    else runs.insert(new Run(position, data))
    this.#writtenBytes += data.length
    if (runs.all.length > RUNS_BOUND) this.flush(node, 'none')
    if (this.#writtenBytes > BOUND_BYTES || this.#runs.size > FILES_BOUND) this.flushAll('none')
  }

  /** Stores all whole chunks of a run; at most one chunk's bytes stay. */
  #drain(node: VaultNode, run: Run): void {
    let at = 0
    while (run.length - at > LARGEST_CHUNK_BYTES) at += this.#chunk(node, run.start + at, run.bytes, at)
    run.shift(at)
    this.#writtenBytes -= at
  }

  /** Stores a run whole. */
  #end(node: VaultNode, runs: Runs, run: Run, kept: KeptEnd): void {
    let at = 0
    let last = 0
    while (at < run.length) {
      last = at
      at += this.#chunk(node, run.start + at, run.bytes, at)
    }
    const keeps = kept === 'chunk' || (kept === 'short' && run.length - last <= SHORT_END_BYTES)
    if (!keeps || node.openCount === 0) {
      runs.remove(run)
      return
    }
    run.shift(last)
    run.isDirty = false
  }

  #store(node: VaultNode, position: number, bytes: Buffer): void {
    for (let at = 0; at < bytes.length; ) at += this.#chunk(node, position + at, bytes, at)
  }

  /** Stores the next chunk of `bytes`; answers its length. */
  #chunk(node: VaultNode, position: number, bytes: Buffer, at: number): number {
    const length = this.#options.cutter.cut(bytes, at, bytes.length)
    const chunk = this.#chunks.put(bytes.subarray(at, at + length))
    node.allocatedBytes += this.#recorder.extent(node.id, position, length, chunk, 0)
    this.#options.changed(node)
    return length
  }

  #merged(runs: readonly Run[]): Buffer {
    const length = runs.reduce((sum, run) => sum + run.length, 0)
    if (this.#merge.length < length) this.#merge = Buffer.allocUnsafeSlow(length)
    let at = 0
    for (const run of runs) at += run.buffer.copy(this.#merge, at, 0, run.length)
    return this.#merge.subarray(0, length)
  }
}
