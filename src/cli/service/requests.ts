/**
 * What can be asked of a library: each request with its arguments, updates and result.
 *
 * Owns: types only. The daemon answers them over the control socket, and a command answers them itself where no daemon
 * runs (service.ts): one implementation. Names and paths are one char per byte.
 */
import type { Name, ScanProgress, VolumeStatus } from '../../vfs/contract.ts'
import type { DifferenceKind } from '../../vfs/volumes/location/verify.ts'
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
  readonly entries: number
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

export interface Requests {
  status: { readonly arguments: Record<string, never>; readonly update: never; readonly result: LibraryStatus }
  unmount: {
    readonly arguments: { readonly lazy: boolean; readonly mountpoint?: string }
    readonly update: never
    readonly result: { readonly mountpoint: string }
  }
  'location.add': {
    readonly arguments: { readonly path: Name; readonly name?: Name; readonly wait: boolean }
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
