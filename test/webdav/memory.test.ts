/** Memory of the server stays flat whatever is asked of it. In a process of its own. How long things take: scripts/bench webdav. */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import test, { type ExecutionContext } from 'ava'
import { HttpClient } from './support/http-client.ts'

const MB = 2 ** 20

interface Report {
  readonly residentBytes: number
  readonly peakBytes: number
  readonly state: string
}

class Serving {
  readonly folder: string
  readonly port: number
  readonly #child: ChildProcess

  constructor(child: ChildProcess, port: number, folder: string) {
    this.#child = child
    this.port = port
    this.folder = folder
  }

  report(): Promise<Report> {
    this.#child.send('report')
    return new Promise(resolve => this.#child.once('message', message => resolve(message as Report)))
  }

  /** The first scan is over, so that its memory is not taken for ours. */
  async settled(): Promise<Report> {
    for (let i = 0; i < 600; i++) {
      const report = await this.report()
      if (report.state === 'online') return report
      await sleep(100)
    }
    throw new Error('the first scan did not end')
  }
}

async function start(t: ExecutionContext, fill: (folder: string) => void): Promise<Serving> {
  const directory = realpathSync(mkdtempSync(join(tmpdir(), 'sdmount-memory-')))
  const [folder, index] = [join(directory, 'folder'), join(directory, 'index')]
  for (const path of [folder, index]) mkdirSync(path)
  fill(folder)
  const child = fork(fileURLToPath(new URL('support/serving-process.ts', import.meta.url)), [folder, index])
  const exited = new Promise(resolve => child.once('exit', resolve))
  t.teardown(async () => {
    child.kill('SIGKILL')
    await exited
    rmSync(directory, { recursive: true, force: true })
  })
  const port = await new Promise<number>(resolve => child.once('message', message => resolve((message as { port: number }).port)))
  return new Serving(child, port, folder)
}

test.serial('a listing of 10,000: streamed, in flat memory; one that is not taken stops nobody', async t => {
  const serving = await start(t, folder => {
    for (let i = 0; i < 10_000; i++) writeFileSync(join(folder, `file-${String(i).padStart(5, '0')}.txt`), '')
  })
  const http = new HttpClient(serving.port)
  t.teardown(() => http.close())
  // What a heap settles at is not what is looked for: it must not go on growing with the listings.
  for (let round = 0; round < 2; round++) await http.send('PROPFIND', '/files/', { depth: '1' })
  const before = await serving.settled()
  for (let round = 0; round < 5; round++) {
    const reply = await http.send('PROPFIND', '/files/', { depth: '1' })
    t.is(reply.text.match(/<D:response>/g)?.length, 10_001)
    t.is(reply.headers['content-length'], undefined)
  }
  // Ten clients that ask and take nothing: what they are owed is not held for them.
  const idlers = await Promise.all(Array.from({ length: 10 }, () => idleListing(serving.port)))
  t.is((await http.send('PROPFIND', '/files/file-00001.txt', { depth: '0' })).status, 207)
  const after = await serving.report()
  const grownMb = (after.residentBytes - before.residentBytes) / MB
  for (const idler of idlers) idler.destroy()
  t.log(`memory grew by ${grownMb.toFixed(0)} MB to ${(after.peakBytes / MB).toFixed(0)} MB at most`)
  t.true(grownMb < 60)
})

/** Asks for the large listing, takes its beginning, and no more. */
async function idleListing(port: number): Promise<Socket> {
  const socket = connect(port, '127.0.0.1')
  socket.write('PROPFIND /files/ HTTP/1.1\r\nHost: localhost\r\nDepth: 1\r\nContent-Length: 0\r\n\r\n')
  await once(socket, 'data')
  socket.pause()
  socket.on('error', () => {})
  return socket
}

test.serial('large files go through in flat memory, also when readers take their time', async t => {
  const serving = await start(t, folder => writeFileSync(join(folder, 'big'), Buffer.alloc(200 * MB, 'x')))
  const http = new HttpClient(serving.port)
  t.teardown(() => http.close())
  // What a heap settles at is not what is looked for: it must not go on growing with the bytes.
  await serving.settled()
  await http.send('PUT', '/files/warm', {}, Buffer.alloc(100 * MB, 'z'))
  await http.send('GET', '/files/warm')
  const before = await serving.report()
  t.is((await http.send('PUT', '/files/up', {}, Buffer.alloc(300 * MB, 'y'))).status, 201)
  t.is((await http.send('GET', '/files/up')).body.length, 300 * MB)
  const sockets = Array.from({ length: 20 }, () => {
    const socket = connect(serving.port, '127.0.0.1')
    socket.on('error', () => {})
    socket.pause()
    socket.write('GET /files/big HTTP/1.1\r\nHost: localhost\r\n\r\n')
    return socket
  })
  await sleep(1000)
  const after = await serving.report()
  for (const socket of sockets) socket.destroy()
  const grownMb = (after.peakBytes - before.peakBytes) / MB
  t.log(`memory grew by ${grownMb.toFixed(0)} MB, from ${(before.peakBytes / MB).toFixed(0)} MB`)
  t.true(grownMb < 60)
})

test.serial('thousands of small requests leave nothing behind', async t => {
  const serving = await start(t, () => {})
  const http = new HttpClient(serving.port)
  t.teardown(() => http.close())
  const lockinfo = '<D:lockinfo xmlns:D="DAV:"><D:lockscope><D:exclusive/></D:lockscope><D:locktype><D:write/></D:locktype></D:lockinfo>'
  const patch = '<D:propertyupdate xmlns:D="DAV:"><D:set><D:prop><x xmlns="n">kept</x></D:prop></D:set></D:propertyupdate>'
  const round = async (count: number) => {
    for (let i = 0; i < count; i++) {
      const path = `/files/f${i % 50}`
      const locked = await http.send('LOCK', path, {}, lockinfo)
      const token = locked.headers['lock-token'] as string
      await http.send('PUT', path, { if: `(${token})` }, 'x'.repeat(i % 5000))
      await http.send('PROPPATCH', path, { if: `(${token})` }, patch)
      await http.send('UNLOCK', path, { 'lock-token': token })
      await http.send('PROPFIND', path, { depth: '0' })
      await http.send('DELETE', path)
      await http.send('GET', path)
    }
  }
  await round(300)
  const before = await serving.settled()
  await round(1200)
  const after = await serving.report()
  const grownMb = (after.residentBytes - before.residentBytes) / MB
  t.log(`memory grew by ${grownMb.toFixed(1)} MB over 8,400 requests`)
  t.true(grownMb < 40)
})
