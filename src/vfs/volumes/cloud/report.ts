/**
 * What a cloud volume tells of itself: its state for people, its room for programs.
 * Owns: the words and numbers of both, nothing else.
 */
import { type FilesystemStatistics, SLOT_SIZE, type VolumeStatus } from '../../contract.ts'
import type { CloudCore } from './core.ts'
import type { Lister } from './lister.ts'

/** The bucket has no size; programs that look for room find enough. */
const CAPACITY_BYTES = 2 ** 50
const BLOCK_BYTES = 4096
const NAME_LIMIT_BYTES = 255

export function statusOf(core: CloudCore, lister: Lister, isClosed: boolean): VolumeStatus {
  const { away, progress, hidden: unreadable } = lister
  if (isClosed) return { state: 'closed', unreadable }
  if (away !== undefined) return { state: 'offline', detail: away, unreadable }
  if (!progress) return { state: 'online', unreadable }
  const { directories, entries, startedMs } = progress
  const seconds = Math.max(0.001, (core.now() - startedMs) / 1000)
  return { state: 'scanning', scan: { directories, entries, entriesPerSecond: entries / seconds, startedAtMs: startedMs }, unreadable }
}

export function roomOf(core: CloudCore): FilesystemStatistics {
  const blocks = CAPACITY_BYTES / BLOCK_BYTES
  const files = SLOT_SIZE / 2
  return {
    blockSizeBytes: BLOCK_BYTES,
    fragmentSizeBytes: BLOCK_BYTES,
    blocks,
    blocksFree: blocks,
    blocksAvailable: blocks,
    files,
    filesFree: files - core.index.entryCount(core.volume),
    nameLengthBytes: NAME_LIMIT_BYTES,
  }
}
