/** Nothing that was written is lost quietly: replacing renames, changes that wait, objects that go elsewhere, what a sync reaches. */
import fs from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import test, { type ExecutionContext } from 'ava'
import type { Backend } from '../../../src/backends/contract.ts'
import { intercept } from '../../../src/backends/intercept.ts'
import { MemoryBackend } from '../../../src/backends/memory.ts'
import { errorKind } from '../../../src/errors.ts'
import { FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, O_RDWR } from '../../../src/sys/flags.ts'
import type { CloudVolume } from '../../../src/vfs/volumes/cloud/cloud-volume.ts'
import { context } from '../volume-contract.ts'
import { bucketOf, type CloudGroundOptions, contentOf, TestGround } from './cloud-ground.ts'

function closed(t: ExecutionContext, options: CloudGroundOptions): TestGround {
  const ground = new TestGround(options)
  t.teardown(() => ground.close())
  return ground
}

async function write(volume: CloudVolume, name: string, content: string) {
  const { entry, file } = await volume.create(context, volume.rootIno, name, 0o644, O_RDWR)
  await file.write(context, 0, Buffer.from(content), {})
  await file.flush(context)
  await file.release()
  return entry.attributes.ino
}

/** Answers when it is let through. */
function gate() {
  let open = () => {}
  const passed = new Promise<void>(resolve => {
    open = resolve
  })
  return { open, passed }
}

const named = async (volume: CloudVolume, name: string) => (await volume.lookup(context, volume.rootIno, name))?.attributes.ino

test('one atomic replacement follows another before the first was uploaded: no conflict with oneself', async t => {
  for (const isMoved of [false, true]) {
    const backend = new MemoryBackend()
    const held = gate()
    let isHeld = false
    const ground = closed(t, {
      backend,
      volume: { engine: { worksAtOnce: 1 }, step: at => (isHeld && at === 'begun' ? held.passed : undefined) },
    })
    const { volume } = ground
    const root = volume.rootIno
    await write(volume, 'target', 'old')
    await write(volume, 'one', 'first')
    await ground.drained()
    isHeld = true
    await write(volume, 'blocker', '')
    if (!isMoved) {
      await volume.unlink(context, root, 'one')
      await write(volume, 'one', 'first')
    }
    await volume.rename(context, root, 'one', root, 'target', 0)
    await write(volume, 'two', 'second')
    await volume.rename(context, root, 'two', root, 'target', 0)
    held.open()
    await ground.drained()
    t.deepEqual(await bucketOf(backend), ['blocker ', 'target second'])
    t.is((await contentOf(volume, (await named(volume, 'target'))!)).toString(), 'second')
  }
})

test('renamed over another file while it is written, then killed: the new content or the old one, never none', async t => {
  const backend = new MemoryBackend()
  let isHeld = false
  const ground = new TestGround({ backend, keep: true, volume: { step: () => (isHeld ? new Promise(() => {}) : undefined) } })
  const { volume, journal } = ground
  const root = volume.rootIno
  await write(volume, 'target', 'old')
  await ground.drained()
  isHeld = true
  const { file } = await volume.create(context, root, 'temporary', 0o644, O_RDWR)
  await file.write(context, 0, Buffer.from('new'), {})
  let between: string | undefined
  const together = journal.together.bind(journal)
  journal.together = work => {
    between ??= ground.asLeftByCrash()
    return together(work)
  }
  await volume.rename(context, root, 'temporary', root, 'target', 0)
  const after = ground.asLeftByCrash()
  const cut = closed(t, { backend, directory: between! })
  await cut.drained()
  await cut.volume.refresh()
  t.deepEqual(await bucketOf(backend), ['target old'])
  t.is((await contentOf(cut.volume, (await named(cut.volume, 'target'))!)).toString(), 'old')
  const again = closed(t, { backend, directory: after })
  t.is((await contentOf(again.volume, (await named(again.volume, 'target'))!)).toString(), 'new')
  await again.drained()
  t.deepEqual(await bucketOf(backend), ['target new'])
})

test('a hole that waits for bytes of the object is uploaded, also when the file is flushed meanwhile', async t => {
  const memory = new MemoryBackend()
  const content = Buffer.alloc(200_000, 'o')
  await memory.put('f', content)
  const held = gate()
  const asked = gate()
  const backend: Backend = intercept(memory, {
    around: async (call, run) => {
      if (call.operation === 'get') {
        asked.open()
        await held.passed
      }
      return run()
    },
  })
  const ground = closed(t, { backend })
  const { volume } = ground
  const file = await volume.open(context, (await named(volume, 'f'))!, O_RDWR)
  const punched = file.fallocate(context, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, 100, 1000)
  t.true(punched instanceof Promise)
  await asked.passed
  await file.flush(context)
  held.open()
  await punched
  await file.flush(context)
  await file.release()
  await ground.drained()
  content.fill(0, 100, 1100)
  t.deepEqual(await bucketOf(memory), [`f ${content.toString('latin1')}`])
})

test('what somebody else removed or replaced can not be written to through an open file: an error, never silence', async t => {
  const backend = new MemoryBackend()
  const ground = closed(t, { backend })
  const { volume } = ground
  const removed = await volume.open(context, await write(volume, 'removed', 'ours'), O_RDWR)
  const replaced = await volume.open(context, await write(volume, 'replaced', 'ours'), O_RDWR)
  await ground.drained()
  await backend.delete('removed', {})
  await backend.put('replaced', Buffer.from('of somebody else'))
  await volume.refresh()
  for (const file of [removed, replaced]) {
    t.is(errorKind(await t.throwsAsync(async () => file.write(context, 0, Buffer.from('x'), {}))), 'stale')
    t.is(errorKind(await t.throwsAsync(async () => file.fallocate(context, 0, 0, 100))), 'stale')
    await file.release()
  }
  await ground.drained()
  t.deepEqual(await bucketOf(backend), ['replaced of somebody else'])
})

test('what was written stays until the journal has safely forgotten it: a journal that falls back has its content', async t => {
  const backend = new MemoryBackend()
  const held = gate()
  const ground = new TestGround({ backend, keep: true, volume: { step: at => (at === 'begun' ? held.passed : undefined) } })
  const { volume, journal, staging } = ground
  const content = 'x'.repeat(300_000)
  const ino = await write(volume, 'uploaded', content)
  await write(volume, 'removed', content)
  // A disk that takes nothing more of the journal, until it does.
  const disk = gate()
  const real = journal.durable.bind(journal)
  journal.durable = async () => {
    await disk.passed
    return real()
  }
  const before = ground.asLeftByCrash()
  await volume.unlink(context, volume.rootIno, 'removed')
  held.open()
  await ground.drained()
  await volume.refresh()
  const left = ground.asLeftByCrash()
  t.is(fs.readdirSync(`${left}/staging`).length, 2)
  t.deepEqual(fs.readdirSync(`${left}/staging`).sort(), fs.readdirSync(`${before}/staging`).sort())
  disk.open()
  for (let turn = 0; turn < 600 && staging.diskBytes() > 0; turn++) await new Promise(resolve => setTimeout(resolve, 100))
  t.is(staging.diskBytes(), 0)
  await volume.close()
  // The content is gone now, and the journal as it was: the object is recognized.
  fs.rmSync(`${before}/staging`, { recursive: true })
  const again = closed(t, { backend, directory: before })
  await again.drained()
  t.is((await contentOf(again.volume, ino)).toString(), content)
  t.true((await bucketOf(backend)).includes(`uploaded ${content}`))
  t.deepEqual(
    again.journal.list(again.volume.id, 10).map(work => work.action.key),
    ['removed'],
  )
})

test.serial('a sync reaches the journal, and the contents of files that nobody has open', async t => {
  const ground = new TestGround({ backend: new MemoryBackend(), volume: { step: () => new Promise(() => {}) } })
  const { volume, journal } = ground
  await write(volume, 'f', 'x'.repeat(300_000))
  let durable = 0
  const real = journal.durable.bind(journal)
  journal.durable = () => {
    durable++
    return real()
  }
  const directory = await volume.opendir(context, volume.rootIno)
  await directory.fsync(context, false)
  t.is(durable, 1)
  const synced: string[] = []
  const { fdatasync, fsync } = fs
  const noting = (flush: typeof fsync) =>
    ((fd: number, callback: fs.NoParamCallback) => {
      synced.push(fs.readlinkSync(`/proc/self/fd/${fd}`).slice(ground.directory.length))
      flush(fd, callback)
    }) as typeof fsync
  Object.assign(fs, { fdatasync: noting(fdatasync), fsync: noting(fsync) })
  syncBuiltinESMExports()
  t.teardown(() => {
    Object.assign(fs, { fdatasync, fsync })
    syncBuiltinESMExports()
  })
  await volume.syncfs(context)
  const [staged] = fs.readdirSync(`${ground.directory}/staging`)
  t.true(synced.includes(`/staging/${staged}`))
  t.true(synced.includes('/staging'))
  t.is(durable, 2)
})
