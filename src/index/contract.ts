/**
 * What the index promises to the volumes, the scanner and the commands: one SQL room, one contract.
 *
 * Owns: types only. The implementation is src/index/ (SQLite); a second one (PostgreSQL) would implement the same.
 *
 * Must stay true:
 * - One owner (the daemon's main thread) writes. Writes are queued in memory and applied in short transactions
 *   ("group commit" of a few milliseconds); every read sees the queued writes first. The queue is bounded: past the bound
 *   a write applies it at once.
 * - Rows of a location can be read again from disk: they need no fsync. `flush('durable')` is for what can't.
 * - All calls here are synchronous and short, except those that answer an iterator or a promise.
 */
import type { Attributes, Ino, Name } from '../vfs/contract.ts'
import type { ObjectStore } from './object-store.ts'

export type VolumeId = number
export type VolumeKind = 'location' | 'cloud' | 'vault' | 'view'

export interface VolumeRecord {
  readonly id: VolumeId
  readonly kind: VolumeKind
  /** The folder's name at the top of the tree (UTF-8 text turned into a Name). Unique. */
  readonly name: Name
  /** Kind-specific settings, JSON: of a location `LocationSettings`. No secrets. */
  readonly settings: Record<string, unknown>
  readonly addedAtMs: number
}

export interface LocationSettings {
  /** Absolute path of the folder, one char per byte (latin1). */
  readonly path: Name
  /** What the folder was when it was last online: filesystem id and inode number, to tell it from an empty mount point. */
  readonly identity?: { readonly filesystem: string; readonly ino: string }
  /** 'auto' by measurement and filesystem type, or set by the user. */
  readonly drive?: 'auto' | 'direct' | 'deferred'
}

export interface IndexedEntry {
  readonly name: Name
  readonly attributes: Attributes
}

export interface ScanRow {
  readonly name: Name
  readonly attributes: Attributes
}

/** What one location's tree looks like and how it changes. All inode numbers are the tree's (slot * 2^40 + local). */
export interface TreeIndex {
  /**
   * Attributes of a node, made or replaced. `volume` owns it: its slots have the number. Attributes without a link
   * (nlink 0: deleted while open) change a node that is known and make none; those of another type than the known ones
   * are another node's that has the number now: the names and children of the old one are gone.
   */
  putNode(volume: VolumeId, attributes: Attributes): void
  /**
   * A name in a directory: made, or pointed at another node (the old node goes when that was its last name). A directory
   * has one name: a second one means that it moved here, with what is below it.
   */
  putEntry(volume: VolumeId, parent: Ino, name: Name, ino: Ino): void
  /**
   * A node that was just made, with its name: as `putNode` and `putEntry`, cheaper, and whatever the number meant before
   * (of a file that went beside the mount) is gone, names and children.
   */
  createEntry(volume: VolumeId, parent: Ino, name: Name, attributes: Attributes): void
  /**
   * A name is gone; a node without names is gone with it, a directory with all below it (at once for every reader; of a
   * huge tree the rows, and their part of `entryCount`, go in slices).
   */
  removeEntry(volume: VolumeId, parent: Ino, name: Name): void
  /**
   * Moves a name (the node keeps its number; what stood at the new name is replaced, or exchanged). Where the old name
   * isn't known, the new one is gone all the same; two names of one file stay as they are (rename(2)).
   */
  renameEntry(volume: VolumeId, parent: Ino, name: Name, newParent: Ino, newName: Name, exchange: boolean): void

  node(ino: Ino): Attributes | undefined
  lookup(parent: Ino, name: Name): Attributes | undefined
  /** Entries of a directory in name order (bytewise), after `after` when given, at most `limit`. */
  children(parent: Ino, after: Name | undefined, limit: number): IndexedEntry[]
  /** All names of a node. */
  links(ino: Ino): { readonly parent: Ino; readonly name: Name }[]
  /** The path of a node below its volume's root ('' for the root), names joined by "/"; undefined when it has none. */
  pathOf(ino: Ino): Name | undefined

  /**
   * A whole directory as a scan found it: rows that differ are written, names that aren't in `rows` are removed (unless
   * they were written after `since`, a token that `scanToken` gave before the directory was read: what changed through
   * the tree since then wins, names, removals and attributes). A difference of the access time alone is none. Answers
   * what changed, so that front ends can be told. The directory's own node must have been put before.
   */
  applyDirectory(volume: VolumeId, parent: Ino, rows: readonly ScanRow[], since: number): DirectoryDifference
  /**
   * The same for a directory that is too large for one array: rows in pages, in any order. The order of inode numbers is
   * the fastest: of a million rows in the order of a hash three times as many pages are written.
   */
  beginListing(volume: VolumeId, parent: Ino, since: number): DirectoryListing
  /** A token that says "now" for `applyDirectory` and `beginListing`. Good for a minute since the last listing. */
  scanToken(): number

  /**
   * All directories of a volume, each once, in no meaningful order, in bounded memory: with `children`, `links` and
   * `pathOf` a walk over all that is known, also over what no path leads to.
   */
  directories(volume: VolumeId): Iterable<Attributes>
  /** What is wrong with the index in itself (not compared with a disk), a line each; takes a second per million rows. */
  problems(): Iterable<string>

  /** How many entries a volume has (kept as a counter, not counted). */
  entryCount(volume: VolumeId): number
}

export interface DirectoryDifference {
  /** Names that are new here. One that means another node than before is in `added` and in `removed`. */
  readonly added: readonly Name[]
  /** Nodes that were known with other attributes. */
  readonly changed: readonly Ino[]
  readonly removed: readonly { readonly name: Name; readonly ino: Ino }[]
  /** Directories that were found here and known elsewhere: they moved, these are the names they had. */
  readonly moved: readonly { readonly parent: Ino; readonly name: Name; readonly ino: Ino }[]
  /**
   * Nothing was applied: the directory is gone or another one now, a newer listing of it was applied, or too much changed
   * since it was read. While it exists, it must be listed again, with a new token.
   */
  readonly stale: boolean
}

/** A large directory that is being listed. It must be ended: by `finish` until that says done, or by `cancel`. */
export interface DirectoryListing {
  rows(rows: readonly ScanRow[]): DirectoryDifference
  /** After the last rows: a piece of the comparison with what was stored; to be called until it answers `done`. */
  finish(): ListingEnd
  /** The directory could not be listed to its end: nothing is removed. */
  cancel(): void
}

export interface ListingEnd extends DirectoryDifference {
  readonly done: boolean
}

export interface Index extends TreeIndex {
  volumes(): VolumeRecord[]
  /** Throws 'exists' when the name is taken. */
  addVolume(kind: VolumeKind, name: Name, settings: Record<string, unknown>): VolumeRecord
  updateVolume(id: VolumeId, settings: Record<string, unknown>): void
  /** The volume and all of its rows; the rows go in slices in the background, at once invisible. */
  removeVolume(id: VolumeId): Promise<void>

  /**
   * The slot (upper part of inode numbers) for one filesystem below a volume, given out on first use and durable before
   * it is answered. `device` names it over remounts (filesystem id and type), '' for the volume's own numbers.
   */
  slot(volume: VolumeId, device: string): number
  /** The volume that a slot belongs to. */
  slots(): { readonly slot: number; readonly volume: VolumeId; readonly device: string }[]
  /**
   * A number for a node whose filesystem gives none that can be kept (too large, or unstable): the same answer for the
   * same key for ever, and never the same for two keys, also after a power loss. (A key that was given its number in the
   * last milliseconds before a crash may get a new one.) The numbers are in the upper half of the slot (local number
   * 2^39 and more): a filesystem whose own numbers may reach that far needs a slot of its own for these.
   */
  assignIno(slot: number, key: string): Ino
  /** A number from the same half that was never given out and is remembered under no key. */
  freshIno(slot: number): Ino

  /** What is known of the buckets of cloud volumes. */
  readonly objects: ObjectStore

  /** Small durable settings of the library. */
  setting(key: string): string | undefined
  setSetting(key: string, value: string): void

  /** Scan bookkeeping, so that a scan that was interrupted goes on where it was. */
  scanState(volume: VolumeId): ScanState | undefined
  setScanState(volume: VolumeId, state: ScanState | undefined): void
  /** Marks a directory as scanned in this scan; `isScanned` asks. */
  markScanned(parent: Ino, scan: number): void
  isScanned(parent: Ino, scan: number): boolean

  /**
   * Registers somebody who delays rows (a volume whose open files change under the kernel's hands): `settle` is called
   * before each read (`isRead`: all must be true now) and each commit (what is at hand will do) and puts what it has.
   * Answers a function that takes it out again.
   */
  addSource(settle: (isRead: boolean) => void): () => void
  /**
   * Applies and commits what is queued: it survives the process when this returns; 'durable': also power loss, after
   * waiting for the disk. Throws FsError ('no-space', 'io', ...) where it can't be written; it stays queued then.
   */
  flush(durability: 'process' | 'durable'): void
  /** As flush('durable'), without stopping the thread while the disk works; calls that come together share one flush. */
  durable(): Promise<void>
  /** Bytes of the index on disk, and rows. */
  size(): { readonly bytes: number; readonly entries: number; readonly nodes: number }
  close(): void
}

export interface ScanState {
  readonly scan: number
  readonly startedAtMs: number
  readonly finished: boolean
}
