/**
 * From a passphrase to a key: Argon2id (RFC 9106, version 1.3), with what it costs.
 *
 * Owns: the bounds of the costs and how they are chosen for this machine. The costs are stored beside what the key opens, by
 * whoever stores that; what is read is checked against the bounds before anything is computed, so that a file from a stranger
 * can't ask for all the memory or for a day.
 * Must stay true: costs below the floor are never chosen, whatever the clock says; one derivation runs at a time (each takes
 * hundreds of megabytes).
 */
import { argon2, randomBytes } from 'node:crypto'
import { totalmem } from 'node:os'
import { FsError } from '../../errors.ts'
import type { Passphrase } from '../passphrase.ts'
import { KEY_BYTES, SecretKey } from '../secret-key.ts'

export const ARGON2_SALT_BYTES = 16

export interface Argon2Costs {
  readonly memoryKib: number
  readonly passes: number
  readonly lanes: number
}

/** What may be asked for by stored costs. The work is memory times passes. */
export const ARGON2_BOUNDS = {
  memoryKib: { min: 8 * 1024, max: 2 * 1024 * 1024 },
  passes: { min: 1, max: 64 },
  lanes: { min: 1, max: 16 },
  workKib: 8 * 1024 * 1024,
} as const

/** RFC 9106's choice for machines with little memory: never less than this. */
export const ARGON2_FLOOR: Argon2Costs = { memoryKib: 64 * 1024, passes: 3, lanes: 4 }
const TARGET_MS = 1000
/** More would keep the vault from being opened on a small machine. */
const MEMORY_CHOICE_KIB = 256 * 1024
const MEMORY_SHARE = 1 / 8

/** What is wrong with costs that were read, or undefined. */
export function costsProblem(costs: Argon2Costs): string | undefined {
  const { memoryKib, passes, lanes } = costs
  const within = (value: number, { min, max }: { readonly min: number; readonly max: number }) => value >= min && value <= max
  if (!within(lanes, ARGON2_BOUNDS.lanes)) return `Argon2id with ${lanes} lanes`
  if (!within(memoryKib, ARGON2_BOUNDS.memoryKib)) return `Argon2id with ${memoryKib} KiB of memory`
  if (!within(passes, ARGON2_BOUNDS.passes)) return `Argon2id with ${passes} passes`
  if (memoryKib * passes > ARGON2_BOUNDS.workKib) return `Argon2id with ${passes} passes over ${memoryKib} KiB`
  return undefined
}

/** Costs that take about a second here: as much memory as is fair, then as many passes as fit. */
export async function calibrateArgon2(
  options: { readonly measureMs: (costs: Argon2Costs) => Promise<number>; readonly totalMemoryBytes: number } = {
    measureMs,
    totalMemoryBytes: totalmem(),
  },
): Promise<Argon2Costs> {
  const { lanes } = ARGON2_FLOOR
  const fairKib = Math.floor((options.totalMemoryBytes / 1024) * MEMORY_SHARE)
  const memoryKib = Math.max(ARGON2_FLOOR.memoryKib, Math.min(MEMORY_CHOICE_KIB, fairKib))
  const passMs = await options.measureMs({ memoryKib, passes: 1, lanes })
  const least = Math.ceil((ARGON2_FLOOR.memoryKib * ARGON2_FLOOR.passes) / memoryKib)
  const most = Math.min(ARGON2_BOUNDS.passes.max, Math.floor(ARGON2_BOUNDS.workKib / memoryKib))
  const passes = Math.min(most, Math.max(least, Math.round(TARGET_MS / Math.max(passMs, 1))))
  return { memoryKib, passes, lanes }
}

let queue: Promise<unknown> = Promise.resolve()

/** The key of a passphrase. Runs in the thread pool; the caller wipes the key. Throws FsError 'invalid' for costs out of bounds. */
export function deriveKey(passphrase: Passphrase, salt: Uint8Array, costs: Argon2Costs): Promise<SecretKey> {
  const problem = costsProblem(costs)
  if (problem !== undefined) return Promise.reject(new FsError('invalid', `${problem} is out of bounds`))
  const result = queue.then(() => derive(passphrase, salt, costs))
  queue = result.catch(() => {})
  return result
}

function derive(passphrase: Passphrase, salt: Uint8Array, { memoryKib, passes, lanes }: Argon2Costs): Promise<SecretKey> {
  return new Promise((resolve, reject) => {
    passphrase.use(message =>
      // Node copies the message before this returns, and clears its copy when it is done.
      argon2(
        'argon2id',
        { message, nonce: salt, parallelism: lanes, tagLength: KEY_BYTES, memory: memoryKib, passes },
        (error: Error | null, bytes: Buffer) => {
          if (error) {
            reject(new FsError('out-of-memory', `Argon2id failed with ${memoryKib} KiB of memory: ${error.message}`))
            return
          }
          const key = new SecretKey(bytes)
          bytes.fill(0)
          resolve(key)
        },
      ),
    )
  })
}

async function measureMs(costs: Argon2Costs): Promise<number> {
  const begin = process.hrtime.bigint()
  const bytes = await new Promise<Buffer>((resolve, reject) =>
    argon2(
      'argon2id',
      {
        message: randomBytes(16),
        nonce: randomBytes(ARGON2_SALT_BYTES),
        parallelism: costs.lanes,
        tagLength: KEY_BYTES,
        memory: costs.memoryKib,
        passes: costs.passes,
      },
      (error: Error | null, key: Buffer) => (error ? reject(error) : resolve(key)),
    ),
  )
  bytes.fill(0)
  return Number(process.hrtime.bigint() - begin) / 1e6
}
