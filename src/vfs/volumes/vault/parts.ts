/**
 * What the parts of an open vault share. Owns: types, and the watch over the room that is left.
 */
import { FsError } from '../../../errors.ts'
import type { ChunkStore } from './chunks/chunk-store.ts'
import type { Commits } from './commits.ts'
import type { Contents } from './content/contents.ts'
import type { NodeId } from './index/changes.ts'
import type { Extents } from './index/extents.ts'
import type { WorkingIndex } from './index/working-index.ts'
import type { Recorder } from './log/recorder.ts'
import type { NodeTable } from './nodes/node-table.ts'
import type { VaultStore } from './store/contract.ts'

/** The root directory's number. */
export const ROOT_ID: NodeId = 1

export interface VaultParts {
  readonly readOnly: boolean
  readonly store: VaultStore
  readonly index: WorkingIndex
  readonly extents: Extents
  readonly recorder: Recorder
  readonly nodes: NodeTable
  readonly chunks: ChunkStore
  readonly contents: Contents
  readonly commits: Commits
  readonly room: Room
}

/** Kept free: the log and the index need it to let go of anything. */
const RESERVE_BYTES = 16 * 2 ** 20
const LOOK_EVERY_BYTES = 8 * 2 ** 20

/** Whether there is room for what is written: asked of the store now and then, so that a full disk shows in write(2). */
export class Room {
  readonly #store: VaultStore
  readonly #delayedBytes: () => number
  #left = 0

  constructor(store: VaultStore, delayedBytes: () => number) {
    this.#store = store
    this.#delayedBytes = delayedBytes
  }

  take(bytes: number): void {
    this.#left -= bytes
    if (this.#left >= 0) return
    this.mustHave(bytes)
    this.#left = LOOK_EVERY_BYTES
  }

  mustHave(bytes: number): void {
    const available = this.#store.space().availableBytes - this.#delayedBytes() - RESERVE_BYTES
    if (available < bytes) throw new FsError('no-space', undefined, { operation: 'write' })
  }
}
