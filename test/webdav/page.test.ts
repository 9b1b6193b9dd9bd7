/** The page that a browser sees. */
import test from 'ava'
import { O_RDWR } from '../../src/sys/flags.ts'
import { context } from '../vfs/volume-contract.ts'
import { serveTree } from './support/served-tree.ts'

const BROWSER = { accept: 'text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8' }

const names = (html: string) => [...html.matchAll(/<tr><td><a href="([^"]*)">([^<]*)<\/a>/g)].map(([, href, text]) => [href, text])

test('names, sizes and dates; folders first; sorted as asked', async t => {
  const { http, volume } = await serveTree(t)
  await http.send('MKCOL', '/mem/zoo')
  for (const [name, size, sec] of [
    ['b.txt', 10, 3000],
    ['a10', 2000, 1000],
    ['a9', 3_000_000, 2000],
  ] as const) {
    await http.send('PUT', `/mem/${name}`, {}, Buffer.alloc(size))
    volume.setattr(context, volume.lookup(context, volume.rootIno, name)!.attributes.ino, { mtime: { sec, nsec: 0 } })
  }
  const page = async (query: string) => names((await http.send('GET', `/mem/${query}`, BROWSER)).text).map(([, text]) => text)
  t.deepEqual(await page(''), ['zoo/', 'a9', 'a10', 'b.txt'])
  t.deepEqual(await page('?sort=name&order=desc'), ['zoo/', 'b.txt', 'a10', 'a9'])
  t.deepEqual(await page('?sort=size'), ['zoo/', 'b.txt', 'a10', 'a9'])
  t.deepEqual(await page('?sort=date&order=desc'), ['zoo/', 'b.txt', 'a9', 'a10'])
  t.deepEqual(await page('?sort=<script>&order=x'), ['zoo/', 'a9', 'a10', 'b.txt'])
  const { text, headers } = await http.send('GET', '/mem', BROWSER)
  t.regex(text, /2\.9 MiB/)
  t.regex(text, /1970-01-01 00:50/)
  t.regex(text, /href="\/mem\/\?sort=size&amp;order=asc"/)
  t.is(headers['content-type'], 'text/html; charset=utf-8')
  t.regex(headers['content-security-policy'] as string, /default-src 'none'/)
  t.notRegex(text, /<script|javascript:|onerror/i)
  t.is((await http.send('HEAD', '/mem/', BROWSER)).headers['content-length'], String(Buffer.byteLength(text)))
})

test('whatever a file is called, its name is text, and its link leads to it', async t => {
  const { http, volume } = await serveTree(t)
  const odd = [
    '<script>alert(1)',
    '<img src=x onerror=alert(1)>',
    '"onmouseover="x',
    "'",
    '&lt;',
    'a#b?c%d',
    '\xff\xfe',
    'a\nb',
    '日本語',
    '-->',
    'javascript:alert(1)',
    '../x'.replace('/', '|'),
  ]
  for (const name of odd) {
    const { file } = volume.create(
      context,
      volume.rootIno,
      Buffer.from(name, name.startsWith('\xff') ? 'latin1' : 'utf8').toString('latin1'),
      0o644,
      O_RDWR,
    )
    file.write(context, 0, Buffer.from(name), {})
    file.release()
  }
  const { text } = await http.send('GET', '/mem/', BROWSER)
  const rows = names(text)
  t.is(rows.length, odd.length)
  t.notRegex(text.slice(text.indexOf('<table>')), /<script|<img|"on/i)
  const contents = new Set<string>()
  for (const [href] of rows) {
    t.regex(href!, /^\/mem\/[\w.~%-]+$/)
    contents.add((await http.send('GET', href!)).text)
  }
  t.deepEqual([...contents].sort(), [...odd].sort())
})

test('bounded, and it says so; empty; the root; no page for others', async t => {
  const { http } = await serveTree(t, { limits: { pageEntries: 3, listingSlice: 2 } })
  t.regex((await http.send('GET', '/mem/', BROWSER)).text, /This folder is empty/)
  for (let i = 0; i < 5; i++) await http.send('PUT', `/mem/f${i}`, {}, 'x')
  const { text } = await http.send('GET', '/mem/', BROWSER)
  t.is(names(text).length, 3)
  t.regex(text, /first 3 entries/)
  t.deepEqual(names((await http.send('GET', '/', BROWSER)).text), [['/mem/', 'mem/']])
  t.is((await http.send('GET', '/mem/')).status, 405)
  t.is((await http.send('GET', '/mem/', { accept: '*/*' })).status, 405)
})
