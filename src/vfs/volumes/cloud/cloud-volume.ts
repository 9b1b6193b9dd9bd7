/**
 * A bucket as a volume: what the layers above know of it.
 * Owns: its contract. Until the volume itself is here, opening one says so, and it is shown as offline.
 */
import type { Backend, BackendCapabilities } from '../../../backends/contract.ts'
import type { BlockCache } from '../../../cache/blocks/block-cache.ts'
import type { MemoryBudget } from '../../../cache/reading/memory-budget.ts'
import type { StagingArea } from '../../../cache/staging/staging-area.ts'
import type { EngineSettings, EngineStatus } from '../../../cache/writeback/engine.ts'
import type { Journal } from '../../../cache/writeback/journal.ts'
import { FsError } from '../../../errors.ts'
import type { Index, VolumeRecord } from '../../../index/contract.ts'
import type { Log } from '../../../log.ts'
import type { Name, VfsListener, Volume } from '../../contract.ts'
export interface CloudSettings {
  readonly bucket: string
  readonly prefix: string
  readonly endpoint?: string
  readonly region?: string
  readonly profile?: string
  readonly pathStyle?: boolean
  readonly credentials: 'chain' | 'sealed'
  readonly ttlMs: number
  readonly writeMode: 'back' | 'through'
  readonly capabilities?: Partial<BackendCapabilities>
  readonly litter: boolean
  readonly readOnly?: boolean
}
export interface CloudVolumeOptions {
  readonly record: VolumeRecord
  readonly index: Index
  readonly backend: Backend
  readonly cache: BlockCache
  readonly reading: { readonly memory: MemoryBudget }
  readonly staging: StagingArea
  readonly journal: Journal
  readonly device: string
  readonly log: Log
  readonly listener: VfsListener
  readonly engine?: Partial<EngineSettings>
}
export interface CloudVolume extends Volume {
  refresh(path?: Name, signal?: AbortSignal): Promise<void>
  readonly sync: { status(): EngineStatus; drained(signal?: AbortSignal): Promise<void>; retryNow(): void }
  pin(path: Name, signal: AbortSignal, progress: (p: { files: number; bytes: number }) => void): Promise<void>
  unpin(path: Name): void
  pinned(): { path: Name; sizeBytes: number }[]
  warm(path: Name, signal: AbortSignal, progress: (p: { files: number; bytes: number }) => void): Promise<{ files: number; bytes: number }>
}
export const CloudVolume = {
  open(_options: CloudVolumeOptions): CloudVolume {
    throw new FsError('not-supported', "this version can't open cloud volumes", { operation: 'open volume' })
  },
}
