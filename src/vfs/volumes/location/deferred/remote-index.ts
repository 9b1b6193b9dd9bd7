/**
 * The index as the thread that drives a location sees it: it belongs to the main thread.
 *
 * Owns: how changes and questions get there. Must stay true: changes are sent in order and without waiting; a question
 * stops this thread until the main thread has answered, which has seen all changes by then; so many changes without a
 * question make one, so that the main thread isn't buried.
 */
import { type MessagePort, receiveMessageOnPort } from 'node:worker_threads'
import type { DirectoryListing } from '../../../../index/contract.ts'
import type { Attributes } from '../../../contract.ts'
import type { LocationIndex } from '../location-index.ts'
import { attributesOf, type DriveMemory, errorOf, type FromDrive, type IndexOrders, type IndexQuestions, type Reply } from './protocol.ts'

const ORDERS_AT_ONCE = 2_000

export interface RemoteIndex extends LocationIndex {
  /** Puts what the location delays: afterwards every row of what was done has been sent. */
  settle(): void
}

export function remoteIndex(port: MessagePort, replies: MessagePort, memory: DriveMemory): RemoteIndex {
  const sources = new Set<(isRead: boolean) => void>()
  let orders = 0

  const ask = <K extends keyof IndexQuestions>(method: K, ...args: Parameters<IndexQuestions[K]>): ReturnType<IndexQuestions[K]> => {
    orders = 0
    port.postMessage({ kind: 'question', method, args } satisfies FromDrive)
    for (;;) {
      const seen = memory.replies
      const received = receiveMessageOnPort(replies)
      if (!received) {
        memory.waitForReply(seen)
        continue
      }
      const reply = received.message as Reply
      if ('error' in reply) throw errorOf(reply.error)
      return reply.value as ReturnType<IndexQuestions[K]>
    }
  }
  const tell = <K extends keyof IndexOrders>(method: K, ...args: Parameters<IndexOrders[K]>): void => {
    port.postMessage({ kind: 'order', method, args } satisfies FromDrive)
    if (++orders > ORDERS_AT_ONCE) ask('scanToken')
  }
  const told =
    <K extends keyof IndexOrders>(method: K) =>
    (...args: Parameters<IndexOrders[K]>): void =>
      tell(method, ...args)
  const known = (plain: Attributes | undefined) => plain && attributesOf(plain)

  return {
    putNode: told('putNode'),
    putEntry: told('putEntry'),
    createEntry: told('createEntry'),
    removeEntry: told('removeEntry'),
    renameEntry: told('renameEntry'),
    updateVolume: told('updateVolume'),
    setScanState: told('setScanState'),
    markScanned: told('markScanned'),

    node: ino => known(ask('node', ino)),
    lookup: (parent, name) => known(ask('lookup', parent, name)),
    children: (parent, after, limit) =>
      ask('children', parent, after, limit).map(({ name, attributes }) => ({ name, attributes: attributesOf(attributes) })),
    links: ino => ask('links', ino),
    applyDirectory: (volume, parent, rows, since) => ask('applyDirectory', volume, parent, rows, since),
    beginListing(volume, parent, since): DirectoryListing {
      const listing = ask('beginListing', volume, parent, since)
      return {
        rows: rows => ask('listingRows', listing, rows),
        finish: () => ask('listingFinish', listing),
        cancel: () => tell('listingCancel', listing),
      }
    },
    scanToken: () => ask('scanToken'),
    *directories(volume) {
      const walk = ask('walkDirectories', volume)
      for (;;) {
        const page = ask('walkOn', walk)
        if (page.length === 0) return
        for (const attributes of page) yield attributesOf(attributes)
      }
    },
    slot: (volume, device) => ask('slot', volume, device),
    slots: () => ask('slots'),
    assignIno: (slot, key) => ask('assignIno', slot, key),
    scanState: volume => ask('scanState', volume),
    isScanned: (parent, scan) => ask('isScanned', parent, scan),

    addSource(settle) {
      sources.add(settle)
      return () => sources.delete(settle)
    },
    settle() {
      for (const source of sources) source(false)
    },
  }
}
