/** The memory volume does what every volume must do. */
import test from 'ava'
import { FsError } from '../../src/errors.ts'
import { O_RDWR } from '../../src/sys/flags.ts'
import { MemoryVolume } from '../../src/vfs/volumes/memory.ts'
import { context, volumeSuite } from './volume-contract.ts'

volumeSuite('memory', async () => {
  const volume = new MemoryVolume()
  return { volume, dispose: () => volume.close() }
})

test('a node goes when name, handle and references are gone', t => {
  const volume = new MemoryVolume()
  const { entry, file } = volume.create(context, volume.rootIno, 'a', 0o644, O_RDWR)
  t.is(volume.nodeCount, 2)
  volume.unlink(context, volume.rootIno, 'a')
  file.release()
  t.is(volume.nodeCount, 2)
  volume.forget(entry.attributes.ino, 1)
  t.is(volume.nodeCount, 1)
})

test('a full volume takes what fits, then says so, and has the room again after a delete', t => {
  const volume = new MemoryVolume({ capacityBytes: 64 * 1024 })
  const { entry, file } = volume.create(context, volume.rootIno, 'a', 0o644, O_RDWR)
  t.is(file.write(context, 0, Buffer.alloc(100_000), {}), 64 * 1024)
  t.throws(() => file.write(context, 70_000, Buffer.alloc(1), {}), { instanceOf: FsError, message: 'no-space' })
  t.is(volume.statfs().blocksAvailable, 0)
  volume.unlink(context, volume.rootIno, 'a')
  file.release()
  volume.forget(entry.attributes.ino, 1)
  t.is(volume.statfs().blocksAvailable, 16)
})

test('a read-only volume changes nothing', t => {
  const volume = new MemoryVolume({ readOnly: true })
  t.throws(() => volume.mkdir(context, volume.rootIno, 'a', 0o755), { instanceOf: FsError, message: 'read-only' })
  t.throws(() => volume.setattr(context, volume.rootIno, { mode: 0 }), { instanceOf: FsError, message: 'read-only' })
})
