/** Cuts by content: vectors that never change, bounds, and that an insertion moves few cuts. */
import { createCipheriv, createHash } from 'node:crypto'
import test from 'ava'
import fc from 'fast-check'
import { ChunkCutter, LARGEST_CHUNK_BYTES, LEAST_CHUNK_BYTES } from '../../src/cache/content/chunk-cutter.ts'
import { SecretKey } from '../../src/crypto/secret-key.ts'

/** Bytes that look random and are the same everywhere. */
function stream(length: number, seed = 0): Buffer {
  const key = createHash('sha256').update(`chunk cutter ${seed}`).digest()
  return createCipheriv('aes-256-ctr', key, Buffer.alloc(16)).update(Buffer.alloc(length))
}

function cuts(cutter: ChunkCutter, bytes: Buffer): number[] {
  const lengths: number[] = []
  for (let at = 0; at < bytes.length; ) {
    const length = cutter.cut(bytes, at, bytes.length)
    lengths.push(length)
    at += length
  }
  return lengths
}

const cutter = new ChunkCutter(new SecretKey(Buffer.alloc(32, 7)))

const VECTOR = [295_408, 316_279, 403_617, 339_983, 189_888, 301_744, 385_954, 274_077, 452_202, 346_456, 78_834, 370_406, 144_416, 100_736]

test('vectors', t => {
  t.deepEqual(cuts(cutter, stream(4_000_000)), VECTOR)
  t.deepEqual(cuts(cutter, Buffer.alloc(2_500_000)), [LARGEST_CHUNK_BYTES, LARGEST_CHUNK_BYTES, 2_500_000 - 2 * LARGEST_CHUNK_BYTES])
})

test('another key cuts elsewhere', t => {
  t.notDeepEqual(cuts(new ChunkCutter(new SecretKey(Buffer.alloc(32, 8))), stream(4_000_000)), VECTOR)
})

test('an insertion at the front moves the first cuts only', t => {
  const bytes = stream(16_000_000, 1)
  const names = (all: Buffer) => {
    let at = 0
    return cuts(cutter, all).map(length =>
      createHash('sha1')
        .update(all.subarray(at, (at += length)))
        .digest('hex'),
    )
  }
  const before = new Set(names(bytes))
  const after = names(Buffer.concat([Buffer.from('one line more\n'), bytes]))
  const added = after.filter(name => !before.has(name))
  t.true(added.length <= 4, `${added.length} of ${after.length} chunks are new`)
})

test('lengths add up and keep their bounds; what follows a cut has no part in it', t => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 3_000_000 }),
      fc.integer({ min: 0, max: 1000 }),
      fc.integer({ min: 0, max: 5000 }),
      (length, seed, before) => {
        const bytes = stream(length + before, seed)
        const found = cutter.cut(bytes, before, bytes.length)
        if (found < 1 || found > Math.min(length, LARGEST_CHUNK_BYTES)) return false
        if (found < length && found < LEAST_CHUNK_BYTES) return false
        // The same bytes elsewhere are cut alike, whatever comes behind.
        const moved = Buffer.concat([bytes.subarray(before, before + found), stream(LARGEST_CHUNK_BYTES, seed + 1)])
        return found === length || cutter.cut(moved, 0, moved.length) === found
      },
    ),
    { numRuns: 40 },
  )
  t.pass()
})
