/**
 * The way out of the observer's thread: one stream of batches and messages, in the order in which things were seen.
 *
 * Owns: the batch that is being filled, and the count of batches that the main thread hasn't dealt with.
 * Must stay true: a message goes after the rows that were written before it. Who starts new work asks `hasRoom` first, so
 * that at most a bounded number of batches waits; changes may use a reserve that scans may not.
 */
import type { MessagePort } from 'node:worker_threads'
import type { Name } from '../../../contract.ts'
import {
  BatchWriter,
  type DirectoryIdentity,
  PAGE_FIRST,
  PAGE_LAST,
  SECTION_LISTING,
  SECTION_UNWATCHED,
  type SectionKind,
} from './batch.ts'
import type { BatchMemory } from './batch-memory.ts'
import type { Control } from './control.ts'
import type { Report } from './protocol.ts'

/** A batch is sent when it has so many bytes: about five milliseconds of work for the main thread. */
export const BATCH_BYTES = 64 * 1024

export class Outbox {
  readonly writer: BatchWriter = new BatchWriter()
  readonly #port: MessagePort
  readonly #control: Control
  readonly #memory: BatchMemory
  readonly #scanBatches: number
  /** Directories that lost their watch, to be told before the next section. */
  #unwatched: DirectoryIdentity[] = []
  #sent = 0

  constructor(port: MessagePort, control: Control, memory: BatchMemory, scanBatches: number) {
    this.#port = port
    this.#memory = memory
    this.#control = control
    this.#scanBatches = scanBatches
  }

  /** Whether new rows may be produced. */
  hasRoom(forChanges: boolean): boolean {
    const waiting = (this.#sent - this.#control.acknowledged) | 0
    return waiting < (forChanges ? this.#scanBatches * 2 : this.#scanBatches)
  }

  get isBatchFull(): boolean {
    return this.writer.sizeBytes >= BATCH_BYTES
  }

  /** Begins a section; the writer adds rows and ends it. */
  begin(kind: SectionKind, directory: DirectoryIdentity, path: Name, token: number): void {
    this.#writeUnwatched()
    this.writer.begin(kind, directory, path, token)
  }

  /** A listing without rows. */
  addEmptyListing(directory: DirectoryIdentity, path: Name, token: number, flags: number): void {
    this.begin(SECTION_LISTING, directory, path, token)
    this.writer.end(PAGE_FIRST | PAGE_LAST | flags)
  }

  /** The directory isn't watched any more. May be called while a section is open. */
  addUnwatched(directory: DirectoryIdentity): void {
    this.#unwatched.push(directory)
  }

  /** Sends what was written. No section may be open. */
  flush(): void {
    this.#writeUnwatched()
    const taken = this.writer.take()
    if (!taken) return
    this.#sent = (this.#sent + 1) | 0
    const { rows } = taken
    const lengthBytes = taken.bytes.length
    const place = this.#memory.put(taken.bytes)
    if (place >= 0) {
      this.#port.postMessage({ type: 'batch', place, lengthBytes, rows } satisfies Report)
      return
    }
    const bytes = taken.bytes.slice()
    this.#port.postMessage({ type: 'batch', place, lengthBytes, bytes, rows } satisfies Report, [bytes.buffer])
  }

  send(report: Report): void {
    this.flush()
    this.#port.postMessage(report)
  }

  /** Forgets what wasn't sent: the location went away. */
  discard(): void {
    this.#unwatched = []
    if (this.writer.isInSection) this.writer.end(0)
    this.writer.take()
  }

  #writeUnwatched(): void {
    if (this.#unwatched.length === 0) return
    const directories = this.#unwatched
    this.#unwatched = []
    for (const directory of directories) {
      this.writer.begin(SECTION_UNWATCHED, directory, '', this.#control.token)
      this.writer.end(0)
    }
  }
}
