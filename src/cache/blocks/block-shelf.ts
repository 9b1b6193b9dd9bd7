/**
 * Where blocks lie: the table, the segments, and who has to leave when there is no room.
 *
 * Owns: which block is in which segment, what is evicted, what is pinned, and the taking in of what the last run left.
 * Must stay true: the table names a place only after the block was written there, and no longer once its segment is given up;
 * blocks of pinned objects are in segments of their own, which are never given up while one of those objects is pinned.
 * It doesn't: know objects (block-cache.ts).
 *
 * Eviction: blocks are written one after another into segments, and a segment is given up as a whole: one that holds nothing any
 * more, else of the older half the one that holds least of what was read lately. Of its blocks those that were read (most often
 * first, at most half of it) move to the newest segment. That is recency with the cost of sequential writing.
 */
import { setImmediate as nextTurn } from 'node:timers/promises'
import type { SecretKey } from '../../crypto/secret-key.ts'
import type { Log } from '../../log.ts'
import { type BlockLocation, BlockTable, CachedObject } from './block-table.ts'
import { BLOCK_CLASSES, FramePlace, LARGEST_BLOCK_BYTES, type RecordHeader, recordBytes } from './format.ts'
import type { Segment } from './segment.ts'
import { SegmentStore, segmentBytesFor } from './segment-store.ts'

const SURVIVOR_LIMIT_BYTES = 16 * 2 ** 20
/** Headers and tags of survivors, and the index. */
const SLACK_BYTES = 128 * 1024
const LOAD_SLICE_MS = 4

/** A block in memory, between two segments. */
export interface Block {
  readonly header: RecordHeader
  readonly keyLow: number
  readonly keyHigh: number
  readonly heat: number
  readonly bytes: Buffer
}

/** Of what was read lately, so much moves on: half a segment, but so that the block that needed room has it. */
function survivorBudget(segmentBytes: number): number {
  return Math.min(segmentBytes / 2, segmentBytes - recordBytes(LARGEST_BLOCK_BYTES) - SLACK_BYTES, SURVIVOR_LIMIT_BYTES)
}

const tagText = (tag: Buffer) => tag.toString('latin1')

/** What keeps a segment: bytes that the table names in it, and what of them was read, counted for each time and fading. */
interface Worth {
  liveBytes: number
  hotBytes: number
}

/** Where a block is. */
export interface PlacedBlock {
  readonly keyLow: number
  readonly keyHigh: number
  readonly segment: number
  readonly offset: number
  readonly lengthBytes: number
}

export class BlockShelf {
  readonly table = new BlockTable()
  readonly #store: SegmentStore
  readonly #log: Log
  readonly #maximumBlocks: number
  readonly #place = new FramePlace()
  readonly #scratch = Buffer.allocUnsafeSlow(recordBytes(LARGEST_BLOCK_BYTES))
  readonly #pinned = new Set<string>()
  /** By segment, of those whose blocks are known. */
  readonly #worth = new Map<number, Worth>()
  #ready = false
  #closed = false
  /** Blocks and segments found damaged or foreign, and forgotten. */
  damaged = 0

  constructor(directory: string, key: SecretKey, quotaBytes: number, maximumBlocks: number, log: Log) {
    this.#store = new SegmentStore(directory, key, quotaBytes, log)
    this.#maximumBlocks = maximumBlocks
    this.#log = log
  }

  get ready(): boolean {
    return this.#ready
  }
  get store(): SegmentStore {
    return this.#store
  }

  isPinned(objectTag: Buffer): boolean {
    return this.#pinned.size > 0 && this.#pinned.has(tagText(objectTag))
  }
  setPinned(objectTag: Buffer): void {
    this.#pinned.add(tagText(objectTag))
  }
  /** Answers whether it was. */
  clearPinned(objectTag: Buffer): boolean {
    return this.#pinned.delete(tagText(objectTag))
  }

  /** Reads a part of a block; false: it is damaged, and forgotten. */
  readPart(block: PlacedBlock, header: Omit<RecordHeader, 'lengthBytes'>, from: number, count: number, into: Buffer, at: number): boolean {
    this.#place.setBlock(header.objectTag, header.classBytes, block.lengthBytes, header.blockIndex)
    if (this.#store.get(block.segment)?.readBlock(this.#place, block.offset, block.lengthBytes, from, count, into, at, this.#scratch))
      return true
    this.damaged++
    this.#log.warning('a damaged block of the cache is discarded')
    this.remove(block.keyLow, block.keyHigh)
    return false
  }

  /** Into the segment that is being filled, or the next one. False: there is no room that may be had. */
  append(block: Block): boolean {
    const pinned = this.isPinned(block.header.objectTag)
    const isNew = this.table.find(block.keyLow, block.keyHigh) < 0
    if (isNew && this.table.count >= this.#maximumBlocks && !this.giveUpOne()) return false
    for (let attempt = 0; attempt < 3; attempt++) {
      const number = this.#store.current(pinned)
      if (number !== undefined && this.#appendTo(number, block)) return true
      if (!this.#begin(pinned) && !(pinned && this.#compactPinned())) return false
    }
    return false
  }

  #appendTo(number: number, block: Block): boolean {
    const { header, keyLow, keyHigh, bytes, heat } = block
    const offset = this.#store.get(number)?.append(header, keyLow, keyHigh, bytes, this.#place, this.#scratch)
    if (offset === undefined) return false
    this.#set({ keyLow, keyHigh, segment: number, offset, lengthBytes: bytes.length }, heat, true)
    return true
  }

  /** Begins another segment, and brings over what was read lately from the one that is given up for it. */
  #begin(pinned: boolean): boolean {
    const survivors: Block[] = []
    const begun = this.#store.begin(pinned, () => this.#giveUp(survivors))
    const target = pinned ? this.#store.current(false) : begun
    if (typeof target === 'number') for (const survivor of survivors) if (!this.#appendTo(target, survivor)) break
    return typeof begun === 'number'
  }

  /** Takes the blocks of the segment that is worth least out of the table; those worth it are read into `survivors`. */
  #giveUp(survivors: Block[]): number | undefined {
    const number = this.#victim()
    const segment = number === undefined ? undefined : this.#store.get(number)
    if (number === undefined || !segment) return undefined
    const budget = survivorBudget(segmentBytesFor(this.#store.quotaBytes))
    let bytes = survivors.reduce((sum, survivor) => sum + survivor.bytes.length, 0)
    for (const location of this.table.ofSegment(number).sort((a, b) => b.heat - a.heat)) {
      this.remove(location.keyLow, location.keyHigh)
      if (location.heat === 0 || bytes + location.lengthBytes > budget) continue
      const block = this.readWhole(segment, location)
      if (!block) continue
      bytes += location.lengthBytes
      survivors.push({ ...block, heat: location.heat - 1 })
    }
    this.#worth.delete(number)
    return number
  }

  /** The segment that is worth least. Those that are spared for what was read of them long ago are worth less the next time. */
  #victim(): number | undefined {
    const ordinary = this.#store.ordinary()
    const empty = ordinary.find(number => this.#worth.get(number)?.liveBytes === 0)
    if (empty !== undefined) return empty
    const older = ordinary.slice(Math.floor(ordinary.length / 2)).reverse()
    let found: number | undefined
    let least = Number.POSITIVE_INFINITY
    for (const number of older) {
      // What isn't taken in yet counts as full.
      const worth = this.#worth.get(number) ?? { liveBytes: this.#store.get(number)!.fileBytes, hotBytes: 0 }
      const value = worth.hotBytes + worth.liveBytes / 4
      if (value < least) {
        found = number
        least = value
      }
    }
    for (const number of older) {
      const worth = this.#worth.get(number)
      if (worth && number !== found) worth.hotBytes /= 2
    }
    return found
  }

  #worthOf(number: number): Worth {
    let worth = this.#worth.get(number)
    if (!worth) this.#worth.set(number, (worth = { liveBytes: 0, hotBytes: 0 }))
    return worth
  }

  #set(block: PlacedBlock, heat: number, fresh: boolean): void {
    this.#leave(this.table.find(block.keyLow, block.keyHigh))
    this.table.set(block.keyLow, block.keyHigh, block.segment, block.offset, block.lengthBytes, heat, fresh)
    const worth = this.#worthOf(block.segment)
    worth.liveBytes += block.lengthBytes
    worth.hotBytes += heat * block.lengthBytes
  }

  /** Forgets a block. */
  remove(keyLow: number, keyHigh: number): void {
    this.#leave(this.table.find(keyLow, keyHigh))
    this.table.remove(keyLow, keyHigh)
  }

  #leave(tablePlace: number): void {
    if (tablePlace >= 0) this.#worthOf(this.table.segmentAt(tablePlace)).liveBytes -= this.table.lengthAt(tablePlace)
  }

  /** The block was read: answers how often now, up to 15. */
  touch(tablePlace: number): number {
    if (this.table.heatAt(tablePlace) < 3) this.#worthOf(this.table.segmentAt(tablePlace)).hotBytes += this.table.lengthAt(tablePlace)
    return this.table.touch(tablePlace)
  }

  /** Forgets everything. */
  clear(): void {
    this.table.clear()
    this.#worth.clear()
    for (const number of this.#store.numbers()) this.#store.drop(number)
  }

  /** Gives up all segments but those of pinned blocks. */
  clearUnpinned(): void {
    for (const number of this.#store.numbers()) if (!this.#store.get(number)!.pinned) this.#dropWith(number)
  }

  /** A block with its header, as it lies in its segment; undefined when it is damaged. */
  readWhole(
    segment: Segment,
    location: { readonly keyLow: number; readonly keyHigh: number; readonly offset: number; readonly lengthBytes: number },
  ): Block | undefined {
    const header = segment.readRecordHeader(location.offset)
    if (!header || header.lengthBytes !== location.lengthBytes) return undefined
    const bytes = Buffer.allocUnsafe(header.lengthBytes)
    this.#place.setBlock(header.objectTag, header.classBytes, header.lengthBytes, header.blockIndex)
    if (!segment.readBlock(this.#place, location.offset, bytes.length, 0, bytes.length, bytes, 0, this.#scratch)) return undefined
    return { header, keyLow: location.keyLow, keyHigh: location.keyHigh, heat: 0, bytes }
  }

  /** The blocks of a segment that belong to pinned objects. */
  #pinnedIn(number: number): BlockLocation[] {
    const segment = this.#store.get(number)
    return this.table.ofSegment(number).filter(location => {
      const header = segment?.readRecordHeader(location.offset)
      return header !== undefined && this.isPinned(header.objectTag)
    })
  }

  /** A segment whose pinned objects aren't any more becomes an ordinary one. */
  demoteUnpinned(number: number): void {
    if (this.#store.get(number)?.pinned && this.#pinnedIn(number).length === 0) this.#store.demote(number)
  }

  /** Makes one segment for pinned blocks out of one that is at least half empty of them. */
  #compactPinned(): boolean {
    for (const number of this.#store.numbers()) {
      const segment = this.#store.get(number)!
      if (!segment.pinned || segment.filling) continue
      const kept = this.#pinnedIn(number)
      if (kept.reduce((sum, location) => sum + location.lengthBytes, 0) > segment.fileBytes / 2) continue
      const blocks = kept.map(location => this.readWhole(segment, location)).filter(block => block !== undefined)
      this.#dropWith(number)
      if (!this.#begin(true)) return false
      const target = this.#store.current(true)!
      for (const block of blocks) if (!this.#appendTo(target, block)) return false
      return true
    }
    return false
  }

  /** Gives up the segment that is worth least, with all that is in it. */
  giveUpOne(): boolean {
    const number = this.#victim()
    if (number === undefined) return false
    this.#dropWith(number)
    return true
  }

  #dropWith(number: number): void {
    for (const block of this.table.ofSegment(number)) this.remove(block.keyLow, block.keyHigh)
    this.#worth.delete(number)
    this.#store.drop(number)
  }

  /** Takes in what the last run left, the newest first, without stopping the thread for long. */
  async load(): Promise<void> {
    await nextTurn()
    let sliceMs = performance.now()
    for (const number of this.#store.numbers()) {
      if (this.#closed) break
      if (performance.now() - sliceMs > LOAD_SLICE_MS) {
        await nextTurn()
        sliceMs = performance.now()
      }
      const segment = this.#store.get(number)
      if (!segment || segment.filling) continue
      this.#loadSegment(number)
    }
    this.#ready = true
  }

  close(): void {
    this.#closed = true
    this.#store.close()
  }

  /** Ends the taking in. */
  stop(): void {
    this.#closed = true
  }

  #loadSegment(number: number): void {
    const segment = this.#store.get(number)!
    const entries = segment.load(header => {
      const object = new CachedObject(header.objectTag, 0)
      const blockClass = (BLOCK_CLASSES as readonly number[]).indexOf(header.classBytes)
      return { keyLow: object.keyLow(blockClass, header.blockIndex), keyHigh: object.keyHigh(blockClass, header.blockIndex) }
    })
    if (!entries || entries === 'empty') {
      if (!entries) this.damaged++
      if (!entries) this.#log.warning('a damaged file of the block cache is discarded')
      this.#store.drop(number)
      return
    }
    // Known to hold something, or nothing.
    this.#worthOf(number)
    for (const entry of entries) {
      if (this.table.count >= this.#maximumBlocks) break
      // What is there already is newer.
      if (this.table.find(entry.keyLow, entry.keyHigh) < 0) this.#set({ ...entry, segment: number }, 0, false)
    }
  }
}
