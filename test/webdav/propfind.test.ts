/** PROPFIND and PROPPATCH. */
import test from 'ava'
import { O_RDWR } from '../../src/sys/flags.ts'
import type { DirectorySink, OpenDirectory, Vfs } from '../../src/vfs/contract.ts'
import { ForwardingVfs } from '../../src/vfs/forwarding-vfs.ts'
import { context } from '../vfs/volume-contract.ts'
import { parseMultistatus, propertiesOf } from './support/multistatus.ts'
import { serveTree } from './support/served-tree.ts'

const PROP = (inner: string) => `<D:propfind xmlns:D="DAV:"><D:prop>${inner}</D:prop></D:propfind>`
const UPDATE = (inner: string) => `<D:propertyupdate xmlns:D="DAV:">${inner}</D:propertyupdate>`
const SET = (inner: string) => `<D:set><D:prop>${inner}</D:prop></D:set>`
const REMOVE = (inner: string) => `<D:remove><D:prop>${inner}</D:prop></D:remove>`

test('all properties: what a file and what a folder has', async t => {
  const { http } = await serveTree(t)
  await http.send('PUT', '/mem/file.txt', {}, 'four')
  await http.send('MKCOL', '/mem/dir')
  const all = '<D:propfind xmlns:D="DAV:"><D:allprop/></D:propfind>'
  for (const body of [undefined, all]) {
    const reply = await http.send('PROPFIND', '/mem/file.txt', { depth: '0' }, body)
    t.is(reply.status, 207)
    t.regex(reply.headers['content-type']!, /^application\/xml; charset="utf-8"/)
    const file = propertiesOf(reply.text)
    t.is(file.get('{DAV:}getcontentlength')!.text, '4')
    t.is(file.get('{DAV:}getcontenttype')!.text, 'text/plain; charset=utf-8')
    t.is(file.get('{DAV:}displayname')!.text, 'file.txt')
    t.is(file.get('{DAV:}resourcetype')!.text, '')
    t.regex(file.get('{DAV:}getlastmodified')!.text, /^[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT$/)
    t.regex(file.get('{DAV:}creationdate')!.text, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/)
    t.is(file.get('{DAV:}getetag')!.text, (await http.send('HEAD', '/mem/file.txt')).headers.etag!)
    t.is(file.get('{http://apache.org/dav/props/}executable')!.text, 'F')
    t.true([...file.values()].every(({ status }) => status === 200))
    t.notRegex(reply.text, /<(?!D:|\/D:|A:|\/A:|\?)/, 'every DAV element has the prefix D:')
  }
  const folder = propertiesOf((await http.send('PROPFIND', '/mem/dir', { depth: '0' })).text, '/mem/dir/')
  t.deepEqual(folder.get('{DAV:}resourcetype')!.children, ['{DAV:}collection'])
  for (const absent of ['getcontentlength', 'getcontenttype', 'quota-available-bytes']) t.false(folder.has(`{DAV:}${absent}`), absent)
})

test('prop, propname and include; found and not found apart', async t => {
  const { http } = await serveTree(t)
  await http.send('PUT', '/mem/f', {}, 'x')
  await http.send('PROPPATCH', '/mem/f', {}, UPDATE(SET('<a xmlns="urn:n">1</a>')))
  const some = propertiesOf(
    (
      await http.send(
        'PROPFIND',
        '/mem/f',
        { depth: '0' },
        PROP('<D:getetag/><a xmlns="urn:n"/><b xmlns="urn:n"/><c xmlns=""/><D:nonsense/>'),
      )
    ).text,
  )
  t.is(some.get('{DAV:}getetag')!.status, 200)
  t.is(some.get('{urn:n}a')!.status, 200)
  t.is(some.get('{urn:n}a')!.text, '1')
  for (const missing of ['{urn:n}b', '{}c', '{DAV:}nonsense']) t.is(some.get(missing)!.status, 404, missing)
  const names = propertiesOf(
    (await http.send('PROPFIND', '/mem/f', { depth: '0' }, '<D:propfind xmlns:D="DAV:"><D:propname/></D:propfind>')).text,
  )
  t.true(names.has('{urn:n}a') && names.has('{DAV:}getetag'))
  t.true([...names.values()].every(({ text, status }) => text === '' && status === 200))
  const include =
    '<D:propfind xmlns:D="DAV:"><D:allprop/><D:include><D:quota-used-bytes/><D:getetag/><q xmlns="x"/></D:include></D:propfind>'
  const more = propertiesOf((await http.send('PROPFIND', '/mem/', { depth: '0' }, include)).text)
  t.is(more.get('{DAV:}quota-used-bytes')!.status, 200)
  t.is(more.get('{x}q')!.status, 404)
  const nothing = parseMultistatus((await http.send('PROPFIND', '/mem/f', { depth: '0' }, PROP(''))).text)
  t.is(nothing.length, 1)
})

test('space: on folders only, at the root that of the roomiest volume', async t => {
  const { http } = await serveTree(t, { volume: { capacityBytes: 1 << 20 } })
  await http.send('PUT', '/mem/f', {}, Buffer.alloc(8192))
  const ask = PROP('<D:quota-available-bytes/><D:quota-used-bytes/>')
  for (const path of ['/', '/mem/']) {
    const found = propertiesOf((await http.send('PROPFIND', path, { depth: '0' }, ask)).text)
    t.is(found.get('{DAV:}quota-used-bytes')!.text, '8192', path)
    t.is(found.get('{DAV:}quota-available-bytes')!.text, String((1 << 20) - 8192))
  }
  t.is(propertiesOf((await http.send('PROPFIND', '/mem/f', { depth: '0' }, ask)).text).get('{DAV:}quota-used-bytes')!.status, 404)
  const rows = parseMultistatus((await http.send('PROPFIND', '/', { depth: '1' }, ask)).text)
  t.is(rows.find(row => row.href === '/mem/')!.properties.get('{DAV:}quota-used-bytes')!.text, '8192')
})

test('depth: 0 and 1 listed, infinity and none refused with the precondition', async t => {
  const { http } = await serveTree(t)
  await http.send('MKCOL', '/mem/d')
  await http.send('PUT', '/mem/d/f', {}, 'x')
  await http.send('MKCOL', '/mem/d/s')
  const hrefs = async (depth: string, path = '/mem/d') =>
    parseMultistatus((await http.send('PROPFIND', path, { depth })).text).map(row => row.href)
  t.deepEqual(await hrefs('0'), ['/mem/d/'])
  t.deepEqual(await hrefs('1'), ['/mem/d/', '/mem/d/f', '/mem/d/s/'])
  t.deepEqual(await hrefs('1', '/mem/d/f'), ['/mem/d/f'])
  t.deepEqual(await hrefs('1', '/'), ['/', '/mem/'])
  for (const headers of [{ depth: 'infinity' }, { depth: 'Infinity' }, {}]) {
    const reply = await http.send('PROPFIND', '/mem/d', headers)
    t.is(reply.status, 403)
    t.true(reply.text.includes('<D:propfind-finite-depth'))
  }
  for (const depth of ['2', '-1', 'x', '']) t.is((await http.send('PROPFIND', '/mem/d', { depth })).status, 400, depth)
  t.is((await http.send('PROPFIND', '/mem/none', { depth: '0' })).status, 404)
  t.is((await http.send('PROPFIND', '/mem/d/f/x', { depth: '0' })).status, 404)
})

test('bad questions are 400', async t => {
  const { http } = await serveTree(t)
  for (const body of [
    '<D:propfind xmlns:D="DAV:"/>',
    '<a/>',
    '<D:propfind xmlns:D="DAV:"><D:prop/><D:allprop/></D:propfind>',
    '<D:propfind',
    ' ',
  ]) {
    t.is((await http.send('PROPFIND', '/mem/', { depth: '0' }, body)).status, 400, body)
  }
})

test('hrefs are paths, whatever the client called us', async t => {
  const { http } = await serveTree(t)
  await http.send('PUT', '/mem/a%20b', {}, 'x')
  const rows = parseMultistatus((await http.send('PROPFIND', '/mem', { depth: '1', host: 'localhost:99' })).text)
  t.deepEqual(
    rows.map(row => row.href),
    ['/mem/', '/mem/a%20b'],
  )
})

test('PROPPATCH: several blocks, in their order', async t => {
  const { http } = await serveTree(t)
  await http.send('PUT', '/mem/f', {}, 'x')
  const value = async (name: string) => propertiesOf((await http.send('PROPFIND', '/mem/f', { depth: '0' }, PROP(name))).text)
  const two = await http.send('PROPPATCH', '/mem/f', {}, UPDATE(SET('<a xmlns="n">1</a>') + SET('<b xmlns="n">2</b>')))
  t.is(two.status, 207)
  t.deepEqual(
    [...propertiesOf(two.text)].map(([name, { status }]) => [name, status]),
    [
      ['{n}a', 200],
      ['{n}b', 200],
    ],
  )
  t.is((await value('<b xmlns="n"/>')).get('{n}b')!.text, '2')
  await http.send('PROPPATCH', '/mem/f', {}, UPDATE(SET('<a xmlns="n">3</a>') + REMOVE('<a xmlns="n"/>')))
  t.is((await value('<a xmlns="n"/>')).get('{n}a')!.status, 404)
  await http.send('PROPPATCH', '/mem/f', {}, UPDATE(REMOVE('<a xmlns="n"/>') + SET('<a xmlns="n">4</a>')))
  t.is((await value('<a xmlns="n"/>')).get('{n}a')!.text, '4')
  t.is(propertiesOf((await http.send('PROPPATCH', '/mem/f', {}, UPDATE(REMOVE('<never xmlns="n"/>')))).text).get('{n}never')!.status, 200)
})

test('PROPPATCH: a protected one is 403, the rest 424, and nothing changed', async t => {
  const { http } = await serveTree(t)
  await http.send('PUT', '/mem/f', {}, 'x')
  for (const name of ['getetag', 'getcontentlength', 'resourcetype', 'displayname', 'getlastmodified', 'lockdiscovery', 'anything']) {
    const reply = await http.send('PROPPATCH', '/mem/f', {}, UPDATE(SET(`<a xmlns="n">1</a><D:${name}>x</D:${name}>`)))
    t.is(reply.status, 207)
    t.is(propertiesOf(reply.text).get(`{DAV:}${name}`)!.status, 403)
    t.is(propertiesOf(reply.text).get('{n}a')!.status, 424)
    t.true(reply.text.includes('cannot-modify-protected-property'))
  }
  t.is(propertiesOf((await http.send('PROPFIND', '/mem/f', { depth: '0' }, PROP('<a xmlns="n"/>'))).text).get('{n}a')!.status, 404)
  for (const body of ['<a/>', '<D:propertyupdate xmlns:D="DAV:"/>', UPDATE('<D:set/>'), ''])
    t.is((await http.send('PROPPATCH', '/mem/f', {}, body)).status, 400, body)
  t.is((await http.send('PROPPATCH', '/mem/none', {}, UPDATE(SET('<a xmlns="n"/>')))).status, 404)
})

test('odd names and values round-trip', async t => {
  const { http } = await serveTree(t)
  await http.send('PUT', '/mem/f', {}, 'x')
  const properties: [string, string, string][] = [
    ['{}__proto__', '<__proto__ xmlns="">p</__proto__>', 'p'],
    ['{}constructor', '<constructor xmlns="">c</constructor>', 'c'],
    ['{n}toString', '<toString xmlns="n">t</toString>', 't'],
    ['{urn:}high', '<high xmlns="urn:">\u{10000}\u{1F600}</high>', '\u{10000}\u{1F600}'],
    ['{n&"<}x', '<x xmlns="n&amp;&quot;&lt;">&lt;&amp;&gt;</x>', '<&>'],
    ['{n}empty', '<empty xmlns="n"/>', ''],
    ['{n}space', '<space xmlns="n">  a\n b  </space>', '  a\n b  '],
    ['{n}cr', '<cr xmlns="n">a&#13;b</cr>', 'a\rb'],
    ['{n}nested', '<nested xmlns="n"><D:href>x</D:href><m:q xmlns:m="m" m:r="1"/></nested>', 'x'],
    ...Array.from({ length: 50 }, (_, i): [string, string, string] => [`{ns${i}}same`, `<same xmlns="ns${i}">${i}</same>`, String(i)]),
  ]
  const reply = await http.send('PROPPATCH', '/mem/f', {}, UPDATE(SET(properties.map(([, xml]) => xml).join(''))))
  t.true([...propertiesOf(reply.text).values()].every(({ status }) => status === 200))
  const asked = properties.map(([, xml]) => xml.replace(/^<(\S+) xmlns="([^"]*)".*$/s, '<$1 xmlns="$2"/>')).join('')
  for (const body of [undefined, PROP(asked)]) {
    const found = propertiesOf((await http.send('PROPFIND', '/mem/f', { depth: '0' }, body)).text)
    for (const [name, , text] of properties) t.is(found.get(name)?.text, text, name)
  }
})

test('size bounds: a value, all values, the body', async t => {
  const { http } = await serveTree(t, { limits: { propertyBytes: 1000, propertiesBytes: 3000, xmlBytes: 10_000 } })
  await http.send('PUT', '/mem/f', {}, 'x')
  const set = (name: string, size: number) =>
    http.send('PROPPATCH', '/mem/f', {}, UPDATE(SET(`<${name} xmlns="n">${'v'.repeat(size)}</${name}>`)))
  t.is(propertiesOf((await set('a', 1001)).text).get('{n}a')!.status, 507)
  for (const name of ['a', 'b', 'c']) t.is(propertiesOf((await set(name, 900)).text).get(`{n}${name}`)!.status, 200)
  t.is(propertiesOf((await set('d', 900)).text).get('{n}d')!.status, 507)
  t.is(propertiesOf((await set('a', 10)).text).get('{n}a')!.status, 200, 'replacing frees')
  t.is((await set('e', 20_000)).status, 413)
  t.is(
    (await http.send('PROPPATCH', '/mem/f', { 'transfer-encoding': 'chunked' }, UPDATE(SET(`<e xmlns="n">${'v'.repeat(20_000)}</e>`))))
      .status,
    413,
  )
})

test('the execute permission travels as other servers show it', async t => {
  const { http, volume } = await serveTree(t)
  await http.send('PUT', '/mem/f', {}, 'x')
  const set = (value: string) =>
    http.send('PROPPATCH', '/mem/f', {}, UPDATE(SET(`<executable xmlns="http://apache.org/dav/props/">${value}</executable>`)))
  const mode = () => volume.lookup(context, volume.rootIno, 'f')!.attributes.mode & 0o777
  await set('T')
  t.is(mode(), 0o755)
  await set('F')
  t.is(mode(), 0o644)
  t.is(propertiesOf((await set('maybe')).text).get('{http://apache.org/dav/props/}executable')!.status, 409)
})

test('links: inside the tree shown as what they lead to, others not at all, no way round in circles', async t => {
  const { http, volume } = await serveTree(t)
  const { rootIno: root } = volume
  await http.send('MKCOL', '/mem/d')
  await http.send('PUT', '/mem/d/f', {}, 'content')
  const d = volume.lookup(context, root, 'd')!.attributes.ino
  const links: [number, string, string][] = [
    [root, 'to-file', 'd/f'],
    [root, 'to-dir', './d/'],
    [root, 'out', '../../../etc/passwd'],
    [root, 'absolute', '/etc/passwd'],
    [root, 'dangling', 'nothing'],
    [root, 'loop', 'loop'],
    [d, 'up', '..'],
    [d, 'self', '.'],
    [d, 'deep', '../to-dir/f'],
  ]
  for (const [parent, name, target] of links) volume.symlink(context, parent, name, target)
  const hrefs = async (path: string) => parseMultistatus((await http.send('PROPFIND', path, { depth: '1' })).text).map(row => row.href)
  t.deepEqual(await hrefs('/mem/'), ['/mem/', '/mem/d/', '/mem/to-file', '/mem/to-dir/'])
  t.deepEqual(await hrefs('/mem/d/'), ['/mem/d/', '/mem/d/f', '/mem/d/deep'])
  t.is((await http.send('GET', '/mem/to-file')).text, 'content')
  t.is((await http.send('GET', '/mem/to-dir/f')).text, 'content')
  t.is((await http.send('GET', '/mem/d/up/d/f')).text, 'content')
  for (const path of ['/mem/out', '/mem/absolute', '/mem/dangling', '/mem/loop', '/mem/loop/x'])
    t.is((await http.send('GET', path)).status, 404, path)
  // Writing goes through a link, deleting is about the link.
  t.is((await http.send('PUT', '/mem/to-file', {}, 'changed')).status, 204)
  t.is((await http.send('GET', '/mem/d/f')).text, 'changed')
  t.is((await http.send('DELETE', '/mem/to-dir')).status, 204)
  t.is((await http.send('GET', '/mem/d/f')).status, 200)
  t.is((await http.send('MOVE', '/mem/to-file', { destination: '/mem/renamed' })).status, 201)
  t.is(volume.readlink(context, volume.lookup(context, root, 'renamed')!.attributes.ino), 'd/f')
})

test('a large listing lets others in between', async t => {
  let turns = 0
  let read = 0
  let mostInOneTurn = 0
  let turnOfLast = -1
  // Counts the entries that were handled between two turns of the event loop.
  const wrap = (vfs: Vfs) =>
    new (class extends ForwardingVfs {
      override async opendir(...args: Parameters<Vfs['opendir']>) {
        const { handle, directory } = await super.opendir(...args)
        const counted: OpenDirectory = {
          ino: directory.ino,
          keepCache: directory.keepCache,
          fsync: (...rest) => directory.fsync(...rest),
          release: () => directory.release(),
          read: (who, offset, withAttributes, sink) =>
            directory.read(who, offset, withAttributes, {
              add(...entry: Parameters<DirectorySink['add']>) {
                const taken = sink.add(...entry)
                if (taken) read = turns === turnOfLast ? read + 1 : 1
                turnOfLast = turns
                mostInOneTurn = Math.max(mostInOneTurn, read)
                return taken
              },
            }),
        }
        return { handle, directory: counted }
      }
    })(vfs)
  const { http, volume } = await serveTree(t, { wrap, limits: { listingSlice: 50 } })
  for (let i = 0; i < 5000; i++) volume.create(context, volume.rootIno, `n${i}`, 0o644, O_RDWR).file.release()
  let listed = false
  const turn = () => {
    turns++
    if (!listed) setImmediate(turn)
  }
  setImmediate(turn)
  const reply = await http.send('PROPFIND', '/mem/', { depth: '1' })
  listed = true
  t.is(reply.text.match(/<D:response>/g)?.length, 5001)
  t.true(mostInOneTurn > 0 && mostInOneTurn < 2000, `${mostInOneTurn} in one turn`)
})

test('a listing of 2,000 gives back every reference', async t => {
  const { http, volume } = await serveTree(t)
  for (let i = 0; i < 2000; i++) {
    const { entry, file } = volume.create(context, volume.rootIno, `n${i}`, 0o644, O_RDWR)
    file.release()
    volume.forget(entry.attributes.ino, 1)
  }
  const text = (await http.send('PROPFIND', '/mem/', { depth: '1' })).text
  t.is(parseMultistatus(text).length, 2001)
  for (let i = 0; i < 2000; i++) volume.unlink(context, volume.rootIno, `n${i}`)
  t.is(volume.nodeCount, 1)
})
