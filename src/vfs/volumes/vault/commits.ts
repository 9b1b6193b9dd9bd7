/**
 * When changes become durable.
 *
 * Owns: the one order of a commit, its clock, and when a checkpoint is written. A commit is the state of the whole vault at one
 * moment: what was written goes into chunks, nodes onto the list, the packs are synced, then one log record has all of it and is
 * synced, then the working index commits. So after a kill or a power loss the vault is as it was at one of these moments, none
 * earlier than the last fsync that was answered.
 * Must stay true: no log record is stored before the chunks it speaks of are durable; blobs go only when the checkpoint that
 * makes them needless is durable.
 */
import { join } from 'node:path'
import { FsError } from '../../../errors.ts'
import type { Log } from '../../../log.ts'
import { type Database, openDatabase } from '../../../sqlite/database.ts'
import type { ChunkStore } from './chunks/chunk-store.ts'
import type { VaultIdentity } from './chunks/pack-format.ts'
import type { Contents, KeptEnd } from './content/contents.ts'
import { INDEX_FILE } from './index/working-index.ts'
import { checkpointBlob, writeCheckpoint } from './log/checkpoint.ts'
import { writeLastSeen } from './log/last-seen.ts'
import { blobNumber, encodePosition, type LogPosition, segmentBlob } from './log/log-format.ts'
import type { LogWriter } from './log/log-writer.ts'
import type { Recorder } from './log/recorder.ts'
import type { NodeTable } from './nodes/node-table.ts'
import type { VaultStore } from './store/contract.ts'

const DELAY_MS = 1000
const RETRY_MS = 10_000
const PENDING_LIMIT_BYTES = 4 * 2 ** 20
const CHECKPOINT_LOG_BYTES = 16 * 2 ** 20
const READER_CACHE_BYTES = 4 * 2 ** 20

export interface CommitsOptions {
  readonly vault: VaultIdentity
  readonly store: VaultStore
  readonly workDirectory: string
  readonly recorder: Recorder
  readonly nodes: NodeTable
  readonly contents: Contents
  readonly chunks: ChunkStore
  readonly writer: LogWriter
  readonly log: Log
  readonly checkpointLogBytes: number | undefined
}

export class Commits {
  readonly #options: CommitsOptions
  #timer: NodeJS.Timeout | undefined
  #checkpoint: Promise<void> | undefined
  #checkpointBytes = 0
  /** Why nothing can be written any more. */
  failure: FsError | undefined
  /** Why the last commit in the background failed; it is tried again. */
  trouble: string | undefined

  constructor(options: CommitsOptions) {
    this.#options = options
  }

  /** Something changed. */
  changed(): void {
    this.#timer ??= setTimeout(() => this.#inBackground(), DELAY_MS).unref()
  }

  /** To be called after each operation: many small changes are not held for long. */
  settle(): void {
    if (this.#options.recorder.pendingBytes > PENDING_LIMIT_BYTES) this.commit('chunk')
  }

  mustWork(): void {
    if (this.failure) throw this.failure
  }

  /** All that was answered so far is durable when this returns. */
  commit(kept: KeptEnd): void {
    this.mustWork()
    const { recorder, nodes, contents, chunks, writer } = this.#options
    clearTimeout(this.#timer)
    this.#timer = undefined
    contents.flushAll(kept)
    nodes.save()
    if (recorder.pendingBytes > 0) {
      chunks.writer.sync()
      writer.append(recorder.pending)
      recorder.clear()
      this.#commitIndex()
    }
    // Saving and flushing say `changed` too.
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.trouble = undefined
    if (writer.writtenBytes > Math.max(this.#options.checkpointLogBytes ?? CHECKPOINT_LOG_BYTES, this.#checkpointBytes / 2))
      this.checkpoint()
  }

  /** Begins a checkpoint, unless one is under way. */
  checkpoint(): Promise<void> {
    this.#checkpoint ??= this.#writeCheckpoint()
      .catch(error => this.#options.log.warning('vault: a checkpoint could not be written', error))
      .finally(() => {
        this.#checkpoint = undefined
      })
    return this.#checkpoint
  }

  async close(): Promise<void> {
    await this.#checkpoint
    try {
      if (!this.failure) this.commit('none')
      // That may have begun one.
      await this.#checkpoint
      this.#options.writer.end()
      writeLastSeen(this.#options.vault, this.#options.workDirectory, this.#options.writer.position)
    } finally {
      clearTimeout(this.#timer)
      this.#options.writer.close()
    }
  }

  #inBackground(): void {
    this.#timer = undefined
    try {
      this.commit('chunk')
    } catch (error) {
      this.trouble = error instanceof Error ? error.message : String(error)
      this.#options.log.warning('vault: what was written could not be stored yet', error)
      if (!this.failure) this.#timer ??= setTimeout(() => this.#inBackground(), RETRY_MS).unref()
    }
  }

  #commitIndex(): void {
    const { recorder, writer } = this.#options
    try {
      recorder.index.commit(encodePosition(writer.position))
    } catch (error) {
      // SQLite may have let go of the rows; the log has them all, so nothing is lost that was answered.
      this.failure = new FsError('io', 'the working index of the vault could not be written; close and open the vault', { cause: error })
      throw this.failure
    }
  }

  /**
   * A checkpoint of what the index has takes the place of all checkpoints and logs that are there: those are damaged. Works where
   * nothing else may be written, too.
   */
  async supersede(): Promise<void> {
    const { store, recorder, writer, workDirectory, vault } = this.#options
    await this.#checkpoint
    if (recorder.pendingBytes > 0) this.commit('none')
    const number = writer.rotate()
    const position = { ...writer.position, segment: number, offset: 0, end: 0 }
    await this.#write(number, position)
    recorder.index.commit(encodePosition(position))
    for (const { name } of store.list('checkpoints/')) if (name !== checkpointBlob(number)) store.remove(name)
    for (const { name } of store.list('log/')) if (blobNumber(name) < number) store.remove(name)
    writeLastSeen(vault, workDirectory, position)
  }

  async #writeCheckpoint(): Promise<void> {
    const { store, workDirectory, vault, writer } = this.#options
    const position = writer.position
    const number = writer.rotate()
    if (store.list(checkpointBlob(number)).length > 0) return
    await this.#write(number, position)
    this.#removeOld(number)
    writeLastSeen(vault, workDirectory, position)
  }

  async #write(number: number, position: LogPosition): Promise<void> {
    const { vault, store, workDirectory } = this.#options
    using key = vault.master.derive('vault-index', vault.vaultId)
    const path = join(workDirectory, INDEX_FILE)
    const reader: Database = key.use(bytes => openDatabase({ path, key: bytes, cacheBytes: READER_CACHE_BYTES }))
    try {
      reader.exec('BEGIN; SELECT 1 FROM sqlite_schema LIMIT 1')
      const steps = writeCheckpoint({ vault, store, number, reader, position })
      for (let step = steps.next(); ; step = steps.next()) {
        if (step.done) {
          this.#checkpointBytes = step.value
          return
        }
        await new Promise(resolve => setImmediate(resolve))
      }
    } finally {
      reader.close()
    }
  }

  /** Keeps the newest checkpoint, the one before it, and the log that each of them needs. */
  #removeOld(newest: number): void {
    const { store } = this.#options
    const numbers = store.list('checkpoints/').map(({ name }) => blobNumber(name))
    const previous = Math.max(0, ...numbers.filter(number => number < newest))
    for (const number of numbers) if (number !== newest && number !== previous) store.remove(checkpointBlob(number))
    // The segment before a checkpoint stays: working indexes stand at its end.
    const needed = previous > 0 ? Math.min(previous, newest - 1) : newest - 1
    for (const { name } of store.list('log/')) if (blobNumber(name) < needed) store.remove(segmentBlob(blobNumber(name)))
  }
}
