/** The life of a cloud volume on a mount: added, written, read by others, changed by others, unmounted, killed. */
import { execFileSync, spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import ava from 'ava'
import { EXIT_CODES } from '../../src/cli/exit-codes.ts'
import { isRunning, until } from '../cli/sdmount.ts'
import { CloudSandbox, cloudServer, NO_KEYS, titled } from './mounted.ts'

const test = ava.serial
const server = await cloudServer()
const MINUTE_MS = 60_000

function real(name: string, run: (sandbox: CloudSandbox) => Promise<void>): void {
  const title = titled(server, name)
  if (typeof server === 'string') test.skip(title, t => t.pass())
  else test(title, async t => run(await CloudSandbox.on(t, server)))
}

real('a bucket is added while mounted, and is a folder at once; removed, it is gone', async sandbox => {
  const { t } = sandbox
  await sandbox.store.put('there/before.txt', Buffer.from('before'))
  sandbox.mount()
  const folder = sandbox.add('cloud', ['--wait'])
  t.deepEqual(readdirSync(folder), ['there'])
  t.is(readFileSync(join(folder, 'there', 'before.txt'), 'utf8'), 'before')
  const status = JSON.parse(sandbox.ok('status', '--json').stdout)
  const shown = status.volumes.find((volume: { name: string }) => volume.name === 'cloud')
  t.like(shown, { kind: 'cloud', state: 'online', cloud: { address: `s3://${sandbox.bucket}` } })
  t.is(shown.cloud.queue.queued, 0)
  sandbox.ok('volume', 'remove', 'cloud')
  t.false(existsSync(folder))
  t.deepEqual(await sandbox.keys(), ['there/before.txt'], 'the bucket keeps its objects')
  sandbox.add('cloud')
  t.is(readFileSync(join(folder, 'there', 'before.txt'), 'utf8'), 'before', 'and can be added again')
})

real('what ordinary programs write is in the bucket, whole; umount waits for it', async sandbox => {
  const { t } = sandbox
  const folder = sandbox.add()
  sandbox.mount()
  const source = sandbox.folder('source')
  const large = randomBytes(20 * 2 ** 20)
  writeFileSync(join(source, 'large.bin'), large)
  mkdirSync(join(source, 'a', 'b'), { recursive: true })
  writeFileSync(join(source, 'a', 'b', 'ümläut.txt'), 'text')
  writeFileSync(join(source, 'empty'), '')
  execFileSync('cp', ['-a', source, join(folder, 'copy')])
  execFileSync('sh', ['-c', 'for i in 1 2 3 4 5; do echo line $i >> log.txt; done; mv copy/a copy/c'], { cwd: folder })
  t.is(spawnSync('diff', ['-r', join(source, 'a'), join(folder, 'copy', 'c')]).status, 0)
  sandbox.ok('umount')
  t.deepEqual((await sandbox.keys()).filter(key => !key.endsWith('/')).sort(), [
    'copy/c/b/ümläut.txt',
    'copy/empty',
    'copy/large.bin',
    'log.txt',
  ])
  t.is(Buffer.compare(await sandbox.content('copy/large.bin'), large), 0)
  t.is(String(await sandbox.content('log.txt')), 'line 1\nline 2\nline 3\nline 4\nline 5\n')
  // After a restart nothing is listed before the tree can be used, and the bytes are the same.
  sandbox.mount()
  t.is(Buffer.compare(readFileSync(join(folder, 'copy', 'large.bin')), large), 0)
  rmSync(join(folder, 'copy'), { recursive: true })
  renameSync(join(folder, 'log.txt'), join(folder, 'renamed.txt'))
  sandbox.ok('sync', 'wait')
  t.deepEqual(await sandbox.keys(), ['renamed.txt'])
})

real('rclone and s3fs read what was written here, with times and modes', async sandbox => {
  const { t } = sandbox
  const folder = sandbox.add()
  sandbox.mount()
  const text = join(folder, 'dir', 'text.txt')
  mkdirSync(join(folder, 'dir'))
  writeFileSync(text, 'written through the mount\n')
  chmodSync(text, 0o640)
  utimesSync(text, 1_600_000_000, 1_500_000_000)
  symlinkSync('dir/text.txt', join(folder, 'link'))
  sandbox.ok('sync', 'wait')
  t.is(sandbox.rclone('cat', 'r:dir/text.txt'), 'written through the mount\n')
  const listed = JSON.parse(sandbox.rclone('lsjson', '-R', 'r:')) as { Path: string; ModTime: string }[]
  t.is(Date.parse(listed.find(entry => entry.Path === 'dir/text.txt')!.ModTime), 1_500_000_000_000)
  const other = sandbox.s3fs()
  t.is(readFileSync(join(other, 'dir', 'text.txt'), 'utf8'), 'written through the mount\n')
  const seen = statSync(join(other, 'dir', 'text.txt'))
  t.is(seen.mode & 0o7777, 0o640)
  t.is(Math.floor(seen.mtimeMs), 1_500_000_000_000)
  t.is(readlinkSync(join(other, 'link')), 'dir/text.txt')
  t.true(statSync(join(other, 'dir')).isDirectory())
  sandbox.unmountS3fs(other)
})

real('what rclone and s3fs wrote is read here, with times and modes', async sandbox => {
  const { t } = sandbox
  const source = sandbox.folder('source')
  writeFileSync(join(source, 'by-rclone.txt'), 'by rclone')
  utimesSync(join(source, 'by-rclone.txt'), 1_400_000_000, 1_400_000_000)
  sandbox.rclone('copy', source, 'r:folder')
  const other = sandbox.s3fs()
  mkdirSync(join(other, 'made'), { mode: 0o750 })
  writeFileSync(join(other, 'made', 'by-s3fs.txt'), 'by s3fs', { mode: 0o604 })
  chmodSync(join(other, 'made', 'by-s3fs.txt'), 0o604)
  utimesSync(join(other, 'made', 'by-s3fs.txt'), 1_300_000_000, 1_300_000_000)
  symlinkSync('made/by-s3fs.txt', join(other, 'link'))
  sandbox.unmountS3fs(other)
  const folder = sandbox.add()
  sandbox.mount()
  const rclone = statSync(join(folder, 'folder', 'by-rclone.txt'))
  t.is(readFileSync(join(folder, 'folder', 'by-rclone.txt'), 'utf8'), 'by rclone')
  t.is(Math.floor(rclone.mtimeMs), 1_400_000_000_000)
  const s3fs = statSync(join(folder, 'made', 'by-s3fs.txt'))
  t.is(readFileSync(join(folder, 'made', 'by-s3fs.txt'), 'utf8'), 'by s3fs')
  t.is(s3fs.mode & 0o7777, 0o604)
  t.is(Math.floor(s3fs.mtimeMs), 1_300_000_000_000)
  t.is(statSync(join(folder, 'made')).mode & 0o7777, 0o750)
  t.true(lstatSync(join(folder, 'link')).isSymbolicLink())
  t.is(readFileSync(join(folder, 'link'), 'utf8'), 'by s3fs')
})

real('what others change appears with refresh, also in the kernel', async sandbox => {
  const { t } = sandbox
  await sandbox.store.put('dir/a.txt', Buffer.from('first'))
  const folder = sandbox.add('cloud', ['--ttl', '1h'])
  sandbox.mount()
  t.is(readFileSync(join(folder, 'dir', 'a.txt'), 'utf8'), 'first')
  sandbox.rclone('deletefile', 'r:dir/a.txt')
  await sandbox.store.put('dir/b.txt', Buffer.from('another'))
  await sandbox.store.put('dir/sub/c.txt', Buffer.from('deep'))
  sandbox.ok('volume', 'refresh', join(folder, 'dir'))
  t.deepEqual(readdirSync(join(folder, 'dir')).sort(), ['b.txt', 'sub'])
  await sandbox.store.put('dir/b.txt', Buffer.from('changed beside'))
  sandbox.ok('volume', 'refresh', 'cloud')
  t.is(readFileSync(join(folder, 'dir', 'b.txt'), 'utf8'), 'changed beside')
  t.is(readFileSync(join(folder, 'dir', 'sub', 'c.txt'), 'utf8'), 'deep')
})

real('--no-wait leaves the queue to the next mount; the umount says so', async sandbox => {
  const { t } = sandbox
  const folder = sandbox.add()
  sandbox.mount()
  t.deepEqual(readdirSync(folder), [])
  await sandbox.server.killGateway()
  try {
    writeFileSync(join(folder, 'later.txt'), 'later')
    const left = sandbox.ok('umount', '--no-wait')
    t.regex(left.stderr, /cloud: \d+ changes? .*wait for the next mount/)
    const { stdout } = sandbox.ok('sync', 'status')
    t.regex(stdout, /cloud +not mounted/)
    t.regex(stdout, /upload later\.txt/)
    t.is(sandbox.run(['sync', 'wait']).code, EXIT_CODES['not-mounted'].code)
  } finally {
    await sandbox.server.restartGateway()
  }
  sandbox.mount()
  t.is(readFileSync(join(folder, 'later.txt'), 'utf8'), 'later')
  sandbox.ok('sync', 'wait')
  t.is(String(await sandbox.content('later.txt')), 'later')
})

real('umount does not wait for a server that is away', async sandbox => {
  const { t } = sandbox
  const folder = sandbox.add()
  sandbox.mount()
  t.deepEqual(readdirSync(folder), [])
  await sandbox.server.killGateway()
  try {
    writeFileSync(join(folder, 'later.txt'), 'later')
    await until(() => sandbox.queue().state === 'offline', 'the queue has seen that the server is away', MINUTE_MS)
    const left = sandbox.ok('umount')
    t.regex(left.stderr, /cloud: .*wait for the next mount/)
  } finally {
    await sandbox.server.restartGateway()
  }
  sandbox.mount()
  sandbox.ok('umount')
  t.is(String(await sandbox.content('later.txt')), 'later')
})

real('kill -9: what was closed is there after the next mount, and is uploaded once', async sandbox => {
  const { t } = sandbox
  const folder = sandbox.add()
  sandbox.mount()
  t.deepEqual(readdirSync(folder), [])
  const large = randomBytes(9 * 2 ** 20)
  await sandbox.server.killGateway()
  try {
    for (let i = 0; i < 20; i++) writeFileSync(join(folder, `file-${i}.txt`), `content ${i}`)
    writeFileSync(join(folder, 'large.bin'), large)
    mkdirSync(join(folder, 'dir'))
    renameSync(join(folder, 'file-0.txt'), join(folder, 'dir', 'moved.txt'))
    const pid = sandbox.daemonPid()
    process.kill(pid, 'SIGKILL')
    await until(() => !isRunning(pid), 'the daemon is dead', MINUTE_MS)
    sandbox.mount()
    t.is(readdirSync(folder).length, 21, 'the server is still away')
    t.is(readFileSync(join(folder, 'file-7.txt'), 'utf8'), 'content 7')
    t.is(readFileSync(join(folder, 'dir', 'moved.txt'), 'utf8'), 'content 0')
    t.is(Buffer.compare(readFileSync(join(folder, 'large.bin')), large), 0)
  } finally {
    await sandbox.server.restartGateway()
  }
  sandbox.ok('sync', 'retry')
  sandbox.ok('sync', 'wait')
  const expected = ['dir/moved.txt', 'large.bin', ...Array.from({ length: 19 }, (_, i) => `file-${i + 1}.txt`)]
  t.deepEqual((await sandbox.keys()).filter(key => !key.endsWith('/')).sort(), expected.sort())
  t.is(Buffer.compare(await sandbox.content('large.bin'), large), 0)
  t.is(String(await sandbox.content('dir/moved.txt')), 'content 0')
})

real('kill -9 in the middle of uploads, again and again: nothing is lost, nothing is there twice', async sandbox => {
  const { t } = sandbox
  const folder = sandbox.add()
  const written = new Map<string, Buffer>()
  for (let round = 0; round < 4; round++) {
    sandbox.mount()
    for (let i = 0; i < 15; i++) {
      const bytes = randomBytes(1 + Math.floor(Math.random() * 300_000))
      const name = `file-${i % 10}-${round % 2}.bin`
      writeFileSync(join(folder, name), bytes)
      written.set(name, bytes)
    }
    const pid = sandbox.daemonPid()
    process.kill(pid, 'SIGKILL')
    await until(() => !isRunning(pid), 'the daemon is dead', MINUTE_MS)
  }
  sandbox.mount()
  sandbox.ok('sync', 'wait')
  t.deepEqual((await sandbox.keys()).sort(), [...written.keys()].sort())
  for (const [name, bytes] of written) {
    t.is(Buffer.compare(readFileSync(join(folder, name)), bytes), 0, name)
    t.is(Buffer.compare(await sandbox.content(name), bytes), 0, name)
  }
})

real('a volume is not removed while changes wait, unless they are given up', async sandbox => {
  const { t } = sandbox
  const folder = sandbox.add()
  sandbox.mount()
  t.deepEqual(readdirSync(folder), [])
  await sandbox.server.killGateway()
  try {
    writeFileSync(join(folder, 'precious.txt'), 'precious')
    const refused = sandbox.run(['volume', 'remove', 'cloud'], { env: NO_KEYS })
    t.is(refused.code, EXIT_CODES.uploads.code, refused.stderr)
    t.regex(refused.stderr, /precious\.txt/)
    t.regex(refused.stderr, /--discard/)
    t.is(readFileSync(join(folder, 'precious.txt'), 'utf8'), 'precious', 'it is still there')
    sandbox.ok('umount', '--no-wait')
    t.is(sandbox.run(['volume', 'remove', 'cloud'], { env: NO_KEYS }).code, EXIT_CODES.uploads.code, 'nor without a mount')
    sandbox.mount()
    const gone = sandbox.ok('volume', 'remove', 'cloud', '--discard')
    t.regex(gone.stdout, /not uploaded are gone/)
    t.deepEqual(readdirSync(join(sandbox.library, 'staging')), [])
  } finally {
    await sandbox.server.restartGateway()
  }
  t.deepEqual(await sandbox.keys(), [])
})

real('a mount that is read-only, and a volume that is', async sandbox => {
  const { t } = sandbox
  await sandbox.store.put('a.txt', Buffer.from('a'))
  const folder = sandbox.add('cloud', ['--read-only'])
  const attempt = () => spawnSync('sh', ['-c', 'echo x > b.txt'], { cwd: folder, encoding: 'utf8' }).stderr
  sandbox.mount()
  t.is(readFileSync(join(folder, 'a.txt'), 'utf8'), 'a')
  t.regex(attempt(), /Read-only file system/)
  sandbox.ok('volume', 'set', 'cloud', '--writable')
  t.is(attempt(), '')
  sandbox.ok('umount')
  sandbox.mount('-r')
  t.is(readFileSync(join(folder, 'b.txt'), 'utf8'), 'x\n')
  t.regex(attempt(), /Read-only file system/)
})
