/**
 * What a location answers while its folder is away: names and attributes from the index, everything else 'offline'.
 *
 * Owns: the listing from the index. Must stay true: nothing here touches the host, so nothing can hang.
 */
import type { IndexedEntry } from '../../../index/contract.ts'
import type { AttributesReply, DirectorySink, Entry, Ino, Name, OpenDirectory, RequestContext } from '../../contract.ts'
import { Attributes, S_IFDIR, S_IFMT } from '../../contract.ts'
import type { Core } from './core.ts'
import type { LocationIndex } from './location-index.ts'
import { LocationNode } from './node.ts'

/** It may be plugged in again any moment. */
export const OFFLINE_TTL_MS = 1_000
const PAGE_ENTRIES = 500

export function lookupOffline(core: Core, parent: LocationNode, name: Name): Entry | undefined {
  const attributes = core.index.lookup(parent.ino, name)
  return attributes && offlineEntry(core, parent, name, attributes)
}

function offlineEntry(core: Core, parent: LocationNode, name: Name, attributes: Attributes): Entry {
  let node = core.nodes.get(attributes.ino)
  if (!node) {
    node = new LocationNode(attributes.ino, parent, name)
    node.mode = attributes.mode
    core.nodes.add(node)
  }
  node.lookups++
  return { attributes, generation: node.generation, entryTtlMs: OFFLINE_TTL_MS, attributeTtlMs: OFFLINE_TTL_MS }
}

export function getattrOffline(core: Core, node: LocationNode): AttributesReply {
  const attributes = core.index.node(node.ino)
  if (attributes && node === core.nodes.root)
    return { attributes: maskedRoot(attributes, core.rootModeMask), attributeTtlMs: OFFLINE_TTL_MS }
  if (attributes) return { attributes, attributeTtlMs: OFFLINE_TTL_MS }
  core.requireOnline()
  throw new Error('getattrOffline was called while the location is online')
}

/** What the folders above the root close to others stays closed. */
export function maskedRoot(attributes: Attributes, rootModeMask: number): Attributes {
  const masked = Object.assign(new Attributes(), attributes)
  masked.mode &= S_IFMT | rootModeMask
  return masked
}

export function offlineDirectory(core: Core, node: LocationNode): OpenDirectory {
  return new OfflineDirectory({
    ino: node.ino,
    parent: node.parent?.ino ?? 1,
    index: core.index,
    entry: (name, attributes) => offlineEntry(core, node, name, attributes),
    notTaken: ino => {
      core.nodes.get(ino)!.lookups--
    },
  })
}

export interface OfflineListing {
  readonly ino: Ino
  readonly parent: Ino
  readonly index: Pick<LocationIndex, 'children'>
  /** An answer with attributes: counts one reference of the front end. */
  readonly entry: (name: Name, attributes: Attributes) => Entry
  /** The reference is given back: the entry was not taken. */
  readonly notTaken: (ino: Ino) => void
}

/**
 * Offsets are positions in the listing by name: "." is 1, ".." is 2, then one more for each entry. A page is kept, so that
 * listing on costs one query a page.
 */
export class OfflineDirectory implements OpenDirectory {
  readonly keepCache = false
  readonly #listing: OfflineListing
  #page: readonly IndexedEntry[] = []
  /** Entries before the page. */
  #before = 0
  #ended = false

  constructor(listing: OfflineListing) {
    this.#listing = listing
  }

  get ino(): number {
    return this.#listing.ino
  }

  read(_context: RequestContext, offset: bigint, withAttributes: boolean, sink: DirectorySink): void {
    const listing = this.#listing
    let at = Number(offset)
    if (at < 0) return
    if (at === 0 && !sink.add('.', listing.ino, S_IFDIR, BigInt(++at), undefined)) return
    if (at === 1 && !sink.add('..', listing.parent, S_IFDIR, BigInt(++at), undefined)) return
    for (;;) {
      const found = this.#entry(at - 2)
      if (!found) return
      const { name, attributes } = found
      const entry = withAttributes ? listing.entry(name, attributes) : undefined
      if (!sink.add(name, attributes.ino, attributes.mode & S_IFMT, BigInt(at + 1), entry)) {
        if (entry) listing.notTaken(attributes.ino)
        return
      }
      at++
    }
  }

  #entry(position: number): IndexedEntry | undefined {
    if (position < this.#before) {
      this.#page = []
      this.#before = 0
      this.#ended = false
    }
    while (position >= this.#before + this.#page.length) {
      if (this.#ended) return undefined
      const after = this.#page.at(-1)?.name
      this.#before += this.#page.length
      this.#page = this.#listing.index.children(this.#listing.ino, after, PAGE_ENTRIES)
      this.#ended = this.#page.length < PAGE_ENTRIES
    }
    return this.#page[position - this.#before]
  }

  fsync(): void {}
  release(): void {}
}
