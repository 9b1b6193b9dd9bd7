/**
 * Collecting what nothing refers to: chunks without a reference, packs that are mostly dead, blobs that no commit knows.
 *
 * Owns: the order. Must stay true: a pack's file goes only after the record that says it is gone is durable; chunks of a pack that
 * goes were sealed anew in another one that is durable by then. Other work goes on between the steps: each step looks anew.
 */
import { FsError } from '../../../../errors.ts'
import { packBlob } from '../chunks/pack-format.ts'
import type { PackRow } from '../index/extents.ts'
import type { VaultParts } from '../parts.ts'

export interface Collected {
  readonly freedBytes: number
  readonly chunks: number
  readonly packs: number
  /** Bytes of living chunks that were sealed anew. */
  readonly movedBytes: number
}

export type UpkeepProgress = (done: number, total: number) => void

const CHUNKS_AT_ONCE = 500
const MOVES_AT_ONCE = 8
const COMMIT_EVERY_BYTES = 64 * 2 ** 20
/** A pack this small is joined with others. */
const SMALL_BYTES = 8 * 2 ** 20

export async function collect(parts: VaultParts, signal: AbortSignal, progress: UpkeepProgress): Promise<Collected> {
  const { commits, store, index, extents, chunks } = parts
  commits.commit('chunk')
  const sizes = new Map(store.list('packs/').map(({ name, sizeBytes }) => [name, sizeBytes]))
  const result = { freedBytes: 0, chunks: await dropDead(parts, signal), packs: 0, movedBytes: 0 }
  const active = extents.packs().find(pack => pack.id === chunks.writer.active?.id)
  if (active && isMostlyDead(active)) chunks.writer.finish()
  const packs = worthIt(extents.packs().filter(pack => pack.id !== chunks.writer.active?.id))
  let uncommitted = 0
  let gone: PackRow[] = []
  const removeGone = () => {
    commits.commit('chunk')
    for (const pack of gone) {
      const name = packBlob(pack.name)
      chunks.forgetPack(pack.id)
      store.remove(name)
      result.freedBytes += sizes.get(name) ?? 0
      result.packs++
    }
    gone = []
    uncommitted = 0
  }
  for (const [i, pack] of packs.entries()) {
    signal.throwIfAborted()
    progress(i, packs.length)
    const moved = await movePack(parts, pack, signal)
    if (moved === undefined) continue
    result.movedBytes += moved
    result.freedBytes -= moved
    uncommitted += moved
    parts.recorder.packGone(pack.id)
    gone.push(pack)
    if (uncommitted > COMMIT_EVERY_BYTES) removeGone()
  }
  removeGone()
  progress(packs.length, packs.length)
  // Begun, and never committed: the process ended before.
  const known = new Set(index.extents.packs().map(pack => packBlob(pack.name)))
  for (const { name, sizeBytes } of store.list('packs/')) {
    if (known.has(name)) continue
    store.remove(name)
    result.freedBytes += sizeBytes
  }
  return result
}

/** Bytes of chunks that nothing refers to, and of those that are gone from their packs already. */
export function deadBytes(parts: VaultParts): { readonly dead: number; readonly stored: number } {
  let stored = 0
  let dead = parts.extents.deadStoredBytes()
  for (const pack of parts.extents.packs()) {
    stored += pack.total
    dead += pack.total - pack.live
  }
  return { dead, stored }
}

async function dropDead(parts: VaultParts, signal: AbortSignal): Promise<number> {
  let count = 0
  for (;;) {
    signal.throwIfAborted()
    const dead = parts.extents.dead(0, CHUNKS_AT_ONCE)
    for (const { id } of dead) parts.recorder.chunkGone(id)
    count += dead.length
    if (dead.length < CHUNKS_AT_ONCE) return count
    parts.commits.settle()
    await pause()
  }
}

/** Dead by half, or small while there are other small ones. */
function worthIt(packs: readonly PackRow[]): PackRow[] {
  const small = packs.filter(pack => pack.live < SMALL_BYTES)
  return packs.filter(pack => isMostlyDead(pack) || (small.length > 8 && pack.live < SMALL_BYTES))
}

function isMostlyDead(pack: PackRow): boolean {
  return pack.live * 2 <= pack.total
}

/** Seals what lives in a pack anew; answers the bytes, or undefined where the pack has to stay. */
async function movePack(parts: VaultParts, pack: PackRow, signal: AbortSignal): Promise<number | undefined> {
  const { extents, chunks, recorder } = parts
  let moved = 0
  for (;;) {
    signal.throwIfAborted()
    const living = extents.inPack(pack.id, 0, MOVES_AT_ONCE)
    if (living.length === 0) return moved
    for (const chunk of living) {
      try {
        const body = chunks.body(chunk)
        const { pack: to, position } = chunks.writer.add(chunk.id, chunk.name, chunk.lengthBytes, chunk.form, body)
        recorder.chunkMoved(chunk.id, to, position)
        moved += chunk.storedBytes
      } catch (error) {
        // What is damaged stays where it is, for a repair to find.
        if (error instanceof FsError && (error.kind === 'damaged' || error.kind === 'not-found')) return undefined
        throw error
      }
    }
    parts.commits.settle()
    await pause()
  }
}

function pause(): Promise<void> {
  return new Promise(resolve => setImmediate(resolve))
}
