/** A process that is killed at each step of an upload: after the next start everything acknowledged is there, once. */
import test from 'ava'
import { MemoryBackend } from '../../../src/backends/memory.ts'
import type { Step } from '../../../src/cache/writeback/host.ts'
import { FsError } from '../../../src/errors.ts'
import { O_RDWR, O_WRONLY } from '../../../src/sys/flags.ts'
import { context } from '../volume-contract.ts'
import { bucketOf, contentOf, TestGround } from './cloud-ground.ts'

const STEPS: readonly (Step | 'queued')[] = [
  'queued',
  'begun',
  'upload-created',
  'part-sent',
  'before-complete',
  'sent',
  'stored',
  'indexed',
  'removed',
]
const LARGE_BYTES = 11 * 2 ** 20

for (const step of STEPS)
  for (const act of ['new file', 'changed in part', 'renamed', 'large file'] as const) {
    const isOfParts = step === 'upload-created' || step === 'part-sent' || step === 'before-complete'
    if (isOfParts && act !== 'large file') continue
    test(`killed when "${step}": ${act}`, async t => {
      const backend = new MemoryBackend()
      let isArmed = false
      let tell = () => {}
      const reached = new Promise<void>(resolve => {
        tell = resolve
      })
      const ground = new TestGround({
        backend,
        keep: true,
        volume: {
          engine: { multipartBytes: 2 ** 20, partBytes: 5 * 2 ** 20 },
          step(at) {
            if (!isArmed || at !== step) return
            tell()
            return new Promise(() => {})
          },
        },
      })
      const { volume } = ground
      const before = Buffer.alloc(act === 'large file' ? 0 : 100_000, 'o')
      const { entry, file } = await volume.create(context, volume.rootIno, 'f.bin', 0o644, O_RDWR)
      if (before.length > 0) await file.write(context, 0, before, {})
      await file.release()
      await ground.drained()
      isArmed = true
      const { ino } = entry.attributes
      let name = 'f.bin'
      let expected = before
      if (act === 'renamed') {
        await volume.rename(context, volume.rootIno, name, volume.rootIno, 'g.bin', 0)
        name = 'g.bin'
      } else {
        const data = act === 'large file' ? Buffer.alloc(LARGE_BYTES, 'l') : Buffer.from('changed')
        const isNew = act === 'new file'
        if (isNew) name = 'new.bin'
        const handle = isNew
          ? (await volume.create(context, volume.rootIno, name, 0o644, O_RDWR)).file
          : await volume.open(context, ino, O_WRONLY)
        await handle.write(context, 0, data, {})
        await handle.flush(context)
        await handle.release()
        expected = isNew ? data : Buffer.concat([data, before.subarray(Math.min(data.length, before.length))])
      }
      if (step !== 'queued') await reached
      const left = ground.asLeftByCrash()
      const again = new TestGround({ backend, directory: left })
      t.teardown(() => again.close())
      const found = await again.volume.lookup(context, again.volume.rootIno, name)
      t.truthy(found, 'the name is there at once')
      t.true((await contentOf(again.volume, found!.attributes.ino)).equals(expected), 'with its bytes')
      await again.drained()
      await again.volume.refresh()
      const kept =
        act === 'new file'
          ? [`f.bin ${before.toString('latin1')}`, `new.bin ${expected.toString('latin1')}`]
          : [`${name} ${expected.toString('latin1')}`]
      const bucket = await bucketOf(backend)
      t.deepEqual(
        bucket.map(line => line.slice(0, 40)),
        kept.map(line => line.slice(0, 40)),
      )
      t.deepEqual(bucket, kept)
      t.true((await contentOf(again.volume, found!.attributes.ino)).equals(expected))
      t.is(again.volume.sync.status().failed, 0)
    })
  }

test('what was made and never closed is an empty file after a kill; what was removed stays away', async t => {
  const backend = new MemoryBackend()
  const ground = new TestGround({ backend, keep: true, volume: { step: () => new Promise(() => {}) } })
  const { volume } = ground
  await volume.create(context, volume.rootIno, 'made', 0o644, O_RDWR)
  await volume.mkdir(context, volume.rootIno, 'folder', 0o755)
  await volume.symlink(context, volume.rootIno, 'link', 'made')
  await volume.create(context, volume.rootIno, 'gone', 0o644, O_RDWR)
  await volume.unlink(context, volume.rootIno, 'gone')
  const again = new TestGround({ backend, directory: ground.asLeftByCrash() })
  t.teardown(() => again.close())
  const names = again.index.children(again.volume.rootIno, undefined, 10).map(child => child.name)
  t.deepEqual(names, ['folder', 'link', 'made'])
  await again.drained()
  t.deepEqual(await bucketOf(backend), ['folder/ ', 'link made', 'made '])
})

test('without a network the tree lists, what is cached reads, writes queue, the rest fails at once', async t => {
  const store = new MemoryBackend()
  const inside = { away: false }
  const away = () => new FsError('offline', 'no network')
  const backend = new Proxy(store, {
    get(target, name) {
      const value = Reflect.get(target, name)
      if (typeof value !== 'function') return value
      return (...given: unknown[]) => (inside.away ? Promise.reject(away()) : value.apply(target, given))
    },
  })
  await store.put('folder/cached', Buffer.from('in the cache'))
  await store.put('folder/other', Buffer.from('not in the cache'))
  const first = new TestGround({ backend, keep: true })
  const folder = await first.volume.lookup(context, first.volume.rootIno, 'folder')
  const cached = await first.volume.lookup(context, folder!.attributes.ino, 'cached')
  await first.volume.lookup(context, folder!.attributes.ino, 'other')
  t.is((await contentOf(first.volume, cached!.attributes.ino)).toString(), 'in the cache')
  await first.volume.refresh()
  await first.close()
  inside.away = true
  const ground = new TestGround({ backend, directory: first.directory, settings: { ttlMs: 0 } })
  t.teardown(() => ground.close())
  await ground.cache.whenReady()
  const { volume } = ground
  const there = await volume.lookup(context, volume.rootIno, 'folder')
  const one = await volume.lookup(context, there!.attributes.ino, 'cached')
  t.is((await contentOf(volume, one!.attributes.ino)).toString(), 'in the cache')
  const other = await volume.lookup(context, there!.attributes.ino, 'other')
  await t.throwsAsync(contentOf(volume, other!.attributes.ino), { instanceOf: FsError, message: 'no network' })
  const { file } = await volume.create(context, there!.attributes.ino, 'written', 0o644, O_RDWR)
  await file.write(context, 0, Buffer.from('while away'), {})
  await file.flush(context)
  await file.release()
  inside.away = false
  await ground.drained()
  t.true((await bucketOf(store)).includes('folder/written while away'))
})
