/**
 * What a change of the tree means for the rows: the rules by which nodes and names come and go.
 *
 * Owns: the application of one operation, and the removal of what is below a removed directory.
 *
 * Must stay true (between operations):
 * - A node goes with its last name. A directory has one name: given a second one, it has moved.
 * - A removed directory's number stands in `doomed` for as long as rows below it exist. Nothing below a doomed directory
 *   is part of the tree any more (tree-reader.ts hides it); `sweep` removes it piece by piece.
 * - A number that stands for another node than before (the host gave it out again) leaves nothing of the old one: no
 *   names, no children.
 * - The counters follow the rows.
 */
import { type Attributes, type Ino, isDirectory, type Name, S_IFMT } from '../vfs/contract.ts'
import type { Counters } from './counters.ts'
import type { ObjectTable } from './object-table.ts'
import type { PropertyTable } from './property-table.ts'
import type { RecentChanges } from './recent-changes.ts'
import { isSameRow } from './rows.ts'
import type { Slots } from './slots.ts'
import type { Statements } from './statements.ts'
import type { TreeReader } from './tree-reader.ts'
import type { Operation, WriteQueue } from './write-queue.ts'

/** Entries taken from a directory at a time. */
const SWEEP_BATCH = 128
const NEVER = Number.MAX_SAFE_INTEGER

/** What the writer works with. */
export interface WriterParts {
  readonly sql: Statements
  readonly reader: TreeReader
  readonly queue: WriteQueue
  readonly changes: RecentChanges
  readonly counters: Counters
  readonly slots: Slots
  readonly properties: PropertyTable
  readonly objects: Pick<ObjectTable, 'nodeGone'>
  /** Entries below a removed directory that are removed with it; the rest follows in slices. */
  readonly sweepAtOnce: number
}

export class TreeWriter {
  readonly #sql: Statements
  readonly #reader: TreeReader
  readonly #queue: WriteQueue
  readonly #changes: RecentChanges
  readonly #counters: Counters
  readonly #slots: Slots
  readonly #properties: PropertyTable
  readonly #objects: Pick<ObjectTable, 'nodeGone'>
  readonly #sweepAtOnce: number

  constructor(parts: WriterParts) {
    this.#sql = parts.sql
    this.#reader = parts.reader
    this.#queue = parts.queue
    this.#changes = parts.changes
    this.#counters = parts.counters
    this.#slots = parts.slots
    this.#properties = parts.properties
    this.#objects = parts.objects
    this.#sweepAtOnce = parts.sweepAtOnce
  }

  apply(operation: Operation): void {
    const { kind, sequence, parent, name } = operation
    switch (kind) {
      case 'put-node':
        this.#putNode(operation.attributes!, operation.isMaking, sequence)
        return
      case 'create-entry':
        this.#createEntry(parent, name, operation.attributes!, sequence)
        return
      case 'put-entry':
        this.putEntry(parent, name, operation.ino, operation.attributes?.mode ?? this.#sql.mode(operation.ino) ?? 0, sequence)
        return
      case 'remove-entry':
        this.removeEntry(parent, name, sequence)
        return
      case 'rename-entry':
        this.#renameEntry(parent, name, operation.newParent, operation.newName, operation.exchange, sequence)
    }
  }

  #putNode(attributes: Attributes, isMaking: boolean, sequence: number): void {
    // Without a link it's in no directory (deleted while open): only what is known is kept up to date.
    if (!isMaking) {
      this.#sql.updateNode(attributes)
      return
    }
    if (this.#reader.hasDoomed) this.#leaveDoomed(attributes.ino, sequence)
    if (this.#sql.insertNode(attributes)) this.#counters.addNodes(1)
    else if (!this.#sql.updateNode(attributes)) this.#replaceNode(attributes, sequence)
  }

  #createEntry(parent: Ino, name: Name, attributes: Attributes, sequence: number): void {
    const { ino, mode } = attributes
    if (this.#reader.hasDoomed) this.#leaveDoomed(ino, sequence)
    if (this.#sql.insertNode(attributes)) this.#counters.addNodes(1)
    else this.#replaceNode(attributes, sequence)
    // A listing of the number that was read before tells of another directory.
    if (isDirectory(mode)) this.#changes.directoryGone(ino, sequence)
    this.putEntry(parent, name, ino, 0, sequence)
  }

  /** `mode`: of the node, as far as it's known; 0 where it can't have another name. */
  putEntry(parent: Ino, name: Name, ino: Ino, mode: number, sequence = NEVER): void {
    if (this.#sql.insertEntry(parent, name, ino)) this.#count(parent, 1)
    else {
      const before = this.#sql.entry(parent, name)
      if (before === ino || before === undefined) return
      this.#sql.updateEntry(parent, name, ino)
      this.dropNode(before, sequence)
    }
    if (isDirectory(mode)) this.dropOtherNames(ino, parent, name)
  }

  /** Answers what the name meant. */
  removeEntry(parent: Ino, name: Name, sequence = NEVER): Ino | undefined {
    const ino = this.#sql.deleteEntry(parent, name)
    if (ino === undefined) return undefined
    this.#count(parent, -1)
    this.dropNode(ino, sequence)
    return ino
  }

  #renameEntry(parent: Ino, name: Name, newParent: Ino, newName: Name, exchange: boolean, sequence: number): void {
    if (parent === newParent && name === newName) return
    const source = this.#sql.entry(parent, name)
    const target = this.#sql.entry(newParent, newName)
    // Two names of one file: rename(2) does nothing.
    if (source === target) return
    if (source !== undefined) this.#sql.deleteEntry(parent, name)
    if (target !== undefined) this.#sql.deleteEntry(newParent, newName)
    if (source !== undefined) this.#sql.insertEntry(newParent, newName, source)
    if (exchange && target !== undefined) this.#sql.insertEntry(parent, name, target)
    const count = (ino: Ino | undefined) => (ino === undefined ? 0 : 1)
    this.#count(parent, (exchange ? count(target) : 0) - count(source))
    this.#count(newParent, count(source) - count(target))
    if (!exchange && target !== undefined) this.dropNode(target, sequence)
  }

  /** Removes all names of a directory but this one. Answers those removed. */
  dropOtherNames(ino: Ino, parent: Ino, name: Name): { parent: Ino; name: Name }[] {
    const others = this.#sql.names(ino).filter(other => other.parent !== parent || other.name !== name)
    for (const other of others) {
      this.#sql.deleteEntry(other.parent, other.name)
      this.#count(other.parent, -1)
    }
    return others
  }

  /** A name of the node is gone: it goes too when that was the last one. */
  dropNode(ino: Ino, sequence = NEVER): void {
    if (this.#dropNode(ino, sequence)) this.sweep(this.#sweepAtOnce, sequence)
  }

  /** Answers whether there is now something to sweep. */
  #dropNode(ino: Ino, sequence: number): boolean {
    if (this.#sql.hasName(ino)) return false
    if (this.#queue.isJoinedAcross(ino, sequence)) {
      // It was put again since, and that is written already: the row stays, what was below goes.
      this.#emptyDirectory(ino, sequence)
      return false
    }
    const mode = this.#deleteNode(ino)
    if (mode !== undefined && !isDirectory(mode)) return false
    this.#changes.directoryGone(ino, sequence === NEVER ? 0 : sequence)
    if (!this.#sql.hasChild(ino)) return false
    if (this.#sql.insertDoomed(ino)) this.#reader.doomedCount++
    return true
  }

  /** Removes up to about `budget` entries below doomed directories. False: there is nothing left. */
  sweep(budget: number, sequence = NEVER): boolean {
    while (this.#reader.hasDoomed && budget > 0) {
      const doomed = this.#sql.someDoomed()!
      const removed = this.#dropChildren(doomed, Math.min(budget, SWEEP_BATCH), sequence)
      if (removed === 0) this.undoom(doomed)
      budget -= Math.max(removed, 1)
    }
    return this.#reader.hasDoomed
  }

  /** The directory is (again) part of the tree. */
  undoom(ino: Ino): void {
    if (this.#sql.deleteDoomed(ino)) this.#reader.doomedCount--
  }

  #dropChildren(parent: Ino, limit: number, sequence: number): number {
    const children = this.#sql.someChildren(parent, limit)
    for (const child of children) {
      // One may have gone with another one before it.
      if (this.#sql.deleteEntry(parent, child.name) === undefined) continue
      this.#count(parent, -1)
      this.#dropNode(child.ino, sequence)
    }
    return children.length
  }

  /** The number, whose node is known, stands for another node from now on. */
  #replaceNode(attributes: Attributes, sequence: number): void {
    const { ino } = attributes
    const before = this.#sql.mode(ino)
    this.#sql.replaceNode(attributes)
    this.#properties.nodeGone(ino)
    this.#objects.nodeGone(ino)
    for (const { parent, name } of this.#sql.names(ino)) {
      this.#sql.deleteEntry(parent, name)
      this.#count(parent, -1)
    }
    if (before !== undefined && isDirectory(before)) this.#emptyDirectory(ino, sequence)
  }

  /** All children go; those that are directories with what is below them. */
  #emptyDirectory(ino: Ino, sequence: number): void {
    this.#changes.directoryGone(ino, sequence === NEVER ? 0 : sequence)
    while (this.#dropChildren(ino, SWEEP_BATCH, sequence) > 0);
    if (this.#reader.hasDoomed) this.sweep(this.#sweepAtOnce, sequence)
  }

  /**
   * The number is put by an operation of the mount while removed directories wait to be swept: if it's the number of one
   * of them, or of something below, then it's a new node, and the old one goes at once.
   */
  #leaveDoomed(ino: Ino, sequence: number): void {
    if (this.#reader.isAttached(ino)) return
    for (const { parent, name } of this.#sql.names(ino)) {
      this.#sql.deleteEntry(parent, name)
      this.#count(parent, -1)
    }
    this.undoom(ino)
    const before = this.#deleteNode(ino)
    if (before === undefined || isDirectory(before)) this.#emptyDirectory(ino, sequence)
  }

  /**
   * A node as a listing shows it under this name: made, or brought up to date. 'replaced': the number stood for a node
   * of another type, whose other names are gone now. A directory that was on its way out is back with what is still stored below it: a listing of it follows.
   */
  listNode(parent: Ino, name: Name, attributes: Attributes): 'new' | 'same' | 'changed' | 'replaced' {
    const { ino, mode } = attributes
    if (this.#reader.hasDoomed && this.#sql.isDoomed(ino)) {
      this.undoom(ino)
      if (!isDirectory(mode)) this.#emptyDirectory(ino, NEVER)
    }
    if (this.#sql.insertNode(attributes)) {
      this.#counters.addNodes(1)
      return 'new'
    }
    const row = this.#sql.nodeRow(ino)!
    if ((((row[0] as number) ^ mode) & S_IFMT) !== 0) {
      this.#replaceNode(attributes, NEVER)
      if (this.#sql.insertEntry(parent, name, ino)) this.#count(parent, 1)
      return 'replaced'
    }
    if (isSameRow(row, 0, attributes)) return 'same'
    this.#sql.updateNode(attributes)
    return 'changed'
  }

  /** The mode of the node that was removed. */
  #deleteNode(ino: Ino): number | undefined {
    const mode = this.#sql.deleteNode(ino)
    if (mode === undefined) return undefined
    this.#counters.addNodes(-1)
    this.#properties.nodeGone(ino)
    this.#objects.nodeGone(ino)
    return mode
  }

  #count(parent: Ino, change: number): void {
    if (change !== 0) this.#counters.addEntries(this.#slots.volumeOf(parent), change)
  }
}
