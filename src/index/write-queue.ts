/**
 * Changes of the tree that wait to be written: in order, each node's attributes at most once.
 *
 * Owns: the order of operations and the joining of repeated attributes. No SQL, no timer.
 *
 * Must stay true:
 * - Applying the operations in order leaves what the calls in their order would have left.
 * - Attributes of a node that waits already take the place of the waiting ones (a file that is created, written, closed
 *   is one row written once), but never across a removal or a renaming, and never where the type of the node differs:
 *   there the node may have become another one. Where an operation in between turns out to have removed the node
 *   (`isJoinedAcross`), the row stays, since it was put again afterwards.
 * - An operation stays here until the transaction that holds it is committed; a transaction that failed is done again.
 */
import { type Attributes, type Ino, isDirectory, type Name, S_IFMT } from '../vfs/contract.ts'
import type { RecentChanges } from './recent-changes.ts'

export type OperationKind = 'put-node' | 'put-entry' | 'create-entry' | 'remove-entry' | 'rename-entry'

/** One change. One shape for all kinds, so that the hot paths stay monomorphic; fields that a kind doesn't use are 0 or ''. */
export class Operation {
  readonly kind: OperationKind
  /** The number of the change (RecentChanges): rising from operation to operation. */
  readonly sequence: number
  /** The number of the last `putNode` that was joined into this one. */
  putAt: number
  readonly parent: Ino
  readonly name: Name
  readonly ino: Ino
  readonly newParent: Ino
  readonly newName: Name
  readonly exchange: boolean
  attributes: Attributes | undefined
  /** The node is made where it isn't known: attributes without a link make none. */
  isMaking: boolean
  /** The one before of the same node, when attributes were joined into it that aren't committed. */
  previous: Operation | undefined

  constructor(
    kind: OperationKind,
    sequence: number,
    parent: Ino,
    name: Name,
    ino: Ino,
    newParent: Ino,
    newName: Name,
    exchange: boolean,
    attributes: Attributes | undefined,
  ) {
    this.kind = kind
    this.sequence = sequence
    this.putAt = sequence
    this.parent = parent
    this.name = name
    this.ino = ino
    this.newParent = newParent
    this.newName = newName
    this.exchange = exchange
    this.attributes = attributes
    this.isMaking = attributes !== undefined && isLinked(attributes)
    this.previous = undefined
  }
}

export class WriteQueue {
  readonly #changes: RecentChanges
  /** Applied ones (in the open transaction) first, then those that wait. */
  #operations: Operation[] = []
  #applied = 0
  /** The latest operation that puts a node. */
  readonly #latest = new Map<Ino, Operation>()
  /** Committed operations whose node was put again later in the queue. */
  #lingering: Operation[] = []
  /** Operations up to this number take no more attributes: they are applied, or a removal follows them. */
  #closedUpTo = 0
  /** Everything up to this number is committed. */
  #committedUpTo = 0

  constructor(changes: RecentChanges) {
    this.#changes = changes
  }

  /** How many are held: waiting, or applied and not yet committed. */
  get size(): number {
    return this.#operations.length
  }

  get waiting(): number {
    return this.#operations.length - this.#applied
  }

  putNode(attributes: Attributes): void {
    const { ino } = attributes
    const change = this.#changes.next()
    this.#changes.nodeChanged(ino, change)
    const waiting = this.#latest.get(ino)
    if (waiting !== undefined && waiting.sequence > this.#closedUpTo && ((waiting.attributes!.mode ^ attributes.mode) & S_IFMT) === 0) {
      waiting.attributes = attributes
      waiting.putAt = change
      if (!waiting.isMaking) waiting.isMaking = isLinked(attributes)
      return
    }
    this.#put(new Operation('put-node', change, 0, '', ino, 0, '', false, attributes))
  }

  createEntry(parent: Ino, name: Name, attributes: Attributes): void {
    const change = this.#changes.next()
    this.#changes.nameChanged(parent, name, change)
    this.#changes.nodeChanged(attributes.ino, change)
    // Whatever had the number before goes: nothing put earlier may take later attributes.
    this.#put(new Operation('create-entry', change, parent, name, attributes.ino, 0, '', false, attributes))
  }

  putEntry(parent: Ino, name: Name, ino: Ino): void {
    const change = this.#changes.next()
    this.#changes.nameChanged(parent, name, change)
    // What is known of the node spares a look into the database when this is applied.
    const attributes = this.#latest.get(ino)?.attributes
    this.#operations.push(new Operation('put-entry', change, parent, name, ino, 0, '', false, attributes))
  }

  removeEntry(parent: Ino, name: Name): void {
    const change = this.#changes.next()
    this.#changes.nameChanged(parent, name, change)
    this.#closedUpTo = change
    this.#operations.push(new Operation('remove-entry', change, parent, name, 0, 0, '', false, undefined))
  }

  renameEntry(parent: Ino, name: Name, newParent: Ino, newName: Name, exchange: boolean): void {
    const change = this.#changes.next()
    this.#changes.nameChanged(parent, name, change)
    this.#changes.nameChanged(newParent, newName, change)
    this.#closedUpTo = change
    this.#operations.push(new Operation('rename-entry', change, parent, name, 0, newParent, newName, exchange, undefined))
  }

  /** The next one to apply. It counts as applied from here on. */
  take(): Operation | undefined {
    const operation = this.#operations[this.#applied]
    if (operation === undefined) return undefined
    this.#applied++
    if (operation.sequence > this.#closedUpTo) this.#closedUpTo = operation.sequence
    return operation
  }

  /**
   * Attributes that were put after the operation with this number were joined into one that came before it: what that
   * one wrote stands for a later put, too.
   */
  isJoinedAcross(ino: Ino, sequence: number): boolean {
    for (let operation = this.#latest.get(ino); operation !== undefined; operation = operation.previous)
      if (operation.sequence < sequence && operation.putAt > sequence) return true
    return false
  }

  /** The transaction with all that was taken is committed. */
  committed(): void {
    const done = this.#operations.splice(0, this.#applied)
    this.#applied = 0
    if (this.#operations.length === 0) {
      this.#latest.clear()
      this.#lingering = []
      return
    }
    const doneUpTo = done.at(-1)?.sequence ?? 0
    this.#committedUpTo = doneUpTo
    const lingering: Operation[] = []
    for (const operation of [...this.#lingering, ...done]) {
      if (this.#latest.get(operation.ino) !== operation) continue
      if (operation.putAt > doneUpTo) lingering.push(operation)
      else this.#latest.delete(operation.ino)
    }
    this.#lingering = lingering
  }

  /** The transaction failed: all that was taken waits again. */
  rolledBack(): void {
    this.#applied = 0
  }

  /** Drops the oldest `count`, applied or not: for when nothing can be written and nothing more be held. */
  drop(count: number): void {
    this.#applied = 0
    for (const operation of this.#operations.splice(0, count)) {
      if (this.#latest.get(operation.ino) === operation) this.#latest.delete(operation.ino)
    }
  }

  #put(operation: Operation): void {
    this.#operations.push(operation)
    const before = this.#latest.get(operation.ino)
    if (before !== undefined) {
      // The chain holds what isn't committed, so that it ends.
      if (before.previous !== undefined && before.previous.putAt <= this.#committedUpTo) before.previous = undefined
      operation.previous = before.putAt > before.sequence && before.putAt > this.#committedUpTo ? before : before.previous
    }
    this.#latest.set(operation.ino, operation)
  }
}

function isLinked(attributes: Attributes): boolean {
  return attributes.nlink > 0 || isDirectory(attributes.mode)
}
