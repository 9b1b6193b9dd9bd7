/** Changes beside the mount: each is told, nothing is missed, and what is lost is made up for. */
import { execFile } from 'node:child_process'
import {
  appendFileSync,
  closeSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import test from 'ava'
import { SECTION_CHANGES } from '../../src/vfs/volumes/location/observer/batch.ts'
import type { Batch } from '../../src/vfs/volumes/location/observer/observer.ts'
import { largeFolder, run, shell, temporaryFolder, watch } from './folders.ts'
import { differences, disk, eventually, type Watcher } from './mirror.ts'

/** Whether the observer says that a directory is watched. */
function isWatched(watcher: Watcher, path: string): boolean {
  const { dev, ino } = statSync(path)
  const [major, minor] = run('stat', '-c', '%Hd %Ld', path).trim().split(' ').map(Number)
  return dev > 0 && watcher.observer.isWatched(major! * 2 ** 20 + minor!, Math.floor(ino / 2 ** 32), ino % 2 ** 32)
}

test.serial('contents, attributes, names: each change is told', async t => {
  const folder = temporaryFolder(t)
  shell(folder, 'mkdir -p a/b; echo x > a/f; echo y > a/b/g; ln -s x a/l; mkdir other')
  const watcher = watch(t, folder)
  await watcher.until('finished 1')
  const steps = [
    'echo more >> a/f',
    'chmod 600 a/f',
    'chmod 700 a/b',
    'touch -d 2001-02-03 a/b/g',
    'ln a/f a/b/hard',
    'rm a/f',
    'mkfifo a/b/p',
    'rm a/l; ln -s elsewhere a/l',
    'mv a/b/g other/g',
    'mv other/g a/b/',
    'truncate -s 100M a/b/g',
    'rm -r other; echo file > other',
    'rm other; mkdir other; echo in > other/in',
    'cp -a a copy; rm -r a; cp -a copy a',
    "echo x > $'\\xfe\\xff'; mv $'\\xfe\\xff' $'\\xff'",
  ]
  for (const step of steps) {
    shell(folder, step)
    await t.notThrowsAsync(watcher.agrees(folder), step)
  }
  t.deepEqual(watcher.story, ['online', 'scan 1', 'finished 1'])
})

test.serial('the directory itself comes with the changes in it', async t => {
  const folder = temporaryFolder(t)
  shell(folder, 'mkdir -p a/b')
  const told: number[] = []
  const watcher = watch(t, folder, {
    batch(batch: Batch) {
      const { reader } = batch
      while (reader.nextSection())
        while (reader.nextRow())
          if (reader.kind === SECTION_CHANGES && reader.isAboutDirectory && reader.directoryPath === 'a/b') {
            told.push(reader.mtimeSec * 1e3 + reader.mtimeNsec / 1e6)
            t.is(reader.nlink, 3)
            t.is(reader.inoLow, reader.directoryInoLow)
          }
      watcher.observer.acknowledge(batch)
    },
  })
  await watcher.until('finished 1')
  mkdirSync(`${folder}/a/b/c`)
  await eventually(() => told.at(-1) === statSync(`${folder}/a/b`).mtimeMs)
  t.pass()
})

test.serial('a new tree that is made quickly is not missed', async t => {
  const folder = temporaryFolder(t)
  const watcher = watch(t, folder)
  await watcher.until('finished 1')
  for (let round = 0; round < 20; round++)
    shell(folder, `mkdir -p ${round}/a/b/c/d/e/f; for d in ${round}/a ${round}/a/b/c ${round}/a/b/c/d/e/f; do echo $d > $d/file; done`)
  await watcher.agrees(folder)
  // And each of its directories is watched now.
  shell(folder, 'for d in $(find . -type d); do echo again > $d/again; done')
  await watcher.agrees(folder)
  t.pass()
})

test.serial('directories that move take their watches along', async t => {
  const folder = temporaryFolder(t)
  shell(folder, 'mkdir -p a/b/c/d e/f; echo 1 > a/b/c/d/one; echo 2 > e/f/two')
  let listings = 0
  const watcher = watch(t, folder, {
    batch(batch: Batch) {
      watcher.mirror.apply(batch.reader)
      batch.reader.rewind()
      while (batch.reader.nextSection()) if (batch.reader.kind !== SECTION_CHANGES) listings++
      watcher.observer.acknowledge(batch)
    },
  })
  await watcher.until('finished 1')
  const before = listings
  const steps = [
    'mv a/b e/b',
    'echo x > e/b/c/d/x',
    'mv e/b/c z; mv z/d e/f/d; mv e/f z/f',
    'echo y > z/f/d/y; echo z > z/z',
    "python3 -c \"import ctypes; assert ctypes.CDLL(None).renameat2(-100, b'z', -100, b'a', 2) == 0\"",
    'echo y > a/f/d/yy; echo z > z/zz',
    // The tree is turned inside out: what was deepest is on top.
    'mkdir -p p/q/r/s; mv p/q/r r; mv p/q r/q; mv p r/q/p; echo 1 > r/q/p/1',
  ]
  for (const step of steps.slice(0, -1)) {
    shell(folder, step)
    await t.notThrowsAsync(watcher.agrees(folder), step)
  }
  t.true(listings <= before + 3, 'no directory was listed again but those that changed places')
  for (const path of ['a', 'a/f', 'a/f/d', 'e/b', 'z']) t.true(isWatched(watcher, `${folder}/${path}`), path)
  for (let i = 0; i < 20; i++) {
    shell(folder, `${steps.at(-1)}; rm -r r`)
    if (i % 2) await sleep(i * 2)
  }
  shell(folder, steps.at(-1)!)
  await watcher.agrees(folder)
  t.true(watcher.mirror.tree().has('r/q/p/1'))
})

test.serial('regression: a directory leaves another one whose name is taken in the same moment', async t => {
  const folder = temporaryFolder(t)
  shell(folder, 'mkdir -p a/b/c z; echo x > a/b/c/x')
  const watcher = watch(t, folder)
  await watcher.until('finished 1')
  renameSync(`${folder}/a`, `${folder}/away`)
  renameSync(`${folder}/z`, `${folder}/a`)
  renameSync(`${folder}/away/b`, `${folder}/b`)
  rmSync(`${folder}/away`, { recursive: true })
  await watcher.agrees(folder)
  t.true(watcher.mirror.tree().has('b/c/x'))
})

test.serial('a directory that is replaced by a new one with the same inode number', async t => {
  const folder = temporaryFolder(t)
  const watcher = watch(t, folder)
  await watcher.until('finished 1')
  let same = 0
  for (let i = 0; i < 30; i++) {
    mkdirSync(`${folder}/d/sub`, { recursive: true })
    writeFileSync(`${folder}/d/sub/old-${i}`, '')
    if (i % 3 === 0) await watcher.agrees(folder)
    const { ino } = statSync(`${folder}/d`)
    rmSync(`${folder}/d`, { recursive: true })
    mkdirSync(`${folder}/d`)
    if (statSync(`${folder}/d`).ino === ino) same++
    if (i % 2 === 0) await watcher.agrees(folder)
    writeFileSync(`${folder}/d/new-${i}`, '')
    await watcher.agrees(folder)
    t.true(isWatched(watcher, `${folder}/d`))
    rmSync(`${folder}/d`, { recursive: true })
  }
  t.log(`${same} of 30 had the number of the one before`)
})

test.serial('directories that move out are forgotten, and found again when they come back', async t => {
  const folder = temporaryFolder(t)
  shell(folder, 'mkdir -p in/a/b/c out; echo x > in/a/b/x')
  const watcher = watch(t, `${folder}/in`)
  await watcher.until('finished 1')
  const watched = () => watcher.observer.status().counts.watched
  await eventually(() => watched() === 4)
  renameSync(`${folder}/in/a`, `${folder}/out/a`)
  await watcher.agrees(`${folder}/in`)
  await eventually(() => watched() === 1)
  t.false(isWatched(watcher, `${folder}/out/a/b`))
  writeFileSync(`${folder}/out/a/b/y`, '')
  renameSync(`${folder}/out/a`, `${folder}/in/z`)
  await watcher.agrees(`${folder}/in`)
  await eventually(() => watched() === 4)
  t.true(isWatched(watcher, `${folder}/in/z/b/c`))
})

test.serial('a file that is written without end is told of now and then', async t => {
  const folder = temporaryFolder(t)
  let rows = 0
  const watcher = watch(t, folder, {
    batch(batch: Batch) {
      watcher.mirror.apply(batch.reader)
      rows += batch.rows
      watcher.observer.acknowledge(batch)
    },
  })
  await watcher.until('finished 1')
  const fd = openSync(`${folder}/log`, 'a')
  const before = rows
  const started = performance.now()
  let writes = 0
  while (performance.now() - started < 1_500) {
    for (let i = 0; i < 100; i++) appendFileSync(fd, 'x')
    writes += 100
    await sleep(1)
  }
  const seconds = (performance.now() - started) / 1000
  // At most four rounds a second, of two rows each, and the start.
  t.true(rows - before <= seconds * 8 + 6, `${rows - before} rows for ${writes} writes`)
  t.true(rows - before >= 4)
  closeSync(fd)
  await watcher.agrees(folder)
})

test.serial('a storm of writes is muted, and what was written is told', async t => {
  const folder = largeFolder(t)
  shell(folder, 'mkdir d; echo x > d/quiet')
  const watcher = watch(t, folder)
  await watcher.until('finished 1')
  const quiet = openSync(`${folder}/d/quiet`, 'a')
  const files = ['a', 'b', 'c'].map(name => openSync(`${folder}/d/${name}`, 'w'))
  let writes = 0
  for (const started = performance.now(); performance.now() - started < 2_500; await sleep(0)) {
    for (let i = 0; i < 300; i++) appendFileSync(files[i % 3]!, 'x')
    writes += 300
  }
  // Written once in the middle of it, and not closed.
  appendFileSync(quiet, 'y')
  await watcher.agrees(folder)
  // When it's over, single writes are heard as before.
  await sleep(900)
  appendFileSync(quiet, 'z')
  await watcher.agrees(folder)
  for (const fd of [...files, quiet]) closeSync(fd)
  t.log(`${writes} writes, ${watcher.mirror.rows} rows`)
  t.deepEqual(watcher.story, ['online', 'scan 1', 'finished 1'], 'no event was lost')
})

test.serial('a change is told also while a huge directory is being listed, and what was told last is true', async t => {
  const folder = largeFolder(t)
  for (let i = 0; i < 30_000; i++) closeSync(openSync(`${folder}/file-${i}`, 'w'))
  const watcher = watch(t, folder, { limits: { batches: 6 } })
  watcher.hold = true
  await eventually(() => watcher.held.length === 6)
  const listed = [...watcher.mirror.tree().keys()]
  t.is(listed.length, 0, 'the listing is applied with its last page')
  // Some of these are on the first page already, some are not.
  for (let i = 0; i < 30_000; i += 100) rmSync(`${folder}/file-${i}`)
  for (let i = 1; i < 30_000; i += 100) utimesSync(`${folder}/file-${i}`, 1, 1)
  mkdirSync(`${folder}/new`)
  await eventually(() => watcher.mirror.tree().has('new'))
  watcher.release()
  await watcher.until('finished 1')
  await watcher.agrees(folder)
})

test.serial('when events are lost it is said, and everything is scanned again', async t => {
  const folder = temporaryFolder(t)
  shell(folder, 'mkdir -p a/b')
  const watcher = watch(t, folder, { limits: { eventsBetweenLosses: 300, rescanMs: 200 } })
  let from = await watcher.until('finished 1')
  for (let round = 2; round < 5; round++) {
    shell(folder, `for i in {1..200}; do echo $i > a/b/${round}-$i; done; mv a/b a/c; mv a/c a/b; mkdir a/new-${round}`)
    from = await watcher.until('lost', from)
    // More may be lost meanwhile; each loss is followed by a scan.
    await eventually(() => watcher.story.at(-1)!.startsWith('finished'))
    await watcher.agrees(folder)
  }
  t.true(isWatched(watcher, `${folder}/a/b`))
  t.true(isWatched(watcher, `${folder}/a/new-4`))
})

test.serial('a real overflow of the queue', async t => {
  const folder = largeFolder(t)
  const limit = Number(run('cat', '/proc/sys/fs/inotify/max_queued_events'))
  if (limit > 100_000) return t.pass('the queue of this system is too large to be filled')
  const watcher = watch(t, folder)
  const from = await watcher.until('finished 1')
  const script = `
import ctypes, os, signal
for i in range(${Math.ceil(limit / 2)}): os.close(os.open('f%d' % i, os.O_CREAT | os.O_WRONLY))
os.makedirs('a/b/c')
for i in range(100): open('a/b/c/%d' % i, 'w').close()`
  // Faster than one thread can read: several writers.
  const write = promisify(execFile)
  await Promise.all([1, 2, 3, 4].map(n => write('bash', ['-ec', `mkdir ${n}; cd ${n}; python3 -c "${script}"`], { cwd: folder })))
  await t.notThrowsAsync(watcher.agrees(folder, 60_000))
  t.log(watcher.story.slice(from).includes('lost') ? 'events were lost' : 'the thread kept up')
})

test.serial('past the bound of names that wait, whole directories are listed', async t => {
  const folder = largeFolder(t)
  shell(folder, 'mkdir a b')
  const watcher = watch(t, folder, { limits: { pendingNames: 100, batches: 1 } })
  await watcher.until('finished 1')
  watcher.hold = true
  for (let i = 0; i < 300; i++) writeFileSync(`${folder}/a/${i}`, '')
  for (let i = 0; i < 150; i++) mkdirSync(`${folder}/b/${i}`)
  for (let i = 0; i < 300; i += 2) rmSync(`${folder}/a/${i}`)
  await sleep(200)
  watcher.release()
  await watcher.agrees(folder)
  writeFileSync(`${folder}/b/77/x`, '')
  await watcher.agrees(folder)
  t.deepEqual(watcher.story, ['online', 'scan 1', 'finished 1'])
})

test.serial('beyond the limit of watches directories are looked at in rounds', async t => {
  const folder = temporaryFolder(t)
  shell(folder, 'for i in {1..20}; do mkdir -p $i/sub; echo $i > $i/file; done')
  const watcher = watch(t, folder, { limits: { watches: 10, roundMs: 50 } })
  await watcher.until('finished 1')
  const refused = await watcher.until(/^refused: .*sysctl fs.inotify.max_user_watches/)
  t.deepEqual(differences(watcher.mirror.tree(), disk(folder)), [])
  t.is(watcher.observer.status().counts.watched, 10)
  t.truthy(watcher.observer.status().counts.watchRefusal)
  const watched = Array.from({ length: 20 }, (_, i) => isWatched(watcher, `${folder}/${i + 1}`))
  t.true(watched.includes(false) && watched.filter(Boolean).length < 10)
  shell(folder, 'for i in {1..20}; do echo $i > $i/sub/new; mkdir $i/dir; rm $i/file; done; mv 1 2/one; mv 3/sub 4/three')
  await watcher.agrees(folder)
  // What no directory's time shows is found by the listings of every tenth round.
  shell(folder, 'for i in {5..20}; do echo more >> $i/sub/new; chmod 600 $i/sub/new; done')
  await watcher.agrees(folder)
  // Room for more watches is used.
  shell(folder, 'rm -r 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 4 2')
  await watcher.agrees(folder)
  await eventually(() => isWatched(watcher, folder) && isWatched(watcher, `${folder}/3`) && isWatched(watcher, `${folder}/3/dir`))
  t.is(watcher.story.filter(line => line.startsWith('refused')).length, 1)
  t.true(refused > 0)
})

test.serial('a change is soon in the hands of the main thread', async t => {
  const folder = temporaryFolder(t)
  let arrived = 0
  const watcher = watch(t, folder, {
    batch(batch: Batch) {
      arrived = performance.now()
      watcher.observer.acknowledge(batch)
    },
  })
  await watcher.until('finished 1')
  const delays: number[] = []
  for (let i = 0; i < 20; i++) {
    await sleep(60)
    arrived = 0
    const wrote = performance.now()
    mkdirSync(`${folder}/${i}`)
    await eventually(() => arrived > 0)
    delays.push(arrived - wrote)
  }
  delays.sort((a, b) => a - b)
  t.log(`median ${delays[10]!.toFixed(1)} ms, worst ${delays[19]!.toFixed(1)} ms`)
  t.true(delays[0]! < 1_000, 'not a timed test: the bound is the one that users are promised')
})

test.serial('truncation through an open descriptor is told before it is closed', async t => {
  const folder = temporaryFolder(t)
  const fd = openSync(`${folder}/f`, 'w')
  const watcher = watch(t, folder)
  await watcher.until('finished 1')
  ftruncateSync(fd, 12345)
  await watcher.agrees(folder)
  closeSync(fd)
  t.pass()
})
