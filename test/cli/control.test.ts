/** The control socket: what it carries, and that nothing that arrives harms the daemon. */
import { mkdirSync, mkdtempSync, rmSync, statSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import fc from 'fast-check'
import { ControlClient } from '../../src/cli/control/client.ts'
import { decodeReply, decodeRequest, encodeRequest, LineReader, MESSAGE_LIMIT_BYTES } from '../../src/cli/control/protocol.ts'
import { ControlServer, type RequestHandler } from '../../src/cli/control/server.ts'
import { CommandError } from '../../src/cli/exit-codes.ts'
import { silentLog } from '../../src/log.ts'

const forever = new AbortController().signal

async function serve(t: ExecutionContext, handle: RequestHandler, deep = false): Promise<{ path: string; server: ControlServer }> {
  const directory = mkdtempSync(join(tmpdir(), 'sdmount-control-'))
  const folder = deep ? join(directory, ...Array.from({ length: 5 }, () => 'd'.repeat(40))) : directory
  mkdirSync(folder, { recursive: true })
  const path = join(folder, 'control.sock')
  const server = await ControlServer.listen(path, handle, silentLog)
  t.teardown(async () => {
    await server.close()
    rmSync(directory, { recursive: true, force: true })
  })
  return { path, server }
}

/** Sends text as it is, and collects what comes back until the server closes or `ms` have passed. */
function sendRaw(path: string, text: string | Buffer, ms = 300): Promise<string> {
  return new Promise(resolve => {
    const socket = connect(path)
    let received = ''
    socket.on('data', chunk => (received += chunk))
    socket.on('error', () => {})
    socket.on('close', () => resolve(received))
    socket.write(text)
    setTimeout(() => socket.destroy(), ms)
  })
}

test('a request is answered, with updates before the result, names byte for byte', async t => {
  const name = Buffer.from([0xff, 0xe9, 0x41]).toString('latin1')
  const { path } = await serve(t, async (request, context) => {
    await context.update({ half: true })
    return { request: request.request, given: request.arguments }
  })
  using client = await ControlClient.connect(path)
  const updates: unknown[] = []
  const result = await client?.request('echo', { name }, forever, update => updates.push(update))
  t.deepEqual(result, { request: 'echo', given: { name } })
  t.deepEqual(updates, [{ half: true }])
  t.deepEqual(await client?.request('again', {}, forever, () => {}), { request: 'again', given: {} })
})

test('the socket is for its owner alone', async t => {
  const { path } = await serve(t, async () => ({}))
  t.is(statSync(path).mode & 0o777, 0o600)
})

test('a path longer than the kernel takes works', async t => {
  const { path } = await serve(t, async () => ({ ok: true }), true)
  t.true(path.length > 200)
  using client = await ControlClient.connect(path)
  t.deepEqual(await client?.request('x', {}, forever, () => {}), { ok: true })
})

test('a failure keeps its exit and its message', async t => {
  const { path } = await serve(t, async () => {
    throw new CommandError('busy', 'in use by 1 (x)')
  })
  using client = await ControlClient.connect(path)
  const error = await t.throwsAsync(async () => await client?.request('x', {}, forever, () => {}), { instanceOf: CommandError })
  t.is(error.exit, 'busy')
  t.is(error.message, 'in use by 1 (x)')
})

test('a handler that throws anything answers "unexpected", and the next request works', async t => {
  let first = true
  const { path } = await serve(t, async () => {
    if (!first) return { fine: true }
    first = false
    throw new TypeError('boom')
  })
  using client = await ControlClient.connect(path)
  const error = await t.throwsAsync(async () => await client?.request('x', {}, forever, () => {}), { instanceOf: CommandError })
  t.is(error.exit, 'unexpected')
  t.deepEqual(await client?.request('x', {}, forever, () => {}), { fine: true })
})

test('nobody listening: no client, no error', async t => {
  const { path, server } = await serve(t, async () => ({}))
  await server.close()
  t.is(await ControlClient.connect(path), undefined)
  t.is(await ControlClient.connect('/nonexistent/folder/control.sock'), undefined)
})

test('a client that goes away cancels its request', async t => {
  const cancelled = Promise.withResolvers<void>()
  const started = Promise.withResolvers<void>()
  const { path } = await serve(t, async (_request, { signal }) => {
    started.resolve()
    signal.addEventListener('abort', () => cancelled.resolve())
    await cancelled.promise
    return {}
  })
  const client = await ControlClient.connect(path)
  const asked = client?.request('wait', {}, forever, () => {})
  await started.promise
  client?.[Symbol.dispose]()
  await cancelled.promise
  const error = await t.throwsAsync(async () => await asked, { instanceOf: CommandError })
  t.is(error.exit, 'daemon')
})

test('an interrupted client stops waiting', async t => {
  const { path } = await serve(t, (_request, { signal }) => new Promise(resolve => signal.addEventListener('abort', () => resolve({}))))
  using client = await ControlClient.connect(path)
  const interruption = new AbortController()
  const asked = client?.request('wait', {}, interruption.signal, () => {})
  interruption.abort()
  const error = await t.throwsAsync(async () => await asked, { instanceOf: CommandError })
  t.is(error.exit, 'interrupted')
})

test('what is being answered has its answer before the server is gone; new requests are refused', async t => {
  const gate = Promise.withResolvers<void>()
  const started = Promise.withResolvers<void>()
  const { path, server } = await serve(t, async () => {
    started.resolve()
    await gate.promise
    return { last: true }
  })
  using client = await ControlClient.connect(path)
  const asked = client?.request('x', {}, forever, () => {})
  await started.promise
  const stopping = server.stopAnswering()
  gate.resolve()
  t.deepEqual(await asked, { last: true })
  await stopping
  const error = await t.throwsAsync(async () => await client?.request('y', {}, forever, () => {}), { instanceOf: CommandError })
  t.is(error.exit, 'daemon')
})

test('a client that does not read makes its own request wait, and no memory grows', async t => {
  let sent = 0
  const { path } = await serve(t, async (_request, { update, signal }) => {
    for (; sent < 10_000 && !signal.aborted; sent++) await update({ filler: 'x'.repeat(10_000) })
    return {}
  })
  const socket = connect(path)
  t.teardown(() => socket.destroy())
  socket.pause()
  socket.write(encodeRequest({ id: 1, request: 'flood', arguments: {} }))
  await new Promise(resolve => setTimeout(resolve, 500))
  const stopped = sent
  await new Promise(resolve => setTimeout(resolve, 300))
  t.true(stopped > 0 && stopped < 1_000, `${stopped} updates were taken`)
  t.is(sent, stopped, 'it waits')
  using other = await ControlClient.connect(path)
  t.truthy(other, 'others are served meanwhile')
})

const MALFORMED: readonly string[] = [
  'not json\n',
  '[]\n',
  'null\n',
  '{}\n',
  '{"sdmount":2,"id":1,"request":"x"}\n',
  '{"sdmount":1,"id":"1","request":"x"}\n',
  '{"sdmount":1,"id":1}\n',
  '{"sdmount":1,"id":1,"request":"x","arguments":[]}\n',
  '\0\u0001\u0002\n',
  '\n',
]

for (const text of MALFORMED) {
  test(`a malformed request is told so, and the server goes on: ${JSON.stringify(text)}`, async t => {
    const { path } = await serve(t, async () => ({ ok: true }))
    t.regex(await sendRaw(path, text), /"failure"/)
    using client = await ControlClient.connect(path)
    t.deepEqual(await client?.request('x', {}, forever, () => {}), { ok: true })
  })
}

test('a line without end is cut off', async t => {
  const { path } = await serve(t, async () => ({ ok: true }))
  t.regex(await sendRaw(path, 'x'.repeat(MESSAGE_LIMIT_BYTES + 100), 3000), /too long/)
})

test('a flood of requests on one connection is cut off', async t => {
  const { path } = await serve(t, () => new Promise(() => {}))
  t.regex(await sendRaw(path, encodeRequest({ id: 1, request: 'x', arguments: {} }).repeat(100), 1000), /too many/)
})

test('decoding answers a message or throws CommandError, whatever comes', t => {
  const seed = Number(process.env.SEED ?? Date.now())
  t.log(`seed ${seed}`)
  const check = (decode: (line: string) => unknown) => (line: string) => {
    try {
      decode(line)
    } catch (error) {
      if (!(error instanceof CommandError)) throw error
    }
  }
  const text = fc.oneof(fc.string(), fc.json(), fc.string({ unit: 'binary' }))
  const object = fc.record(
    {
      sdmount: fc.constant(1),
      id: fc.anything(),
      request: fc.anything(),
      arguments: fc.anything(),
      failure: fc.anything(),
      result: fc.anything(),
    },
    { requiredKeys: [] },
  )
  const line = fc.oneof(
    text,
    object.map(value => {
      try {
        return JSON.stringify(value) ?? ''
      } catch {
        return ''
      }
    }),
  )
  fc.assert(fc.property(line, check(decodeRequest)), { seed, numRuns: 2000 })
  fc.assert(fc.property(line, check(decodeReply)), { seed, numRuns: 2000 })
  t.pass()
})

test('lines are the same however the bytes are cut', t => {
  const seed = Number(process.env.SEED ?? Date.now())
  t.log(`seed ${seed}`)
  fc.assert(
    fc.property(fc.array(fc.string().map(s => s.replaceAll('\n', ''))), fc.array(fc.nat(20)), (lines, cuts) => {
      const text = lines.map(line => `${line}\n`).join('')
      const reader = new LineReader()
      const got: string[] = []
      let at = 0
      for (const cut of [...cuts, text.length]) {
        got.push(...reader.push(text.slice(at, at + cut)))
        at += cut
      }
      got.push(...reader.push(text.slice(at)))
      t.deepEqual(got, lines)
    }),
    { seed },
  )
})
