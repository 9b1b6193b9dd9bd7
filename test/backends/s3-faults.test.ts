/** S3 over a network that fails: what can be repeated is, what can't be is an error in bounded time, and nothing is ever wrong. */
import { createHash, randomBytes } from 'node:crypto'
import test, { type ExecutionContext } from 'ava'
import { composeBackend } from '../../src/backends/compose.ts'
import type { Backend } from '../../src/backends/contract.ts'
import type { RetrySettings } from '../../src/backends/retry.ts'
import { fixedCredentials } from '../../src/backends/s3/credentials.ts'
import { S3Backend } from '../../src/backends/s3/s3-backend.ts'
import type { S3Settings } from '../../src/backends/s3/settings.ts'
import { errorKind } from '../../src/errors.ts'
import { type Fault, type FaultProxy, faultProxy, type ProxiedRequest } from '../support/fault-proxy.ts'
import { s3Server, TEST_CREDENTIALS } from '../support/s3-server.ts'
import { fails, read } from './contract-suite.ts'

const server = await s3Server()
const real = typeof server === 'string' ? test.skip : test.serial
const title = (text: string) => (typeof server === 'string' ? `${text} (${server})` : text)

const QUICK: Partial<RetrySettings> = { firstDelayMs: 2, maximumDelayMs: 20, maximumTotalMs: 5_000 }
const LIMITS = { stallTimeoutMs: 2_000, connectTimeoutMs: 2_000 }

interface Setup {
  readonly backend: Backend
  readonly direct: Backend
  readonly proxy: FaultProxy
  readonly settings: S3Settings
}

async function setup(t: ExecutionContext, change: Partial<S3Settings> = {}, retry: Partial<RetrySettings> = QUICK): Promise<Setup> {
  if (typeof server === 'string') throw new Error(server)
  const settings = await server.bucket()
  const proxy = await faultProxy(server.port)
  const direct = new S3Backend(settings)
  const backend = composeBackend(new S3Backend({ ...settings, endpoint: proxy.endpoint, connections: LIMITS, ...change }), { retry })
  t.teardown(async () => {
    backend.close()
    direct.close()
    await proxy.close()
  })
  return { backend, direct, proxy, settings }
}

/** The fault strikes the first `times` requests of each method and path, then all is well. */
function firstTimes(times: number, fault: Fault, only: (request: ProxiedRequest) => boolean = () => true) {
  const seen = new Map<string, number>()
  return (request: ProxiedRequest): Fault | undefined => {
    if (!only(request)) return undefined
    const name = `${request.method} ${request.url}`
    const count = (seen.get(name) ?? 0) + 1
    seen.set(name, count)
    return count <= times ? fault : undefined
  }
}

const PASSING: [name: string, fault: Fault][] = [
  ['500', { status: 500, code: 'InternalError' }],
  ['503 SlowDown', { status: 503, code: 'SlowDown' }],
  ['502 without a word', { status: 502 }],
  ['429', { status: 429 }],
  ['a break before the answer', { cutAnswerAfterBytes: 0 }],
  ['a break in the answer', { cutAnswerAfterBytes: 50 }],
  ['a break in the request', { cutRequestAfterBytes: 1 }],
  ['a lost answer', { dropAnswer: true }],
  ['silence', { hang: true }],
  ['latency', { latencyMs: 30 }],
]

for (const [name, fault] of PASSING) {
  real(title(`every call outlasts ${name}`), async t => {
    const { backend, proxy } = await setup(t)
    proxy.rule = firstTimes(1, fault)
    const bytes = randomBytes(200_000)
    const put = await backend.put('a', bytes, { condition: { absent: true }, writeId: 'w1', metadata: { m: '1' } })
    const second = await backend.put('a', bytes, { condition: { match: put.etag }, writeId: 'w2', metadata: { m: '2' } })
    t.is((await backend.head('a')).metadata.m, '2')
    t.is(Buffer.compare((await read(backend, 'a')).bytes, bytes), 0)
    t.is(
      Buffer.compare(
        (await read(backend, 'a', { range: { offset: 100, lengthBytes: 150_000 }, ifMatch: second.etag })).bytes,
        bytes.subarray(100, 150_100),
      ),
      0,
    )
    await backend.copy('a', 'b')
    t.deepEqual(
      (await backend.list()).objects.map(object => object.key),
      ['a', 'b'],
    )
    const upload = await backend.uploads.create('c', { writeId: 'w3' })
    const part = await backend.uploads.putPart(upload, 1, bytes)
    const done = await backend.uploads.complete(upload, await backend.uploads.parts(upload), { writeId: 'w3' })
    t.is(part.etag, createHash('md5').update(bytes).digest('hex'))
    t.is((await backend.head('c')).etag, done.etag)
    await backend.delete('a')
    t.deepEqual(await backend.deleteMany(['b', 'c']), [])
    t.deepEqual((await backend.list({ prefix: '' })).objects, [])
  })
}

real(title('a download goes on where it broke, again and again, without a byte twice'), async t => {
  const { backend, direct, proxy } = await setup(t, {}, { ...QUICK, maximumAttempts: 20 })
  const bytes = randomBytes(3_000_000)
  await direct.put('a', bytes)
  proxy.rule = () => ({ cutAnswerAfterBytes: 300_000 })
  t.is(Buffer.compare((await read(backend, 'a')).bytes, bytes), 0)
  t.true(proxy.requests.length >= 10)
  t.true(proxy.answeredBytes < 4_000_000)
})

real(title('an object that changes during a broken download is stale, never a mixture'), async t => {
  const { backend, direct, proxy } = await setup(t)
  await direct.put('a', Buffer.alloc(500_000, 1))
  proxy.rule = request => (request.number === 1 ? { cutAnswerAfterBytes: 100_000 } : undefined)
  let changed = false
  const error = await t.throwsAsync(() =>
    backend.get('a', async () => {
      if (changed) return
      changed = true
      await direct.put('a', Buffer.alloc(500_000, 2))
    }),
  )
  t.is(errorKind(error), 'stale')
})

real(title('bytes that are damaged on the way up are sent again'), async t => {
  const { backend, proxy } = await setup(t)
  proxy.rule = firstTimes(1, { flipRequestByteAt: 1000 })
  const bytes = randomBytes(5000)
  await backend.put('a', bytes)
  t.true(proxy.requests.length >= 2)
  t.deepEqual((await read(backend, 'a')).bytes, bytes)
})

real(title('bytes that are damaged on the way down are noticed in a whole read'), async t => {
  const { backend, direct, proxy } = await setup(t)
  await direct.put('a', randomBytes(5000))
  proxy.rule = () => ({ flipAnswerByteAt: 1000 })
  await fails(t, 'damaged', () => read(backend, 'a'))
})

real(title('a conditional write whose answer was lost is not mistaken for a conflict, nor a conflict for it'), async t => {
  const { backend, direct, proxy } = await setup(t)
  proxy.rule = firstTimes(1, { dropAnswer: true }, request => request.method === 'PUT')
  const mine = await backend.put('a', Buffer.from('mine'), { condition: { absent: true }, writeId: 'mine' })
  t.is((await direct.head('a')).etag, mine.etag)
  await direct.put('b', Buffer.from('theirs'), { writeId: 'theirs' })
  await fails(t, 'exists', () => backend.put('b', Buffer.from('mine'), { condition: { absent: true }, writeId: 'mine' }))
  t.is((await read(direct, 'b')).bytes.toString(), 'theirs')
  // Without a token nobody could tell: the doubt is the caller's.
  proxy.rule = firstTimes(1, { dropAnswer: true }, request => request.method === 'PUT')
  const error = await t.throwsAsync(() => backend.put('c', Buffer.from('mine'), { condition: { absent: true } }))
  t.like(error, { mayHaveHappened: true } as object)
})

real(title('a server that stays bad is an error in bounded time'), async t => {
  const { backend, proxy } = await setup(t, {}, { ...QUICK, maximumAttempts: 3 })
  for (const [fault, kind] of [
    [{ status: 500 }, 'io'],
    [{ status: 503 }, 'try-again'],
    [{ hang: true }, 'timed-out'],
    [{ cutAnswerAfterBytes: 0 }, 'offline'],
  ] as const) {
    proxy.rule = () => fault
    const before = proxy.requests.length
    await fails(t, kind, () => read(backend, 'a'))
    t.is(proxy.requests.length - before, 3)
  }
  proxy.rule = () => ({ status: 403, code: 'AccessDenied' })
  const before = proxy.requests.length
  await fails(t, 'access-denied', () => read(backend, 'a'))
  t.is(proxy.requests.length - before, 1)
})

real(title('Retry-After is waited for, but not for ever'), async t => {
  const waits: number[] = []
  const retry: Partial<RetrySettings> = { ...QUICK, maximumTotalMs: 10_000, sleep: async delayMs => void waits.push(delayMs) }
  const { backend, proxy } = await setup(t, {}, retry)
  proxy.rule = firstTimes(1, { status: 503, code: 'SlowDown', retryAfterSeconds: 3 })
  await backend.check()
  t.deepEqual(waits, [3000])
  proxy.rule = () => ({ status: 503, code: 'SlowDown', retryAfterSeconds: 3600 })
  await fails(t, 'try-again', () => backend.check())
  t.is(waits.length, 1)
})

real(title('an abort ends a stuck read, and a wait between attempts, at once'), async t => {
  const { backend, proxy } = await setup(t, { connections: {} }, { firstDelayMs: 60_000, maximumDelayMs: 60_000, maximumTotalMs: 1e9 })
  proxy.rule = request => (request.url.includes('stuck') ? { hang: true } : { status: 500 })
  for (const key of ['stuck', 'failing']) {
    const controller = new AbortController()
    const call = backend.get(key, () => {}, { signal: controller.signal })
    setTimeout(() => controller.abort(), 100)
    await fails(t, 'interrupted', () => call)
  }
})

real(title('a wrong clock is corrected by the server clock'), async t => {
  if (typeof server === 'string') return
  const settings = await server.bucket()
  for (const aheadMs of [3 * 3600_000, -3 * 3600_000]) {
    const backend = new S3Backend(settings, () => Date.now() + aheadMs)
    await backend.put('a', Buffer.from('x'))
    t.is((await backend.head('a')).sizeBytes, 1)
    const upload = await backend.uploads.create('b')
    await backend.uploads.abort(upload)
    backend.close()
  }
})

real(title('refused credentials are not asked for again and again'), async t => {
  let asked = 0
  const expired = { accessKeyId: 'nobody', secretAccessKey: 'x' }
  const { backend } = await setup(t, {
    credentials: async () => {
      asked++
      return asked === 1 ? expired : TEST_CREDENTIALS
    },
  })
  // A provider isn't asked twice within seconds; this one was asked just now, so the first refusal stands.
  await fails(t, 'access-denied', () => backend.check())
  t.is(asked, 1)
})

real(title('each way of not getting in has its one clear line'), async t => {
  const { settings } = await setup(t)
  const attempt = async (change: Partial<S3Settings>) => {
    const backend = new S3Backend({ ...settings, ...change })
    const error = await t.throwsAsync(() => backend.check())
    backend.close()
    return [errorKind(error), error!.message]
  }
  t.deepEqual(await attempt({ bucket: 'no-such-bucket' }), ['offline', 'the bucket does not exist'])
  t.deepEqual(await attempt({ credentials: fixedCredentials({ accessKeyId: 'nobody', secretAccessKey: 'x' }) }), [
    'access-denied',
    'the server does not know this access key',
  ])
  t.deepEqual(await attempt({ credentials: fixedCredentials({ ...TEST_CREDENTIALS, secretAccessKey: 'x' }) }), [
    'access-denied',
    'the secret key does not fit the access key',
  ])
  t.deepEqual(await attempt({ endpoint: 'http://127.0.0.1:9' }), ['offline', 'no connection to the server (ECONNREFUSED)'])
})

real(title('a bucket deleted underneath is offline, not empty'), async t => {
  const { backend, direct } = await setup(t)
  await (direct as S3Backend).planes.data.request({ operation: 'delete-bucket', method: 'DELETE' })
  await fails(t, 'offline', () => backend.list())
  await fails(t, 'offline', () => backend.head('a'))
  await fails(t, 'offline', () => read(backend, 'a'))
  await fails(t, 'offline', () => backend.put('a', Buffer.from('x')))
})

real(title('the server killed and started again in the middle of work'), async t => {
  if (typeof server === 'string') return
  const { direct, settings } = await setup(t)
  const backend = composeBackend(new S3Backend({ ...settings, connections: LIMITS }), {
    retry: { ...QUICK, maximumDelayMs: 200, maximumAttempts: 100, maximumTotalMs: 30_000 },
  })
  t.teardown(() => backend.close())
  await backend.put('a', Buffer.from('x'))
  await server.killGateway()
  await fails(t, 'offline', () => direct.head('a'))
  const late = backend.head('a')
  await server.restartGateway()
  t.is((await late).sizeBytes, 1)
})
