/**
 * Answers the index's part of the thread that drives a location, on the main thread.
 *
 * Owns: the listings and walks that the thread has begun. Must stay true: a change that can't be put is logged and left to
 * the next scan; whatever goes wrong in a question goes back to who asked.
 */
import type { DirectoryListing } from '../../../../index/contract.ts'
import type { Log } from '../../../../log.ts'
import type { Attributes } from '../../../contract.ts'
import type { LocationIndex } from '../location-index.ts'
import { attributesOf, type IndexOrders, type IndexQuestions, plainError, type Reply } from './protocol.ts'

const WALK_PAGE = 1_000

export class IndexService {
  readonly #log: Log
  readonly #orders: IndexOrders
  readonly #questions: IndexQuestions
  readonly #listings = new Map<number, DirectoryListing>()
  readonly #walks = new Map<number, Iterator<Attributes>>()
  #last = 0

  constructor(index: LocationIndex, log: Log) {
    this.#log = log
    this.#orders = {
      putNode: (volume, attributes) => index.putNode(volume, attributesOf(attributes)),
      putEntry: (volume, parent, name, ino) => index.putEntry(volume, parent, name, ino),
      createEntry: (volume, parent, name, attributes) => index.createEntry(volume, parent, name, attributesOf(attributes)),
      removeEntry: (volume, parent, name) => index.removeEntry(volume, parent, name),
      renameEntry: (volume, parent, name, newParent, newName, exchange) =>
        index.renameEntry(volume, parent, name, newParent, newName, exchange),
      updateVolume: (id, settings) => index.updateVolume(id, settings),
      setScanState: (volume, state) => index.setScanState(volume, state),
      markScanned: (parent, scan) => index.markScanned(parent, scan),
      listingCancel: listing => {
        this.#listings.get(listing)?.cancel()
        this.#listings.delete(listing)
      },
    }
    this.#questions = {
      node: ino => index.node(ino),
      lookup: (parent, name) => index.lookup(parent, name),
      children: (parent, after, limit) => index.children(parent, after, limit),
      links: ino => index.links(ino),
      applyDirectory: (volume, parent, rows, since) => index.applyDirectory(volume, parent, rows.map(ownRow), since),
      scanToken: () => index.scanToken(),
      slot: (volume, device) => index.slot(volume, device),
      slots: () => index.slots(),
      assignIno: (slot, key) => index.assignIno(slot, key),
      scanState: volume => index.scanState(volume),
      isScanned: (parent, scan) => index.isScanned(parent, scan),
      beginListing: (volume, parent, since) => {
        this.#listings.set(++this.#last, index.beginListing(volume, parent, since))
        return this.#last
      },
      listingRows: (listing, rows) => this.#listing(listing).rows(rows.map(ownRow)),
      listingFinish: listing => {
        const end = this.#listing(listing).finish()
        if (end.done) this.#listings.delete(listing)
        return end
      },
      walkDirectories: volume => {
        this.#walks.set(++this.#last, index.directories(volume)[Symbol.iterator]())
        return this.#last
      },
      walkOn: walk => this.#walkOn(walk),
    }
  }

  order(method: keyof IndexOrders, args: readonly unknown[]): void {
    try {
      ;(this.#orders[method] as (...args: readonly unknown[]) => void)(...args)
    } catch (error) {
      this.#log.error(`${method} of a location failed`, error)
    }
  }

  answer(method: keyof IndexQuestions, args: readonly unknown[]): Reply {
    try {
      return { value: (this.#questions[method] as (...args: readonly unknown[]) => unknown)(...args) }
    } catch (error) {
      return { error: plainError(error) }
    }
  }

  /** The thread is gone: what it had begun is given up. */
  close(): void {
    for (const listing of this.#listings.values()) listing.cancel()
    this.#listings.clear()
    for (const walk of this.#walks.values()) walk.return?.()
    this.#walks.clear()
  }

  #listing(number: number): DirectoryListing {
    const listing = this.#listings.get(number)
    if (!listing) throw new Error(`there is no listing ${number}`)
    return listing
  }

  #walkOn(walk: number): Attributes[] {
    const iterator = this.#walks.get(walk)
    const page: Attributes[] = []
    while (iterator && page.length < WALK_PAGE) {
      const next = iterator.next()
      if (next.done) break
      page.push(next.value)
    }
    if (page.length === 0) this.#walks.delete(walk)
    return page
  }
}

function ownRow<Row extends { readonly attributes: Attributes }>(row: Row): Row {
  return { ...row, attributes: attributesOf(row.attributes) }
}
