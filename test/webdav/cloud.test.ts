/** WebDAV over a cloud volume: the same tests, and what is written is in the bucket. */
import test, { type ExecutionContext } from 'ava'
import { MemoryBackend } from '../../src/backends/memory.ts'
import { bucketOf, TestGround } from '../vfs/cloud/cloud-ground.ts'
import { litmusCredentials as credentials, litmus } from './support/litmus.ts'
import { propertiesOf } from './support/multistatus.ts'
import { type ServedTree, type ServeOptions, serveTree } from './support/served-tree.ts'
import { testWith } from './support/tools.ts'

/** A server whose tree has the volume `bucket`; the server ends before what it stands on. */
async function serveBucket(
  t: ExecutionContext,
  backend: MemoryBackend,
  options: ServeOptions = {},
): Promise<{ served: ServedTree; ground: TestGround }> {
  const ground = new TestGround({ backend })
  const served = await serveTree(undefined, { ...options, properties: ground.index.properties })
  served.tree.addVolume('bucket', ground.volume)
  t.teardown(async () => {
    await served.close()
    await ground.close()
  })
  return { served, ground }
}

for (const scheme of ['digest', 'basic'] as const) {
  testWith(['litmus'], `litmus over a cloud volume, ${scheme}`, async t => {
    const { served } = await serveBucket(t, new MemoryBackend(), { credentials, schemes: [scheme] })
    await litmus(t, `${served.server.url}bucket/`)
    t.deepEqual(served.leaks(), [])
  })
}

test('what is uploaded is in the bucket; folders, moves, copies and properties as in a folder', async t => {
  const backend = new MemoryBackend()
  const { served, ground } = await serveBucket(t, backend, { acceptsLitter: top => top !== 'bucket' })
  const { http } = served
  const large = Buffer.alloc(3_000_000, 'sdmount ')
  t.is((await http.send('MKCOL', '/bucket/d')).status, 201)
  t.is((await http.send('PUT', '/bucket/d/large', {}, large)).status, 201)
  t.is((await http.send('PUT', '/bucket/d/small', {}, 'one')).status, 201)
  t.is((await http.send('PUT', '/bucket/d/small', {}, 'two')).status, 204)
  const patch = '<D:propertyupdate xmlns:D="DAV:"><D:set><D:prop><x xmlns="n">kept</x></D:prop></D:set></D:propertyupdate>'
  t.is((await http.send('PROPPATCH', '/bucket/d/small', {}, patch)).status, 207)
  t.is((await http.send('MOVE', '/bucket/d', { destination: '/bucket/e' })).status, 201)
  t.is((await http.send('COPY', '/bucket/e', { destination: '/bucket/f' })).status, 201)
  for (const folder of ['e', 'f']) {
    t.true((await http.send('GET', `/bucket/${folder}/large`)).body.equals(large))
    t.is((await http.send('GET', `/bucket/${folder}/large`, { range: 'bytes=2999992-' })).text, 'sdmount ')
    const found = propertiesOf((await http.send('PROPFIND', `/bucket/${folder}/small`, { depth: '0' })).text)
    t.is(found.get('{n}x')?.text, 'kept', folder)
  }
  t.is((await http.send('PUT', '/bucket/e/.DS_Store', {}, 'x')).status, 403)
  t.is((await http.send('DELETE', '/bucket/f/large')).status, 204)
  await ground.drained()
  const objects = (await bucketOf(backend)).filter(line => !line.includes('/ '))
  t.deepEqual(
    objects.map(line => line.slice(0, 30)),
    [`e/large ${large}`.slice(0, 30), 'e/small two', 'f/small two'],
  )
})
