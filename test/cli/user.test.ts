/** The same as an ordinary user: what differs from root. Needs root to become that user, and fuse3. */
import { existsSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import ava from 'ava'
import { EXIT_CODES } from '../../src/cli/exit-codes.ts'
import { isRunning, ordinaryUser, Sandbox, until } from './sdmount.ts'

const user = ordinaryUser()
const usable = user !== undefined && existsSync('/dev/fuse') && (statSync('/dev/fuse').mode & 0o006) === 0o006
/** One after the other: each runs several processes to their end. Skipped where we can't become that user. */
const test = usable ? ava.serial : ava.serial.skip

test('an ordinary user mounts, works and unmounts', async t => {
  const sandbox = new Sandbox(t, user)
  sandbox.folder('home', 'Documents')
  const mounted = sandbox.run([sandbox.mountpoint])
  t.is(mounted.code, 0, mounted.stderr)
  t.regex(mounted.stdout, /Documents/)
  const written = sandbox.program('/bin/sh', [
    '-c',
    'echo hello > Spacedrive/Documents/a && cat Spacedrive/Documents/a && stat -c %U Spacedrive/Documents/a',
  ])
  t.is(written.stdout, `hello\n${user!.name}\n`, written.stderr)
  t.is(readFileSync(join(sandbox.home, 'Documents', 'a'), 'utf8'), 'hello\n')
  t.is(sandbox.run(['index', 'verify']).code, 0)
  const pid = sandbox.daemonPid()
  t.is(sandbox.run(['umount']).code, 0)
  await until(() => !isRunning(pid), 'the daemon has ended')
})

test('fusermount3 -u by the user ends it', async t => {
  const sandbox = new Sandbox(t, user)
  t.is(sandbox.run([sandbox.mountpoint]).code, 0)
  const pid = sandbox.daemonPid()
  t.is(sandbox.program('fusermount3', ['-u', sandbox.mountpoint]).code, 0)
  await until(() => !isRunning(pid), 'the daemon has ended')
  t.regex(sandbox.log(), / info unmounted\n/)
})

test('after kill -9 the user clears the rest without being root', async t => {
  const sandbox = new Sandbox(t, user)
  for (const next of [['umount'], [sandbox.mountpoint]]) {
    t.is(sandbox.run([sandbox.mountpoint]).code, 0)
    const pid = sandbox.daemonPid()
    process.kill(pid, 'SIGKILL')
    await until(() => !isRunning(pid), 'the daemon is dead')
    const { code, stdout, stderr } = sandbox.run(next)
    t.is(code, 0, stderr)
    t.regex(stdout, /cleared the dead mount/)
  }
})

test('a busy mount of a user says who holds it; --lazy takes it away', async t => {
  const sandbox = new Sandbox(t, user)
  t.is(sandbox.run([sandbox.mountpoint]).code, 0)
  const held = sandbox.program('/bin/sh', ['-c', `cd Spacedrive && '${join(import.meta.dirname, '../../bin/sdmount')}' umount`])
  t.is(held.code, EXIT_CODES.busy.code)
  t.regex(held.stderr, /in use by \d+ \(sh\)/)
  t.is(sandbox.run(['umount', '--lazy']).code, 0)
  t.false(sandbox.isMounted())
})

test('nobody else enters the mount or the library, not even root', async t => {
  const sandbox = new Sandbox(t, user)
  t.is(sandbox.run([sandbox.mountpoint]).code, 0)
  t.throws(() => statSync(join(sandbox.mountpoint, 'Files')), { code: 'EACCES' })
  t.is(statSync(sandbox.library).mode & 0o777, 0o700)
  // Root acts for the user where it must.
  t.is(sandbox.program('stat', [sandbox.mountpoint]).code, 0)
})

test('--allow-other without user_allow_other is refused by fusermount3, in its words', t => {
  if (/^\s*user_allow_other/m.test(existsSync('/etc/fuse.conf') ? readFileSync('/etc/fuse.conf', 'utf8') : '')) {
    t.pass('this machine allows it')
    return
  }
  const sandbox = new Sandbox(t, user)
  const { code, stderr } = sandbox.run(['--allow-other', sandbox.mountpoint])
  t.is(code, EXIT_CODES.mount.code)
  t.regex(stderr, /user_allow_other/)
  t.false(sandbox.isMounted())
})

test("another user's library is refused", t => {
  const sandbox = new Sandbox(t, user)
  const roots = join(sandbox.directory, 'roots')
  t.is(new Sandbox(t).run(['--library', roots, 'location', 'add', '/tmp', '--name', 'x']).code, 0)
  const { code, stderr } = sandbox.run(['--library', roots, 'location', 'list'])
  t.true(code === EXIT_CODES['library-unusable'].code || code === EXIT_CODES['no-library'].code, stderr)
})

test('a mountpoint of somebody else is refused', t => {
  const sandbox = new Sandbox(t, user)
  const { code, stderr } = sandbox.run(['/opt'])
  t.true(code === EXIT_CODES.mount.code || code === EXIT_CODES.mountpoint.code)
  t.regex(stderr, /^sdmount: [^\n]+\n$/)
})
