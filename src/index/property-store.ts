/**
 * Properties that clients attach to nodes and that the tree itself gives no meaning to (WebDAV's dead properties).
 *
 * Owns: the contract, and an implementation in memory. Must stay true: a node's properties go with the node (a store in
 * the index drops them with the node's row); a value is given back byte for byte.
 * It doesn't: know what a value means, or limit sizes (the front end does, before it writes).
 */
import type { Answer, Ino } from '../vfs/contract.ts'

/** `{namespace}local`, the namespace possibly empty. A local name has no "}", so the last one ends the namespace. */
export type PropertyName = string

/** Name to value: a self-contained XML element as text, or plain text for the front end's own. In no promised order. */
export type Properties = ReadonlyMap<PropertyName, string>

export interface PropertyStore {
  /** Properties of these nodes (a listing asks for many at once). Nodes that have none are absent from the answer. */
  read(inos: readonly Ino[]): Answer<ReadonlyMap<Ino, Properties>>
  /** Sets (text) and removes (undefined), all or nothing. Removing what isn't there is no error. */
  change(ino: Ino, changes: ReadonlyMap<PropertyName, string | undefined>): Answer<void>
  /** Gives `to` exactly the properties of `from`: what it had is gone. */
  copy(from: Ino, to: Ino): Answer<void>
  /** The node is gone. No error when it had none. */
  remove(ino: Ino): Answer<void>
}

/** A store that lasts as long as the process: for tests, and for a server without an index. */
export class MemoryPropertyStore implements PropertyStore {
  readonly #nodes = new Map<Ino, Map<PropertyName, string>>()

  /** Nodes that have properties. */
  get size(): number {
    return this.#nodes.size
  }

  read(inos: readonly Ino[]): ReadonlyMap<Ino, Properties> {
    const found = new Map<Ino, Properties>()
    if (this.#nodes.size === 0) return found
    for (const ino of inos) {
      const properties = this.#nodes.get(ino)
      if (properties) found.set(ino, new Map(properties))
    }
    return found
  }

  change(ino: Ino, changes: ReadonlyMap<PropertyName, string | undefined>): void {
    const properties = this.#nodes.get(ino) ?? new Map<PropertyName, string>()
    for (const [name, value] of changes) {
      if (value === undefined) properties.delete(name)
      else properties.set(name, value)
    }
    this.#keep(ino, properties)
  }

  copy(from: Ino, to: Ino): void {
    this.#keep(to, new Map(this.#nodes.get(from)))
  }

  remove(ino: Ino): void {
    this.#nodes.delete(ino)
  }

  #keep(ino: Ino, properties: Map<PropertyName, string>): void {
    if (properties.size === 0) this.#nodes.delete(ino)
    else this.#nodes.set(ino, properties)
  }
}
