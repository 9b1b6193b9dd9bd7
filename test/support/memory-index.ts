/**
 * An index in memory, in its plainest form: what a location is tested over where the real one would only be in the way.
 *
 * Owns: maps of nodes and entries. It keeps nothing and scans nothing. Must stay true: entries and nodes follow the
 * contract (src/index/contract.ts) literally, so that a test can compare them with the disk.
 */
import type { Index, IndexedEntry, VolumeRecord } from '../../src/index/contract.ts'
import { type Attributes, type Ino, isDirectory, type Name, SLOT_SIZE } from '../../src/vfs/contract.ts'

export class MemoryIndex implements Index {
  readonly #nodes = new Map<Ino, Attributes>()
  readonly #children = new Map<Ino, Map<Name, Ino>>()
  /** The names of each node, as "parent/name". */
  readonly #names = new Map<Ino, Set<string>>()
  readonly #volumes: VolumeRecord[] = []
  readonly #slots: { slot: number; volume: number; device: string }[] = []
  readonly #assigned = new Map<string, Ino>()
  readonly #settings = new Map<string, string>()
  readonly #sources = new Set<(isRead: boolean) => void>()
  #settling = false

  putNode(_volume: number, attributes: Attributes): void {
    if (attributes.nlink === 0 && !this.#nodes.has(attributes.ino)) return
    this.#nodes.set(attributes.ino, attributes)
  }

  putEntry(volume: number, parent: Ino, name: Name, ino: Ino): void {
    if (this.#children.get(parent)?.get(name) === ino) return
    this.removeEntry(volume, parent, name)
    this.#put(parent, name, ino)
  }

  createEntry(volume: number, parent: Ino, name: Name, attributes: Attributes): void {
    for (const link of this.#linksOf(attributes.ino)) this.removeEntry(volume, link.parent, link.name)
    this.putNode(volume, attributes)
    this.putEntry(volume, parent, name, attributes.ino)
  }

  removeEntry(volume: number, parent: Ino, name: Name): void {
    const directory = this.#children.get(parent)
    const ino = directory?.get(name)
    if (ino === undefined) return
    directory!.delete(name)
    if (this.#unname(ino, parent, name) > 0) return
    this.#nodes.delete(ino)
    for (const child of [...(this.#children.get(ino)?.keys() ?? [])]) this.removeEntry(volume, ino, child)
    this.#children.delete(ino)
  }

  renameEntry(volume: number, parent: Ino, name: Name, newParent: Ino, newName: Name, exchange: boolean): void {
    const moved = this.#children.get(parent)?.get(name)
    const other = this.#children.get(newParent)?.get(newName)
    if (moved === undefined) return
    if (exchange) {
      if (other === undefined) return
      this.#unname(moved, parent, name)
      this.#unname(other, newParent, newName)
      this.#put(parent, name, other)
      this.#put(newParent, newName, moved)
      return
    }
    if (other === moved) return
    // The name is set before the old one goes, so that the node keeps one throughout.
    this.removeEntry(volume, newParent, newName)
    this.#put(newParent, newName, moved)
    this.#unname(moved, parent, name)
    this.#children.get(parent)?.delete(name)
  }

  node(ino: Ino): Attributes | undefined {
    this.#settle()
    return this.#nodes.get(ino)
  }

  lookup(parent: Ino, name: Name): Attributes | undefined {
    this.#settle()
    const ino = this.#children.get(parent)?.get(name)
    return ino === undefined ? undefined : this.#nodes.get(ino)
  }

  children(parent: Ino, after: Name | undefined, limit: number): IndexedEntry[] {
    this.#settle()
    return [...(this.#children.get(parent) ?? [])]
      .map(([name, ino]) => ({ name, attributes: this.#nodes.get(ino)! }))
      .filter(entry => entry.attributes && (after === undefined || entry.name > after))
      .sort((a, b) => (a.name < b.name ? -1 : 1))
      .slice(0, limit)
  }

  links(ino: Ino): { readonly parent: Ino; readonly name: Name }[] {
    this.#settle()
    return this.#linksOf(ino)
  }

  pathOf(ino: Ino): Name | undefined {
    const [link] = this.#linksOf(ino)
    if (!link) return undefined
    const above = this.pathOf(link.parent)
    return above === undefined ? link.name : `${above}/${link.name}`
  }

  applyDirectory(): never {
    throw new Error('the index in memory takes no scans')
  }
  beginListing(): never {
    throw new Error('the index in memory takes no scans')
  }
  *directories(): Iterable<Attributes> {
    for (const ino of this.#children.keys()) if (this.#nodes.has(ino)) yield this.#nodes.get(ino)!
  }
  *problems(): Iterable<string> {}
  scanToken(): number {
    return 0
  }
  entryCount(): number {
    return [...this.#children.values()].reduce((sum, directory) => sum + directory.size, 0)
  }

  volumes(): VolumeRecord[] {
    return [...this.#volumes]
  }

  addVolume(kind: VolumeRecord['kind'], name: Name, settings: Record<string, unknown>): VolumeRecord {
    const record = { id: this.#volumes.length + 1, kind, name, settings, addedAtMs: 0 }
    this.#volumes.push(record)
    return record
  }
  updateVolume(): void {}
  async removeVolume(): Promise<void> {}

  slot(volume: number, device: string): number {
    const known = this.#slots.find(entry => entry.volume === volume && entry.device === device)
    if (known) return known.slot
    this.#slots.push({ slot: this.#slots.length + 1, volume, device })
    return this.#slots.length
  }
  slots(): { readonly slot: number; readonly volume: number; readonly device: string }[] {
    return [...this.#slots]
  }

  assignIno(slot: number, key: string): Ino {
    const known = this.#assigned.get(`${slot}/${key}`)
    if (known !== undefined) return known
    // Above the numbers that a filesystem gives: 2^39 and up.
    const ino = slot * SLOT_SIZE + SLOT_SIZE / 2 + this.#assigned.size
    this.#assigned.set(`${slot}/${key}`, ino)
    return ino
  }

  freshIno(): never {
    throw new Error('the index in memory holds no cloud volume')
  }
  get objects(): never {
    throw new Error('the index in memory holds no cloud volume')
  }

  setting(key: string): string | undefined {
    return this.#settings.get(key)
  }
  setSetting(key: string, value: string): void {
    this.#settings.set(key, value)
  }
  scanState(): undefined {}
  setScanState(): void {}
  markScanned(): void {}
  isScanned(): boolean {
    return false
  }

  addSource(settle: (isRead: boolean) => void): () => void {
    this.#sources.add(settle)
    return () => this.#sources.delete(settle)
  }
  flush(): void {
    this.#settle()
  }
  async durable(): Promise<void> {
    this.#settle()
  }
  size(): { readonly bytes: number; readonly entries: number; readonly nodes: number } {
    return { bytes: 0, entries: this.entryCount(), nodes: this.#nodes.size }
  }
  close(): void {}

  #put(parent: Ino, name: Name, ino: Ino): void {
    let directory = this.#children.get(parent)
    if (!directory) this.#children.set(parent, (directory = new Map()))
    directory.set(name, ino)
    let names = this.#names.get(ino)
    if (!names) this.#names.set(ino, (names = new Set()))
    names.add(`${parent}/${name}`)
  }

  /** Takes a name from a node: how many it has left. */
  #unname(ino: Ino, parent: Ino, name: Name): number {
    const names = this.#names.get(ino)
    names?.delete(`${parent}/${name}`)
    if (names?.size) return names.size
    this.#names.delete(ino)
    return 0
  }

  #linksOf(ino: Ino): { readonly parent: Ino; readonly name: Name }[] {
    return [...(this.#names.get(ino) ?? [])].map(key => {
      const slash = key.indexOf('/')
      return { parent: Number(key.slice(0, slash)), name: key.slice(slash + 1) }
    })
  }

  #settle(): void {
    if (this.#settling) return
    this.#settling = true
    for (const settle of this.#sources) settle(true)
    this.#settling = false
  }

  /** Every entry as "path mode size nlink", for comparing with the disk. */
  dump(root: Ino): string[] {
    this.#settle()
    const lines: string[] = []
    const walk = (ino: Ino, path: string) => {
      for (const [name, child] of this.#children.get(ino) ?? []) {
        const a = this.#nodes.get(child)
        const here = `${path}${name}`
        lines.push(
          a
            ? `${here} ${a.mode.toString(8)} ${isDirectory(a.mode) ? 0 : a.sizeBytes} ${isDirectory(a.mode) ? 0 : a.nlink}`
            : `${here} without a node`,
        )
        walk(child, `${here}/`)
      }
    }
    walk(root, '')
    return lines.sort()
  }
}
