/** LOCK, UNLOCK, what locks guard, and the If header. */
import test from 'ava'
import { basicHeader } from './support/digest-client.ts'
import type { Reply } from './support/http-client.ts'
import { parseMultistatus, parseXml, propertiesOf } from './support/multistatus.ts'
import { type ServedTree, serveTree } from './support/served-tree.ts'

const LOCKINFO = (scope = 'exclusive', owner = '<D:owner><D:href>me</D:href></D:owner>') =>
  `<?xml version="1.0" encoding="utf-8"?><D:lockinfo xmlns:D="DAV:"><D:lockscope><D:${scope}/></D:lockscope><D:locktype><D:write/></D:locktype>${owner}</D:lockinfo>`

const tokenOf = (reply: Reply) => /^<(opaquelocktoken:[0-9a-f-]{36})>$/.exec(reply.headers['lock-token'] as string)![1]!

async function take({ http }: ServedTree, path: string, headers: Record<string, string> = {}, body = LOCKINFO()): Promise<string> {
  const reply = await http.send('LOCK', path, headers, body)
  if (reply.status !== 200 && reply.status !== 201) throw new Error(`LOCK ${path}: ${reply.status} ${reply.text}`)
  return tokenOf(reply)
}

test('the answer to LOCK has what clients look for', async t => {
  const served = await serveTree(t)
  const { http } = served
  await http.send('PUT', '/mem/f', {}, 'x')
  const reply = await http.send('LOCK', '/mem/f', { timeout: 'Infinite, Second-4100000000' }, LOCKINFO())
  t.is(reply.status, 200)
  t.true(reply.text.includes('<D:activelock>'), 'Windows looks for it literally')
  t.true(reply.text.includes(tokenOf(reply)))
  t.regex(reply.text, /<D:timeout>Second-3600<\/D:timeout>/)
  t.regex(reply.text, /<D:lockroot><D:href>\/mem\/f<\/D:href><\/D:lockroot>/)
  t.regex(reply.text, /<D:depth>infinity<\/D:depth>/)
  const discovery = parseXml(reply.text)
  t.is(discovery.name, '{DAV:}prop')
  const found = propertiesOf((await http.send('PROPFIND', '/mem/f', { depth: '0' })).text)
  t.true(found.get('{DAV:}lockdiscovery')!.text.includes(tokenOf(reply)))
  t.deepEqual(found.get('{DAV:}supportedlock')!.children, ['{DAV:}lockentry', '{DAV:}lockentry'])
})

test('the owner comes back as it was given', async t => {
  const served = await serveTree(t)
  const owners = ['<D:href>http://me/</D:href>', 'plain &amp; simple', '<x:y xmlns:x="urn:z" a="b"><x:q/>é</x:y>', '']
  for (const [i, owner] of owners.entries()) {
    const path = `/mem/o${i}`
    const { text } = await served.http.send('LOCK', path, {}, LOCKINFO('exclusive', owner === '' ? '' : `<D:owner>${owner}</D:owner>`))
    const found = /<D:owner>(.*)<\/D:owner>/.exec(text)?.[1]
    const meaning = (xml: string) => parseXml(`<o xmlns:D="DAV:">${xml}</o>`)
    if (owner === '') t.is(found, undefined)
    else t.deepEqual(meaning(found!), meaning(owner))
  }
})

test('timeouts are whole seconds up to the cap', async t => {
  const { http } = await serveTree(t, { limits: { lockSec: 100 } })
  const cases: [string | undefined, string][] = [
    [undefined, '100'],
    ['Second-10', '10'],
    ['Second-1000', '100'],
    ['Infinite', '100'],
    ['Second-0', '1'],
    ['garbage', '100'],
    ['Extend, Second-20', '20'],
  ]
  for (const [i, [timeout, expected]] of cases.entries()) {
    const { text } = await http.send('LOCK', `/mem/t${i}`, timeout === undefined ? {} : { timeout }, LOCKINFO())
    t.is(/<D:timeout>Second-(\d+)<\/D:timeout>/.exec(text)?.[1], expected, String(timeout))
  }
})

test('a name that is not there: 201 and an empty file; no folder: 409; chunked bodies', async t => {
  const { http } = await serveTree(t)
  const reply = await http.send('LOCK', '/mem/new', { 'transfer-encoding': 'chunked' }, LOCKINFO('exclusive', ''))
  t.is(reply.status, 201)
  const got = await http.send('GET', '/mem/new')
  t.is(got.status, 200)
  t.is(got.body.length, 0)
  t.is((await http.send('LOCK', '/mem/no/new', {}, LOCKINFO())).status, 409)
  t.is((await http.send('UNLOCK', '/mem/new', { 'lock-token': `<${tokenOf(reply)}>` })).status, 204)
  t.is((await http.send('GET', '/mem/new')).status, 200, 'the file stays')
})

test('a second lock is refused with the reason; shared ones go together', async t => {
  const served = await serveTree(t)
  const { http } = served
  await take(served, '/mem/f')
  for (const scope of ['exclusive', 'shared']) {
    const reply = await http.send('LOCK', '/mem/f', {}, LOCKINFO(scope))
    t.is(reply.status, 423)
    t.true(reply.text.includes('<D:no-conflicting-lock><D:href>/mem/f</D:href>'))
  }
  await take(served, '/mem/s', {}, LOCKINFO('shared'))
  await take(served, '/mem/s', {}, LOCKINFO('shared'))
  t.is((await http.send('LOCK', '/mem/s', {}, LOCKINFO())).status, 423)
  t.is((await http.send('LOCK', '/mem/', {}, LOCKINFO())).status, 423, 'a deep lock above a lock')
  t.is((await http.send('LOCK', '/mem/', { depth: '0' }, LOCKINFO())).status, 200)
})

test('refresh by If; only of a lock that is there', async t => {
  let nowMs = 0
  const served = await serveTree(t, { now: () => nowMs })
  const { http } = served
  const token = await take(served, '/mem/f', { timeout: 'Second-100' })
  nowMs = 90_000
  const refreshed = await http.send('LOCK', '/mem/f', { if: `(<${token}>)`, timeout: 'Second-100' })
  t.is(refreshed.status, 200)
  t.true(refreshed.text.includes('Second-100'))
  t.is(refreshed.headers['lock-token'], undefined)
  nowMs = 180_000
  t.is((await http.send('PUT', '/mem/f', {}, 'x')).status, 423)
  t.is((await http.send('LOCK', '/mem/f')).status, 400)
  t.is((await http.send('LOCK', '/mem/f', { if: '(<opaquelocktoken:other>)' })).status, 412)
  nowMs = 191_000
  t.is((await http.send('PUT', '/mem/f', {}, 'x')).status, 204, 'it ran out')
  t.is((await http.send('LOCK', '/mem/f', { if: `(<${token}>)` })).status, 412)
})

test('a locked file: only with its token, only by who took it', async t => {
  const served = await serveTree(t, {
    credentials: [
      { user: 'ann', password: 'a' },
      { user: 'bob', password: 'b' },
    ],
  })
  const { http } = served
  const ann = { authorization: basicHeader('ann', 'a') }
  const bob = { authorization: basicHeader('bob', 'b') }
  await http.send('PUT', '/mem/f', ann, 'x')
  await http.send('PUT', '/mem/other', ann, 'x')
  const token = await take(served, '/mem/f', ann)
  const patch = '<D:propertyupdate xmlns:D="DAV:"><D:set><D:prop><x xmlns="u">1</x></D:prop></D:set></D:propertyupdate>'
  const acts: [string, Record<string, string>, string?][] = [
    ['PUT', {}, 'new'],
    ['PROPPATCH', {}, patch],
    ['DELETE', {}],
    ['MOVE', { destination: '/mem/g' }],
    ['LOCK', {}, LOCKINFO()],
  ]
  for (const who of [ann, bob]) {
    for (const [method, headers, body] of acts) {
      const reply = await http.send(method, '/mem/f', { ...who, ...headers }, body)
      t.is(reply.status, 423, method)
      t.regex(reply.text, /<D:(lock-token-submitted|no-conflicting-lock)><D:href>\/mem\/f<\/D:href>/)
    }
    t.is((await http.send('MOVE', '/mem/other', { ...who, destination: '/mem/f' })).status, 423)
    t.is((await http.send('COPY', '/mem/other', { ...who, destination: '/mem/f' })).status, 423)
    t.is((await http.send('GET', '/mem/f', who)).status, 200, 'reading is free')
    t.is((await http.send('COPY', '/mem/f', { ...who, destination: '/mem/copy' })).status < 300, true)
  }
  const withToken = { if: `(<${token}>)` }
  t.is((await http.send('PUT', '/mem/f', { ...bob, ...withToken }, 'bob')).status, 423, "another user's token")
  t.is((await http.send('PUT', '/mem/f', { ...ann, if: '(<opaquelocktoken:wrong>)' }, 'x')).status, 412)
  t.is((await http.send('PUT', '/mem/f', { ...ann, ...withToken }, 'new')).status, 204)
  t.is((await http.send('PUT', '/mem/f', { ...ann, 'lock-token': `<${token}>` }, 'newer')).status, 204)
  t.is((await http.send('PROPPATCH', '/mem/f', { ...ann, ...withToken }, patch)).status, 207)
  t.is((await http.send('UNLOCK', '/mem/f', { ...ann, 'lock-token': '<opaquelocktoken:bogus>' })).status, 409)
  t.is((await http.send('UNLOCK', '/mem/other', { ...ann, 'lock-token': `<${token}>` })).status, 409)
  t.is((await http.send('UNLOCK', '/mem/f', { ...bob, 'lock-token': `<${token}>` })).status, 403)
  t.is((await http.send('UNLOCK', '/mem/f', ann)).status, 400)
  t.is((await http.send('MOVE', '/mem/f', { ...ann, ...withToken, destination: '/mem/g' })).status, 201)
  t.is((await http.send('PUT', '/mem/g', bob, 'free')).status, 204, 'a lock does not follow a move')
  t.is((await http.send('PUT', '/mem/f', bob, 'free')).status, 201)
})

test('a locked folder guards its entries; a deep one all that is in it', async t => {
  const served = await serveTree(t)
  const { http } = served
  for (const folder of ['/mem/flat', '/mem/deep', '/mem/deep/sub', '/mem/holds']) await http.send('MKCOL', folder)
  for (const file of ['/mem/flat/f', '/mem/deep/sub/f', '/mem/holds/f']) await http.send('PUT', file, {}, 'x')
  const flat = await take(served, '/mem/flat', { depth: '0' })
  t.is((await http.send('PUT', '/mem/flat/new', {}, 'x')).status, 423)
  t.is((await http.send('MKCOL', '/mem/flat/new')).status, 423)
  t.is((await http.send('LOCK', '/mem/flat/new', {}, LOCKINFO())).status, 423)
  t.is((await http.send('DELETE', '/mem/flat/f')).status, 423)
  t.is((await http.send('MOVE', '/mem/flat/f', { destination: '/mem/out' })).status, 423)
  t.is((await http.send('MOVE', '/mem/holds/f', { destination: '/mem/flat/in' })).status, 423)
  t.is((await http.send('PUT', '/mem/flat/f', {}, 'y')).status, 204, 'its content is free')
  t.is((await http.send('PUT', '/mem/flat/new', { if: `</mem/flat> (<${flat}>)` }, 'x')).status, 201)

  const deep = await take(served, '/mem/deep')
  t.is((await http.send('PUT', '/mem/deep/sub/f', {}, 'x')).status, 423)
  t.is((await http.send('PUT', '/mem/deep/sub/new', {}, 'x')).status, 423)
  t.is((await http.send('PUT', '/mem/deep/sub/f', { if: `(<${deep}>)` }, 'x')).status, 204)
  t.is((await http.send('LOCK', '/mem/deep/sub/f', {}, LOCKINFO())).status, 423)
  t.true(
    propertiesOf((await http.send('PROPFIND', '/mem/deep/sub/f', { depth: '0' })).text)
      .get('{DAV:}lockdiscovery')!
      .text.includes(deep),
  )

  const inside = await take(served, '/mem/holds/f')
  t.is((await http.send('DELETE', '/mem/holds')).status, 423)
  t.is((await http.send('MOVE', '/mem/holds', { destination: '/mem/moved' })).status, 423)
  t.is((await http.send('GET', '/mem/holds/f')).status, 200, 'nothing was deleted')
  t.is((await http.send('MOVE', '/mem/holds', { destination: '/mem/moved', if: `</mem/holds/f> (<${inside}>)` })).status, 201)
  t.is((await http.send('PUT', '/mem/moved/f', {}, 'x')).status, 204)
  t.is((await http.send('MKCOL', '/mem/holds')).status, 201)
})

test('If: untagged, tagged, Not, tags, lists, no-lock', async t => {
  const served = await serveTree(t)
  const { http } = served
  await http.send('PUT', '/mem/f', {}, 'x')
  const tag = (await http.send('HEAD', '/mem/f')).headers.etag!
  const token = await take(served, '/mem/f')
  const get = async (header: string) => (await http.send('GET', '/mem/f', { if: header })).status
  for (const [header, status] of [
    [`(<${token}>)`, 200],
    [`(<${token}> [${tag}])`, 200],
    [`(<${token}> ["other"])`, 412],
    [`(Not <${token}>)`, 412],
    ['(Not <DAV:no-lock>)', 200],
    ['(<DAV:no-lock>)', 412],
    [`(["other"]) ([${tag}])`, 200],
    [`</mem/f> (<${token}>)`, 200],
    [`<http://127.0.0.1:${served.server.port}/mem/f> (<${token}>)`, 200],
    [`<http://elsewhere/mem/f> (<${token}>)`, 412],
    [`</mem/missing> (<${token}>)`, 412],
    [`</mem/missing> (Not <${token}>)`, 200],
    [`</mem/missing> (["x"]) </mem/f> ([${tag}])`, 200],
  ] as const)
    t.is(await get(header), status, header)
  for (const header of ['(', '<', 'garbage', '([', '</%zz> (<a>)', '(<a>) x', '<ftp://x> (<a>)', '</a/../b> (<a>)', '()']) {
    t.is(await get(header), 400, header)
    t.is((await http.send('OPTIONS', '/')).status, 200, 'the server lives')
  }
})

test('LOCK bodies: wrong ones are refused, a sloppy one of Windows is read', async t => {
  const { http } = await serveTree(t)
  const status = async (body: string) => (await http.send('LOCK', '/mem/x', {}, body)).status
  for (const body of [
    'garbage',
    '<a/>',
    '<D:lockinfo xmlns:D="DAV:"/>',
    '<D:lockinfo xmlns:D="DAV:"><D:lockscope><D:both/></D:lockscope><D:locktype><D:write/></D:locktype></D:lockinfo>',
    '<!DOCTYPE x [<!ENTITY e "x">]><D:lockinfo xmlns:D="DAV:"><D:lockscope><D:exclusive/></D:lockscope><D:locktype><D:write/></D:locktype></D:lockinfo>',
  ])
    t.is(await status(body), 400, body)
  t.is((await http.send('GET', '/mem/x')).status, 404, 'a refused LOCK makes nothing')
  const sloppy =
    '<?xml version="1.0" encoding="utf-8" ?><D:lockinfo xmlns:D="DAV:"><D:lockscope><D:exclusive/></D:lockscope><D:locktype><D:write/></D:locktype><D:owner><D:href>PC\\user</D:href></D:owner></D:lockinfo>\0\0'
  t.is(await status(sloppy), 201)
  t.is((await http.send('LOCK', '/mem/y', { depth: '1' }, LOCKINFO())).status, 400)
})

test('locks show in listings, also in the compact one for Windows', async t => {
  const served = await serveTree(t)
  const token = await take(served, '/mem/f')
  await served.http.send('PUT', '/mem/g', {}, 'x')
  for (const agent of ['other', 'Microsoft-WebDAV-MiniRedir/10.0.19045']) {
    const rows = parseMultistatus((await served.http.send('PROPFIND', '/mem/', { depth: '1', 'user-agent': agent })).text)
    const discovery = (href: string) => rows.find(row => row.href === href)!.properties.get('{DAV:}lockdiscovery')?.text ?? ''
    t.true(discovery('/mem/f').includes(token))
    t.is(discovery('/mem/g'), '')
  }
})
