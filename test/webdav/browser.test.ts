/** The listing page and files in a real browser. */
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { ExecutionContext } from 'ava'
import { Browser } from './support/browser.ts'
import { serveTree } from './support/served-tree.ts'
import { testWith } from './support/tools.ts'

async function start(t: ExecutionContext): Promise<Browser> {
  const browser = await Browser.start()
  t.teardown(() => browser.close())
  return browser
}

const ROWS = '[...document.querySelectorAll("tbody a")].map(a => a.textContent)'

testWith(['chromium'], 'a browser: the listing, its sorting, folders and files; nothing complains', async t => {
  const { http, url } = await serveTree(t)
  await http.send('MKCOL', '/mem/folder')
  for (const [name, size] of [
    ['b.txt', 30],
    ['a.txt', 2000],
    ['日本 語#?.txt', 1],
    ['<img src=x onerror=document.title=1>', 5],
  ] as const) {
    await http.send('PUT', `/mem/${encodeURIComponent(name)}`, {}, 'x'.repeat(size))
  }
  await http.send('PUT', '/mem/folder/inside.txt', {}, 'the content')
  const browser = await start(t)
  await browser.open(url)
  const rows = await browser.evaluate<string[]>(ROWS)
  t.deepEqual(rows, ['folder/', '<img src=x onerror=document.title=1>', 'a.txt', 'b.txt', '日本 語#?.txt'])
  t.is(await browser.evaluate('document.title'), '/mem')
  t.is(await browser.evaluate('document.images.length'), 0)
  await browser.follow('th:nth-child(2) a')
  t.deepEqual(await browser.evaluate(ROWS), ['folder/', '日本 語#?.txt', '<img src=x onerror=document.title=1>', 'b.txt', 'a.txt'])
  await browser.follow('th:nth-child(2) a')
  t.deepEqual(await browser.evaluate(ROWS), ['folder/', 'a.txt', 'b.txt', '<img src=x onerror=document.title=1>', '日本 語#?.txt'])
  await browser.follow('tbody a')
  t.deepEqual(await browser.evaluate(ROWS), ['inside.txt'])
  // The browser asks for an icon by itself, which isn't there.
  const complaints = browser.complaints.filter(line => !line.includes('404'))
  t.deepEqual(complaints, [])
  await browser.follow('tbody a')
  t.is(await browser.evaluate('document.body.innerText'), 'the content')
})

testWith(['chromium'], 'a browser: a page among the files is shown, and can do nothing', async t => {
  const { http, url } = await serveTree(t)
  const page = `<!DOCTYPE html><title>quiet</title><p>shown</p><script>document.title = 'ran'; fetch('/mem/made', { method: 'PUT', body: 'x' })</script><img src="/mem/x.png" onerror="document.title = 'ran'">`
  await http.send('PUT', '/mem/page.html', {}, page)
  await http.send(
    'PUT',
    '/mem/picture.svg',
    {},
    '<svg xmlns="http://www.w3.org/2000/svg"><script>fetch("/mem/made", { method: "PUT", body: "x" })</script><text>t</text></svg>',
  )
  const browser = await start(t)
  await browser.open(`${url}page.html`)
  t.is(await browser.evaluate('document.title'), 'quiet')
  t.is(await browser.evaluate('document.querySelector("p").textContent'), 'shown')
  await browser.open(`${url}picture.svg`)
  // What the pages tried is over when the browser has told that it refused it.
  for (let i = 0; i < 600 && browser.complaints.length === 0; i++) await new Promise(resolve => setTimeout(resolve, 100))
  t.true(browser.complaints.length > 0, 'its policy refused what it tried')
  t.is((await http.send('GET', '/mem/made')).status, 404)
})

testWith(['chromium'], 'a browser: a page of another site reaches nothing', async t => {
  const { http, server } = await serveTree(t)
  await http.send('PUT', '/mem/secret.txt', {}, 'secret')
  const browser = await start(t)
  // Another origin: the same machine, another port, and a page without any policy.
  const site = createServer((_request, response) => response.setHeader('Content-Type', 'text/html').end('<p>another site')).listen(
    0,
    '127.0.0.1',
  )
  t.teardown(() => void site.close())
  await once(site, 'listening')
  await browser.open(`http://127.0.0.1:${(site.address() as AddressInfo).port}/`)
  const attempt = (options: string) =>
    browser.evaluate<string>(
      `await fetch('http://127.0.0.1:${server.port}/mem/secret.txt', ${options}).then(r => r.text(), e => 'refused')`,
    )
  for (const options of [
    '{}',
    '{ mode: "no-cors" }',
    '{ method: "PUT", body: "overwritten" }',
    '{ method: "DELETE" }',
    '{ method: "POST", mode: "no-cors", body: "x" }',
  ]) {
    t.not(await attempt(options), 'secret', options)
  }
  const picture = `await new Promise(done => { const image = new Image(); image.onload = () => done('loaded'); image.onerror = () => done('refused'); image.src = 'http://127.0.0.1:${server.port}/mem/picture.svg' })`
  await http.send('PUT', '/mem/picture.svg', {}, '<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"/>')
  t.is(await browser.evaluate(picture), 'refused')
  t.is((await http.send('GET', '/mem/secret.txt')).text, 'secret')
})
