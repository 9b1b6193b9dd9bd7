/** The location goes and comes: folders that move, drives that are unmounted, mounts below, and filesystems that hang. */
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import test, { type ExecutionContext } from 'ava'
import { filesystemImage, hasBindfs, hasLoopDevices, isRoot, run, shell, temporaryFolder, watch } from './folders.ts'
import { differences, disk, eventually } from './mirror.ts'

const asRoot = isRoot ? test.serial : test.serial.skip
// Without loop devices and mkfs.ext4 there is no drive to unmount; without bindfs no filesystem to hang.
const withLoop = hasLoopDevices ? test.serial : test.serial.skip
const withBindfs = hasBindfs ? test.serial : test.serial.skip

test.serial('a folder that is renamed away is offline, and online when it is back', async t => {
  const folder = temporaryFolder(t)
  shell(folder, 'mkdir -p up/root/a; echo x > up/root/a/x')
  const watcher = watch(t, `${folder}/up/root`, { limits: { rootCheckMs: 60_000 } })
  let from = await watcher.until('finished 1')
  const { identity } = watcher
  // The check of every second is off: the events of watches have to do it.
  renameSync(`${folder}/up/root`, `${folder}/up/other`)
  from = await watcher.until('offline: the folder is missing', from)
  t.is(watcher.observer.status().state, 'offline')
  writeFileSync(`${folder}/up/other/a/y`, '')
  renameSync(`${folder}/up/other`, `${folder}/up/root`)
  from = await watcher.until('finished 2', from)
  t.deepEqual(watcher.identity, identity)
  t.deepEqual(differences(watcher.mirror.tree(), disk(`${folder}/up/root`)), [])
  // A folder above.
  renameSync(`${folder}/up`, `${folder}/down`)
  from = await watcher.until('offline: the folder is missing', from)
  mkdirSync(`${folder}/up`)
  await sleep(100)
  rmSync(`${folder}/up`, { recursive: true })
  renameSync(`${folder}/down`, `${folder}/up`)
  from = await watcher.until('finished 3', from)
  writeFileSync(`${folder}/up/root/a/z`, '')
  await watcher.agrees(`${folder}/up/root`)
  t.deepEqual(watcher.story.slice(0, 5), ['online', 'scan 1', 'finished 1', 'offline: the folder is missing', 'online'])
})

test.serial('a folder that is missing from the start, and one made step by step', async t => {
  const folder = temporaryFolder(t)
  const watcher = watch(t, `${folder}/a/b/c`, { limits: { rootCheckMs: 60_000 } })
  await watcher.until('offline: the folder is missing')
  for (const path of ['a', 'a/b', 'a/b/c']) {
    mkdirSync(`${folder}/${path}`)
    await sleep(100)
  }
  await watcher.until('finished 1')
  t.is(watcher.story[0], 'offline: the folder is missing')
})

test.serial('an empty folder in place of the location is not the location; one with files replaces it', async t => {
  const folder = temporaryFolder(t)
  shell(folder, 'mkdir -p root/a; echo x > root/a/x')
  const watcher = watch(t, `${folder}/root`, { limits: { rootCheckMs: 100 } })
  let from = await watcher.until('finished 1')
  const { identity } = watcher
  shell(folder, 'mkdir new; mv root old; mv new root')
  from = await watcher.until('offline: an empty folder is there in place of the one that was added', from)
  await sleep(300)
  t.is(watcher.story.length, from, 'told once')
  mkdirSync(`${folder}/root/something`)
  from = await watcher.until('finished 2', from)
  t.not(watcher.identity!.ino, identity!.ino)
  t.is(watcher.identity!.filesystem, identity!.filesystem)
  t.deepEqual(differences(watcher.mirror.tree(), disk(`${folder}/root`)), [])
  // Exchanged in one step, it is never away.
  shell(folder, "python3 -c \"import ctypes; assert ctypes.CDLL(None).renameat2(-100, b'root', -100, b'old', 2) == 0\"")
  await watcher.until('finished 3', from)
  t.deepEqual(watcher.identity, identity)
  t.deepEqual(differences(watcher.mirror.tree(), disk(`${folder}/root`)), [])
  // The location's own folder may become empty.
  rmSync(`${folder}/root/a`, { recursive: true })
  await watcher.agrees(`${folder}/root`)
  t.is(watcher.observer.status().state, 'online')
})

test.serial('the recorded identity counts from the start', async t => {
  const folder = temporaryFolder(t)
  mkdirSync(`${folder}/root`)
  const first = watch(t, `${folder}/root`)
  await first.until('finished 1')
  await first.observer.close()
  const { filesystem } = first.identity!
  const other = watch(t, `${folder}/root`, { identity: { filesystem, ino: '1' } })
  await other.until(/^offline: an empty folder/)
  const elsewhere = watch(t, `${folder}/root`, { identity: { filesystem: '1234:', ino: first.identity!.ino } })
  await elsewhere.until('offline: another filesystem is there than the one that the location is on')
  const same = watch(t, `${folder}/root`, { identity: first.identity! })
  await same.until('finished 1')
  t.deepEqual(same.identity, first.identity)
})

test.serial('a file in place of the folder, and a path through a symlink', async t => {
  const folder = temporaryFolder(t)
  writeFileSync(`${folder}/file`, '')
  const file = watch(t, `${folder}/file`)
  await file.until('offline: a file is there in place of the folder')
  mkdirSync(`${folder}/real/sub`, { recursive: true })
  symlinkSync('real', `${folder}/link`)
  const link = watch(t, `${folder}/link/sub`)
  await link.until('finished 1')
  writeFileSync(`${folder}/real/sub/x`, '')
  await link.agrees(`${folder}/real/sub`)
  t.pass()
})

withLoop('a drive that is unmounted is offline, and the empty mount point is not taken for it', async t => {
  const folder = temporaryFolder(t)
  const image = filesystemImage(folder, 'image')
  mkdirSync(`${folder}/drive`)
  run('mount', '-o', 'loop', image, `${folder}/drive`)
  shell(`${folder}/drive`, 'for i in {1..50}; do mkdir -p $i/sub; echo $i > $i/sub/file; done')
  const watcher = watch(t, `${folder}/drive`, { limits: { rootCheckMs: 60_000 } })
  let from = await watcher.until('finished 1')
  const { identity } = watcher
  const told = watcher.mirror.tree()
  t.true(told.size > 100)
  for (let scan = 2; scan < 5; scan++) {
    // Nothing is held open at rest: this doesn't fail with EBUSY.
    run('umount', `${folder}/drive`)
    from = await watcher.until('offline: another filesystem is there than the one that the location is on', from)
    run('mount', '-o', 'loop', image, `${folder}/drive`)
    from = await watcher.until(`finished ${scan}`, from)
    t.deepEqual(watcher.identity, identity)
    t.deepEqual(watcher.mirror.tree(), told)
  }
  const other = filesystemImage(folder, 'other')
  run('umount', `${folder}/drive`)
  from = await watcher.until(/^offline/, from)
  run('mount', '-o', 'loop', other, `${folder}/drive`)
  await sleep(300)
  t.is(watcher.story.length, from, 'another drive is not the location')
  run('umount', `${folder}/drive`)
})

withLoop('a location in a folder of a drive', async t => {
  const folder = temporaryFolder(t)
  const image = filesystemImage(folder, 'image')
  mkdirSync(`${folder}/drive`)
  run('mount', '-o', 'loop', image, `${folder}/drive`)
  shell(`${folder}/drive`, 'mkdir -p photos/2020; echo x > photos/2020/x')
  const watcher = watch(t, `${folder}/drive/photos`)
  const from = await watcher.until('finished 1')
  run('umount', `${folder}/drive`)
  await watcher.until('offline: the folder is missing', from)
  run('mount', '-o', 'loop', image, `${folder}/drive`)
  await watcher.until('finished 2', from)
  t.deepEqual(differences(watcher.mirror.tree(), disk(`${folder}/drive/photos`)), [])
  await watcher.observer.close()
  run('umount', `${folder}/drive`)
})

withLoop('a drive that is mounted below the location is part of it, while it is there', async t => {
  const folder = temporaryFolder(t)
  const image = filesystemImage(folder, 'image')
  shell(folder, 'mkdir -p root/drive/below root/a; echo x > root/drive/below/x')
  const root = `${folder}/root`
  const watcher = watch(t, root)
  const from = await watcher.until('finished 1')
  run('mount', '-o', 'loop', image, `${root}/drive`)
  await watcher.agrees(root)
  shell(`${root}/drive`, 'mkdir -p p/q; echo 1 > p/q/1')
  await watcher.agrees(root)
  t.true(watcher.mirror.tree().has('drive/p/q/1'))
  run('umount', `${root}/drive`)
  await watcher.agrees(root)
  t.true(watcher.mirror.tree().has('drive/below/x'))
  run('mount', '-o', 'loop', image, `${root}/drive`)
  await watcher.agrees(root)
  shell(`${root}/drive`, 'echo 2 > p/q/2')
  await watcher.agrees(root)
  t.is(watcher.story.length, from)
})

asRoot('a folder that is mounted twice below the location is told once', async t => {
  const folder = temporaryFolder(t)
  shell(folder, 'mkdir -p root/a/b root/twin root/self other/c; echo x > root/a/b/x; echo y > other/c/y; mkdir root/other')
  run('mount', '--bind', `${folder}/root/a`, `${folder}/root/twin`)
  run('mount', '--bind', `${folder}/root`, `${folder}/root/self`)
  run('mount', '--bind', `${folder}/other`, `${folder}/root/other`)
  const watcher = watch(t, `${folder}/root`)
  await watcher.until('finished 1')
  const tree = watcher.mirror.tree()
  t.deepEqual([...tree.keys()].sort(), ['a', 'a/b', 'a/b/x', 'other', 'other/c', 'other/c/y', 'self', 'twin'])
  t.is(tree.get('self'), 'excluded')
  t.is(tree.get('twin'), 'excluded')
  run('umount', `${folder}/root/twin`)
  writeFileSync(`${folder}/root/twin/own`, '')
  await eventually(() => watcher.mirror.tree().has('twin/own'))
  run('mount', '--bind', `${folder}/root/a`, `${folder}/root/twin`)
  await eventually(() => watcher.mirror.tree().get('twin') === 'excluded' && !watcher.mirror.tree().has('twin/own'))
})

test.serial('a path of its own is never touched, and counts as empty', async t => {
  const folder = temporaryFolder(t)
  shell(folder, 'mkdir -p root/a/mine/x root/b; echo x > root/a/mine/x/x')
  const excluded = Buffer.from(`${folder}/root/a/mine`).toString('latin1')
  const watcher = watch(t, `${folder}/root`, { excluded: [excluded] })
  await watcher.until('finished 1')
  t.is(watcher.mirror.tree().get('a/mine'), 'excluded')
  t.deepEqual([...watcher.mirror.tree().keys()].sort(), ['a', 'a/mine', 'b'])
  watcher.observer.prioritize('a/mine/x')
  shell(folder, 'touch root/a/mine; echo y > root/a/y; echo z > root/a/mine/z')
  await eventually(() => watcher.mirror.tree().has('a/y'))
  t.is(watcher.mirror.tree().get('a/mine'), 'excluded')
  watcher.observer.exclude([`${excluded}/x`])
  await eventually(() => watcher.mirror.tree().has('a/mine/z') && watcher.mirror.tree().get('a/mine/x') === 'excluded')
  watcher.observer.exclude([])
  await watcher.agrees(`${folder}/root`)
  watcher.observer.exclude([Buffer.from(`${folder}/root`).toString('latin1')])
  await watcher.until('offline: the folder lies inside a mount of this program')
})

/** A FUSE mount whose server is stopped: whatever touches it waits. */
async function hangingMount(t: ExecutionContext, source: string, point: string): Promise<ChildProcess> {
  const server = spawn('bindfs', ['-f', source, point], { stdio: 'ignore' })
  t.teardown(() => {
    server.kill('SIGCONT')
    server.kill('SIGKILL')
  })
  await eventually(() => run('cat', '/proc/self/mountinfo').includes(` ${point} `))
  server.kill('SIGSTOP')
  return server
}

withBindfs('a filesystem below the location that hangs is not touched', async t => {
  const folder = temporaryFolder(t)
  shell(folder, 'mkdir -p root/a/hang root/z source; echo x > source/x; echo y > root/a/y')
  await hangingMount(t, `${folder}/source`, `${folder}/root/a/hang`)
  const watcher = watch(t, `${folder}/root`)
  const from = await watcher.until('finished 1')
  t.is(watcher.mirror.tree().get('a/hang'), 'excluded')
  // One that comes while the location is watched.
  await hangingMount(t, `${folder}/source`, `${folder}/root/z`)
  await eventually(() => watcher.mirror.tree().get('z') === 'excluded')
  watcher.observer.rescan()
  await watcher.until('finished 2', from)
  writeFileSync(`${folder}/root/a/new`, '')
  await eventually(() => watcher.mirror.tree().has('a/new'))
  t.deepEqual([...watcher.mirror.tree().keys()].sort(), ['a', 'a/hang', 'a/new', 'a/y', 'z'])
})

withBindfs('on a filesystem that others change unseen, directories are looked at in rounds', async t => {
  const folder = temporaryFolder(t)
  shell(folder, 'mkdir -p source/a/b root; echo x > source/a/x')
  const server = spawn('bindfs', ['-f', `${folder}/source`, `${folder}/root`], { stdio: 'ignore' })
  t.teardown(() => server.kill('SIGKILL'))
  await eventually(() => run('cat', '/proc/self/mountinfo').includes(` ${folder}/root `))
  const facts: { type: string; mayHang: boolean }[] = []
  const watched: boolean[] = []
  const watcher = watch(t, `${folder}/root`, {
    limits: { roundMs: 100 },
    batch(batch) {
      watcher.mirror.apply(batch.reader)
      batch.reader.rewind()
      while (batch.reader.nextSection()) watched.push(batch.reader.isWatched)
      watcher.observer.acknowledge(batch)
    },
    online: (_identity, filesystem) => facts.push(filesystem),
  })
  await watcher.until('finished 1')
  t.like(facts[0], { type: 'fuse', mayHang: true })
  // Behind the mount's back: no event tells of it.
  shell(folder, 'mkdir source/a/b/new; echo y > source/a/b/new/y; rm source/a/x')
  await eventually(() => watcher.mirror.tree().has('a/b/new/y') && !watcher.mirror.tree().has('a/x'))
  t.false(watched.includes(true), 'so that nothing is believed for long')
})

withBindfs('a location that hangs is offline, comes back, and does not keep the observer from closing', async t => {
  const folder = temporaryFolder(t)
  shell(folder, 'mkdir -p source/a root; echo x > source/a/x')
  const server = await hangingMount(t, `${folder}/source`, `${folder}/root`)
  const watcher = watch(t, `${folder}/root`)
  await watcher.until('offline: the folder does not answer')
  server.kill('SIGCONT')
  const from = await watcher.until('finished 1')
  t.deepEqual([...watcher.mirror.tree().keys()].sort(), ['a', 'a/x'])
  t.is(watcher.observer.status().state, 'online')
  server.kill('SIGSTOP')
  // bindfs lets the kernel cache attributes for a second.
  await sleep(1_100)
  watcher.observer.rescan()
  await watcher.until('offline: the folder does not answer', from)
  const started = performance.now()
  await watcher.observer.close()
  t.true(performance.now() - started < 5_000, 'it takes a second where the machine is not busy')
  t.true(watcher.observer.status().leftBehind)
  server.kill('SIGCONT')
  await eventually(() => !watcher.observer.status().leftBehind)
})
