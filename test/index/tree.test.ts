/**
 * What names and nodes do, a rule a test; each also with everything committed and the index opened again.
 */
import test, { type ExecutionContext } from 'ava'
import { openIndex } from '../../src/index/open-index.ts'
import { silentLog } from '../../src/log.ts'
import { S_IFLNK } from '../../src/vfs/contract.ts'
import { closeQuietly, directoryOf, fileOf, HeldScheduler, KEY, type TestIndex, testIndex } from './support.ts'

/** Runs `check` on what is queued, and again after closing and opening. */
function bothWays(t: ExecutionContext, { index, directory, scheduler }: TestIndex, check: (index: TestIndex['index']) => void): void {
  check(index)
  t.deepEqual([...index.problems()], [])
  scheduler.settle()
  index.close()
  const again = openIndex({ directory, key: KEY, log: silentLog, scheduler: new HeldScheduler() })
  t.teardown(() => closeQuietly(again))
  check(again)
  t.deepEqual([...again.problems()], [])
}

test('attributes come back as they were put, times before 1970 and sizes beyond 2^32 too', t => {
  const made = testIndex(t)
  const { index, volume, base, root } = made
  const a = fileOf(base + 10, {
    mode: S_IFLNK | 0o777,
    nlink: 3,
    uid: 2 ** 32 - 2,
    gid: 65_534,
    rdev: 2 ** 32 - 1,
    sizeBytes: 2 ** 53 - 1,
    blocks: 2 ** 44,
    blockSizeBytes: 2 ** 20,
    atimeSec: -62_135_596_800,
    atimeNsec: 999_999_999,
    mtimeSec: 253_402_300_799,
    mtimeNsec: 1,
    ctimeSec: -1,
    ctimeNsec: 0,
    btimeSec: 1,
    btimeNsec: 2,
  })
  index.putNode(volume, a)
  index.putEntry(volume, root, 'a', a.ino)
  bothWays(t, made, i => {
    t.deepEqual(i.node(a.ino), a)
    t.deepEqual(i.lookup(root, 'a'), a)
    t.deepEqual(i.children(root, undefined, 10), [{ name: 'a', attributes: a }])
  })
})

test('names are bytes: not UTF-8, 255 of them, and ordered as bytes', t => {
  const made = testIndex(t)
  const { index, volume, base, root } = made
  const names = [
    '\xff'.repeat(255),
    'a',
    'B',
    'caf\xc3\xa9',
    'caf\xe9',
    '\xef\xbb\xbfa',
    '\xef\xbf\xbd',
    '\xed\xa0\x80',
    '\x01',
    '\xf0\x9f\x98\x80',
    ' ',
  ]
  for (const [i, name] of names.entries()) index.createEntry(volume, root, name, fileOf(base + 10 + i))
  bothWays(t, made, i => {
    t.deepEqual(
      i.children(root, undefined, 100).map(child => child.name),
      [...names].sort((a, b) => Buffer.compare(Buffer.from(a, 'latin1'), Buffer.from(b, 'latin1'))),
    )
    names.forEach((name, n) => {
      t.is(i.lookup(root, name)?.ino, base + 10 + n)
      t.deepEqual(i.links(base + 10 + n), [{ parent: root, name }])
      t.is(i.pathOf(base + 10 + n), name)
    })
  })
})

test('children come in pages', t => {
  const { index, volume, base, root } = testIndex(t)
  for (let i = 0; i < 25; i++) index.createEntry(volume, root, `f${String(i).padStart(2, '0')}`, fileOf(base + 100 + i))
  const seen: string[] = []
  for (let page = index.children(root, undefined, 10); page.length > 0; page = index.children(root, page.at(-1)!.name, 10)) {
    t.true(page.length <= 10)
    seen.push(...page.map(child => child.name))
  }
  t.is(seen.length, 25)
  t.deepEqual(seen, [...seen].sort())
})

test('a node stays while it has a name', t => {
  const made = testIndex(t)
  const { index, volume, base, root } = made
  index.createEntry(volume, root, 'a', fileOf(base + 10, { nlink: 2 }))
  index.putEntry(volume, root, 'b', base + 10)
  index.removeEntry(volume, root, 'a')
  bothWays(t, made, i => {
    t.truthy(i.node(base + 10))
    t.deepEqual(i.links(base + 10), [{ parent: root, name: 'b' }])
    t.is(i.entryCount(volume), 1)
  })
})

test('a node goes with its last name, and putting it without a link brings it not back', t => {
  const made = testIndex(t)
  const { index, volume, base, root } = made
  index.createEntry(volume, root, 'a', fileOf(base + 10))
  index.removeEntry(volume, root, 'a')
  index.putNode(volume, fileOf(base + 10, { nlink: 0 }))
  bothWays(t, made, i => {
    t.is(i.node(base + 10), undefined)
    t.is(i.lookup(root, 'a'), undefined)
    t.is(i.size().nodes, 1)
    t.is(i.entryCount(volume), 0)
  })
})

test('a removed directory takes all below it along, at once, and its rows in pieces', t => {
  const made = testIndex(t, { limits: { sweepAtOnce: 5 } })
  const { index, volume, base, root, scheduler } = made
  index.createEntry(volume, root, 'd', directoryOf(base + 10))
  let number = base + 11
  for (let i = 0; i < 20; i++) {
    const below = number++
    index.createEntry(volume, base + 10, `d${i}`, directoryOf(below))
    for (let j = 0; j < 20; j++) index.createEntry(volume, below, `f${j}`, fileOf(number++))
  }
  index.createEntry(volume, root, 'kept', fileOf(base + 5000, { nlink: 2 }))
  index.putEntry(volume, base + 11, 'also', base + 5000)
  scheduler.settle()
  index.removeEntry(volume, root, 'd')
  for (let ino = base + 10; ino < number; ino++) {
    t.is(index.node(ino), undefined)
    t.deepEqual(index.children(ino, undefined, 10), [])
    t.deepEqual(index.links(ino), [])
    t.is(index.pathOf(ino), undefined)
  }
  t.is(index.lookup(base + 11, 'f0'), undefined)
  t.deepEqual(
    [...index.directories(volume)].map(a => a.ino),
    [root],
  )
  t.true(index.entryCount(volume) > 1, 'the rows are still going')
  scheduler.settle()
  bothWays(t, made, i => {
    t.is(i.entryCount(volume), 1)
    t.is(i.size().nodes, 2)
    t.deepEqual(i.links(base + 5000), [{ parent: root, name: 'kept' }])
  })
})

test('what a removed tree leaves goes when the index is opened next', t => {
  const made = testIndex(t, { limits: { sweepAtOnce: 1 } })
  const { index, volume, base, root, scheduler } = made
  index.createEntry(volume, root, 'd', directoryOf(base + 10))
  for (let i = 0; i < 50; i++) index.createEntry(volume, base + 10, `f${i}`, fileOf(base + 100 + i))
  scheduler.settle()
  index.removeEntry(volume, root, 'd')
  index.flush('process')
  index.close()
  const next = new HeldScheduler()
  const again = openIndex({ directory: made.directory, key: KEY, log: silentLog, scheduler: next })
  t.teardown(() => closeQuietly(again))
  t.is(again.node(base + 149), undefined)
  t.true(again.entryCount(volume) > 0)
  next.settle()
  t.is(again.entryCount(volume), 0)
  t.is(again.size().nodes, 1)
})

test('numbers of a tree on its way out are given to new nodes', t => {
  const made = testIndex(t, { limits: { sweepAtOnce: 1 } })
  const { index, volume, base, root, scheduler } = made
  index.createEntry(volume, root, 'd', directoryOf(base + 10))
  index.createEntry(volume, base + 10, 'e', directoryOf(base + 11))
  for (let i = 0; i < 50; i++) index.createEntry(volume, base + 11, `f${i}`, fileOf(base + 100 + i))
  scheduler.settle()
  index.removeEntry(volume, root, 'd')
  index.createEntry(volume, root, 'new', directoryOf(base + 11))
  index.putNode(volume, fileOf(base + 100))
  index.putEntry(volume, base + 11, 'one', base + 100)
  const check = (i: TestIndex['index']) => {
    t.deepEqual(
      i.children(base + 11, undefined, 100).map(child => child.name),
      ['one'],
    )
    t.is(i.pathOf(base + 100), 'new/one')
    t.is(i.node(base + 101), undefined)
  }
  check(index)
  scheduler.settle()
  bothWays(t, made, i => {
    check(i)
    t.is(i.entryCount(volume), 2)
  })
})

test('renaming keeps the node, of a directory with all below it', t => {
  const made = testIndex(t)
  const { index, volume, base, root } = made
  index.createEntry(volume, root, 'd', directoryOf(base + 10))
  index.createEntry(volume, base + 10, 'e', directoryOf(base + 11))
  index.createEntry(volume, base + 11, 'f', fileOf(base + 12))
  index.renameEntry(volume, base + 10, 'e', root, 'moved', false)
  bothWays(t, made, i => {
    t.is(i.pathOf(base + 12), 'moved/f')
    t.is(i.pathOf(root), '')
    t.deepEqual(i.children(base + 10, undefined, 10), [])
    t.is(i.entryCount(volume), 3)
  })
})

test('renaming replaces what stood there; exchanging swaps', t => {
  const made = testIndex(t)
  const { index, volume, base, root } = made
  for (const [i, name] of ['a', 'b', 'c', 'd'].entries()) index.createEntry(volume, root, name, fileOf(base + 10 + i))
  index.renameEntry(volume, root, 'a', root, 'b', false)
  index.renameEntry(volume, root, 'c', root, 'd', true)
  bothWays(t, made, i => {
    t.deepEqual(
      i.children(root, undefined, 10).map(child => [child.name, child.attributes.ino - base]),
      [
        ['b', 10],
        ['c', 13],
        ['d', 12],
      ],
    )
    t.is(i.node(base + 11), undefined)
    t.is(i.size().nodes, 4)
  })
})

test('renaming between two names of one file does nothing; of an unknown name it clears the new one', t => {
  const made = testIndex(t)
  const { index, volume, base, root } = made
  index.createEntry(volume, root, 'a', fileOf(base + 10))
  index.putEntry(volume, root, 'b', base + 10)
  index.renameEntry(volume, root, 'a', root, 'b', false)
  index.createEntry(volume, root, 'c', fileOf(base + 11))
  index.renameEntry(volume, root, 'unknown', root, 'c', false)
  bothWays(t, made, i => {
    t.is(i.links(base + 10).length, 2)
    t.is(i.lookup(root, 'c'), undefined)
    t.is(i.node(base + 11), undefined)
  })
})

test('a directory given a second name has moved', t => {
  const made = testIndex(t)
  const { index, volume, base, root } = made
  index.createEntry(volume, root, 'd', directoryOf(base + 10))
  index.createEntry(volume, base + 10, 'f', fileOf(base + 11))
  index.putNode(volume, directoryOf(base + 10))
  index.putEntry(volume, root, 'e', base + 10)
  bothWays(t, made, i => {
    t.deepEqual(
      i.children(root, undefined, 10).map(child => child.name),
      ['e'],
    )
    t.is(i.pathOf(base + 11), 'e/f')
  })
})

test('a number that comes again as another type leaves nothing of the old node', t => {
  const made = testIndex(t)
  const { index, volume, base, root } = made
  index.createEntry(volume, root, 'd', directoryOf(base + 10))
  index.createEntry(volume, base + 10, 'f', fileOf(base + 11))
  index.putNode(volume, fileOf(base + 10))
  index.putEntry(volume, root, 'file', base + 10)
  bothWays(t, made, i => {
    t.deepEqual(
      i.children(root, undefined, 10).map(child => child.name),
      ['file'],
    )
    t.is(i.node(base + 11), undefined)
    t.is(i.entryCount(volume), 1)
  })
})

test('a node made under a known number leaves nothing of the old one, of the same type too', t => {
  const made = testIndex(t)
  const { index, volume, base, root } = made
  index.createEntry(volume, root, 'old', directoryOf(base + 10))
  index.createEntry(volume, base + 10, 'f', fileOf(base + 11))
  index.markScanned(base + 10, 3)
  index.createEntry(volume, root, 'new', directoryOf(base + 10))
  bothWays(t, made, i => {
    t.deepEqual(
      i.children(root, undefined, 10).map(child => child.name),
      ['new'],
    )
    t.deepEqual(i.children(base + 10, undefined, 10), [])
    t.false(i.isScanned(base + 10, 3))
  })
})

test('a node put again in the same moment as a directory above it goes stays, without what was below it', t => {
  const made = testIndex(t)
  const { index, volume, base, root, scheduler } = made
  index.createEntry(volume, root, 'd', directoryOf(base + 10))
  index.createEntry(volume, base + 10, 'e', directoryOf(base + 11))
  index.createEntry(volume, base + 11, 'f', fileOf(base + 12))
  scheduler.settle()
  index.putNode(volume, directoryOf(base + 11))
  index.putNode(volume, fileOf(base + 20))
  index.putEntry(volume, root, 'd', base + 20)
  index.putNode(volume, directoryOf(base + 11, { mtimeSec: 5 }))
  index.putEntry(volume, root, 'again', base + 11)
  bothWays(t, made, i => {
    t.deepEqual(
      i.children(root, undefined, 10).map(child => child.name),
      ['again', 'd'],
    )
    t.is(i.node(base + 11)!.mtimeSec, 5)
    t.deepEqual(i.children(base + 11, undefined, 10), [])
    t.is(i.node(base + 12), undefined)
    t.is(i.entryCount(volume), 2)
  })
})

test('paths end, also where rows form a circle', t => {
  const { index, volume, base, root } = testIndex(t)
  index.createEntry(volume, root, 'a', directoryOf(base + 10))
  index.createEntry(volume, base + 10, 'b', directoryOf(base + 11))
  index.putEntry(volume, base + 11, 'a', base + 10)
  t.is(index.pathOf(base + 10), undefined)
})

test('scan marks and scan states last', t => {
  const made = testIndex(t)
  const { index, volume, root } = made
  index.markScanned(root, 7)
  index.setScanState(volume, { scan: 7, startedAtMs: 1_795_000_000_123, finished: false })
  index.putNode(volume, directoryOf(root, { mtimeSec: 99 }))
  bothWays(t, made, i => {
    t.true(i.isScanned(root, 7))
    t.false(i.isScanned(root, 8))
    t.deepEqual(i.scanState(volume), { scan: 7, startedAtMs: 1_795_000_000_123, finished: false })
  })
})

test('a node of another volume is a mistake of the caller', t => {
  const { index, volume, base } = testIndex(t)
  t.throws(() => index.putNode(volume + 1, fileOf(base + 1)), { message: /isn't of volume/ })
  t.throws(() => index.putNode(volume, fileOf(1)), { message: /isn't of volume/ })
})

test('who delays rows is asked before each read and each commit', t => {
  const { index, volume, base, root, scheduler } = testIndex(t)
  index.createEntry(volume, root, 'f', fileOf(base + 10))
  let size = 1
  const end = index.addSource(() => index.putNode(volume, fileOf(base + 10, { sizeBytes: ++size })))
  t.is(index.node(base + 10)!.sizeBytes, 2)
  t.is(index.lookup(root, 'f')!.sizeBytes, 3)
  scheduler.settle()
  end()
  const last = size
  t.is(index.node(base + 10)!.sizeBytes, last)
  t.is(size, last)
})
