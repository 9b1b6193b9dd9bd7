/**
 * Applies the observer's batches to the index and tells the front ends what changed beside the mount.
 *
 * Owns: the queue of batches and their processing in slices of a few milliseconds, so that no request waits behind an import.
 * Must stay true:
 * - A whole listing is compared by the index, which knows what changed through the mount meanwhile. A single change is only
 *   a hint: the name is looked at again here, where all changes through the mount are made, so no race is left.
 * - Each batch is acknowledged once. A row that can't be applied is logged and left to the next scan, never fatal.
 */
import type { DirectoryDifference, DirectoryListing, ScanRow } from '../../../index/contract.ts'
import { Attributes, type Ino, isDirectory, type Name, S_IFDIR } from '../../contract.ts'
import type { Core } from './core.ts'
import { type BatchReader, SECTION_CHANGES, SECTION_LISTING } from './observer/batch.ts'
import type { Batch } from './observer/observer.ts'

const SLICE_MS = 4
/** Rows taken from a section before the clock is looked at. */
const ROWS_AT_ONCE = 512

export interface BatchEvents {
  acknowledge(batch: Batch): void
  /** The directory changed too much meanwhile: it must be listed again. */
  listAgain(path: Name): void
  /** All of a directory was applied. */
  listed(directory: Ino): void
}

export class BatchApplier {
  readonly #core: Core
  readonly #events: BatchEvents
  readonly #queue: (Batch | (() => void))[] = []
  #current: Batch | undefined
  #inSection = false
  #parent: Ino | undefined
  #listing: DirectoryListing | undefined
  #listingParent: Ino | undefined
  #scheduled = false
  #closed = false

  constructor(core: Core, events: BatchEvents) {
    this.#core = core
    this.#events = events
  }

  get isBusy(): boolean {
    return this.#queue.length > 0 || this.#current !== undefined
  }

  add(batch: Batch): void {
    this.#queue.push(batch)
    this.#schedule()
  }

  /** Runs `action` when all that was added before is applied. */
  afterwards(action: () => void): void {
    this.#queue.push(action)
    this.#schedule()
  }

  /** The folder went away: what is under way about it is worth nothing. */
  drop(): void {
    this.#cancelListing()
    const left = this.#queue.splice(0)
    if (this.#current) left.unshift(this.#current)
    this.#current = undefined
    this.#inSection = false
    for (const item of left) if (typeof item !== 'function') this.#events.acknowledge(item)
  }

  close(): void {
    this.drop()
    this.#closed = true
  }

  #schedule(): void {
    if (this.#scheduled || this.#closed) return
    this.#scheduled = true
    setImmediate(() => {
      this.#scheduled = false
      this.#slice()
    })
  }

  #slice(): void {
    const endsAtMs = performance.now() + SLICE_MS
    while (performance.now() < endsAtMs) {
      if (!this.#current) {
        const next = this.#queue.shift()
        if (!next) return
        if (typeof next === 'function') {
          next()
          continue
        }
        this.#current = next
      }
      const batch = this.#current
      let more = false
      try {
        more = this.#step(batch.reader)
      } catch (error) {
        this.#core.log.warning('a folder could not be put into the index', error)
        this.#cancelListing()
        this.#inSection = false
        more = true
      }
      if (more || this.#current !== batch) continue
      this.#current = undefined
      this.#events.acknowledge(batch)
    }
    if (this.isBusy) this.#schedule()
  }

  /** One piece of the batch; false: it's all applied. */
  #step(reader: BatchReader): boolean {
    if (!this.#inSection) {
      if (!reader.nextSection()) return false
      this.#inSection = true
      this.#parent = this.#inoOf(reader.directoryDevice, reader.directoryInoHigh, reader.directoryInoLow, reader.directoryPath)
    }
    const parent = this.#parent
    if (parent === undefined || this.#core.offlineReason !== undefined) {
      this.#inSection = false
      return true
    }
    if (reader.kind === SECTION_LISTING) this.#listingStep(reader, parent)
    else if (reader.kind === SECTION_CHANGES) this.#changesStep(reader, parent)
    else this.#inSection = false
    return true
  }

  // --- whole directories ---

  #listingStep(reader: BatchReader, parent: Ino): void {
    const { index, volume } = this.#core
    const alone = reader.isFirstPage && reader.isLastPage
    if (reader.isFirstPage && !this.#listing && !alone) {
      this.#listing = index.beginListing(volume, parent, reader.token)
      this.#listingParent = parent
    }
    const rows: ScanRow[] = []
    const limit = alone ? Number.POSITIVE_INFINITY : ROWS_AT_ONCE
    let ended = false
    while (rows.length < limit) {
      if (!reader.nextRow()) {
        ended = true
        break
      }
      if (reader.isAboutDirectory) this.#putDirectory(reader, parent)
      else this.#addRow(reader, parent, rows)
    }
    if (alone) {
      // A directory that could not be read to its end says nothing about what it lacks.
      if (reader.isComplete) this.#told(parent, reader.directoryPath, index.applyDirectory(volume, parent, rows, reader.token))
      else this.#putRows(parent, rows, reader)
      this.#inSection = false
      return
    }
    if (!this.#listing || this.#listingParent !== parent) {
      this.#inSection = !ended
      return
    }
    this.#notify(parent, this.#listing.rows(rows))
    if (!ended) return
    if (!reader.isLastPage) {
      this.#inSection = false
      return
    }
    if (!reader.isComplete) {
      this.#cancelListing()
      this.#inSection = false
      return
    }
    const end = this.#listing.finish()
    this.#notify(parent, end)
    if (!end.done) return
    this.#listing = undefined
    this.#inSection = false
    if (end.stale) this.#listAgain(parent, reader.directoryPath)
    else this.#events.listed(parent)
  }

  #cancelListing(): void {
    this.#listing?.cancel()
    this.#listing = undefined
  }

  #putDirectory(reader: BatchReader, parent: Ino): void {
    if (reader.isPartial) return
    const known = this.#core.index.node(parent)
    if (known && reader.equals(known)) return
    const node = this.#core.nodes.get(parent)
    // What is in use may have changed through the mount since the observer looked: the host is asked again.
    if (node && known) this.#core.rows.touch(node)
    else this.#core.index.putNode(this.#core.volume, reader.attributes(parent))
    if (known) this.#tellInode(parent, false)
  }

  #putRows(parent: Ino, rows: readonly ScanRow[], reader: BatchReader): void {
    const { index, volume } = this.#core
    for (const { name, attributes } of rows) {
      if (index.lookup(parent, name)) continue
      index.putNode(volume, attributes)
      index.putEntry(volume, parent, name, attributes.ino)
    }
    if (reader.isFirstPage) this.#events.listed(parent)
  }

  #addRow(reader: BatchReader, parent: Ino, rows: ScanRow[]): void {
    const { name } = reader
    if (reader.isExcluded) {
      this.#core.foreign.block(parent, name)
      rows.push({ name, attributes: this.#core.foreign.attributes(parent, name) })
      return
    }
    if (reader.isGone) return
    if (reader.isPartial) {
      const known = this.#core.index.lookup(parent, name)
      rows.push({ name, attributes: known ?? this.#partialAttributes(reader, parent, name) })
      return
    }
    const ino = this.#inoOfRow(reader, parent, name)
    if (ino !== undefined) rows.push({ name, attributes: reader.attributes(ino) })
  }

  /** The name is there, but nothing may be known of it. */
  #partialAttributes(reader: BatchReader, parent: Ino, name: Name): Attributes {
    const attributes = new Attributes()
    attributes.ino = this.#inoOfRow(reader, parent, name) ?? this.#core.foreign.attributes(parent, name).ino
    attributes.mode = reader.mode
    return attributes
  }

  // --- single changes ---

  #changesStep(reader: BatchReader, parent: Ino): void {
    for (let rows = 0; rows < ROWS_AT_ONCE; rows++) {
      if (!reader.nextRow()) {
        this.#inSection = false
        return
      }
      if (reader.isAboutDirectory) {
        if (!reader.isGone) this.#putDirectory(reader, parent)
        continue
      }
      const { name } = reader
      if (reader.isExcluded) {
        this.#core.foreign.block(parent, name)
        continue
      }
      this.#core.foreign.unblock(parent, name)
      const known = this.#core.index.lookup(parent, name)
      if (reader.isGone ? !known : known && !reader.isPartial && reader.equals(known) && this.#inoOfRow(reader, parent, name) === known.ino)
        continue
      this.#lookAgain(parent, name, known)
    }
  }

  /** Something may have happened to a name: the host says what it means now. */
  #lookAgain(parent: Ino, name: Name, known: Attributes | undefined): void {
    const core = this.#core
    const found = core.look(parent, name)
    if (found === 'unknown') return
    if (known && known.nlink > 1 && found?.ino !== known.ino) {
      // It lost a name: its other names tell nobody that they are fewer.
      const node = core.nodes.get(known.ino)
      if (node) core.rows.touch(node)
    }
    if (found === undefined) {
      if (!known) return
      core.index.removeEntry(core.volume, parent, name)
      this.#tellName(parent, name, known.ino)
      return
    }
    if (known?.ino === found.ino) {
      core.index.putNode(core.volume, found)
      this.#tellInode(found.ino, true)
      return
    }
    core.index.putNode(core.volume, found)
    core.index.putEntry(core.volume, parent, name, found.ino)
    if (!core.isKnownAs(found.ino, parent, name)) this.#tellName(parent, name, known?.ino)
  }

  // --- telling ---

  #told(parent: Ino, path: Name, difference: DirectoryDifference): void {
    if (difference.stale) return this.#listAgain(parent, path)
    this.#notify(parent, difference)
    this.#events.listed(parent)
  }

  /**
   * A directory that the index doesn't know (it is gone, or excluded) is stale for ever: it comes again with the listing of
   * its parent, if it comes again.
   */
  #listAgain(directory: Ino, path: Name): void {
    if (this.#core.index.node(directory)) this.#events.listAgain(path)
  }

  #notify(parent: Ino, difference: DirectoryDifference): void {
    const core = this.#core
    const isKnown = core.mayBeCached(parent)
    if (isKnown && (difference.added.length > 0 || difference.removed.length > 0)) {
      for (const name of difference.added) {
        const ino = core.index.lookup(parent, name)?.ino
        if (ino === undefined || !core.isKnownAs(ino, parent, name)) core.listener.entryChanged(parent, name)
      }
      core.listener.inodeChanged(parent, true)
    }
    for (const { name, ino } of difference.removed) if (isKnown || core.mayBeCached(ino)) this.#tellName(parent, name, ino)
    for (const { parent: from, name, ino } of difference.moved) this.#tellName(from, name, ino)
    for (const ino of difference.changed) this.#tellInode(ino, true)
  }

  #tellName(parent: Ino, name: Name, was: Ino | undefined): void {
    const { listener } = this.#core
    if (!this.#core.mayBeCached(parent)) return
    if (was !== undefined && this.#core.mayBeCached(was)) listener.entryRemoved(parent, name, was)
    else listener.entryChanged(parent, name)
    listener.inodeChanged(parent, true)
  }

  #tellInode(ino: Ino, data: boolean): void {
    if (!this.#core.mayBeCached(ino)) return
    const node = this.#core.nodes.get(ino)
    // A file that programs of the mount write to: its bytes came from there.
    const own = node?.files?.some(file => file.writable) ?? false
    this.#core.listener.inodeChanged(ino, data && !own && !(node && isDirectory(node.mode)))
  }

  // --- numbers ---

  #inoOf(device: number, high: number, low: number, path: Name): Ino | undefined {
    const core = this.#core
    if (path === '') return core.nodes.root.ino
    const numbers = core.numbers.of(device) ?? core.registerPath(device, path)
    if (numbers?.stable) return core.numbers.inoOf(numbers, high, low)
    return core.inoOfPath(path)
  }

  #inoOfRow(reader: BatchReader, parent: Ino, name: Name): Ino | undefined {
    const core = this.#core
    let numbers = core.numbers.of(reader.device)
    if (!numbers) {
      const path = reader.directoryPath === '' ? name : `${reader.directoryPath}/${name}`
      numbers = core.registerPath(reader.device, (reader.mode & 0o170000) === S_IFDIR ? path : reader.directoryPath)
    }
    if (!numbers) return undefined
    return numbers.stable ? core.numbers.inoOf(numbers, reader.inoHigh, reader.inoLow) : core.inoByName(numbers, parent, name, reader)
  }
}
