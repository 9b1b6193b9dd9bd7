/** What a bucket lists, and what others change in it. */
import test from 'ava'
import { MemoryBackend } from '../../../src/backends/memory.ts'
import { context } from '../volume-contract.ts'
import { contentOf, snapshot, TestGround } from './cloud-ground.ts'

test('a large bucket is listed whole, each object once, and after a restart nothing is listed before it is there', async t => {
  t.timeout(300_000)
  const backend = new MemoryBackend()
  const count = 20_000
  for (let i = 0; i < count; i++) await backend.put(`d${i % 100}/e${i % 7}/photo ${i}.jpg`, Buffer.alloc(1))
  const first = new TestGround({ backend, keep: true })
  const startMs = performance.now()
  await first.volume.refresh()
  t.log(`${count} objects in ${Math.round(performance.now() - startMs)} ms`)
  t.is(first.index.entryCount(1), count + 100 + 700)
  await first.volume.refresh()
  t.is(first.index.entryCount(1), count + 100 + 700)
  await first.close()
  let listed = 0
  const counting = new Proxy(backend, {
    get(target, name) {
      if (name === 'list') listed++
      const value = Reflect.get(target, name)
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
  const ground = new TestGround({ backend: counting, directory: first.directory })
  t.teardown(() => ground.close())
  const found = await ground.volume.lookup(context, ground.volume.rootIno, 'd5')
  t.truthy(await ground.volume.lookup(context, found!.attributes.ino, 'e3'))
  t.is(listed, 0)
})

test('keys that can not be shown are left out and told; a folder wins over a file of its name', async t => {
  const backend = new MemoryBackend()
  for (const key of ['a', 'a/b', 'c//d', 'e/../f', '.DS_Store', 'g/._h', 'g/h', `long/${'n'.repeat(300)}`])
    await backend.put(key, Buffer.from(key))
  const ground = new TestGround({ backend })
  t.teardown(() => ground.close())
  await ground.volume.refresh()
  const shown = await snapshot(ground.volume)
  t.deepEqual(shown, ['d a', 'd c', 'd e', 'd g', 'd long', 'f a/b a/b', 'f g/h g/h'])
  const told = ground.volume.status().unreadable.map(({ path }) => path)
  for (const key of ['c//d', 'e/../f', `long/${'n'.repeat(300)}`]) t.true(told.includes(key), key)
})

test('what others make, change and delete is seen after a refresh, and front ends are told', async t => {
  const backend = new MemoryBackend()
  await backend.put('d/stays', Buffer.from('1'))
  await backend.put('d/changes', Buffer.from('before'), { metadata: { mode: '33152', mtime: '1700000000.5' } })
  await backend.put('d/goes', Buffer.from('3'))
  const ground = new TestGround({ backend })
  t.teardown(() => ground.close())
  const { volume, told } = ground
  const d = (await volume.lookup(context, volume.rootIno, 'd'))!.attributes.ino
  const before = (await volume.lookup(context, d, 'changes'))!.attributes
  t.is(before.mode & 0o777, 0o600)
  t.is(before.mtimeSec, 1_700_000_000)
  await backend.put('d/changes', Buffer.from('after all'))
  await backend.put('d/comes', Buffer.from('new'))
  await backend.delete('d/goes')
  told.lines.length = 0
  await volume.refresh('d')
  t.deepEqual(await snapshot(volume), ['d d', 'f d/changes after all', 'f d/comes new', 'f d/stays 1'])
  const now = (await volume.lookup(context, d, 'changes'))!.attributes
  t.is(now.ino, before.ino)
  t.is(now.sizeBytes, 9)
  for (const line of [`inode ${before.ino} data`, 'entry comes', 'removed goes']) t.true(told.lines.includes(line), line)
})

test("s3fs's symbolic links are links, and a file that waits for its upload isn't undone by a listing", async t => {
  const backend = new MemoryBackend()
  await backend.put('link', Buffer.from('d/target'), { metadata: { mode: '41471', mtime: '1700000000' } })
  const ground = new TestGround({ backend, volume: { step: step => (step === 'begun' ? new Promise(() => {}) : undefined) }, keep: true })
  const { volume } = ground
  await volume.refresh()
  const link = await volume.lookup(context, volume.rootIno, 'link')
  t.is(await volume.readlink(context, link!.attributes.ino), 'd/target')
  const { entry, file } = await volume.create(context, volume.rootIno, 'waits', 0o644, 2)
  await file.write(context, 0, Buffer.from('here only'), {})
  await file.flush(context)
  await file.release()
  await volume.refresh()
  t.is((await contentOf(volume, entry.attributes.ino)).toString(), 'here only')
  t.deepEqual(await snapshot(volume), ['f waits here only', 'l link d/target'])
})
