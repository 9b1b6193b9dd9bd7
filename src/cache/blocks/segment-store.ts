/**
 * The segments of a cache directory and the room they take.
 *
 * Owns: which files there are, how much disk they may take in all, which of them is being filled for ordinary and for pinned
 * blocks.
 * Must stay true: the room of a file is counted before the file is made and until it is gone, as what it may take on disk at
 * most; so the directory never takes more than the quota, not even for a moment.
 * It doesn't: know blocks. Whoever uses it says which segment is worth least, and takes its blocks away (`giveUp`).
 */
import { readdirSync, unlinkSync } from 'node:fs'
import { join } from 'node:path'
import type { SecretKey } from '../../crypto/secret-key.ts'
import { FsError } from '../../errors.ts'
import type { Log } from '../../log.ts'
import { LARGEST_BLOCK_BYTES, recordBytes } from './format.ts'
import { diskBytes, parseSegmentName, Segment, type SegmentName, segmentName } from './segment.ts'

/** The directory itself, its lock, and a little for what nobody thought of. */
const FIXED_BYTES = 64 * 1024
/** Large blocks that the shortest and the longest ordinary segment hold. */
const SMALLEST_SEGMENT_BLOCKS = 4
const LARGEST_SEGMENT_BLOCKS = 32
/** Header, index, and a few small blocks. */
const SEGMENT_SLACK_BYTES = 128 * 1024
const SEGMENTS_AIMED_AT = 512
const SEGMENTS_MAXIMUM = 4096
const SEGMENTS_MINIMUM = 4

/** Pinned blocks may take this part of the quota, so that there is always room to work. */
const PINNED_SHARE = 0.8

/** Why no segment could be had. */
export type NoRoom = 'quota' | 'disk-full'

/** The length of segments under a quota: not too many files, not too much lost when one is given up, little room left over. */
export function segmentBytesFor(quotaBytes: number): number {
  const aimed = Math.max(
    Math.min(quotaBytes / SEGMENTS_AIMED_AT, LARGEST_SEGMENT_BLOCKS * LARGEST_BLOCK_BYTES),
    quotaBytes / SEGMENTS_MAXIMUM,
  )
  const blocks = Math.max(SMALLEST_SEGMENT_BLOCKS, Math.floor(aimed / LARGEST_BLOCK_BYTES))
  return Math.ceil((blocks * recordBytes(LARGEST_BLOCK_BYTES) + SEGMENT_SLACK_BYTES) / 4096) * 4096
}

export class SegmentStore {
  readonly #directory: string
  readonly #key: SecretKey
  readonly #log: Log
  #quotaBytes: number
  #segmentBytes: number
  #usedBytes = FIXED_BYTES
  #nextSequence = 1
  #nextNumber = 0
  /** By number; numbers are what the block table holds, and are used once. */
  readonly #segments = new Map<number, Segment>()
  #ordinary: number | undefined
  #pinned: number | undefined

  /** Takes in what is in the directory, and gives up the oldest when that is more than the quota. */
  constructor(directory: string, key: SecretKey, quotaBytes: number, log: Log) {
    this.#directory = directory
    this.#key = key
    this.#log = log
    this.#quotaBytes = quotaBytes
    this.#segmentBytes = segmentBytesFor(quotaBytes)
    if (quotaBytes < FIXED_BYTES + SEGMENTS_MINIMUM * diskBytes(this.#segmentBytes))
      throw new FsError(
        'invalid',
        `a cache needs at least ${Math.ceil((FIXED_BYTES + SEGMENTS_MINIMUM * diskBytes(segmentBytesFor(0))) / 2 ** 20)} MiB`,
      )
    const names = readdirSync(directory)
      .map(parseSegmentName)
      .filter(name => name !== undefined)
      .sort((a, b) => a.sequence - b.sequence)
    for (const name of names) this.#takeIn(name)
    this.#giveUpUntilFits()
  }

  get quotaBytes(): number {
    return this.#quotaBytes
  }
  /** At most what the directory takes on disk. */
  get usedBytes(): number {
    return this.#usedBytes
  }
  get count(): number {
    return this.#segments.size
  }
  get pinnedBytes(): number {
    let bytes = 0
    for (const segment of this.#segments.values()) if (segment.pinned) bytes += diskBytes(segment.fileBytes)
    return bytes
  }

  get(number: number): Segment | undefined {
    return this.#segments.get(number)
  }

  /** Newest first. */
  numbers(): number[] {
    return [...this.#segments.keys()].sort((a, b) => this.#segments.get(b)!.sequence - this.#segments.get(a)!.sequence)
  }

  /** The segment being filled, if there is one. */
  current(pinned: boolean): number | undefined {
    return pinned ? this.#pinned : this.#ordinary
  }

  /**
   * Begins another segment: a new file while there is room, else one that `giveUp` chooses, whose blocks it has taken away then;
   * undefined: it has none.
   */
  begin(pinned: boolean, giveUp: () => number | undefined): number | NoRoom {
    const old = this.current(pinned)
    if (old !== undefined) this.#segments.get(old)?.finish()
    this.#setCurrent(pinned, undefined)
    const cost = diskBytes(this.#segmentBytes)
    if (pinned && this.pinnedBytes + cost > this.#quotaBytes * PINNED_SHARE) return 'quota'
    for (let diskFull = false; ; ) {
      if (!diskFull && this.#usedBytes + cost <= this.#quotaBytes) {
        const made = this.#create(pinned)
        if (made !== undefined) return made
        diskFull = true
      }
      const victim = giveUp()
      if (victim === undefined) return diskFull ? 'disk-full' : 'quota'
      // A file of another length (the quota was changed) makes room for a whole one.
      if (this.#segments.get(victim)!.fileBytes !== this.#segmentBytes) {
        this.drop(victim)
        continue
      }
      const reused = this.#reuse(victim, pinned)
      if (reused !== undefined) return reused
    }
  }

  /** Gives up a segment's file. */
  drop(number: number): void {
    const segment = this.#segments.get(number)
    if (!segment) return
    this.#segments.delete(number)
    if (this.#ordinary === number) this.#ordinary = undefined
    if (this.#pinned === number) this.#pinned = undefined
    segment.remove()
    this.#usedBytes -= diskBytes(segment.fileBytes)
  }

  /** Segments that may be given up, newest first. */
  ordinary(): number[] {
    return this.numbers().filter(number => {
      const segment = this.#segments.get(number)!
      return !segment.pinned && !segment.filling
    })
  }

  /** A segment for pinned blocks that holds none any more. */
  demote(number: number): void {
    const segment = this.#segments.get(number)
    if (!segment?.pinned) return
    if (this.#pinned === number) {
      segment.finish()
      this.#pinned = undefined
    }
    segment.demote()
  }

  setQuota(quotaBytes: number): void {
    this.#quotaBytes = quotaBytes
    this.#segmentBytes = segmentBytesFor(quotaBytes)
  }

  /** Writes the indexes of those being filled. */
  close(): void {
    for (const number of [this.#ordinary, this.#pinned]) if (number !== undefined) this.#segments.get(number)?.finish()
    for (const segment of this.#segments.values()) segment.close()
    this.#segments.clear()
  }

  #takeIn(name: SegmentName): void {
    this.#nextSequence = Math.max(this.#nextSequence, name.sequence + 1)
    try {
      const segment = Segment.open(this.#directory, this.#key, name)
      this.#segments.set(this.#nextNumber++, segment)
      this.#usedBytes += diskBytes(segment.fileBytes)
    } catch (error) {
      this.#log.warning('a file of the block cache can not be opened and is removed', error)
      unlinkSync(join(this.#directory, segmentName(name)))
    }
  }

  #giveUpUntilFits(): void {
    while (this.#usedBytes > this.#quotaBytes) {
      const victim = this.ordinary().at(-1) ?? this.numbers().at(-1)
      if (victim === undefined) return
      this.drop(victim)
    }
  }

  /** Undefined: the disk is full, or worse. */
  #create(pinned: boolean): number | undefined {
    const name = { pinned, sequence: this.#nextSequence++ }
    const cost = diskBytes(this.#segmentBytes)
    this.#usedBytes += cost
    try {
      const number = this.#nextNumber++
      this.#segments.set(number, Segment.create(this.#directory, this.#key, name, this.#segmentBytes))
      this.#setCurrent(pinned, number)
      return number
    } catch (error) {
      this.#usedBytes -= cost
      if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') this.#log.warning('the block cache can not grow', error)
      return undefined
    }
  }

  #reuse(victim: number, pinned: boolean): number | undefined {
    const segment = this.#segments.get(victim)!
    try {
      segment.reuse({ pinned, sequence: this.#nextSequence++ })
    } catch (error) {
      this.#log.warning('a file of the block cache can not be used any more', error)
      this.drop(victim)
      return undefined
    }
    this.#segments.delete(victim)
    const number = this.#nextNumber++
    this.#segments.set(number, segment)
    this.#setCurrent(pinned, number)
    return number
  }

  #setCurrent(pinned: boolean, number: number | undefined): void {
    if (pinned) this.#pinned = number
    else this.#ordinary = number
  }
}
