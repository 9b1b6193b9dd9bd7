/**
 * What is answered on the main thread while the thread that drives a location is silent: names and attributes, from the
 * index.
 *
 * Owns: the references that such answers gave to front ends. Must stay true: nothing here touches the host or waits; a
 * reference is given back where it came from.
 */
import type { Index } from '../../../../index/contract.ts'
import type { Attributes, AttributesReply, Entry, FilesystemStatistics, Ino, Name, OpenDirectory } from '../../../contract.ts'
import { generationOf } from '../core.ts'
import { maskedRoot, OFFLINE_TTL_MS, OfflineDirectory } from '../offline.ts'
import { silent } from './drive.ts'

export class FromIndex {
  readonly #index: Index
  readonly #rootIno: Ino
  readonly #references = new Map<Ino, number>()
  /** Permission bits that the folders above leave to each class of users. */
  rootModeMask = process.getuid?.() === 0 ? 0o7700 : 0o7777

  constructor(index: Index, rootIno: Ino) {
    this.#index = index
    this.#rootIno = rootIno
  }

  lookup(parent: Ino, name: Name): Entry | undefined {
    const attributes = this.#index.lookup(parent, name)
    return attributes && this.#entry(attributes)
  }

  getattr(ino: Ino): AttributesReply {
    const attributes = this.#index.node(ino)
    if (!attributes) throw silent()
    return { attributes: ino === this.#rootIno ? maskedRoot(attributes, this.rootModeMask) : attributes, attributeTtlMs: OFFLINE_TTL_MS }
  }

  opendir(ino: Ino): OpenDirectory {
    return new OfflineDirectory({
      ino,
      parent: this.#index.links(ino)[0]?.parent ?? 1,
      index: this.#index,
      entry: (_name, attributes) => this.#entry(attributes),
      notTaken: child => this.forget(child, 1),
    })
  }

  statfs(): FilesystemStatistics {
    return {
      blockSizeBytes: 4096,
      fragmentSizeBytes: 4096,
      blocks: 0,
      blocksFree: 0,
      blocksAvailable: 0,
      files: 0,
      filesFree: 0,
      nameLengthBytes: 255,
    }
  }

  /** Takes back what was given here; answers how many of the references are the thread's. */
  forget(ino: Ino, count: number): number {
    const own = this.#references.get(ino)
    if (own === undefined) return count
    if (own > count) this.#references.set(ino, own - count)
    else this.#references.delete(ino)
    return Math.max(0, count - own)
  }

  #entry(attributes: Attributes): Entry {
    const { ino } = attributes
    this.#references.set(ino, (this.#references.get(ino) ?? 0) + 1)
    // The same as the thread says: the kernel takes a node with another one for another file.
    return { attributes, generation: generationOf(attributes), entryTtlMs: OFFLINE_TTL_MS, attributeTtlMs: OFFLINE_TTL_MS }
  }
}
