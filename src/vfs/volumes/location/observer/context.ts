/**
 * What the parts of one session (the location online, from its coming to its going) work with.
 * Owns: the bundle, the meaning of the table's marks, and the list of directories that can't be read.
 */
import type { Linux } from '../../../../sys/linux.ts'
import type { Name } from '../../../contract.ts'
import { DIRECTORY_WATCHED } from './batch.ts'
import type { Control, Descriptors } from './control.ts'
import { type DirectoryNumber, type DirectoryTable, NONE } from './directory-table.ts'
import type { HostTree } from './host-tree.ts'
import type { Mounts } from './mounts.ts'
import type { Outbox } from './outbox.ts'
import type { UnreadableDirectory } from './protocol.ts'
import type { Watches } from './watches.ts'

export interface SessionContext {
  readonly sys: Linux
  readonly control: Control
  readonly descriptors: Descriptors
  readonly mounts: Mounts
  readonly watches: Watches
  readonly outbox: Outbox
  readonly table: DirectoryTable
  readonly tree: HostTree
  readonly unreadable: Unreadable
  /** Watches tell of every change: not so on network filesystems and FUSE, which others change too. */
  readonly watchesTellAll: boolean
}

/** The section flag that says whether changes in a directory are told as they happen. */
export function watchedFlag(context: SessionContext, directory: DirectoryNumber): number {
  return context.watchesTellAll && context.table.watch(directory) !== NONE ? DIRECTORY_WATCHED : 0
}

/** Marks of the table: the directory is to be listed although this scan has listed it already. */
export const MARK_RELIST = 1
/** The directory is among the unreadable ones. */
export const MARK_UNREADABLE = 2
/** An earlier run has scanned it: its turn comes last. */
export const MARK_LAST = 4
/** It came into the table because it was asked for; its name wasn't told yet. */
export const MARK_UNTOLD = 8
/** The same, and it was known at another place: when that place is told, what was told of its contents is forgotten. */
export const MARK_MOVED_UNTOLD = 16

const REPORTED = 100

/** The directories that can't be read: how many, and the first hundred by name. */
export class Unreadable {
  readonly #reported = new Map<DirectoryNumber, UnreadableDirectory>()
  #count = 0

  get count(): number {
    return this.#count
  }
  get reported(): UnreadableDirectory[] {
    return [...this.#reported.values()]
  }

  add(table: DirectoryTable, directory: DirectoryNumber, path: Name, reason: string): void {
    if (!table.hasMark(directory, MARK_UNREADABLE)) this.#count++
    table.setMark(directory, MARK_UNREADABLE, true)
    if (this.#reported.size < REPORTED || this.#reported.has(directory)) this.#reported.set(directory, { path, reason })
  }

  remove(table: DirectoryTable, directory: DirectoryNumber): void {
    if (!table.hasMark(directory, MARK_UNREADABLE)) return
    table.setMark(directory, MARK_UNREADABLE, false)
    this.#count--
    this.#reported.delete(directory)
  }
}

/** The moment of the last change of a directory's names as one number, from the words of its struct statx. */
export function changeTimeOf(statx: Uint32Array): number {
  return (statx[28]! + (statx[29]! | 0) * 2 ** 32) * 1e9 + statx[30]!
}
