/**
 * What Explorer, Office and Finder send, replayed: the requests as published captures show them, header for header, and
 * the answers without which those clients stop.
 */
import test from 'ava'
import { O_RDWR } from '../../src/sys/flags.ts'
import { context } from '../vfs/volume-contract.ts'
import type { Reply } from './support/http-client.ts'
import { parseMultistatus, propertiesOf } from './support/multistatus.ts'
import { type ServedTree, serveTree } from './support/served-tree.ts'

type Step = readonly [method: string, path: string, headers: Record<string, string>, body: string | undefined, status: number]

/** Sends the steps in order. `$TOKEN` is the last lock token that was answered. */
async function replay(
  served: ServedTree,
  common: Record<string, string>,
  steps: readonly Step[],
): Promise<{ replies: Reply[]; statuses: number[] }> {
  let token = ''
  const replies: Reply[] = []
  for (const [method, path, headers, body] of steps) {
    const filled = Object.fromEntries(
      Object.entries({ ...common, ...headers }).map(([name, value]) => [name, value.replace('$TOKEN', token)]),
    )
    const reply = await served.http.send(method, path, filled, body)
    const given = reply.headers['lock-token']
    if (typeof given === 'string') token = given.slice(1, -1)
    replies.push(reply)
  }
  return { replies, statuses: replies.map(reply => reply.status) }
}

const expected = (steps: readonly Step[]) => steps.map(step => step[4])

const EXPLORER = { 'user-agent': 'Microsoft-WebDAV-MiniRedir/10.0.19045', translate: 'f', connection: 'Keep-Alive' }
const NO_BODY = { 'content-length': '0' }
const LOCK_BODY =
  '<?xml version="1.0" encoding="utf-8" ?><D:lockinfo xmlns:D="DAV:"><D:lockscope><D:exclusive/></D:lockscope><D:locktype><D:write/></D:locktype><D:owner><D:href>PC\\user</D:href></D:owner></D:lockinfo>'
const win32 = (properties: Record<string, string>) =>
  `<?xml version="1.0" encoding="utf-8" ?><D:propertyupdate xmlns:D="DAV:" xmlns:Z="urn:schemas-microsoft-com:"><D:set><D:prop>${Object.entries(
    properties,
  )
    .map(([name, value]) => `<Z:${name}>${value}</Z:${name}>`)
    .join('')}</D:prop></D:set></D:propertyupdate>`
const CREATED = 'Sat, 01 Jun 2019 10:00:00 GMT'
const MODIFIED = 'Sun, 02 Jun 2019 11:22:33 GMT'
const ACCESSED = 'Mon, 03 Jun 2019 12:00:00 GMT'
const XML = { 'content-type': 'text/xml; charset="utf-8"' }

test('Explorer: a new file', async t => {
  const served = await serveTree(t)
  const steps: Step[] = [
    ['PROPFIND', '/mem/new.txt', { ...NO_BODY, depth: '0' }, undefined, 404],
    ['PUT', '/mem/new.txt', NO_BODY, undefined, 201],
    ['LOCK', '/mem/new.txt', { ...XML, timeout: 'Second-3600' }, LOCK_BODY, 200],
    [
      'PROPPATCH',
      '/mem/new.txt',
      { ...XML, if: '(<$TOKEN>)' },
      win32({
        Win32CreationTime: CREATED,
        Win32LastAccessTime: ACCESSED,
        Win32LastModifiedTime: MODIFIED,
        Win32FileAttributes: '00000020',
      }),
      207,
    ],
    ['HEAD', '/mem/new.txt', NO_BODY, undefined, 200],
    ['PUT', '/mem/new.txt', { if: '(<$TOKEN>)' }, 'the content', 204],
    [
      'PROPPATCH',
      '/mem/new.txt',
      { ...XML, if: '(<$TOKEN>)' },
      win32({ Win32LastModifiedTime: MODIFIED, Win32LastAccessTime: ACCESSED, Win32FileAttributes: '00000022' }),
      207,
    ],
    ['UNLOCK', '/mem/new.txt', { ...NO_BODY, 'lock-token': '<$TOKEN>' }, undefined, 204],
  ]
  const { replies, statuses } = await replay(served, EXPLORER, steps)
  t.deepEqual(statuses, [404, 201, 200, 207, 200, 204, 207, 204])
  for (const i of [3, 6]) t.true([...propertiesOf(replies[i]!.text).values()].every(({ status }) => status === 200))
  t.is((await served.http.send('HEAD', '/mem/new.txt')).headers['last-modified'], MODIFIED)
  const ask = `<D:propfind xmlns:D="DAV:" xmlns:Z="urn:schemas-microsoft-com:"><D:prop><Z:Win32CreationTime/><Z:Win32LastAccessTime/><Z:Win32LastModifiedTime/><Z:Win32FileAttributes/><D:creationdate/></D:prop></D:propfind>`
  for (const body of [ask, undefined]) {
    const found = propertiesOf((await served.http.send('PROPFIND', '/mem/new.txt', { depth: '0' }, body)).text)
    const value = (name: string) => found.get(`{urn:schemas-microsoft-com:}${name}`)!.text
    t.is(value('Win32CreationTime'), CREATED, 'also after the second PUT')
    t.is(value('Win32LastModifiedTime'), MODIFIED)
    t.is(value('Win32LastAccessTime'), ACCESSED)
    t.is(value('Win32FileAttributes'), '00000022')
    t.is(found.get('{DAV:}creationdate')!.text, '2019-06-01T10:00:00Z')
  }
  t.is((await served.http.send('GET', '/mem/new.txt')).text, 'the content')
})

test('Explorer: the read-only box is the write permission', async t => {
  const served = await serveTree(t)
  await served.http.send('PUT', '/mem/f', {}, 'x')
  const set = (bits: string) => served.http.send('PROPPATCH', '/mem/f', XML, win32({ Win32FileAttributes: bits }))
  const mode = () => served.volume.lookup(context, served.volume.rootIno, 'f')!.attributes.mode & 0o777
  await set('00000021')
  t.is(mode(), 0o444)
  const shown = await served.http.send('PROPFIND', '/mem/f', { ...EXPLORER, depth: '0' })
  t.is(propertiesOf(shown.text).get('{urn:schemas-microsoft-com:}Win32FileAttributes')!.text, '00000021')
  await set('00000020')
  t.is(mode(), 0o644)
  t.is(propertiesOf((await set('garbage')).text).get('{urn:schemas-microsoft-com:}Win32FileAttributes')!.status, 409)
})

test('Explorer: new folder, renamed; rename onto a name that is taken', async t => {
  const served = await serveTree(t)
  const steps: Step[] = [
    ['PROPFIND', '/mem/', { ...NO_BODY, depth: '1' }, undefined, 207],
    ['PROPFIND', '/mem/New%20folder', { ...NO_BODY, depth: '0' }, undefined, 404],
    ['MKCOL', '/mem/New%20folder', NO_BODY, undefined, 201],
    ['PROPPATCH', '/mem/New%20folder', XML, win32({ Win32FileAttributes: '00000010' }), 207],
    ['PROPFIND', '/mem/New%20folder', { ...NO_BODY, depth: '0' }, undefined, 207],
    ['MOVE', '/mem/New%20folder', { ...NO_BODY, destination: '/mem/f%c3%bcr%20Anna', overwrite: 'F' }, undefined, 201],
    ['MKCOL', '/mem/New%20folder', NO_BODY, undefined, 201],
    ['MOVE', '/mem/New%20folder', { ...NO_BODY, destination: '/mem/f%c3%bcr%20Anna', overwrite: 'F' }, undefined, 412],
    ['DELETE', '/mem/New%20folder', NO_BODY, undefined, 204],
    ['PROPFIND', '/mem/desktop.ini', { ...NO_BODY, depth: '0' }, undefined, 404],
    ['PROPFIND', '/mem/AutoRun.inf', { ...NO_BODY, depth: '0' }, undefined, 404],
  ]
  t.deepEqual((await replay(served, EXPLORER, steps)).statuses, expected(steps))
})

test('Explorer: names that Windows can not hold open, and go back as they were', async t => {
  const served = await serveTree(t)
  const { http, volume } = served
  const names = ['what?.txt', 'a:b', 'dot.', 'trailing ', 'CON', 'nul.txt', 'a"b|c<d>e*', '\xff\xfe', 'a\\b']
  for (const name of names) {
    const { file } = volume.create(context, volume.rootIno, name, 0o644, O_RDWR)
    file.write(context, 0, Buffer.from(name, 'latin1'), {})
    file.release()
  }
  const { text } = await http.send('PROPFIND', '/mem/', { ...EXPLORER, ...NO_BODY, depth: '1' })
  const hrefs = parseMultistatus(text)
    .map(row => row.href)
    .filter(href => href !== '/mem/')
  t.is(hrefs.length, names.length)
  for (const [i, href] of hrefs.entries()) {
    const shown = decodeURIComponent(href.slice('/mem/'.length))
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they must not be there
    t.notRegex(shown, /[<>:"/\\|?*\x00-\x1f]|[. ]$|^(con|nul)(\.|$)/i)
    t.deepEqual((await http.send('GET', href, EXPLORER)).body, Buffer.from(names[i]!, 'latin1'))
    t.is((await http.send('PUT', href, EXPLORER, 'changed')).status, 204)
  }
  t.deepEqual(
    [...new Set(parseMultistatus((await http.send('PROPFIND', '/mem/', { ...EXPLORER, depth: '1' })).text).map(row => row.href))].length,
    names.length + 1,
  )
})

test('Explorer: a listing of 10,000 names stays small enough for it', async t => {
  const { http, volume } = await serveTree(t)
  for (let i = 0; i < 10_000; i++)
    volume.create(context, volume.rootIno, `file-${String(i).padStart(5, '0')}.txt`, 0o644, O_RDWR).file.release()
  const reply = await http.send('PROPFIND', '/mem/', { ...EXPLORER, ...NO_BODY, depth: '1' })
  t.is(reply.status, 207)
  t.is(reply.headers['content-length'], undefined, 'streamed')
  t.is(reply.text.match(/<D:response>/g)!.length, 10_001)
  t.true(reply.body.length / 10_001 <= 330, `${reply.body.length / 10_001} bytes a name`)
  const row = propertiesOf(reply.text, '/mem/file-00007.txt')
  for (const name of ['creationdate', 'getlastmodified', 'getcontentlength', 'resourcetype']) t.is(row.get(`{DAV:}${name}`)!.status, 200)
})

test('Office: opens, locks, saves beside and renames', async t => {
  const served = await serveTree(t)
  const word = { 'user-agent': 'Microsoft Office Word 2014', 'x-office-major-version': '16', translate: 'f' }
  await served.http.send('PUT', '/mem/report.docx', {}, 'version 1')
  const steps: Step[] = [
    ['OPTIONS', '/mem/', NO_BODY, undefined, 200],
    ['HEAD', '/mem/report.docx', {}, undefined, 200],
    ['LOCK', '/mem/report.docx', { ...XML, timeout: 'Second-3600', depth: '0', 'if-none-match': '' }, LOCK_BODY, 200],
    ['GET', '/mem/report.docx', {}, undefined, 200],
    ['PROPFIND', '/mem/report.docx', { ...XML, depth: '0' }, undefined, 207],
    ['LOCK', '/mem/report.docx', { if: '(<$TOKEN>)', timeout: 'Second-3600', ...NO_BODY }, undefined, 200],
    ['PUT', '/mem/report.docx', { if: '(<$TOKEN>)' }, 'version 2', 204],
    ['UNLOCK', '/mem/report.docx', { 'lock-token': '<$TOKEN>', ...NO_BODY }, undefined, 204],
  ]
  t.deepEqual((await replay(served, word, steps)).statuses, expected(steps))
  // Through a mapped drive Word writes beside the file and renames: the old one away, the new one in, the old one off.
  const saving: Step[] = [
    ['PUT', '/mem/~WRD0001.tmp', NO_BODY, undefined, 201],
    ['LOCK', '/mem/~WRD0001.tmp', { ...XML, timeout: 'Second-3600' }, LOCK_BODY, 200],
    ['PUT', '/mem/~WRD0001.tmp', { if: '(<$TOKEN>)' }, 'version 3', 204],
    ['PROPPATCH', '/mem/~WRD0001.tmp', { ...XML, if: '(<$TOKEN>)' }, win32({ Win32LastModifiedTime: MODIFIED }), 207],
    ['UNLOCK', '/mem/~WRD0001.tmp', { 'lock-token': '<$TOKEN>', ...NO_BODY }, undefined, 204],
    ['MOVE', '/mem/report.docx', { destination: '/mem/~WRL0002.tmp', overwrite: 'F' }, undefined, 201],
    ['MOVE', '/mem/~WRD0001.tmp', { destination: '/mem/report.docx', overwrite: 'F' }, undefined, 201],
    ['DELETE', '/mem/~WRL0002.tmp', NO_BODY, undefined, 204],
    ['PROPFIND', '/mem/~$report.docx', { ...NO_BODY, depth: '0' }, undefined, 404],
  ]
  t.deepEqual((await replay(served, EXPLORER, saving)).statuses, expected(saving))
  t.is((await served.http.send('GET', '/mem/report.docx')).text, 'version 3')
})

test('Finder: a file copied in, with its second half', async t => {
  const served = await serveTree(t)
  const finder = { 'user-agent': 'WebDAVFS/3.0.0 (03008000) Darwin/19.6.0 (x86_64)', accept: '*/*' }
  const ask =
    '<?xml version="1.0" encoding="utf-8"?>\n<D:propfind xmlns:D="DAV:">\n<D:prop>\n<D:getlastmodified/>\n<D:getcontentlength/>\n<D:creationdate/>\n<D:resourcetype/>\n</D:prop>\n</D:propfind>\n'
  const lock =
    '<?xml version="1.0" encoding="utf-8"?>\n<D:lockinfo xmlns:D="DAV:">\n<D:lockscope><D:exclusive/></D:lockscope>\n<D:locktype><D:write/></D:locktype>\n<D:owner>\n<D:href>http://www.apple.com/webdav_fs/</D:href>\n</D:owner>\n</D:lockinfo>\n'
  const space =
    '<?xml version="1.0" encoding="utf-8"?>\n<D:propfind xmlns:D="DAV:">\n<D:prop>\n<D:quota-available-bytes/>\n<D:quota-used-bytes/>\n<D:quota/>\n<D:quotaused/>\n</D:prop>\n</D:propfind>\n'
  const chunked = { 'transfer-encoding': 'Chunked', 'x-expected-entity-length': '11' }
  const steps: Step[] = [
    ['OPTIONS', '/mem/', {}, undefined, 200],
    ['PROPFIND', '/mem/', { ...XML, depth: '0' }, space, 207],
    ['PROPFIND', '/mem/', { ...XML, depth: '1' }, ask, 207],
    ['PROPFIND', '/mem/.metadata_never_index', { ...XML, depth: '0' }, ask, 404],
    ['PROPFIND', '/mem/._.', { ...XML, depth: '0' }, ask, 404],
    ['PROPFIND', '/mem/song.mp3', { ...XML, depth: '0' }, ask, 404],
    ['PUT', '/mem/song.mp3', NO_BODY, undefined, 201],
    ['LOCK', '/mem/song.mp3', { ...XML, depth: '0', timeout: 'Second-600' }, lock, 200],
    ['PUT', '/mem/song.mp3', { ...chunked, if: '(<$TOKEN>)' }, 'eleven byte', 204],
    ['PROPFIND', '/mem/song.mp3', { ...XML, depth: '0' }, ask, 207],
    ['UNLOCK', '/mem/song.mp3', { 'lock-token': '<$TOKEN>' }, undefined, 204],
    ['LOCK', '/mem/._song.mp3', { ...XML, depth: '0', timeout: 'Second-600' }, lock, 201],
    ['PUT', '/mem/._song.mp3', { ...chunked, if: '(<$TOKEN>)' }, 'eleven byte', 204],
    ['PROPFIND', '/mem/._song.mp3', { ...XML, depth: '0' }, ask, 207],
    ['GET', '/mem/._song.mp3', {}, undefined, 200],
    ['UNLOCK', '/mem/._song.mp3', { 'lock-token': '<$TOKEN>' }, undefined, 204],
    [
      'MOVE',
      '/mem/song.mp3',
      { destination: `http://127.0.0.1:${served.server.port}/mem/Lied%20e%CC%81.mp3`, overwrite: 'F' },
      undefined,
      201,
    ],
    ['DELETE', '/mem/._song.mp3', {}, undefined, 204],
  ]
  const { replies, statuses } = await replay(served, finder, steps)
  t.deepEqual(statuses, expected(steps))
  const quota = propertiesOf(replies[1]!.text)
  t.is(quota.get('{DAV:}quota-available-bytes')!.status, 200)
  t.is(quota.get('{DAV:}quotaused')!.status, 404)
  t.is((await served.http.send('GET', `/mem/${encodeURIComponent('Lied é.mp3')}`)).text, 'eleven byte')
})
