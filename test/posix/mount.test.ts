/** The mount as a whole: several folders, its options, who may look, and what stays the same over a remount. */
import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { O_CREAT, O_RDONLY, O_RDWR, O_WRONLY } from '../../src/sys/flags.ts'
import { linux } from '../../src/sys/linux.ts'
import { S_IFDIR, S_IFIFO } from '../../src/vfs/contract.ts'
import { type Mounter, mountTemporary, type TestMount, type TestMountOptions, whyNoMount } from '../support/mount.ts'
import { ANNA } from './suite.ts'
import { World } from './world.ts'

/** A test with mounts of its own, as root and as an ordinary user. */
function mounted(
  title: string,
  options: TestMountOptions,
  body: (w: World, t: ExecutionContext, mount: TestMount) => void | Promise<void>,
  only?: Mounter,
): void {
  for (const asUser of ['root', 'sdmount-test'] as const) {
    if (only && only !== asUser) continue
    const why = whyNoMount(asUser)
    if (why) {
      test.skip(`${asUser}: ${title} (${why})`, t => t.pass())
      continue
    }
    test.serial(`${asUser}: ${title}`, async t => {
      const mount = await mountTemporary({ asUser, ...options })
      t.teardown(() => mount.dispose())
      const { uid, gid } = mount.owner
      await body(new World(mount.folder.mounted, { uid, gid, groups: [gid] }), t, mount)
    })
  }
}

mounted('the top of the tree: volumes, and nothing can be made there', { locations: 3 }, (w, t, mount) => {
  const top = mount.mountpoint
  t.deepEqual(w.list(top), ['folder1', 'folder2', 'folder3'])
  const stat = w.attributes(top)
  t.is(stat.type, S_IFDIR)
  t.is(stat.ino, 1)
  t.is(stat.nlink, 5)
  // Who isn't root is told by the mode (0555), root by the tree.
  const refusal = mount.owner.uid === 0 ? 'EPERM' : 'EACCES'
  t.is(w.mkdir(`${top}/new`), refusal)
  t.is(w.open(`${top}/new`, O_WRONLY | O_CREAT), refusal)
  t.is(w.symlink('x', `${top}/new`), refusal)
  t.is(w.mknod(`${top}/new`, S_IFIFO | 0o644), refusal)
  t.is(w.rmdir(`${top}/folder1`), refusal)
  t.is(w.rename(`${top}/folder1`, `${top}/other`), refusal)
  t.is(w.chmod(top, 0o777), 'EPERM')
  t.is(w.lstat(`${top}/missing`), 'ENOENT')
  t.is(w.setxattr(top, 'user.a', 'x'), refusal)
  t.is(w.getxattr(top, 'user.a'), 'ENODATA')
  t.deepEqual(w.listxattr(top), [])
  t.is(w.lstat(`${top}/folder1/..`) !== 'ENOENT' && w.attributes(`${top}/folder1/..`).ino, 1)
})

mounted(
  'between volumes: rename and link say EXDEV, mv and cp work, copy_file_range copies or says EXDEV',
  { locations: 2 },
  (w, t, mount) => {
    const [one, two] = mount.folders.map(folder => folder.mounted) as [string, string]
    w.write(`${one}/f`, 'content')
    w.mkdir(`${one}/d`)
    w.write(`${one}/d/g`, 'inside')
    t.is(w.rename(`${one}/f`, `${two}/f`), 'EXDEV')
    t.is(w.rename(`${one}/d`, `${two}/d`), 'EXDEV')
    t.is(w.link(`${one}/f`, `${two}/f`), 'EXDEV')
    t.is(w.rename(`${one}/f`, `${mount.mountpoint}/f`), mount.owner.uid === 0 ? 'EXDEV' : 'EACCES')
    const [from, to] = [w.fd(`${one}/f`, O_RDONLY), w.fd(`${two}/copy`, O_RDWR | O_CREAT)]
    const copied = w.copyRange(from, 0, to, 0, 7)
    t.true(copied === 7 || copied === 'EXDEV', String(copied))
    if (copied === 7) t.is(w.content(to), 'content')
    w.close(from)
    w.close(to)
    t.is(w.program('cp', `${one}/f`, `${two}/copied`).status, 0)
    t.is(w.read(`${two}/copied`), 'content')
    t.is(w.program('mv', `${one}/f`, `${one}/d`, two).status, 0)
    t.is(w.read(`${two}/f`), 'content')
    t.is(w.read(`${two}/d/g`), 'inside')
    t.is(w.lstat(`${one}/f`), 'ENOENT')
    t.is(w.lstat(`${one}/d`), 'ENOENT')
  },
)

mounted('inode numbers and everything else are the same after a remount', { locations: 2 }, async (w, t, mount) => {
  w.write('f', 'content')
  w.link('f', 'linked')
  w.mkdir('d')
  w.symlink('f', 'd/s')
  w.mknod('d/p', S_IFIFO | 0o640)
  w.setxattr('f', 'user.a', 'x')
  w.utimens('f', 1n, -5_000_000_000n)
  const paths = ['.', 'f', 'linked', 'd', 'd/s', 'd/p', mount.folders[1]!.mounted, mount.mountpoint]
  const before = paths.map(path => ({ ...w.attributes(path), atime: 0n }))
  await mount.remount()
  const after = paths.map(path => ({ ...w.attributes(path), atime: 0n }))
  // The top is made anew with each mount.
  t.deepEqual(after.slice(0, -1), before.slice(0, -1))
  t.is(after.at(-1)!.ino, 1)
  t.is(w.attributes('f').ino, w.attributes('linked').ino)
  t.is(w.getxattr('f', 'user.a'), 'x')
  t.not(w.attributes('.').ino, w.attributes(mount.folders[1]!.mounted).ino)
})

mounted('statfs and df show the disk of the folder', {}, (w, t, mount) => {
  const sys = linux()
  const through = w.run(() => sys.statfs(mount.folder.mounted))
  const beside = sys.statfs(mount.folder.path)
  if (typeof through === 'number' || typeof beside === 'number') return t.fail(`${through} ${beside}`)
  t.is(through.blockSizeBytes, beside.blockSizeBytes)
  t.is(through.blocks, beside.blocks)
  t.true(Math.abs(through.blocksFree - beside.blocksFree) * through.blockSizeBytes < 1e9)
  t.is(through.files, beside.files)
  t.is(through.nameLengthBytes, 255)
  const df = w.program('df', '--output=size,target', mount.folder.mounted)
  t.is(df.status, 0, df.stderr)
})

mounted('read-only: everything can be read, nothing changed', { readOnly: true }, (w, t, mount) => {
  const beside = new World(mount.folder.path, w.persona)
  beside.write('f', 'content')
  beside.mkdir('d')
  beside.symlink('f', 's')
  t.is(w.read('f'), 'content')
  t.deepEqual(w.list(), ['d', 'f', 's'])
  const calls: Record<string, unknown> = {
    'open for writing': w.open('f', O_RDWR),
    create: w.open('new', O_WRONLY | O_CREAT),
    mkdir: w.mkdir('new'),
    mknod: w.mknod('new', S_IFIFO | 0o644),
    symlink: w.symlink('x', 'new'),
    link: w.link('f', 'new'),
    unlink: w.unlink('f'),
    rmdir: w.rmdir('d'),
    rename: w.rename('f', 'g'),
    chmod: w.chmod('f', 0o600),
    chown: w.chown('f', w.persona.uid, w.persona.gid),
    truncate: w.truncate('f', 0),
    utimens: w.utimens('f', 'now', 'now'),
    setxattr: w.setxattr('f', 'user.a', 'x'),
    removexattr: w.removexattr('f', 'user.a'),
    access: w.access('f', 2),
  }
  for (const [name, result] of Object.entries(calls)) t.is(result, 'EROFS', name)
  t.is(beside.read('f'), 'content')
})

mounted('nosuid and nodev are on, and it says what it is', {}, (_w, t, mount) => {
  const line = readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .find(entry => entry.includes(mount.mountpoint))!
  const [source, , type, options] = line.split(' ')
  t.is(source, 'sdmount\\040test')
  t.is(type, 'fuse.sdmount')
  t.true(
    ['nosuid', 'nodev', 'default_permissions'].every(option => options!.split(',').includes(option)),
    options,
  )
})

mounted(
  'options of mount(8): noexec, and dev and suid for root who asks',
  { options: ['noexec', 'dev', 'suid'] },
  (w, t) => {
    w.write('script', '#!/bin/sh\n', 0o755)
    t.is((w.program('./script').error as NodeJS.ErrnoException).code, 'EACCES')
    w.mknod('null', 0o020666, 1, 3)
    t.is(typeof w.open('null', O_RDWR), 'number')
  },
  'root',
)

mounted(
  'a mount of an ordinary user is his alone: root may not look',
  {},
  (w, t, mount) => {
    if (process.getuid?.() !== 0) return t.log('skipped: needs root beside the user')
    t.throws(() => readdirSync(mount.mountpoint), { code: 'EACCES' })
    t.throws(() => statSync(mount.mountpoint), { code: 'EACCES' })
    t.deepEqual(w.list(mount.mountpoint), ['folder1'])
  },
  'sdmount-test',
)

test.serial('sdmount-test: allow_other is refused with the reason where fuse.conf says nothing of it', async t => {
  const allowed = /^\s*user_allow_other/m.test(existsSync('/etc/fuse.conf') ? readFileSync('/etc/fuse.conf', 'utf8') : '')
  if (whyNoMount('sdmount-test') || allowed) return t.log('skipped: user_allow_other is set')
  await t.throwsAsync(mountTemporary({ asUser: 'sdmount-test', allowOther: true }), { message: /user_allow_other/ })
})

mounted(
  'a mount of root is for every user, but a folder that only its owner can reach stays so',
  {},
  async (w, t, mount) => {
    // The folder's parent is closed to others: the mount must be no way around that.
    w.chmod('.', 0o755)
    w.write('f', 'x', 0o644)
    w.as(ANNA, () => t.is(w.read('f'), 'x'))
    await mount.unmount()
    const holder = join(mount.directory)
    spawnSync('chmod', ['700', holder])
    try {
      await mount.start()
      // The mount point is below the closed directory too here: look from a directory that was opened before it closed.
      const fd = w.fd(mount.mountpoint, O_RDONLY)
      const path = `/proc/self/fd/${fd}/folder1`
      w.as(ANNA, () => t.is(w.list(path), 'EACCES'))
      t.deepEqual(w.list(path), ['f'])
      w.close(fd)
    } finally {
      spawnSync('chmod', ['755', holder])
    }
  },
  'root',
)

mounted('an unmount is refused while a program uses it, and works after', {}, async (w, t, mount) => {
  w.write('f', 'x')
  const fd = w.fd('f', O_RDONLY)
  await t.throwsAsync(mount.unmount(), { message: /in use/ })
  t.is(w.content(fd), 'x')
  w.close(fd)
  await mount.unmount()
  t.false(readFileSync('/proc/self/mounts', 'utf8').includes(mount.mountpoint))
})

mounted('after a kill -9 the folder is as it was written, and a new mount works', {}, async (w, t, mount) => {
  w.write('f', 'before')
  const fd = w.fd('f', O_RDWR)
  w.pwrite(fd, 'AFTER!', 0)
  await w.fsync(fd)
  await mount.kill9()
  t.is(w.pread(fd, 1, 0) instanceof Buffer, mount.passthrough)
  t.is(w.lstat('f'), 'ENOTCONN')
  w.close(fd)
  mount.clear()
  await mount.start()
  t.is(w.read('f'), 'AFTER!')
})
