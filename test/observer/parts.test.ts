/** The observer's parts that need no thread: batches, the set and the table of directories, the rules for roots and mounts. */
import test from 'ava'
import fc from 'fast-check'
import { StatxBuffer } from '../../src/sys/linux.ts'
import { parseMountinfo } from '../../src/sys/mountinfo.ts'
import {
  BatchReader,
  BatchWriter,
  DIRECTORY_WATCHED,
  LISTING_COMPLETE,
  PAGE_FIRST,
  PAGE_LAST,
  ROW_EXCLUDED,
  ROW_PARTIAL,
  SECTION_CHANGES,
  SECTION_LISTING,
  SECTION_UNWATCHED,
} from '../../src/vfs/volumes/location/observer/batch.ts'
import { DirectorySet } from '../../src/vfs/volumes/location/observer/directory-set.ts'
import { DirectoryTable, NONE, ROOT } from '../../src/vfs/volumes/location/observer/directory-table.ts'
import { excludedPlaces } from '../../src/vfs/volumes/location/observer/mounts.ts'
import { filesystemName, isSameFilesystem, judgeRoot, type RootFinding } from '../../src/vfs/volumes/location/observer/root-identity.ts'

const name = fc.uint8Array({ minLength: 1, maxLength: 255 }).map(bytes => Buffer.from(bytes).toString('latin1'))
const word = fc.nat({ max: 0xffffffff })
const identity = fc.record({ deviceMajor: fc.nat({ max: 0xfff }), deviceMinor: fc.nat({ max: 0xfffff }), inoHigh: word, inoLow: word })

test('what is written into a batch is read from it', t => {
  const statx = fc.array(word, { minLength: 64, maxLength: 64 }).map(words => {
    const w = Uint32Array.from(words)
    // The parts of numbers that are put together stay within what a number holds, and devices within the kernel's 32 bits.
    for (const high of [11, 13]) w[high]! &= 0x1fffff
    for (const high of [17, 21, 25, 29]) w[high] = (w[high]! & 0x1ff) - 0xff
    w[32]! &= 0xfff
    w[33]! &= 0xfffff
    return w
  })
  const row = fc.oneof(fc.record({ name, statx }), fc.record({ name, gone: fc.constant(true) }), fc.record({ name, partial: word }))
  const section = fc.record({
    kind: fc.constantFrom(SECTION_LISTING, SECTION_CHANGES),
    identity,
    path: fc.uint8Array({ maxLength: 5000 }).map(bytes => Buffer.from(bytes).toString('latin1')),
    token: fc.maxSafeNat(),
    flags: fc.nat({ max: 15 }),
    rows: fc.array(row, { maxLength: 20 }),
  })
  fc.assert(
    fc.property(fc.array(section, { minLength: 1, maxLength: 8 }), sections => {
      const writer = new BatchWriter()
      for (const s of sections) {
        writer.begin(s.kind, s.identity, s.path, s.token)
        for (const r of s.rows) {
          if ('statx' in r) {
            const bytes = Buffer.from(r.name, 'latin1')
            if (bytes.length % 2) writer.addNamedRow(r.statx, r.name)
            else writer.addRow(r.statx, Buffer.concat([Buffer.from('ab'), bytes]), 2, bytes.length)
          } else if ('gone' in r) writer.addGone(r.name)
          else writer.addPartialRow(r.name, ROW_PARTIAL | ROW_EXCLUDED, 0o40000, s.identity, r.partial, 7)
        }
        writer.end(s.flags)
      }
      const taken = writer.take()!
      t.is(
        taken.rows,
        sections.reduce((sum, s) => sum + s.rows.length, 0),
      )
      t.is(writer.take(), undefined)
      const reader = new BatchReader(taken.bytes)
      for (const s of sections) {
        t.true(reader.nextSection())
        t.is(reader.kind, s.kind)
        t.is(reader.directoryDevice, s.identity.deviceMajor * 2 ** 20 + s.identity.deviceMinor)
        t.deepEqual([reader.directoryInoHigh, reader.directoryInoLow], [s.identity.inoHigh, s.identity.inoLow])
        t.is(reader.directoryPath, s.path)
        t.is(reader.token, s.token)
        t.is(reader.rowCount, s.rows.length)
        t.is(reader.isFirstPage, (s.flags & PAGE_FIRST) !== 0)
        t.is(reader.isLastPage, (s.flags & PAGE_LAST) !== 0)
        t.is(reader.isComplete, (s.flags & LISTING_COMPLETE) !== 0)
        t.is(reader.isWatched, (s.flags & DIRECTORY_WATCHED) !== 0)
        for (const r of s.rows) {
          t.true(reader.nextRow())
          t.is(reader.name, r.name)
          t.is(reader.isGone, 'gone' in r)
          t.is(reader.isPartial, 'partial' in r)
          t.is(reader.isExcluded, 'partial' in r)
          if ('partial' in r)
            t.deepEqual([reader.mode, reader.inoLow, reader.inoHigh, reader.device], [0o40000, r.partial, 7, reader.directoryDevice])
          if (!('statx' in r)) continue
          const reference = new StatxBuffer()
          new Uint8Array(reference.bytes.buffer, reference.bytes.byteOffset, 256).set(new Uint8Array(r.statx.buffer))
          t.deepEqual(reader.attributes(5), reference.attributes(5))
          t.true(reader.equals(reference.attributes(9)))
          for (const field of ['sizeBytes', 'mode', 'nlink', 'uid', 'gid', 'mtimeNsec', 'ctimeSec', 'rdev', 'blocks'] as const) {
            const other = reference.attributes(9)
            other[field]++
            t.false(reader.equals(other), field)
          }
        }
        t.false(reader.nextRow())
      }
      t.false(reader.nextSection())
    }),
    { numRuns: 50 },
  )
})

test('rows that are not read are skipped, and a section without rows is one', t => {
  const writer = new BatchWriter()
  const directory = { deviceMajor: 8, deviceMinor: 1, inoHigh: 0, inoLow: 2 }
  writer.begin(SECTION_CHANGES, directory, 'a', 1)
  for (let i = 0; i < 5; i++) writer.addNamedRow(new Uint32Array(64), `n${i}`)
  writer.end(0)
  writer.begin(SECTION_UNWATCHED, directory, '', 1)
  writer.end(0)
  t.throws(() => writer.begin(SECTION_LISTING, directory, '', 0) ?? writer.take())
  writer.end(0)
  const reader = new BatchReader(writer.take()!.bytes)
  t.true(reader.nextSection())
  t.true(reader.nextRow())
  t.true(reader.nextSection())
  t.is(reader.kind, SECTION_UNWATCHED)
  t.false(reader.nextRow())
})

test('the set of directories is a set', t => {
  const key = fc.tuple(fc.nat({ max: 3 }), fc.nat({ max: 1 }), fc.nat({ max: 40 }))
  const step = fc.record({ add: fc.boolean(), key })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 600, size: 'max' }), steps => {
      const set = new DirectorySet()
      const model = new Set<string>()
      for (const { add, key } of steps) {
        if (add) set.add(...key)
        else set.delete(...key)
        if (add) model.add(key.join())
        else model.delete(key.join())
        t.is(set.has(...key), add)
      }
      t.is(set.size, model.size)
      const copy = DirectorySet.fromWords(set.toWords())
      for (let device = 0; device < 4; device++)
        for (let high = 0; high < 2; high++)
          for (let low = 0; low < 41; low++) {
            t.is(set.has(device, high, low), model.has([device, high, low].join()))
            t.is(copy.has(device, high, low), set.has(device, high, low))
          }
    }),
    { numRuns: 30 },
  )
})

test('the set of directories grows, and large devices and inode numbers are kept apart', t => {
  const set = new DirectorySet()
  for (let i = 0; i < 20_000; i++) set.add(8 * 2 ** 20 + 1, 0, i)
  for (let i = 0; i < 20_000; i += 2) set.delete(8 * 2 ** 20 + 1, 0, i)
  t.is(set.size, 10_000)
  for (let i = 0; i < 20_000; i++) t.is(set.has(8 * 2 ** 20 + 1, 0, i), i % 2 === 1)
  set.add(0xfff * 2 ** 20 + 0xfffff, 0xffffffff, 0xffffffff)
  t.true(set.has(0xfff * 2 ** 20 + 0xfffff, 0xffffffff, 0xffffffff))
  t.false(set.has(0xfff * 2 ** 20 + 0xfffff, 0xffffffff, 0xfffffffe))
  set.clear()
  t.is(set.size, 0)
})

test('the table of directories is a tree', t => {
  const step = fc.record({
    act: fc.constantFrom('add', 'add', 'add', 'move', 'remove'),
    a: fc.nat(),
    b: fc.nat(),
    name: fc.constantFrom('a', 'b', 'c', 'd'),
  })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 300, size: 'max' }), steps => {
      const removed: number[] = []
      const table = new DirectoryTable({ deviceMajor: 0, deviceMinor: 0, inoHigh: 0, inoLow: 0 }, directory => removed.push(directory))
      // Number to parent and name.
      const model = new Map<number, { parent: number; name: string; ino: number }>([[ROOT, { parent: NONE, name: '', ino: 0 }]])
      const pick = (n: number) => [...model.keys()][n % model.size]!
      const childOf = (parent: number, name: string) =>
        [...model].find(([, entry]) => entry.parent === parent && entry.name === name)?.[0] ?? NONE
      const isBelow = (at: number, ancestor: number): boolean =>
        at === ancestor || (at !== ROOT && isBelow(model.get(at)!.parent, ancestor))
      for (const [i, { act, a, b, name }] of steps.entries()) {
        const one = pick(a)
        const other = pick(b)
        t.is(table.child(one, name), childOf(one, name))
        if (act === 'add') {
          if (childOf(one, name) !== NONE) t.throws(() => table.add(one, name, table.identity(one)))
          else model.set(table.add(one, name, { deviceMajor: 1, deviceMinor: 2, inoHigh: 3, inoLow: i }), { parent: one, name, ino: i })
        } else if (act === 'move') {
          if (one === ROOT || isBelow(other, one) || childOf(other, name) !== NONE) t.throws(() => table.move(one, other, name))
          else {
            table.move(one, other, name)
            Object.assign(model.get(one)!, { parent: other, name })
          }
        } else if (one !== ROOT) {
          removed.length = 0
          const expected = [...model.keys()].filter(at => isBelow(at, one))
          table.remove(one)
          t.deepEqual([...removed].sort(), expected.sort())
          t.is(removed.at(-1), one)
          for (const at of expected) model.delete(at)
        }
      }
      t.is(table.count, model.size)
      for (const [at, entry] of model) {
        t.true(table.isLive(at))
        t.is(table.identity(at).inoLow, entry.ino)
        const children: number[] = []
        for (let child = table.firstChild(at); child !== NONE; child = table.nextSibling(child)) children.push(child)
        t.deepEqual(children.sort(), [...model.keys()].filter(key => model.get(key)!.parent === at).sort())
        const path: string[] = []
        for (let up = at; up !== ROOT; up = model.get(up)!.parent) path.unshift(model.get(up)!.name)
        t.is(table.path(at), path.join('/'))
        t.is(table.depth(at), path.length)
        t.deepEqual(table.find([...path, 'x', 'y'].join('/')), { directory: at, rest: ['x', 'y'] })
      }
    }),
    { numRuns: 50 },
  )
})

test('the table grows and uses numbers again', t => {
  let removed = 0
  const table = new DirectoryTable({ deviceMajor: 0, deviceMinor: 0, inoHigh: 0, inoLow: 0 }, () => removed++)
  let at = ROOT
  for (let i = 0; i < 50_000; i++) at = table.add(at, `d${i}`, { deviceMajor: 0, deviceMinor: 0, inoHigh: 0, inoLow: i })
  table.setMark(at, 4, true)
  t.is(table.depth(at), 50_000)
  t.true(table.hasMark(at, 4))
  table.remove(table.firstChild(ROOT))
  t.is(removed, 50_000)
  t.is(table.count, 1)
  const { end } = table
  for (let i = 0; i < 50_000; i++) table.add(ROOT, `d${i}`, { deviceMajor: 0, deviceMinor: 0, inoHigh: 0, inoLow: i })
  t.is(table.end, end)
  t.false(table.hasMark(at, 4))
})

test('a filesystem is named by what lasts', t => {
  const statfs = (type: number, filesystemId: string) => ({ type, filesystemId }) as never
  t.is(
    filesystemName(statfs(0xef53, '0123456789abcdef'), () => 'x'),
    'ef53:fsid=0123456789abcdef',
  )
  t.is(
    filesystemName(statfs(0x4d44, '0123456789abcdef'), () => 'AAAA-BBBB'),
    '4d44:uuid=AAAA-BBBB',
  )
  t.is(
    filesystemName(statfs(0x4d44, '0123456789abcdef'), () => undefined),
    '4d44:',
  )
  t.is(
    filesystemName(statfs(0xef53, '0000000000000000'), () => undefined),
    'ef53:',
  )
  t.true(isSameFilesystem('ef53:fsid=1', 'ef53:fsid=1'))
  t.false(isSameFilesystem('ef53:fsid=1', 'ef53:fsid=2'))
  t.false(isSameFilesystem('ef53:fsid=1', '4d44:'))
  t.false(isSameFilesystem('4d44:uuid=A', '4d44:uuid=B'))
  t.true(isSameFilesystem('4d44:uuid=A', '4d44:'), 'without udev nothing contradicts')
})

test('a folder is judged', t => {
  const recorded = { filesystem: 'ef53:fsid=1', ino: '2' }
  const folder = (filesystem: string, ino: string, empty: boolean): RootFinding => ({
    kind: 'folder',
    identity: { filesystem, ino },
    isEmpty: () => empty,
  })
  t.deepEqual(judgeRoot(undefined, { kind: 'nothing', reason: 'why' }), { offline: 'why' })
  t.deepEqual(judgeRoot(undefined, folder('ef53:fsid=1', '2', true)), { online: recorded })
  t.deepEqual(judgeRoot(recorded, folder('ef53:fsid=1', '2', true)), { online: recorded }, 'the same folder may be empty')
  t.true('offline' in judgeRoot(recorded, folder('ef53:fsid=1', '3', true)), 'an empty mount point')
  t.deepEqual(judgeRoot(recorded, folder('ef53:fsid=1', '3', false)), { online: { filesystem: 'ef53:fsid=1', ino: '3' } }, 'replaced')
  t.true('offline' in judgeRoot(recorded, folder('ef53:fsid=9', '2', false)))
})

test('what must not be touched below a root', t => {
  const mounts = (...lines: string[]) => parseMountinfo(lines.map((line, i) => line.replace('#', `${i + 1} 0`)).join('\n'))
  const base = '# 8:1 / / rw - ext4 a rw'
  const excluded = (root: string, own: string[], ...lines: string[]) => [...excludedPlaces(mounts(base, ...lines), root, own)].sort()
  t.deepEqual(excluded('/home/me', ['/home/me/Drive', '/elsewhere', '/home/me']), ['/home/me/Drive'])
  t.deepEqual(
    excluded(
      '/home/me',
      [],
      '# 0:5 / /home/me/ssh rw - fuse.sshfs s rw',
      '# 0:6 / /home/you/ssh rw - fuse.sshfs s rw',
      '# 8:2 / /home/me/disk rw - xfs d rw',
    ),
    ['/home/me/ssh'],
  )
  t.deepEqual(excluded('/', [], '# 0:5 / /proc rw - proc proc rw'), ['/proc'])
  t.deepEqual(excluded('/mnt', [], '# 0:5 / /mnt rw - fuse.sshfs s rw'), [], 'the location may lie on such a filesystem itself')
  t.deepEqual(excluded('/mnt', [], '# 0:5 / /mnt rw - fuse.sshfs s rw', '# 0:6 / /mnt/x rw - nfs s rw'), ['/mnt/x'])
  t.deepEqual(excluded('/a', [], '# 0:5 / /a/x rw - nfs s rw', '# 8:3 / /a/x rw - ext4 s rw'), [], 'covered by one that may be touched')
  t.deepEqual(excluded('/a', [], '# 8:1 /a/b /a/x rw - ext4 a rw'), ['/a/x'], 'a folder of the location shown twice')
  t.deepEqual(excluded('/a', [], '# 8:1 / /a/x rw - ext4 a rw'), ['/a/x'], 'the location within itself')
  t.deepEqual(excluded('/a', [], '# 8:1 /b /a/x rw - ext4 a rw'), [], 'a folder from elsewhere')
  t.deepEqual(excluded('/a', [], '# 8:1 /b /a/x rw - ext4 a rw', '# 8:1 /b/c /a/y rw - ext4 a rw'), ['/a/y'])
})
