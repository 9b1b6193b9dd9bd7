/**
 * What survives: the process, the power, a full disk. And what it costs to have a million entries.
 */
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process'
import { readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import test, { type ExecutionContext } from 'ava'
import { errorKind } from '../../src/errors.ts'
import type { Index } from '../../src/index/contract.ts'
import { openIndex } from '../../src/index/open-index.ts'
import { createLog, silentLog } from '../../src/log.ts'
import { SLOT_SIZE } from '../../src/vfs/contract.ts'
import { closeQuietly, directoryOf, fileOf, HeldScheduler, KEY, killedCopy, temporaryDirectory, testIndex } from './support.ts'

/** Needs a filesystem of its own. */
const asRoot = process.getuid?.() === 0 ? test : test.skip
const withStrace = spawnSync('strace', ['-V']).status === 0 ? test : test.skip

function open(t: ExecutionContext, directory: string): Index {
  const index = openIndex({ directory, key: KEY, log: silentLog, scheduler: new HeldScheduler() })
  t.teardown(() => closeQuietly(index))
  return index
}

/** Runs test/index/process/NAME.ts and answers its lines as they come. */
function start(t: ExecutionContext, name: string, ...parameters: string[]): { child: ChildProcess; lines: AsyncIterable<string> } {
  const script = new URL(`process/${name}.ts`, import.meta.url).pathname
  const child = spawn(process.execPath, [script, ...parameters], { stdio: ['ignore', 'pipe', 'inherit'] })
  t.teardown(() => child.kill('SIGKILL'))
  return { child, lines: createInterface({ input: child.stdout! }) }
}

test('what was flushed survives kill -9 at any moment', async t => {
  const directory = temporaryDirectory(t)
  for (let round = 0; round < 3; round++) {
    const { child, lines } = start(t, 'writer', directory, String(round))
    const acknowledged: string[] = []
    const end = 100 + round * 150
    for await (const line of lines) {
      acknowledged.push(line)
      if (acknowledged.length === end) child.kill('SIGKILL')
    }
    t.true(acknowledged.length >= end)
    const index = open(t, directory)
    const root = index.slots()[0]!.slot * SLOT_SIZE + 2
    for (const name of acknowledged) t.truthy(index.lookup(root, name), `${name} of ${acknowledged.length}`)
    t.deepEqual([...index.problems()], [])
    index.close()
  }
})

test('a commit follows within milliseconds without being asked', t => {
  const { index, directory, volume, base, root, scheduler } = testIndex(t)
  index.createEntry(volume, root, 'f', fileOf(base + 10))
  scheduler.pass(10)
  t.truthy(open(t, killedCopy(t, directory)).lookup(root, 'f'))
})

test('durable: the log is on the disk before the answer, and calls that come together share a flush', async t => {
  const { index, directory, volume, base, root } = testIndex(t)
  const waiting = Array.from({ length: 500 }, (_, i) => {
    index.createEntry(volume, root, `f${i}`, fileOf(base + 10 + i))
    return index.durable()
  })
  await Promise.all(waiting)
  t.is(open(t, killedCopy(t, directory)).entryCount(volume), 500)
  index.createEntry(volume, root, 'g', fileOf(base + 1000))
  const late = index.durable()
  index.close()
  await t.notThrowsAsync(late)
})

withStrace('system calls: an ordinary commit flushes nothing, a durable one the log', t => {
  const trace = join(temporaryDirectory(t), 'trace')
  const script = new URL('process/flusher.ts', import.meta.url).pathname
  const directory = temporaryDirectory(t)
  execFileSync('strace', ['-f', '-y', '-e', 'trace=fsync,fdatasync,write', '-o', trace, process.execPath, script, directory])
  const lines = readFileSync(trace, 'utf8').split('\n')
  const at = (marker: string) => lines.findIndex(line => line.includes(marker))
  const flushes = (from: string, to: string) =>
    lines.slice(at(from), at(to)).filter(line => /f(data)?sync\(.*index\.db-wal/.test(line)).length
  t.true(at('begin ordinary') > 0 && at('end durable') > 0)
  t.is(flushes('begin ordinary', 'end ordinary'), 0)
  t.is(flushes('begin durable', 'end durable'), 1)
})

test('the log is folded into the database and begins anew, under load', async t => {
  const directory = temporaryDirectory(t)
  const index = openIndex({ directory, key: KEY, log: silentLog })
  t.teardown(() => closeQuietly(index))
  const volume = index.addVolume('location', 'Documents', {}).id
  const base = index.slot(volume, '') * SLOT_SIZE
  const root = base + 2
  index.putNode(volume, directoryOf(root))
  // Three times what the log may hold, at random places, in many commits.
  for (let i = 0; i < 60_000; i++) {
    const at = (i * 7919) % 60_000
    index.createEntry(volume, root, `${at} ${'x'.repeat(200)}`, fileOf(base + 10 + at))
    if (i % 200 === 199) await new Promise(resolve => setTimeout(resolve, 1))
  }
  index.flush('process')
  const size = (file: string) => statSync(join(directory, file)).size
  // The last pieces are folded in when nothing was written for a while.
  for (let i = 0; i < 600 && size('index.db') < 20 * 2 ** 20; i++) await new Promise(resolve => setTimeout(resolve, 100))
  t.true(size('index.db') >= 20 * 2 ** 20, `the database has ${size('index.db')} bytes`)
  t.log(`log ${size('index.db-wal')} bytes`)
  t.true(size('index.db-wal') <= 72 * 2 ** 20, `the log has ${size('index.db-wal')} bytes`)
  t.is(index.entryCount(volume), 60_000)
  const copy = openIndex({ directory: killedCopy(t, directory), key: KEY, log: silentLog })
  t.teardown(() => closeQuietly(copy))
  t.is(copy.entryCount(volume), 60_000)
  t.deepEqual([...copy.problems()], [])
})

asRoot('a full disk: the tree goes on, who must know is told, and nothing is lost when there is room again', t => {
  const directory = temporaryDirectory(t)
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=3m', 'sdmount-test', directory])
  t.teardown(() => execFileSync('umount', ['-l', directory]))
  const lines: string[] = []
  const scheduler = new HeldScheduler()
  const index = openIndex({ directory: join(directory, 'index'), key: KEY, log: createLog(line => lines.push(line)), scheduler })
  t.teardown(() => closeQuietly(index))
  const volume = index.addVolume('location', 'Documents', {}).id
  const base = index.slot(volume, '') * SLOT_SIZE
  const root = base + 2
  index.putNode(volume, directoryOf(root))
  index.flush('process')
  index.setScanState(volume, { scan: 1, startedAtMs: 0, finished: true })
  index.flush('process')
  writeFileSync(join(directory, 'ballast'), Buffer.alloc(2 ** 20))
  let made = 0
  let failure: unknown
  while (failure === undefined && made < 100_000) {
    try {
      for (let i = 0; i < 100; i++) index.createEntry(volume, root, `file number ${made}`, fileOf(base + 10 + made++))
      index.flush('process')
    } catch (error) {
      failure = error
    }
  }
  t.is(errorKind(failure), 'no-space')
  // The tree goes on: writes don't throw, reads see them.
  for (let i = 0; i < 500; i++) index.createEntry(volume, root, `file number ${made}`, fileOf(base + 10 + made++))
  t.truthy(index.lookup(root, `file number ${made - 1}`))
  scheduler.pass(5000)
  t.is(lines.filter(line => line.includes('writing failed')).length, 1, 'told once')
  rmSync(join(directory, 'ballast'))
  scheduler.pass(5000)
  t.true(lines.some(line => line.includes('works again')))
  t.is(index.entryCount(volume), made)
  t.notThrows(() => index.flush('durable'))
  t.truthy(index.scanState(volume))
  const copy = open(t, killedCopy(t, join(directory, 'index')))
  t.is(copy.entryCount(volume), made)
  t.deepEqual([...copy.problems()], [])
})

asRoot('rows of a scan that a full disk lost are asked for again, and a listing they belonged to is stale', t => {
  const directory = temporaryDirectory(t)
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=3m', 'sdmount-test', directory])
  t.teardown(() => execFileSync('umount', ['-l', directory]))
  const scheduler = new HeldScheduler()
  const index = openIndex({ directory: join(directory, 'index'), key: KEY, log: silentLog, scheduler })
  t.teardown(() => closeQuietly(index))
  const volume = index.addVolume('location', 'Documents', {}).id
  const base = index.slot(volume, '') * SLOT_SIZE
  const root = base + 2
  index.putNode(volume, directoryOf(root))
  index.createEntry(volume, root, 'kept', fileOf(base + 3))
  index.setScanState(volume, { scan: 1, startedAtMs: 0, finished: true })
  index.flush('durable')
  const rows = Array.from({ length: 5000 }, (_, i) => ({ name: `file ${i}`, attributes: fileOf(base + 10 + i) }))
  const listing = index.beginListing(volume, root, index.scanToken())
  listing.rows([{ name: 'kept', attributes: fileOf(base + 3) }])
  writeFileSync(join(directory, 'ballast'), Buffer.alloc(2.7 * 2 ** 20))
  t.is(listing.rows(rows).added.length, 5000)
  t.is(errorKind(t.throws(() => index.flush('process'))), 'no-space')
  rmSync(join(directory, 'ballast'))
  const end = listing.finish()
  t.true(end.stale && end.done)
  t.truthy(index.lookup(root, 'kept'))
  index.flush('process')
  t.is(index.scanState(volume), undefined)
  t.is(index.entryCount(volume), 1)
  t.deepEqual([...index.problems()], [])
})

asRoot('a disk that stays full: memory is bounded, and a scan is asked for when it works again', t => {
  const directory = temporaryDirectory(t)
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=24m', 'sdmount-test', directory])
  t.teardown(() => execFileSync('umount', ['-l', directory]))
  const lines: string[] = []
  const scheduler = new HeldScheduler()
  const index = openIndex({ directory: join(directory, 'index'), key: KEY, log: createLog(line => lines.push(line)), scheduler })
  t.teardown(() => closeQuietly(index))
  const volume = index.addVolume('location', 'Documents', {}).id
  const base = index.slot(volume, '') * SLOT_SIZE
  const root = base + 2
  index.putNode(volume, directoryOf(root))
  index.setScanState(volume, { scan: 1, startedAtMs: 0, finished: true })
  index.flush('process')
  writeFileSync(join(directory, 'ballast'), Buffer.alloc(23.5 * 2 ** 20))
  for (let i = 0; i < 150_000; i++) index.createEntry(volume, root, `file number ${i}`, fileOf(base + 10 + i))
  rmSync(join(directory, 'ballast'))
  scheduler.pass(10_000)
  t.true(lines.some(line => line.includes('changes were lost')))
  t.is(index.scanState(volume), undefined)
  t.truthy(index.lookup(root, 'file number 149999'))
  t.true(index.entryCount(volume) < 150_000)
  index.flush('process')
})

test('an index of a million entries opens at once and takes little memory', async t => {
  const directory = temporaryDirectory(t)
  const filled = start(t, 'million', directory, 'fill')
  for await (const line of filled.lines) t.log(line)
  const opened = start(t, 'million', directory, 'open')
  const lines: string[] = []
  for await (const line of opened.lines) lines.push(line)
  const told = JSON.parse(lines[0] ?? '{}') as { entries: number; growthBytes: number; walkedGrowthBytes: number }
  t.log(lines[0])
  t.true(told.entries >= 1_000_000)
  t.true(told.growthBytes < 24 * 2 ** 20, `opening took ${told.growthBytes} bytes`)
  t.true(told.walkedGrowthBytes < 80 * 2 ** 20, `walking took ${told.walkedGrowthBytes} bytes`)
})
