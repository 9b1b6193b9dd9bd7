/**
 * One session: the location online, from its coming to its going.
 *
 * Owns: the table of directories and the parts that work on it; what an event of a watch means.
 * Must stay true: when the location goes, the session is dropped as a whole; nothing of it is used for the next.
 */
import type { Linux } from '../../../../sys/linux.ts'
import type { Name } from '../../../contract.ts'
import type { DirectoryIdentity } from './batch.ts'
import { Changes } from './changes.ts'
import { type SessionContext, Unreadable } from './context.ts'
import type { Control, Descriptors } from './control.ts'
import type { DirectorySet } from './directory-set.ts'
import { type DirectoryNumber, DirectoryTable, NONE, ROOT } from './directory-table.ts'
import { HostTree } from './host-tree.ts'
import type { Mounts } from './mounts.ts'
import type { Outbox } from './outbox.ts'
import type { Counts, ObserverLimits } from './protocol.ts'
import { Scanner } from './scanner.ts'
import { UnwatchedRounds } from './unwatched-rounds.ts'
import { IN_ATTRIB, IN_DELETE_SELF, IN_IGNORED, IN_MODIFY, IN_MOVE_SELF, IN_UNMOUNT, type Watches } from './watches.ts'
import { WriteStorms } from './write-storms.ts'

export interface SessionParts {
  readonly sys: Linux
  readonly control: Control
  readonly descriptors: Descriptors
  readonly mounts: Mounts
  readonly watches: Watches
  readonly outbox: Outbox
  readonly limits: ObserverLimits
}

export interface SessionOptions {
  /** Absolute, without symlinks. */
  readonly rootPath: Name
  readonly root: DirectoryIdentity
  readonly watchesTellAll: boolean
  /** The number of the first scan. */
  readonly scan: number
  readonly scanned: DirectorySet | undefined
  /** The root is to be looked at. */
  readonly suspectRoot: () => void
}

export class Session {
  readonly scanner: Scanner
  readonly changes: Changes
  readonly rounds: UnwatchedRounds
  readonly storms: WriteStorms
  readonly #context: SessionContext
  readonly #suspectRoot: () => void

  constructor(parts: SessionParts, options: SessionOptions) {
    const table = new DirectoryTable(options.root, directory => this.#removed(directory))
    const tree = new HostTree(parts.sys, parts.descriptors, parts.mounts, options.rootPath, table, parts.limits.stepwise ?? false)
    this.#context = { ...parts, table, tree, unreadable: new Unreadable(), watchesTellAll: options.watchesTellAll }
    this.#suspectRoot = options.suspectRoot
    this.scanner = new Scanner(this.#context, options.scan, options.scanned, {
      listed: directory => this.changes.listed(directory),
      suspect: options.suspectRoot,
    })
    this.changes = new Changes(this.#context, this.scanner, parts.limits.pendingNames)
    this.storms = new WriteStorms(this.#context, this.changes, this.scanner)
    this.rounds = new UnwatchedRounds(this.#context, this.scanner, parts.limits.roundMs)
  }

  get table(): DirectoryTable {
    return this.#context.table
  }

  /** An event of a directory's watch. */
  changed(directory: DirectoryNumber, name: Name, mask: number): void {
    if (mask & IN_IGNORED) this.#watchLost(directory)
    else if (mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_UNMOUNT)) this.#placeDoubtful(directory)
    else {
      this.changes.note(directory, name, mask & 0xfff)
      if (mask === IN_MODIFY) this.storms.written(directory, name)
    }
  }

  /** Something was mounted or unmounted in directories of the location. */
  mountsChanged(paths: Iterable<Name>): void {
    for (const path of paths) {
      const { directory, rest } = this.table.find(path)
      // Of a directory that isn't known yet the listing is still to come.
      if (rest.length === 0) this.scanner.relist(directory)
    }
  }

  /** Lists a directory (path below the root) and all below it again; the nearest known one when it isn't known. */
  rescan(path: Name): void {
    this.scanner.rescanBelow(this.table.find(path).directory)
  }

  /** Lists one directory (path below the root) again; one that isn't known yet comes first. */
  relist(path: Name): void {
    const { directory, rest } = this.table.find(path)
    if (rest.length === 0) this.scanner.relist(directory)
    else this.scanner.prioritize(path)
  }

  /** Closes what is open on the location's filesystem, so that it can be unmounted. */
  rest(): void {
    if (this.scanner.listing.directory === NONE) this.#context.tree.release()
  }

  end(): void {
    this.scanner.listing.abandon()
    this.#context.tree.release()
    this.#context.outbox.discard()
  }

  counts(): Counts {
    const { scanner } = this
    const { table, watches, unreadable } = this.#context
    const seconds = Math.max(scanner.elapsedMs, 1) / 1000
    return {
      scan: scanner.scan,
      scanning: scanner.isScanning,
      startedAtMs: scanner.startedAtMs,
      directories: scanner.directories,
      entries: scanner.entries,
      entriesPerSecond: Math.round(scanner.entries / seconds),
      known: table.count,
      watched: watches.count,
      watchRefusal: watches.refusal,
      unreadableCount: unreadable.count,
      unreadable: unreadable.reported,
    }
  }

  #removed(directory: DirectoryNumber): void {
    const { table, watches, outbox } = this.#context
    const watch = table.watch(directory)
    if (watch !== NONE) {
      watches.remove(watch)
      outbox.addUnwatched(table.identity(directory))
    }
    this.scanner.forget(directory)
    this.changes.forget(directory)
    this.storms.forget(directory)
  }

  /** The kernel dropped a watch: the directory is gone, or its filesystem. Another one may have its place and number. */
  #watchLost(directory: DirectoryNumber): void {
    const { table, watches, outbox } = this.#context
    // A new watch may have been set before the end of the old one was read.
    if (!table.isLive(directory) || watches.owner(table.watch(directory)) === directory) return
    table.setWatch(directory, NONE)
    outbox.addUnwatched(table.identity(directory))
    this.#placeDoubtful(directory)
  }

  #placeDoubtful(directory: DirectoryNumber): void {
    const { table } = this.#context
    if (!table.isLive(directory)) return
    if (directory === ROOT) this.#suspectRoot()
    else this.changes.note(table.parent(directory), table.name(directory), IN_ATTRIB)
  }
}
