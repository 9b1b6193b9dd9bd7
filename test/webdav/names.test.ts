/** Names on the wire: what survives, what is refused, and that nothing outside the tree is reached. */
import test from 'ava'
import { parseMultistatus } from './support/multistatus.ts'
import { serveTree } from './support/served-tree.ts'

const HARD = [
  'with space',
  'per%cent',
  'ha#sh',
  'quest?ion',
  'pl+us',
  'amp&ersand',
  'semi;colon',
  "apo'strophe",
  '"quotes"',
  'ünïcödé',
  'e\u0301 decomposed',
  '日本語',
  '😀',
  '~$lock.docx',
  '._resource',
  '.DS_Store',
  '%41',
  'a=b,c@d!e(f)*',
  'tab\u00a0nbsp',
  ' leading',
  'trailing.',
  '[brackets]{braces}',
  'x'.repeat(255),
]

test('hard names survive PUT, listing and GET', async t => {
  const { http } = await serveTree(t)
  for (const name of HARD) t.is((await http.send('PUT', `/mem/${encodeURIComponent(name)}`, {}, name)).status, 201, name)
  const rows = parseMultistatus((await http.send('PROPFIND', '/mem/', { depth: '1' })).text).slice(1)
  const shown = rows.map(({ href }) => decodeURIComponent(href.slice('/mem/'.length)))
  t.deepEqual(shown.sort(), [...HARD].sort())
  for (const { href, properties } of rows) {
    t.regex(href, /^\/mem\/[\w.~%-]+$/)
    const name = decodeURIComponent(href.slice('/mem/'.length))
    t.is((await http.send('GET', href)).text, name)
    t.is(properties.get('{DAV:}displayname')!.text, name)
  }
})

test('what is no path is refused, everywhere a path may stand', async t => {
  const served = await serveTree(t)
  const { http } = served
  await http.send('PUT', '/mem/f', {}, 'x')
  const bad = [
    '/mem/%00',
    '/mem/a%00b',
    '/mem/%01',
    '/mem/%0a',
    '/mem/%7f',
    '/mem/a%5cb',
    '/mem/a%2fb',
    '/mem/a%2Fb',
    '/mem/..',
    '/mem/%2e%2e',
    '/mem/%2E%2e/x',
    '/mem/.',
    '/mem/%2e',
    '/mem/%',
    '/mem/%4',
    '/mem/%zz',
    `/mem/${'n'.repeat(256)}`,
    '/mem/%EF%80%AE%EF%80%AE',
    '/../etc/passwd',
    '/mem/..%2f..%2fetc/passwd',
  ]
  for (const path of bad) {
    for (const method of ['GET', 'PUT', 'PROPFIND', 'DELETE', 'MKCOL']) {
      const text = await http.raw(
        `${method} ${path} HTTP/1.1\r\nHost: localhost\r\nDepth: 0\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`,
      )
      t.regex(text, /^HTTP\/1.1 400 /, `${method} ${path}`)
    }
    t.is((await http.send('MOVE', '/mem/f', { destination: path })).status, 400, `destination ${path}`)
    t.is((await http.send('GET', '/mem/f', { if: `<${path}> (<a>)` })).status, 400, `tag ${path}`)
  }
  // A backslash, a space and a raw control character as they are.
  for (const path of ['/mem/a\\b', '/mem/a b', '/mem/a\x01b']) {
    t.regex(await http.raw(`GET ${path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`), /^HTTP\/1.1 400 /)
  }
  t.is((await http.send('GET', '/mem/f')).text, 'x')
})

test('a bad path is 400 before login and after', async t => {
  const { http } = await serveTree(t, { credentials: { user: 'u', password: 'p' } })
  for (const authorization of ['', 'Basic dTpw', 'Basic eDp4']) {
    for (const path of ['/mem/%zz', '/mem/%', '/mem/%2e%2e'])
      t.is((await http.send('GET', path, authorization ? { authorization } : {})).status, 400, path)
  }
})

test('absolute targets, as a proxy sends them', async t => {
  const { http } = await serveTree(t)
  await http.send('PUT', '/mem/f', {}, 'x')
  t.is((await http.send('GET', `http://127.0.0.1:${http.port}/mem/f`)).status, 200)
  t.is((await http.send('GET', 'http://evil.example/mem/f')).status, 421)
  t.is((await http.send('GET', '/mem/f?some=query')).text, 'x')
})
