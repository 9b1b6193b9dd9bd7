/**
 * Names that something happened to: gathered for some milliseconds, looked at once, and told.
 *
 * Owns: the names that wait, by directory, and when they are due.
 * Must stay true:
 * - Each event leads to a look at the name after the event, so that what is told last is what is true.
 * - Within a round, names that exist are told before names that are gone: a moved directory is never without a name.
 * - What waits is bounded: past the bound whole directories are listed instead of single names.
 */
import { ENOENT, ENOTDIR } from '../../../../sys/errno.ts'
import { type Name, S_IFDIR, S_IFMT } from '../../../contract.ts'
import { SECTION_CHANGES } from './batch.ts'
import { changeTimeOf, MARK_UNREADABLE, type SessionContext, watchedFlag } from './context.ts'
import { type DirectoryNumber, NONE, ROOT } from './directory-table.ts'
import { DIRECTORY_PATH_ONLY, DIRECTORY_READ, EXDEV, isMissing } from './host-tree.ts'
import { claim, identityOf, Limbo, toldName } from './placement.ts'
import type { Scanner } from './scanner.ts'
import { IN_ATTRIB, IN_MODIFY } from './watches.ts'

/** How long events of one burst are gathered. */
const WINDOW_MS = 20
/** Files that are being written are told of so often. */
const MODIFY_WINDOW_MS = 250
const PENDING_NAMES = 50_000
/** Above the bound, directories with more names than this are listed. */
const NAMES_OF_A_LISTING = 200
/** A section is ended and sent after so many names. */
const NAMES_OF_A_SECTION = 500

type Names = Map<Name, number>

interface Gone {
  readonly directory: DirectoryNumber
  readonly names: readonly Name[]
  readonly token: number
}

export class Changes {
  readonly #context: SessionContext
  readonly #scanner: Scanner
  readonly #limbo: Limbo
  readonly #limit: number
  #pending = new Map<DirectoryNumber, Names>()
  #count = 0
  /** When the oldest name that waits came, by kind of event; Infinity: none waits. */
  #changedSince = Number.POSITIVE_INFINITY
  #modifiedSince = Number.POSITIVE_INFINITY
  #lastModifyRound = Number.NEGATIVE_INFINITY
  /** What was told of the directory that is being listed: the listing may tell older things after it. */
  #told: { readonly directory: DirectoryNumber; readonly names: Set<Name> } = { directory: NONE, names: new Set() }

  constructor(context: SessionContext, scanner: Scanner, limit: number | undefined) {
    this.#context = context
    this.#scanner = scanner
    this.#limbo = new Limbo(context)
    this.#limit = limit ?? PENDING_NAMES
  }

  /** When the next round is due (by performance.now). */
  get dueMs(): number {
    const modified = Math.max(this.#modifiedSince + WINDOW_MS, this.#lastModifyRound + MODIFY_WINDOW_MS)
    return Math.min(this.#changedSince + WINDOW_MS, this.#modifiedSince === Number.POSITIVE_INFINITY ? this.#modifiedSince : modified)
  }

  /** Something happened to a name; `mask` are inotify bits. */
  note(directory: DirectoryNumber, name: Name, mask: number): void {
    if (this.#limbo.holds(name)) return
    let names = this.#pending.get(directory)
    if (!names) this.#pending.set(directory, (names = new Map()))
    const before = names.get(name)
    if (before === undefined) this.#count++
    names.set(name, (before ?? 0) | mask)
    const now = performance.now()
    if (mask === IN_MODIFY) this.#modifiedSince = Math.min(this.#modifiedSince, now)
    else this.#changedSince = Math.min(this.#changedSince, now)
    if (this.#count > this.#limit) this.#shrink()
  }

  /** An entry goes from the table. */
  forget(directory: DirectoryNumber): void {
    const names = this.#pending.get(directory)
    if (!names) return
    this.#count -= names.size
    this.#pending.delete(directory)
  }

  /** A listing has ended: what was told of the directory meanwhile is told again. */
  listed(directory: DirectoryNumber): void {
    const told = this.#told
    this.#told = { directory: NONE, names: new Set() }
    if (told.directory !== directory) return
    if (told.names.size > this.#limit) this.#scanner.relist(directory)
    else for (const name of told.names) this.note(directory, name, IN_ATTRIB)
  }

  /** Looks at the names that are due and tells of them. `readEvents` is called now and then, so that the queue stays short. */
  round(readEvents: () => void): void {
    const now = performance.now()
    const withModified = now >= this.#lastModifyRound + MODIFY_WINDOW_MS
    const work = this.#take(withModified)
    if (work.length === 0) return
    if (withModified) this.#lastModifyRound = now
    const gone: Gone[] = []
    // Those above first: their moves make the paths of those below right. What fails has another try as long as others are
    // found: a directory may have moved into one that has moved itself.
    let waiting = work.map(([directory, names]) => ({ directory, names, depth: this.#depth(directory) })).sort((a, b) => a.depth - b.depth)
    for (let found = true; found && waiting.length > 0; ) {
      const again: typeof waiting = []
      for (const item of waiting) {
        if (!this.#directoryRound(item.directory, item.names, gone)) again.push(item)
        readEvents()
      }
      found = again.length < waiting.length
      waiting = again
    }
    for (const { directory } of waiting) this.#lost(directory)
    for (const names of gone) this.#tellGone(names)
    this.#limbo.empty()
    this.#context.outbox.flush()
  }

  #depth(directory: DirectoryNumber): number {
    return this.#context.table.isLive(directory) ? this.#context.table.depth(directory) : 0
  }

  /** The names that are due leave the list; those that were only modified stay when it's not their time. */
  #take(withModified: boolean): [DirectoryNumber, Name[]][] {
    const work: [DirectoryNumber, Name[]][] = []
    const rest = new Map<DirectoryNumber, Names>()
    let restCount = 0
    for (const [directory, names] of this.#pending) {
      const due: Name[] = []
      for (const [name, mask] of names) {
        if (mask !== IN_MODIFY || withModified) {
          due.push(name)
          continue
        }
        let kept = rest.get(directory)
        if (!kept) rest.set(directory, (kept = new Map()))
        kept.set(name, mask)
        restCount++
      }
      if (due.length > 0) work.push([directory, due])
    }
    this.#pending = rest
    this.#count = restCount
    this.#changedSince = Number.POSITIVE_INFINITY
    if (restCount === 0) this.#modifiedSince = Number.POSITIVE_INFINITY
    return work
  }

  /** Looks at names of one directory. Answers false when the directory can't be found. */
  #directoryRound(directory: DirectoryNumber, names: readonly Name[], gone: Gone[]): boolean {
    const { table, tree, outbox, control, mounts, descriptors } = this.#context
    if (!table.isLive(directory)) return true
    if (mounts.hasChanged()) mounts.refresh()
    const token = control.token
    const path = table.path(directory)
    const fd = tree.open(directory, path, 'changes', DIRECTORY_PATH_ONLY)
    if (fd < 0) {
      if (isMissing(-fd)) return false
      if (fd !== -EXDEV) this.#scanner.relist(directory)
      return true
    }
    const excluded = mounts.excludedIn(path)
    const isListed = this.#scanner.listing.directory === directory
    const identity = identityOf(tree.stat)
    table.setChangeTime(directory, changeTimeOf(tree.stat))
    const begin = () => {
      this.#scanner.listing.endPage(0)
      outbox.begin(SECTION_CHANGES, identity, path, token)
    }
    const end = () => outbox.writer.end(watchedFlag(this.#context, directory))
    begin()
    outbox.writer.addNamedRow(tree.stat, '')
    const missing: Name[] = []
    for (let i = 0; i < names.length; i++) {
      const name = names[i]!
      if (name === '' || excluded?.has(name)) continue
      if (isListed) this.#noteTold(directory, name)
      this.#look(directory, path, fd, name, missing)
      if (!table.isLive(directory)) break
      if (i % NAMES_OF_A_SECTION !== NAMES_OF_A_SECTION - 1) continue
      end()
      outbox.flush()
      begin()
    }
    end()
    descriptors.close('changes')
    control.progressed()
    if (outbox.isBatchFull) outbox.flush()
    if (missing.length > 0) gone.push({ directory, names: missing, token })
    return true
  }

  #noteTold(directory: DirectoryNumber, name: Name): void {
    if (this.#told.directory !== directory) this.#told = { directory, names: new Set() }
    // One more than the limit says that there are too many.
    if (this.#told.names.size <= this.#limit) this.#told.names.add(name)
  }

  #look(directory: DirectoryNumber, path: Name, fd: number, name: Name, missing: Name[]): void {
    const { table, tree, outbox } = this.#context
    const result = tree.statName(fd, name)
    const known = table.child(directory, name)
    if (result === -ENOENT || result === -ENOTDIR) {
      missing.push(name)
      if (known !== NONE) this.#limbo.take(known, false)
      return
    }
    if (result < 0) {
      // What may not be looked at is found by a listing, which has the type.
      this.#scanner.relist(directory)
      return
    }
    outbox.writer.addNamedRow(tree.stat, name)
    if ((tree.stat[7]! & S_IFMT) !== S_IFDIR) {
      if (known !== NONE) this.#limbo.take(known, true)
    } else if (known !== NONE && table.isSame(known, tree.stat)) {
      table.setSeen(known, this.#scanner.listing.number)
      // Unreadable, not watchable, or made anew with the number of the one before: its listing finds out.
      if (toldName(this.#context, known)) this.#scanner.rescanBelow(known)
      else if (table.watch(known) === NONE || table.hasMark(known, MARK_UNREADABLE)) this.#scanner.relist(known)
    } else {
      if (known !== NONE) this.#limbo.take(known, true)
      this.#place(directory, path, fd, name)
    }
  }

  /** A directory appeared: a new one, or one that moved here (then it is listed only if it was due at its old place). */
  #place(parent: DirectoryNumber, path: Name, parentFd: number, name: Name): void {
    const { table, tree, descriptors } = this.#context
    const added = table.add(parent, name, identityOf(tree.stat))
    table.setSeen(added, this.#scanner.listing.number)
    const fd = tree.openBelow(parentFd, path, name, 'child', DIRECTORY_READ)
    if (fd >= 0 && tree.statDescriptor(fd) === 0 && table.isSame(added, tree.stat)) {
      let isForgotten = false
      const claimed = claim(this.#context, added, fd, owner => {
        isForgotten = this.#limbo.isForgotten(owner)
      })
      if (claimed !== NONE && claimed !== added) {
        table.setSeen(claimed, this.#scanner.listing.number)
        descriptors.close('child')
        if (isForgotten) this.#scanner.rescanBelow(claimed)
        else this.#scanner.add(claimed)
        return
      }
    }
    descriptors.close('child')
    if (table.isLive(added)) this.#scanner.add(added)
  }

  #tellGone({ directory, names, token }: Gone): void {
    const { table, outbox } = this.#context
    if (!table.isLive(directory)) return
    const path = table.path(directory)
    if (this.#limbo.holds(path)) return
    this.#scanner.listing.endPage(0)
    outbox.begin(SECTION_CHANGES, table.identity(directory), path, token)
    for (const name of names) outbox.writer.addGone(name)
    outbox.writer.end(watchedFlag(this.#context, directory))
  }

  /** A directory isn't where the table says, and no event has told why: its parent knows. */
  #lost(directory: DirectoryNumber): void {
    const { table } = this.#context
    if (!table.isLive(directory) || this.#limbo.holds(table.path(directory))) return
    this.#scanner.relist(directory === ROOT ? ROOT : table.parent(directory))
    if (directory !== ROOT) this.#scanner.relist(directory)
  }

  /** Too much waits: directories with many names are listed, and if that isn't enough all are. */
  #shrink(): void {
    for (const least of [NAMES_OF_A_LISTING, 0]) {
      for (const [directory, names] of this.#pending) {
        if (names.size <= least) continue
        this.#scanner.relist(directory)
        this.forget(directory)
      }
      if (this.#count <= this.#limit / 2) return
    }
  }
}
