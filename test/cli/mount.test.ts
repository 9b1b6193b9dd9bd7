/** The life of a mount, through the real program: mount, use, unmount, crash, what collides. As whoever runs the tests. */
import { execFile, spawn, spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import ava from 'ava'
import { EXIT_CODES } from '../../src/cli/exit-codes.ts'
import { isRunning, LAUNCHER, Sandbox, until } from './sdmount.ts'

/** One after the other: each runs several processes to their end. */
const test = ava.serial
const root = process.getuid?.() === 0

/** A sandbox whose library has one location, `files`. */
function withFiles(sandbox: Sandbox): string {
  const folder = sandbox.folder('files')
  const { code, stderr } = sandbox.run(['location', 'add', folder])
  if (code !== 0) throw new Error(stderr)
  return folder
}

test('mount, use, mount again, status, unmount', async t => {
  const sandbox = new Sandbox(t)
  const folder = withFiles(sandbox)
  writeFileSync(join(folder, 'a'), 'hello')
  const mounted = sandbox.run([sandbox.mountpoint])
  t.is(mounted.code, 0, mounted.stderr)
  t.is(mounted.stdout, `mounted at ${sandbox.mountpoint}\n`)
  t.is(readFileSync(join(sandbox.mountpoint, 'files', 'a'), 'utf8'), 'hello')
  writeFileSync(join(sandbox.mountpoint, 'files', 'b'), 'through the mount')
  t.is(readFileSync(join(folder, 'b'), 'utf8'), 'through the mount')

  const again = sandbox.run([sandbox.mountpoint])
  t.is(again.code, 0)
  t.is(again.stdout, `mounted at ${sandbox.mountpoint} already\n`)

  const elsewhere = sandbox.run([join(sandbox.home, 'other')])
  t.is(elsewhere.code, EXIT_CODES['mounted-elsewhere'].code)
  t.true(elsewhere.stderr.includes(sandbox.mountpoint))

  const status = JSON.parse(sandbox.run(['status', '--json']).stdout)
  t.is(status.mounts[0].mountpoint, sandbox.mountpoint)
  t.is(status.volumes[0].name, 'files')
  t.is(status.volumes[0].path, folder)
  t.is(status.daemon.pid, sandbox.daemonPid())
  t.regex(sandbox.run(['status']).stdout, /files +(online|scanning)/)

  const pid = sandbox.daemonPid()
  const unmounted = sandbox.run(['umount'])
  t.is(unmounted.code, 0, unmounted.stderr)
  t.false(sandbox.isMounted())
  t.deepEqual(readdirSync(sandbox.mountpoint), [])
  t.false(readdirSync(sandbox.library).includes('control.sock'))
  await until(() => !isRunning(pid), 'the daemon has ended')
  t.is(sandbox.run(['umount']).code, EXIT_CODES['not-mounted'].code)
})

test('mount and unmount many times, each at once after the other', async t => {
  const sandbox = new Sandbox(t)
  withFiles(sandbox)
  for (let round = 0; round < 10; round++) {
    const mounted = sandbox.run([sandbox.mountpoint])
    t.is(mounted.code, 0, `round ${round}: ${mounted.stderr}`)
    const unmounted = sandbox.run(['umount'])
    t.is(unmounted.code, 0, `round ${round}: ${unmounted.stderr}`)
  }
  t.is(sandbox.log().match(/ info unmounted/g)?.length, 10, 'every daemon came to its end by itself')
})

test('first run: the standard folders that exist, said and done once', async t => {
  const sandbox = new Sandbox(t)
  sandbox.folder('home', 'Documents')
  sandbox.folder('home', 'Pictures')
  const first = sandbox.run([sandbox.mountpoint])
  t.is(first.code, 0, first.stderr)
  t.regex(first.stdout, /Documents +\//)
  t.regex(first.stdout, /sdmount location remove/)
  t.deepEqual(readdirSync(sandbox.mountpoint).sort(), ['Documents', 'Pictures'])
  t.is(sandbox.run(['location', 'remove', 'Documents']).code, 0)
  t.is(sandbox.run(['location', 'remove', 'Pictures']).code, 0)
  t.is(sandbox.run(['umount']).code, 0)
  const second = sandbox.run([sandbox.mountpoint])
  t.is(second.stdout, `mounted at ${sandbox.mountpoint}\n`)
  t.deepEqual(readdirSync(sandbox.mountpoint), [])
})

test('first run without standard folders: Files, in the library', async t => {
  const sandbox = new Sandbox(t)
  t.is(sandbox.run([sandbox.mountpoint]).code, 0)
  t.deepEqual(readdirSync(sandbox.mountpoint), ['Files'])
  writeFileSync(join(sandbox.mountpoint, 'Files', 'a'), 'x')
  t.is(readFileSync(join(sandbox.library, 'Files', 'a'), 'utf8'), 'x')
})

test('locations come and go while mounted, at once', async t => {
  const sandbox = new Sandbox(t)
  withFiles(sandbox)
  t.is(sandbox.run([sandbox.mountpoint]).code, 0)
  const music = sandbox.folder('music')
  writeFileSync(join(music, 'song'), 'la')
  const added = sandbox.run(['location', 'add', music, '--wait'])
  t.is(added.code, 0, added.stderr)
  t.is(readFileSync(join(sandbox.mountpoint, 'music', 'song'), 'utf8'), 'la')
  t.is(sandbox.run(['location', 'remove', 'music']).code, 0)
  t.deepEqual(readdirSync(sandbox.mountpoint), ['files'])
  t.is(readFileSync(join(music, 'song'), 'utf8'), 'la', 'the folder stays')
  t.is(sandbox.run(['location', 'add', music]).code, 0)
  t.deepEqual(readdirSync(sandbox.mountpoint).sort(), ['files', 'music'])
})

test('a folder of the tree is not taken as a location of the same tree', async t => {
  const sandbox = new Sandbox(t)
  withFiles(sandbox)
  t.is(sandbox.run([sandbox.mountpoint]).code, 0)
  const link = join(sandbox.directory, 'link')
  symlinkSync(join(sandbox.mountpoint, 'files'), link)
  for (const path of [sandbox.mountpoint, join(sandbox.mountpoint, 'files'), link]) {
    const { code, stderr } = sandbox.run(['location', 'add', path])
    t.is(code, EXIT_CODES.location.code, path)
    t.regex(stderr, /can't contain itself/)
  }
})

test('a location that contains the mountpoint is listed and walked without hanging', async t => {
  const sandbox = new Sandbox(t)
  t.is(sandbox.run(['location', 'add', sandbox.home, '--name', 'all']).code, 0)
  t.is(sandbox.run([sandbox.mountpoint]).code, 0)
  const { stdout } = await promisify(execFile)('find', [join(sandbox.mountpoint, 'all'), '-maxdepth', '1'], { timeout: 20_000 })
  t.true(stdout.includes('.local'))
  t.is(sandbox.run(['location', 'rescan', '--wait']).code, 0)
  // Neither the mountpoint nor the library, whose index changes with each scan, make it scan again and again.
  for (let round = 0; round < 5; round++) t.is(JSON.parse(sandbox.run(['status', '--json']).stdout).volumes[0].state, 'online')
  t.is(sandbox.run(['index', 'verify']).code, 0)
  t.is(sandbox.run(['umount']).code, 0)
})

const ENDS: readonly [string, (sandbox: Sandbox) => unknown][] = [
  ['SIGTERM', s => process.kill(s.daemonPid(), 'SIGTERM')],
  ['SIGINT', s => process.kill(s.daemonPid(), 'SIGINT')],
  ['SIGHUP', s => process.kill(s.daemonPid(), 'SIGHUP')],
  root
    ? ['umount(8)', s => s.program('umount', [s.mountpoint])]
    : ['umount(8), as a user', s => s.program('fusermount3', ['-u', s.mountpoint])],
  ['fusermount3 -u', s => s.program('fusermount3', ['-u', s.mountpoint])],
  ['umount --lazy', s => s.run(['umount', '--lazy'])],
]

for (const [how, end] of ENDS) {
  test(`${how} ends the mount and the daemon, cleanly`, async t => {
    const sandbox = new Sandbox(t)
    withFiles(sandbox)
    t.is(sandbox.run([sandbox.mountpoint]).code, 0)
    const pid = sandbox.daemonPid()
    writeFileSync(join(sandbox.mountpoint, 'files', 'a'), 'x')
    end(sandbox)
    await until(() => !isRunning(pid), 'the daemon has ended')
    t.false(sandbox.isMounted())
    t.regex(sandbox.log(), / info unmounted\n/)
    t.false(/ error /.test(sandbox.log()), sandbox.log())
    t.is(sandbox.run(['umount']).code, EXIT_CODES['not-mounted'].code)
    t.is(sandbox.run([sandbox.mountpoint]).code, 0, 'and it can be mounted again')
  })
}

test('a signal ends the daemon also while a program holds a file', async t => {
  const sandbox = new Sandbox(t)
  withFiles(sandbox)
  t.is(sandbox.run([sandbox.mountpoint]).code, 0)
  const pid = sandbox.daemonPid()
  const holder = spawn('sleep', ['1000'], { cwd: join(sandbox.mountpoint, 'files') })
  t.teardown(() => holder.kill('SIGKILL'))
  process.kill(pid, 'SIGTERM')
  await until(() => !isRunning(pid), 'the daemon has ended')
  t.false(sandbox.isMounted())
  t.is(sandbox.run([sandbox.mountpoint]).code, 0)
})

test('a busy mount is not unmounted, and it is said by whom; --lazy takes it out of sight until it is free', async t => {
  const sandbox = new Sandbox(t)
  const folder = withFiles(sandbox)
  writeFileSync(join(folder, 'a'), 'content')
  t.is(sandbox.run([sandbox.mountpoint]).code, 0)
  const pid = sandbox.daemonPid()
  const reader = spawn('sh', ['-c', 'exec 3<a; echo open; read line; cat <&3'], { cwd: join(sandbox.mountpoint, 'files') })
  t.teardown(() => reader.kill('SIGKILL'))
  let output = ''
  reader.stdout.on('data', chunk => (output += chunk))
  await until(() => output.includes('open'), 'the file is open')

  const busy = sandbox.run(['umount'])
  t.is(busy.code, EXIT_CODES.busy.code)
  t.true(busy.stderr.includes(`${reader.pid} (sh)`), busy.stderr)
  t.true(sandbox.isMounted())

  t.is(sandbox.run(['umount', '--lazy']).code, 0)
  t.false(sandbox.isMounted())
  const held = sandbox.run([sandbox.mountpoint])
  t.is(held.code, EXIT_CODES['library-in-use'].code, 'the library is not free yet')
  t.true(held.stderr.includes(String(pid)))
  const ended = new Promise(resolve => reader.once('close', resolve))
  reader.stdin.end('\n')
  await ended
  t.is(output, 'open\ncontent', 'the open file could still be read')
  await until(() => !isRunning(pid), 'the daemon has ended')
  t.is(sandbox.run([sandbox.mountpoint]).code, 0)
})

test('after kill -9 the next mount clears what is left, and says so', async t => {
  const sandbox = new Sandbox(t)
  withFiles(sandbox)
  t.is(sandbox.run([sandbox.mountpoint]).code, 0)
  const pid = sandbox.daemonPid()
  process.kill(pid, 'SIGKILL')
  await until(() => !isRunning(pid), 'the daemon is dead')
  t.true(sandbox.isMounted())
  const dead = t.throws(() => readdirSync(sandbox.mountpoint)) as NodeJS.ErrnoException
  t.true(dead.code === 'ENOTCONN' || dead.code === 'ECONNABORTED', dead.code)
  const again = sandbox.run([sandbox.mountpoint])
  t.is(again.code, 0, again.stderr)
  t.regex(again.stdout, /cleared the dead mount/)
  t.deepEqual(readdirSync(sandbox.mountpoint), ['files'])
})

for (const line of [['umount'], ['umount', 'Spacedrive']]) {
  test(`after kill -9 "${line.join(' ')}" clears what is left`, async t => {
    const sandbox = new Sandbox(t)
    withFiles(sandbox)
    t.is(sandbox.run([sandbox.mountpoint]).code, 0)
    const pid = sandbox.daemonPid()
    process.kill(pid, 'SIGKILL')
    await until(() => !isRunning(pid), 'the daemon is dead')
    const { code, stdout, stderr } = sandbox.run(line)
    t.is(code, 0, stderr)
    t.regex(stdout, /cleared the dead mount/)
    t.deepEqual(readdirSync(sandbox.mountpoint), [])
    t.is(sandbox.run(['umount']).code, EXIT_CODES['not-mounted'].code)
  })
}

test('a daemon that hangs: every command ends, and --lazy takes the mount away', async t => {
  const sandbox = new Sandbox(t)
  withFiles(sandbox)
  t.is(sandbox.run([sandbox.mountpoint]).code, 0)
  const pid = sandbox.daemonPid()
  t.teardown(() => isRunning(pid) && process.kill(pid, 'SIGKILL'))
  process.kill(pid, 'SIGSTOP')
  const results = ['status', 'umount'].map(
    word =>
      new Promise<number | null>(resolve => {
        sandbox.start([word]).once('close', resolve)
      }),
  )
  t.deepEqual(await Promise.all(results), [EXIT_CODES.daemon.code, EXIT_CODES.daemon.code])
  t.true(sandbox.isMounted())
  t.is(sandbox.run(['umount', '--lazy']).code, 0)
  t.false(sandbox.isMounted())
  process.kill(pid, 'SIGCONT')
  await until(() => !isRunning(pid), 'the daemon sees that its mount is gone')
})

test('two mounts at the same moment: both succeed, one daemon', async t => {
  const sandbox = new Sandbox(t)
  withFiles(sandbox)
  const exits = await Promise.all(
    [1, 2, 3].map(
      () =>
        new Promise<number | null>(resolve => {
          sandbox.start([sandbox.mountpoint]).once('close', resolve)
        }),
    ),
  )
  t.deepEqual(exits, [0, 0, 0])
  t.is(sandbox.log().match(/ mounted at /g)?.length, 1)
})

test('--foreground stays, logs to standard error, and ends on Ctrl-C with 0', async t => {
  const sandbox = new Sandbox(t)
  withFiles(sandbox)
  const child = sandbox.start(['--foreground', sandbox.mountpoint])
  let output = ''
  child.stdout?.on('data', chunk => (output += chunk))
  await until(() => output.includes('mounted at'), 'it is mounted')
  t.deepEqual(readdirSync(sandbox.mountpoint), ['files'])
  t.is(sandbox.run(['status']).code, 0, 'it answers commands')
  const ended = new Promise(resolve => child.once('close', resolve))
  child.kill('SIGINT')
  t.is(await ended, 0)
  t.false(sandbox.isMounted())
})

test('Ctrl-C while it starts ends the daemon, too', async t => {
  const sandbox = new Sandbox(t)
  withFiles(sandbox)
  for (const delayMs of [60, 120, 180]) {
    const child = sandbox.start([sandbox.mountpoint])
    const ended = new Promise(resolve => child.once('close', resolve))
    await new Promise(resolve => setTimeout(resolve, delayMs))
    child.kill('SIGINT')
    await ended
    // Either it was ready before the signal came, or nothing is left.
    if (!sandbox.isMounted()) continue
    if (sandbox.run(['status']).stdout.includes('not mounted')) t.fail('a mount without a daemon is left')
    sandbox.run(['umount'])
  }
  await until(() => sandbox.run(['umount']).code === EXIT_CODES['not-mounted'].code, 'all is gone')
  t.false(sandbox.isMounted())
})

test('read-only, by flag and by -o', async t => {
  const sandbox = new Sandbox(t)
  const folder = withFiles(sandbox)
  writeFileSync(join(folder, 'a'), 'x')
  for (const line of [['-r'], ['-o', 'ro']]) {
    t.is(sandbox.run([...line, sandbox.mountpoint]).code, 0)
    t.throws(() => writeFileSync(join(sandbox.mountpoint, 'files', 'a'), 'y'), { code: 'EROFS' })
    t.is(readFileSync(join(sandbox.mountpoint, 'files', 'a'), 'utf8'), 'x')
    t.regex(sandbox.run(['status']).stdout, /read-only/)
    t.is(sandbox.run(['umount']).code, 0)
  }
})

test('-o noexec reaches the kernel; the source is what fsname says', async t => {
  const sandbox = new Sandbox(t)
  const folder = withFiles(sandbox)
  writeFileSync(join(folder, 'run'), '#!/bin/sh\n', { mode: 0o755 })
  t.is(sandbox.run(['-o', 'noexec,fsname=my\\,files', sandbox.mountpoint]).code, 0)
  t.is(spawnSync(join(sandbox.mountpoint, 'files', 'run')).error && 'EACCES', 'EACCES')
  t.regex(readFileSync('/proc/self/mounts', 'utf8'), new RegExp(`^my,files ${sandbox.mountpoint} fuse.sdmount`, 'm'))
})

test('mountpoints that can not be: not empty, a file, missing parents, the library, a location', async t => {
  const sandbox = new Sandbox(t)
  const folder = withFiles(sandbox)
  writeFileSync(join(sandbox.directory, 'file'), '')
  sandbox.folder('full', 'inner')
  const refused: [string, RegExp][] = [
    [join(sandbox.directory, 'full'), /not empty/],
    [join(sandbox.directory, 'file'), /not a folder/],
    [join(sandbox.directory, 'no', 'such', 'parent'), /does not exist/],
    [sandbox.home, /holds the library itself/],
    [folder, /holds the location/],
    ['/', /root of the filesystem/],
  ]
  for (const [path, why] of refused) {
    const { code, stderr } = sandbox.run([path])
    t.is(code, EXIT_CODES.mountpoint.code, path)
    t.regex(stderr, why)
  }
  t.is(sandbox.run(['-o', 'nonempty', join(sandbox.directory, 'full')]).code, 0)
  t.deepEqual(readdirSync(join(sandbox.directory, 'full')), ['files'])
  t.is(sandbox.run(['umount']).code, 0)
  t.deepEqual(readdirSync(join(sandbox.directory, 'full')), ['inner'])
})

test('two libraries do not mount over one another; each is unmounted by its mountpoint', async t => {
  const sandbox = new Sandbox(t)
  const other = join(sandbox.directory, 'other')
  withFiles(sandbox)
  t.is(sandbox.run([sandbox.mountpoint]).code, 0)
  const over = sandbox.run(['--library', other, sandbox.mountpoint])
  t.is(over.code, EXIT_CODES.mountpoint.code)
  t.true(over.stderr.includes(sandbox.library), 'it says whose mount that is')
  const elsewhere = join(sandbox.home, 'elsewhere')
  t.is(sandbox.run(['--library', other, elsewhere]).code, 0)
  t.is(sandbox.run(['umount', elsewhere]).code, 0, 'the mount leads to its library')
  t.false(sandbox.isMounted(elsewhere))
  t.true(sandbox.isMounted())
})

test('a mountpoint through a symlink, and a relative one', async t => {
  const sandbox = new Sandbox(t)
  withFiles(sandbox)
  mkdirSync(sandbox.mountpoint)
  symlinkSync(sandbox.mountpoint, join(sandbox.directory, 'link'))
  const { stdout } = sandbox.run(['../link'], { cwd: sandbox.home })
  t.is(stdout, `mounted at ${sandbox.mountpoint}\n`)
  t.is(sandbox.run(['umount', './Spacedrive']).code, 0)
})

test('a library in a directory too deep for the address of a socket', async t => {
  const sandbox = new Sandbox(t)
  // SQLite takes paths of less than 512 bytes.
  const library = sandbox.folder(...Array.from({ length: 6 }, () => 'd'.repeat(60)))
  t.is(sandbox.run(['--library', library, sandbox.mountpoint]).code, 0)
  t.is(sandbox.run(['--library', library, 'status']).code, 0)
  t.is(sandbox.run(['--library', library, 'umount']).code, 0)
})

test('nothing outside the library and the mountpoint is touched, and the library stays private', async t => {
  const sandbox = new Sandbox(t)
  const library = join(sandbox.directory, 'library')
  t.is(sandbox.run(['--library', library, sandbox.mountpoint]).code, 0)
  t.is(sandbox.run(['--library', library, 'umount']).code, 0)
  t.deepEqual(readdirSync(sandbox.home), ['Spacedrive'])
  t.is(statSync(library).mode & 0o777, 0o700)
  t.is(statSync(join(library, 'key')).mode & 0o777, 0o600)
})

test('a damaged index is refused with one line, and nothing is mounted', async t => {
  const sandbox = new Sandbox(t)
  withFiles(sandbox)
  const index = join(sandbox.library, 'index')
  for (const file of readdirSync(index)) rmSync(join(index, file))
  writeFileSync(join(index, 'index.db'), 'x'.repeat(8192))
  const { code, stderr } = sandbox.run([sandbox.mountpoint])
  t.is(code, EXIT_CODES['library-unusable'].code, stderr)
  t.regex(stderr, /^sdmount: [^\n]+\n$/)
  t.false(sandbox.isMounted())
})

test('the daemon leaves no core dump and no descriptor of the terminal', async t => {
  const sandbox = new Sandbox(t)
  withFiles(sandbox)
  t.is(sandbox.run([sandbox.mountpoint]).code, 0)
  const limits = readFileSync(`/proc/${sandbox.daemonPid()}/limits`, 'utf8')
  t.regex(limits, /Max core file size +0 +0/)
  const { stdout } = sandbox.program('readlink', [`/proc/${sandbox.daemonPid()}/cwd`])
  t.is(stdout, '/\n')
  const held = sandbox.program('/bin/sh', ['-c', `ls -l /proc/${sandbox.daemonPid()}/fd | grep -c -E 'pts|tty'`])
  t.is(held.stdout, '0\n')
})

test('index verify: nothing after changes through the mount and beside it; what was hidden from it is found', async t => {
  const sandbox = new Sandbox(t)
  const folder = withFiles(sandbox)
  for (let i = 0; i < 50; i++) writeFileSync(join(folder, `before-${i}`), 'x')
  t.is(sandbox.run([sandbox.mountpoint]).code, 0)
  t.is(sandbox.run(['location', 'rescan', '--wait']).code, 0)
  const top = join(sandbox.mountpoint, 'files')
  mkdirSync(join(top, 'd'))
  for (let i = 0; i < 50; i++) writeFileSync(join(top, 'd', `through-${i}`), 'y'.repeat(i))
  for (let i = 0; i < 50; i++) writeFileSync(join(folder, 'd', `beside-${i}`), 'z')
  rmSync(join(folder, 'before-7'))
  rmSync(join(top, 'before-8'))
  const clean = sandbox.run(['index', 'verify'])
  t.is(clean.code, 0, clean.stdout)
  t.regex(clean.stdout, /^1\d\d entries checked, no differences\n$/)
  t.is(sandbox.run(['umount']).code, 0)

  writeFileSync(join(folder, 'new'), '')
  writeFileSync(join(folder, 'before-1'), 'longer')
  rmSync(join(folder, 'before-2'))
  const found = sandbox.run(['index', 'verify', '--json'])
  t.is(found.code, EXIT_CODES.differences.code, found.stderr)
  const lines = found.stdout
    .trim()
    .split('\n')
    .map(line => JSON.parse(line))
  const of = (path: string) => lines.find(line => line.path === path)?.kind
  t.is(of('new'), 'only on disk')
  t.is(of('before-1'), 'differs')
  t.is(of('before-2'), 'only in the index')
  t.is(lines.at(-1).differences, lines.length - 1)

  t.is(sandbox.run([sandbox.mountpoint]).code, 0)
  t.is(sandbox.run(['location', 'rescan', '--wait']).code, 0)
  t.is(sandbox.run(['index', 'verify']).code, 0, 'a scan mends it')
})

test('status tells of folders that may not be read, and of a location that is away', async t => {
  const sandbox = new Sandbox(t)
  withFiles(sandbox)
  const away = sandbox.folder('away')
  t.is(sandbox.run(['location', 'add', away]).code, 0)
  rmSync(away, { recursive: true })
  t.is(sandbox.run([sandbox.mountpoint]).code, 0, 'it is no reason not to mount')
  t.regex(sandbox.run(['status']).stdout, /away +offline: .+/)
  t.regex(sandbox.run(['index', 'verify']).stderr, /skipped away/)
})

test('the launcher says in one line what is missing', t => {
  const sandbox = new Sandbox(t)
  // A copy without the Node beside it, and with none in PATH.
  const bin = sandbox.folder('bin')
  for (const file of ['sdmount', 'sdmount.mjs']) writeFileSync(join(bin, file), readFileSync(join(LAUNCHER, '..', file)), { mode: 0o755 })
  const { code, stderr } = sandbox.program(join(bin, 'sdmount'), ['--version'], { env: { PATH: '/nonexistent' } })
  t.is(code, EXIT_CODES.requirement.code)
  t.regex(stderr, /^sdmount: needs Node\.js 24 or newer[^\n]+\n$/)
})
