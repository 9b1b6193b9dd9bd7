/**
 * Stored properties that go along, or go.
 * Owns: asking first. Must stay true: a file that has none (nearly every one) costs a look, not a commit.
 */
import type { PropertyStore } from '../../index/property-store.ts'
import type { Ino } from '../../vfs/contract.ts'

/** Gives a new node what another one has. */
export async function carryProperties(store: PropertyStore, from: Ino, to: Ino): Promise<void> {
  const stored = (await store.read([from])).get(from)
  if (stored) await store.change(to, stored)
}

/** The node is gone. */
export async function dropProperties(store: PropertyStore, ino: Ino): Promise<void> {
  if ((await store.read([ino])).has(ino)) await store.remove(ino)
}
