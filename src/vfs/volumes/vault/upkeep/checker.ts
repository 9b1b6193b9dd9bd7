/**
 * Looking for damage, and giving up what is lost.
 *
 * Owns: what is looked at: every chunk's bytes against its name, the log and the checkpoints as stored, the index against itself.
 * Must stay true: without `repair` nothing changes; a repair drops only what can't be read: bytes of a file that are lost stay an
 * error when they are read, and the rest of the file is as it was.
 */
import type { Name } from '../../../contract.ts'
import { packBlob } from '../chunks/pack-format.ts'
import type { StoredChunk } from '../index/changes.ts'
import { indexNumbers, pathsOf, problems } from '../index/inspection.ts'
import { ROOT_ID, type VaultParts } from '../parts.ts'
import type { UpkeepProgress } from './collector.ts'

export interface Damage {
  readonly kind: 'chunk' | 'log' | 'checkpoint' | 'index'
  /** One line for a person. */
  readonly message: string
  /** Of files that have lost bytes, from the vault's root; one character a byte. At most the first hundred. */
  readonly paths: readonly Name[]
  /** What a repair did about it. */
  readonly repaired?: string
}

export interface CheckOptions {
  readonly repair: boolean
  readonly signal: AbortSignal
  readonly progress: UpkeepProgress
}

const CHUNKS_AT_ONCE = 8
const PATHS_LIMIT = 100

export async function check(
  parts: VaultParts,
  logDamage: () => Pick<Damage, 'kind' | 'message'>[],
  repairLog: () => Promise<string>,
  options: CheckOptions,
): Promise<Damage[]> {
  const { repair, signal, progress } = options
  if (!parts.readOnly) parts.commits.commit('none')
  const found: Damage[] = []
  const total = indexNumbers(parts.index.database).chunks
  let done = 0
  for (let after = 0; ; ) {
    signal.throwIfAborted()
    const chunks = parts.extents.after(after, CHUNKS_AT_ONCE)
    for (const chunk of chunks) if (!isGivenUp(chunk) && !parts.chunks.isWhole(chunk)) found.push(lost(parts, chunk, repair))
    done += chunks.length
    progress(done, total)
    if (chunks.length < CHUNKS_AT_ONCE) break
    after = chunks.at(-1)!.id
    await new Promise(resolve => setImmediate(resolve))
  }
  for (const message of problems(parts.index.database)) found.push({ kind: 'index', message, paths: [] })
  const stored = logDamage()
  const repaired = repair && stored.length > 0 ? await repairLog() : undefined
  for (const damage of stored) found.push({ ...damage, paths: [], ...(repaired === undefined ? {} : { repaired }) })
  if (repair && !parts.readOnly) parts.commits.commit('none')
  return found
}

/** Given up by an earlier repair. */
function isGivenUp(chunk: StoredChunk): boolean {
  return chunk.name.length === 0
}

function lost(parts: VaultParts, chunk: StoredChunk, repair: boolean): Damage {
  const nodes = parts.extents.nodesWith(chunk.id)
  const paths = nodes.slice(0, PATHS_LIMIT).flatMap(node => pathsOf(parts.index.database, node, ROOT_ID))
  const pack = parts.extents.packName(chunk.pack)
  const where = pack ? packBlob(pack) : `pack ${chunk.pack}`
  const message = `${chunk.lengthBytes} bytes of ${nodes.length} files, at ${chunk.position} in ${where}`
  if (!repair || parts.readOnly) return { kind: 'chunk', message, paths }
  parts.recorder.chunkLost(chunk.id)
  return { kind: 'chunk', message, paths, repaired: 'given up: these bytes stay unreadable, the rest of the files is as it was' }
}
