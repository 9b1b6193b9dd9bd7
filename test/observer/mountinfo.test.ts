import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { isWithin, mayHang, mountOf, parseMountinfo, readMounts } from '../../src/sys/mountinfo.ts'

test('a line of mountinfo is taken apart', t => {
  const [entry] = parseMountinfo(
    '36 35 98:1048575 /mnt1 /mnt/my\\040disk\\134\\011x rw,noatime master:1 shared:2 - ext3 /dev/root rw,errors=continue\n',
  )
  t.deepEqual(entry, {
    id: 36,
    parentId: 35,
    deviceMajor: 98,
    deviceMinor: 1048575,
    root: '/mnt1',
    mountPoint: '/mnt/my disk\\\tx',
    type: 'ext3',
    options: ['rw', 'noatime', 'rw', 'errors=continue'],
    source: '/dev/root',
  })
})

test('no optional fields, an empty source, a dash as a source, and lines that make no sense', t => {
  const entries = parseMountinfo('1 0 0:1 / / rw - tmpfs  rw\n2 1 0:2 / /a rw - fuse.x - rw\ngarbage\n\n3 1 0:3 / /b rw shared:1\n')
  t.deepEqual(
    entries.map(e => [e.type, e.source, e.mountPoint]),
    [
      ['tmpfs', '', '/'],
      ['fuse.x', '-', '/a'],
    ],
  )
})

test('what may hang', t => {
  for (const type of [
    'fuse',
    'fuse.sdmount',
    'fuse.sshfs',
    'fuseblk',
    'nfs',
    'nfs4',
    'cifs',
    'smb3',
    '9p',
    'ceph',
    'autofs',
    'proc',
    'sysfs',
    'cgroup2',
    'unheard',
  ])
    t.true(mayHang(type), type)
  for (const type of ['ext4', 'xfs', 'btrfs', 'tmpfs', 'f2fs', 'vfat', 'exfat', 'ntfs3', 'overlay', 'zfs', 'iso9660'])
    t.false(mayHang(type), type)
})

test('the mount that a path lies on', t => {
  const mounts = parseMountinfo(
    [
      '1 0 0:1 / / rw - ext4 a rw',
      '2 1 0:2 / /home rw - xfs b rw',
      '3 2 0:3 / /home/me/x rw - vfat c rw',
      '4 3 0:4 / /home/me/x rw - fuse d rw',
    ].join('\n'),
  )
  t.is(mountOf(mounts, '/')?.id, 1)
  t.is(mountOf(mounts, '/homes')?.id, 1)
  t.is(mountOf(mounts, '/home')?.id, 2)
  t.is(mountOf(mounts, '/home/me')?.id, 2)
  t.is(mountOf(mounts, '/home/me/x/y')?.id, 4, 'the one on top')
  t.true(isWithin('/', '/a'))
  t.false(isWithin('/a', '/ab'))
})

test('the table of this machine is read, with a name that is not UTF-8', t => {
  t.truthy(mountOf(readMounts(), process.cwd()))
  if (process.getuid?.() !== 0) return t.pass('not root: no mount of its own')
  const folder = mkdtempSync(join(tmpdir(), 'mountinfo-'))
  const name = Buffer.concat([Buffer.from(`${folder}/sp ace`), Buffer.from([0xff, 0x0a])])
  execFileSync('python3', ['-c', 'import os,sys; os.mkdir(bytes.fromhex(sys.argv[1]))', name.toString('hex')])
  const mount = (command: string) => execFileSync('bash', ['-c', `n=$(printf '\\xff\\n.'); ${command} "${folder}/sp ace\${n%.}"`])
  mount('mount -t tmpfs none')
  try {
    t.is(readMounts().find(e => e.mountPoint === name.toString('latin1'))?.type, 'tmpfs')
  } finally {
    mount('umount')
    rmSync(folder, { recursive: true })
  }
})
