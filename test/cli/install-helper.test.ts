/**
 * mount(8) and fstab, with the real helper in /sbin: needs root. An installed helper is put back afterwards.
 */
import { chmodSync, existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import ava from 'ava'
import { EXIT_CODES } from '../../src/cli/exit-codes.ts'
import { isRunning, ordinaryUser, Sandbox, until } from './sdmount.ts'

const HELPER = '/sbin/mount.fuse.sdmount'
const root = process.getuid?.() === 0
const user = ordinaryUser()
const test = root ? ava.serial : ava.serial.skip
const userTest = root && user ? ava.serial : ava.serial.skip

const before = existsSync(HELPER) ? readFileSync(HELPER) : undefined
ava.after.always(() => {
  if (!root) return
  if (before) {
    writeFileSync(HELPER, before)
    chmodSync(HELPER, 0o755)
  } else rmSync(HELPER, { force: true })
})

test('install-helper writes it, --remove takes it away', t => {
  const sandbox = new Sandbox(t)
  t.is(sandbox.run(['install-helper']).code, 0)
  t.is(statSync(HELPER).mode & 0o777, 0o755)
  t.is(sandbox.program('sh', ['-n', HELPER]).code, 0)
  t.is(sandbox.run(['install-helper', '--remove']).code, 0)
  t.false(existsSync(HELPER))
  t.is(sandbox.run(['install-helper']).code, 0)
})

test('mount -t fuse.sdmount LIBRARY MOUNTPOINT, umount MOUNTPOINT', async t => {
  const sandbox = new Sandbox(t)
  const mountpoint = sandbox.folder('mnt')
  const mounted = sandbox.program('mount', ['-t', 'fuse.sdmount', sandbox.library, mountpoint, '-o', 'noexec'])
  t.is(mounted.code, 0, mounted.stderr)
  t.is(mounted.stdout, '')
  t.deepEqual(readdirSync(mountpoint), ['Files'])
  t.regex(
    readFileSync('/proc/self/mounts', 'utf8'),
    new RegExp(`^${sandbox.library} ${mountpoint} fuse.sdmount rw,nosuid,nodev,noexec`, 'm'),
  )
  const pid = sandbox.daemonPid()
  t.is(sandbox.program('umount', [mountpoint]).code, 0)
  await until(() => !isRunning(pid), 'the daemon has ended')
})

test('a library whose path has spaces and commas', t => {
  const sandbox = new Sandbox(t)
  const mountpoint = sandbox.folder('my, mount')
  const library = join(sandbox.directory, 'my, library')
  const mounted = sandbox.program('mount', ['-t', 'fuse.sdmount', library, mountpoint])
  t.is(mounted.code, 0, mounted.stderr)
  t.deepEqual(readdirSync(mountpoint), ['Files'])
  t.is(sandbox.program('umount', [mountpoint]).code, 0)
})

test('mount answers with its own codes and our line', t => {
  const sandbox = new Sandbox(t)
  const mountpoint = sandbox.folder('mnt')
  const usage = sandbox.program('mount', ['-t', 'fuse.sdmount', sandbox.library, mountpoint, '-o', 'umask=022'])
  t.is(usage.code, 1)
  t.regex(usage.stderr, /sdmount: -o umask/)
  sandbox.folder('mnt', 'full')
  const full = sandbox.program('mount', ['-t', 'fuse.sdmount', sandbox.library, mountpoint])
  t.is(full.code, 32)
  t.regex(full.stderr, /not empty/)
})

test('mount -a mounts the line of an fstab, once, and -o ro is kept', t => {
  const sandbox = new Sandbox(t)
  const mountpoint = sandbox.folder('mnt')
  const fstab = join(sandbox.directory, 'fstab')
  writeFileSync(fstab, `${sandbox.library} ${mountpoint} fuse.sdmount ro,noexec,_netdev,nofail,x-systemd.automount 0 0\n`)
  for (let round = 0; round < 2; round++) {
    const { code, stderr } = sandbox.program('mount', ['-a', '-T', fstab])
    t.is(code, 0, stderr)
  }
  const lines = readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .filter(line => line.includes(` ${mountpoint} `))
  t.is(lines.length, 1, 'the second time it is known to be mounted')
  t.regex(lines[0]!, / fuse\.sdmount ro,/)
  t.is(sandbox.program('umount', [mountpoint]).code, 0)
})

userTest('setuid=USER in fstab: root mounts at boot, the user owns it', async t => {
  const sandbox = new Sandbox(t, user)
  const asRoot = new Sandbox(t)
  const mountpoint = sandbox.folder('home', 'mnt')
  const fstab = join(asRoot.directory, 'fstab')
  writeFileSync(fstab, `${sandbox.library} ${mountpoint} fuse.sdmount setuid=${user!.name} 0 0\n`)
  // Not a first run: the user's real home may have folders that would be added.
  t.is(sandbox.run(['location', 'add', sandbox.folder('files')]).code, 0)
  const mounted = asRoot.program('mount', ['-a', '-T', fstab])
  t.is(mounted.code, 0, mounted.stderr)
  t.is(statSync(sandbox.library).uid, user!.uid)
  t.is(sandbox.program('/bin/sh', ['-c', `echo x > '${mountpoint}/files/a' && cat '${mountpoint}/files/a'`]).stdout, 'x\n')
  t.is(sandbox.run(['umount']).code, 0)
})

test('a usage error of install-helper as another user names sudo', t => {
  if (!user) return t.pass('no other user here')
  const sandbox = new Sandbox(t, user)
  const { code, stderr } = sandbox.run(['install-helper'])
  t.is(code, EXIT_CODES.unexpected.code)
  t.regex(stderr, /sudo/)
})
