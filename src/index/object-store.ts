/**
 * What the index knows of a cloud volume's bucket, node by node: which object a node is, and what only the index has.
 *
 * Owns: the contract (types only). Must stay true:
 * - A write is seen by every later read at once, and is in the same transaction as the tree's changes before it: `flush` of the
 *   index makes both survive the process, or fails.
 * - What is kept of a node goes with the node's row, also when its number goes to another node.
 * - The key that is kept is where the object lies, whatever name the node has by now; while the two differ, or the bucket has
 *   older content or none, the node is `pending`.
 */
import type { Ino, Name } from '../vfs/contract.ts'
import type { VolumeId } from './contract.ts'

/** One node of a cloud volume. Of a directory the object is its marker. */
export interface ObjectRecord {
  readonly ino: Ino
  readonly volume: VolumeId
  /** Undefined: the bucket has no object of it (yet). */
  readonly key: string | undefined
  readonly etag: string | undefined
  readonly versionId: string | undefined
  /** Of the object, not of the file as it is now. */
  readonly sizeBytes: number
  /** When the store took the object, by its clock. */
  readonly modifiedMs: number
  readonly contentType: string | undefined
  /** The object's metadata was read, or written here. */
  readonly known: boolean
  /** The bucket has it in another place or state than the tree, or not at all. */
  readonly pending: boolean
  /** Kept in the block cache. */
  readonly pinned: boolean
  /** Of a directory: when it was listed last; 0: never. Undefined for what is no directory. */
  readonly listedMs: number | undefined
  /** The tag of the object at the node's own key that the node took the name of: it is to be overwritten. */
  readonly replaces: string | undefined
}

/** A directory that was renamed, whose objects still have to follow. */
export interface PendingMove {
  readonly id: number
  readonly ino: Ino
  /** Where its objects were: ends with "/". */
  readonly prefix: string
}

export interface ChildObject {
  readonly name: Name
  readonly mode: number
  readonly ino: Ino
  /** Undefined: nothing is known of its object. */
  readonly object: ObjectRecord | undefined
}

export interface ObjectStore {
  get(ino: Ino): ObjectRecord | undefined
  put(record: ObjectRecord): void
  /** What a name means, with its object. */
  child(parent: Ino, name: Name): ChildObject | undefined
  /** Children of a directory with their objects, in name order, after `after`, at most `limit`. */
  children(parent: Ino, after: Name, limit: number): ChildObject[]
  /** Pending nodes of a volume, by number, after `after`. */
  pending(volume: VolumeId, after: Ino, limit: number): ObjectRecord[]
  /** The pending node whose object lies at this key. */
  pendingAt(volume: VolumeId, key: string): ObjectRecord | undefined
  /** Whether the object of a pending node lies at a key from `from` on, before `to`. */
  hasPendingBetween(volume: VolumeId, from: string, to: string): boolean
  /** Some directories that were never listed. */
  unlisted(volume: VolumeId, limit: number): Ino[]
  pinned(volume: VolumeId): Ino[]

  target(ino: Ino): Name | undefined
  setTarget(ino: Ino, target: Name): void
  attributes(ino: Ino): Map<Name, Buffer>
  setAttributes(ino: Ino, attributes: ReadonlyMap<Name, Buffer>): void

  moves(volume: VolumeId): PendingMove[]
  addMove(volume: VolumeId, ino: Ino, prefix: string): number
  removeMove(id: number): void
}
