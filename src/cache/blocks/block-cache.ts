/**
 * The block cache: pieces of cloud objects on the local disk, sealed, verified on every read, under a hard quota.
 *
 * Owns: the directory (with its lock), and what a block of an object is. Where blocks lie and which leave: block-shelf.ts.
 * Must stay true:
 * - What `read` gives are the bytes that were put for that object state and position, or nothing: each piece is authenticated
 *   with its place. A block that fails is forgotten, and the caller fetches it again.
 * - The directory never takes more than the quota (segment-store.ts). The cache may always forget, except what is pinned.
 * - All calls answer at once; the disk is asked for one read or write of at most a block.
 * It doesn't: fetch, decide what to fetch, or know names (it sees tags made of them with a key of its own).
 *
 * After a start the blocks of the last run are taken in by slices (`whenReady`); until then a block may be there and not be found.
 */
import { mkdirSync } from 'node:fs'
import type { SecretKey } from '../../crypto/secret-key.ts'
import { FsError } from '../../errors.ts'
import { type Log, silentLog } from '../../log.ts'
import { DirectoryLock } from '../directory-lock.ts'
import { BlockShelf, type PlacedBlock } from './block-shelf.ts'
import { CachedObject } from './block-table.ts'
import { BLOCK_CLASSES, type RecordHeader, SMALLEST_BLOCK_BYTES } from './format.ts'
import { PageWarmer, TOUCHES_TO_WARM } from './page-warmer.ts'

export { CachedObject } from './block-table.ts'

export interface BlockCacheOptions {
  readonly directory: string
  /** The library's key; what is needed is derived from it. */
  readonly key: SecretKey
  readonly quotaBytes: number
  readonly log?: Log
  /** Bound of the table in memory: 30 bytes a block. */
  readonly maximumBlocks?: number
}

/** Names one state of one object. */
export interface ObjectState {
  readonly volume: number | string
  readonly key: string
  /** The version id where the bucket has them, else the entity tag. */
  readonly version: string
  readonly sizeBytes: number
}

export interface BlockCacheStatus {
  readonly quotaBytes: number
  /** What the directory takes on disk at most. */
  readonly usedBytes: number
  readonly pinnedBytes: number
  readonly blocks: number
  readonly ready: boolean
  readonly hits: number
  readonly misses: number
  /** Blocks found damaged or foreign, and forgotten. */
  readonly damaged: number
}

const DEFAULT_MAXIMUM_BLOCKS = 2_000_000
/** Looking for all blocks of an object takes a look for each that it could have: of larger ones nobody looks. */
const LOOKS_LIMIT = 8_000_000

export class BlockCache {
  readonly #lock: DirectoryLock
  readonly #contentsKey: SecretKey
  readonly #namesKey: SecretKey
  readonly #shelf: BlockShelf
  readonly #warmer = new PageWarmer()
  readonly #loading: Promise<void>
  #hits = 0
  #misses = 0

  /** Throws 'busy' when another process has the directory, 'invalid' for a quota that is too small. */
  constructor(options: BlockCacheOptions) {
    mkdirSync(options.directory, { recursive: true, mode: 0o700 })
    this.#lock = new DirectoryLock(options.directory)
    try {
      this.#contentsKey = options.key.derive('block-contents')
      this.#namesKey = options.key.derive('block-names')
      const maximumBlocks = options.maximumBlocks ?? DEFAULT_MAXIMUM_BLOCKS
      this.#shelf = new BlockShelf(options.directory, this.#contentsKey, options.quotaBytes, maximumBlocks, options.log ?? silentLog)
    } catch (error) {
      this.#lock[Symbol.dispose]()
      throw error
    }
    this.#loading = this.#shelf.load()
  }

  /** All that the last run left is known. */
  get ready(): boolean {
    return this.#shelf.ready
  }
  whenReady(): Promise<void> {
    return this.#loading
  }

  /** A state of an object, for the calls below. Cheap enough for each open, not for each read. */
  object(state: ObjectState): CachedObject {
    return new CachedObject(this.#namesKey.nameTag(['object', String(state.volume), state.key, state.version]), state.sizeBytes)
  }

  /** Copies bytes from `position` into `into`: how many are here without a gap, 0 when none. */
  read(object: CachedObject, position: number, into: Buffer): number {
    const wanted = Math.min(into.length, object.sizeBytes - position)
    let done = 0
    while (done < wanted) {
      const count = this.#readBlock(object, position + done, wanted - done, into, done)
      if (count === 0) break
      done += count
    }
    object.lastEnd = position + done
    if (done > 0) this.#hits++
    else this.#misses++
    return Math.max(0, done)
  }

  /** The end of the bytes that are here from `position` on without a gap, at most `limit`; nothing is read. */
  extent(object: CachedObject, position: number, limit: number): number {
    const end = Math.min(limit, object.sizeBytes)
    let at = position
    while (at < end) {
      const found = this.#find(object, at)
      if (!found) break
      at = found.begin + found.lengthBytes
    }
    return Math.max(position, Math.min(at, end))
  }

  /**
   * Keeps bytes that begin at a multiple of SMALLEST_BLOCK_BYTES; what doesn't fill a block at the end is left out, except at the
   * end of the object. Answers false when something could not be kept (no room that may be given up, or a full disk).
   */
  put(object: CachedObject, position: number, bytes: Buffer): boolean {
    if (position % SMALLEST_BLOCK_BYTES !== 0) throw new Error('blocks begin at multiples of the smallest size')
    const end = Math.min(position + bytes.length, object.sizeBytes)
    for (let at = position; at < end; ) {
      const fit = fittingBlock(at, end - at, end === object.sizeBytes)
      if (!fit) break
      if (!this.#putBlock(object, fit.blockClass, at, bytes.subarray(at - position, at - position + fit.lengthBytes))) return false
      at += fit.lengthBytes
    }
    return true
  }

  /**
   * The object's blocks, those here and those to come, are kept until `unpin`. Pins are not remembered over a restart: whoever
   * knows what is pinned says so again once the cache is ready, then calls `settlePins`. Throws 'quota' when there is no room.
   */
  pin(object: CachedObject): void {
    const noRoom = () => new FsError('quota', 'the block cache has no room for more pinned files', { operation: 'pin' })
    if (object.sizeBytes > this.#shelf.store.quotaBytes) throw noRoom()
    this.#shelf.setPinned(object.tag)
    for (const found of this.#blocksOf(object)) {
      const segment = this.#shelf.store.get(found.segment)
      if (!segment || segment.pinned) continue
      const block = this.#shelf.readWhole(segment, found)
      if (block && !this.#shelf.append(block)) throw noRoom()
    }
  }

  /** The object's blocks may be evicted again. */
  unpin(object: CachedObject): void {
    if (!this.#shelf.clearPinned(object.tag)) return
    const segments = new Set(this.#blocksOf(object).map(found => found.segment))
    for (const number of segments) this.#shelf.demoteUnpinned(number)
  }

  isPinned(object: CachedObject): boolean {
    return this.#shelf.isPinned(object.tag)
  }

  /** All that is pinned has been said: what the last run pinned beyond that may be evicted. */
  settlePins(): void {
    for (const number of this.#shelf.store.numbers()) this.#shelf.demoteUnpinned(number)
  }

  /** Forgets an object's blocks (their room comes back by and by). */
  forget(object: CachedObject): void {
    for (const found of this.#blocksOf(object)) this.#shelf.remove(found.keyLow, found.keyHigh)
  }

  /** Forgets everything, also what is pinned. */
  clear(): void {
    this.#shelf.clear()
  }

  /** Forgets everything that isn't pinned; answers how many bytes of the disk that gave back. */
  clearUnpinned(): number {
    const before = this.#shelf.store.usedBytes
    this.#shelf.clearUnpinned()
    return before - this.#shelf.store.usedBytes
  }

  setQuota(quotaBytes: number): void {
    const { store } = this.#shelf
    store.setQuota(quotaBytes)
    while (store.usedBytes > quotaBytes && this.#shelf.giveUpOne()) {}
  }

  /** Gives room back to a disk that is full; answers how many bytes. */
  shrink(bytes: number): number {
    const { store } = this.#shelf
    const before = store.usedBytes
    while (before - store.usedBytes < bytes && this.#shelf.giveUpOne()) {}
    return before - store.usedBytes
  }

  status(): BlockCacheStatus {
    return {
      quotaBytes: this.#shelf.store.quotaBytes,
      usedBytes: this.#shelf.store.usedBytes,
      pinnedBytes: this.#shelf.store.pinnedBytes,
      blocks: this.#shelf.table.count,
      ready: this.#shelf.ready,
      hits: this.#hits,
      misses: this.#misses,
      damaged: this.#shelf.damaged,
    }
  }

  async close(): Promise<void> {
    this.#shelf.stop()
    await this.#loading
    this.#shelf.close()
    this.#contentsKey[Symbol.dispose]()
    this.#namesKey[Symbol.dispose]()
    this.#lock[Symbol.dispose]()
  }

  #readBlock(object: CachedObject, position: number, wanted: number, into: Buffer, at: number): number {
    const found = this.#find(object, position)
    if (!found) return 0
    const from = position - found.begin
    const count = Math.min(wanted, found.lengthBytes - from)
    const header = { objectTag: object.tag, classBytes: BLOCK_CLASSES[found.blockClass]!, blockIndex: found.blockIndex }
    if (!this.#shelf.readPart(found, header, from, count, into, at)) return 0
    this.#touched(object, found, from)
    return count
  }

  /** Counts the read, and has the kernel read ahead where that pays. */
  #touched(object: CachedObject, found: FoundBlock, from: number): void {
    const touches = this.#shelf.touch(found.tablePlace)
    if (touches === TOUCHES_TO_WARM) this.#shelf.store.get(found.segment)?.warm(this.#warmer, found.offset, found.lengthBytes)
    // A stream enters a block: the next one is needed soon.
    if (from === 0 && found.begin > 0 && object.lastEnd === found.begin) {
      const next = this.#findIn(object, found.begin + found.lengthBytes, found.blockClass)
      if (!next || this.#shelf.table.touchesAt(next.tablePlace) >= TOUCHES_TO_WARM) return
      this.#shelf.table.setTouched(next.tablePlace)
      this.#shelf.store.get(next.segment)?.warm(this.#warmer, next.offset, next.lengthBytes)
    }
  }

  #find(object: CachedObject, position: number): FoundBlock | undefined {
    const hint = object.classHint
    return this.#findIn(object, position, hint) ?? this.#findElsewhere(object, position, hint)
  }

  #findElsewhere(object: CachedObject, position: number, except: number): FoundBlock | undefined {
    for (let blockClass = BLOCK_CLASSES.length - 1; blockClass >= 0; blockClass--) {
      const found = blockClass === except ? undefined : this.#findIn(object, position, blockClass)
      if (found) {
        object.classHint = blockClass
        return found
      }
    }
    return undefined
  }

  #findIn(object: CachedObject, position: number, blockClass: number): FoundBlock | undefined {
    const classBytes = BLOCK_CLASSES[blockClass]!
    const blockIndex = Math.floor(position / classBytes)
    const keyLow = object.keyLow(blockClass, blockIndex)
    const keyHigh = object.keyHigh(blockClass, blockIndex)
    const tablePlace = this.#shelf.table.find(keyLow, keyHigh)
    if (tablePlace < 0) return undefined
    const begin = blockIndex * classBytes
    const lengthBytes = this.#shelf.table.lengthAt(tablePlace)
    if (position - begin >= lengthBytes) return undefined
    return {
      tablePlace,
      keyLow,
      keyHigh,
      blockClass,
      blockIndex,
      begin,
      lengthBytes,
      segment: this.#shelf.table.segmentAt(tablePlace),
      offset: this.#shelf.table.offsetAt(tablePlace),
    }
  }

  #blocksOf(object: CachedObject): FoundBlock[] {
    const found: FoundBlock[] = []
    if (object.sizeBytes / SMALLEST_BLOCK_BYTES > LOOKS_LIMIT) return found
    for (let blockClass = 0; blockClass < BLOCK_CLASSES.length; blockClass++)
      for (let position = 0; position < object.sizeBytes; position += BLOCK_CLASSES[blockClass]!) {
        const block = this.#findIn(object, position, blockClass)
        if (block) found.push(block)
      }
    return found
  }

  #putBlock(object: CachedObject, blockClass: number, position: number, bytes: Buffer): boolean {
    const blockIndex = Math.floor(position / BLOCK_CLASSES[blockClass]!)
    const keyLow = object.keyLow(blockClass, blockIndex)
    const keyHigh = object.keyHigh(blockClass, blockIndex)
    const { table } = this.#shelf
    const there = table.find(keyLow, keyHigh)
    if (there >= 0 && table.lengthAt(there) === bytes.length) return true
    const header: RecordHeader = { objectTag: object.tag, classBytes: BLOCK_CLASSES[blockClass]!, lengthBytes: bytes.length, blockIndex }
    return this.#shelf.append({ header, keyLow, keyHigh, heat: 0, bytes })
  }
}

interface FoundBlock extends PlacedBlock {
  readonly tablePlace: number
  readonly blockClass: number
  readonly blockIndex: number
  readonly begin: number
}

/** The block to begin at `position` when `available` bytes are at hand; `toEnd`: they reach the end of the object. */
export function fittingBlock(
  position: number,
  available: number,
  toEnd: boolean,
): { readonly blockClass: number; readonly lengthBytes: number } | undefined {
  for (let blockClass = BLOCK_CLASSES.length - 1; blockClass >= 0; blockClass--) {
    const classBytes = BLOCK_CLASSES[blockClass]!
    if (position % classBytes !== 0) continue
    if (available >= classBytes) return { blockClass, lengthBytes: classBytes }
    // The end of the object goes into one block, of the smallest class that holds it.
    const smaller = blockClass === 0 ? 0 : BLOCK_CLASSES[blockClass - 1]!
    if (toEnd && available > smaller) return { blockClass, lengthBytes: available }
  }
  return undefined
}
