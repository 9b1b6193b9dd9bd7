/** POSIX: rename, in all its forms. */
import { O_DIRECTORY, O_RDONLY } from '../../src/sys/flags.ts'
import { RENAME_EXCHANGE, RENAME_NOREPLACE, RENAME_WHITEOUT, S_IFCHR, S_IFDIR, S_IFIFO, S_IFREG } from '../../src/vfs/contract.ts'
import { semantic, tick } from './suite.ts'

semantic('rename keeps the node, its content and its times', (w, t) => {
  w.write('a', 'content')
  w.utimens('a', 1_000_000_000_123_456_789n, 2_000_000_000_987_654_321n)
  const before = w.attributes('a')
  tick()
  t.is(w.rename('a', 'b'), 0)
  const after = w.attributes('b')
  t.is(after.ino, before.ino)
  t.is(after.mtime, before.mtime)
  t.is(after.nlink, 1)
  t.is(w.read('b'), 'content')
  t.is(w.lstat('a'), 'ENOENT')
})

semantic('rename changes the times of both parents', (w, t) => {
  w.mkdir('from')
  w.mkdir('to')
  w.write('from/a')
  const [from, to] = [w.attributes('from'), w.attributes('to')]
  tick()
  t.is(w.rename('from/a', 'to/a'), 0)
  t.true(w.attributes('from').mtime > from.mtime && w.attributes('from').ctime > from.ctime)
  t.true(w.attributes('to').mtime > to.mtime && w.attributes('to').ctime > to.ctime)
})

semantic('rename over a file replaces it; over itself does nothing', (w, t) => {
  w.write('a', 'new')
  w.write('b', 'old')
  const { ino } = w.attributes('a')
  t.is(w.rename('a', 'b'), 0)
  t.is(w.read('b'), 'new')
  t.is(w.attributes('b').ino, ino)
  t.deepEqual(w.list(), ['b'])
  t.is(w.rename('b', 'b'), 0)
  t.is(w.read('b'), 'new')
})

semantic('rename between two names of one file does nothing', (w, t) => {
  w.write('a', 'x')
  w.link('a', 'b')
  t.is(w.rename('a', 'b'), 0)
  t.deepEqual(w.list(), ['a', 'b'])
  t.is(w.attributes('a').nlink, 2)
  t.is(w.read('a'), 'x')
  t.is(w.unlink('a'), 0)
  t.is(w.read('b'), 'x')
  t.is(w.attributes('b').nlink, 1)
})

semantic('rename over a file that has other names', (w, t) => {
  w.write('a', 'a')
  w.write('b', 'b')
  w.link('b', 'c')
  t.is(w.rename('a', 'b'), 0)
  t.is(w.attributes('c').nlink, 1)
  t.is(w.read('c'), 'b')
  t.is(w.read('b'), 'a')
})

semantic('rename over a file that is open: the open one stays as it was', (w, t) => {
  w.write('a', 'new')
  w.write('b', 'old')
  const fd = w.fd('b')
  t.is(w.rename('a', 'b'), 0)
  t.is(w.content(fd), 'old')
  t.is(w.fattributes(fd).nlink, 0)
  t.is(w.pwrite(fd, 'more', 3), 4)
  t.is(w.content(fd), 'oldmore')
  t.is(w.read('b'), 'new')
  t.is(w.ftruncate(fd, 1), 0)
  t.is(w.fattributes(fd).size, 1)
  t.is(w.attributes('b').size, 3)
  w.close(fd)
})

semantic('rename of a file that is open: the descriptor follows', (w, t) => {
  w.write('a', 'x')
  w.mkdir('d')
  const fd = w.fd('a')
  t.is(w.rename('a', 'd/b'), 0)
  t.is(w.pwrite(fd, 'yz', 1), 2)
  t.is(w.read('d/b'), 'xyz')
  t.is(w.fattributes(fd).nlink, 1)
  t.is(w.fchmod(fd, 0o600), 0)
  t.is(w.attributes('d/b').mode, 0o600)
  w.close(fd)
})

semantic('rename of a directory: what is below moves with it', (w, t) => {
  w.mkdir('a')
  w.mkdir('a/b')
  w.write('a/b/f', 'x')
  w.mkdir('c')
  const inside = w.fd('a/b', O_RDONLY | O_DIRECTORY)
  const { ino } = w.attributes('a/b/f')
  t.is(w.rename('a', 'c/d'), 0)
  t.is(w.read('c/d/b/f'), 'x')
  t.is(w.attributes('c/d/b/f').ino, ino)
  t.is(w.lstat('a'), 'ENOENT')
  t.is(w.lstat('a/b/f'), 'ENOENT')
  t.is(w.attributes('c').nlink, 3)
  t.deepEqual(
    w
      .entries(inside)
      .map(entry => entry.name)
      .sort(),
    ['.', '..', 'f'],
  )
  w.close(inside)
  t.is(w.attributes('c/d/b/../../d').ino, w.attributes('c/d').ino)
  t.is(w.attributes('c/d/..').ino, w.attributes('c').ino)
})

semantic('rename of directories: what is refused', (w, t) => {
  w.mkdir('a')
  w.mkdir('a/b')
  w.mkdir('full')
  w.write('full/f')
  w.mkdir('empty')
  w.write('file')
  t.is(w.rename('a', 'a/b/c'), 'EINVAL')
  t.is(w.rename('a', 'a/c'), 'EINVAL')
  t.is(w.rename('a', 'full'), 'ENOTEMPTY')
  t.is(w.rename('a', 'file'), 'ENOTDIR')
  t.is(w.rename('file', 'a'), 'EISDIR')
  t.is(w.rename('a/b', 'a'), 'ENOTEMPTY')
  t.is(w.rename('a/.', 'x'), 'EBUSY')
  t.is(w.rename('a/..', 'x'), 'EBUSY')
  t.is(w.rename('a', 'x/'), 0)
  t.is(w.rename('x', 'a'), 0)
  t.is(w.rename('file', 'x/'), 'ENOTDIR')
  t.is(w.rename('a', 'empty'), 0)
  t.deepEqual(w.list('empty'), ['b'])
})

semantic('rename over an empty directory that is open', (w, t) => {
  w.mkdir('a')
  w.write('a/f')
  w.mkdir('b')
  const fd = w.fd('b', O_RDONLY | O_DIRECTORY)
  t.is(w.rename('a', 'b'), 0)
  t.is(w.fattributes(fd).nlink, 0)
  t.deepEqual(w.list('b'), ['f'])
  w.close(fd)
})

semantic('rename of symlinks and fifos moves them, not what they mean', (w, t) => {
  w.write('file', 'x')
  w.symlink('file', 's')
  w.mknod('fifo', S_IFIFO | 0o644)
  t.is(w.rename('s', 's2'), 0)
  t.is(w.readlink('s2'), 'file')
  t.is(w.rename('fifo', 's2'), 0)
  t.is(w.attributes('s2').type, S_IFIFO)
  t.is(w.read('file'), 'x')
})

semantic('RENAME_NOREPLACE', (w, t) => {
  w.write('a', 'a')
  w.write('b', 'b')
  w.mkdir('d')
  t.is(w.rename('a', 'b', RENAME_NOREPLACE), 'EEXIST')
  t.is(w.rename('a', 'd', RENAME_NOREPLACE), 'EEXIST')
  t.is(w.rename('a', 'a', RENAME_NOREPLACE), 'EEXIST')
  t.is(w.read('b'), 'b')
  t.is(w.rename('a', 'c', RENAME_NOREPLACE), 0)
  t.is(w.read('c'), 'a')
  t.deepEqual(w.list(), ['b', 'c', 'd'])
})

semantic('RENAME_EXCHANGE swaps two names of any kind', (w, t) => {
  w.write('file', 'x')
  w.mkdir('d')
  w.write('d/in', 'y')
  w.mkdir('other')
  w.symlink('file', 'other/s')
  const [file, directory] = [w.attributes('file'), w.attributes('d')]
  t.is(w.rename('file', 'd', RENAME_EXCHANGE), 0)
  t.is(w.attributes('file').type, S_IFDIR)
  t.is(w.attributes('file').ino, directory.ino)
  t.is(w.attributes('d').type, S_IFREG)
  t.is(w.attributes('d').ino, file.ino)
  t.is(w.read('file/in'), 'y')
  t.is(w.read('d'), 'x')
  t.is(w.rename('other/s', 'file', RENAME_EXCHANGE), 0)
  t.is(w.read('other/s/in'), 'y')
  t.is(w.readlink('file'), 'file')
  t.is(w.attributes('other').nlink, 3)
  t.is(w.rename('missing', 'file', RENAME_EXCHANGE), 'ENOENT')
  t.is(w.rename('file', 'missing', RENAME_EXCHANGE), 'ENOENT')
  t.is(w.rename('d', 'd', RENAME_EXCHANGE), 0)
  t.is(w.rename('other', 'other/s', RENAME_EXCHANGE), 'EINVAL')
})

semantic('RENAME_EXCHANGE of two names of one file', (w, t) => {
  w.write('a', 'x')
  w.link('a', 'b')
  t.is(w.rename('a', 'b', RENAME_EXCHANGE), 0)
  t.is(w.read('a'), 'x')
  t.is(w.attributes('b').nlink, 2)
  t.is(w.unlink('a'), 0)
  t.is(w.read('b'), 'x')
})

semantic('RENAME_EXCHANGE of open files: each descriptor follows its file', (w, t) => {
  w.write('a', 'a')
  w.write('b', 'b')
  const [a, b] = [w.fd('a'), w.fd('b')]
  t.is(w.rename('a', 'b', RENAME_EXCHANGE), 0)
  w.pwrite(a, '+', 1)
  w.pwrite(b, '-', 1)
  t.is(w.read('b'), 'a+')
  t.is(w.read('a'), 'b-')
  w.close(a)
  w.close(b)
})

semantic('rename flags that contradict each other', (w, t) => {
  w.write('a')
  w.write('b')
  t.is(w.rename('a', 'b', RENAME_NOREPLACE | RENAME_EXCHANGE), 'EINVAL')
  t.is(w.rename('a', 'b', RENAME_WHITEOUT | RENAME_EXCHANGE), 'EINVAL')
  t.is(w.rename('a', 'b', 1 << 10), 'EINVAL')
})

semantic(
  'RENAME_WHITEOUT leaves a whiteout, or is refused',
  (w, t) => {
    w.write('a', 'x')
    const result = w.rename('a', 'b', RENAME_WHITEOUT)
    // The kernel offers it to no FUSE filesystem (fs/fuse/dir.c).
    if (result === 'EINVAL') return t.is(w.read('a'), 'x')
    t.is(result, 0)
    t.like(w.attributes('a'), { type: S_IFCHR, major: 0, minor: 0 })
    t.is(w.read('b'), 'x')
  },
  { needsRoot: true, mountOnly: true },
)

semantic('a directory moved up and down a hundred times', (w, t) => {
  w.mkdir('a')
  w.mkdir('a/b')
  w.mkdir('a/b/c')
  w.write('a/b/c/f', 'x')
  for (let i = 0; i < 50; i++) {
    t.is(w.rename('a/b/c', 'c'), 0)
    t.is(w.read('c/f'), 'x')
    t.is(w.rename('c', 'a/b/c'), 0)
    t.is(w.read('a/b/c/f'), 'x')
  }
})

semantic('a name that is replaced again and again, as editors save', (w, t) => {
  for (let i = 0; i < 50; i++) {
    w.write('new', `version ${i}`)
    t.is(w.rename('new', 'document'), 0)
    t.is(w.read('document'), `version ${i}`)
    t.is(w.attributes('document').nlink, 1)
  }
  t.deepEqual(w.list(), ['document'])
})
