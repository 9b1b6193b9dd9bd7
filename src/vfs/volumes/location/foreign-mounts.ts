/**
 * Names below a location under which filesystems are mounted that may hang, or that are this program's own.
 *
 * Owns: which names these are, and the nodes that stand for them. Must stay true: such a name is an empty directory that
 * nobody touches: the host is asked nothing about it.
 */
import { FsError } from '../../../errors.ts'
import { Attributes, type Ino, type Name, S_IFDIR, SLOT_SIZE } from '../../contract.ts'
import type { Core } from './core.ts'
import { LocationNode } from './node.ts'

export class ForeignMounts {
  readonly #core: Core
  readonly #names = new Map<Ino, Set<Name>>()

  constructor(core: Core) {
    this.#core = core
  }

  /** Another filesystem is mounted at a name: it isn't touched any more. */
  block(parent: Ino, name: Name): void {
    const names = this.#names.get(parent)
    if (names?.has(name)) return
    if (names) names.add(name)
    else this.#names.set(parent, new Set([name]))
    this.#core.listener.entryChanged(parent, name)
  }

  unblock(parent: Ino, name: Name): void {
    const names = this.#names.get(parent)
    if (!names?.delete(name)) return
    if (names.size === 0) this.#names.delete(parent)
    this.#core.listener.entryChanged(parent, name)
  }

  has(parent: Ino, name: Name): boolean {
    return this.#names.size > 0 && (this.#names.get(parent)?.has(name) ?? false)
  }

  attributes(parent: Ino, name: Name): Attributes {
    const { index, nodes } = this.#core
    const attributes = new Attributes()
    attributes.ino = index.assignIno(Math.floor(nodes.root.ino / SLOT_SIZE), `mount:${parent}/${name}`)
    attributes.mode = S_IFDIR | 0o555
    attributes.nlink = 2
    return attributes
  }

  /** The node for such a name. */
  node(attributes: Attributes, parent: LocationNode, name: Name): LocationNode {
    const { nodes } = this.#core
    const known = nodes.get(attributes.ino)
    if (known) return known
    const node = new LocationNode(attributes.ino, parent, name)
    node.mode = attributes.mode
    node.isBlocked = true
    nodes.add(node)
    return node
  }
}

export function blockedError(): FsError {
  return new FsError('access-denied', 'another filesystem that may hang is mounted there; open it where it is mounted')
}
