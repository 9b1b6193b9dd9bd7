/** The write-back engine: every write arrives, once, whatever breaks; nothing of others is overwritten. */
import { randomBytes } from 'node:crypto'
import { rmSync } from 'node:fs'
import test from 'ava'
import type { Backend, BackendCapabilities } from '../../src/backends/contract.ts'
import { BackendError } from '../../src/backends/errors.ts'
import { type BackendCall, intercept } from '../../src/backends/intercept.ts'
import { MemoryBackend } from '../../src/backends/memory.ts'
import { StagingArea } from '../../src/cache/staging/staging-area.ts'
import type { Step } from '../../src/cache/writeback/host.ts'
import { errorKind } from '../../src/errors.ts'
import { listAll, read } from '../backends/contract-suite.ts'
import { contentOf } from './content.ts'
import { asLeftByCrash, closed, haltAt, VOLUME, World } from './writeback-world.ts'

const MIB = 2 ** 20
const openStaged = StagingArea.prototype.open
const NO_CONDITIONS: Partial<BackendCapabilities> = {
  putIfAbsent: false,
  putIfMatch: false,
  completeIfAbsent: false,
  completeIfMatch: false,
  copyIfMatch: false,
  deleteIfMatch: false,
}
const SMALL_PARTS = { multipartBytes: 100_000, partBytes: MIB }

/** Counts calls, and may fail them. */
function watched(memory: Backend, fail: (call: BackendCall, number: number) => Error | undefined = () => undefined) {
  const calls: BackendCall[] = []
  const backend = intercept(memory, {
    around: async (call, run) => {
      calls.push(call)
      const error = fail(call, calls.length)
      if (error) throw error
      return run()
    },
  })
  return { backend, calls, count: (operation: string) => calls.filter(call => call.operation === operation).length }
}

const objects = async (backend: Backend) => (await listAll(backend, '', 1000)).map(object => object.key)

test('puts, copies and deletions arrive, and the index is told', async t => {
  const memory = new MemoryBackend()
  const world = closed(t, new World({ backend: memory }))
  const small = contentOf(1, 0, 5000)
  const large = contentOf(2, 0, 20 * MIB)
  world.put('small', small, 'absent')
  world.put('large', large, 'absent')
  world.journal.enqueue([
    world.putAction('marker/', Buffer.alloc(0), 'absent', { root: undefined }),
    world.copyAction('small', 'renamed', { sourceExpected: 'own', expected: 'absent' }),
    world.deleteAction('small', 'own'),
  ])
  await world.drain()
  t.deepEqual(await objects(memory), ['large', 'marker/', 'renamed'])
  t.is(Buffer.compare((await read(memory, 'renamed')).bytes, small), 0)
  t.is(Buffer.compare((await read(memory, 'large')).bytes, large), 0)
  const head = await memory.head('renamed')
  t.like(head, { contentType: 'text/plain' })
  t.is(head.metadata.mode, '33188')
  t.deepEqual([...world.index.keys()].sort(), ['large', 'marker/', 'renamed'])
  for (const key of world.index.keys()) t.is(world.index.get(key), (await memory.head(key)).etag)
  t.like(world.engine.status(), { state: 'idle', queued: 0, failed: 0 })
  t.is(world.finished.length, 5)
})

test('new attributes are a copy onto itself', async t => {
  const memory = new MemoryBackend()
  const world = closed(t, new World({ backend: memory }))
  const { etag } = await memory.put('a', Buffer.from('x'), { metadata: { mode: '1' }, contentType: 'c' })
  world.journal.enqueue([world.copyAction('a', 'a', { sourceExpected: { etag }, metadata: { mode: '2' } })])
  await world.drain()
  const head = await memory.head('a')
  t.is(head.metadata.mode, '2')
  t.is(head.contentType, 'c')
})

const STEPS: Step[] = ['begun', 'upload-created', 'part-sent', 'before-complete', 'sent', 'stored', 'indexed', 'removed']
for (const conditions of ['with conditions', 'without conditions'] as const)
  for (const step of STEPS)
    test(`the process ends at "${step}", ${conditions}: afterwards all is there, once`, async t => {
      const memory = new MemoryBackend({ minimumPartBytes: 1, ...(conditions === 'without conditions' ? NO_CONDITIONS : {}) })
      const { etag } = await memory.put('old', Buffer.from('old content'))
      await memory.put('doomed', Buffer.from('doomed'))
      const index = new Map<string, string | undefined>([
        ['old', etag],
        ['doomed', (await memory.head('doomed')).etag],
      ])
      const halt = haltAt(step, step === 'part-sent' ? 2 : 1)
      const content = contentOf(1, 0, 3 * MIB + 5)
      const world = closed(
        t,
        new World({ backend: memory, settings: { ...SMALL_PARTS, worksAtOnce: 1, partsAtOnce: 1 }, step: halt.step, index }),
      )
      world.put('new', content, 'absent')
      world.put('old', Buffer.from('new content'), { etag })
      world.journal.enqueue([
        world.copyAction('old', 'moved', { sourceExpected: 'own', expected: 'absent' }),
        world.deleteAction('old', 'own'),
        world.deleteAction('doomed', { etag: index.get('doomed')! }),
      ])
      world.engine.start()
      await halt.reached
      const directory = asLeftByCrash(world.directory)
      world.isHalted = true

      const { backend, calls } = watched(memory)
      const next = closed(t, new World({ backend, directory, settings: SMALL_PARTS, index: new Map(index) }))
      await next.drain()
      t.deepEqual(await objects(memory), ['moved', 'new'])
      t.is(Buffer.compare((await read(memory, 'new')).bytes, content), 0)
      t.is((await read(memory, 'moved')).bytes.toString(), 'new content')
      for (const key of ['new', 'moved']) t.is(next.index.get(key), (await memory.head(key)).etag)
      t.deepEqual([...next.index.keys()].sort(), ['moved', 'new'])
      t.deepEqual(next.conflicts, [])
      t.is(calls.filter(call => call.operation === 'create-upload').length <= 1, true)
      if (step === 'sent' || step === 'stored' || step === 'indexed' || step === 'removed')
        t.is(calls.filter(call => call.operation === 'put-part').length, 0, 'nothing is sent again')
      // Parts that had arrived aren't sent again.
      if (step === 'part-sent') t.is(calls.filter(call => call.operation === 'put-part').length, 2)
    })

test('what was queued before the end is there after it, without the engine ever having run', async t => {
  const memory = new MemoryBackend()
  const world = closed(t, new World({ backend: memory }))
  world.put('a', contentOf(1, 0, 100_000), 'absent')
  const next = closed(t, new World({ backend: memory, directory: asLeftByCrash(world.directory) }))
  await next.drain()
  t.is(Buffer.compare((await read(memory, 'a')).bytes, contentOf(1, 0, 100_000)), 0)
})

test('staged content of a process that ended before it queued is an orphan, and goes', async t => {
  const world = closed(t, new World({ backend: new MemoryBackend() }))
  world.put('kept', contentOf(1, 0, 100_000), 'absent')
  world.putAction('never queued', contentOf(2, 0, 100_000))
  const { decodeRoot } = await import('../../src/cache/staging/format.ts')
  const known = new Set([...world.journal.roots()].map(root => decodeRoot(root).fileId.toString('hex')))
  t.is(world.staging.removeOrphans(known), 1)
  await world.drain()
  t.deepEqual(world.conflicts, [])
})

for (const conditions of [{}, NO_CONDITIONS]) {
  const suffix = conditions === NO_CONDITIONS ? 'without conditions' : 'with conditions'

  test(`somebody else's object is not overwritten, small or large: ${suffix}`, async t => {
    const memory = new MemoryBackend({ minimumPartBytes: 1, ...conditions })
    const world = closed(t, new World({ backend: memory, settings: SMALL_PARTS }))
    for (const size of [1000, 3 * MIB]) {
      const mine = contentOf(size, 0, size)
      const was = await memory.put(`changed ${size}`, Buffer.from('was'))
      await memory.put(`changed ${size}`, Buffer.from('theirs'))
      await memory.put(`appeared ${size}`, Buffer.from('theirs'))
      const gone = await memory.put(`gone ${size}`, Buffer.from('was'))
      await memory.delete(`gone ${size}`)
      world.put(`changed ${size}`, mine, { etag: was.etag })
      world.put(`appeared ${size}`, mine, 'absent')
      world.put(`gone ${size}`, mine, { etag: gone.etag })
      await world.drain()
      for (const name of ['changed', 'appeared']) t.is((await read(memory, `${name} ${size}`)).bytes.toString(), 'theirs')
      for (const name of ['changed', 'appeared', 'gone'])
        t.is(Buffer.compare((await read(memory, `${name} ${size}.conflict`)).bytes, mine), 0)
    }
    t.is(world.conflicts.length, 6)
    t.deepEqual(await memory.uploads.list(''), [])
  })

  test(`a change in the middle of a large upload is a conflict: ${suffix}`, async t => {
    const memory = new MemoryBackend({ minimumPartBytes: 1, ...conditions })
    let interfered = false
    const world = closed(
      t,
      new World({
        backend: memory,
        settings: SMALL_PARTS,
        step: async step => {
          if (step !== 'part-sent' || interfered) return
          interfered = true
          await memory.put('a', Buffer.from('theirs'))
        },
      }),
    )
    world.put('a', contentOf(1, 0, 3 * MIB), 'absent')
    await world.drain()
    t.is((await read(memory, 'a')).bytes.toString(), 'theirs')
    t.is((await read(memory, 'a.conflict')).bytes.length, 3 * MIB)
  })

  test(`a copy whose source or target changed asks what to do: ${suffix}`, async t => {
    const memory = new MemoryBackend(conditions)
    const world = closed(
      t,
      new World({
        backend: memory,
        resolve: (_work, conflict) =>
          conflict.source ? { decision: 'drop' } : { decision: 'again', key: 'elsewhere', expected: 'absent' },
      }),
    )
    const source = await memory.put('source', Buffer.from('one'))
    await memory.put('target', Buffer.from('theirs'))
    world.journal.enqueue([world.copyAction('source', 'target', { sourceExpected: { etag: source.etag }, expected: 'absent' })])
    await world.drain()
    t.deepEqual(await objects(memory), ['elsewhere', 'source', 'target'])
    t.is((await read(memory, 'target')).bytes.toString(), 'theirs')
    await memory.put('source', Buffer.from('two'))
    world.journal.enqueue([world.copyAction('source', 'x', { sourceExpected: { etag: source.etag } }), world.copyAction('missing', 'y')])
    await world.drain()
    t.deepEqual(await objects(memory), ['elsewhere', 'source', 'target'])
    t.is(world.conflicts.length, 3)
    t.like(world.conflicts.at(-1), { remote: undefined, source: true })
  })

  test(`a deletion of what was changed meanwhile is not done: ${suffix}`, async t => {
    const memory = new MemoryBackend(conditions)
    const world = closed(t, new World({ backend: memory, resolve: () => ({ decision: 'drop' }) }))
    const { etag } = await memory.put('a', Buffer.from('one'))
    await memory.put('a', Buffer.from('theirs'))
    world.journal.enqueue([world.deleteAction('a', { etag }), world.deleteAction('gone', { etag })])
    await world.drain()
    t.is((await read(memory, 'a')).bytes.toString(), 'theirs')
    t.is(world.conflicts.length, 1)
  })
}

test('an upload over an object copies on the server what was not changed', async t => {
  for (const conditions of [{}, NO_CONDITIONS]) {
    const memory = new MemoryBackend({ minimumPartBytes: 1, ...conditions })
    const content = contentOf(1, 0, 5 * MIB)
    const { etag } = await memory.put('a', content)
    const { backend, count } = watched(memory)
    const world = closed(t, new World({ backend, settings: SMALL_PARTS }))
    const base = { sizeBytes: content.length, read: (position: number, into: Buffer) => content.copy(into, 0, position) }
    const file = world.staging.create(base)
    await file.write(2 * MIB + 100, Buffer.from('changed'))
    const { root } = file.checkpoint()
    world.journal.enqueue([
      world.putAction(
        'a',
        Buffer.alloc(0),
        { etag },
        { root, sizeBytes: content.length, base: { key: 'a', etag, sizeBytes: content.length } },
      ),
    ])
    world.staging.open = opened => openStaged.call(world.staging, opened, base)
    await world.drain()
    const expected = Buffer.from(content)
    expected.write('changed', 2 * MIB + 100)
    t.is(Buffer.compare((await read(memory, 'a')).bytes, expected), 0)
    t.is(count('copy-part'), 4)
    t.is(count('put-part'), 1)
  }
})

test('a content whose base is gone is kept, and never mixed with what came instead', async t => {
  for (const conditions of [{}, NO_CONDITIONS]) {
    const memory = new MemoryBackend({ minimumPartBytes: 1, ...conditions })
    const content = contentOf(1, 0, 5 * MIB)
    const { etag } = await memory.put('a', content)
    const world = closed(t, new World({ backend: memory, settings: SMALL_PARTS }))
    const base = { sizeBytes: content.length, read: () => Promise.reject(new BackendError('stale', 'the object was changed meanwhile')) }
    const file = world.staging.create(base)
    await file.write(2 * MIB, contentOf(2, 0, 32_768))
    const { root } = file.checkpoint()
    const [id] = world.journal.enqueue([
      world.putAction(
        'a',
        Buffer.alloc(0),
        { etag },
        { root, sizeBytes: content.length, base: { key: 'a', etag, sizeBytes: content.length } },
      ),
    ])
    world.staging.open = opened => openStaged.call(world.staging, opened, base)
    await memory.put('a', contentOf(3, 0, 5 * MIB))
    await world.drain()
    t.is(world.journal.get(id!)!.state, 'failed')
    t.regex(world.journal.get(id!)!.error!, /gone/)
    t.deepEqual(await objects(memory), ['a'])
    t.is(Buffer.compare((await read(memory, 'a')).bytes, contentOf(3, 0, 5 * MIB)), 0)
  }
})

test('newer content written during an upload follows it, whole', async t => {
  const memory = new MemoryBackend({ minimumPartBytes: 1 })
  let second: number | undefined
  const world: World = closed(
    t,
    new World({
      backend: memory,
      settings: SMALL_PARTS,
      step: step => {
        if (step !== 'part-sent' || second !== undefined) return
        t.false(world.journal.replace(first, world.putAction('a', contentOf(2, 0, 2 * MIB))))
        second = world.put('a', contentOf(2, 0, 2 * MIB), 'own')
      },
    }),
  )
  const first = world.put('a', contentOf(1, 0, 3 * MIB), 'absent')
  await world.drain()
  t.is(Buffer.compare((await read(memory, 'a')).bytes, contentOf(2, 0, 2 * MIB)), 0)
  t.deepEqual(world.conflicts, [])
  t.deepEqual(
    world.told.map(told => told.id),
    [first, second!],
  )
})

test('passing failures are tried again, with growing waits', async t => {
  const memory = new MemoryBackend()
  const { backend, count } = watched(memory, (call, number) =>
    call.operation === 'put' && number < 6 ? new BackendError('io', 'the server failed', { transient: true }) : undefined,
  )
  const world = closed(t, new World({ backend }))
  world.put('a', Buffer.from('x'), 'absent')
  await world.drain()
  t.is(count('put'), 6)
  t.deepEqual(await objects(memory), ['a'])
})

test('what does not pass by itself stays, with its reason, until somebody says so', async t => {
  const memory = new MemoryBackend()
  let refuse = true
  const { backend, count } = watched(memory, call =>
    refuse && call.operation === 'put' ? new BackendError('file-too-large', 'larger than the store takes') : undefined,
  )
  const world = closed(t, new World({ backend }))
  const id = world.put('a', Buffer.from('x'), 'absent')
  world.engine.start()
  t.is(errorKind(await t.throwsAsync(world.engine.done(id))), 'file-too-large')
  await world.engine.drained()
  t.like(world.engine.status(), { state: 'idle', failed: 1, lastError: 'larger than the store takes' })
  await t.throwsAsync(world.engine.done(id), { message: /larger/ })
  t.is(count('put'), 1)
  refuse = false
  world.engine.retryNow()
  await world.engine.done(id)
  t.deepEqual(await objects(memory), ['a'])
})

test('what waits behind failed work is not waited for: it counts as failed until that is tried again', async t => {
  const memory = new MemoryBackend()
  let refuse = true
  const { backend } = watched(memory, call =>
    refuse && call.operation === 'put' ? new BackendError('file-too-large', 'larger than the store takes') : undefined,
  )
  const world = closed(t, new World({ backend }))
  const first = world.put('a', Buffer.from('x'), 'absent')
  const [moved, behind] = world.journal.enqueue([world.copyAction('a', 'b', { sourceExpected: 'own' }), world.deleteAction('b', 'own')])
  const waiting = t.throwsAsync(world.engine.done(behind!, AbortSignal.timeout(60_000)))
  world.engine.start()
  t.is(errorKind(await t.throwsAsync(world.engine.done(first))), 'file-too-large')
  t.is(errorKind(await waiting), 'file-too-large')
  await world.engine.drained(AbortSignal.timeout(60_000))
  t.like(world.engine.status(), { state: 'idle', queued: 0, queuedBytes: 0, failed: 3 })
  t.is(errorKind(await t.throwsAsync(world.engine.done(moved!, AbortSignal.timeout(60_000)))), 'io')
  refuse = false
  world.engine.retryNow()
  await world.engine.done(behind!)
  t.deepEqual(await objects(memory), ['a'])
})

test('a store that is away is asked by one question, and the queue drains when it is back', async t => {
  const memory = new MemoryBackend()
  let away = true
  const { backend, calls, count } = watched(memory, () =>
    away ? new BackendError('offline', 'no connection', { transient: true }) : undefined,
  )
  const world = closed(t, new World({ backend }))
  for (let i = 0; i < 50; i++) world.put(`${i}`, contentOf(i, 0, 100), 'absent')
  world.engine.start()
  while (count('check') < 3) await new Promise(resolve => setTimeout(resolve, 5))
  t.is(world.engine.status().state, 'offline')
  t.true(count('put') <= 8, `${count('put')} puts`)
  world.engine.kick()
  t.is(world.engine.status().queued, 50)
  const before = calls.length
  away = false
  await world.engine.drained(AbortSignal.timeout(10_000))
  t.true(calls.length > before)
  t.is((await objects(memory)).length, 50)
})

test('stop ends at once, and the next start goes on', async t => {
  const memory = new MemoryBackend()
  const stuck = intercept(memory, {
    around: (call, run) =>
      call.operation === 'put'
        ? new Promise((_resolve, reject) =>
            call.signal!.addEventListener('abort', () => reject(new BackendError('interrupted', 'interrupted'))),
          )
        : run(),
  })
  const world = closed(t, new World({ backend: stuck }))
  const id = world.put('a', Buffer.from('x'), 'absent')
  world.engine.start()
  const waiting = world.engine.done(id)
  await new Promise(setImmediate)
  t.true(world.engine.isRunning(id))
  await Promise.all([world.engine.stop(), t.throwsAsync(waiting)])
  t.like(world.journal.get(id), { state: 'queued', attempts: 0 })
  const next = closed(t, new World({ backend: memory, directory: asLeftByCrash(world.directory) }))
  await next.drain()
  t.deepEqual(await objects(memory), ['a'])
})

test('work that is cancelled ends, and what waits behind it goes on', async t => {
  const memory = new MemoryBackend({ minimumPartBytes: 1 })
  const halt = haltAt('part-sent')
  let held = true
  const { backend } = watched(memory)
  const world = closed(t, new World({ backend, settings: SMALL_PARTS, step: (step, work) => (held ? halt.step(step, work) : undefined) }))
  const queued = world.put('b', Buffer.from('x'), 'absent')
  await world.engine.cancel(queued)
  t.is(world.journal.get(queued), undefined)
  const first = world.put('a', contentOf(1, 0, 3 * MIB), 'absent')
  held = false
  const second = world.put('a', Buffer.from('second'), 'own')
  await world.engine.cancel(first)
  t.is(world.journal.get(second)!.action.expected, 'absent')
  await world.drain()
  t.is((await read(memory, 'a')).bytes.toString(), 'second')
  t.deepEqual(await memory.uploads.list(''), [])
})

test('a damaged staged content fails, and is not uploaded', async t => {
  const memory = new MemoryBackend()
  const world = closed(t, new World({ backend: memory }))
  const id = world.put('a', contentOf(1, 0, 100_000), 'absent')
  rmSync(`${world.directory}/staging`, { recursive: true })
  world.engine.start()
  t.is(errorKind(await t.throwsAsync(world.engine.done(id))), 'damaged')
  t.deepEqual(await objects(memory), [])
})

test('an index that can not be written is told again, and the upload is not repeated', async t => {
  const memory = new MemoryBackend()
  const { backend, count } = watched(memory)
  const world = closed(t, new World({ backend }))
  const set = world.index.set.bind(world.index)
  let failures = 3
  world.index.set = (key, etag) => {
    if (failures-- > 0) throw new BackendError('no-space', 'the index is full')
    return set(key, etag)
  }
  world.put('a', Buffer.from('x'), 'absent')
  await world.drain()
  t.is(count('put'), 1)
  t.is(world.index.get('a'), (await memory.head('a')).etag)
})

test('two devices writing the same names lose no version', async t => {
  const memory = new MemoryBackend()
  const device = (name: string) =>
    closed(
      t,
      new World({
        backend: memory,
        resolve: work => ({
          decision: 'again',
          key: `${work.action.key}.conflict-${name}-${randomBytes(4).toString('hex')}`,
          expected: 'absent',
        }),
      }),
    )
  const worlds = [device('one'), device('two')]
  const written = new Set<string>()
  for (const world of worlds) world.engine.start()
  for (let round = 0; round < 10; round++)
    for (const [i, world] of worlds.entries()) {
      const content = `device ${i} round ${round}`
      written.add(content)
      const known = world.index.get('shared')
      world.put(
        'shared',
        Buffer.from(content),
        known === undefined ? 'absent' : world.journal.ofKey(VOLUME, 'shared').length > 0 ? 'own' : { etag: known },
      )
      world.engine.kick()
      if (round % 3 === 0) await new Promise(setImmediate)
    }
  for (const world of worlds) await world.engine.drained(AbortSignal.timeout(20_000))
  // A version may be replaced by the same device's next one, but never by the other's: so the last of each survives.
  const there = new Set<string>()
  for (const key of await objects(memory)) there.add((await read(memory, key)).bytes.toString())
  for (const i of [0, 1]) t.true(there.has(`device ${i} round 9`), `${[...there].join(', ')}`)
})
