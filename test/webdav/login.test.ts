/** OPTIONS, login, and who is kept out. */
import test from 'ava'
import { Throttle } from '../../src/fs/webdav/auth-throttle.ts'
import { serveWebdav } from '../../src/fs/webdav/server.ts'
import { MemoryPropertyStore } from '../../src/index/property-store.ts'
import { silentLog } from '../../src/log.ts'
import { Tree } from '../../src/vfs/tree.ts'
import { basicHeader, challenges, digestHeader, nonceOf } from './support/digest-client.ts'
import { serveTree } from './support/served-tree.ts'

const METHODS = ['GET', 'HEAD', 'PUT', 'DELETE', 'MKCOL', 'COPY', 'MOVE', 'PROPFIND', 'PROPPATCH', 'LOCK', 'UNLOCK']
const credentials = { user: 'ann', password: 'secret' }

test('OPTIONS answers the same everywhere, with and without login', async t => {
  const { http } = await serveTree(t, { credentials })
  await http.send('PUT', '/mem/f', { authorization: basicHeader('ann', 'secret') }, 'x')
  for (const path of ['/', '/mem/', '/mem/f', '/mem/missing', '*']) {
    for (const headers of [{}, { authorization: basicHeader('ann', 'secret') }, { authorization: basicHeader('ann', 'wrong') }]) {
      const reply = await http.send('OPTIONS', path, headers)
      t.is(reply.status, 200)
      t.regex(reply.headers.dav as string, /^1, 2\b/)
      t.is(reply.headers['ms-author-via'], 'DAV')
      t.deepEqual(new Set(reply.headers.allow!.split(', ')), new Set(['OPTIONS', ...METHODS]))
      t.is(reply.headers['content-length'], '0')
      t.is(reply.headers['cache-control'], 'no-store')
    }
  }
})

test('every other method without login is 401, and a client that waits is never told to go on', async t => {
  const { http, server } = await serveTree(t, { credentials })
  for (const method of [...METHODS, 'POST', 'TRACE', 'REPORT']) {
    const reply = await http.send(method, '/mem/x')
    t.is(reply.status, 401, method)
    t.deepEqual(
      challenges(reply).map(challenge => challenge.split(' ')[0]),
      ['Digest', 'Digest', 'Basic'],
    )
  }
  const waiting = 'PUT /mem/x HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n'
  const text = await http.raw(waiting, /401/)
  t.regex(text, /^HTTP\/1.1 401 /)
  t.notRegex(text, /100 Continue/)
  const login = `PUT /mem/x HTTP/1.1\r\nHost: localhost\r\nAuthorization: ${basicHeader('ann', 'secret')}\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n`
  t.regex(await http.raw(login, /\r\n\r\n/), /^HTTP\/1.1 100 Continue/)
  for (let i = 0; i < 3000 && server.activeRequests > 0; i++) await new Promise(resolve => setTimeout(resolve, 20))
})

test('passwords of any characters, in UTF-8 and in Latin-1, by Basic and by Digest', async t => {
  for (const password of ['a:b', 'a+b/c=', 'pässwörd', '日本語', ' ', '"quoted\\"', '%41']) {
    const user = 'jürgen'
    const { http, close } = await serveTree(t, { credentials: { user, password } })
    const encodings = /^[\0-\xff]*$/.test(password) ? (['utf8', 'latin1'] as const) : (['utf8'] as const)
    for (const encoding of encodings) {
      const basic = await http.send('PROPFIND', '/mem/', { depth: '0', authorization: basicHeader(user, password, encoding) })
      t.is(basic.status, 207, `Basic ${password} ${encoding}`)
      for (const algorithm of ['MD5', 'SHA-256'] as const) {
        const nonce = nonceOf(await http.send('PROPFIND', '/mem/', { depth: '0' }))
        const fields = { user, password, method: 'PROPFIND', uri: '/mem/', nonce, algorithm, encoding }
        const digest = await http.send('PROPFIND', '/mem/', { depth: '0', authorization: digestHeader(fields) })
        t.is(digest.status, 207, `Digest ${algorithm} ${password} ${encoding}`)
      }
    }
    t.is((await http.send('PROPFIND', '/mem/', { depth: '0', authorization: basicHeader(user, `${password}x`) })).status, 401)
    await close()
  }
})

test('a user name in the extended notation', async t => {
  const { http } = await serveTree(t, { credentials: { user: 'jürgen', password: 'x' } })
  const nonce = nonceOf(await http.send('GET', '/mem/'))
  const header = { username: undefined, 'username*': "UTF-8''j%C3%BCrgen" }
  const authorization = digestHeader({ user: 'jürgen', password: 'x', method: 'GET', uri: '/mem/', nonce, header })
  t.is((await http.send('GET', '/mem/', { authorization })).status, 405)
})

test('Digest: invented, replayed and stale nonces, other targets and methods are refused', async t => {
  let nowMs = 1_000_000
  const { http } = await serveTree(t, { credentials, now: () => nowMs })
  const ask = (fields: Partial<Parameters<typeof digestHeader>[0]>, path = '/mem/') =>
    http.send('PROPFIND', path, {
      depth: '0',
      authorization: digestHeader({ ...credentials, method: 'PROPFIND', uri: '/mem/', nonce, ...fields }),
    })
  const nonce = nonceOf(await http.send('GET', '/mem/'))
  t.is((await ask({})).status, 207)
  const replayed = await ask({})
  t.is(replayed.status, 401)
  t.true(challenges(replayed)[0]!.includes('stale=true'))
  t.is((await ask({ nc: 5 })).status, 207)
  t.is((await ask({ nc: 3 })).status, 207, 'counts of several connections come out of order')
  t.is((await ask({ nc: 3 })).status, 401)
  t.is((await ask({ nc: 500 })).status, 207)
  t.is((await ask({ nc: 4 })).status, 401, 'too far back')
  const wrongs: Partial<Parameters<typeof digestHeader>[0]>[] = [
    { nonce: 'invented', nc: 600 },
    { nonce: `${nonce}x`, nc: 601 },
    { nonce: nonce.replace(/^[^.]+/, time => (Number.parseInt(time, 36) + 1000).toString(36)), nc: 602 },
    { uri: '/mem/other', nc: 603 },
    { method: 'GET', nc: 604 },
    { password: 'wrong', nc: 605 },
    { user: 'bob', nc: 606 },
  ]
  for (const wrong of wrongs) {
    const reply = await ask(wrong)
    t.is(reply.status, 401, JSON.stringify(wrong))
    t.false(challenges(reply)[0]!.includes('stale=true'))
    nowMs += 5000
  }
  for (const header of [
    { qop: undefined },
    { qop: 'auth-int' },
    { nc: 'zzzzzzzz' },
    { realm: '"other"' },
    { algorithm: 'SHA-1' },
    { response: '""' },
  ]) {
    t.is((await ask({ header, nc: 700 })).status, 401, JSON.stringify(header))
    nowMs += 5000
  }
  nowMs += 11 * 60_000
  const late = await ask({ nc: 800 })
  t.is(late.status, 401)
  t.true(challenges(late)[0]!.includes('stale=true'), 'the client asks with a new nonce, not its user')
})

test("the system's clients are offered the Digest that they know", async t => {
  const { http } = await serveTree(t, { credentials })
  for (const agent of ['Microsoft-WebDAV-MiniRedir/10.0.19045', 'WebDAVFS/3.0.0 (03008000) Darwin/23.0.0 (x86_64)']) {
    const digests = challenges(await http.send('GET', '/', { 'user-agent': agent })).filter(challenge => challenge.startsWith('Digest'))
    t.is(digests.length, 1)
    t.true(digests[0]!.includes('algorithm=MD5'))
  }
})

test('another site, or another name for this address, is not served', async t => {
  const { http, server } = await serveTree(t)
  const origin = `http://127.0.0.1:${server.port}`
  const status = async (headers: Record<string, string>, method = 'PROPFIND') =>
    (await http.send(method, '/mem/', { depth: '0', ...headers })).status
  for (const host of ['localhost', 'localhost:1', '127.0.0.1', '[::1]:80', '192.168.1.7', 'x.localhost'])
    t.is(await status({ host }), 207, host)
  for (const host of ['evil.example', 'evil.example:80', 'localhost.evil.example', '127.0.0.1.evil.example', 'a@localhost', 'x y'])
    t.is(await status({ host }), 421, host)
  t.is(await status({ origin }), 207)
  for (const other of [
    'http://evil.example',
    'null',
    'https://127.0.0.1',
    `http://localhost:${server.port}`,
    `http://127.0.0.1:${server.port + 1}`,
  ])
    t.is(await status({ origin: other }), 403, other)
  t.is(await status({ 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'no-cors', 'sec-fetch-dest': 'image' }, 'GET'), 403)
  t.is(await status({ 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'cors' }, 'PUT'), 403)
  const followed = { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'document', accept: 'text/html' }
  t.is(await status(followed, 'GET'), 200)
  t.is(await status({ ...followed, 'sec-fetch-dest': 'iframe' }, 'GET'), 403)
  t.is(await status({ 'sec-fetch-site': 'same-origin', 'sec-fetch-mode': 'cors' }), 207)
})

test('it listens on loopback only, unless it has TLS and a password', async t => {
  const options = {
    vfs: new Tree({ log: silentLog }),
    log: silentLog,
    port: 0,
    readOnly: false,
    properties: new MemoryPropertyStore(),
    identity: { uid: 0, gid: 0, umask: 0 },
  }
  await t.throwsAsync(serveWebdav({ ...options, host: '0.0.0.0', anonymous: true }), { message: /TLS and a password/ })
  await t.throwsAsync(serveWebdav({ ...options, host: '0.0.0.0', credentials }), { message: /TLS and a password/ })
  await t.throwsAsync(serveWebdav({ ...options, host: '::', anonymous: true }), { message: /TLS and a password/ })
  await t.throwsAsync(serveWebdav({ ...options, host: '127.0.0.1' }), { message: /user and a password/ })
  const server = await serveWebdav({ ...options, host: 'localhost', anonymous: true })
  t.regex(server.url, /^http:\/\/localhost:\d+\/$/)
  await server.close()
  await server.ended
})

test('a taken port is an error, not a crash', async t => {
  const { server, tree } = await serveTree(t)
  const options = {
    vfs: tree,
    log: silentLog,
    host: '127.0.0.1',
    port: server.port,
    anonymous: true,
    readOnly: false,
    properties: new MemoryPropertyStore(),
    identity: { uid: 0, gid: 0, umask: 0 },
  }
  await t.throwsAsync(serveWebdav(options), { code: 'EADDRINUSE' })
})

test('guesses are slowed down by address; memory and waiting are bounded', t => {
  let nowMs = 0
  const throttle = new Throttle(() => nowMs)
  for (let i = 0; i < 8; i++) {
    t.is(throttle.enter('10.0.0.1'), 0)
    throttle.failed('10.0.0.1')
  }
  t.is(throttle.enter('10.0.0.1'), 1500)
  t.is(throttle.enter('10.0.0.1'), 3000, 'one after the other')
  t.is(throttle.enter('10.0.0.2'), 0, 'others are not slowed down')
  for (let i = 0; i < 14; i++) throttle.enter('10.0.0.1')
  t.is(throttle.enter('10.0.0.1'), undefined, 'too many wait')
  for (let i = 0; i < 16; i++) throttle.done('10.0.0.1')
  nowMs += 60_000
  t.is(throttle.enter('10.0.0.1'), 0, 'it is forgiven in time')
  for (let i = 0; i < 9; i++) throttle.failed(`2001:db8:1:2::${i}`)
  t.true((throttle.enter('2001:db8:1:2:ffff::1') ?? 0) > 0, 'one network guesses as one')
  t.is(throttle.enter('2001:db8:1:3::1'), 0)
})

test('wrong passwords slow down new connections, not one that is logged in', async t => {
  // Its clock stands still: nothing is forgiven, however slow this machine is.
  const { http } = await serveTree(t, { credentials, now: () => 0 })
  const good = { depth: '0', authorization: basicHeader('ann', 'secret') }
  t.is((await http.send('PROPFIND', '/mem/', good)).status, 207)
  const guess = (n: number) =>
    `GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: ${basicHeader('ann', `guess${n}`)}\r\n\r\n`
  for (let i = 0; i < 8; i++) await http.raw(guess(i))
  const startedAtMs = performance.now()
  // They are looked at one after the other: three wait three times as long. Who is logged in doesn't wait with them.
  const answered: string[] = []
  const slow = [8, 9, 10].map(async n => {
    t.regex(await http.raw(guess(n)), / 401 /)
    answered.push('guess')
  })
  t.is((await http.send('PROPFIND', '/mem/', good)).status, 207)
  answered.push('who is logged in')
  await Promise.all(slow)
  t.not(answered.at(-1), 'who is logged in')
  t.true(performance.now() - startedAtMs > 4_400, 'a second and a half each')
})

test('read-only: reading works, every writing method is 403', async t => {
  const { http, volume } = await serveTree(t, { readOnly: true })
  volume.mkdir({ uid: 0, gid: 0, pid: 0, umask: 0, signal: new AbortController().signal }, volume.rootIno, 'd', 0o755)
  t.is((await http.send('PROPFIND', '/mem/', { depth: '1' })).status, 207)
  for (const method of ['PUT', 'DELETE', 'MKCOL', 'COPY', 'MOVE', 'PROPPATCH', 'LOCK', 'UNLOCK']) {
    t.is((await http.send(method, '/mem/d', { destination: '/mem/e' })).status, 403, method)
  }
})

test('unknown methods are 405 with what is allowed', async t => {
  const { http } = await serveTree(t)
  for (const method of ['POST', 'PATCH', 'REPORT', 'TRACE', 'SEARCH']) {
    const reply = await http.send(method, '/mem/')
    t.is(reply.status, 405)
    t.true(reply.headers.allow!.includes('PROPFIND'))
  }
})
