/** The HTTP client below S3: whatever pieces and endings a server delivers, a response is whole or an error. */
import { randomBytes } from 'node:crypto'
import net, { type AddressInfo } from 'node:net'
import test, { type ExecutionContext } from 'ava'
import fc from 'fast-check'
import { BackendError, mayHaveHappened } from '../../src/backends/errors.ts'
import type { HttpRequest } from '../../src/backends/http/connection.ts'
import { HttpPool } from '../../src/backends/http/pool.ts'
import { ProtocolError, type ResponseHead, ResponseParser } from '../../src/backends/http/response-parser.ts'
import { errorKind } from '../../src/errors.ts'

interface Parsed {
  heads: ResponseHead[]
  body: string
  done: boolean
}

function parse(pieces: Buffer[], method = 'GET'): Parsed {
  const heads: ResponseHead[] = []
  let body = ''
  const parser = new ResponseParser({ head: head => void heads.push(head), data: chunk => void (body += chunk.toString('latin1')) }, method)
  for (const piece of pieces) for (let at = 0; at < piece.length; ) at = parser.take(piece, at, piece.length)
  return { heads, body, done: parser.done }
}

const RESPONSES: { name: string; wire: string; body: string; status: number; method?: string }[] = [
  { name: 'by length', wire: 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: 1\r\nx-a: 2\r\n\r\nhello', body: 'hello', status: 200 },
  { name: 'empty', wire: 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n', body: '', status: 200 },
  {
    name: 'chunked',
    wire: 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA;ext=1\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n',
    body: 'abc0123456789',
    status: 200,
  },
  {
    name: 'after 100',
    wire: 'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno',
    body: 'no',
    status: 403,
  },
  { name: 'no content', wire: 'HTTP/1.1 204 No Content\r\n\r\n', body: '', status: 204 },
  { name: 'head', wire: 'HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n', body: '', status: 200, method: 'HEAD' },
]

for (const response of RESPONSES) {
  test(`parser: a response ${response.name}, cut into any pieces`, t => {
    const wire = Buffer.from(response.wire, 'latin1')
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 20 }), { minLength: 1, maxLength: 60 }), lengths => {
        const pieces: Buffer[] = []
        let at = 0
        for (const length of lengths) {
          if (at < wire.length) pieces.push(wire.subarray(at, at + length))
          at += length
        }
        if (at < wire.length) pieces.push(wire.subarray(at))
        const parsed = parse(pieces, response.method)
        return parsed.done && parsed.body === response.body && parsed.heads.length === 1 && parsed.heads[0]!.status === response.status
      }),
    )
    t.pass()
  })
}

test('parser: headers are joined, trimmed and lower-case', t => {
  const { heads } = parse([Buffer.from(RESPONSES[0]!.wire)])
  t.is(heads[0]!.headers['x-a'], '1, 2')
})

test('parser: nonsense is an error, never a hang or another exception', t => {
  const bad = ['HTP/1.1 200 OK\r\n\r\n', 'HTTP/1.1 20 OK\r\n\r\n', 'HTTP/1.1 200 OK\r\nno colon\r\n\r\n', 'HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n', 'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n', `HTTP/1.1 200 OK\r\nX: ${'y'.repeat(70_000)}`] // biome-ignore format: a table
  for (const wire of bad) t.throws(() => parse([Buffer.from(wire)]), { instanceOf: ProtocolError }, wire.slice(0, 60))
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 400 }), fc.constantFrom(...RESPONSES.map(r => r.wire)), fc.nat(200), (noise, wire, at) => {
      const mixed = Buffer.concat([Buffer.from(wire.slice(0, at)), noise, Buffer.from(wire.slice(at))])
      try {
        parse([mixed])
      } catch (error) {
        if (!(error instanceof ProtocolError)) throw error
      }
    }),
  )
})

/** A server that treats each request (told by its first line) with a script; answers its port and what it saw. */
async function scripted(t: ExecutionContext, script: (socket: net.Socket, line: string, number: number) => void) {
  let number = 0
  let connections = 0
  const sockets = new Set<net.Socket>()
  const server = net.createServer(socket => {
    connections++
    sockets.add(socket)
    socket.on('error', () => {})
    let text = ''
    socket.on('data', data => {
      text += data.toString('latin1')
      for (let end = text.indexOf('\r\n\r\n'); end >= 0; end = text.indexOf('\r\n\r\n')) {
        const head = text.slice(0, end)
        const length = Number(/content-length: (\d+)/i.exec(head)?.[1] ?? 0)
        if (text.length < end + 4 + length) return
        text = text.slice(end + 4 + length)
        script(socket, head.slice(0, head.indexOf('\r\n')), ++number)
      }
    })
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const pool = new HttpPool(
    { secure: false, host: '127.0.0.1', port },
    { maximumConnections: 2, stallTimeoutMs: 1_500, connectTimeoutMs: 1_500, keepAliveMs: 200 },
  )
  t.teardown(() => {
    pool.close()
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return { pool, connections: () => connections, requests: () => number }
}

const GET: HttpRequest = { method: 'GET', target: '/', headers: { host: 'x' } }
const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'

async function ask(pool: HttpPool, request: HttpRequest = GET, repeatable = true, signal?: AbortSignal): Promise<string> {
  let body = ''
  await pool.request(request, { head: () => {}, data: chunk => void (body += chunk.toString('latin1')) }, { signal, repeatable })
  return body
}

test('pool: connections are kept, bounded, and shared out in order', async t => {
  const { pool, connections } = await scripted(t, socket => setTimeout(() => socket.write(OK), 5))
  const answers = await Promise.all(Array.from({ length: 20 }, () => ask(pool)))
  t.deepEqual(new Set(answers), new Set(['ok']))
  t.is(connections(), 2)
  t.deepEqual(pool.load, { connections: 2, idle: 2, waiting: 0 })
  await new Promise(resolve => setTimeout(resolve, 500))
  t.deepEqual(pool.load, { connections: 0, idle: 0, waiting: 0 })
})

test('pool: a kept connection that the server closed is replaced without a word', async t => {
  const { pool, connections } = await scripted(t, (socket, _line, number) => {
    if (number === 2) socket.destroy()
    else socket.write(OK)
  })
  t.is(await ask(pool), 'ok')
  t.is(await ask(pool), 'ok')
  t.is(connections(), 2)
})

test('pool: what must not be sent twice is not', async t => {
  const { pool, requests } = await scripted(t, (socket, _line, number) => {
    if (number === 2) socket.destroy()
    else socket.write(OK)
  })
  t.is(await ask(pool), 'ok')
  const error = await t.throwsAsync(() => ask(pool, GET, false))
  t.is(errorKind(error), 'offline')
  t.true(mayHaveHappened(error))
  t.is(requests(), 2)
})

test('pool: an answer that stops in the middle is an error in bounded time', async t => {
  const { pool } = await scripted(t, (socket, _line, number) => {
    if (number === 1) socket.end('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf')
    if (number === 2) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf')
    if (number === 3) socket.write('HTTP/1.1 200 OK\r\nnonsense\r\n\r\n')
    if (number >= 5) socket.write(OK)
  })
  const kinds: (string | undefined)[] = []
  for (let i = 0; i < 4; i++) kinds.push(errorKind(await t.throwsAsync(() => ask(pool))))
  t.deepEqual(kinds, ['offline', 'timed-out', 'io', 'timed-out'])
  t.is(await ask(pool), 'ok')
  t.is(pool.load.connections, 1)
})

test('pool: an answer before the request was sent whole ends the connection', async t => {
  let answered = false
  const server = net.createServer(socket => {
    socket.on('error', () => {})
    socket.once('data', () => {
      answered = true
      socket.write('HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno')
    })
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const pool = new HttpPool({ secure: false, host: '127.0.0.1', port: (server.address() as AddressInfo).port }, {})
  t.teardown(() => {
    pool.close()
    server.close()
  })
  let closed = false
  const body = {
    sizeBytes: 1_000_000,
    async *open() {
      try {
        yield randomBytes(1000)
        for (;;) {
          await new Promise(resolve => setTimeout(resolve, 5))
          yield randomBytes(10)
        }
      } finally {
        closed = true
      }
    },
  }
  t.is(await ask(pool, { ...GET, method: 'PUT', body }), 'no')
  await new Promise(resolve => setTimeout(resolve, 50))
  t.true(answered && closed)
  t.is(pool.load.connections, 0)
})

test('pool: aborts end a wait, an exchange, and leave no trace', async t => {
  const { pool } = await scripted(t, () => {})
  const controllers = Array.from({ length: 4 }, () => new AbortController())
  const calls = controllers.map(controller => ask(pool, GET, true, controller.signal))
  await new Promise(resolve => setTimeout(resolve, 20))
  t.deepEqual(pool.load, { connections: 2, idle: 0, waiting: 2 })
  for (const controller of controllers.reverse()) controller.abort()
  for (const call of calls) t.is(errorKind(await t.throwsAsync(call)), 'interrupted')
  t.deepEqual(pool.load, { connections: 0, idle: 0, waiting: 0 })
})

test('pool: nobody there is offline and can not have happened', async t => {
  const pool = new HttpPool({ secure: false, host: '127.0.0.1', port: 9 }, {})
  const error = await t.throwsAsync(() => ask(pool))
  t.is(errorKind(error), 'offline')
  t.true(error instanceof BackendError && error.transient && !error.mayHaveHappened)
})
