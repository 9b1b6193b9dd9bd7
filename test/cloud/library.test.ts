/** What a cloud volume leaves on this machine: nothing readable, nothing beyond its limits, one holder of the cache. */
import { randomBytes } from 'node:crypto'
import { mkdirSync, readdirSync, readFileSync, renameSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import ava from 'ava'
import { EXIT_CODES } from '../../src/cli/exit-codes.ts'
import { TEST_CREDENTIALS } from '../support/s3-server.ts'
import { CloudSandbox, cloudServer, NO_KEYS, titled } from './mounted.ts'

const test = ava.serial
const server = await cloudServer()
const MIB = 2 ** 20

function real(name: string, run: (sandbox: CloudSandbox) => Promise<void>): void {
  const title = titled(server, name)
  if (typeof server === 'string') test.skip(title, t => t.pass())
  else test(title, async t => run(await CloudSandbox.on(t, server)))
}

/** Below a directory, all files that aren't sockets. */
function filesBelow(directory: string): string[] {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter(entry => entry.isFile())
    .map(entry => join(entry.parentPath, entry.name))
}

/** The files below the library in whose name or content one of `words` stands. */
function filesWith(sandbox: CloudSandbox, words: readonly string[]): string[] {
  return filesBelow(sandbox.library).filter(file => {
    const bytes = Buffer.concat([Buffer.from(file.slice(sandbox.library.length)), readFileSync(file)])
    return words.some(word => bytes.includes(word))
  })
}

real('neither names nor contents nor keys can be read below the library, in the arguments of the daemon, or in its log', async sandbox => {
  const { t } = sandbox
  const name = 'plain-name-of-a-file.txt'
  const marker = 'plain content that must not be found '
  const large = Buffer.from(marker.repeat(60_000))
  await sandbox.store.put(`directory-in-the-clear/${name}`, large)
  const folder = sandbox.add('Volume-In-The-Clear', ['--wait'])
  sandbox.mount()
  const written = 'another-plain-name.bin'
  t.is(Buffer.compare(readFileSync(join(folder, 'directory-in-the-clear', name)), large), 0)
  sandbox.ok('pin', 'Volume-In-The-Clear/directory-in-the-clear')
  const words = [name, written, marker.trim(), 'directory-in-the-clear', sandbox.bucket, ...Object.values(TEST_CREDENTIALS)]
  await sandbox.server.killGateway()
  try {
    // In the queue, in staging, in the cache, and in the index.
    writeFileSync(join(folder, written), large)
    writeFileSync(join(folder, `small-${written}`), marker)
    t.true(filesBelow(sandbox.library).length > 4)
    t.deepEqual(filesWith(sandbox, words), [], 'while it is mounted')
    const pid = sandbox.daemonPid()
    for (const secret of Object.values(TEST_CREDENTIALS))
      for (const place of ['cmdline', 'environ']) t.false(readFileSync(`/proc/${pid}/${place}`).includes(secret), place)
    process.kill(pid, 'SIGKILL')
    t.deepEqual(filesWith(sandbox, words), [], 'after a kill')
  } finally {
    await sandbox.server.restartGateway()
  }
  sandbox.mount()
  sandbox.ok('umount')
  t.deepEqual(filesWith(sandbox, words), [], 'after the end')
  t.is(Buffer.compare(await sandbox.content(written), large), 0)
})

real(
  'pinned files read without the server, other ones are pushed out by what is read, and cache clear leaves the pinned',
  async sandbox => {
    const { t } = sandbox
    const pinned = randomBytes(5 * MIB)
    await sandbox.store.put('keep/pinned.bin', pinned)
    for (let i = 0; i < 6; i++) await sandbox.store.put(`flood/${i}.bin`, randomBytes(10 * MIB))
    const folder = sandbox.add('cloud', ['--wait'])
    sandbox.mount('--cache-size', '40M')
    const limit = 40 * MIB
    const used = () => filesBelow(join(sandbox.library, 'cache')).reduce((sum, file) => sum + statSync(file).blocks * 512, 0)
    t.regex(sandbox.ok('pin', join(folder, 'keep')).stdout, /pinned cloud\/keep: 5\.0 MiB/)
    for (let i = 0; i < 6; i++) {
      readFileSync(join(folder, 'flood', `${i}.bin`))
      t.true(used() <= limit)
    }
    const status = JSON.parse(sandbox.ok('cache', 'status', '--json').stdout)
    t.is(status.quotaBytes, limit)
    t.true(status.usedBytes <= limit && status.pinnedBytes >= 5 * MIB)
    t.deepEqual(status.pinned, [{ volume: 'cloud', path: 'keep/pinned.bin', sizeBytes: 5 * MIB }])
    sandbox.ok('cache', 'clear')
    await sandbox.server.killGateway()
    try {
      t.is(Buffer.compare(readFileSync(join(folder, 'keep', 'pinned.bin')), pinned), 0)
      sandbox.ok('umount', '--no-wait')
      sandbox.mount()
      t.is(Buffer.compare(readFileSync(join(folder, 'keep', 'pinned.bin')), pinned), 0, 'also after a restart')
    } finally {
      await sandbox.server.restartGateway()
    }
    sandbox.ok('unpin', join(folder, 'keep'))
    t.deepEqual(JSON.parse(sandbox.ok('cache', 'status', '--json').stdout).pinned, [])
    sandbox.ok('cache', 'clear')
    t.true(used() < 5 * MIB)
  },
)

real('warm fetches a folder; what is not there, and what is no cloud volume, is said', async sandbox => {
  const { t } = sandbox
  for (let i = 0; i < 10; i++) await sandbox.store.put(`dir/${i}.bin`, randomBytes(100_000))
  const folder = sandbox.add('cloud', ['--wait'])
  sandbox.ok('location', 'add', sandbox.folder('local'))
  sandbox.mount()
  t.is(sandbox.ok('cache', 'warm', join(folder, 'dir')).stdout, '10 files, 976.6 KiB in the cache\n')
  await sandbox.server.killGateway()
  try {
    for (let i = 0; i < 10; i++) t.is(readFileSync(join(folder, 'dir', `${i}.bin`)).length, 100_000)
  } finally {
    await sandbox.server.restartGateway()
  }
  const fails = (line: readonly string[]) => sandbox.run(line, { env: NO_KEYS })
  t.is(fails(['pin', 'cloud/nowhere']).code, EXIT_CODES.volume.code)
  t.is(fails(['pin', 'local']).code, EXIT_CODES.volume.code)
  t.is(fails(['cache', 'warm', 'nothing/at/all']).code, EXIT_CODES['no-volume'].code)
})

real('limits change while mounted: a smaller cache is smaller at once', async sandbox => {
  const { t } = sandbox
  await sandbox.store.put('a.bin', randomBytes(60 * MIB))
  const folder = sandbox.add('cloud', ['--wait'])
  sandbox.mount('--cache-size', '100M', '--transfers', '2:4')
  readFileSync(join(folder, 'a.bin'))
  const cache = () => JSON.parse(sandbox.ok('cache', 'status', '--json').stdout)
  t.true(cache().usedBytes > 50 * MIB)
  sandbox.ok('limits', '--cache-size', '35M')
  t.true(cache().usedBytes <= 35 * MIB)
  // Mounting again what is mounted takes limits, too.
  sandbox.ok(sandbox.mountpoint, '--cache-size', '50M')
  t.is(cache().quotaBytes, 50 * MIB)
  sandbox.ok('umount')
  sandbox.mount()
  t.is(cache().quotaBytes, 50 * MIB, 'and is remembered')
})

real('two processes never share a cache directory: the second is told who holds it', async sandbox => {
  const { t } = sandbox
  const folder = sandbox.add('cloud')
  sandbox.mount()
  t.deepEqual(readdirSync(folder), [])
  const other = sandbox.folder('other-library')
  const more = ['--library', other]
  const address = `s3://${sandbox.bucket}/part`
  sandbox.ok('volume', 'add', address, '--endpoint', sandbox.server.endpoint, '--credentials-file', sandbox.keyFile, ...more)
  mkdirSync(join(sandbox.library, 'cache'), { recursive: true })
  symlinkSync(join(sandbox.library, 'cache'), join(other, 'cache'))
  const mountpoint = sandbox.folder('other')
  sandbox.ok(mountpoint, ...more)
  t.deepEqual(readdirSync(mountpoint).includes('part'), false)
  const status = sandbox.ok('status', ...more).stdout
  t.regex(status, new RegExp(`part +offline: .*in use by process ${sandbox.daemonPid()} `))
  t.regex(sandbox.ok('volume', 'list', ...more).stdout, /in use by process/)
  sandbox.ok('umount', ...more)
  // The first one is as it was.
  writeFileSync(join(folder, 'a.txt'), 'a')
  renameSync(join(folder, 'a.txt'), join(folder, 'b.txt'))
  sandbox.ok('sync', 'wait')
  t.is(String(await sandbox.content('b.txt')), 'a')
})
