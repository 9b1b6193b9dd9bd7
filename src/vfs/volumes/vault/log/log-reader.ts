/**
 * Reading the log: every record from a position on, and what is wrong with it.
 *
 * Owns: the rule of what ends a log. Each record was durable before the next one was written, so only the last record of a
 * segment can be torn, and the segment after it names the last good one. So: a record that doesn't open is the torn end when
 * nothing follows it that says otherwise (another record, or a segment that begins after it); else it is damage. (What a
 * thief of the last records leaves is an older vault: last-seen.ts.)
 * Must stay true: no record is answered that isn't authentic, in its place, and next in the chain.
 */
import type { OpeningSpace } from '../../../../crypto/sealing.ts'
import { FsError } from '../../../../errors.ts'
import type { VaultIdentity } from '../chunks/pack-format.ts'
import type { VaultStore } from '../store/contract.ts'
import {
  blobNumber,
  type LogPosition,
  type LogRecord,
  openRecord,
  openSegment,
  RECORD_HEADER_BYTES,
  recordLength,
  SEGMENT_HEADER_BYTES,
  type SegmentHeader,
  segmentBlob,
} from './log-format.ts'

/** What a disk writes whole or not at all. */
const SECTOR_BYTES = 512

export interface PlacedRecord {
  readonly record: LogRecord
  /** Behind it. */
  readonly position: LogPosition
}

/** Where the log ended, and why it ended there if that isn't its end. */
export interface LogEnd {
  readonly damage: string | undefined
}

export class LogReader {
  readonly #vault: VaultIdentity
  readonly #store: VaultStore

  constructor(vault: VaultIdentity, store: VaultStore) {
    this.#vault = vault
    this.#store = store
  }

  /** Numbers of the segments that are there, ascending. */
  segments(): number[] {
    return this.#store
      .list('log/')
      .map(({ name }) => blobNumber(name))
      .sort((a, b) => a - b)
  }

  /** Whether the record before a position is the one that the position means. */
  verify(position: LogPosition): 'good' | 'damaged' | 'missing' {
    if (position.offset === 0) return 'good'
    const sizeBytes = this.#size(position.segment)
    if (sizeBytes === undefined || sizeBytes < position.end) return 'missing'
    try {
      const { space } = this.#openSegment(position.segment)
      const found = this.#record(space, position.segment, position.offset, sizeBytes)
      if (typeof found === 'string') return 'damaged'
      // Another record in that place: another history of the vault.
      return found.record.chain.equals(position.chain) ? 'good' : 'missing'
    } catch (error) {
      if (error instanceof FsError && error.kind === 'damaged') return 'damaged'
      throw error
    }
  }

  /** The highest sequence that the headers of segments speak of. */
  sequenceOfHeaders(): number {
    let sequence = 0
    for (const number of this.segments()) {
      try {
        sequence = Math.max(sequence, this.#openSegment(number).header.sequence)
      } catch (error) {
        if (!(error instanceof FsError) || error.kind !== 'damaged') throw error
      }
    }
    return sequence
  }

  /** All records behind a position. Answers, at its end, whether it was the log's. */
  *records(from: LogPosition): Generator<PlacedRecord, LogEnd> {
    let at = from
    let unreadable: string | undefined
    const numbers = this.segments().filter(number => number >= from.segment)
    for (const [i, number] of numbers.entries()) {
      const segment = this.#tryOpen(number)
      if (typeof segment === 'string') {
        // Begun, and left without a header or a record when the disk failed: the next segment goes on as if it weren't there.
        // If it was more than that, the next segment won't fit.
        const isLast = i === numbers.length - 1
        if (isLast && this.#hasHeader(number)) return { damage: segment }
        unreadable = segment
        continue
      }
      const continues = number === from.segment && from.offset > 0
      if (!continues && (segment.header.sequence !== at.sequence || !segment.header.chain.equals(at.chain)))
        return { damage: unreadable ?? `the log is damaged or cut between record ${at.sequence} and ${segmentBlob(number)}` }
      // A record that was written and not synced counts for nothing if the next segment begins before it.
      const until = this.#nextHeader(numbers, i)?.sequence
      const end = yield* this.#segment(segment.space, number, continues ? from.end : SEGMENT_HEADER_BYTES, at, until)
      at = end.at
      // What follows the last good record of a segment was torn if the next segment goes on from there.
      if (end.damage && until === undefined) return { damage: end.damage }
    }
    return { damage: undefined }
  }

  #tryOpen(number: number): { space: OpeningSpace; header: SegmentHeader } | string {
    try {
      return this.#openSegment(number)
    } catch (error) {
      if (error instanceof FsError && error.kind === 'damaged') return error.message
      throw error
    }
  }

  /** Of the next segment that has one. */
  #nextHeader(numbers: readonly number[], i: number): SegmentHeader | undefined {
    for (const number of numbers.slice(i + 1)) {
      const segment = this.#tryOpen(number)
      if (typeof segment !== 'string') return segment.header
    }
    return undefined
  }

  *#segment(
    space: OpeningSpace,
    number: number,
    start: number,
    after: LogPosition,
    until = Number.POSITIVE_INFINITY,
  ): Generator<PlacedRecord, { at: LogPosition; damage: string | undefined }> {
    const sizeBytes = this.#size(number) ?? 0
    let at = after
    for (let offset = start; offset < sizeBytes && at.sequence < until; ) {
      const found = this.#record(space, number, offset, sizeBytes)
      const damage = `record ${at.sequence + 1} of the log (${segmentBlob(number)}, offset ${offset}) is damaged`
      if (found === 'torn') return { at, damage: undefined }
      if (found === 'damaged') return { at, damage }
      if (typeof found !== 'object') return { at, damage: this.#follows(space, number, offset, sizeBytes) ? damage : undefined }
      const { record, end } = found
      if (record.sequence !== at.sequence + 1 || !record.before.equals(at.chain)) return { at, damage }
      at = { segment: number, offset, end, sequence: record.sequence, chain: record.chain }
      yield { record, position: at }
      offset = end
    }
    return { at, damage: undefined }
  }

  /** Whether a good record stands behind one that isn't. */
  #follows(space: OpeningSpace, number: number, offset: number, sizeBytes: number): boolean {
    const header = Buffer.alloc(RECORD_HEADER_BYTES)
    this.#store.read(segmentBlob(number), offset, header)
    const length = recordLength(header)
    if (typeof length !== 'number') return false
    const next = offset + RECORD_HEADER_BYTES + length
    return next < sizeBytes && typeof this.#record(space, number, next, sizeBytes) === 'object'
  }

  /** 'torn': not all there; 'unsealed': all there and not authentic; 'damaged': its length can't be. */
  #record(
    space: OpeningSpace,
    number: number,
    offset: number,
    sizeBytes: number,
  ): { readonly record: LogRecord; readonly end: number } | 'torn' | 'unsealed' | 'damaged' {
    if (sizeBytes - offset < RECORD_HEADER_BYTES) return 'torn'
    const header = Buffer.alloc(RECORD_HEADER_BYTES)
    this.#store.read(segmentBlob(number), offset, header)
    const length = recordLength(header)
    if (length === 'unwritten') return 'torn'
    if (length === 'damaged') return isHalfWritten(header, offset) ? 'torn' : 'damaged'
    const end = offset + RECORD_HEADER_BYTES + length
    if (end > sizeBytes) return 'torn'
    const piece = Buffer.allocUnsafe(length)
    this.#store.read(segmentBlob(number), offset + RECORD_HEADER_BYTES, piece)
    const record = openRecord(space, this.#vault.vaultId, number, offset, piece)
    return record ? { record, end } : 'unsealed'
  }

  #openSegment(number: number): { space: OpeningSpace; header: SegmentHeader } {
    return openSegment(this.#vault, number, this.#header(number))
  }

  #header(number: number): Buffer {
    const header = Buffer.alloc(SEGMENT_HEADER_BYTES)
    return header.subarray(0, this.#store.read(segmentBlob(number), 0, header))
  }

  /** Anything but zeros: a header lies in one sector, so that a power loss leaves all of it or nothing. */
  #hasHeader(number: number): boolean {
    const header = this.#header(number)
    return header.length === SEGMENT_HEADER_BYTES && header.some(byte => byte !== 0)
  }

  #size(number: number): number | undefined {
    return this.#store.list(segmentBlob(number)).find(({ name }) => name === segmentBlob(number))?.sizeBytes
  }
}

/** Whether a record's header lies across two sectors, only one of which reached the disk. */
function isHalfWritten(header: Buffer, offset: number): boolean {
  const split = SECTOR_BYTES - (offset % SECTOR_BYTES)
  if (split >= header.length) return false
  return header.subarray(0, split).every(byte => byte === 0) || header.subarray(split).every(byte => byte === 0)
}
