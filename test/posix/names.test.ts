/** POSIX: making, linking and removing names, and what each call says of a bad path. */
import { O_CREAT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_PATH, O_RDONLY, O_RDWR, O_TRUNC, O_WRONLY } from '../../src/sys/flags.ts'
import { linux } from '../../src/sys/linux.ts'
import { S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFREG, S_IFSOCK } from '../../src/vfs/contract.ts'
import { semantic, tick } from './suite.ts'
import type { World } from './world.ts'

type Call = (w: World, path: string) => unknown

/** Each call with a path, as it is made on a name that needn't exist. */
const CALLS: Readonly<Record<string, Call>> = {
  mkdir: (w, p) => w.mkdir(p),
  rmdir: (w, p) => w.rmdir(p),
  unlink: (w, p) => w.unlink(p),
  mkfifo: (w, p) => w.mknod(p, S_IFIFO | 0o644),
  symlink: (w, p) => w.symlink('x', p),
  'link from': (w, p) => w.link(p, 'new'),
  'link to': (w, p) => w.link('file', p),
  'rename from': (w, p) => w.rename(p, 'new'),
  'rename to': (w, p) => w.rename('file', p),
  open: (w, p) => w.open(p),
  create: (w, p) => w.open(p, O_WRONLY | O_CREAT),
  chmod: (w, p) => w.chmod(p, 0o644),
  chown: (w, p) => w.chown(p, -1, -1),
  lchown: (w, p) => w.lchown(p, -1, -1),
  truncate: (w, p) => w.truncate(p, 0),
  utimens: (w, p) => w.utimens(p, 'now', 'now'),
  stat: (w, p) => w.stat(p),
  lstat: (w, p) => w.lstat(p),
  readlink: (w, p) => w.readlink(p),
  access: (w, p) => w.access(p, 0),
  setxattr: (w, p) => w.setxattr(p, 'user.a', 'b'),
  getxattr: (w, p) => w.getxattr(p, 'user.a'),
  listxattr: (w, p) => w.listxattr(p),
}

function everyCallSays(title: string, path: string, errno: string): void {
  semantic(`every call on ${title} says ${errno}`, (w, t) => {
    w.write('file')
    w.symlink('loop2', 'loop1')
    w.symlink('loop1', 'loop2')
    for (const [name, call] of Object.entries(CALLS)) t.is(call(w, path), errno, name)
  })
}

everyCallSays('a path through a missing directory', 'missing/name', 'ENOENT')
everyCallSays('a path through a file', 'file/name', 'ENOTDIR')
everyCallSays('a path through a loop of symlinks', 'loop1/name', 'ELOOP')
everyCallSays('a path with a component of 256 bytes', `${'n'.repeat(256)}/name`, 'ENAMETOOLONG')
everyCallSays('a last component of 256 bytes', 'n'.repeat(256), 'ENAMETOOLONG')
everyCallSays('a path of 4096 bytes', `${'d/'.repeat(2048)}n`, 'ENAMETOOLONG')

semantic('calls that follow a loop of symlinks say ELOOP, those that do not succeed', (w, t) => {
  w.symlink('loop2', 'loop1')
  w.symlink('loop1', 'loop2')
  for (const name of ['open', 'chmod', 'chown', 'truncate', 'stat', 'access']) t.is(CALLS[name]!(w, 'loop1'), 'ELOOP', name)
  t.is(w.attributes('loop1').type, S_IFLNK)
  t.is(w.readlink('loop1'), 'loop2')
  t.is(w.lchown('loop1', -1, -1), 0)
  t.is(w.unlink('loop1'), 0)
})

semantic('calls on a missing name say ENOENT', (w, t) => {
  w.write('file')
  for (const name of [
    'rmdir',
    'unlink',
    'link from',
    'rename from',
    'open',
    'chmod',
    'chown',
    'lchown',
    'truncate',
    'utimens',
    'stat',
    'lstat',
    'readlink',
    'access',
    'getxattr',
  ])
    t.is(CALLS[name]!(w, 'missing'), 'ENOENT', name)
})

semantic('a dangling symlink is a missing file to calls that follow it', (w, t) => {
  w.symlink('nowhere', 's')
  for (const name of ['open', 'chmod', 'chown', 'truncate', 'stat', 'access']) t.is(CALLS[name]!(w, 's'), 'ENOENT', name)
  t.is(w.mkdir('s'), 'EEXIST')
  t.is(w.open('s', O_WRONLY | O_CREAT | O_EXCL), 'EEXIST')
  w.close(w.fd('s', O_WRONLY | O_CREAT))
  t.is(w.attributes('nowhere').type, S_IFREG)
})

for (const kind of ['file', 'directory', 'symlink', 'fifo'] as const)
  semantic(`what would make a name says EEXIST where a ${kind} is`, (w, t) => {
    w.write('source')
    if (kind === 'file') w.write('x')
    if (kind === 'directory') w.mkdir('x')
    if (kind === 'symlink') w.symlink('source', 'x')
    if (kind === 'fifo') w.mknod('x', S_IFIFO | 0o644)
    t.is(w.mkdir('x'), 'EEXIST')
    t.is(w.mknod('x', S_IFIFO | 0o644), 'EEXIST')
    t.is(w.mknod('x', S_IFREG | 0o644), 'EEXIST')
    t.is(w.symlink('y', 'x'), 'EEXIST')
    t.is(w.link('source', 'x'), 'EEXIST')
    t.is(w.open('x', O_RDWR | O_CREAT | O_EXCL), 'EEXIST')
    t.is(w.rename('source', 'x', 1), 'EEXIST')
  })

semantic('mkdir: mode, umask, link counts and times of the parent', (w, t) => {
  const before = w.attributes('.')
  tick()
  t.is(w.mkdir('d', 0o777), 0)
  t.is(w.attributes('d').mode, 0o755)
  t.is(w.attributes('d').nlink, 2)
  const after = w.attributes('.')
  t.is(after.nlink, before.nlink + 1)
  t.true(after.mtime > before.mtime)
  t.true(after.ctime > before.ctime)
  w.run(() => process.umask(0o077))
  t.is(w.mkdir('e', 0o777), 0)
  t.is(w.attributes('e').mode, 0o700)
  w.run(() => process.umask(0))
  t.is(w.mkdir('f', 0o1777), 0)
  t.is(w.attributes('f').mode, 0o1777)
  w.write('g', '', 0o666)
  t.is(w.attributes('g').mode, 0o666)
  w.run(() => process.umask(0o022))
})

semantic('rmdir: what is refused, and what the parent shows', (w, t) => {
  w.mkdir('d')
  w.mkdir('d/e')
  w.write('file')
  w.symlink('d', 's')
  t.is(w.rmdir('d'), 'ENOTEMPTY')
  t.is(w.rmdir('file'), 'ENOTDIR')
  t.is(w.rmdir('s'), 'ENOTDIR')
  t.is(w.rmdir('d/.'), 'EINVAL')
  t.is(w.rmdir('d/e/..'), 'ENOTEMPTY')
  t.is(w.rmdir('d/..'), 'ENOTEMPTY')
  const before = w.attributes('d')
  tick()
  t.is(w.rmdir('d/e'), 0)
  const after = w.attributes('d')
  t.is(after.nlink, 2)
  t.true(after.mtime > before.mtime && after.ctime > before.ctime)
  t.is(w.lstat('d/e'), 'ENOENT')
  t.is(w.rmdir('d'), 0)
})

semantic('rmdir of a directory that is open: it stays readable, empty, and nothing can be made in it', (w, t) => {
  w.mkdir('d')
  const fd = w.fd('d', O_RDONLY | O_DIRECTORY)
  t.is(w.rmdir('d'), 0)
  const gone = w.fattributes(fd)
  t.is(gone.nlink, 0)
  t.is(gone.type, S_IFDIR)
  // What getdents itself says differs between filesystems (nothing, ENOENT); readdir(3) shows no entries either way.
  const names = (() => {
    try {
      return w.entries(fd).map(entry => entry.name)
    } catch {
      return []
    }
  })()
  t.deepEqual(
    names.filter(name => name !== '.' && name !== '..'),
    [],
  )
  const sys = linux()
  t.is(
    w.run(() => sys.openat(fd, 'x', O_RDWR | O_CREAT, 0o644)),
    -2,
  )
  t.is(
    w.run(() => sys.mkdirat(fd, 'x', 0o755)),
    -2,
  )
  t.is(
    w.run(() => sys.symlinkat('x', fd, 'x')),
    -2,
  )
  t.is(w.fchmod(fd, 0o700), 0)
  t.is(w.fattributes(fd).mode, 0o700)
  w.close(fd)
})

semantic('a removed current directory: stat works, names in it do not', (w, t) => {
  w.mkdir('d')
  const before = process.cwd()
  const keep = w.fd('d', O_PATH)
  try {
    w.run(() => process.chdir(w.path('d')))
    t.is(w.rmdir('d'), 0)
    t.is(w.fattributes(keep).nlink, 0)
    const sys = linux()
    t.is(
      w.run(() => sys.openat(-100, 'x', O_RDWR | O_CREAT, 0o644)),
      -2,
    )
    t.is(w.run(() => sys.openat(-100, '.', O_RDONLY | O_DIRECTORY)) >= 0, true)
    t.throws(() => process.cwd(), { code: 'ENOENT' })
  } finally {
    process.chdir(before)
    w.close(keep)
  }
})

semantic('link: one node with two names', (w, t) => {
  w.write('a', 'content')
  const before = w.attributes('a')
  tick()
  t.is(w.link('a', 'b'), 0)
  const a = w.attributes('a')
  const b = w.attributes('b')
  t.is(a.ino, b.ino)
  t.is(a.nlink, 2)
  t.is(b.nlink, 2)
  t.true(a.ctime > before.ctime)
  t.is(a.mtime, before.mtime)
  w.chmod('b', 0o600)
  t.is(w.attributes('a').mode, 0o600)
  w.truncate('a', 3)
  t.is(w.read('b'), 'con')
  t.is(w.unlink('a'), 0)
  t.is(w.attributes('b').nlink, 1)
  t.is(w.read('b'), 'con')
})

semantic('link: what is refused', (w, t) => {
  w.write('file')
  w.mkdir('d')
  t.is(w.link('d', 'e'), 'EPERM')
  t.is(w.link('missing', 'e'), 'ENOENT')
  t.is(w.link('file', 'missing/e'), 'ENOENT')
  t.is(w.link('file', 'file'), 'EEXIST')
  t.is(w.link('file', 'd/.'), 'EEXIST')
})

semantic('link: symlinks, fifos and sockets can have two names too', (w, t) => {
  w.symlink('target', 's')
  w.mknod('fifo', S_IFIFO | 0o644)
  for (const name of ['s', 'fifo']) {
    t.is(w.link(name, `${name}2`), 0)
    t.is(w.attributes(`${name}2`).ino, w.attributes(name).ino)
    t.is(w.attributes(name).nlink, 2)
  }
  w.write('target')
  t.is(w.link('s', 'followed', true), 0)
  t.is(w.attributes('followed').ino, w.attributes('target').ino)
})

semantic('a file with names in several directories stays one node through every removal', (w, t) => {
  w.write('a', 'x')
  const { ino } = w.attributes('a')
  for (let i = 0; i < 20; i++) {
    w.mkdir(`d${i}`)
    t.is(w.link('a', `d${i}/name`), 0)
  }
  t.is(w.attributes('d7/name').nlink, 21)
  t.is(w.unlink('a'), 0)
  for (let i = 0; i < 19; i++) t.is(w.unlink(`d${i}/name`), 0)
  const last = w.attributes('d19/name')
  t.is(last.ino, ino)
  t.is(last.nlink, 1)
  t.is(w.read('d19/name'), 'x')
})

semantic('symlink: the target is kept as it is, up to 4095 bytes', (w, t) => {
  const targets = ['x', '../..', '/absolute/path', 'with space\n', '\xff\xfe', 'a'.repeat(255), `${'b/'.repeat(2047)}c`]
  for (const [i, target] of targets.entries()) {
    t.is(w.symlink(target, `s${i}`), 0)
    t.is(w.readlink(`s${i}`), target)
    t.is(w.attributes(`s${i}`).size, target.length)
    t.is(w.attributes(`s${i}`).mode, 0o777)
  }
  t.is(w.symlink('c'.repeat(4096), 'long'), 'ENAMETOOLONG')
  t.is(w.symlink('', 'empty'), 'ENOENT')
  w.write('file')
  t.is(w.readlink('file'), 'EINVAL')
  t.is(w.readlink('.'), 'EINVAL')
})

semantic('unlink: what is refused, and the times of parent and node', (w, t) => {
  w.mkdir('d')
  w.write('file')
  w.link('file', 'other')
  t.is(w.unlink('d'), 'EISDIR')
  t.is(w.unlink('missing'), 'ENOENT')
  t.is(w.unlink('file/'), 'ENOTDIR')
  const parent = w.attributes('.')
  const node = w.attributes('other')
  tick()
  t.is(w.unlink('file'), 0)
  t.true(w.attributes('.').mtime > parent.mtime && w.attributes('.').ctime > parent.ctime)
  t.true(w.attributes('other').ctime > node.ctime)
  t.is(w.attributes('other').nlink, 1)
})

semantic('unlink of a symlink takes the link, not what it means', (w, t) => {
  w.mkdir('d')
  w.write('d/file', 'kept')
  w.symlink('d', 's')
  t.is(w.unlink('s'), 0)
  t.is(w.read('d/file'), 'kept')
  w.symlink('d/file', 's')
  t.is(w.unlink('s'), 0)
  t.is(w.read('d/file'), 'kept')
})

semantic('mknod: regular file, fifo, socket', (w, t) => {
  for (const [name, type] of Object.entries({ regular: S_IFREG, fifo: S_IFIFO, socket: S_IFSOCK })) {
    t.is(w.mknod(name, type | 0o640), 0, name)
    const a = w.attributes(name)
    t.is(a.type, type)
    t.is(a.mode, 0o640)
    t.is(a.nlink, 1)
  }
  t.is(w.mknod('d', S_IFDIR | 0o755), 'EPERM')
  t.is(w.open('socket'), 'ENXIO')
})

semantic(
  'mknod: devices keep their numbers',
  (w, t) => {
    for (const [major, minor] of [
      [1, 3],
      [259, 70_000],
      [4095, 1_048_575],
    ] as const) {
      t.is(w.mknod(`c${major}`, S_IFCHR | 0o600, major, minor), 0)
      t.is(w.mknod(`b${major}`, S_IFBLK | 0o600, major, minor), 0)
      t.like(w.attributes(`c${major}`), { type: S_IFCHR, major, minor })
      t.like(w.attributes(`b${major}`), { type: S_IFBLK, major, minor })
    }
  },
  { needsRoot: true },
)

semantic('mknod: an ordinary user makes no devices', (w, t, mount) => {
  if (mount.owner.uid === 0) return t.pass()
  t.is(w.mknod('c', S_IFCHR | 0o600, 1, 3), 'EPERM')
})

semantic('names are bytes: 255 of them, any but NUL and slash', (w, t) => {
  const names = [
    'x'.repeat(255),
    '\xff'.repeat(255),
    'not utf-8 \xc3\x28 \xf0\x28',
    'na\xc3\xafve', // NFC
    'nai\xcc\x88ve', // NFD: another name
    ' leading and trailing ',
    '-rf',
    'new\nline\ttab\x01\x7f',
    'back\\slash"quote\'',
    '...',
    '.hidden',
    '\\x41',
    '#EA',
    '%2f',
  ]
  for (const name of names) w.write(name, `content of ${name}`)
  t.deepEqual(w.list(), [...names].sort())
  for (const name of names) {
    t.is(w.read(name), `content of ${name}`)
    t.is(w.mkdir(`${name.slice(0, 253)}.d`), 0)
    t.is(w.rename(name, `${name.slice(0, 253)}.d/${name}`), 0)
    t.is(w.symlink(name, `${name.slice(0, 253)}.l`), 0)
    t.is(w.readlink(`${name.slice(0, 253)}.l`), name)
    t.is(w.unlink(`${name.slice(0, 253)}.d/${name}`), 0)
  }
})

semantic('names differ by case', (w, t) => {
  w.write('Name', '1')
  w.write('name', '2')
  t.is(w.read('Name'), '1')
  t.is(w.read('name'), '2')
})

semantic('open: each kind of refusal', (w, t) => {
  w.mkdir('d')
  w.write('file', 'x')
  w.symlink('file', 's')
  t.is(w.open('d', O_WRONLY), 'EISDIR')
  t.is(w.open('d', O_RDWR), 'EISDIR')
  t.is(w.open('d', O_RDONLY | O_TRUNC), 'EISDIR')
  t.is(w.open('d', O_RDWR | O_CREAT), 'EISDIR')
  t.is(w.open('d', O_RDONLY | O_CREAT), 'EISDIR')
  t.is(w.open('new/', O_RDWR | O_CREAT), 'EISDIR')
  t.is(w.open('file', O_RDONLY | O_DIRECTORY), 'ENOTDIR')
  t.is(w.open('file/', O_RDONLY), 'ENOTDIR')
  t.is(w.open('s', O_RDONLY | O_NOFOLLOW), 'ELOOP')
  t.is(w.open('s', O_RDONLY | O_NOFOLLOW | O_DIRECTORY), 'ENOTDIR')
  t.is(w.open('file', O_RDWR | O_CREAT | O_EXCL), 'EEXIST')
  const path = w.fd('s', O_PATH | O_NOFOLLOW)
  t.is(w.fattributes(path).type, S_IFLNK)
  t.is(w.pread(path, 1, 0), 'EBADF')
  t.is(w.fchmod(path, 0o600), 'EBADF')
  w.close(path)
  const reader = w.fd('file', O_RDONLY)
  t.is(w.pwrite(reader, 'x', 0), 'EBADF')
  t.is(w.ftruncate(reader, 0), 'EINVAL')
  w.close(reader)
  const writer = w.fd('file', O_WRONLY)
  t.is(w.pread(writer, 1, 0), 'EBADF')
  w.close(writer)
})

semantic('open with O_CREAT makes a file with the mode, and times of the parent', (w, t) => {
  const before = w.attributes('.')
  tick()
  w.close(w.fd('f', O_WRONLY | O_CREAT, 0o6751))
  t.is(w.attributes('f').mode, 0o6751)
  t.is(w.attributes('f').size, 0)
  t.true(w.attributes('.').mtime > before.mtime)
  // An existing file keeps mode and parent's times.
  const between = w.attributes('.')
  tick()
  w.close(w.fd('f', O_WRONLY | O_CREAT, 0o600))
  t.is(w.attributes('f').mode, 0o6751)
  t.is(w.attributes('.').mtime, between.mtime)
})

semantic('open with a mode that forbids what the descriptor may do', (w, t) => {
  const fd = w.fd('f', O_RDWR | O_CREAT | O_EXCL, 0)
  t.is(w.pwrite(fd, 'hello', 0), 5)
  t.is(String(w.pread(fd, 5, 0)), 'hello')
  w.close(fd)
  t.is(w.attributes('f').mode, 0)
})

semantic('open with O_TRUNC empties the file and changes its times', (w, t) => {
  w.write('f', 'content')
  const before = w.attributes('f')
  tick()
  w.close(w.fd('f', O_WRONLY | O_TRUNC))
  const after = w.attributes('f')
  t.is(after.size, 0)
  t.true(after.mtime > before.mtime && after.ctime > before.ctime)
})

semantic('directories nested deeper than a path can say', (w, t) => {
  const sys = linux()
  const name = 'd'.repeat(200)
  const fds = [w.fd('.', O_PATH)]
  for (let depth = 0; depth < 40; depth++) {
    t.is(
      w.run(() => sys.mkdirat(fds.at(-1)!, name, 0o755)),
      0,
    )
    const fd = w.run(() => sys.openat(fds.at(-1)!, name, O_PATH))
    t.true(fd >= 0, `depth ${depth}`)
    fds.push(fd)
  }
  const deepest = fds.at(-1)!
  const file = w.run(() => sys.openat(deepest, 'f', O_RDWR | O_CREAT, 0o644))
  t.true(file >= 0)
  t.is(w.pwrite(file, 'deep', 0), 4)
  t.is(w.content(file), 'deep')
  t.is(
    w.run(() => sys.renameat2(deepest, 'f', fds[20]!, 'f', 0)),
    0,
  )
  t.is(w.content(file), 'deep')
  w.close(file)
  t.is(
    w.run(() => sys.unlinkat(fds[20]!, 'f', 0)),
    0,
  )
  for (const fd of fds) w.close(fd)
})

semantic('paths with dots, double slashes and 40 symlinks in a row', (w, t) => {
  w.mkdir('d')
  w.write('d/f', 'x')
  t.is(w.read('d/../d/./f'), 'x')
  t.is(w.read('.//d///f'), 'x')
  t.is(w.mkdir('e/'), 0)
  for (let i = 0; i < 40; i++) w.symlink(i === 0 ? 'd/f' : `s${i - 1}`, `s${i}`)
  t.is(w.read('s39'), 'x')
  w.symlink('s39', 's40')
  t.is(w.open('s40'), 'ELOOP')
})
