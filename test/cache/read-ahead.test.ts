/** How far ahead is fetched: streams grow, random reads stay small, and never more than twice of what was read goes to waste. */
import test from 'ava'
import fc from 'fast-check'
import { DEFAULT_READ_AHEAD, ReadAhead } from '../../src/cache/reading/read-ahead.ts'

const KIB = 1024
const MIB = 2 ** 20
const GIB = 2 ** 30

test('a stream from the beginning grows up to the window, in several ranges', t => {
  const policy = new ReadAhead(10 * GIB)
  let ahead = 0
  let largestRange = 0
  for (let position = 0; position < 200 * MIB; position += 128 * KIB) {
    const advice = policy.advise(position, 128 * KIB)
    t.true(advice.demandEnd >= position + 128 * KIB)
    ahead = Math.max(ahead, advice.aheadEnd)
    largestRange = Math.max(largestRange, advice.rangeBytes)
    t.true(ahead - position <= DEFAULT_READ_AHEAD.windowBytes + DEFAULT_READ_AHEAD.rangeBytes + 128 * KIB)
  }
  t.is(largestRange, 4 * MIB)
  t.true(ahead >= 200 * MIB + DEFAULT_READ_AHEAD.windowBytes / 2)
})

test('the first read of a file fetches no more than a little', t => {
  const advice = new ReadAhead(GIB).advise(0, 4096)
  t.true(advice.aheadEnd <= 256 * KIB)
  t.is(new ReadAhead(5000).advise(0, 4096).demandEnd, 5000)
})

test('random reads fetch the smallest block and nothing ahead', t => {
  const policy = new ReadAhead(10 * GIB)
  for (let i = 1; i < 1000; i++) {
    const position = ((i * 7919) % 2000) * 5 * MIB + 4096
    const advice = policy.advise(position, 4096)
    t.is(advice.demandEnd, Math.ceil((position + 4096) / 16_384) * 16_384)
    t.is(advice.aheadEnd, advice.demandEnd)
  }
})

test('reads that come a little out of order are one stream', t => {
  const policy = new ReadAhead(10 * GIB)
  let ahead = 0
  policy.advise(0, 128 * KIB)
  for (let i = 1; i < 400; i += 2)
    for (const turn of [i + 1, i]) ahead = Math.max(ahead, policy.advise(turn * 128 * KIB, 128 * KIB).aheadEnd)
  t.true(ahead > 60 * MIB)
})

test('a stream in the middle of a file begins small', t => {
  const policy = new ReadAhead(10 * GIB)
  t.is(policy.advise(5 * GIB + 4096, 4096).aheadEnd, 5 * GIB + 16 * KIB)
  t.true(policy.advise(5 * GIB + 8192, 4096).aheadEnd <= 5 * GIB + 48 * KIB)
})

test('whatever is read: advice covers it, stays inside the file, and wastes at most as promised', t => {
  const step = fc.record({ jump: fc.boolean(), to: fc.nat(1000), length: fc.integer({ min: 1, max: 300_000 }) })
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 100 * MIB }), fc.array(step, { maxLength: 60 }), (size, steps) => {
      const policy = new ReadAhead(size)
      let position = 0
      let streamBytes = 0
      for (const { jump, to, length } of steps) {
        if (jump || position >= size) {
          position = Math.floor((size * to) / 1001)
          streamBytes = 0
        }
        const end = Math.min(size, position + length)
        const { demandEnd, aheadEnd, rangeBytes } = policy.advise(position, length)
        streamBytes += end - position
        if (demandEnd < end || aheadEnd < demandEnd || aheadEnd > size) return false
        if (2 ** Math.round(Math.log2(rangeBytes)) !== rangeBytes || rangeBytes < 16_384) return false
        // A jump that lands near the stream is taken for a part of it, so its bytes may count twice.
        if (aheadEnd - end > Math.max(DEFAULT_READ_AHEAD.firstBytes, 4 * (streamBytes + 512 * KIB)) + rangeBytes) return false
        position = end
      }
      return true
    }),
  )
  t.pass()
})
