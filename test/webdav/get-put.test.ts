/** GET, HEAD, PUT. */
import { request } from 'node:http'
import test from 'ava'
import { FsError } from '../../src/errors.ts'
import { O_RDWR } from '../../src/sys/flags.ts'
import type { RequestContext, Vfs } from '../../src/vfs/contract.ts'
import { context, listNames } from '../vfs/volume-contract.ts'
import { deferredVfs } from './support/deferred-vfs.ts'
import { propertiesOf } from './support/multistatus.ts'
import { type ServedTree, serveTree } from './support/served-tree.ts'

const bytes = (length: number, salt = 0) => Buffer.from(Uint8Array.from({ length }, (_, i) => (i * 31 + salt + (i >> 8)) & 255))

/** An upload that stays open: send pieces, then end or cut it. */
function upload({ server }: ServedTree, path: string, headers: Record<string, string | number>) {
  const req = request({ host: '127.0.0.1', port: server.port, method: 'PUT', path, headers, agent: false })
  const status = new Promise<number>((resolve, reject) => {
    req.on('response', response => {
      response.resume()
      resolve(response.statusCode!)
    })
    req.on('error', reject)
  })
  status.catch(() => {})
  return { req, status }
}

const settled = async (condition: () => boolean) => {
  for (let i = 0; i < 3000 && !condition(); i++) await new Promise(resolve => setTimeout(resolve, 20))
  return condition()
}

test('GET and HEAD agree: ETag, Last-Modified, Content-Length, guards', async t => {
  const { http } = await serveTree(t)
  await http.send('PUT', '/mem/page.html', {}, '<script>alert(1)</script>')
  const get = await http.send('GET', '/mem/page.html')
  const head = await http.send('HEAD', '/mem/page.html')
  t.is(get.status, 200)
  t.is(head.status, 200)
  t.is(head.body.length, 0)
  for (const name of ['etag', 'last-modified', 'content-length', 'content-type', 'accept-ranges']) {
    t.truthy(get.headers[name], name)
    t.is(get.headers[name], head.headers[name], name)
  }
  t.is(get.headers['content-length'], '25')
  t.is(get.headers['content-type'], 'text/html; charset=utf-8')
  t.is(get.headers['x-content-type-options'], 'nosniff')
  t.regex(get.headers['content-security-policy'] as string, /default-src 'none'.*; sandbox$/)
  t.regex(get.headers.etag!, /^"[^"]+"$/)
  t.is((await http.send('GET', '/mem/page.html')).headers.etag, get.headers.etag, 'stable')
})

test('conditions: 304 by tag and by date, 412', async t => {
  const { http } = await serveTree(t)
  await http.send('PUT', '/mem/f', {}, 'x')
  const { etag, 'last-modified': modified } = (await http.send('HEAD', '/mem/f')).headers
  const get = async (headers: Record<string, string>) => http.send('GET', '/mem/f', headers)
  const unchanged = await get({ 'if-none-match': etag! })
  t.is(unchanged.status, 304)
  t.is(unchanged.headers.etag, etag)
  t.is(unchanged.body.length, 0)
  t.is((await get({ 'if-modified-since': modified! })).status, 304)
  t.is((await get({ 'if-match': '"other"' })).status, 412)
  t.is((await get({ 'if-unmodified-since': 'Sun, 06 Nov 1994 08:49:37 GMT' })).status, 412)
  t.is((await get({ 'if-match': etag! })).status, 200)
})

test('ranges', async t => {
  const { http } = await serveTree(t)
  const content = bytes(100_000)
  await http.send('PUT', '/mem/f', {}, content)
  await http.send('PUT', '/mem/empty', {}, '')
  const { etag } = (await http.send('HEAD', '/mem/f')).headers
  const get = (range: string, headers: Record<string, string> = {}) => http.send('GET', '/mem/f', { range, ...headers })
  for (const [range, start, end] of [
    ['bytes=0-9', 0, 10],
    ['bytes=99990-', 99_990, 100_000],
    ['bytes=-5', 99_995, 100_000],
    ['bytes=70000-99999999', 70_000, 100_000],
  ] as const) {
    const reply = await get(range)
    t.is(reply.status, 206, range)
    t.deepEqual(reply.body, content.subarray(start, end))
    t.is(reply.headers['content-range'], `bytes ${start}-${end - 1}/100000`)
    t.is(reply.headers['content-length'], String(end - start))
  }
  const past = await get('bytes=100000-')
  t.is(past.status, 416)
  t.is(past.headers['content-range'], 'bytes */100000')
  for (const range of ['garbage', 'lines=0-3', 'bytes=3-1', 'bytes=0-1,5-6']) {
    const reply = await get(range)
    t.is(reply.status, 200, range)
    t.is(reply.body.length, 100_000)
  }
  t.is((await get('bytes=0-1', { 'if-range': etag! })).status, 206)
  t.is((await get('bytes=0-1', { 'if-range': '"old"' })).status, 200)
  const empty = await http.send('GET', '/mem/empty')
  t.is(empty.status, 200)
  t.is(empty.headers['content-length'], '0')
  t.is((await http.send('GET', '/mem/empty', { range: 'bytes=0-' })).status, 416)
  t.is((await http.send('HEAD', '/mem/f', { range: 'bytes=0-9' })).headers['content-length'], '10')
})

test('a folder has no content, a file no "/" at its end', async t => {
  const { http } = await serveTree(t)
  await http.send('PUT', '/mem/f', {}, 'x')
  for (const path of ['/', '/mem', '/mem/']) {
    const reply = await http.send('GET', path)
    t.is(reply.status, 405, path)
    t.truthy(reply.headers.allow)
  }
  t.is((await http.send('GET', '/mem/f/')).status, 404)
  t.is((await http.send('GET', '/mem/f/x')).status, 404)
  t.is((await http.send('GET', '/mem/none')).status, 404)
  t.is((await http.send('HEAD', '/mem/none')).status, 404)
})

test('PUT: 201 new, 204 again, and the tag of the answer is that of the file', async t => {
  const { http, volume } = await serveTree(t)
  const made = await http.send('PUT', '/mem/f', {}, 'one')
  t.is(made.status, 201)
  t.is((await http.send('HEAD', '/mem/f')).headers.etag, made.headers.etag)
  t.is(volume.lookup(context, volume.rootIno, 'f')!.attributes.mode & 0o777, 0o644)
  const again = await http.send('PUT', '/mem/f', {}, 'two!')
  t.is(again.status, 204)
  t.not(again.headers.etag, made.headers.etag)
  t.is((await http.send('GET', '/mem/f')).text, 'two!')
  t.is((await http.send('PUT', '/mem/f', { 'if-none-match': '*' }, 'three')).status, 412)
  t.is((await http.send('PUT', '/mem/f', { 'if-match': made.headers.etag! }, 'three')).status, 412)
  t.is((await http.send('PUT', '/mem/f', { 'if-match': again.headers.etag! }, 'three')).status, 204)
  t.is((await http.send('PUT', '/mem/new', { 'if-match': '*' }, 'x')).status, 412)
  t.is((await http.send('PUT', '/mem/new', { 'if-none-match': '*' }, 'x')).status, 201)
})

test('PUT: what is refused', async t => {
  const { http } = await serveTree(t, { volume: { capacityBytes: 1 << 20 } })
  const put = async (path: string, headers: Record<string, string> = {}, body: string | Buffer = 'x') =>
    (await http.send('PUT', path, headers, body)).status
  await put('/mem/f')
  await http.send('MKCOL', '/mem/d')
  t.is(await put('/mem/d'), 405)
  t.is(await put('/mem/d/'), 405)
  t.is(await put('/mem/'), 405)
  t.is(await put('/'), 405)
  t.is(await put('/new'), 403, 'the root holds volumes only')
  t.is(await put('/mem/none/f'), 409)
  t.is(await put('/mem/f/x'), 409)
  t.is(await put('/mem/new/'), 409)
  t.is(await put('/mem/f', { 'content-range': 'bytes 0-0/1' }), 400)
  t.is(await put('/mem/f', { 'content-encoding': 'gzip' }), 415)
  t.is(await put('/mem/big', {}, Buffer.alloc(2 << 20)), 507)
  t.is(await put('/mem/big', { 'transfer-encoding': 'chunked', 'x-expected-entity-length': String(2 << 20) }), 507)
  t.is(await put('/mem/big', { 'transfer-encoding': 'chunked' }, Buffer.alloc(2 << 20)), 507, 'found out on the way')
  t.is((await http.send('GET', '/mem/big')).status, 404)
  t.is((await http.send('GET', '/mem/f')).text, 'x')
  t.is(await put('/mem/ok', {}, Buffer.alloc(1 << 19)), 201, 'the space of what failed is free again')
})

test('PUT by chunks with the announced length, as Finder does', async t => {
  const { http } = await serveTree(t)
  const content = bytes(300_000)
  t.is((await http.send('PUT', '/mem/f', { 'transfer-encoding': 'Chunked', 'x-expected-entity-length': '300000' }, content)).status, 201)
  t.deepEqual((await http.send('GET', '/mem/f')).body, content)
  t.is((await http.send('PUT', '/mem/f', { 'transfer-encoding': 'chunked', 'x-expected-entity-length': '300001' }, content)).status, 400)
  t.deepEqual((await http.send('GET', '/mem/f')).body, content)
})

test('an upload that is cut off leaves the old file and nothing else', async t => {
  const served = await serveTree(t)
  const { http, volume } = served
  await http.send('PUT', '/mem/f', {}, 'old')
  const nodes = volume.nodeCount
  for (const path of ['/mem/f', '/mem/new']) {
    for (const headers of [{ 'content-length': 1_000_000 }, { 'transfer-encoding': 'chunked' }]) {
      const { req } = upload(served, path, headers)
      req.write(bytes(500_000))
      t.true(await settled(() => served.server.activeRequests === 1 && volume.nodeCount > nodes))
      req.destroy()
      t.true(await settled(() => served.server.activeRequests === 0))
    }
  }
  t.is((await http.send('GET', '/mem/f')).text, 'old')
  t.is((await http.send('GET', '/mem/new')).status, 404)
  t.is(volume.nodeCount, nodes)
  t.deepEqual(served.leaks(), [])
})

test('two uploads at once end as one of them, whole; a reader keeps what it began with', async t => {
  const served = await serveTree(t)
  const { http } = served
  const old = bytes(4_000_000, 1)
  await http.send('PUT', '/mem/f', {}, old)
  // A reader that has taken its first piece only.
  const reader = request({ host: '127.0.0.1', port: served.server.port, path: '/mem/f', agent: false })
  const reading = new Promise<Buffer>((resolve, reject) => {
    reader.on('response', response => {
      const chunks: Buffer[] = []
      response.once('data', chunk => {
        chunks.push(chunk)
        response.pause()
        setTimeout(() => {
          response.on('data', more => chunks.push(more))
          response.on('end', () => resolve(Buffer.concat(chunks)))
          response.resume()
        }, 300)
      })
      response.on('error', reject)
    })
    reader.on('error', reject)
  })
  reader.end()
  const contents = [bytes(2_000_000, 2), bytes(3_000_000, 3)]
  for (let round = 0; round < 4; round++) {
    const uploads = contents.map(content => {
      const one = upload(served, '/mem/f', { 'content-length': content.length })
      one.req.write(content.subarray(0, 1_000_000))
      setTimeout(() => one.req.end(content.subarray(1_000_000)), 20 * (round + 1))
      return one.status
    })
    t.deepEqual(await Promise.all(uploads), [204, 204])
    const { body } = await http.send('GET', '/mem/f')
    t.true(contents.some(content => content.equals(body)))
  }
  t.true((await reading).equals(old))
})

test('two uploads of a new name at once both succeed; with If-None-Match one does', async t => {
  const served = await serveTree(t)
  const together = async (path: string, headers: Record<string, string>) => {
    const nodes = served.volume.nodeCount
    const uploads = ['a', 'b'].map(content => {
      const one = upload(served, path, { ...headers, 'content-length': 4 })
      one.req.write(content.repeat(2))
      return { ...one, rest: content.repeat(2) }
    })
    // Both have begun: neither saw the other's file.
    t.true(await settled(() => served.volume.nodeCount === nodes + 2))
    for (const { req, rest } of uploads) req.end(rest)
    return (await Promise.all(uploads.map(({ status }) => status))).sort()
  }
  t.deepEqual(await together('/mem/free', {}), [201, 201])
  t.regex((await served.http.send('GET', '/mem/free')).text, /^(aaaa|bbbb)$/)
  t.deepEqual(await together('/mem/once', { 'if-none-match': '*' }), [201, 412])
})

test('a lock taken while an upload runs holds against it', async t => {
  const served = await serveTree(t)
  const { http } = served
  await http.send('PUT', '/mem/f', {}, 'old')
  const { req, status } = upload(served, '/mem/f', { 'content-length': 6 })
  req.write('new')
  t.true(await settled(() => served.server.activeRequests === 1))
  const lockinfo = '<D:lockinfo xmlns:D="DAV:"><D:lockscope><D:exclusive/></D:lockscope><D:locktype><D:write/></D:locktype></D:lockinfo>'
  t.is((await http.send('LOCK', '/mem/f', {}, lockinfo)).status, 200)
  req.end('new')
  t.is(await status, 423)
  t.is((await http.send('GET', '/mem/f')).text, 'old')
})

test('what a file was given stays when it is replaced: mode, owner, attributes, properties', async t => {
  const { http, volume, properties } = await serveTree(t)
  await http.send('PUT', '/mem/f', {}, 'old')
  const { ino } = volume.lookup(context, volume.rootIno, 'f')!.attributes
  volume.setattr(context, ino, { mode: 0o750, uid: 42, gid: 43 })
  volume.setxattr(context, ino, 'user.tag', Buffer.from('red'), 0)
  const patch = '<D:propertyupdate xmlns:D="DAV:"><D:set><D:prop><x xmlns="n">kept</x></D:prop></D:set></D:propertyupdate>'
  await http.send('PROPPATCH', '/mem/f', {}, patch)
  t.is((await http.send('PUT', '/mem/f', {}, 'new')).status, 204)
  const { attributes } = volume.lookup(context, volume.rootIno, 'f')!
  t.deepEqual([attributes.mode & 0o7777, attributes.uid, attributes.gid], [0o750, 42, 43])
  t.is(volume.getxattr(context, attributes.ino, 'user.tag').toString(), 'red')
  t.is(propertiesOf((await http.send('PROPFIND', '/mem/f', { depth: '0' })).text).get('{n}x')?.text, 'kept')
  t.is(properties.size, 1, 'those of the old one are gone')
})

test('other hard links of a replaced file keep the old bytes', async t => {
  const { http, volume } = await serveTree(t)
  await http.send('PUT', '/mem/a', {}, 'old')
  volume.link(context, volume.lookup(context, volume.rootIno, 'a')!.attributes.ino, volume.rootIno, 'b')
  await http.send('PUT', '/mem/a', {}, 'new')
  t.is((await http.send('GET', '/mem/a')).text, 'new')
  t.is((await http.send('GET', '/mem/b')).text, 'old')
})

test('an upload may carry its time', async t => {
  const { http } = await serveTree(t)
  const reply = await http.send('PUT', '/mem/f', { 'x-oc-mtime': '784111777.5' }, 'x')
  t.is(reply.headers['x-oc-mtime'], 'accepted')
  t.is((await http.send('HEAD', '/mem/f')).headers['last-modified'], 'Sun, 06 Nov 1994 08:49:37 GMT')
})

test('a volume without unnamed files: a hidden name, seen by nobody, gone in any case', async t => {
  const served = await serveTree(t, { wrap: withoutTmpfile })
  const { http, volume } = served
  t.is((await http.send('PUT', '/mem/f', {}, 'one')).status, 201)
  t.is((await http.send('PUT', '/mem/f', {}, 'two')).status, 204)
  t.is((await http.send('GET', '/mem/f')).text, 'two')
  const { req } = upload(served, '/mem/f', { 'content-length': 100 })
  req.write('part')
  t.true(await settled(() => volume.nodeCount > 2))
  const names = (await http.send('PROPFIND', '/mem/', { depth: '1' })).text
  t.false(names.includes('sdmount'))
  req.destroy()
  t.true(await settled(() => volume.nodeCount === 2))
  t.is((await http.send('PUT', `/mem/.~sdmount-${'a'.repeat(24)}`, {}, 'x')).status, 403)
})

test('a volume whose unnamed files get no names: the first upload is copied, the others are hidden from the start', async t => {
  let refused = 0
  const wrap = (vfs: Vfs) =>
    change(vfs, {
      link() {
        refused++
        throw new FsError('not-permitted')
      },
    })
  const served = await serveTree(t, { wrap })
  const { http, volume } = served
  const content = bytes(1_000_000)
  t.is((await http.send('PUT', '/mem/f', {}, content)).status, 201)
  t.deepEqual((await http.send('GET', '/mem/f')).body, content)
  const { ino } = volume.lookup(context, volume.rootIno, 'f')!.attributes
  volume.setattr(context, ino, { mode: 0o751 })
  volume.setxattr(context, ino, 'user.tag', Buffer.from('red'), 0)
  t.is((await http.send('PUT', '/mem/f', {}, 'two')).status, 204)
  t.is((await http.send('COPY', '/mem/f', { destination: '/mem/g' })).status, 201)
  t.is((await http.send('GET', '/mem/g')).text, 'two')
  t.is(refused, 1)
  for (const name of ['f', 'g']) {
    const { attributes } = volume.lookup(context, volume.rootIno, name)!
    t.is(attributes.mode & 0o777, 0o751)
    t.is(volume.getxattr(context, attributes.ino, 'user.tag').toString(), 'red')
  }
  t.deepEqual(await listNames(volume, volume.rootIno), ['f', 'g'])
})

test('a file that may not be written is not replaced', async t => {
  const wrap = (vfs: Vfs) =>
    change(vfs, {
      access(_context: RequestContext, _ino: number, mask: number) {
        if (mask & 2) throw new FsError('access-denied')
      },
    })
  const { http } = await serveTree(t, { wrap })
  t.is((await http.send('PUT', '/mem/f', {}, 'x')).status, 201)
  t.is((await http.send('PUT', '/mem/f', {}, 'y')).status, 403)
})

test('an error while writing is told, and the old file stays', async t => {
  for (const [kind, status] of [
    ['io', 500],
    ['quota', 507],
    ['offline', 503],
    ['read-only', 403],
  ] as const) {
    const wrap = (vfs: Vfs) =>
      change(vfs, {
        async tmpfile(...args: Parameters<Vfs['tmpfile']>) {
          const made = await vfs.tmpfile(...args)
          const file = change(made.file, {
            write: async () => {
              throw new FsError(kind)
            },
          })
          return { ...made, file }
        },
      })
    const { http, volume, close } = await serveTree(t, { wrap })
    volume.create(context, volume.rootIno, 'f', 0o644, O_RDWR).file.release()
    t.is((await http.send('PUT', '/mem/f', {}, 'new')).status, status)
    t.is((await http.send('GET', '/mem/f')).text, '')
    await close()
  }
})

test('a file that shrinks while it is read breaks the connection rather than the promise', async t => {
  const served = await serveTree(t)
  await served.http.send('PUT', '/mem/f', {}, bytes(20_000_000))
  const { ino } = served.volume.lookup(context, served.volume.rootIno, 'f')!.attributes
  const req = request({ host: '127.0.0.1', port: served.server.port, path: '/mem/f', agent: false })
  const outcome = await new Promise<string>(resolve => {
    req.on('response', response => {
      response.once('data', () => {
        served.volume.setattr(context, ino, { sizeBytes: 10 })
        response.resume()
      })
      response.on('end', () => resolve('complete'))
      response.on('error', () => resolve('broken'))
    })
    req.end()
  })
  t.is(outcome, 'broken')
})

test('50 readers that leave in the middle leave nothing open', async t => {
  const served = await serveTree(t)
  await served.http.send('PUT', '/mem/f', {}, bytes(10_000_000))
  await Promise.all(
    Array.from({ length: 50 }, () => {
      const req = request({ host: '127.0.0.1', port: served.server.port, path: '/mem/f', agent: false })
      req.on('error', () => {})
      req.end()
      return new Promise<void>(resolve => {
        req.on('response', response => {
          response.once('data', () => {
            req.destroy()
            resolve()
          })
          response.on('error', () => {})
        })
      })
    }),
  )
  t.true(await settled(() => served.leaks().length === 0))
})

function withoutTmpfile(vfs: Vfs): Vfs {
  return change(vfs, {
    tmpfile() {
      throw new FsError('not-supported')
    },
  })
}

/** The same object with some methods replaced. */
function change<T extends object>(object: T, methods: object): T {
  return new Proxy(object, {
    get(target, key) {
      const value = Reflect.get(key in methods ? methods : target, key)
      return typeof value === 'function' ? value.bind(key in methods ? methods : target) : value
    },
  })
}

test('a tree that answers nothing at once: large files both ways, readers and writers together', async t => {
  const served = await serveTree(t, { wrap: vfs => deferredVfs(vfs) })
  const { http } = served
  const contents = Array.from({ length: 6 }, (_, i) => bytes(700_000 + i, i))
  await Promise.all(contents.map((content, i) => http.send('PUT', `/mem/f${i}`, {}, content)))
  const got = await Promise.all(contents.map((_, i) => http.send('GET', `/mem/f${i}`)))
  for (const [i, { body }] of got.entries()) t.true(body.equals(contents[i]!))
  t.deepEqual((await http.send('GET', '/mem/f3', { range: 'bytes=600000-' })).body, contents[3]!.subarray(600_000))
  t.is((await http.send('COPY', '/mem/f1', { destination: '/mem/g' })).status, 201)
  t.true((await http.send('GET', '/mem/g')).body.equals(contents[1]!))
  t.is((await http.send('DELETE', '/mem/f1')).status, 204)
})
