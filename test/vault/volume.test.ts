/** A vault does what every volume must do; what was closed is there again, from the working index and without it. */
import { randomBytes } from 'node:crypto'
import test from 'ava'
import { O_RDONLY, O_RDWR, O_TRUNC } from '../../src/sys/flags.ts'
import { context, listNames, volumeSuite } from '../vfs/volume-contract.ts'
import { TestVault } from './vault-fixture.ts'

volumeSuite('vault', async () => {
  const { vault, volume } = await TestVault.create()
  return {
    volume,
    async dispose() {
      await volume.close()
      vault.remove()
    },
  }
})

test('what was closed is there again, with and without the working index', async t => {
  const { vault, volume } = await TestVault.create()
  t.teardown(() => vault.remove())
  const bytes = randomBytes(5_000_000)
  const { entry, file } = volume.create(context, volume.rootIno, 'large', 0o640, O_RDWR)
  for (let at = 0; at < bytes.length; at += 131_072) file.write(context, at, bytes.subarray(at, at + 131_072), {})
  await file.release()
  const d = volume.mkdir(context, volume.rootIno, 'd\xff', 0o755)
  volume.symlink(context, d.attributes.ino, 'l', 'to\xfe')
  volume.setxattr(context, d.attributes.ino, 'user.a', Buffer.from([1, 2]), 0)
  volume.link(context, entry.attributes.ino, d.attributes.ino, 'hard')
  const before = volume.getattr(context, entry.attributes.ino).attributes
  await volume.close()
  for (const withIndex of [true, false]) {
    if (!withIndex) vault.forgetWork()
    const again = await vault.open()
    t.deepEqual(await listNames(again, again.rootIno), ['large', 'd\xff'])
    const found = again.lookup(context, again.rootIno, 'large')!
    // Reading it moves the access time.
    t.deepEqual({ ...found.attributes, atimeNsec: 0, atimeSec: 0 }, { ...before, atimeNsec: 0, atimeSec: 0 })
    const opened = again.open(context, found.attributes.ino, O_RDONLY)
    const read = Buffer.alloc(bytes.length)
    t.is(await opened.read(context, 0, read), bytes.length)
    t.true(read.equals(bytes))
    await opened.release()
    const folder = again.lookup(context, again.rootIno, 'd\xff')!.attributes.ino
    t.is(again.readlink(context, again.lookup(context, folder, 'l')!.attributes.ino), 'to\xfe')
    t.deepEqual(again.getxattr(context, folder, 'user.a'), Buffer.from([1, 2]))
    t.is(again.lookup(context, folder, 'hard')!.attributes.nlink, 2)
    await again.close()
  }
})

test('opening an empty file with O_TRUNC sets its times; an ACL is refused, not kept as a plain attribute', async t => {
  const { vault, volume } = await TestVault.create()
  t.teardown(() => vault.remove())
  const { entry, file } = volume.create(context, volume.rootIno, 'empty', 0o640, O_RDWR)
  await file.release()
  const { ino } = entry.attributes
  volume.setattr(context, ino, { mtime: { sec: 1234, nsec: 5678 } })
  await volume.open(context, ino, O_RDWR | O_TRUNC).release()
  t.true(volume.getattr(context, ino).attributes.mtimeSec > 1234)
  const acl = 'system.posix_acl_access'
  t.like(
    t.throws(() => volume.setxattr(context, ino, acl, Buffer.alloc(4), 0)),
    { kind: 'not-supported' },
  )
  t.like(
    t.throws(() => volume.getxattr(context, ino, acl)),
    { kind: 'not-supported' },
  )
  t.deepEqual(volume.listxattr(context, ino), [])
  await volume.close()
})
