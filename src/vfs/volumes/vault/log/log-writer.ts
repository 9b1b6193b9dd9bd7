/**
 * Writing the log.
 *
 * Owns: the segment that is being written. Must stay true: a record is durable when `append` returned, so that at most the last
 * record of a segment is ever torn; after a failure the segment is left as it is and the next record begins another one, which
 * names the last good record.
 */
import type { SealingSpace } from '../../../../crypto/sealing.ts'
import type { VaultIdentity } from '../chunks/pack-format.ts'
import type { AppendBlob, VaultStore } from '../store/contract.ts'
import { type LogPosition, newSegment, RECORD_CHANGES, RECORD_CLOSED, sealRecord, segmentBlob } from './log-format.ts'

interface OpenSegment {
  readonly number: number
  readonly space: SealingSpace
  readonly blob: AppendBlob
}

export interface LogWriterOptions {
  readonly vault: VaultIdentity
  readonly store: VaultStore
  readonly position: LogPosition
  /** Above all segments that are there. */
  readonly firstSegment: number
  readonly nowMs: () => number
}

export class LogWriter {
  readonly #options: LogWriterOptions
  #position: LogPosition
  #nextSegment: number
  #open: OpenSegment | undefined
  /** Bytes written since the last `rotate`. */
  writtenBytes = 0

  constructor(options: LogWriterOptions) {
    this.#options = options
    this.#position = options.position
    this.#nextSegment = options.firstSegment
  }

  /** Behind the last record. */
  get position(): LogPosition {
    return this.#position
  }

  append(changes: Buffer): void {
    this.#append(changes, RECORD_CHANGES)
  }

  /** The next record begins another segment. Answers its number. */
  rotate(): number {
    this.#open?.blob.close()
    this.#open = undefined
    this.writtenBytes = 0
    return this.#nextSegment
  }

  /** Says that this was all. */
  end(): void {
    if (this.#open) this.#append(Buffer.alloc(0), RECORD_CLOSED)
    this.close()
  }

  close(): void {
    this.#open?.blob.close()
    this.#open = undefined
  }

  #append(changes: Buffer, kind: number): void {
    const { vault, nowMs } = this.#options
    try {
      const { number, space, blob } = (this.#open ??= this.#begin())
      const offset = blob.sizeBytes
      const before = this.#position
      const record = { sequence: before.sequence + 1, timeMs: nowMs(), before: before.chain, kind, changes }
      const { bytes, chain } = sealRecord(space, vault.vaultId, number, offset, record)
      blob.append(bytes)
      blob.sync()
      this.#position = { segment: number, offset, end: blob.sizeBytes, sequence: record.sequence, chain }
      this.writtenBytes += bytes.length
    } catch (error) {
      this.close()
      throw error
    }
  }

  #begin(): OpenSegment {
    const { vault, store } = this.#options
    const number = this.#nextSegment++
    const { space, header } = newSegment(vault, number, this.#position)
    const blob = store.create(segmentBlob(number))
    try {
      blob.append(header)
    } catch (error) {
      blob.close()
      // What can't be removed either is passed over by readers.
      store.remove(segmentBlob(number))
      throw error
    }
    return { number, space, blob }
  }
}
