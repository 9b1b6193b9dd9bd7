/**
 * What can be asked of a library: each request with its arguments, updates and result.
 *
 * Owns: types only. The daemon answers them over the control socket, and a command answers them itself where no daemon
 * runs (service.ts): one implementation. Names and paths are one char per byte.
 */

import type { BucketKeys } from '../../library/secrets.ts'
import type { Name, ScanProgress, VolumeStatus } from '../../vfs/contract.ts'
import type { DifferenceKind } from '../../vfs/volumes/location/verify.ts'
import type { LimitChanges, Limits } from './limits.ts'
import type { VaultRequests } from './vault-requests.ts'
import type { WebdavSettings } from './webdav.ts'

export interface LocationInfo {
  readonly name: Name
  readonly path: Name
  readonly entries: number
}

/** One scan as it goes on; `done` comes once per location, last. */
export interface ScanUpdate {
  readonly name: Name
  readonly scan: ScanProgress | undefined
  readonly done: boolean
}

export interface VolumeInfo extends VolumeStatus {
  readonly id: number
  readonly kind: string
  readonly name: Name
  /** Of a location: its folder. */
  readonly path: Name | undefined
  /** Of a location in a mounted tree: whether it has a thread of its own. */
  readonly drive?: 'direct' | 'deferred' | undefined
  readonly entries: number
  /** Of a cloud volume. */
  readonly cloud?: { readonly address: string; readonly queue: QueueInfo } | undefined
}

/** One piece of work in a queue. */
export interface QueuedWork {
  readonly does: 'upload' | 'copy' | 'delete'
  /** Below the volume, made printable. */
  readonly name: string
  readonly sizeBytes: number
  readonly sentBytes: number
  readonly state: 'running' | 'waiting' | 'failed'
  readonly error: string | undefined
}

/** What waits to be uploaded to one cloud volume. */
export interface QueueInfo {
  readonly name: Name
  readonly address: string
  readonly state: 'stopped' | 'idle' | 'working' | 'waiting' | 'offline' | 'not mounted'
  readonly queued: number
  /** All of those, and what of it was sent already. */
  readonly queuedBytes: number
  readonly runningBytes: number
  readonly failed: number
  /** Since the mount. */
  readonly sentBytes: number
  readonly lastError: string | undefined
  /** The first of them. */
  readonly works: readonly QueuedWork[]
}

export interface QueueUpdate {
  readonly queues: readonly QueueInfo[]
}

/** The keys of a bucket: what the AWS configuration gives each time, or these. */
export type VolumeKeys = { readonly chain: true } | BucketKeys

/** What a user says of a new cloud volume. */
export interface CloudVolumeSettings {
  readonly endpoint?: string | undefined
  readonly region?: string | undefined
  readonly profile?: string | undefined
  readonly pathStyle?: boolean | undefined
  readonly ttlMs?: number | undefined
  readonly writeMode?: 'back' | 'through' | undefined
  readonly readOnly?: boolean | undefined
  readonly litter?: boolean | undefined
  /** WHAT=yes|no of the server, instead of what a trial says. */
  readonly assume?: Readonly<Record<string, string>> | undefined
}

export interface CloudVolumeInfo {
  readonly name: Name
  readonly address: string
  readonly endpoint: string | undefined
  readonly region: string
  readonly keys: 'AWS configuration' | 'sealed'
  readonly ttlMs: number
  readonly writeMode: 'back' | 'through'
  readonly readOnly: boolean
  readonly state: VolumeStatus['state'] | 'not mounted'
  readonly detail: string | undefined
  readonly entries: number
  readonly queued: number
  readonly failed: number
  /** The guarantees that its server lacks, a line each. */
  readonly lacks: readonly string[]
}

/** A file or folder of a cloud volume. */
export type CloudPath = {
  readonly volume: Name
  /** Below the volume's folder; empty: all of it. */
  readonly path: Name
}

/** How far the fetching of files is. */
export interface FetchUpdate {
  readonly files: number
  readonly bytes: number
  /** Where it is known. */
  readonly totalFiles?: number | undefined
  readonly totalBytes?: number | undefined
}

export interface CacheStatus {
  readonly directory: string
  readonly quotaBytes: number
  readonly usedBytes: number
  readonly pinnedBytes: number
  readonly blocks: number
  readonly hits: number
  readonly misses: number
  readonly damaged: number
  readonly pinned: readonly { readonly volume: Name; readonly path: Name; readonly sizeBytes: number }[]
}

export interface MountInfo {
  readonly mountpoint: string
  readonly readOnly: boolean
  readonly sinceMs: number
  readonly statistics: Readonly<Record<string, unknown>>
}

export interface LibraryStatus {
  readonly version: string
  readonly library: string
  /** The daemon, where one runs. */
  readonly daemon: { readonly pid: number; readonly rssBytes: number; readonly heapUsedBytes: number } | undefined
  readonly mounts: readonly MountInfo[]
  readonly volumes: readonly (Omit<VolumeInfo, 'state'> & { readonly state: VolumeInfo['state'] | 'not mounted' })[]
  readonly index: { readonly bytes: number; readonly entries: number; readonly nodes: number }
}

/** One way in which index and disk disagree. `path` is below the location's folder. */
export interface Difference {
  readonly location: Name
  readonly path: Name
  readonly kind: DifferenceKind
  /** What differs, for a person: `size 3, index 5`. */
  readonly detail: string
}

export type VerifyUpdate =
  | { readonly difference: Difference }
  | { readonly location: Name; readonly checked: number }
  | { readonly location: Name; readonly scanning: number }
  | { readonly skipped: Name; readonly reason: string }

export interface Requests extends VaultRequests {
  status: { readonly arguments: Record<string, never>; readonly update: never; readonly result: LibraryStatus }
  unmount: {
    readonly arguments: { readonly lazy: boolean; readonly mountpoint?: string; readonly wait: boolean }
    readonly update: QueueUpdate
    /** `queues`: what goes on with the next mount. */
    readonly result: { readonly mountpoint: string; readonly queues: readonly QueueInfo[] }
  }
  'location.add': {
    readonly arguments: {
      readonly path: Name
      readonly name?: Name
      readonly drive?: 'auto' | 'direct' | 'deferred'
      readonly wait: boolean
    }
    readonly update: ScanUpdate
    readonly result: LocationInfo & { readonly mounted: boolean; readonly notes: readonly string[] }
  }
  'location.list': {
    readonly arguments: Record<string, never>
    readonly update: never
    readonly result: { readonly locations: readonly LocationInfo[] }
  }
  'location.remove': { readonly arguments: { readonly name: Name }; readonly update: never; readonly result: LocationInfo }
  'location.rescan': {
    readonly arguments: { readonly name?: Name; readonly wait: boolean }
    readonly update: ScanUpdate
    readonly result: { readonly names: readonly Name[] }
  }
  'index.verify': {
    readonly arguments: { readonly name?: Name }
    readonly update: VerifyUpdate
    readonly result: { readonly checked: number; readonly differences: number }
  }
  'volume.add': {
    readonly arguments: {
      readonly address: string
      readonly name?: Name
      readonly keys: VolumeKeys
      readonly settings: CloudVolumeSettings
      readonly wait: boolean
    }
    readonly update: ScanUpdate
    readonly result: CloudVolumeInfo & { readonly mounted: boolean }
  }
  'volume.set': {
    readonly arguments: { readonly name: Name; readonly keys?: VolumeKeys; readonly settings: CloudVolumeSettings }
    readonly update: never
    readonly result: CloudVolumeInfo
  }
  'volume.list': {
    readonly arguments: Record<string, never>
    readonly update: never
    readonly result: { readonly volumes: readonly CloudVolumeInfo[] }
  }
  'volume.remove': {
    readonly arguments: { readonly name: Name; readonly discard: boolean }
    readonly update: never
    readonly result: { readonly name: Name; readonly address: string; readonly discarded: number }
  }
  'volume.refresh': { readonly arguments: CloudPath; readonly update: never; readonly result: Record<string, never> }
  pin: { readonly arguments: CloudPath; readonly update: FetchUpdate; readonly result: { readonly sizeBytes: number } }
  unpin: { readonly arguments: CloudPath; readonly update: never; readonly result: Record<string, never> }
  'cache.warm': { readonly arguments: CloudPath; readonly update: FetchUpdate; readonly result: FetchUpdate }
  'cache.status': { readonly arguments: Record<string, never>; readonly update: never; readonly result: CacheStatus }
  'cache.clear': { readonly arguments: Record<string, never>; readonly update: never; readonly result: { readonly freedBytes: number } }
  'sync.status': { readonly arguments: { readonly name?: Name }; readonly update: never; readonly result: QueueUpdate }
  'sync.wait': { readonly arguments: { readonly name?: Name }; readonly update: QueueUpdate; readonly result: QueueUpdate }
  'sync.retry': {
    readonly arguments: { readonly name?: Name }
    readonly update: never
    readonly result: { readonly names: readonly Name[] }
  }
  limits: {
    readonly arguments: { readonly changes: LimitChanges }
    readonly update: never
    readonly result: { readonly limits: Limits; readonly mounted: boolean }
  }
  'webdav.start': {
    readonly arguments: { readonly settings: WebdavSettings }
    readonly update: never
    /** For the user: where, who, and the certificate's fingerprint. */
    readonly result: { readonly lines: readonly string[] }
  }
}

export type RequestName = keyof Requests
export type RequestArguments<N extends RequestName> = Requests[N]['arguments']
export type RequestUpdate<N extends RequestName> = Requests[N]['update']
export type RequestResult<N extends RequestName> = Requests[N]['result']
