/** The tree's own: what it knows of the use of a volume, and taking one away while files are open in it. */
import test from 'ava'
import { FsError } from '../../src/errors.ts'
import { silentLog } from '../../src/log.ts'
import { O_RDWR } from '../../src/sys/flags.ts'
import { type RequestContext, ROOT_INO } from '../../src/vfs/contract.ts'
import { Tree } from '../../src/vfs/tree.ts'
import { MemoryVolume } from '../../src/vfs/volumes/memory.ts'

const context: RequestContext = { uid: 0, gid: 0, pid: 1, umask: 0o022, signal: new AbortController().signal }

function world() {
  const tree = new Tree({ log: silentLog })
  const [one, two] = [new MemoryVolume({ id: 1, slot: 1 }), new MemoryVolume({ id: 2, slot: 2 })]
  tree.addVolume('one', one)
  tree.addVolume('two', two)
  return { tree, one, two }
}

test('use of a volume is noticed, that of others and of the root is not', async t => {
  const { tree, one, two } = world()
  tree.takeUse(one)
  tree.takeUse(two)
  await tree.lookup(context, ROOT_INO, 'one')
  await tree.getattr(context, ROOT_INO)
  t.false(tree.takeUse(one))
  await tree.getattr(context, one.rootIno)
  t.true(tree.takeUse(one))
  t.false(tree.takeUse(one), 'it is told once')
  t.false(tree.takeUse(two))
  const { handle } = await tree.create(context, two.rootIno, 'file', 0o644, O_RDWR)
  const { handle: directory } = await tree.opendir(context, two.rootIno)
  t.deepEqual([tree.openIn(one), tree.openIn(two)], [0, 2])
  await tree.release(handle)
  await tree.releasedir(directory)
  t.is(tree.openIn(two), 0)
})

test('a volume that is taken away with its files leaves handles that say so, and others alone', async t => {
  const { tree, one, two } = world()
  const made = await tree.create(context, one.rootIno, 'file', 0o644, O_RDWR)
  const other = await tree.create(context, two.rootIno, 'file', 0o644, O_RDWR)
  const { handle: directory } = await tree.opendir(context, one.rootIno)
  let releases = 0
  const { release } = made.file
  made.file.release = () => {
    releases++
    return release.call(made.file)
  }
  await tree.removeVolume(1, { endFiles: true })
  t.is(releases, 1, 'the volume is told before it is closed')
  const failure = t.throws(() => tree.file(made.handle).read(context, 0, Buffer.alloc(1)), { instanceOf: FsError })
  t.is(failure.kind, 'io')
  t.throws(() => tree.directory(directory).read(context, 0n, false, { add: () => true }), { instanceOf: FsError })
  await tree.release(made.handle)
  await tree.releasedir(directory)
  t.is(releases, 1)
  t.is(await tree.file(other.handle).write(context, 0, Buffer.from('x'), {}), 1)
  t.is(t.throws(() => tree.getattr(context, made.entry.attributes.ino), { instanceOf: FsError }).kind, 'stale')
})
