/**
 * The index's contract as maps: small enough to be read, slow enough to be plainly right.
 *
 * Owns: what each call of `TreeIndex` does to names and nodes, one after the other, with nothing queued and nothing
 * forgotten. test/index/model.test.ts holds the real index against it.
 */
import type { ScanRow } from '../../src/index/contract.ts'
import { type Attributes, type Ino, isDirectory, type Name, S_IFMT } from '../../src/vfs/contract.ts'

export interface ModelDifference {
  readonly added: Name[]
  readonly changed: Ino[]
  readonly removed: Name[]
  readonly moved: string[]
}

export class IndexModel {
  readonly nodes = new Map<Ino, Attributes>()
  /** Directory -> name -> node. */
  readonly entries = new Map<Ino, Map<Name, Ino>>()
  #clock = 0
  readonly #nameChanges = new Map<string, number>()
  readonly #nodeChanges = new Map<Ino, number>()

  token(): number {
    return ++this.#clock
  }

  putNode(a: Attributes): void {
    this.#nodeChanges.set(a.ino, ++this.#clock)
    this.#setNode(a)
  }

  #setNode(a: Attributes): void {
    const known = this.nodes.get(a.ino)
    const isOther = known !== undefined && (known.mode & S_IFMT) !== (a.mode & S_IFMT)
    if (a.nlink === 0 && !isDirectory(a.mode) && (!known || isOther)) return
    if (isOther) this.#forget(a.ino)
    this.nodes.set(a.ino, a)
  }

  createEntry(parent: Ino, name: Name, a: Attributes): void {
    this.#nodeChanges.set(a.ino, ++this.#clock)
    if (this.nodes.has(a.ino)) this.#forget(a.ino)
    this.nodes.set(a.ino, a)
    this.putEntry(parent, name, a.ino)
  }

  putEntry(parent: Ino, name: Name, ino: Ino): void {
    this.#nameChanges.set(`${parent}/${name}`, ++this.#clock)
    this.#setEntry(parent, name, ino)
  }

  #setEntry(parent: Ino, name: Name, ino: Ino): void {
    const before = this.#directory(parent).get(name)
    if (before === ino) return
    this.#directory(parent).set(name, ino)
    if (before !== undefined) this.#drop(before)
    const mode = this.nodes.get(ino)?.mode
    if (mode !== undefined && isDirectory(mode)) this.#dropOtherNames(ino, parent, name)
  }

  removeEntry(parent: Ino, name: Name): void {
    this.#nameChanges.set(`${parent}/${name}`, ++this.#clock)
    const ino = this.#directory(parent).get(name)
    if (ino === undefined) return
    this.#directory(parent).delete(name)
    this.#drop(ino)
  }

  renameEntry(parent: Ino, name: Name, newParent: Ino, newName: Name, exchange: boolean): void {
    this.#nameChanges.set(`${parent}/${name}`, ++this.#clock)
    this.#nameChanges.set(`${newParent}/${newName}`, this.#clock)
    if (parent === newParent && name === newName) return
    const source = this.#directory(parent).get(name)
    const target = this.#directory(newParent).get(newName)
    if (source === target) return
    this.#directory(parent).delete(name)
    this.#directory(newParent).delete(newName)
    if (source !== undefined) this.#directory(newParent).set(newName, source)
    if (target === undefined) return
    if (exchange) this.#directory(parent).set(name, target)
    else this.#drop(target)
  }

  applyDirectory(parent: Ino, rows: readonly ScanRow[], since: number): ModelDifference {
    const difference: ModelDifference = { added: [], changed: [], removed: [], moved: [] }
    const isNewer = (name: Name) => (this.#nameChanges.get(`${parent}/${name}`) ?? 0) > since
    const dropped: Ino[] = []
    const listed = new Set<Name>()
    for (const { name, attributes } of rows) {
      listed.add(name)
      if (isNewer(name)) continue
      const { ino } = attributes
      const known = this.nodes.get(ino)
      const isNewerNode = known !== undefined && (this.#nodeChanges.get(ino) ?? 0) > since
      if (isNewerNode && (known.mode & S_IFMT) !== (attributes.mode & S_IFMT)) continue
      const before = this.#directory(parent).get(name)
      if (before !== ino) {
        difference.added.push(name)
        this.#directory(parent).set(name, ino)
        if (before !== undefined) {
          difference.removed.push(name)
          dropped.push(before)
        }
        if (isDirectory(attributes.mode)) difference.moved.push(...this.#dropOtherNames(ino, parent, name))
      }
      if (isNewerNode) continue
      if (known && (known.mode & S_IFMT) !== (attributes.mode & S_IFMT)) {
        this.#forget(ino)
        this.#directory(parent).set(name, ino)
      }
      if (known && isSame(known, attributes)) continue
      if (known) difference.changed.push(ino)
      this.nodes.set(ino, attributes)
    }
    for (const [name, ino] of [...this.#directory(parent)]) {
      if (listed.has(name) || isNewer(name)) continue
      this.#directory(parent).delete(name)
      difference.removed.push(name)
      dropped.push(ino)
    }
    for (const ino of dropped) this.#drop(ino)
    return difference
  }

  names(ino: Ino): string[] {
    const found: string[] = []
    for (const [parent, names] of this.entries) for (const [name, to] of names) if (to === ino) found.push(`${parent}/${name}`)
    return found.sort()
  }

  entryCount(): number {
    let count = 0
    for (const names of this.entries.values()) count += names.size
    return count
  }

  #directory(ino: Ino): Map<Name, Ino> {
    let names = this.entries.get(ino)
    if (!names) this.entries.set(ino, (names = new Map()))
    return names
  }

  #dropOtherNames(ino: Ino, parent: Ino, name: Name): string[] {
    const others = this.names(ino).filter(other => other !== `${parent}/${name}`)
    for (const other of others) this.#directory(Number(other.slice(0, other.indexOf('/')))).delete(other.slice(other.indexOf('/') + 1))
    return others
  }

  /** A name of the node is gone. */
  #drop(ino: Ino): void {
    if (this.names(ino).length > 0) return
    const known = this.nodes.get(ino)
    this.nodes.delete(ino)
    if (known === undefined || isDirectory(known.mode)) this.#empty(ino)
  }

  #empty(ino: Ino): void {
    for (const [name, child] of [...this.#directory(ino)]) {
      this.#directory(ino).delete(name)
      this.#drop(child)
    }
  }

  /** The number stands for another node now. */
  #forget(ino: Ino): void {
    const known = this.nodes.get(ino)!
    this.#dropOtherNames(ino, -1, '')
    if (isDirectory(known.mode)) this.#empty(ino)
  }
}

/** All but the access time. */
function isSame(a: Attributes, b: Attributes): boolean {
  return Object.entries(a).every(([field, value]) => field.startsWith('atime') || value === b[field as keyof Attributes])
}
