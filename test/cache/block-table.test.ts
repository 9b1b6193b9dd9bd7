/** The table of blocks behaves like a map, whatever order things come and go in. */
import test from 'ava'
import fc from 'fast-check'
import { BlockTable, CachedObject } from '../../src/cache/blocks/block-table.ts'

test('against a map: set, replace, remove, find, list', t => {
  // Few low halves, so that chains collide and shift.
  const key = fc.record({ low: fc.integer({ min: 0, max: 40 }).map(n => (n % 3 === 0 ? 16_383 - (n % 5) : n)), high: fc.nat(3) })
  const step = fc.oneof(
    fc.record({
      kind: fc.constant('set' as const),
      key,
      segment: fc.nat(4),
      offset: fc.nat(1000),
      lengthBytes: fc.integer({ min: 1, max: 2 ** 20 }),
      heat: fc.nat(3),
    }),
    fc.record({ kind: fc.constant('remove' as const), key }),
    fc.record({ kind: fc.constant('touch' as const), key }),
  )
  fc.assert(
    fc.property(fc.array(step, { maxLength: 300 }), steps => {
      const table = new BlockTable()
      const model = new Map<string, { segment: number; offset: number; lengthBytes: number; heat: number }>()
      for (const one of steps) {
        const { low, high } = one.key
        const name = `${low}/${high}`
        if (one.kind === 'set') {
          table.set(low, high, one.segment, one.offset, one.lengthBytes, one.heat, false)
          model.set(name, { segment: one.segment, offset: one.offset, lengthBytes: one.lengthBytes, heat: one.heat })
        } else if (one.kind === 'remove') {
          table.remove(low, high)
          model.delete(name)
        } else {
          const place = table.find(low, high)
          const there = model.get(name)
          if (place >= 0 !== (there !== undefined)) return false
          if (there) {
            table.touch(place)
            there.heat = Math.min(3, there.heat + 1)
          }
        }
        if (table.count !== model.size) return false
      }
      for (const [name, expected] of model) {
        const [low, high] = name.split('/').map(Number) as [number, number]
        const place = table.find(low, high)
        if (
          place < 0 ||
          table.segmentAt(place) !== expected.segment ||
          table.offsetAt(place) !== expected.offset ||
          table.lengthAt(place) !== expected.lengthBytes
        )
          return false
      }
      for (let segment = 0; segment <= 4; segment++) {
        const listed = table.ofSegment(segment).map(block => `${block.keyLow}/${block.keyHigh} ${block.heat}`)
        const expected = [...model].filter(([, block]) => block.segment === segment).map(([name, block]) => `${name} ${block.heat}`)
        if (listed.sort().join() !== expected.sort().join()) return false
      }
      return true
    }),
    { numRuns: 300 },
  )
  t.pass()
})

test('it grows, and finds everything afterwards', t => {
  const table = new BlockTable()
  const object = new CachedObject(Buffer.from('0123456789abcdef'), 0)
  for (let i = 0; i < 100_000; i++) table.set(object.keyLow(0, i), object.keyHigh(0, i), i % 7, i, (i % 1000) + 1, 0, true)
  t.is(table.count, 100_000)
  for (let i = 0; i < 100_000; i++) {
    const place = table.find(object.keyLow(0, i), object.keyHigh(0, i))
    if (place < 0 || table.offsetAt(place) !== i) return t.fail(`block ${i}`)
  }
  table.clear()
  t.is(table.count, 0)
  t.is(table.find(object.keyLow(0, 1), object.keyHigh(0, 1)), -1)
})

test('a touch counts to fifteen and no further', t => {
  const table = new BlockTable()
  table.set(1, 2, 3, 4, 2 ** 20, 0, false)
  const place = table.find(1, 2)
  for (let i = 1; i <= 15; i++) t.is(table.touch(place), i)
  t.is(table.touch(place), 16)
  t.is(table.touchesAt(place), 15)
  t.is(table.lengthAt(place), 2 ** 20)
  t.is(table.ofSegment(3)[0]!.heat, 3)
})
