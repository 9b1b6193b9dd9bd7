/** From an address to a bucket that works; and listings that don't wait between their pages. */
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import test from 'ava'
import { intercept } from '../../src/backends/intercept.ts'
import { listPages } from '../../src/backends/list-pages.ts'
import { MemoryBackend } from '../../src/backends/memory.ts'
import { connectS3, discoverRegion, parseS3Location } from '../../src/backends/s3/connect.ts'
import { fixedCredentials } from '../../src/backends/s3/credentials.ts'
import { errorKind } from '../../src/errors.ts'
import { s3Server, TEST_CREDENTIALS } from '../support/s3-server.ts'
import { fails } from './contract-suite.ts'

const server = await s3Server()
const real = typeof server === 'string' ? test.skip : test

test('addresses are read, and others refused in one line', t => {
  t.deepEqual(parseS3Location('s3://photos'), { bucket: 'photos', prefix: '' })
  t.deepEqual(parseS3Location('s3://photos/'), { bucket: 'photos', prefix: '' })
  t.deepEqual(parseS3Location('s3://photos/2024/holiday//'), { bucket: 'photos', prefix: '2024/holiday/' })
  for (const text of ['photos', 's3:/photos', 's3://', 'http://photos', ''])
    t.is(errorKind(t.throws(() => parseS3Location(text))), 'invalid')
})

test('the region of a bucket is asked for', async t => {
  const amazon = http.createServer((request, response) => {
    if (request.url === '/there') response.writeHead(403, { 'x-amz-bucket-region': 'eu-north-1' })
    else response.writeHead(request.url === '/missing' ? 404 : 500)
    response.end()
  })
  await new Promise<void>(resolve => amazon.listen(0, '127.0.0.1', resolve))
  t.teardown(() => amazon.close())
  const origin = { secure: false, host: '127.0.0.1', port: (amazon.address() as AddressInfo).port }
  t.is(await discoverRegion('there', {}, origin), 'eu-north-1')
  await fails(t, 'offline', () => discoverRegion('missing', {}, origin))
  await fails(t, 'io', () => discoverRegion('odd', {}, origin))
})

real(typeof server === 'string' ? `connecting (${server})` : 'connecting checks first, and finds out what the server can do', async t => {
  if (typeof server === 'string') return
  const { bucket } = await server.bucket()
  const options = { location: { bucket, prefix: 'folder/' }, endpoint: server.endpoint, credentials: fixedCredentials(TEST_CREDENTIALS) }
  const { store, settings } = await connectS3(options)
  t.like(settings.traits, { writable: true, putIfAbsent: true, etagIsMd5: true })
  t.deepEqual((await store.list()).objects, [], 'nothing is left of the trial')
  store.close()
  const again = await connectS3({ ...options, traits: settings.traits })
  await again.store.check()
  again.store.close()
  await fails(t, 'offline', () => connectS3({ ...options, location: { bucket: 'no-such-bucket', prefix: '' } }))
  await fails(t, 'access-denied', () =>
    connectS3({ ...options, credentials: fixedCredentials({ accessKeyId: 'x', secretAccessKey: 'y' }) }),
  )
  await fails(t, 'offline', () => connectS3({ ...options, endpoint: 'http://127.0.0.1:9' }))
})

test('the next page is on its way while one is worked on, and ends with whoever stops', async t => {
  const memory = new MemoryBackend()
  for (let i = 0; i < 50; i++) await memory.put(`${String(i).padStart(3, '0')}`, Buffer.alloc(1))
  let asked = 0
  const signals: (AbortSignal | undefined)[] = []
  const backend = intercept(memory, {
    around: (call, run) => {
      asked++
      signals.push(call.signal)
      return run()
    },
  })
  const keys: string[] = []
  let pages = 0
  for await (const page of listPages(backend, { maximumKeys: 7 })) {
    keys.push(...page.objects.map(object => object.key))
    t.is(asked, Math.min(8, ++pages + 1))
  }
  t.is(keys.length, 50)
  asked = 0
  for await (const _ of listPages(backend, { maximumKeys: 7 })) break
  t.is(asked, 2)
  t.true(signals.at(-1)!.aborted)
  const aborted = AbortSignal.abort()
  await fails(t, 'interrupted', async () => {
    for await (const _ of listPages(backend, { signal: aborted })) t.fail()
  })
})
