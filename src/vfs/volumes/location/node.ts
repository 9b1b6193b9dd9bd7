/**
 * The nodes of a location that a front end knows, and the table of them.
 *
 * Owns: which inode number means which file of the host, and by which names it can be reached.
 * Must stay true: a node is in the table while a front end holds references or a file of it is open; the root always is;
 * a name is a hint: who uses it checks that the host's inode is the node's.
 */
import type { Attributes, Ino, Name } from '../../contract.ts'
import type { LocationFile } from './open-file.ts'

/** Names besides the latest that are kept of a file with several. The index knows the rest. */
const ALIASES_KEPT = 8

export interface Link {
  readonly parent: LocationNode
  readonly name: Name
}

export class LocationNode {
  readonly ino: Ino
  /** The directory and name by which it was last reached; undefined for the root, and for a file without a name. */
  parent: LocationNode | undefined
  name: Name
  aliases: Link[] | undefined
  /** S_IFMT and permission bits when last looked at. */
  mode = 0
  generation = 0
  /** The host's identity: filesystem and inode number. */
  device = 0
  inoLow = 0
  inoHigh = 0
  /** References that front ends hold. */
  lookups = 0
  /** O_PATH descriptor of a directory, and of any node that is gone while a front end holds on to it; or -1. `usedAt` orders them by last use. */
  fd = -1
  usedAt = 0
  files: LocationFile[] | undefined
  /** Without a name any more: only open files and `fd` reach it. */
  gone = false
  /** Of a node that is gone: its last attributes, for who still holds on to it without having it open. */
  last: Attributes | undefined
  /** What the front end's cached data is from: mtime, ctime and size when it was last opened. */
  version = ''

  /** A front end was told that a name is missing in this directory, and may believe it still. */
  toldMissing = false

  /** Extended attributes that it was found to lack, and the ctime that it had then (missing-xattrs.ts). */
  lacksXattrs = 0
  lacksSinceSec = 0
  lacksSinceNsec = 0

  /** It stands for a foreign mount: nothing of it is asked of the host. */
  isBlocked = false

  constructor(ino: Ino, parent: LocationNode | undefined, name: Name) {
    this.ino = ino
    this.parent = parent
    this.name = name
  }

  /** It was seen under this name: the latest is the first that is tried. */
  reachedBy(parent: LocationNode, name: Name, linkCount: number): void {
    if (this.parent === parent && this.name === name) return
    if (linkCount > 1 && this.parent && !this.gone) {
      this.aliases = (this.aliases ?? []).filter(link => link.parent !== parent || link.name !== name)
      this.aliases.push({ parent: this.parent, name: this.name })
      if (this.aliases.length > ALIASES_KEPT) this.aliases.shift()
    }
    this.parent = parent
    this.name = name
    this.gone = false
    this.last = undefined
  }

  /** A name of it is gone: another one that is known takes its place. */
  lostName(parent: LocationNode, name: Name): void {
    this.aliases = this.aliases?.filter(link => link.parent !== parent || link.name !== name)
    if (this.parent !== parent || this.name !== name) return
    const other = this.aliases?.pop()
    this.parent = other?.parent
    this.name = other?.name ?? ''
  }

  /** For people and logs: names joined by "/", below the location's root. */
  path(): Name {
    const parts: Name[] = []
    for (let node: LocationNode | undefined = this; node?.parent; node = node.parent) parts.push(node.name)
    return parts.reverse().join('/')
  }
}

export class NodeTable {
  readonly #nodes = new Map<Ino, LocationNode>()
  readonly root: LocationNode

  constructor(rootIno: Ino) {
    this.root = new LocationNode(rootIno, undefined, '')
    this.#nodes.set(rootIno, this.root)
  }

  get size(): number {
    return this.#nodes.size
  }

  get(ino: Ino): LocationNode | undefined {
    return this.#nodes.get(ino)
  }

  add(node: LocationNode): void {
    this.#nodes.set(node.ino, node)
  }

  /** Takes a node out that nobody refers to any more. The caller closes its descriptor. */
  remove(node: LocationNode): void {
    if (node !== this.root) this.#nodes.delete(node.ino)
  }

  values(): IterableIterator<LocationNode> {
    return this.#nodes.values()
  }
}
