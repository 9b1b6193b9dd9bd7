/**
 * What the main thread and the observer's thread say to each other, besides the cells of `Control`.
 * Owns: types only. Messages of one direction arrive in the order in which they were sent.
 */
import type { MessagePort } from 'node:worker_threads'
import type { Name } from '../../../contract.ts'
import type { RootIdentity } from './root-identity.ts'

/** How the observer's thread is started. */
export interface ObserverThreadData {
  readonly port: MessagePort
  readonly control: SharedArrayBuffer
  readonly batches: SharedArrayBuffer
  /** An eventfd: readable when there are commands. */
  readonly wakeFd: number
  readonly settings: ObserverSettings
}

export interface ObserverSettings {
  /** Absolute path of the folder. */
  readonly rootPath: Name
  /** What the folder was when it was last online. */
  readonly identity: RootIdentity | undefined
  /** Absolute paths that must never be touched: the daemon's own mount point. */
  readonly excluded: readonly Name[]
  /** Directories that an interrupted scan has dealt with (`DirectorySet.toWords`): they come last. */
  readonly scanned: Uint32Array | undefined
  readonly limits: ObserverLimits & { readonly batches: number }
}

/** Bounds, all with defaults; most are given only by tests. */
export interface ObserverLimits {
  /** Batches that wait for an acknowledgement before the scan stops. */
  readonly batches?: number | undefined
  /** Watches, below what the system allows. */
  readonly watches?: number | undefined
  /** After each so many events some count as lost. */
  readonly eventsBetweenLosses?: number | undefined
  /** Names that wait to be looked at before whole directories are listed instead. */
  readonly pendingNames?: number | undefined
  /** How often unwatched directories are looked at. */
  readonly roundMs?: number | undefined
  /** How often the root is looked at. */
  readonly rootCheckMs?: number | undefined
  /** At least so long between two scans that were started because events were lost. */
  readonly rescanMs?: number | undefined
  /** Walk without openat2(2). */
  readonly stepwise?: boolean | undefined
}

export type Command =
  | { readonly type: 'pause' }
  | { readonly type: 'resume' }
  | { readonly type: 'rescan'; readonly path: Name }
  | { readonly type: 'relist'; readonly path: Name }
  | { readonly type: 'prioritize'; readonly path: Name }
  | { readonly type: 'exclude'; readonly paths: readonly Name[] }
  /** Look at the root now; `again`: and report it as if it had just come. */
  | { readonly type: 'check'; readonly again: boolean }
  | { readonly type: 'stop' }
  /** For tests: the thread fails. */
  | { readonly type: 'fail' }

export interface FilesystemFacts {
  /** Type in the mount table: `ext4`, `fuse.sshfs`. */
  readonly type: string
  /** Calls into it may hang: it's to be driven asynchronously, and its changes can't all be seen. */
  readonly mayHang: boolean
  /** As `StatxBuffer.device` gives it. */
  readonly device: number
}

export interface Counts {
  /** Of the scan that runs, or of the last one. */
  readonly scan: number
  readonly scanning: boolean
  readonly startedAtMs: number
  readonly directories: number
  readonly entries: number
  readonly entriesPerSecond: number
  /** Directories known, and how many of them are watched. */
  readonly known: number
  readonly watched: number
  /** Why not all are watched. */
  readonly watchRefusal: string | undefined
  readonly unreadableCount: number
  /** The first hundred. */
  readonly unreadable: readonly UnreadableDirectory[]
}

export interface UnreadableDirectory {
  /** Below the root; '' is the root. */
  readonly path: Name
  readonly reason: string
}

export type Report =
  /** A batch in a place of the shared memory, or, with place -1, in `bytes`. */
  | { readonly type: 'batch'; readonly place: number; readonly lengthBytes: number; readonly bytes?: Uint8Array; readonly rows: number }
  | { readonly type: 'online'; readonly identity: RootIdentity; readonly filesystem: FilesystemFacts }
  | { readonly type: 'offline'; readonly reason: string }
  | { readonly type: 'scan-started'; readonly scan: number }
  | { readonly type: 'scan-finished'; readonly scan: number; readonly counts: Counts }
  | { readonly type: 'events-lost' }
  | { readonly type: 'watch-refused'; readonly reason: string }
  | { readonly type: 'counts'; readonly counts: Counts }
  | { readonly type: 'stopped' }
