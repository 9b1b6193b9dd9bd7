/** A front end that caches hears of every change made through another one. */
import test from 'ava'
import { silentLog } from '../../src/log.ts'
import { O_RDONLY, O_RDWR, O_TRUNC, O_WRONLY } from '../../src/sys/flags.ts'
import { notifyingVfs } from '../../src/vfs/notifying-vfs.ts'
import { Tree } from '../../src/vfs/tree.ts'
import { MemoryVolume } from '../../src/vfs/volumes/memory.ts'
import { context } from './volume-contract.ts'

function setUp() {
  const tree = new Tree({ log: silentLog })
  const volume = new MemoryVolume()
  tree.addVolume('mem', volume)
  const heard: string[] = []
  const vfs = notifyingVfs(tree, {
    inodeChanged: (ino, data) => heard.push(`inode ${ino - volume.rootIno} ${data}`),
    entryChanged: (parent, name) => heard.push(`entry ${parent - volume.rootIno} ${name}`),
    entryRemoved: (parent, name, child) => heard.push(`removed ${parent - volume.rootIno} ${name} ${child - volume.rootIno}`),
    everythingChanged: () => undefined,
  })
  return { vfs, root: volume.rootIno, volume, heard, take: () => heard.splice(0) }
}

test('creating, linking, renaming and removing tell of names and of their directory', async t => {
  const { vfs, root, volume, take } = setUp()
  const { entry, handle } = await vfs.create(context, root, 'a', 0o644, O_RDWR)
  t.deepEqual(take(), ['entry 0 a', 'inode 0 true'])
  await vfs.release(handle)
  await vfs.link(context, entry.attributes.ino, root, 'b')
  t.deepEqual(take(), ['entry 0 b', 'inode 0 true', 'inode 1 false'])
  const directory = await vfs.mkdir(context, root, 'd', 0o755)
  t.deepEqual(take(), ['entry 0 d', 'inode 0 true'])
  await vfs.rename(context, root, 'a', directory.attributes.ino, 'c', 0)
  t.deepEqual(take(), ['entry 0 a', 'inode 0 true', 'entry 2 c', 'inode 2 true'])
  await vfs.unlink(context, directory.attributes.ino, 'c')
  t.deepEqual(take(), ['removed 2 c 1', 'inode 1 false', 'inode 2 true'])
  await vfs.rmdir(context, root, 'd')
  t.deepEqual(take(), ['removed 0 d 2', 'inode 2 false', 'inode 0 true'])
  vfs.forget(entry.attributes.ino, 2)
  vfs.forget(directory.attributes.ino, 1)
  t.is(volume.nodeCount, 2, 'the wrapper gives back what it looked up')
})

test('replacing tells of the node that lost its name', async t => {
  const { vfs, root, take } = setUp()
  for (const name of ['a', 'b']) await vfs.release((await vfs.create(context, root, name, 0o644, O_RDWR)).handle)
  take()
  await vfs.rename(context, root, 'a', root, 'b', 0)
  t.deepEqual(take(), ['entry 0 a', 'inode 0 true', 'entry 0 b', 'inode 0 true', 'inode 2 false'])
})

test('bytes and attributes', async t => {
  const { vfs, root, take } = setUp()
  const { handle, entry } = await vfs.create(context, root, 'a', 0o644, O_RDWR)
  const { ino } = entry.attributes
  take()
  await vfs.file(handle).write(context, 0, Buffer.from('x'), {})
  t.deepEqual(take(), ['inode 1 true'])
  await vfs.file(handle).read(context, 0, Buffer.alloc(1))
  t.deepEqual(take(), [])
  await vfs.setattr(context, ino, { mode: 0o600 })
  t.deepEqual(take(), ['inode 1 false'])
  await vfs.setattr(context, ino, { sizeBytes: 0 })
  t.deepEqual(take(), ['inode 1 true'])
  await vfs.setxattr(context, ino, 'user.x', Buffer.alloc(1), 0, false)
  await vfs.removexattr(context, ino, 'user.x')
  t.deepEqual(take(), ['inode 1 false', 'inode 1 false'])
  const copy = await vfs.tmpfile(context, root, 0o600, O_RDWR)
  t.deepEqual(take(), [])
  await vfs.file(handle).write(context, 0, Buffer.from('abc'), {})
  take()
  t.is(await vfs.file(handle).copyRange(context, 0, copy.file, 0, 3), 3)
  t.deepEqual(
    take(),
    ['inode 3 true'].map(line => line.replace('3', String(copy.entry.attributes.ino - root))),
  )
  const truncated = await vfs.open(context, ino, O_WRONLY | O_TRUNC)
  t.deepEqual(take(), ['inode 1 true'])
  t.is(truncated.file.backingFd, undefined)
})

test('what fails tells nothing', async t => {
  const { vfs, root, heard } = setUp()
  await t.throwsAsync(async () => await vfs.unlink(context, root, 'gone'))
  await t.throwsAsync(async () => await vfs.rmdir(context, root, 'gone'))
  await t.throwsAsync(async () => await vfs.rename(context, root, 'gone', root, 'x', 0))
  await t.throwsAsync(async () => await vfs.open(context, root, O_RDONLY))
  t.throws(() => vfs.mkdir(context, 1, 'x', 0o755))
  t.deepEqual(heard, [])
})
