/**
 * A directory as somebody listed it against what is stored, and against what changed since it was read.
 */
import test from 'ava'
import type { DirectoryDifference, ScanRow } from '../../src/index/contract.ts'
import type { Attributes, Name } from '../../src/vfs/contract.ts'
import { directoryOf, fileOf, type TestIndex, testIndex } from './support.ts'

function names({ index, root }: TestIndex, parent = root): Name[] {
  return index.children(parent, undefined, 1_000_000).map(child => child.name)
}

function rows(...list: [Name, Attributes][]): ScanRow[] {
  return list.map(([name, attributes]) => ({ name, attributes }))
}

function isEmpty(difference: DirectoryDifference): boolean {
  const { added, changed, removed, moved, stale } = difference
  return !stale && added.length + changed.length + removed.length + moved.length === 0
}

test('differences are written and told, once', t => {
  const made = testIndex(t)
  const { index, volume, base, root } = made
  const first = rows(['a', fileOf(base + 10)], ['b', fileOf(base + 11)], ['d', directoryOf(base + 12)])
  t.deepEqual(index.applyDirectory(volume, root, first, index.scanToken()).added, ['a', 'b', 'd'])
  t.true(isEmpty(index.applyDirectory(volume, root, first, index.scanToken())))
  const second = rows(
    ['a', fileOf(base + 10, { sizeBytes: 99 })],
    ['b', fileOf(base + 13)],
    ['d', directoryOf(base + 12)],
    ['e', fileOf(base + 14)],
  )
  const difference = index.applyDirectory(volume, root, second, index.scanToken())
  t.deepEqual(difference.added, ['b', 'e'])
  t.deepEqual(difference.changed, [base + 10])
  t.deepEqual(difference.removed, [{ name: 'b', ino: base + 11 }])
  t.true(isEmpty(index.applyDirectory(volume, root, second, index.scanToken())))
  t.deepEqual(names(made), ['a', 'b', 'd', 'e'])
  t.is(index.entryCount(volume), 4)
  t.deepEqual([...index.problems()], [])
})

test('the access time alone is no difference', t => {
  const { index, volume, base, root } = testIndex(t)
  index.applyDirectory(volume, root, rows(['a', fileOf(base + 10)]), index.scanToken())
  t.true(isEmpty(index.applyDirectory(volume, root, rows(['a', fileOf(base + 10, { atimeSec: 5, atimeNsec: 6 })]), index.scanToken())))
})

test('names that swapped their nodes keep them', t => {
  const { index, volume, base, root } = testIndex(t)
  index.applyDirectory(volume, root, rows(['a', directoryOf(base + 10)], ['b', directoryOf(base + 11)]), index.scanToken())
  index.createEntry(volume, base + 10, 'f', fileOf(base + 12))
  index.markScanned(base + 10, 1)
  const swapped = rows(['a', directoryOf(base + 11)], ['b', directoryOf(base + 10)])
  index.applyDirectory(volume, root, swapped, index.scanToken())
  t.is(index.pathOf(base + 12), 'b/f')
  t.true(index.isScanned(base + 10, 1))
  t.is(index.size().nodes, 4)
})

test('a directory renamed within its directory, its old name given to another: in either order of the rows', t => {
  for (const order of [
    [0, 1],
    [1, 0],
  ]) {
    const made = testIndex(t)
    const { index, volume, base, root } = made
    index.applyDirectory(volume, root, rows(['a', directoryOf(base + 10)]), index.scanToken())
    index.createEntry(volume, base + 10, 'f', fileOf(base + 11))
    const list = rows(['b', directoryOf(base + 10)], ['a', directoryOf(base + 12)])
    index.applyDirectory(volume, root, [list[order[0]!]!, list[order[1]!]!], index.scanToken())
    t.deepEqual(names(made), ['a', 'b'])
    t.is(index.pathOf(base + 11), 'b/f')
    t.is(index.lookup(root, 'a')!.ino, base + 12)
    t.is(index.entryCount(volume), 3)
    t.deepEqual([...index.problems()], [])
  }
})

test('a row of a node whose number went to one of another type since is passed over', t => {
  const made = testIndex(t)
  const { index, volume, base, root } = made
  const since = index.scanToken()
  index.createEntry(volume, root, 'directory', directoryOf(base + 10))
  t.true(isEmpty(index.applyDirectory(volume, root, rows(['file', fileOf(base + 10)]), since)))
  t.deepEqual(names(made), ['directory'])
})

test('a directory found elsewhere has moved, with what is below it', t => {
  const { index, volume, base, root } = testIndex(t)
  index.applyDirectory(volume, root, rows(['a', directoryOf(base + 10)], ['b', directoryOf(base + 11)]), index.scanToken())
  index.applyDirectory(volume, base + 10, rows(['d', directoryOf(base + 12)]), index.scanToken())
  index.applyDirectory(volume, base + 12, rows(['f', fileOf(base + 13)]), index.scanToken())
  const difference = index.applyDirectory(volume, base + 11, rows(['e', directoryOf(base + 12)]), index.scanToken())
  t.deepEqual(difference.moved, [{ parent: base + 10, name: 'd', ino: base + 12 }])
  t.is(index.pathOf(base + 13), 'b/e/f')
  t.true(isEmpty(index.applyDirectory(volume, base + 10, [], index.scanToken())))
})

test('a file made through the tree since is not removed by the older listing', t => {
  const made = testIndex(t)
  const { index, volume, base, root } = made
  const since = index.scanToken()
  index.createEntry(volume, root, 'new', fileOf(base + 10))
  t.true(isEmpty(index.applyDirectory(volume, root, [], since)))
  t.deepEqual(names(made), ['new'])
  t.deepEqual(index.applyDirectory(volume, root, [], index.scanToken()).removed, [{ name: 'new', ino: base + 10 }])
})

test('a file removed through the tree since is not brought back', t => {
  const made = testIndex(t)
  const { index, volume, base, root } = made
  index.createEntry(volume, root, 'old', fileOf(base + 10))
  const since = index.scanToken()
  index.removeEntry(volume, root, 'old')
  t.true(isEmpty(index.applyDirectory(volume, root, rows(['old', fileOf(base + 10)]), since)))
  t.deepEqual(names(made), [])
  t.is(index.size().nodes, 1)
})

test('a file renamed through the tree since stays where it is now', t => {
  const made = testIndex(t)
  const { index, volume, base, root } = made
  index.createEntry(volume, root, 'd', directoryOf(base + 11))
  index.createEntry(volume, root, 'old', fileOf(base + 10))
  const since = index.scanToken()
  index.renameEntry(volume, root, 'old', base + 11, 'new', false)
  t.true(isEmpty(index.applyDirectory(volume, root, rows(['old', fileOf(base + 10)], ['d', directoryOf(base + 11)]), since)))
  t.true(isEmpty(index.applyDirectory(volume, base + 11, [], since)))
  t.deepEqual(names(made), ['d'])
  t.deepEqual(names(made, base + 11), ['new'])
})

test('attributes put since are not overwritten, the name is made all the same', t => {
  const { index, volume, base, root } = testIndex(t)
  index.createEntry(volume, root, 'f', fileOf(base + 10, { nlink: 2 }))
  const since = index.scanToken()
  index.putNode(volume, fileOf(base + 10, { sizeBytes: 1000 }))
  const difference = index.applyDirectory(volume, root, rows(['f', fileOf(base + 10)], ['link', fileOf(base + 10)]), since)
  t.deepEqual(difference.added, ['link'])
  t.deepEqual(difference.changed, [])
  t.is(index.node(base + 10)!.sizeBytes, 1000)
})

test('a listing of a directory that went, or whose number went to another, is stale', t => {
  const made = testIndex(t)
  const { index, volume, base, root } = made
  index.createEntry(volume, root, 'd', directoryOf(base + 10))
  const since = index.scanToken()
  index.removeEntry(volume, root, 'd')
  t.true(index.applyDirectory(volume, base + 10, rows(['f', fileOf(base + 11)]), since).stale)
  index.createEntry(volume, root, 'other', directoryOf(base + 10))
  t.true(index.applyDirectory(volume, base + 10, rows(['f', fileOf(base + 11)]), since).stale)
  t.deepEqual(names(made, base + 10), [])
  t.false(index.applyDirectory(volume, base + 10, rows(['f', fileOf(base + 11)]), index.scanToken()).stale)
  t.true(index.applyDirectory(volume, base + 999, [], index.scanToken()).stale, 'a directory that was never known')
})

test('of two listings of a directory the one that was read later stays', t => {
  const made = testIndex(t)
  const { index, volume, base, root } = made
  const early = index.scanToken()
  const late = index.scanToken()
  index.applyDirectory(volume, root, rows(['new', fileOf(base + 10)]), late)
  t.true(index.applyDirectory(volume, root, rows(['old', fileOf(base + 11)]), early).stale)
  t.deepEqual(names(made), ['new'])
})

test('when too much changed since, the listing is stale, and the next one is not', t => {
  const made = testIndex(t, { limits: { rememberedChanges: 20 } })
  const { index, volume, base, root } = made
  index.createEntry(volume, root, 'd', directoryOf(base + 10))
  const since = index.scanToken()
  for (let i = 0; i < 30; i++) index.createEntry(volume, base + 10, `f${i}`, fileOf(base + 100 + i))
  t.true(index.applyDirectory(volume, root, [], since).stale)
  t.deepEqual(names(made), ['d'])
  t.false(index.applyDirectory(volume, root, [], index.scanToken()).stale)
})

test('nothing is remembered while no listing is under way', t => {
  const { index, volume, base, root, scheduler } = testIndex(t)
  const since = index.scanToken()
  scheduler.pass(61_000)
  index.createEntry(volume, root, 'f', fileOf(base + 10))
  scheduler.pass(61_000)
  t.true(index.applyDirectory(volume, root, [], since).stale)
  t.truthy(index.lookup(root, 'f'))
})

test('a token from before a restart is stale', t => {
  const { index, volume, root } = testIndex(t)
  t.true(index.applyDirectory(volume, root, [], 0).stale)
  t.true(index.applyDirectory(volume, root, [], -5).stale)
})

for (const [title, limits] of [
  ['in one array', {}],
  ['by pages', { rowsAtOnce: 100 }],
] as const) {
  test(`a directory of 5,000 entries, ${title}`, t => {
    const made = testIndex(t, { limits })
    const { index, volume, base, root, scheduler } = made
    const list = (from: number, to: number) =>
      rows(...Array.from({ length: to - from }, (_, i): [Name, Attributes] => [`file ${from + i}`, fileOf(base + 100 + from + i)]))
    t.is(index.applyDirectory(volume, root, list(0, 5000), index.scanToken()).added.length, 5000)
    t.true(isEmpty(index.applyDirectory(volume, root, list(0, 5000), index.scanToken())))
    const since = index.scanToken()
    index.createEntry(volume, root, 'made meanwhile', fileOf(base + 50))
    index.removeEntry(volume, root, 'file 4999')
    const difference = index.applyDirectory(volume, root, list(2000, 7000), since)
    t.is(difference.removed.length, 2000)
    t.is(difference.added.length, 2000)
    t.is(names(made).length, 5000)
    t.truthy(index.lookup(root, 'made meanwhile'))
    t.is(index.lookup(root, 'file 4999'), undefined)
    scheduler.settle()
    t.is(index.entryCount(volume), 5000)
    t.deepEqual([...index.problems()], [])
  })
}

test('pages of rows, in any order, with changes in between; and one that is given up', t => {
  const made = testIndex(t)
  const { index, volume, base, root, scheduler } = made
  for (const name of ['a', 'b', 'c', 'd']) index.createEntry(volume, root, name, fileOf(base + name.charCodeAt(0)))
  const given = index.beginListing(volume, root, index.scanToken())
  given.rows(rows(['c', fileOf(base + 99)]))
  given.cancel()
  t.throws(() => given.rows([]), { message: /ended/ })
  const listing = index.beginListing(volume, root, index.scanToken())
  t.deepEqual(listing.rows(rows(['d', fileOf(base + 100)], ['x', fileOf(base + 200)])).added, ['x'])
  index.removeEntry(volume, root, 'x')
  index.createEntry(volume, root, 'y', fileOf(base + 201))
  listing.rows(rows(['a', fileOf(base + 97)]))
  const end = listing.finish()
  t.true(end.done)
  t.deepEqual(
    end.removed.map(gone => gone.name),
    ['b', 'c'],
  )
  t.deepEqual(names(made), ['a', 'd', 'y'])
  scheduler.settle()
  t.deepEqual([...index.problems()], [])
})

test('pages of a listing whose directory goes meanwhile are stale', t => {
  const made = testIndex(t)
  const { index, volume, base, root } = made
  index.createEntry(volume, root, 'd', directoryOf(base + 10))
  const listing = index.beginListing(volume, base + 10, index.scanToken())
  listing.rows(rows(['a', fileOf(base + 11)]))
  index.removeEntry(volume, root, 'd')
  t.true(listing.rows(rows(['b', fileOf(base + 12)])).stale)
  const end = listing.finish()
  t.true(end.done && end.stale)
  t.is(index.size().nodes, 1)
})

test('every directory of a volume is met once, in bounded steps', t => {
  const { index, volume, base, root } = testIndex(t)
  const other = index.slot(volume, 'other filesystem') * 2 ** 40
  const expected = [root]
  for (let i = 0; i < 10_000; i++) {
    const isDirectory = i % 7 === 0
    const ino = (i % 2 ? base : other) + 1000 + i
    index.createEntry(volume, root, `n${i}`, isDirectory ? directoryOf(ino) : fileOf(ino))
    if (isDirectory) expected.push(ino)
  }
  t.deepEqual([...index.directories(volume)].map(a => a.ino).sort(), expected.sort())
})
