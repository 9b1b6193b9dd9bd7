/** The journal: order on keys, what later work is told, what survives, what it shows to a thief. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { Journal } from '../../src/cache/writeback/journal.ts'
import type { Action, Expected, PutAction, WorkId } from '../../src/cache/writeback/work.ts'
import { SecretKey } from '../../src/crypto/secret-key.ts'
import { errorKind } from '../../src/errors.ts'
import { openDatabase } from '../../src/sqlite/database.ts'
import { randomFrom, testSeed } from './content.ts'

const KEY = new SecretKey(Buffer.alloc(32, 4))

function folder(t: ExecutionContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'sdmount-journal-'))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

function journal(t: ExecutionContext, now: () => number = Date.now): Journal {
  const it = new Journal({ path: join(folder(t), 'journal.db'), key: KEY, now })
  t.teardown(() => it.close())
  return it
}

const put = (key: string, more: Partial<PutAction> = {}): PutAction => ({
  kind: 'put', volume: 1, node: 0, key, expected: 'any', root: Buffer.from(`root of ${key}`), base: undefined, sizeBytes: 10, metadata: {}, contentType: undefined, ...more,
}) // biome-ignore format: a row
const copy = (source: string, key: string, sourceExpected: Expected = 'any', node = 0): Action => ({
  kind: 'copy', volume: 1, node, key, source, expected: 'any', sourceExpected, sizeBytes: 0, metadata: undefined, contentType: undefined,
}) // biome-ignore format: a row
const remove = (key: string, expected: Expected = 'any', node = 0): Action => ({ kind: 'delete', volume: 1, node, key, expected })
const done = (etag?: string) => ({ etag, versionId: undefined })
const ids = (works: { id: WorkId }[]) => works.map(work => work.id)

test('what was queued comes back as it was', t => {
  const it = journal(t, () => 12345)
  const actions: Action[] = [
    put('ä/b c', {
      node: 7,
      expected: { etag: 'e=1' },
      metadata: { mode: '33188', mtime: '1.5' },
      contentType: 'text/plain',
      base: { key: 'k', etag: 'e', sizeBytes: 5, versionId: 'v' },
    }),
    put('marker/', { root: undefined, sizeBytes: 0 }),
    { ...copy('a', 'b', { etag: 'x' }), metadata: { uid: '1' }, contentType: 'c' } as Action,
    remove('gone', 'own'),
  ]
  const given = it.enqueue(actions)
  t.deepEqual(
    given.map(id => it.get(id)!.action),
    actions,
  )
  const work = it.get(given[0]!)!
  t.like(work, { state: 'queued', attempts: 0, dueMs: 0, error: undefined, upload: undefined, result: undefined, createdMs: 12345 })
  t.is(new Set(given.map(id => it.get(id)!.writeId)).size, 4)
  t.deepEqual(
    it.list(1, 10).map(one => (one.action.kind === 'put' ? one.action.root : undefined)),
    [undefined, undefined, undefined, undefined],
  )
  t.deepEqual([...it.roots()], [(actions[0] as PutAction).root])
})

test('work on one key keeps its order, on others it is free', t => {
  const it = journal(t)
  const [first, second, other, rename, late] = it.enqueue([put('a'), put('a'), put('b'), copy('b', 'c'), put('c')]) as [
    number,
    number,
    number,
    number,
    number,
  ]
  t.deepEqual(ids(it.runnable(1, 10)), [first, other])
  it.stored(first, done('e1'))
  t.deepEqual(ids(it.runnable(1, 10)), [first, other])
  it.remove(first)
  t.deepEqual(ids(it.runnable(1, 10)), [second, other])
  it.remove(other)
  t.deepEqual(ids(it.runnable(1, 10)), [second, rename])
  it.remove(rename)
  t.deepEqual(ids(it.runnable(1, 10)), [second, late])
  t.deepEqual(it.runnable(2, 10), [])
})

test('work that expects its own is told what the one before left', t => {
  const it = journal(t)
  const [first, second, third] = it.enqueue([put('a', { expected: 'absent' }), put('a', { expected: 'own' }), remove('a', 'own')]) as [
    number,
    number,
    number,
  ]
  it.stored(first, done('e1'))
  it.remove(first)
  t.deepEqual(it.get(second)!.action.expected, { etag: 'e1' })
  t.is(it.get(third)!.action.expected, 'own')
  // The second isn't wanted any more: what the first left is still there.
  it.remove(second)
  t.deepEqual(it.get(third)!.action.expected, { etag: 'e1' })
  it.stored(third, done())
  const [again] = it.enqueue([put('a', { expected: 'own' })])
  t.is(it.get(again!)!.action.expected, 'own')
  // Queued after the one before was stored: it is told when that is gone.
  it.remove(third)
  t.is(it.get(again!)!.action.expected, 'absent')
})

test('what only rests on an object keeps its place and passes on what it left as it was', t => {
  const it = journal(t)
  const [first, resting, cleared] = it.enqueue([
    put('a', { expected: 'absent' }),
    put('b', { base: { key: 'a', etag: 'e0', sizeBytes: 5, versionId: undefined } }),
    remove('a', 'own'),
  ]) as [number, number, number]
  t.deepEqual(
    it.runnable(1, 10).map(work => work.id),
    [first],
  )
  it.stored(first, done('e1'))
  it.remove(first)
  t.deepEqual(it.get(cleared)!.action.expected, { etag: 'e1' })
  t.deepEqual(
    it.runnable(1, 10).map(work => work.id),
    [resting],
  )
  it.remove(resting)
  t.deepEqual(
    it.runnable(1, 10).map(work => work.id),
    [cleared],
  )
})

test('work that is held is neither due nor counted, until it is let go or another process begins', t => {
  const it = journal(t)
  const [held] = it.enqueue([remove('a')]) as [number]
  it.hold(held)
  t.deepEqual(it.runnable(1, 10), [])
  t.is(it.counts(1).queued, 0)
  t.true(it.hasWork(1))
  it.letGo(held)
  t.is(it.runnable(1, 10).length, 1)
  it.hold(held)
  it.retryAll(1)
  t.is(it.runnable(1, 10).length, 0, 'who asks for another attempt has not closed the file')
  it.presumeTried(1)
  t.is(it.runnable(1, 10).length, 1)
  t.is(it.get(held)!.attempts, 1)
  const refuse = (): never => {
    throw new Error('no')
  }
  t.throws(() => it.together(() => [it.enqueue([put('b')]), refuse()]), { message: 'no' })
  t.deepEqual(it.ofKey(1, 'b'), [], 'together: all or nothing')
})

test('a rename of what is still to be uploaded learns both ends', t => {
  const it = journal(t)
  const [upload, rename, cleared, rewritten] = it.enqueue([
    put('a', { expected: 'absent' }),
    copy('a', 'b', 'own'),
    remove('a', 'own'),
    put('b', { expected: 'own' }),
  ]) as [number, number, number, number]
  it.stored(upload, done('e1'))
  it.remove(upload)
  t.like(it.get(rename)!.action, { sourceExpected: { etag: 'e1' }, expected: 'any' })
  it.stored(rename, done('e2'))
  it.remove(rename)
  t.deepEqual(it.get(cleared)!.action.expected, { etag: 'e1' })
  t.deepEqual(it.get(rewritten)!.action.expected, { etag: 'e2' })
})

test('a conflict carries the other work of the node along', t => {
  const it = journal(t)
  const [first, second, rename, cleared, foreign] = it.enqueue([
    put('a', { node: 5, expected: { etag: 'e' } }),
    put('a', { node: 5, expected: 'own' }),
    copy('a', 'b', 'own', 5),
    remove('a', 'own', 5),
    put('a', { node: 6 }),
  ]) as [number, number, number, number, number]
  it.uploading(first, 'upload', 100)
  const before = it.get(first)!.writeId
  it.retarget(first, 'a.conflict', 'absent')
  t.like(it.get(first), { state: 'queued', upload: undefined })
  t.not(it.get(first)!.writeId, before)
  t.like(it.get(first)!.action, { key: 'a.conflict', expected: 'absent' })
  t.like(it.get(second)!.action, { key: 'a.conflict', expected: 'own' })
  t.like(it.get(rename)!.action, { key: 'b', source: 'a.conflict' })
  t.like(it.get(cleared)!.action, { key: 'a.conflict' })
  t.like(it.get(foreign)!.action, { key: 'a' })
  t.deepEqual(ids(it.runnable(1, 10)), [first, foreign])
})

test('what stays on a key after a conflict is not done without a condition', t => {
  const it = journal(t)
  for (const next of [remove('a', 'own'), put('a', { node: 6, expected: 'own' })]) {
    const [first, stays, last] = it.enqueue([put('a', { node: 5, expected: { etag: 'e' } }), next, remove('a', 'own')]) as [
      number,
      number,
      number,
    ]
    it.retarget(first, 'a.conflict', 'absent')
    t.deepEqual(it.get(stays)!.action.expected, { etag: 'e' })
    t.is(it.get(last)!.action.expected, 'own')
    t.is(it.get(first)!.action.expected, 'absent')
    it.forget(1)
  }
})

test('newer content takes the place of what has not begun', t => {
  const it = journal(t)
  const [id] = it.enqueue([put('a')]) as [number]
  const before = it.get(id)!.writeId
  t.true(it.replace(id, put('b', { root: Buffer.from('newer') })))
  t.like(it.get(id)!.action, { key: 'b', root: Buffer.from('newer') })
  t.not(it.get(id)!.writeId, before)
  t.deepEqual(ids(it.ofKey(1, 'a')), [])
  t.deepEqual(ids(it.ofKey(1, 'b')), [id])
  it.uploading(id, 'upload', 100)
  t.false(it.replace(id, put('c')))
  it.stored(id, done('e'))
  t.false(it.replace(id, put('c')))
  t.false(it.replace(999, put('c')))
})

test('what is postponed waits for its time, what failed for somebody', t => {
  let nowMs = 1000
  const it = journal(t, () => nowMs)
  const [first, second, third] = it.enqueue([put('a'), put('b'), put('c')]) as [number, number, number]
  it.postpone(first, 5000, 'busy', false)
  it.postpone(second, 0, 'too large', true)
  it.uploading(third, 'upload', 100)
  it.postpone(third, 7000, 'cut off', false)
  t.deepEqual(ids(it.runnable(1, 10)), [])
  t.is(it.nextDueMs(1), 5000)
  nowMs = 5000
  t.deepEqual(ids(it.runnable(1, 10)), [first])
  t.is(it.nextDueMs(1), 7000)
  t.like(it.get(first), { attempts: 1, error: 'busy' })
  t.like(it.get(second), { state: 'failed', error: 'too large' })
  t.like(it.get(third), { state: 'uploading', upload: { uploadId: 'upload', partBytes: 100 } })
  t.deepEqual(it.counts(1), { queued: 2, queuedBytes: 20, stored: 0, failed: 1 })
  it.retryAll(1)
  t.deepEqual(ids(it.runnable(1, 10)), [third, first, second])
  it.stored(first, done('e'))
  it.postpone(first, 0, 'the index is full', false)
  t.is(it.get(first)!.state, 'stored')
  t.is(it.forget(1), 3)
  t.deepEqual([...it.roots()], [])
})

test('actions are queued all or none', t => {
  const it = journal(t)
  t.throws(() => it.enqueue([put('a'), { ...put('b'), key: null as unknown as string }]))
  t.deepEqual(it.counts(1), { queued: 0, queuedBytes: 0, stored: 0, failed: 0 })
  it.enqueue([put('c')])
  t.is(it.counts(1).queued, 1)
})

test('many rows of many sizes over restarts', async t => {
  const seed = testSeed()
  t.log(`SDMOUNT_TEST_SEED=${seed}`)
  const random = randomFrom(seed)
  const path = join(folder(t), 'journal.db')
  const model = new Map<number, string>()
  let it = new Journal({ path, key: KEY })
  for (let round = 0; round < 400; round++) {
    if (random(3) > 0) {
      const root = Buffer.alloc(random(40_000), round)
      const [id] = it.enqueue([put(`key ${random(50)}`, { root })]) as [number]
      model.set(id, root.toString('latin1'))
    } else if (model.size > 0) {
      const id = [...model.keys()][random(model.size)]!
      it.remove(id)
      model.delete(id)
    }
    if (random(20) === 0) await it.durable()
    if (random(60) === 0) {
      it.close()
      it = new Journal({ path, key: KEY })
    }
  }
  t.deepEqual(
    [...it.roots()].map(root => root.toString('latin1')),
    [...model.values()],
  )
  t.is(it.counts(1).queued, model.size)
  it.close()
})

test('another key opens nothing, a newer version is refused, and nothing is readable', async t => {
  const directory = folder(t)
  const path = join(directory, 'journal.db')
  let it = new Journal({ path, key: KEY })
  it.enqueue([put('holiday/photo.jpg', { root: Buffer.from('the secret content') })])
  await it.durable()
  t.is(spawnSync('grep', ['-rqaE', 'holiday|secret', directory]).status, 1)
  it.close()
  t.is(spawnSync('grep', ['-rqaE', 'holiday|secret', directory]).status, 1)
  t.is(errorKind(t.throws(() => new Journal({ path, key: new SecretKey(Buffer.alloc(32, 5)) }))), 'damaged')
  using key = KEY.derive('journal')
  const database = key.use(bytes => openDatabase({ path, key: bytes, cacheBytes: 0 }))
  database.pragma('user_version = 99')
  database.close()
  t.is(errorKind(t.throws(() => new Journal({ path, key: KEY }))), 'not-supported')
  const again = key.use(bytes => openDatabase({ path, key: bytes, cacheBytes: 0 }))
  again.pragma('user_version = 1')
  again.close()
  it = new Journal({ path, key: KEY })
  t.is(it.counts(1).queued, 1)
  it.close()
})
