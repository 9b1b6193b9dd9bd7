/**
 * What the main thread and the thread that drives a location say to each other.
 *
 * Owns: the messages, and the few numbers in shared memory.
 *   replies    written by main: how many of the thread's questions were answered; the thread sleeps on it
 *   beat       written by the thread: counts up while it gets on
 *   cancelled  written by main: calls up to this number aren't wanted any more; those that have not begun are left out
 * Must stay true: messages of one direction arrive in the order in which they were sent. So rows that were sent before an
 * answer are in the index before the answer is heard. Everything is plain data; bytes are in memory of their own.
 */
import type { MessagePort } from 'node:worker_threads'
import { FsError } from '../../../../errors.ts'
import type { DirectoryDifference, IndexedEntry, ListingEnd, ScanRow, ScanState, VolumeRecord } from '../../../../index/contract.ts'
import type { LogLevel } from '../../../../log.ts'
import {
  type AttributeChanges,
  Attributes,
  type AttributesReply,
  type Entry,
  type FilesystemStatistics,
  type Ino,
  type Name,
  type OpenFlags,
  type RequestContext,
  type VfsListener,
  type VolumeStatus,
  type WriteOptions,
} from '../../../contract.ts'
import type { LocationIndex } from '../location-index.ts'
import type { DifferenceKind } from '../verify.ts'

/** An open file or directory in the thread. */
export type Handle = number

export interface OpenedFile {
  readonly handle: Handle
  readonly ino: Ino
  readonly keepCache: boolean
  readonly directIo: boolean
  readonly noFlush: boolean
}

export interface OpenedDirectory {
  readonly handle: Handle
  readonly ino: Ino
  readonly keepCache: boolean
}

export interface DirectoryRow {
  readonly name: Name
  readonly ino: Ino
  readonly type: number
  readonly next: bigint
  readonly entry: Entry | undefined
}

/** Rows from an offset on; `ended`: there are no more. */
export interface DirectoryPage {
  readonly rows: readonly DirectoryRow[]
  readonly ended: boolean
}

/** The calls, with what goes in and what comes out. The words are those of `Volume`, `OpenFile` and `OpenDirectory`. */
export interface Operations {
  lookup(parent: Ino, name: Name): Entry | undefined
  getattr(ino: Ino, file: Handle | undefined): AttributesReply
  setattr(ino: Ino, changes: AttributeChanges, file: Handle | undefined): AttributesReply
  readlink(ino: Ino): Name
  symlink(parent: Ino, name: Name, target: Name): Entry
  mknod(parent: Ino, name: Name, mode: number, rdev: number): Entry
  mkdir(parent: Ino, name: Name, mode: number): Entry
  unlink(parent: Ino, name: Name): void
  rmdir(parent: Ino, name: Name): void
  rename(parent: Ino, name: Name, newParent: Ino, newName: Name, flags: number): void
  link(ino: Ino, newParent: Ino, newName: Name): Entry
  access(ino: Ino, mask: number): void
  statfs(ino: Ino): FilesystemStatistics
  setxattr(ino: Ino, name: Name, value: Uint8Array, flags: number, killSetGid: boolean): void
  getxattr(ino: Ino, name: Name): Uint8Array
  listxattr(ino: Ino): Name[]
  removexattr(ino: Ino, name: Name): void
  syncfs(ino: Ino): void
  ioctl(ino: Ino, file: Handle | undefined, command: number, input: Uint8Array, outputBytes: number): Uint8Array
  open(ino: Ino, flags: OpenFlags): OpenedFile
  create(parent: Ino, name: Name, mode: number, flags: OpenFlags): { readonly entry: Entry; readonly file: OpenedFile }
  tmpfile(parent: Ino, mode: number, flags: OpenFlags): { readonly entry: Entry; readonly file: OpenedFile }
  opendir(ino: Ino): OpenedDirectory
  read(file: Handle, position: number, lengthBytes: number): Uint8Array
  write(file: Handle, position: number, data: Uint8Array, options: WriteOptions): number
  flush(file: Handle): void
  fsync(file: Handle, dataOnly: boolean): void
  fallocate(file: Handle, mode: number, offset: number, lengthBytes: number): void
  seek(file: Handle, offset: number, whence: number): number
  copyRange(file: Handle, offset: number, target: Handle, targetOffset: number, lengthBytes: number): number
  readdir(directory: Handle, offset: bigint, withAttributes: boolean, rows: number): DirectoryPage
  fsyncdir(directory: Handle, dataOnly: boolean): void
}

export type OperationName = keyof Operations

/** Who asks, without the signal: the wait ends on the main thread. */
export type Caller = Omit<RequestContext, 'signal'>

/** What the index is asked while the thread waits. */
export interface IndexQuestions
  extends Pick<
    LocationIndex,
    'node' | 'lookup' | 'children' | 'links' | 'applyDirectory' | 'scanToken' | 'slot' | 'slots' | 'assignIno' | 'scanState' | 'isScanned'
  > {
  children(parent: Ino, after: Name | undefined, limit: number): IndexedEntry[]
  scanState(volume: number): ScanState | undefined
  /** A listing is known by a number between the threads. */
  beginListing(volume: number, parent: Ino, since: number): number
  listingRows(listing: number, rows: readonly ScanRow[]): DirectoryDifference
  listingFinish(listing: number): ListingEnd
  /** The directories of a volume by pages; the last page is empty. */
  walkDirectories(volume: number): number
  walkOn(walk: number): readonly Attributes[]
}

/** What the index is told without waiting. */
export interface IndexOrders
  extends Pick<
    LocationIndex,
    'putNode' | 'putEntry' | 'createEntry' | 'removeEntry' | 'renameEntry' | 'updateVolume' | 'setScanState' | 'markScanned'
  > {
  listingCancel(listing: number): void
}

export type ToDrive =
  | {
      readonly kind: 'call'
      readonly id: number
      readonly operation: OperationName
      readonly caller: Caller
      readonly args: readonly unknown[]
    }
  | { readonly kind: 'forget'; readonly references: readonly number[] }
  | { readonly kind: 'release'; readonly handle: Handle }
  | { readonly kind: 'idle' }
  | { readonly kind: 'rescan'; readonly path: Name | undefined }
  /** The main thread answered from the index meanwhile: front ends are to ask again. */
  | { readonly kind: 'distrust' }
  /** The index is compared with the folder. One at a time. */
  | { readonly kind: 'verify'; readonly id: number; readonly leftOut: readonly Name[]; readonly settleMs: number }
  | { readonly kind: 'stop-verifying'; readonly id: number }
  /** For tests: the thread fails. */
  | { readonly kind: 'fail' }
  /** The location ends; what is open stays open. */
  | { readonly kind: 'close' }
  | { readonly kind: 'end' }

export type FromDrive =
  | { readonly kind: 'loaded' }
  | { readonly kind: 'answer'; readonly id: number; readonly value: unknown }
  | { readonly kind: 'failure'; readonly id: number; readonly error: PlainError }
  | { readonly kind: 'left-out'; readonly id: number }
  | { readonly kind: 'question'; readonly method: keyof IndexQuestions; readonly args: readonly unknown[] }
  | { readonly kind: 'order'; readonly method: keyof IndexOrders; readonly args: readonly unknown[] }
  | { readonly kind: 'told'; readonly method: keyof VfsListener; readonly args: readonly unknown[] }
  | { readonly kind: 'slot'; readonly slot: number }
  | { readonly kind: 'log'; readonly level: LogLevel; readonly message: string }
  | { readonly kind: 'state'; readonly state: DriveState }
  | { readonly kind: 'difference'; readonly id: number; readonly path: Name; readonly difference: DifferenceKind; readonly detail: string }
  | { readonly kind: 'checked'; readonly id: number; readonly count: number }
  | { readonly kind: 'verified'; readonly id: number; readonly count: number; readonly error: PlainError | undefined }
  | { readonly kind: 'closed'; readonly error: PlainError | undefined }

export type Reply = { readonly value: unknown } | { readonly error: PlainError }

export interface DriveState {
  readonly status: VolumeStatus
  readonly negativeTtlMs: number
  readonly nodeCount: number
  readonly rootModeMask: number
}

export interface DriveSettings {
  readonly record: VolumeRecord
  readonly readOnly: boolean
  readonly ownMountpoints: readonly Name[]
}

export interface DriveThreadData {
  readonly port: MessagePort
  readonly replies: MessagePort
  readonly memory: SharedArrayBuffer
  readonly settings: DriveSettings
}

// --- shared memory ---

const REPLIES = 0
const BEAT = 1
const CANCELLED_BYTES = 8
const SIZE_BYTES = 16

export class DriveMemory {
  readonly memory: SharedArrayBuffer
  readonly #cells: Int32Array
  readonly #cancelled: BigInt64Array

  constructor(memory: SharedArrayBuffer = new SharedArrayBuffer(SIZE_BYTES)) {
    this.memory = memory
    this.#cells = new Int32Array(memory)
    this.#cancelled = new BigInt64Array(memory, CANCELLED_BYTES, 1)
  }

  get replies(): number {
    return Atomics.load(this.#cells, REPLIES)
  }
  replied(): void {
    Atomics.add(this.#cells, REPLIES, 1)
    Atomics.notify(this.#cells, REPLIES)
  }
  /** Sleeps until there are more replies than `seen`. */
  waitForReply(seen: number): void {
    Atomics.wait(this.#cells, REPLIES, seen)
  }
  get beat(): number {
    return Atomics.load(this.#cells, BEAT)
  }
  beats(): void {
    Atomics.add(this.#cells, BEAT, 1)
  }
  get cancelled(): number {
    return Number(Atomics.load(this.#cancelled, 0))
  }
  set cancelled(id: number) {
    Atomics.store(this.#cancelled, 0, BigInt(id))
  }
}

// --- plain data ---

/** An error as it crosses between threads; without a kind it is a bug. */
export interface PlainError {
  readonly kind: FsError['kind'] | undefined
  readonly message: string
  readonly operation: string | undefined
  readonly subject: string | undefined
  readonly stack: string | undefined
}

export function plainError(error: unknown): PlainError {
  if (error instanceof FsError) {
    const { kind, message, operation, subject } = error
    return { kind, message, operation, subject, stack: undefined }
  }
  const { message, stack } = error instanceof Error ? error : new Error(String(error))
  return { kind: undefined, message, operation: undefined, subject: undefined, stack }
}

export function errorOf(plain: PlainError): Error {
  const { kind, message, operation, subject, stack } = plain
  if (kind === undefined) return Object.assign(new Error(message), stack === undefined ? {} : { stack })
  return new FsError(kind, message, { ...(operation === undefined ? {} : { operation }), ...(subject === undefined ? {} : { subject }) })
}

/** Attributes lose their class on the way. */
export function attributesOf(plain: Attributes): Attributes {
  return Object.assign(new Attributes(), plain)
}

/** Bytes in memory of their own: what crosses is this and no more. */
export function ownBytes(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  return new Uint8Array(bytes)
}
