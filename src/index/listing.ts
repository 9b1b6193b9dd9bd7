/**
 * A whole directory as somebody found it, against what is stored: the differences are written and told.
 *
 * Owns: the comparison, for directories that fit one array and, page by page, for those that don't.
 *
 * Must stay true:
 * - What changed through the tree after the listing's token wins: such names are neither made, changed nor removed, such
 *   nodes keep their attributes. A listing about which too much was forgotten changes nothing and says 'stale'.
 * - A node that only moved within the directory keeps its row: names are written first, nodes without a name removed last.
 * - Only differences are written. Memory is bounded by the page, and by some 16 bytes a name of a directory in pages.
 */
import { type Ino, isDirectory, type Name, S_IFMT } from '../vfs/contract.ts'
import type { Committer } from './committer.ts'
import type { DirectoryDifference, DirectoryListing, ListingEnd, ScanRow } from './contract.ts'
import type { Counters } from './counters.ts'
import { NameSet } from './name-set.ts'
import type { RecentChanges } from './recent-changes.ts'
import { isSameRow } from './rows.ts'
import type { Slots } from './slots.ts'
import { ENTRY_ATTRIBUTES_AT, type Statements, type StoredEntry } from './statements.ts'
import type { TreeReader } from './tree-reader.ts'
import type { TreeWriter } from './tree-writer.ts'

/** Stored names looked at in one step of `finish`. */
const FINISH_STEP = 2048

const STALE: DirectoryDifference = { added: [], changed: [], removed: [], moved: [], stale: true }

class Difference implements DirectoryDifference {
  readonly added: Name[] = []
  readonly changed: Ino[] = []
  readonly removed: { name: Name; ino: Ino }[] = []
  readonly moved: { parent: Ino; name: Name; ino: Ino }[] = []
  readonly stale: boolean = false
  /** Nodes that lost a name here: what has none left goes when all names are written. */
  readonly dropped: Ino[] = []
  /** A row took names from this very directory: what was read of it before isn't so any more. */
  isDisturbed = false
}

/** What a listing works with. */
export interface ListingParts {
  readonly sql: Statements
  readonly reader: TreeReader
  readonly writer: TreeWriter
  readonly changes: RecentChanges
  readonly counters: Counters
  readonly slots: Slots
  readonly committer: Committer
  /** A directory with more entries, found or stored, is compared by pages. */
  readonly rowsAtOnce: number
}

export class Listings {
  readonly #parts: ListingParts

  constructor(parts: ListingParts) {
    this.#parts = parts
  }

  apply(parent: Ino, rows: readonly ScanRow[], since: number): DirectoryDifference {
    const { sql, changes, committer, rowsAtOnce } = this.#parts
    if (!this.#isCurrent(parent, since)) return STALE
    committer.begin(true)
    const known = sql.stored(parent, rowsAtOnce + 1)
    if (rows.length > rowsAtOnce || known.names.length > rowsAtOnce) return this.#applyByPages(parent, rows, since)
    const stored = new Map<Name, StoredEntry>()
    for (let i = 0; i < known.names.length; i++) stored.set(known.names[i]!, { ino: known.rows[i]![0] as number, row: known.rows[i]! })
    const difference = new Difference()
    const newer = changes.changedNames(parent)
    for (const row of rows) {
      let before = stored.get(row.name)
      if (before !== undefined) stored.delete(row.name)
      if (difference.isDisturbed) before = sql.storedEntry(parent, row.name)
      if (!isNewer(newer, row.name, since)) this.#applyRow(parent, row, before, since, difference)
    }
    for (const name of stored.keys()) if (!isNewer(newer, name, since)) this.#remove(parent, name, difference)
    this.#drop(difference)
    changes.listingApplied(parent, since)
    return difference
  }

  begin(parent: Ino, since: number): DirectoryListing {
    const { sql, changes, committer } = this.#parts
    let isStale = !this.#isCurrent(parent, since)
    if (!isStale) committer.begin(true)
    const { failures } = committer
    // Where nothing is stored, nothing can turn out to be gone.
    const isNew = !isStale && !sql.hasChild(parent)
    /** What was listed, to be held against what is stored. */
    const listed = isNew || isStale ? undefined : new NameSet()
    let after: Name = ''
    let isEnded = false
    const check = (): boolean => {
      if (isEnded) throw new Error('the listing has ended')
      committer.settle()
      // Rows of this listing went with a failed transaction: what it would remove now may exist.
      isStale ||= committer.failures !== failures || !this.#isCurrent(parent, since)
      if (!isStale) committer.begin(true)
      return !isStale
    }
    return {
      rows: rows => {
        if (!check()) return STALE
        const difference = new Difference()
        const newer = changes.changedNames(parent)
        for (const row of rows) {
          listed?.add(row.name)
          if (isNewer(newer, row.name, since)) continue
          this.#applyRow(parent, row, isNew ? undefined : sql.storedEntry(parent, row.name), since, difference)
        }
        this.#drop(difference)
        return difference
      },
      finish: (): ListingEnd => {
        if (!check()) {
          isEnded = true
          return { ...STALE, done: true }
        }
        const difference = new Difference()
        const newer = changes.changedNames(parent)
        const step = listed ? sql.childNames(parent, after, FINISH_STEP) : []
        for (const name of step) if (!listed?.has(name) && !isNewer(newer, name, since)) this.#remove(parent, name, difference)
        this.#drop(difference)
        after = step.at(-1) ?? after
        const done = step.length < FINISH_STEP
        if (done) {
          changes.listingApplied(parent, since)
          isEnded = true
        }
        return Object.assign(difference, { done })
      },
      cancel() {
        isEnded = true
      },
    }
  }

  #applyByPages(parent: Ino, rows: readonly ScanRow[], since: number): DirectoryDifference {
    const listing = this.begin(parent, since)
    const whole = new Difference()
    const add = (part: DirectoryDifference) => {
      for (const name of part.added) whole.added.push(name)
      for (const ino of part.changed) whole.changed.push(ino)
      for (const gone of part.removed) whole.removed.push(gone)
      for (const moved of part.moved) whole.moved.push(moved)
    }
    add(listing.rows(rows))
    for (let end = listing.finish(); ; end = listing.finish()) {
      add(end)
      if (end.done) return whole
    }
  }

  #isCurrent(parent: Ino, since: number): boolean {
    return !this.#parts.changes.isStale(parent, since) && this.#parts.reader.isDirectory(parent)
  }

  #applyRow(parent: Ino, row: ScanRow, known: StoredEntry | undefined, since: number, difference: Difference): void {
    const { sql, writer, changes } = this.#parts
    const { name, attributes } = row
    const { ino } = attributes
    const newer = changes.isNodeNewer(ino, since) ? sql.mode(ino) : undefined
    // The number went to another node since: this row tells of the one before.
    if (newer !== undefined && ((newer ^ attributes.mode) & S_IFMT) !== 0) return
    let before = known
    if (before === undefined) {
      if (sql.insertEntry(parent, name, ino)) this.#count(parent, 1)
      // A name that comes twice in one listing.
      else before = sql.storedEntry(parent, name)
    }
    if (before?.ino === ino) {
      if (isSameRow(before.row, ENTRY_ATTRIBUTES_AT, attributes)) return
      if (before.row[ENTRY_ATTRIBUTES_AT] === null) difference.added.push(name)
    } else {
      difference.added.push(name)
      if (before !== undefined) {
        sql.updateEntry(parent, name, ino)
        difference.removed.push({ name, ino: before.ino })
        difference.dropped.push(before.ino)
      }
      if (isDirectory(attributes.mode)) {
        for (const other of writer.dropOtherNames(ino, parent, name)) {
          difference.moved.push({ ...other, ino })
          if (other.parent === parent) difference.isDisturbed = true
        }
      }
    }
    if (newer !== undefined) return
    const result = writer.listNode(parent, name, attributes)
    if (result === 'replaced') difference.isDisturbed = true
    if (result === 'changed' || result === 'replaced') difference.changed.push(ino)
  }

  #remove(parent: Ino, name: Name, difference: Difference): void {
    const ino = this.#parts.sql.deleteEntry(parent, name)
    if (ino === undefined) return
    this.#count(parent, -1)
    difference.removed.push({ name, ino })
    difference.dropped.push(ino)
  }

  #drop(difference: Difference): void {
    for (const ino of difference.dropped) this.#parts.writer.dropNode(ino)
    difference.dropped.length = 0
  }

  #count(parent: Ino, change: number): void {
    this.#parts.counters.addEntries(this.#parts.slots.volumeOf(parent), change)
  }
}

function isNewer(changed: ReadonlyMap<Name, number> | undefined, name: Name, since: number): boolean {
  return changed !== undefined && (changed.get(name) ?? 0) > since
}
