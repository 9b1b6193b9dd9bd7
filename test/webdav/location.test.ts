/** The same over a real folder: what the disk must show, and properties in the index. */
import {
  chmodSync,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { propertiesOf } from './support/multistatus.ts'
import { serveLocation } from './support/served-location.ts'

const PATCH = '<D:propertyupdate xmlns:D="DAV:"><D:set><D:prop><x xmlns="n">kept</x></D:prop></D:set></D:propertyupdate>'

test('properties are kept in the index: through replacing, moving, copying; gone with the file', async t => {
  const served = await serveLocation(t)
  const { http } = served
  const kept = async (path: string) => propertiesOf((await http.send('PROPFIND', path, { depth: '0' })).text).get('{n}x')?.text
  await http.send('MKCOL', '/files/d')
  await http.send('PUT', '/files/d/f', {}, 'one')
  await http.send('PROPPATCH', '/files/d/f', {}, PATCH)
  await http.send('PROPPATCH', '/files/d', {}, PATCH)
  t.is(await kept('/files/d/f'), 'kept')
  t.is((await http.send('PUT', '/files/d/f', {}, 'two')).status, 204)
  t.is(await kept('/files/d/f'), 'kept', 'replaced')
  t.is((await http.send('MOVE', '/files/d', { destination: '/files/e' })).status, 201)
  t.is(await kept('/files/e'), 'kept')
  t.is(await kept('/files/e/f'), 'kept', 'moved')
  t.is((await http.send('COPY', '/files/e', { destination: '/files/c' })).status, 201)
  t.is(await kept('/files/c/f'), 'kept', 'copied')
  t.is(await kept('/files/c'), 'kept')
  t.is((await http.send('DELETE', '/files/e')).status, 204)
  await http.send('PUT', '/files/new', {}, 'x')
  t.is(await kept('/files/new'), undefined)
  t.is(await kept('/files/c/f'), 'kept')
})

test('what is on the disk: whole files, no leftovers, modes and links as before', async t => {
  const { http, folder } = await serveLocation(t)
  writeFileSync(join(folder, 'script'), 'old')
  chmodSync(join(folder, 'script'), 0o755)
  linkSync(join(folder, 'script'), join(folder, 'backup'))
  symlinkSync('script', join(folder, 'link'))
  symlinkSync('/etc/passwd', join(folder, 'out'))
  symlinkSync('../../../../../../../etc', join(folder, 'up'))
  t.is((await http.send('PUT', '/files/link', {}, 'new')).status, 204)
  t.is(readFileSync(join(folder, 'script'), 'utf8'), 'new')
  t.is(statSync(join(folder, 'script')).mode & 0o777, 0o755)
  t.is(readFileSync(join(folder, 'backup'), 'utf8'), 'old')
  t.is(readlinkSync(join(folder, 'link')), 'script')
  for (const path of ['/files/out', '/files/up/passwd', '/files/up']) t.is((await http.send('GET', path)).status, 404, path)
  t.is((await http.send('PUT', '/files/out', {}, 'mine')).status, 201, 'a link that leads out is replaced, not followed')
  t.true(readFileSync('/etc/passwd', 'utf8').includes('root'))
  t.is(readFileSync(join(folder, 'out'), 'utf8'), 'mine')
  t.deepEqual(readdirSync(folder).sort(), ['backup', 'link', 'out', 'script', 'up'])
})

test('deleting and copying real trees', async t => {
  const { http, folder } = await serveLocation(t)
  for (let i = 0; i < 300; i++) {
    mkdirSync(join(folder, `t/${i % 10}/${i}`), { recursive: true })
    writeFileSync(join(folder, `t/${i % 10}/${i}/f`), `${i}`)
  }
  symlinkSync('../../..', join(folder, 't/0/self'))
  const copied = await http.send('COPY', '/files/t', { destination: '/files/u' })
  t.is(copied.status, 201, copied.text)
  for (let i = 0; i < 300; i++) t.is(readFileSync(join(folder, `u/${i % 10}/${i}/f`), 'utf8'), `${i}`)
  t.is(readlinkSync(join(folder, 'u/0/self')), '../../..')
  t.is((await http.send('DELETE', '/files/t')).status, 204)
  t.false(existsSync(join(folder, 't')))
  t.true(existsSync(join(folder, 'u/9/299/f')))
})

test('changes beside the server are seen at once', async t => {
  const { http, folder } = await serveLocation(t)
  for (let i = 0; i < 10; i++) {
    writeFileSync(join(folder, 'f'), `text ${i}`)
    t.is((await http.send('GET', '/files/f')).text, `text ${i}`)
  }
})
