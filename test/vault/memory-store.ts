/**
 * A store in memory that remembers each write and sync, so that what a crash leaves can be made at every moment.
 *
 * Owns: blobs and the list of events. `after` makes the store that a crash leaves: what was synced is there; of the rest nothing,
 * all, or any part of it with zeros between, as the disk likes; names and removals that weren't synced likewise.
 */
import { FsError } from '../../src/errors.ts'
import type { AppendBlob, StoredBlob, StoreSpace, VaultStore } from '../../src/vfs/volumes/vault/store/contract.ts'
import type { SeededRandom } from '../support/random.ts'

export type StoreEvent =
  | { readonly kind: 'create' | 'sync' | 'remove'; readonly name: string }
  | { readonly kind: 'append' | 'put'; readonly name: string; readonly bytes: Buffer }

const SECTOR_BYTES = 512

export class MemoryStore implements VaultStore {
  readonly blobs: Map<string, Buffer>
  readonly events: StoreEvent[] = []
  onEvent: () => void = () => {}
  /** Whether an event fails, as a disk does: an append that fails has put half of its bytes there, a sync all of them. */
  fails: (event: StoreEvent) => boolean = () => false

  constructor(blobs = new Map<string, Buffer>()) {
    this.blobs = blobs
  }

  list(prefix: string): StoredBlob[] {
    return [...this.blobs].filter(([name]) => name.startsWith(prefix)).map(([name, bytes]) => ({ name, sizeBytes: bytes.length }))
  }

  create(name: string): AppendBlob {
    if (this.blobs.has(name)) throw new FsError('exists', name)
    this.#note({ kind: 'create', name })
    this.blobs.set(name, Buffer.alloc(0))
    const store = this
    let sizeBytes = 0
    return {
      get sizeBytes() {
        return sizeBytes
      },
      append(bytes) {
        const event = { kind: 'append', name, bytes: Buffer.from(bytes) } as const
        const before = store.blobs.get(name)!.subarray(0, sizeBytes)
        const isFailing = store.fails(event)
        store.blobs.set(name, Buffer.concat([before, isFailing ? bytes.subarray(0, bytes.length >> 1) : bytes]))
        if (isFailing) throw new FsError('no-space', 'the disk is full')
        sizeBytes += bytes.length
        store.#note(event)
      },
      sync() {
        if (store.fails({ kind: 'sync', name })) throw new FsError('io', 'the disk failed')
        store.#note({ kind: 'sync', name })
      },
      syncSoon() {},
      close() {},
    }
  }

  put(name: string, bytes: Uint8Array): void {
    this.#note({ kind: 'put', name, bytes: Buffer.from(bytes) })
    this.blobs.set(name, Buffer.from(bytes))
  }

  read(name: string, position: number, into: Uint8Array): number {
    const bytes = this.blobs.get(name)
    if (!bytes) throw new FsError('not-found', name)
    const part = bytes.subarray(position, position + into.byteLength)
    into.set(part)
    return part.length
  }

  remove(name: string): void {
    if (!this.blobs.has(name)) return
    this.#note({ kind: 'remove', name })
    this.blobs.delete(name)
  }

  space(): StoreSpace {
    return { totalBytes: 2 ** 40, freeBytes: 2 ** 39, availableBytes: 2 ** 39 }
  }

  close(): void {}

  #note(event: StoreEvent): void {
    this.events.push(event)
    this.onEvent()
  }
}

/** What a crash after the first `count` events leaves; without `random` the process was killed and the disk got everything. */
export function storeAfter(events: readonly StoreEvent[], count: number, random: SeededRandom | undefined): MemoryStore {
  const blobs = new Map<string, Buffer>()
  const safe = new Map<string, number>()
  const removed = new Map<string, Buffer>()
  for (const event of events.slice(0, count)) {
    const { name } = event
    if (event.kind === 'create') blobs.set(name, Buffer.alloc(0))
    else if (event.kind === 'append') blobs.set(name, Buffer.concat([blobs.get(name)!, event.bytes]))
    // A pack that was collected may still be synced once.
    else if (event.kind === 'sync') safe.set(name, blobs.get(name)?.length ?? 0)
    else if (event.kind === 'put') {
      blobs.set(name, event.bytes)
      safe.set(name, event.bytes.length)
    } else {
      if (safe.has(name)) removed.set(name, blobs.get(name)!.subarray(0, safe.get(name)))
      blobs.delete(name)
      safe.delete(name)
    }
  }
  if (!random) return new MemoryStore(blobs)
  for (const [name, bytes] of removed) if (random.below(2) === 0) blobs.set(name, Buffer.from(bytes))
  for (const [name, bytes] of [...blobs]) {
    if (removed.has(name)) continue
    const kept = safe.get(name)
    if (kept === undefined && random.below(3) === 0) blobs.delete(name)
    else blobs.set(name, unsyncedTail(bytes, kept ?? 0, random))
  }
  return new MemoryStore(blobs)
}

function unsyncedTail(bytes: Buffer, kept: number, random: SeededRandom): Buffer {
  const fate = random.below(4)
  if (fate === 0) return Buffer.from(bytes.subarray(0, kept))
  if (fate === 1) return Buffer.from(bytes)
  const end = kept + random.below(bytes.length - kept + 1)
  const left = Buffer.from(bytes.subarray(0, fate === 2 ? end : bytes.length))
  if (fate === 3) {
    // Some sectors never got there; a sector is all or nothing, beginning behind what is safe.
    for (let at = Math.ceil(kept / SECTOR_BYTES) * SECTOR_BYTES; at < left.length; at += SECTOR_BYTES)
      if (random.below(2) === 0) left.fill(0, at, Math.min(at + SECTOR_BYTES, left.length))
  }
  return left
}
