/** What the wrappers add: how often and when something is repeated, how much is let through at once, how fast. */
import { randomBytes } from 'node:crypto'
import test from 'ava'
import { Bandwidth } from '../../src/backends/bandwidth.ts'
import type { Backend } from '../../src/backends/contract.ts'
import { BackendError } from '../../src/backends/errors.ts'
import { Gate } from '../../src/backends/gate.ts'
import { type BackendCall, intercept } from '../../src/backends/intercept.ts'
import { DEFAULT_LIMITS, limited, StoreLimits } from '../../src/backends/limit.ts'
import { logged } from '../../src/backends/log.ts'
import { MemoryBackend } from '../../src/backends/memory.ts'
import { type RetrySettings, retrying } from '../../src/backends/retry.ts'
import { errorKind } from '../../src/errors.ts'
import { createLog } from '../../src/log.ts'
import { fails, read } from './contract-suite.ts'

/** A bucket that fails as told: `fail` answers the error for the nth call, or undefined. */
function failing(fail: (call: BackendCall, number: number) => { error: Error; after?: boolean } | undefined): {
  backend: Backend
  calls: BackendCall[]
  memory: MemoryBackend
} {
  const memory = new MemoryBackend()
  const calls: BackendCall[] = []
  const backend = intercept(memory, {
    async around(call, run) {
      calls.push(call)
      const failure = fail(call, calls.length)
      if (failure?.after) await run()
      if (failure) throw failure.error
      return run()
    },
  })
  return { backend, calls, memory }
}

const passing = (details: object = {}) => new BackendError('io', 'failed', { transient: true, ...details })

function recorded(settings: Partial<RetrySettings> = {}) {
  const waits: number[] = []
  let nowMs = 0
  const retry: Partial<RetrySettings> = {
    random: () => 1,
    now: () => nowMs,
    sleep: async delayMs => {
      waits.push(delayMs)
      nowMs += delayMs
    },
    ...settings,
  }
  return { waits, retry }
}

test('retry: waits double up to a bound and end with the attempts', async t => {
  const { backend, calls } = failing(() => ({ error: passing() }))
  const { waits, retry } = recorded({ firstDelayMs: 10, maximumDelayMs: 50, maximumAttempts: 5 })
  await fails(t, 'io', () => retrying(backend, retry).head('a'))
  t.is(calls.length, 5)
  t.deepEqual(waits, [20, 40, 50, 50])
})

test('retry: jitter stays between half and whole', async t => {
  const { backend } = failing(() => ({ error: passing() }))
  const { waits, retry } = recorded({ firstDelayMs: 10, maximumAttempts: 2, random: () => 0 })
  await fails(t, 'io', () => retrying(backend, retry).head('a'))
  t.deepEqual(waits, [10])
})

test('retry: it ends in time whatever the attempts', async t => {
  const { backend, calls } = failing(() => ({ error: passing() }))
  const { waits, retry } = recorded({ firstDelayMs: 500, maximumDelayMs: 1000, maximumAttempts: 1000, maximumTotalMs: 3000 })
  await fails(t, 'io', () => retrying(backend, retry).head('a'))
  t.deepEqual(waits, [1000, 1000, 1000])
  t.is(calls.length, 4)
})

test('retry: what will not pass is not repeated', async t => {
  for (const kind of ['access-denied', 'not-found', 'invalid', 'interrupted'] as const) {
    const { backend, calls } = failing(() => ({ error: new BackendError(kind, 'no') }))
    await fails(t, kind, () => retrying(backend, recorded().retry).head('a'))
    t.is(calls.length, 1)
  }
  const { backend, calls } = failing(() => ({ error: new TypeError('a bug') }))
  await t.throwsAsync(() => retrying(backend, recorded().retry).head('a'), { instanceOf: TypeError })
  t.is(calls.length, 1)
})

test('retry: an upload completed without an answer is found out', async t => {
  const { backend, memory } = failing(call =>
    call.operation === 'complete-upload' && !completed
      ? { error: passing({ mayHaveHappened: true }), after: (completed = true) }
      : undefined,
  )
  let completed = false
  const store = retrying(backend, recorded().retry)
  const upload = await store.uploads.create('a', { writeId: 'w' })
  const part = await store.uploads.putPart(upload, 1, Buffer.from('x'))
  const done = await store.uploads.complete(upload, [part], { writeId: 'w' })
  t.is((await memory.head('a')).etag, done.etag)
})

test('retry: of many deletions only the failed ones are repeated', async t => {
  const asked: string[][] = []
  const memory = new MemoryBackend()
  const backend: Backend = Object.create(memory, {
    deleteMany: {
      value: async (keys: string[]) => {
        asked.push([...keys])
        if (asked.length === 1)
          return [
            { key: 'b', error: passing() },
            { key: 'c', error: new BackendError('access-denied', 'no') },
          ]
        return []
      },
    },
    uploads: { value: memory.uploads },
  })
  const failures = await retrying(backend, recorded().retry).deleteMany(['a', 'b', 'c'])
  t.deepEqual(asked, [['a', 'b', 'c'], ['b']])
  t.deepEqual(
    failures.map(failure => failure.key),
    ['c'],
  )
})

test('retry: an abort during a wait is the end', async t => {
  const controller = new AbortController()
  const { backend, calls } = failing(() => ({ error: passing() }))
  const store = retrying(backend, {
    sleep: async () => {
      controller.abort()
    },
  })
  await fails(t, 'interrupted', () => store.head('a', { signal: controller.signal }))
  t.is(calls.length, 1)
})

test('gate: never more inside than its limit, in order, aborted ones leave', async t => {
  const gate = new Gate(2)
  const order: number[] = []
  const release: (() => void)[] = []
  const controller = new AbortController()
  const work = (i: number) =>
    gate.pass(
      i === 3 ? controller.signal : undefined,
      () =>
        new Promise<void>(resolve => {
          order.push(i)
          release.push(resolve)
          t.true(gate.inside <= 2)
        }),
    )
  const all = [0, 1, 2, 3, 4].map(work)
  await new Promise(setImmediate)
  t.deepEqual(order, [0, 1])
  t.is(gate.waiting, 3)
  controller.abort()
  t.is(errorKind(await t.throwsAsync(all[3]!)), 'interrupted')
  while (release.length > 0) {
    release.shift()!()
    await new Promise(setImmediate)
  }
  await Promise.all([all[0], all[1], all[2], all[4]])
  t.deepEqual(order, [0, 1, 2, 4])
  t.is(gate.inside, 0)
})

test('gate: one that throws gives its place back', async t => {
  const gate = new Gate(1)
  await t.throwsAsync(gate.pass(undefined, () => Promise.reject(new Error('x'))))
  await gate.pass(undefined, async () => {})
  t.is(gate.inside, 0)
})

test('gate: another limit holds at once for who comes, and for who waits', async t => {
  const gate = new Gate(1)
  const release: (() => void)[] = []
  const all = [0, 1, 2, 3].map(() => gate.pass(undefined, () => new Promise<void>(resolve => void release.push(resolve))))
  const turn = () => new Promise(setImmediate)
  await turn()
  t.is(gate.inside, 1)
  gate.setLimit(3)
  await turn()
  t.deepEqual([gate.inside, gate.waiting], [3, 1])
  gate.setLimit(1)
  release.shift()!()
  await turn()
  t.deepEqual([gate.inside, gate.waiting], [2, 1], 'who leaves beyond the limit lets nobody in')
  release.shift()!()
  release.shift()!()
  await turn()
  t.deepEqual([gate.inside, gate.waiting], [1, 0])
  release.shift()!()
  await Promise.all(all)
  t.is(gate.inside, 0)
})

test('bandwidth: without a rate nothing waits, and a new rate holds from then on', async t => {
  let nowMs = 0
  const bandwidth = new Bandwidth(undefined, () => nowMs)
  t.is(bandwidth.take(1e12, undefined), undefined)
  bandwidth.setRate(1000)
  t.is(bandwidth.take(250, undefined), undefined)
  await fails(t, 'interrupted', async () => bandwidth.take(1, AbortSignal.abort()))
  bandwidth.setRate(undefined)
  nowMs = 1
  t.is(bandwidth.take(1e12, undefined), undefined)
})

test('bandwidth: no more than the rate over any time', async t => {
  let nowMs = 0
  const bandwidth = new Bandwidth(1000, () => nowMs)
  t.is(bandwidth.take(250, undefined), undefined)
  const aborted = AbortSignal.abort()
  await fails(t, 'interrupted', async () => bandwidth.take(100, aborted))
  nowMs = 100
  t.is(bandwidth.take(0, undefined), undefined)
  nowMs = 10_000
  t.is(bandwidth.take(250, undefined), undefined)
  await fails(t, 'interrupted', async () => bandwidth.take(1, aborted))
})

test('limit: uploads do not keep readers waiting, and bytes keep their pace', async t => {
  const memory = new MemoryBackend()
  const bytes = randomBytes(300_000)
  await memory.put('a', bytes)
  const rates = limited(memory, { ...DEFAULT_LIMITS, downloadBytesPerSecond: 1_000_000, uploadBytesPerSecond: 1_000_000 })
  const started = performance.now()
  t.is(Buffer.compare((await read(rates, 'a')).bytes, bytes), 0)
  await rates.put('b', bytes)
  t.is(Buffer.compare((await read(memory, 'b')).bytes, bytes), 0)
  // 0.3 MB each way at 1 MB/s, less the quarter of a second that may go at once: a lower bound, which no slow machine breaks.
  t.true(performance.now() - started > 80)
  let stuck: (() => void) | undefined
  const slow = intercept(memory, {
    around: (call, run) => (call.operation === 'put' ? new Promise(resolve => (stuck = () => resolve(run()))) : run()),
  })
  const store = limited(slow, { downloadsAtOnce: 1, uploadsAtOnce: 1, requestsAtOnce: 1 })
  const puts = [store.put('c', bytes), store.put('d', bytes)]
  t.is((await read(store, 'a')).bytes.length, 300_000)
  await store.head('a')
  stuck!()
  await puts[0]
  await new Promise(setImmediate)
  stuck!()
  await puts[1]
})

test('limit: several stores share one bandwidth', async t => {
  const shared = { download: new Bandwidth(undefined), upload: new Bandwidth(1_000_000) }
  const bytes = randomBytes(200_000)
  const stores = [0, 1, 2].map(() => limited(new MemoryBackend(), new StoreLimits(DEFAULT_LIMITS, shared)))
  const started = performance.now()
  await Promise.all(stores.map(store => store.put('a', bytes)))
  // 0.6 MB at 1 MB/s, less the quarter of a second that may go at once; each alone would not have waited.
  t.true(performance.now() - started > 300)
  shared.upload.setRate(undefined)
  for (const store of stores) t.is(Buffer.compare((await read(store, 'a')).bytes, bytes), 0)
})

test('log: one line a call, names at debug level only', async t => {
  const lines: string[] = []
  const loud = logged(
    new MemoryBackend(),
    createLog(line => void lines.push(line), 'debug'),
  )
  await loud.put('secret name', Buffer.from('x'))
  await fails(t, 'not-found', () => loud.head('other'))
  t.is(lines.length, 2)
  t.regex(lines[0]!, /debug memory: put secret name: done/)
  t.regex(lines[1]!, /head other: no such object/)
  const quiet: string[] = []
  const silent = logged(
    new MemoryBackend(),
    createLog(line => void quiet.push(line), 'info'),
  )
  await silent.put('secret name', Buffer.from('x'))
  t.deepEqual(quiet, [])
})
