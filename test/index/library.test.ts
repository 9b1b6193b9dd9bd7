/**
 * The small tables: volumes, slots, given-out numbers, settings, properties.
 */
import test from 'ava'
import { errorKind } from '../../src/errors.ts'
import { openIndex } from '../../src/index/open-index.ts'
import { silentLog } from '../../src/log.ts'
import { SLOT_SIZE } from '../../src/vfs/contract.ts'
import { closeQuietly, directoryOf, fileOf, HeldScheduler, KEY, killedCopy, temporaryDirectory, testIndex } from './support.ts'

test('volumes are kept as they were added and updated, also by a process that is killed', t => {
  const { index, directory, volume } = testIndex(t)
  const second = index.addVolume('cloud', 'caf\xc3\xa9 \xff', { bucket: 'photos', nested: { a: [1, 'x'] } })
  index.updateVolume(volume, { path: '/elsewhere' })
  const again = openIndex({ directory: killedCopy(t, directory), key: KEY, log: silentLog })
  t.teardown(() => closeQuietly(again))
  t.deepEqual(again.volumes(), index.volumes())
  t.deepEqual(again.volumes()[1], second)
  t.deepEqual(again.volumes()[0]!.settings, { path: '/elsewhere' })
})

test('a name is given to one volume at a time', t => {
  const { index, volume } = testIndex(t)
  t.is(errorKind(t.throws(() => index.addVolume('cloud', 'Documents', {}))), 'exists')
  void index.removeVolume(volume)
  t.notThrows(() => index.addVolume('cloud', 'Documents', {}))
})

test('a removed volume is gone at once, its rows soon after, those of others stay', async t => {
  const { index, directory, volume, base, root, scheduler } = testIndex(t)
  const other = index.addVolume('location', 'Pictures', {}).id
  const otherRoot = index.slot(other, '') * SLOT_SIZE + 2
  index.putNode(other, directoryOf(otherRoot))
  index.createEntry(other, otherRoot, 'stays', fileOf(otherRoot + 1))
  for (let i = 0; i < 2000; i++) index.createEntry(volume, root, `f${i}`, fileOf(base + 10 + i))
  index.assignIno(Math.floor(base / SLOT_SIZE), 'key')
  const removed = index.removeVolume(volume)
  t.deepEqual(
    index.volumes().map(record => record.name),
    ['Pictures'],
  )
  t.is(index.node(base + 10), undefined)
  t.is(index.lookup(root, 'f1'), undefined)
  t.deepEqual(index.children(root, undefined, 10), [])
  t.is(index.pathOf(base + 10), undefined)
  t.is(index.entryCount(volume), 0)
  t.deepEqual(
    index.slots().map(slot => slot.volume),
    [other],
  )
  // A process that dies now leaves the rest to the next.
  const copy = killedCopy(t, directory)
  scheduler.settle()
  await removed
  t.is(index.size().nodes, 2)
  t.is(index.size().entries, 1)
  t.truthy(index.lookup(otherRoot, 'stays'))
  t.deepEqual([...index.problems()], [])
  const next = new HeldScheduler()
  const again = openIndex({ directory: copy, key: KEY, log: silentLog, scheduler: next })
  t.teardown(() => closeQuietly(again))
  t.is(again.node(base + 10), undefined)
  next.settle()
  t.is(again.size().nodes, 2)
  t.deepEqual([...again.problems()], [])
})

test('who waits for the rows of a removed volume goes on when the index closes', async t => {
  const { index, volume } = testIndex(t)
  const removed = index.removeVolume(volume)
  index.close()
  await t.notThrowsAsync(removed)
})

test('slots are the same for ever, and never two for one', t => {
  const { index, directory, volume } = testIndex(t)
  const slots = ['', 'ext4:1234', 'vfat:99'].map(device => index.slot(volume, device))
  t.is(new Set(slots).size, 3)
  t.deepEqual(
    ['', 'ext4:1234', 'vfat:99'].map(device => index.slot(volume, device)),
    slots,
  )
  const again = openIndex({ directory: killedCopy(t, directory), key: KEY, log: silentLog })
  t.teardown(() => closeQuietly(again))
  t.deepEqual(
    ['', 'ext4:1234', 'vfat:99'].map(device => again.slot(volume, device)),
    slots,
  )
  t.deepEqual(
    again.slots().map(slot => slot.slot),
    slots,
  )
  t.throws(() => index.slot(99, ''), { message: /no volume/ })
})

test('the slot of a removed volume is not given out again, over restarts neither', async t => {
  const { index, directory, volume, base, scheduler } = testIndex(t)
  const removed = index.removeVolume(volume)
  scheduler.settle()
  await removed
  index.close()
  const again = openIndex({ directory, key: KEY, log: silentLog })
  t.teardown(() => closeQuietly(again))
  const next = again.addVolume('location', 'Next', {}).id
  t.true(again.slot(next, '') > base / SLOT_SIZE)
})

test('a key has its number for ever, and a number one key, also after a crash that lost the last rows', t => {
  const { index, directory, base } = testIndex(t)
  const slot = base / SLOT_SIZE
  const first = index.assignIno(slot, 'a')
  t.is(index.assignIno(slot, 'a'), first)
  t.true(first >= base + SLOT_SIZE / 2 && first < base + SLOT_SIZE)
  // What is there now doesn't have the row of "b" yet: its transaction is open.
  const copy = killedCopy(t, directory)
  const lost = index.assignIno(slot, 'b')
  t.not(lost, first)
  index.flush('process')
  const again = openIndex({ directory: copy, key: KEY, log: silentLog })
  t.teardown(() => closeQuietly(again))
  t.false([first, lost].includes(again.assignIno(slot, 'c')))
  const kept = openIndex({ directory: killedCopy(t, directory), key: KEY, log: silentLog })
  t.teardown(() => closeQuietly(kept))
  t.is(kept.assignIno(slot, 'a'), first)
  t.is(kept.assignIno(slot, 'b'), lost)
  const many = new Set(Array.from({ length: 10_000 }, (_, i) => kept.assignIno(slot, `key ${i}`)))
  t.is(many.size, 10_000)
})

test('settings last', t => {
  const { index, directory } = testIndex(t)
  t.is(index.setting('a'), undefined)
  index.setSetting('a', '1')
  index.setSetting('a', 'zwei \u{1f600}')
  const again = openIndex({ directory: killedCopy(t, directory), key: KEY, log: silentLog })
  t.teardown(() => closeQuietly(again))
  t.is(again.setting('a'), 'zwei \u{1f600}')
})

test('properties of nodes: kept byte for byte, copied, and gone with the node', t => {
  const { directory, volume, base, root, scheduler, index: first } = testIndex(t)
  first.createEntry(volume, root, 'f', fileOf(base + 10))
  first.createEntry(volume, root, 'g', fileOf(base + 11))
  first.close()
  const index = openIndex({ directory, key: KEY, log: silentLog, scheduler })
  t.teardown(() => closeQuietly(index))
  const { properties } = index
  properties.change(
    base + 10,
    new Map([
      ['{DAV:}a', '<a/>'],
      ['{}b', 'zwei'],
    ]),
  )
  properties.change(
    base + 10,
    new Map([
      ['{DAV:}a', '<a>1</a>'],
      ['{}none', undefined],
    ]),
  )
  properties.copy(base + 10, base + 11)
  properties.change(base + 11, new Map([['{}b', undefined]]))
  const read = (from: typeof index) => from.properties.read([base + 10, base + 11, base + 12])
  t.deepEqual(
    read(index),
    new Map([
      [
        base + 10,
        new Map([
          ['{DAV:}a', '<a>1</a>'],
          ['{}b', 'zwei'],
        ]),
      ],
      [base + 11, new Map([['{DAV:}a', '<a>1</a>']])],
    ]),
  )
  const killed = openIndex({ directory: killedCopy(t, directory), key: KEY, log: silentLog })
  t.teardown(() => closeQuietly(killed))
  t.deepEqual(read(killed), read(index))
  killed.removeEntry(volume, root, 'f')
  killed.createEntry(volume, root, 'new', fileOf(base + 11))
  killed.flush('process')
  t.deepEqual(read(killed), new Map())
  properties.remove(base + 10)
  t.deepEqual(
    [...(index.properties.read([base + 10, base + 11]) as Map<number, unknown>)].map(([ino]) => ino),
    [base + 11],
  )
})

test('a directory of its own for each index', t => {
  const one = temporaryDirectory(t)
  const two = temporaryDirectory(t)
  const a = openIndex({ directory: one, key: KEY, log: silentLog })
  const b = openIndex({ directory: two, key: Buffer.alloc(32, 9), log: silentLog })
  a.setSetting('x', 'a')
  b.setSetting('x', 'b')
  t.is(a.setting('x'), 'a')
  a.close()
  b.close()
})
