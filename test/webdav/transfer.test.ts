/** COPY, MOVE, DELETE, MKCOL. */
import test from 'ava'
import { FsError } from '../../src/errors.ts'
import { O_RDWR } from '../../src/sys/flags.ts'
import type { Ino, Name, RequestContext, Vfs } from '../../src/vfs/contract.ts'
import { MemoryVolume } from '../../src/vfs/volumes/memory.ts'
import { context } from '../vfs/volume-contract.ts'
import type { HttpClient } from './support/http-client.ts'
import { parseMultistatus, propertiesOf } from './support/multistatus.ts'
import { serveTree } from './support/served-tree.ts'

const PATCH = '<D:propertyupdate xmlns:D="DAV:"><D:set><D:prop><x xmlns="n">kept</x></D:prop></D:set></D:propertyupdate>'

async function setUp(http: HttpClient) {
  for (const folder of ['/mem/d', '/mem/d/sub', '/mem/e']) await http.send('MKCOL', folder)
  for (const file of ['/mem/f', '/mem/g', '/mem/d/one', '/mem/d/sub/two', '/mem/e/old'])
    await http.send('PUT', file, {}, `content of ${file}`)
}

const status = async (http: HttpClient, path: string) => (await http.send('HEAD', path, { accept: 'text/html' })).status
const text = async (http: HttpClient, path: string) => (await http.send('GET', path)).text

test('COPY and MOVE: 201 onto nothing, 204 onto something, Overwrite', async t => {
  const { http } = await serveTree(t)
  await setUp(http)
  for (const method of ['COPY', 'MOVE']) {
    const send = (path: string, destination: string, headers: Record<string, string> = {}) =>
      http.send(method, path, { destination, ...headers })
    t.is((await send('/mem/f', '/mem/g', { overwrite: 'F' })).status, 412)
    t.is(await text(http, '/mem/g'), 'content of /mem/g')
    t.is((await send('/mem/f', '/mem/new', { overwrite: 'F' })).status, 201)
    t.is(await text(http, '/mem/new'), 'content of /mem/f')
    t.is((await send('/mem/new', '/mem/g')).status, 204, 'absent means T')
    t.is(await text(http, '/mem/g'), 'content of /mem/f')
    t.is(await status(http, '/mem/new'), method === 'MOVE' ? 404 : 200)
    t.is((await send('/mem/g', '/mem/no/g')).status, 409)
    t.is((await send('/mem/none', '/mem/x')).status, 404)
    t.is((await send('/mem/g', '/mem/g')).status, 403)
    t.is((await send('/mem/d', '/mem/d')).status, 403)
    t.is((await send('/mem/d', '/mem/d/sub/in')).status, 403)
    t.is((await send('/mem/d/sub', '/mem/d')).status, 403, 'over a folder that it is in')
    t.is((await send('/mem/g', 'http://elsewhere.example/mem/x')).status, 502)
    t.is((await http.send(method, '/mem/g')).status, 400, 'no destination')
    t.is((await send('/mem/g', '/mem/x', { overwrite: 'maybe' })).status, 400)
    t.is((await send('/mem/d', '/mem/x', { depth: '1' })).status, 400)
    t.is((await send('/mem/g', '/top')).status, 403, 'the root holds volumes only')
    t.is((await send('/mem/g', '/mem')).status, 403)
    t.is((await send('/mem/g', '/')).status, 403)
    t.is((await send('/', '/mem/x')).status, 403)
    if (method === 'MOVE') t.is((await send('/mem', '/mem/x')).status, 403)
    await http.send('PUT', '/mem/f', {}, 'content of /mem/f')
    await http.send('PUT', '/mem/g', {}, 'content of /mem/g')
    await http.send('DELETE', '/mem/new')
  }
  t.is(await text(http, '/mem/d/sub/two'), 'content of /mem/d/sub/two')
})

test('onto a folder, or a folder onto a file: what was there is replaced, not merged', async t => {
  const { http } = await serveTree(t)
  for (const method of ['COPY', 'MOVE']) {
    await setUp(http)
    t.is((await http.send(method, '/mem/d', { destination: '/mem/e' })).status, 204)
    t.is(await status(http, '/mem/e/old'), 404)
    t.is(await text(http, '/mem/e/sub/two'), 'content of /mem/d/sub/two')
    await http.send('MKCOL', '/mem/d')
    t.is((await http.send(method, '/mem/d', { destination: '/mem/g' })).status, 204)
    t.is(await status(http, '/mem/g/'), 200)
    t.is((await http.send(method, '/mem/f', { destination: '/mem/g/' })).status, 204)
    t.is(await text(http, '/mem/g'), 'content of /mem/f')
    for (const path of ['/mem/d', '/mem/e', '/mem/f', '/mem/g']) await http.send('DELETE', path)
  }
})

test('COPY: depth 0 is the folder alone; all that a file has goes along', async t => {
  const { http, volume } = await serveTree(t)
  await setUp(http)
  t.is((await http.send('COPY', '/mem/d', { destination: '/mem/flat', depth: '0' })).status, 201)
  t.is(await status(http, '/mem/flat/one'), 404)
  const one = volume.lookup(context, volume.lookup(context, volume.rootIno, 'd')!.attributes.ino, 'one')!.attributes.ino
  volume.setattr(context, one, { mode: 0o751, mtime: { sec: 784111777, nsec: 5 } })
  volume.setxattr(context, one, 'user.tag', Buffer.from('red'), 0)
  await http.send('PROPPATCH', '/mem/d/one', {}, PATCH)
  await http.send('PROPPATCH', '/mem/d', {}, PATCH)
  volume.symlink(context, volume.lookup(context, volume.rootIno, 'd')!.attributes.ino, 'link', 'one')
  t.is((await http.send('COPY', '/mem/d', { destination: '/mem/copy' })).status, 201)
  const copy = volume.lookup(context, volume.rootIno, 'copy')!.attributes.ino
  const { attributes } = volume.lookup(context, copy, 'one')!
  t.deepEqual([attributes.mode & 0o777, attributes.mtimeSec, attributes.mtimeNsec], [0o751, 784111777, 5])
  t.is(volume.getxattr(context, attributes.ino, 'user.tag').toString(), 'red')
  t.is(volume.readlink(context, volume.lookup(context, copy, 'link')!.attributes.ino), 'one')
  for (const path of ['/mem/copy/one', '/mem/copy'])
    t.is(propertiesOf((await http.send('PROPFIND', path, { depth: '0' })).text).get('{n}x')?.text, 'kept', path)
  t.is(await text(http, '/mem/copy/sub/two'), 'content of /mem/d/sub/two')
})

test('MOVE of a folder is one rename, also of a full one; properties go along', async t => {
  const calls: string[] = []
  const wrap = (vfs: Vfs): Vfs =>
    new Proxy(vfs, {
      get(target, key) {
        const value = Reflect.get(target, key)
        if (typeof value !== 'function') return value
        return (...args: unknown[]) => {
          if (['rename', 'create', 'mkdir', 'unlink', 'rmdir', 'link', 'tmpfile'].includes(String(key))) calls.push(String(key))
          return value.apply(target, args)
        }
      },
    })
  const { http, volume } = await serveTree(t, { wrap })
  await setUp(http)
  await http.send('PROPPATCH', '/mem/d/sub/two', {}, PATCH)
  const { ino } = volume.lookup(context, volume.rootIno, 'd')!.attributes
  calls.length = 0
  t.is((await http.send('MOVE', '/mem/d/', { destination: '/mem/moved/' })).status, 201)
  t.deepEqual(calls, ['rename'])
  t.is(volume.lookup(context, volume.rootIno, 'moved')!.attributes.ino, ino)
  t.is(propertiesOf((await http.send('PROPFIND', '/mem/moved/sub/two', { depth: '0' })).text).get('{n}x')?.text, 'kept')
})

test('renames that change only the case, or the Unicode spelling', async t => {
  const { http, volume } = await serveTree(t)
  await http.send('PUT', '/mem/name', {}, 'x')
  t.is((await http.send('MOVE', '/mem/name', { destination: '/mem/NAME', overwrite: 'F' })).status, 201)
  t.is(await status(http, '/mem/name'), 404)
  t.is(await text(http, '/mem/NAME'), 'x')
  await http.send('PUT', `/mem/${encodeURIComponent('e\u0301')}`, {}, 'y')
  t.is(await text(http, `/mem/${encodeURIComponent('é')}`), 'y', 'found under its other spelling')
  t.is((await http.send('PUT', `/mem/${encodeURIComponent('é')}`, {}, 'z')).status, 204, 'and replaced under it')
  t.is(volume.nodeCount, 3)
  t.is(
    (await http.send('MOVE', `/mem/${encodeURIComponent('e\u0301')}`, { destination: `/mem/${encodeURIComponent('é')}`, overwrite: 'F' }))
      .status,
    201,
  )
  t.not(volume.lookup(context, volume.rootIno, Buffer.from('é').toString('latin1')), undefined)
})

test('destinations of all kinds of spelling', async t => {
  const { http, server } = await serveTree(t)
  await http.send('PUT', '/mem/f', {}, 'x')
  for (const name of ['a b', 'a#b', 'a%b', 'a?b', 'ä€😀', "a'b", 'a+b', 'a;b', 'a&b']) {
    const encoded = `/mem/${encodeURIComponent(name)}`
    for (const destination of [
      encoded,
      `http://127.0.0.1:${server.port}${encoded}`,
      `http://127.0.0.1:${server.port}//mem/${encodeURIComponent(name)}`,
    ]) {
      const reply = await http.send('COPY', '/mem/f', { destination })
      t.true(reply.status === 201 || reply.status === 204, destination)
    }
    t.is(await text(http, encoded), 'x')
  }
  for (const destination of [
    '/mem/%zz',
    '/mem/../x',
    '/mem/%2e%2e/x',
    '/mem/a%2fb',
    '/mem/a%00',
    'x',
    '/mem/a#b',
    `/mem/${'n'.repeat(256)}`,
  ])
    t.is((await http.send('MOVE', '/mem/f', { destination })).status, 400, destination)
  t.is(await text(http, '/mem/f'), 'x')
})

test('between volumes: copied whole, then deleted', async t => {
  const { http, tree, volume } = await serveTree(t)
  const other = new MemoryVolume({ id: 2, slot: 2 })
  tree.addVolume('other', other)
  await setUp(http)
  await http.send('PROPPATCH', '/mem/d/one', {}, PATCH)
  t.is((await http.send('MOVE', '/mem/d', { destination: '/other/d' })).status, 201)
  t.is(await text(http, '/other/d/sub/two'), 'content of /mem/d/sub/two')
  t.is(propertiesOf((await http.send('PROPFIND', '/other/d/one', { depth: '0' })).text).get('{n}x')?.text, 'kept')
  t.is(volume.lookup(context, volume.rootIno, 'd'), undefined)
  t.is((await http.send('COPY', '/other/d', { destination: '/mem/d' })).status, 201)
  t.is(await text(http, '/mem/d/sub/two'), 'content of /mem/d/sub/two')
  t.is(await text(http, '/other/d/sub/two'), 'content of /mem/d/sub/two')
})

test('between volumes, what fails leaves the source whole and is named', async t => {
  const wrap = (vfs: Vfs) => failing(vfs, 'link', (args: Parameters<Vfs['link']>) => args[3] === 'two' && 'no-space')
  const { http, tree } = await serveTree(t, { wrap })
  tree.addVolume('other', new MemoryVolume({ id: 2, slot: 2 }))
  for (const folder of ['/mem/d', '/mem/d/sub']) await http.send('MKCOL', folder)
  await http.send('PUT', '/mem/d/one', {}, '1')
  await http.send('PUT', '/mem/d/sub/zwei', {}, '2')
  t.is((await http.send('MOVE', '/mem/d/sub/zwei', { destination: '/mem/d/sub/two' })).status, 201)
  const reply = await http.send('MOVE', '/mem/d', { destination: '/other/d' })
  t.is(reply.status, 207)
  const rows = parseMultistatus(reply.text)
  t.deepEqual(
    rows.map(({ href, status: code }) => [href, code]),
    [['/other/d/sub/two', 507]],
  )
  t.is(await text(http, '/mem/d/sub/two'), '2')
  t.is(await text(http, '/mem/d/one'), '1')
})

test('two names of one file: moved onto each other, one is left', async t => {
  const { http, volume } = await serveTree(t)
  await http.send('PUT', '/mem/a', {}, 'x')
  volume.link(context, volume.lookup(context, volume.rootIno, 'a')!.attributes.ino, volume.rootIno, 'b')
  t.is((await http.send('MOVE', '/mem/a', { destination: '/mem/b' })).status, 204)
  t.is(await status(http, '/mem/a'), 404)
  t.is(await text(http, '/mem/b'), 'x')
})

test('DELETE: a file, a folder with all in it; not the root, not a volume', async t => {
  const { http, volume } = await serveTree(t)
  await setUp(http)
  const before = volume.nodeCount
  t.is((await http.send('DELETE', '/')).status, 403)
  t.is((await http.send('DELETE', '/mem')).status, 403)
  t.is((await http.send('DELETE', '/mem/')).status, 403)
  t.is(volume.nodeCount, before, 'and nothing in it either')
  t.is((await http.send('DELETE', '/mem/f#x')).status, 400)
  t.is((await http.send('DELETE', '/mem/d', { depth: '1' })).status, 400)
  t.is((await http.send('DELETE', '/mem/d', { depth: '0' })).status, 400)
  t.is((await http.send('DELETE', '/mem/none')).status, 404)
  t.is((await http.send('DELETE', '/mem/f')).status, 204)
  t.is((await http.send('DELETE', '/mem/d/')).status, 204)
  t.is((await http.send('DELETE', '/mem/e')).status, 204)
  t.is((await http.send('DELETE', '/mem/g', { 'if-match': '"x"' })).status, 412)
  t.is((await http.send('DELETE', '/mem/g')).status, 204)
  t.is(volume.nodeCount, 1)
})

test('DELETE: what stays is named, the rest is gone', async t => {
  const wrap = (vfs: Vfs) => failing(vfs, 'unlink', (args: [RequestContext, Ino, Name]) => args[2] === 'two' && 'access-denied')
  const { http } = await serveTree(t, { wrap })
  await setUp(http)
  const reply = await http.send('DELETE', '/mem/d')
  t.is(reply.status, 207)
  t.deepEqual(
    parseMultistatus(reply.text).map(({ href, status: code }) => [href, code]),
    [['/mem/d/sub/two', 403]],
  )
  t.is(await status(http, '/mem/d/one'), 404)
  t.is(await text(http, '/mem/d/sub/two'), 'content of /mem/d/sub/two')
  t.is((await http.send('DELETE', '/mem/d/sub/two')).status, 403, 'alone it is a plain answer')
})

test('DELETE of 3,000 files lets others in between, and gives every reference back', async t => {
  const { http, volume } = await serveTree(t)
  await http.send('MKCOL', '/mem/big')
  const { ino } = volume.lookup(context, volume.rootIno, 'big')!.attributes
  volume.forget(ino, 1)
  for (let i = 0; i < 3000; i++) {
    const { entry, file } = volume.create(context, ino, `n${i}`, 0o644, O_RDWR)
    file.release()
    volume.forget(entry.attributes.ino, 1)
  }
  const deleting = http.send('DELETE', '/mem/big')
  t.is((await http.send('OPTIONS', '/')).status, 200)
  t.is((await deleting).status, 204)
  t.is(volume.nodeCount, 1)
})

test('MKCOL', async t => {
  const { http } = await serveTree(t)
  t.is((await http.send('MKCOL', '/mem/d', {}, '<x/>')).status, 415)
  t.is((await http.send('MKCOL', '/mem/d/')).status, 201)
  t.is((await http.send('MKCOL', '/mem/d')).status, 405)
  t.is((await http.send('MKCOL', '/mem/no/d')).status, 409)
  await http.send('PUT', '/mem/f', {}, 'x')
  t.is((await http.send('MKCOL', '/mem/f')).status, 405)
  t.is((await http.send('MKCOL', '/mem/f/d')).status, 409)
  t.is((await http.send('MKCOL', '/')).status, 405)
  t.is((await http.send('MKCOL', '/volume')).status, 403)
})

test('clutter of desktop systems: refused fast where a volume does not want it', async t => {
  const { http } = await serveTree(t, { acceptsLitter: top => top !== 'mem' })
  for (const name of ['._file', '.DS_Store', 'desktop.ini', 'Thumbs.db', '.Trashes', '$RECYCLE.BIN', 'AutoRun.inf']) {
    const path = `/mem/${encodeURIComponent(name)}`
    t.is((await http.send('PUT', path, {}, 'x')).status, 403, name)
    t.is((await http.send('MKCOL', path)).status, 403)
    t.is(
      (
        await http.send(
          'LOCK',
          path,
          {},
          '<D:lockinfo xmlns:D="DAV:"><D:lockscope><D:exclusive/></D:lockscope><D:locktype><D:write/></D:locktype></D:lockinfo>',
        )
      ).status,
      403,
    )
    t.is((await http.send('PROPFIND', path, { depth: '0' })).status, 404)
    t.is((await http.send('GET', path)).status, 404)
  }
  await http.send('PUT', '/mem/f', {}, 'x')
  t.is((await http.send('MOVE', '/mem/f', { destination: '/mem/._f' })).status, 403)
  t.is((await http.send('PUT', '/mem/.DS_Store.txt', {}, 'x')).status, 201)
  const kept = await serveTree(t)
  t.is((await kept.http.send('PUT', '/mem/._f', {}, 'x')).status, 201, 'where it is wanted it is kept')
})

/** A tree in which a method fails when `when` names a kind. */
function failing<Key extends 'unlink' | 'link'>(vfs: Vfs, method: Key, when: (args: never) => string | false): Vfs {
  return new Proxy(vfs, {
    get(target, key) {
      const value = Reflect.get(target, key)
      if (typeof value !== 'function') return value
      return (...args: unknown[]) => {
        const kind = key === method && when(args as never)
        if (kind) throw new FsError(kind as never)
        return value.apply(target, args)
      }
    },
  })
}
