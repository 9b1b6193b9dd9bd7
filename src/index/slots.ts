/**
 * Slots: which upper part of inode numbers belongs to which filesystem of which volume; and the numbers that are given
 * out to nodes whose filesystem has none that last.
 *
 * Must stay true:
 * - A slot is durable before it is told. No two filesystems ever have the same; slots of removed volumes come back only
 *   when all numbers were used.
 * - A given-out number is never given to another key, not even after a power loss: numbers are reserved durably in
 *   blocks, and what remained of a block is skipped. (The row that says which key has it is committed with the other
 *   writes: it can be lost with the last milliseconds before a crash; then the key gets a new number.)
 * - Given-out numbers are in the upper half of a slot, so that they don't meet those of a filesystem that uses the lower.
 */
import { FsError } from '../errors.ts'
import type { Database, Statement } from '../sqlite/database.ts'
import { type Ino, SLOT_COUNT, SLOT_SIZE } from '../vfs/contract.ts'
import type { VolumeId } from './contract.ts'

/** Local numbers below it are for filesystems' own. */
export const FIRST_ASSIGNED = SLOT_SIZE / 2
const RESERVE = 4096

interface Slot {
  readonly volume: VolumeId
  readonly device: string
  /** The next local number to give out, and the first that isn't reserved. */
  next: number
  reserved: number
}

/** What this part needs of its owner: to write within the transaction, and to make it durable. */
export interface DurableWrites {
  begin(isUntold?: boolean): void
  commitDurably(): void
}

export class Slots {
  readonly #writes: DurableWrites
  /** By slot number. */
  readonly #slots: (Slot | undefined)[] = []
  readonly #byDevice = new Map<string, number>()
  /** Slots of volumes that are being removed. */
  readonly #hidden = new Set<number>()
  readonly #insert: Statement
  readonly #reserve: Statement
  readonly #assigned: Statement<number>
  readonly #assign: Statement

  constructor(database: Database, writes: DurableWrites) {
    this.#writes = writes
    this.#insert = database.prepare('INSERT INTO slots (slot, volume, device, next_local) VALUES (?, ?, ?, ?)')
    this.#reserve = database.prepare('UPDATE slots SET next_local = ? WHERE slot = ?')
    this.#assigned = database.prepare<number>('SELECT ino FROM assigned WHERE slot = ? AND key = ?').pluck()
    this.#assign = database.prepare('INSERT INTO assigned (slot, key, ino) VALUES (?, ?, ?)')
    const rows = database.prepare<[number, number, string, number, number]>(
      'SELECT s.slot, s.volume, s.device, s.next_local, coalesce(v.removed, 1) FROM slots s LEFT JOIN volumes v ON v.id = s.volume',
    )
    for (const [slot, volume, device, next, removed] of rows.raw().all()) {
      this.#remember(slot, { volume, device, next, reserved: next })
      if (removed !== 0) this.#hidden.add(slot)
    }
    const last = database.prepare<number>("SELECT seq FROM sqlite_sequence WHERE name = 'slots'").pluck().get() ?? 0
    this.#slots.length = Math.max(this.#slots.length, last + 1)
  }

  /** The volume of a node; 0 where no slot has its number. */
  volumeOf(ino: Ino): VolumeId {
    return this.#slots[Math.floor(ino / SLOT_SIZE)]?.volume ?? 0
  }

  isHidden(ino: Ino): boolean {
    return this.#hidden.size > 0 && this.#hidden.has(Math.floor(ino / SLOT_SIZE))
  }

  /** The first and the last inode number of a slot. */
  range(slot: number): { readonly first: Ino; readonly last: Ino } {
    return { first: slot * SLOT_SIZE, last: (slot + 1) * SLOT_SIZE - 1 }
  }

  slot(volume: VolumeId, device: string): number {
    const known = this.#byDevice.get(`${volume}/${device}`)
    if (known !== undefined) return known
    const slot = this.#free()
    this.#writes.begin()
    this.#insert.run(slot, volume, device, FIRST_ASSIGNED)
    this.#writes.commitDurably()
    this.#remember(slot, { volume, device, next: FIRST_ASSIGNED, reserved: FIRST_ASSIGNED })
    return slot
  }

  list(): { slot: number; volume: VolumeId; device: string }[] {
    return this.#slots.flatMap((entry, slot) =>
      entry && !this.#hidden.has(slot) ? { slot, volume: entry.volume, device: entry.device } : [],
    )
  }

  slotsOf(volume: VolumeId): number[] {
    return this.#slots.flatMap((entry, slot) => (entry?.volume === volume ? slot : []))
  }

  assignIno(slot: number, key: string): Ino {
    const entry = this.#slots[slot]
    if (!entry) throw new Error(`slot ${slot} was never given out`)
    const known = this.#assigned.get(slot, key)
    if (known !== undefined) return known
    const ino = this.freshIno(slot)
    this.#writes.begin()
    this.#assign.run(slot, key, ino)
    return ino
  }

  freshIno(slot: number): Ino {
    const entry = this.#slots[slot]
    if (!entry) throw new Error(`slot ${slot} was never given out`)
    if (entry.next === entry.reserved) {
      if (entry.reserved + RESERVE > SLOT_SIZE) throw new FsError('no-space', 'the volume has used up its inode numbers')
      this.#writes.begin()
      this.#reserve.run(entry.reserved + RESERVE, slot)
      this.#writes.commitDurably()
      entry.reserved += RESERVE
    }
    return slot * SLOT_SIZE + entry.next++
  }

  hide(volume: VolumeId): void {
    for (const slot of this.slotsOf(volume)) this.#hidden.add(slot)
  }

  /** All rows of the slot are gone, and so is the one that gave it out. */
  forget(slot: number): void {
    const entry = this.#slots[slot]
    if (entry) this.#byDevice.delete(`${entry.volume}/${entry.device}`)
    this.#slots[slot] = undefined
    this.#hidden.delete(slot)
  }

  #remember(slot: number, entry: Slot): void {
    this.#slots[slot] = entry
    this.#byDevice.set(`${entry.volume}/${entry.device}`, slot)
  }

  /** The first number never used, or else any free one. Slot 0 is the tree's own. */
  #free(): number {
    if (this.#slots.length < SLOT_COUNT) return this.#slots.length
    for (let slot = 1; slot < SLOT_COUNT; slot++) if (!this.#slots[slot]) return slot
    throw new FsError('no-space', `the library knows ${SLOT_COUNT} filesystems already`)
  }
}
