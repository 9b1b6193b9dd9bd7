/** The server goes away, refuses, or loses the bucket, under a mount that is used: what still works, what fails, and what comes back. */
import { spawn, spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdirSync, readdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import ava from 'ava'
import { EXIT_CODES } from '../../src/cli/exit-codes.ts'
import { until } from '../cli/sdmount.ts'
import { CloudSandbox, cloudServer, NO_KEYS, titled, within } from './mounted.ts'
import { switchedProxy } from './proxy.ts'

const test = ava.serial
const server = await cloudServer()
const MINUTE_MS = 60_000

function real(name: string, run: (sandbox: CloudSandbox) => Promise<void>): void {
  const title = titled(server, name)
  if (typeof server === 'string') test.skip(title, t => t.pass())
  else test(title, async t => run(await CloudSandbox.on(t, server)))
}

real('the server goes away and comes back: cached bytes read, the tree lists, writes queue and drain by themselves', async sandbox => {
  const { t } = sandbox
  const cached = randomBytes(300_000)
  await sandbox.store.put('dir/cached.bin', cached)
  await sandbox.store.put('dir/not-cached.bin', randomBytes(5_000_000))
  const folder = sandbox.add('cloud', ['--wait'])
  sandbox.mount()
  sandbox.ok('cache', 'warm', 'cloud/dir/cached.bin')
  t.true(statSync(join(folder, 'dir', 'not-cached.bin')).isFile())
  await sandbox.server.killGateway()
  try {
    t.deepEqual(readdirSync(join(folder, 'dir')).sort(), ['cached.bin', 'not-cached.bin'])
    t.is(Buffer.compare(readFileSync(join(folder, 'dir', 'cached.bin')), cached), 0)
    const outcome = await within(MINUTE_MS, 'dd', [`if=${join(folder, 'dir', 'not-cached.bin')}`, 'of=/dev/null', 'bs=4096', 'count=1'])
    t.not(outcome, 'hangs', 'what is not cached fails, it does not hang')
    t.not(outcome, 0)
    writeFileSync(join(folder, 'dir', 'written.txt'), 'written while away')
    mkdirSync(join(folder, 'new'))
    renameSync(join(folder, 'dir', 'written.txt'), join(folder, 'new', 'moved.txt'))
    t.is(readFileSync(join(folder, 'new', 'moved.txt'), 'utf8'), 'written while away')
    t.true(sandbox.queue().queued > 0)
  } finally {
    await sandbox.server.restartGateway()
  }
  sandbox.ok('sync', 'wait')
  t.is(String(await sandbox.content('new/moved.txt')), 'written while away')
  t.is(await within(MINUTE_MS, 'cat', [join(folder, 'dir', 'not-cached.bin')]), 0)
})

real('a read that waits for the server ends at once when it is interrupted', async sandbox => {
  const { t } = sandbox
  await sandbox.store.put('slow.bin', randomBytes(100_000))
  const proxy = await switchedProxy(t, sandbox.server.port)
  const folder = sandbox.add('cloud', ['--wait'], proxy.endpoint)
  sandbox.mount('--log-level', 'debug')
  t.deepEqual(readdirSync(folder), ['slow.bin'])
  proxy.choose('silent')
  // `timeout` sends the signal that Ctrl-C sends.
  t.is(spawnSync('timeout', ['-s', 'INT', '1', 'cat', join(folder, 'slow.bin')]).status, 124)
  t.notRegex(sandbox.log(), /get slow\.bin: the server stopped answering/, 'the program ended before the patience with the server did')
  proxy.choose('none')
  const { status, stdout } = spawnSync('cat', [join(folder, 'slow.bin')])
  t.is(status, 0)
  t.is(stdout.length, 100_000)
})

real('a program that handles signals in passing reads on', async sandbox => {
  const { t } = sandbox
  await sandbox.store.put('late.bin', randomBytes(100_000))
  const proxy = await switchedProxy(t, sandbox.server.port)
  const folder = sandbox.add('cloud', ['--wait'], proxy.endpoint)
  sandbox.mount()
  t.deepEqual(readdirSync(folder), ['late.bin'])
  proxy.choose('late')
  const script = "process.on('SIGURG', () => {}); console.log(require('fs').readFileSync(process.argv[1]).length)"
  const child = spawn(process.execPath, ['-e', script, join(folder, 'late.bin')])
  const beating = setInterval(() => child.kill('SIGURG'), 50)
  let said = ''
  child.stdout.on('data', chunk => (said += String(chunk)))
  child.stderr.on('data', chunk => (said += String(chunk)))
  await new Promise(resolve => child.once('close', resolve))
  clearInterval(beating)
  t.is(said, '100000\n')
})

real('a library whose server is away mounts, and shows what it knows', async sandbox => {
  const { t } = sandbox
  await sandbox.store.put('known.txt', Buffer.from('known'))
  const folder = sandbox.add('cloud')
  sandbox.mount()
  t.is(readFileSync(join(folder, 'known.txt'), 'utf8'), 'known')
  sandbox.ok('umount')
  await sandbox.server.killGateway()
  try {
    sandbox.mount()
    t.deepEqual(readdirSync(folder), ['known.txt'])
    t.is(readFileSync(join(folder, 'known.txt'), 'utf8'), 'known')
    writeFileSync(join(folder, 'more.txt'), 'more')
    const add = [
      'volume',
      'add',
      `s3://${sandbox.bucket}/part`,
      '--endpoint',
      sandbox.server.endpoint,
      '--credentials-file',
      sandbox.keyFile,
    ]
    t.is(sandbox.run(add, { env: NO_KEYS }).code, EXIT_CODES.unreachable.code)
    t.deepEqual(
      readdirSync(sandbox.mountpoint).filter(name => name !== 'Files'),
      ['cloud'],
    )
  } finally {
    await sandbox.server.restartGateway()
  }
  sandbox.ok('sync', 'wait')
  t.is(String(await sandbox.content('more.txt')), 'more')
})

real('keys that are refused: reads say so, writes wait, and new keys are enough to go on', async sandbox => {
  const { t } = sandbox
  await sandbox.store.put('there.bin', randomBytes(50_000))
  const proxy = await switchedProxy(t, sandbox.server.port)
  const folder = sandbox.add('cloud', ['--wait'], proxy.endpoint)
  sandbox.mount()
  t.deepEqual(readdirSync(folder), ['there.bin'])
  for (const code of ['ExpiredToken', 'InvalidAccessKeyId'] as const) {
    proxy.choose(code)
    const { status, stderr } = spawnSync('cat', [join(folder, 'there.bin')], { encoding: 'utf8', timeout: MINUTE_MS })
    t.is(status, 1)
    t.regex(stderr, /Permission denied/)
    writeFileSync(join(folder, `${code}.txt`), code)
    await until(() => sandbox.queue().lastError !== undefined, 'the refusal is seen', MINUTE_MS)
    t.regex(sandbox.queue().lastError!, code === 'ExpiredToken' ? /expired/ : /access key/)
    t.is(readFileSync(join(folder, `${code}.txt`), 'utf8'), code)
    proxy.choose('none')
    sandbox.ok('volume', 'set', 'cloud', '--credentials-file', sandbox.keyFile)
    sandbox.ok('sync', 'wait')
    t.is(String(await sandbox.content(`${code}.txt`)), code)
  }
  t.is(readFileSync(join(folder, 'there.bin')).length, 50_000)
})

real('a bucket that is deleted underneath takes nothing along that was not uploaded', async sandbox => {
  const { t } = sandbox
  await sandbox.store.put('known.txt', Buffer.from('known'))
  const folder = sandbox.add('cloud', ['--wait'])
  sandbox.mount()
  t.is(readFileSync(join(folder, 'known.txt'), 'utf8'), 'known')
  await sandbox.store.delete('known.txt')
  await sandbox.store.planes.data.request({ operation: 'delete-bucket', method: 'DELETE' })
  t.is(sandbox.run(['volume', 'refresh', 'cloud'], { env: NO_KEYS }).code, EXIT_CODES.unreachable.code)
  t.deepEqual(readdirSync(folder), ['known.txt'], 'a bucket that is gone is no deletion of its files')
  writeFileSync(join(folder, 'written.txt'), 'written')
  await until(() => sandbox.queue().lastError !== undefined, 'the loss is seen', MINUTE_MS)
  t.regex(sandbox.queue().lastError!, /bucket does not exist/)
  t.is(readFileSync(join(folder, 'written.txt'), 'utf8'), 'written')
  await sandbox.store.planes.data.request({ operation: 'make-bucket', method: 'PUT' })
  sandbox.ok('sync', 'wait')
  t.is(String(await sandbox.content('written.txt')), 'written')
})
