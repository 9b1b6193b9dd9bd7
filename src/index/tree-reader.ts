/**
 * Reading the tree: nodes, names, children, paths.
 *
 * Owns: what is visible. Must stay true: nothing below a removed directory, and nothing of a removed volume, is ever
 * answered, also while its rows wait to be removed; walks upward end, also where rows form a circle (two renamings beside
 * the mount of which a scan saw one).
 * It doesn't: see queued writes; its caller applies them first.
 */
import { type Attributes, type Ino, isDirectory, type Name } from '../vfs/contract.ts'
import type { IndexedEntry } from './contract.ts'
import { attributesOfRow } from './rows.ts'
import type { Slots } from './slots.ts'
import { ENTRY_ATTRIBUTES_AT, type Statements } from './statements.ts'

/** More directories than any path has. */
const DEPTH_LIMIT = 10_000
/** Rows looked at in one step of a walk over all nodes. */
const WALK_STEP = 4096

export class TreeReader {
  readonly #sql: Statements
  readonly #slots: Slots
  /** Removed directories with rows below them. While there are none, everything stored is visible. */
  doomedCount = 0

  constructor(sql: Statements, slots: Slots) {
    this.#sql = sql
    this.#slots = slots
    this.countDoomed()
  }

  countDoomed(): void {
    this.doomedCount = this.#sql.countDoomed()
  }

  get hasDoomed(): boolean {
    return this.doomedCount > 0
  }

  node(ino: Ino): Attributes | undefined {
    return this.#isVisible(ino) ? this.#sql.node(ino) : undefined
  }

  lookup(parent: Ino, name: Name): Attributes | undefined {
    return this.#isVisible(parent) ? this.#sql.lookup(parent, name) : undefined
  }

  children(parent: Ino, after: Name | undefined, limit: number): IndexedEntry[] {
    if (!this.#isVisible(parent)) return []
    const { names, rows } = this.#sql.children(parent, after ?? '', limit)
    return rows.map((row, i) => ({ name: names[i]!, attributes: attributesOfRow(row[0] as number, row, ENTRY_ATTRIBUTES_AT) }))
  }

  links(ino: Ino): { parent: Ino; name: Name }[] {
    if (this.#slots.isHidden(ino)) return []
    const names = this.#sql.names(ino)
    return this.hasDoomed ? names.filter(({ parent }) => this.isAttached(parent)) : names
  }

  /** '' for a directory without a name: the root of a volume. */
  pathOf(ino: Ino): Name | undefined {
    if (this.#slots.isHidden(ino)) return undefined
    const parts: Name[] = []
    let at = ino
    while (parts.length < DEPTH_LIMIT) {
      const link = this.#sql.names(at, 1)[0]
      if (link === undefined) {
        const mode = this.#sql.mode(at)
        return mode !== undefined && isDirectory(mode) ? parts.reverse().join('/') : undefined
      }
      parts.push(link.name)
      at = link.parent
    }
    return undefined
  }

  /** The directory is part of the tree. */
  isDirectory(ino: Ino): boolean {
    if (!this.#isVisible(ino)) return false
    const mode = this.#sql.mode(ino)
    return mode !== undefined && isDirectory(mode)
  }

  /** All directories of a volume, in the order of their numbers; what changes meanwhile may be in it or not. */
  *directories(slots: readonly number[]): Generator<Attributes> {
    for (const slot of slots) {
      const range = this.#slots.range(slot)
      let after = range.first - 1
      while (after < range.last) {
        const step = this.#sql.directoriesAfter(after, range.last, WALK_STEP)
        for (const attributes of step.directories) if (this.#isVisible(attributes.ino)) yield attributes
        after = step.next
      }
    }
  }

  /** Says whether the way up from a node meets no removed directory. One attached name is enough. */
  isAttached(ino: Ino): boolean {
    if (!this.hasDoomed) return true
    if (this.#sql.isDoomed(ino)) return false
    const names = this.#sql.names(ino)
    return names.length === 0 || names.some(({ parent }) => this.#leadsOut(parent))
  }

  #leadsOut(directory: Ino): boolean {
    let at: Ino | undefined = directory
    for (let depth = 0; at !== undefined && depth < DEPTH_LIMIT; depth++) {
      if (this.#sql.isDoomed(at)) return false
      at = this.#sql.parentOf(at)
    }
    return true
  }

  #isVisible(ino: Ino): boolean {
    return !this.#slots.isHidden(ino) && (!this.hasDoomed || this.isAttached(ino))
  }
}
