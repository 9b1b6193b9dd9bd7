/**
 * Changes made through the mount, on their way into the index.
 *
 * Owns: the nodes whose rows wait to be put, and the open files that the kernel may write by itself. Must stay true: a
 * change is in the index within milliseconds, and before anybody reads the index; a row says what the host says when it is
 * put; nothing is put after `close`.
 */
import { FsError } from '../../../errors.ts'
import { type Attributes, isDirectory, type Name } from '../../contract.ts'
import type { Core } from './core.ts'
import type { LocationNode } from './node.ts'
import type { LocationFile } from './open-file.ts'

/** How long rows wait for the next change of the same node. */
const SETTLE_MS = 8

export class Rows {
  /** Open files that the kernel may write itself. */
  readonly writers = new Set<LocationFile>()
  readonly #core: Core
  readonly #dirty = new Set<LocationNode>()
  readonly #unsource: () => void
  #timer: NodeJS.Timeout | undefined
  #lookedAtWriters = false
  #isClosed = false

  constructor(core: Core) {
    this.#core = core
    this.#unsource = core.index.addSource(isRead => this.#settle(isRead))
  }

  /** The node changed on the host: its row is put into the index within milliseconds, or before anybody reads the index. */
  touch(node: LocationNode): void {
    // A file that was left open is written to on and on; the location's rows are gone by then.
    if (this.#isClosed) return
    this.#dirty.add(node)
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined
      this.#putDirty()
    }, SETTLE_MS)
  }

  /** A name was made. */
  linked(parent: LocationNode, name: Name, attributes: Attributes): void {
    const { index, volume } = this.#core
    if (attributes.nlink === 1 || isDirectory(attributes.mode)) index.createEntry(volume, parent.ino, name, attributes)
    else {
      index.putNode(volume, attributes)
      index.putEntry(volume, parent.ino, name, attributes.ino)
    }
    this.touch(parent)
  }

  /** A node was moved: its name's row is made where the index didn't know it yet (the scan hadn't come by). */
  moved(node: LocationNode, parent: LocationNode, name: Name): void {
    const core = this.#core
    if (core.sys.statx(core.directories.fd(parent), name, core.stat) < 0 || !core.isSame(node)) return
    core.index.putNode(core.volume, core.stat.attributes(node.ino))
    core.index.putEntry(core.volume, parent.ino, name, node.ino)
  }

  /** Puts all that waits, and takes nothing more. */
  close(): void {
    clearTimeout(this.#timer)
    this.#settle(true)
    this.#isClosed = true
    this.#unsource()
  }

  /** Puts what waits; for a reader also what the kernel wrote behind our back (passthrough). */
  #settle(isRead: boolean): void {
    if (isRead) this.#lookAtWriters()
    this.#putDirty()
  }

  /** Once for each callback of the event loop is enough: who wrote before he asks can only be heard in a later one. */
  #lookAtWriters(): void {
    if (this.#lookedAtWriters || this.writers.size === 0 || this.#core.offlineReason !== undefined) return
    this.#lookedAtWriters = true
    queueMicrotask(() => {
      this.#lookedAtWriters = false
    })
    for (const file of this.writers) if (file.wasWritten()) this.#dirty.add(file.node)
  }

  #putDirty(): void {
    if (this.#dirty.size === 0) return
    const core = this.#core
    const nodes = [...this.#dirty]
    this.#dirty.clear()
    if (core.offlineReason !== undefined) return
    for (const node of nodes) {
      if (node.gone) continue
      try {
        core.statNode(node)
        core.index.putNode(core.volume, core.stat.attributes(node.ino))
      } catch (error) {
        // Gone or moved beside the mount: the observer tells what became of it.
        if (!(error instanceof FsError)) throw error
      }
    }
  }
}
