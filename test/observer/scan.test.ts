/** The scan: everything is found, in pages, with rests, in the right order, and what can't be read is reported. */
import { execFileSync } from 'node:child_process'
import { closeSync, mkdirSync, openSync, readdirSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import test from 'ava'
import { SECTION_LISTING } from '../../src/vfs/volumes/location/observer/batch.ts'
import { DirectorySet } from '../../src/vfs/volumes/location/observer/directory-set.ts'
import type { Batch } from '../../src/vfs/volumes/location/observer/observer.ts'
import { isRoot, largeFolder, run, shell, temporaryFolder, watch } from './folders.ts'
import { differences, disk, eventually } from './mirror.ts'

const asRoot = isRoot ? test.serial : test.serial.skip

test.serial('all kinds of files and names are found, with their attributes', async t => {
  const folder = temporaryFolder(t)
  shell(
    folder,
    `mkdir -p a/b/c empty "with space" $'\\xff\\xfe' $'new\\nline'
     echo one > a/one; ln a/one a/b/other-name; ln -s /nowhere a/link; ln -s .. a/up; mkfifo a/fifo
     echo two > $'\\xff\\xfe/\\x80'; head -c 5000000000 /dev/null > a/zero; truncate -s 5G a/large
     echo x > "$(printf 'n%.0s' {1..255})"; chmod 7751 a/b; touch -d '1900-01-02 03:04:05.678901234' a/old; touch -d '2300-01-01' a/future
     echo dot > .hidden; mkdir ..dots`,
  )
  const watcher = watch(t, folder)
  await watcher.until('finished 1')
  t.deepEqual(differences(watcher.mirror.tree(), disk(folder)), [])
  t.is(watcher.finished!.directories, 9)
  t.is(watcher.finished!.entries, disk(folder).size)
  t.deepEqual(watcher.story, ['online', 'scan 1', 'finished 1'])
})

test.serial('an empty location is scanned', async t => {
  const watcher = watch(t, temporaryFolder(t))
  await watcher.until('finished 1')
  t.is(watcher.mirror.tree().size, 0)
})

test.serial('the same without openat2', async t => {
  const folder = temporaryFolder(t)
  shell(folder, 'mkdir -p a/b/c d; echo x > a/b/c/x; ln -s ../.. a/b/up; ln -s /etc etc')
  const watcher = watch(t, folder, { limits: { stepwise: true } })
  await watcher.until('finished 1')
  t.deepEqual(differences(watcher.mirror.tree(), disk(folder)), [])
  shell(folder, 'mkdir -p a/b/n/m; echo y > a/b/n/m/y; mv a/b z')
  await watcher.agrees(folder)
  t.pass()
})

test.serial('10,000 directories are found, and find says the same', async t => {
  const folder = largeFolder(t)
  for (let i = 0; i < 100; i++) for (let j = 0; j < 99; j++) mkdirSync(`${folder}/${i}/${j}`, { recursive: true })
  const watcher = watch(t, folder)
  await watcher.until('finished 1')
  const found = run('find', folder, '-mindepth', '1', '-printf', '%P\\n').split('\n').slice(0, -1)
  t.deepEqual([...watcher.mirror.tree().keys()].sort(), found.sort())
  t.is(watcher.finished!.directories, 10_001)
})

test.serial('a huge directory comes in pages of bounded size', async t => {
  const folder = largeFolder(t)
  const count = 100_000
  for (let i = 0; i < count; i++) closeSync(openSync(`${folder}/file-${i}`, 'w'))
  let pages = 0
  let largest = 0
  let rows = 0
  const names = new Set<string>()
  const watcher = watch(t, folder, {
    batch(batch: Batch) {
      const { reader } = batch
      while (reader.nextSection()) {
        pages++
        t.is(reader.isFirstPage, pages === 1)
        rows += reader.rowCount
        largest = Math.max(largest, reader.rowCount)
        while (reader.nextRow()) names.add(reader.name)
        if (reader.isLastPage) t.true(reader.isComplete && reader.isWatched)
      }
      watcher.observer.acknowledge(batch)
    },
  })
  await watcher.until('finished 1')
  t.is(names.size, count + 1, 'all names, and the directory itself')
  t.is(rows, count + 1)
  t.true(pages > 100, `${pages} pages`)
  t.true(largest < 1000, `${largest} rows in the largest`)
})

test.serial('paths longer than PATH_MAX', async t => {
  const folder = temporaryFolder(t)
  const name = 'd'.repeat(250)
  shell(folder, `for i in {1..60}; do mkdir ${name}; cd -P ${name}; done; echo deep > bottom`)
  const watcher = watch(t, folder)
  await watcher.until('finished 1')
  const deepest = [...watcher.mirror.tree().keys()].reduce((a, b) => (a.length > b.length ? a : b))
  t.is(deepest, `${`${name}/`.repeat(60)}bottom`)
  // Watched as well as anything.
  shell(folder, `for i in {1..60}; do cd -P ${name}; done; echo more > new`)
  await eventually(() => watcher.mirror.tree().has(`${`${name}/`.repeat(60)}new`))
})

test.serial('symlinks are not followed', async t => {
  const folder = temporaryFolder(t)
  shell(folder, 'mkdir -p in out/secret; echo x > out/secret/x; ln -s ../out in/link; ln -s . in/loop')
  const watcher = watch(t, `${folder}/in`)
  await watcher.until('finished 1')
  t.deepEqual([...watcher.mirror.tree().keys()].sort(), ['link', 'loop'])
})

test.serial('the scan stops while batches are not acknowledged, and goes on when they are', async t => {
  const folder = largeFolder(t)
  for (let i = 0; i < 20_000; i++) closeSync(openSync(`${folder}/file-${i}`, 'w'))
  const watcher = watch(t, folder, { limits: { batches: 3 } })
  watcher.hold = true
  await eventually(() => watcher.held.length === 3)
  await sleep(300)
  t.is(watcher.held.length, 3)
  t.false(watcher.story.includes('finished 1'))
  // Changes are told even now, on a reserve.
  mkdirSync(`${folder}/new`)
  await eventually(() => watcher.mirror.tree().has('new'))
  watcher.release()
  await watcher.until('finished 1')
  await watcher.agrees(folder)
})

test.serial('a paused scan does nothing, keeps nothing open, and goes on', async t => {
  const folder = largeFolder(t)
  for (let i = 0; i < 50; i++) {
    mkdirSync(`${folder}/${i}`)
    for (let j = 0; j < 500; j++) closeSync(openSync(`${folder}/${i}/${j}`, 'w'))
  }
  const watcher = watch(t, folder, { limits: { batches: 2 } })
  watcher.hold = true
  await eventually(() => watcher.held.length === 2)
  watcher.observer.pause()
  await sleep(100)
  const { rows } = watcher.mirror
  watcher.release()
  await sleep(200)
  t.is(watcher.mirror.rows, rows)
  t.deepEqual(openBelow(folder), [])
  // Watching goes on.
  writeFileSync(`${folder}/while-paused`, '')
  await eventually(() => watcher.mirror.tree().has('while-paused'))
  t.true(watcher.observer.status().paused)
  watcher.observer.resume()
  await watcher.until('finished 1')
  t.deepEqual(differences(watcher.mirror.tree(), disk(folder)), [])
  await sleep(50)
  t.deepEqual(openBelow(folder), [], 'at rest nothing is open either')
})

/** What this process has open below a folder. */
function openBelow(folder: string): string[] {
  return readdirSync('/proc/self/fd').flatMap(fd => {
    try {
      const target = run('readlink', `/proc/${process.pid}/fd/${fd}`).trim()
      return target.startsWith(folder) ? [target] : []
    } catch {
      return []
    }
  })
}

test.serial('a directory that is asked for comes first, with the way to it', async t => {
  const folder = largeFolder(t)
  for (let i = 0; i < 200; i++) {
    mkdirSync(`${folder}/${i}/a/b`, { recursive: true })
    for (let j = 0; j < 100; j++) closeSync(openSync(`${folder}/${i}/${j}`, 'w'))
  }
  const order: string[] = []
  const watcher = watch(t, folder, {
    limits: { batches: 1 },
    batch(batch: Batch) {
      const { reader } = batch
      watcher.mirror.apply(reader)
      order.push(...paths(batch))
      waiting.push(batch)
    },
  })
  const waiting: Batch[] = []
  await eventually(() => waiting.length === 1)
  // The scan is held: what is listed next is what was asked for, even where the scan hasn't found the way yet.
  const asked = ['7/a/b', '150/a', '33'].filter(path => !order.includes(path))
  t.true(asked.length >= 2)
  for (const path of asked) watcher.observer.prioritize(path)
  watcher.observer.prioritize('no/such/folder')
  await sleep(100)
  const before = order.length
  while (!asked.every(path => order.includes(path))) {
    watcher.observer.acknowledge(waiting.shift()!)
    await eventually(() => waiting.length > 0)
  }
  t.deepEqual(order.slice(before, before + asked.length).sort(), asked.sort())
  const drain = setInterval(() => {
    for (const batch of waiting.splice(0)) watcher.observer.acknowledge(batch)
  }, 1)
  await watcher.until('finished 1').finally(() => clearInterval(drain))
  t.deepEqual(differences(watcher.mirror.tree(), disk(folder)), [])
  for (const path of asked) t.is(order.filter(other => other === path).length, 1, 'and it is listed once')
})

/** Paths of the directories whose listing begins in a batch, in order. */
function paths(batch: Batch): string[] {
  const { reader } = batch
  const found: string[] = []
  reader.rewind()
  while (reader.nextSection()) if (reader.kind === SECTION_LISTING && reader.isFirstPage) found.push(reader.directoryPath)
  return found
}

test.serial('what an interrupted scan has dealt with comes last, and is not left out', async t => {
  const folder = temporaryFolder(t)
  for (let i = 0; i < 20; i++) {
    mkdirSync(`${folder}/${i}/sub`, { recursive: true })
    writeFileSync(`${folder}/${i}/file`, '')
  }
  const scanned = new DirectorySet()
  const first = watch(t, folder, {
    batch(batch: Batch) {
      const { reader } = batch
      first.mirror.apply(reader)
      reader.rewind()
      while (reader.nextSection())
        if (reader.isLastPage && /^(1?[0-9](\/sub)?|)$/.test(reader.directoryPath) && !reader.directoryPath.endsWith('7/sub'))
          scanned.add(reader.directoryDevice, reader.directoryInoHigh, reader.directoryInoLow)
      first.observer.acknowledge(batch)
    },
  })
  await first.until('finished 1')
  await first.observer.close()
  writeFileSync(`${folder}/3/changed-meanwhile`, '')
  mkdirSync(`${folder}/3/sub/new-meanwhile`)
  const order: string[] = []
  const second = watch(t, folder, {
    scanned,
    batch(batch: Batch) {
      second.mirror.apply(batch.reader)
      order.push(...paths(batch))
      second.observer.acknowledge(batch)
    },
  })
  await second.until('finished 1')
  t.deepEqual(order.slice(0, 3).sort(), ['17/sub', '3/sub/new-meanwhile', '7/sub'])
  t.is(order.length, 42)
  t.deepEqual(differences(second.mirror.tree(), disk(folder)), [])
  t.is(second.finished!.directories, 42)
})

test.serial('a rescan finds what no event told, as a whole or below a directory', async t => {
  const folder = temporaryFolder(t)
  shell(folder, 'mkdir -p a/b c; echo x > a/b/x; echo y > c/y')
  const watcher = watch(t, folder)
  let from = await watcher.until('finished 1')
  watcher.mirror.clear()
  watcher.observer.rescan()
  from = await watcher.until('finished 2', from)
  t.deepEqual(differences(watcher.mirror.tree(), disk(folder)), [])
  const { rows } = watcher.mirror
  watcher.observer.rescan('a')
  await eventually(() => watcher.mirror.rows === rows + 2)
  await sleep(50)
  t.is(watcher.mirror.rows, rows + 2, 'b and x, and nothing of c')
  watcher.observer.relist('a')
  watcher.observer.relist('a/missing')
  await eventually(() => watcher.mirror.rows === rows + 3)
  await sleep(50)
  t.is(watcher.mirror.rows, rows + 3, 'b, and nothing below it')
  t.is(watcher.story.length, from)
})

asRoot('directories that may not be read are reported, do not stop the scan, and are read when they may be', t => {
  const folder = temporaryFolder(t)
  shell(
    folder,
    `mkdir -p open/in closed/in names-only/in enter-only/in
     echo x > open/in/x; echo x > closed/x; echo x > names-only/x; chmod 0 closed; chmod 400 names-only; chmod 100 enter-only
     chown -R 65534 .`,
  )
  const script = new URL('./scan-as-user.ts', import.meta.url).pathname
  const output = execFileSync('setpriv', ['--reuid=65534', '--regid=65534', '--clear-groups', process.execPath, script, folder], {
    encoding: 'utf8',
  })
  const { tree, unreadable, count } = JSON.parse(output) as { tree: [string, string][]; unreadable: unknown; count: number }
  const told = new Map(tree)
  t.deepEqual([...told.keys()].sort(), [
    'closed',
    'enter-only',
    'names-only',
    'names-only/in',
    'names-only/x',
    'open',
    'open/in',
    'open/in/x',
  ])
  t.is(told.get('names-only/x'), 'partial')
  t.deepEqual(unreadable, [
    { path: 'closed', reason: 'permission denied' },
    { path: 'enter-only', reason: 'permission denied' },
    { path: 'names-only', reason: 'permission denied' },
  ])
  t.is(count, 3)
})

test.serial('the memory of the thread does not grow with scans', async t => {
  const folder = largeFolder(t)
  for (let i = 0; i < 1000; i++) mkdirSync(`${folder}/${i % 10}/${i}/x`, { recursive: true })
  const watcher = watch(t, folder)
  let from = await watcher.until('finished 1')
  const scan = async (n: number) => {
    watcher.observer.rescan()
    from = await watcher.until(`finished ${n}`, from)
  }
  for (let n = 2; n < 20; n++) await scan(n)
  const before = process.memoryUsage().rss
  for (let n = 20; n < 80; n++) await scan(n)
  t.true(process.memoryUsage().rss - before < 30e6)
  t.is(watcher.observer.status().counts.known, 2011)
  t.is(watcher.observer.status().counts.watched, 2011)
})
