/** What is stored once, what is kept by snapshots, what is collected and what never is; what the stored bytes don't say. */
import { randomBytes } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { FsError } from '../../src/errors.ts'
import { O_RDONLY, O_RDWR, O_TRUNC } from '../../src/sys/flags.ts'
import type { Ino } from '../../src/vfs/contract.ts'
import { keptSnapshots } from '../../src/vfs/volumes/vault/snapshots/keep-rules.ts'
import type { VaultVolume } from '../../src/vfs/volumes/vault/vault.ts'
import { context, listNames } from '../vfs/volume-contract.ts'
import { dump } from './random-operations.ts'
import { TestVault } from './vault-fixture.ts'

const signal = new AbortController().signal

function write(volume: VaultVolume, name: string, bytes: Buffer, parent: Ino = volume.rootIno): Ino {
  const { entry, file } = volume.create(context, parent, name, 0o644, O_RDWR | O_TRUNC)
  for (let at = 0; at < bytes.length; at += 131_072) file.write(context, at, bytes.subarray(at, at + 131_072), {})
  file.release()
  volume.forget(entry.attributes.ino, 1)
  return entry.attributes.ino
}

function read(volume: VaultVolume, ino: Ino): Buffer {
  const file = volume.open(context, ino, O_RDONLY)
  const bytes = Buffer.alloc(volume.getattr(context, ino).attributes.sizeBytes)
  file.read(context, 0, bytes)
  file.release()
  return bytes
}

function stored(volume: VaultVolume): number {
  volume.syncfs()
  return volume.info().storedBytes
}

test('the same bytes are stored once; an insertion at the front stores little; what compresses is compressed', async t => {
  const { vault, volume } = await TestVault.create()
  t.teardown(() => vault.remove())
  const bytes = randomBytes(12_000_000)
  write(volume, 'one', bytes)
  const first = stored(volume)
  t.true(first >= bytes.length && first < bytes.length * 1.01)
  write(volume, 'two', bytes)
  t.is(stored(volume), first)
  const inserted = Buffer.concat([Buffer.from('a line more\n'), bytes])
  const ino = write(volume, 'three', inserted)
  t.true(stored(volume) - first < 2_500_000, `${stored(volume) - first} bytes more`)
  t.true(read(volume, ino).equals(inserted))
  const before = stored(volume)
  const text = write(volume, 'text', Buffer.from('so it is said, again and again\n'.repeat(100_000)))
  t.true(stored(volume) - before < 100_000)
  t.is(read(volume, text).length, 3_100_000)
  t.is(volume.info().contentBytes, 3 * bytes.length + 12 + 3_100_000)
  await volume.close()
})

test('writes in the middle store what was written, not the file', async t => {
  const { vault, volume } = await TestVault.create()
  t.teardown(() => vault.remove())
  const bytes = randomBytes(8_000_000)
  const ino = write(volume, 'file', bytes)
  const first = stored(volume)
  const file = volume.open(context, ino, O_RDWR)
  for (let i = 0; i < 50; i++) {
    const piece = randomBytes(4096)
    piece.copy(bytes, i * 131_072)
    file.write(context, i * 131_072, piece, {})
    if (i % 10 === 0) file.fsync(context, false)
  }
  file.release()
  // The old chunks are still in use for the bytes around.
  t.true(stored(volume) - first < 50 * 6000)
  t.true(read(volume, ino).equals(bytes))
  await volume.close()
})

test('many small appends with a sync each make few extents', async t => {
  const { vault, volume } = await TestVault.create()
  t.teardown(() => vault.remove())
  const { entry, file } = volume.create(context, volume.rootIno, 'log', 0o644, O_RDWR)
  const lines = Array.from({ length: 1000 }, (_, i) => Buffer.from(`line ${i} ${randomBytes(20).toString('hex')}\n`))
  for (const line of lines) {
    file.write(context, 0, line, { append: true })
    file.fsync(context, true)
  }
  file.release()
  t.true(read(volume, entry.attributes.ino).equals(Buffer.concat(lines)))
  await volume.gc(signal)
  t.true(volume.info().chunks < 20, `${volume.info().chunks} chunks`)
  await volume.close()
})

test('what is deleted is collected, and not a byte of anything else', async t => {
  const { vault, volume } = await TestVault.create({ limits: { packBytes: 3 * 2 ** 20 } })
  t.teardown(() => vault.remove())
  const kept = randomBytes(500_000)
  const big = randomBytes(10_000_000)
  const shared = randomBytes(700_000)
  for (let i = 0; i < 4; i++) {
    write(volume, `big-${i}`, Buffer.concat([big.subarray(i * 2_000_000, (i + 1) * 2_000_000), shared]))
    write(volume, `kept-${i}`, Buffer.concat([kept.subarray(i * 1000), Buffer.from([i])]))
    volume.syncfs()
  }
  const before = volume.info().totalBytes
  for (let i = 0; i < 4; i++) volume.unlink(context, volume.rootIno, `big-${i}`)
  // Open without a name: still there.
  const held = write(volume, 'held', shared)
  const file = volume.open(context, held, O_RDONLY)
  volume.unlink(context, volume.rootIno, 'held')
  const tree = dump(volume)
  const freed = await volume.gc(signal)
  t.true(freed.freedBytes > 6_000_000, JSON.stringify(freed))
  t.true(volume.info().totalBytes < before - 6_000_000, `${before} ${JSON.stringify(volume.info())} ${JSON.stringify(freed)}`)
  const into = Buffer.alloc(shared.length)
  t.is(file.read(context, 0, into), shared.length)
  t.true(into.equals(shared))
  file.release()
  t.deepEqual(dump(volume), tree)
  t.deepEqual(await volume.check({ repair: false, signal, progress() {} }), [])
  await volume.close()
  vault.forgetWork()
  const again = await vault.open()
  t.deepEqual(dump(again), tree)
  t.deepEqual(await again.check({ repair: false, signal, progress() {} }), [])
  await again.close()
})

test('a snapshot is the tree as it was, read-only, whatever happens after; pruned and collected it takes no room', async t => {
  const { vault, volume } = await TestVault.create({ limits: { packBytes: 2 * 2 ** 20 } })
  t.teardown(() => vault.remove())
  const bytes = randomBytes(3_000_000)
  const ino = write(volume, 'file', bytes)
  const d = volume.mkdir(context, volume.rootIno, 'd', 0o750).attributes.ino
  write(volume, 'inner', Buffer.from('inner'), d)
  volume.setxattr(context, d, 'user.a', Buffer.from('old'), 0)
  volume.symlink(context, d, 'link', 'somewhere')
  const tree = dump(volume)
  const taken = await volume.snapshot('first')

  const file = volume.open(context, ino, O_RDWR)
  file.write(context, 1_000_000, randomBytes(100_000), {})
  file.release()
  volume.setattr(context, ino, { sizeBytes: 2_000_000, mode: 0o600 })
  volume.unlink(context, d, 'inner')
  volume.setxattr(context, d, 'user.a', Buffer.from('new'), 0)
  volume.rename(context, volume.rootIno, 'd', volume.rootIno, 'e', 0)
  await volume.gc(signal)

  t.false((await listNames(volume, volume.rootIno)).includes('.snapshots'))
  const folder = volume.lookup(context, volume.rootIno, '.snapshots')!.attributes.ino
  t.deepEqual(await listNames(volume, folder), [taken.name])
  const root = volume.lookup(context, folder, taken.name)!.attributes.ino
  t.deepEqual(dump(volume, root), tree)
  const past = volume.lookup(context, root, 'file')!.attributes.ino
  t.true(read(volume, past).equals(bytes))
  for (const refused of [
    () => volume.mkdir(context, root, 'x', 0o755),
    () => volume.unlink(context, root, 'file'),
    () => volume.open(context, past, O_RDWR),
    () => volume.setattr(context, past, { mode: 0 }),
    () => volume.setxattr(context, past, 'user.x', Buffer.alloc(0), 0),
    () => volume.mkdir(context, volume.rootIno, '.snapshots', 0o755),
    () => volume.rmdir(context, volume.rootIno, '.snapshots'),
    () => volume.rename(context, root, 'file', volume.rootIno, 'moved', 0),
    () => volume.link(context, past, volume.rootIno, 'linked'),
  ])
    t.throws(refused, { instanceOf: FsError })

  // After a rebuild, too.
  await volume.close()
  vault.forgetWork()
  const again = await vault.open({ limits: { packBytes: 2 * 2 ** 20 } })
  const found = again.lookup(context, again.lookup(context, again.rootIno, '.snapshots')!.attributes.ino, taken.name)!.attributes.ino
  t.deepEqual(dump(again, found), tree)
  const before = again.info()
  t.deepEqual(
    (await again.prune({ last: 0 })).map(({ name }) => name),
    [taken.name],
  )
  t.throws(() => again.getattr(context, found), { instanceOf: FsError, message: 'stale' })
  await again.gc(signal)
  t.true(again.info().totalBytes < before.totalBytes - 500_000, `${JSON.stringify(before)} ${JSON.stringify(again.info())}`)
  t.deepEqual(await again.check({ repair: false, signal, progress() {} }), [])
  await again.close()
})

test('rules keep the newest of each period', t => {
  const at = (text: string) => Date.parse(text)
  const snapshots = [
    at('2026-01-01T10:00:00Z'),
    at('2026-01-01T20:00:00Z'),
    at('2026-01-02T01:00:00Z'),
    at('2026-01-09T01:00:00Z'),
    at('2026-02-01T00:00:00Z'),
    at('2026-02-01T00:30:00Z'),
  ].map((time, i) => ({ id: i + 1, time }))
  const kept = (rules: Parameters<typeof keptSnapshots>[1]) => [...keptSnapshots(snapshots, rules)].sort()
  t.deepEqual(kept({}), [1, 2, 3, 4, 5, 6])
  t.deepEqual(kept({ last: 0 }), [])
  t.deepEqual(kept({ last: 2 }), [5, 6])
  t.deepEqual(kept({ daily: 3 }), [3, 4, 6])
  t.deepEqual(kept({ monthly: 2 }), [4, 6])
  t.deepEqual(kept({ weekly: 3 }), [3, 4, 6])
  t.deepEqual(kept({ yearly: 1, daily: 1, last: 1 }), [6])
  t.deepEqual(kept({ hourly: 2, monthly: 1 }), [4, 6])
})

test('what is stored says nothing of names, contents, targets and attributes', async t => {
  const { vault, volume } = await TestVault.create()
  t.teardown(() => vault.remove())
  const secret = 'plainly-visible'
  write(volume, `${secret}-name`, Buffer.from(`${secret}-content `.repeat(3)))
  write(volume, 'compressed', Buffer.from(`${secret}-content `.repeat(3000)))
  volume.symlink(context, volume.rootIno, 'l', `${secret}-target`)
  volume.setxattr(context, volume.rootIno, 'user.x', Buffer.from(`${secret}-value`), 0)
  await volume.snapshot(`${secret}-label`)
  await volume.close()
  const files = readdirSync(vault.directory, { recursive: true, withFileTypes: true }).filter(entry => entry.isFile())
  t.true(files.length > 3)
  for (const entry of files) {
    t.false(entry.name.includes(secret))
    t.false(readFileSync(join(entry.parentPath, entry.name)).includes(secret), entry.name)
  }
})
