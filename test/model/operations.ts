/**
 * What the model tests do: operations as data, drawn from a seed.
 *
 * Owns: the operations and how they are drawn: few names, so that they meet; small files, with positions around the sizes
 * at which volumes change their ways (a page, a block of a cache, a chunk).
 */
import { RENAME_EXCHANGE, RENAME_NOREPLACE } from '../../src/vfs/contract.ts'
import type { SeededRandom } from '../support/random.ts'

export type Operation =
  | {
      readonly op: 'open'
      readonly slot: number
      readonly path: string
      readonly how: readonly ('create' | 'exclusive' | 'truncate' | 'append')[]
    }
  | { readonly op: 'close' | 'fsync' | 'fstat'; readonly slot: number }
  | { readonly op: 'write'; readonly slot: number; readonly position: number; readonly length: number; readonly fill: number }
  | { readonly op: 'read'; readonly slot: number; readonly position: number; readonly length: number }
  | { readonly op: 'truncate'; readonly slot: number; readonly size: number }
  | { readonly op: 'allocate'; readonly slot: number; readonly mode: number; readonly offset: number; readonly length: number }
  | {
      readonly op: 'copy'
      readonly from: number
      readonly offset: number
      readonly to: number
      readonly target: number
      readonly length: number
    }
  | { readonly op: 'mkdir' | 'rmdir' | 'unlink' | 'readlink' | 'stat' | 'list' | 'listxattr'; readonly path: string }
  | { readonly op: 'symlink'; readonly path: string; readonly target: string }
  | { readonly op: 'link'; readonly path: string; readonly to: string }
  | { readonly op: 'rename'; readonly path: string; readonly to: string; readonly flags: number }
  | { readonly op: 'chmod'; readonly path: string; readonly mode: number }
  | { readonly op: 'setxattr'; readonly path: string; readonly name: string; readonly value: string; readonly flags: number }
  | { readonly op: 'getxattr' | 'removexattr'; readonly path: string; readonly name: string }

export const SLOTS = 4
export const FALLOC_KEEP_SIZE = 1
export const FALLOC_PUNCH_HOLE = 2

/** The bytes that a write writes. */
export function bytesOf(length: number, fill: number): Buffer {
  const bytes = Buffer.alloc(length)
  for (let i = 0; i < length; i++) bytes[i] = (fill + i * 31 + (i >> 8)) & 0xff
  return bytes
}

const NAMES = ['a', 'b', 'c', 'd', '\xff\xfe', 'x'.repeat(255)]
const EDGES = [0, 1, 100, 4095, 4096, 4097, 65_535, 65_536, 131_072, 200_000]
const XATTRS = ['user.a', 'user.b', `user.${'n'.repeat(200)}`]

export interface DrawOptions {
  readonly hardLinks: boolean
}

/** The next operation. */
export function draw(random: SeededRandom, { hardLinks }: DrawOptions): Operation {
  const slot = random.below(SLOTS)
  const path = () => Array.from({ length: 1 + random.below(3) }, () => random.pick(NAMES)).join('/')
  const at = () => Math.max(0, random.pick(EDGES) + random.below(3) * random.below(5000))
  const length = () => random.pick([0, 1, 10, 4096, 5000, 40_000, 140_000])
  const kinds: readonly [number, () => Operation][] = [
    [14, () => ({ op: 'open', slot, path: path(), how: openFlags(random) })],
    [5, () => ({ op: 'close', slot })],
    [1, () => ({ op: 'fsync', slot })],
    [4, () => ({ op: 'fstat', slot })],
    [20, () => ({ op: 'write', slot, position: at(), length: length(), fill: random.below(256) })],
    [10, () => ({ op: 'read', slot, position: at(), length: length() })],
    [5, () => ({ op: 'truncate', slot, size: at() })],
    [
      3,
      () => ({
        op: 'allocate',
        slot,
        mode: random.pick([0, FALLOC_KEEP_SIZE, FALLOC_KEEP_SIZE | FALLOC_PUNCH_HOLE]),
        offset: at(),
        length: 1 + length(),
      }),
    ],
    [3, () => ({ op: 'copy', from: slot, offset: at(), to: random.below(SLOTS), target: at(), length: length() })],
    [8, () => ({ op: 'mkdir', path: path() })],
    [3, () => ({ op: 'rmdir', path: path() })],
    [5, () => ({ op: 'unlink', path: path() })],
    [3, () => ({ op: 'symlink', path: path(), target: `nowhere/${random.below(10)}` })],
    [1, () => ({ op: 'readlink', path: path() })],
    [hardLinks ? 4 : 0, () => ({ op: 'link', path: path(), to: path() })],
    [10, () => ({ op: 'rename', path: path(), to: path(), flags: random.pick([0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE]) })],
    [6, () => ({ op: 'stat', path: path() })],
    [4, () => ({ op: 'list', path: path() })],
    [2, () => ({ op: 'chmod', path: path(), mode: 0o700 | random.below(0o100) })],
    [
      3,
      () => ({
        op: 'setxattr',
        path: path(),
        name: random.pick(XATTRS),
        value: 'v'.repeat(random.below(300)),
        flags: random.pick([0, 0, 1, 2]),
      }),
    ],
    [1, () => ({ op: 'getxattr', path: path(), name: random.pick(XATTRS) })],
    [1, () => ({ op: 'removexattr', path: path(), name: random.pick(XATTRS) })],
    [1, () => ({ op: 'listxattr', path: path() })],
  ]
  let left = random.below(kinds.reduce((sum, [weight]) => sum + weight, 0))
  for (const [weight, make] of kinds) if ((left -= weight) < 0) return make()
  throw new Error('the weights add up')
}

function openFlags(random: SeededRandom) {
  const how: ('create' | 'exclusive' | 'truncate' | 'append')[] = []
  if (random.below(4) > 0) how.push('create')
  if (how.length > 0 && random.below(5) === 0) how.push('exclusive')
  if (random.below(5) === 0) how.push('truncate')
  if (random.below(5) === 0) how.push('append')
  return how
}
