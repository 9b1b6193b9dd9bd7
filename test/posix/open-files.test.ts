/** POSIX: files without a name, exclusive creation, many descriptors, several processes. */
import { O_APPEND, O_CREAT, O_EXCL, O_PATH, O_RDONLY, O_RDWR, O_TMPFILE, O_WRONLY } from '../../src/sys/flags.ts'
import { S_IFIFO, S_IFLNK } from '../../src/vfs/contract.ts'
import { OtherProcess } from '../support/other-process.ts'
import { semantic } from './suite.ts'

semantic('a file that was deleted while open: everything works through the descriptor', (w, t) => {
  w.write('f', 'content')
  const fd = w.fd('f', O_RDWR)
  t.is(w.unlink('f'), 0)
  t.is(w.lstat('f'), 'ENOENT')
  t.is(w.fattributes(fd).nlink, 0)
  t.is(w.content(fd), 'content')
  t.is(w.pwrite(fd, 'CON', 0), 3)
  t.is(w.pwrite(fd, '!', 100), 1)
  t.is(w.fattributes(fd).size, 101)
  t.is(w.ftruncate(fd, 3), 0)
  t.is(w.content(fd), 'CON')
  t.is(w.fchmod(fd, 0o600), 0)
  t.is(w.fattributes(fd).mode, 0o600)
  const own = w.fattributes(fd)
  t.is(w.fchown(fd, own.uid, own.gid), 0)
  t.is(w.fallocate(fd, 0, 0, 8192), 0)
  t.is(w.fattributes(fd).size, 8192)
  // Another descriptor of it, and a new file of the same name beside it.
  const again = w.fd(`/proc/self/fd/${fd}`, O_RDONLY)
  w.write('f', 'another')
  t.is(String(w.pread(again, 3, 0)), 'CON')
  t.not(w.attributes('f').ino, w.fattributes(fd).ino)
  t.is(w.linkDescriptor(fd, 'back'), 'ENOENT')
  w.close(fd)
  t.is(String(w.pread(again, 3, 0)), 'CON')
  w.close(again)
  t.is(w.read('f'), 'another')
})

semantic('a file with two names, one deleted, while it is open', (w, t) => {
  w.write('a', 'x')
  w.link('a', 'b')
  const fd = w.fd('a', O_RDWR)
  w.unlink('a')
  t.is(w.fattributes(fd).nlink, 1)
  w.pwrite(fd, 'y', 0)
  t.is(w.read('b'), 'y')
  t.is(w.linkDescriptor(fd, 'a'), 0)
  t.is(w.attributes('a').nlink, 2)
  w.unlink('a')
  w.unlink('b')
  t.is(w.fattributes(fd).nlink, 0)
  t.is(w.content(fd), 'y')
  w.close(fd)
})

semantic('O_PATH descriptors of deleted things still tell what they were', (w, t) => {
  w.write('f', 'content')
  w.symlink('target', 's')
  w.mknod('p', S_IFIFO | 0o644)
  const fds = ['f', 's', 'p'].map(name => w.fd(name, O_PATH | 0o400000))
  for (const name of ['f', 's', 'p']) t.is(w.unlink(name), 0)
  const [file, link, fifo] = fds.map(fd => w.fattributes(fd))
  t.like(file, { nlink: 0, size: 7 })
  t.like(link, { nlink: 0, type: S_IFLNK })
  t.like(fifo, { nlink: 0, type: S_IFIFO })
  t.is(w.read(`/proc/self/fd/${fds[0]}`), 'content')
  t.is(w.chmod(`/proc/self/fd/${fds[2]}`, 0o600), 0)
  t.is(w.fattributes(fds[2]!).mode, 0o600)
  for (const fd of fds) w.close(fd)
})

semantic('O_TMPFILE: a file without a name, that may get one', (w, t) => {
  const opened = w.open('.', O_TMPFILE | O_RDWR, 0o640)
  if (typeof opened === 'string') return t.is(opened, 'ENOTSUP')
  t.deepEqual(w.list(), [])
  t.like(w.fattributes(opened), { nlink: 0, mode: 0o640, size: 0 })
  t.is(w.pwrite(opened, 'content', 0), 7)
  t.is(w.content(opened), 'content')
  t.is(w.fattributes(opened).size, 7)
  t.is(w.linkDescriptor(opened, 'named'), 0)
  t.is(w.fattributes(opened).nlink, 1)
  t.is(w.read('named'), 'content')
  t.is(w.attributes('named').ino, w.fattributes(opened).ino)
  w.pwrite(opened, 'CONTENT', 0)
  w.close(opened)
  t.is(w.read('named'), 'CONTENT')
  const exclusive = w.fd('.', O_TMPFILE | O_RDWR | O_EXCL, 0o600)
  t.is(w.linkDescriptor(exclusive, 'never'), 'ENOENT')
  w.close(exclusive)
  t.is(w.open('.', O_TMPFILE | O_RDONLY), 'EINVAL')
  t.is(w.open('named', O_TMPFILE | O_RDWR), 'ENOTDIR')
  for (let i = 0; i < 20; i++) w.close(w.fd('.', O_TMPFILE | O_WRONLY))
  t.deepEqual(w.list(), ['named'])
})

semantic('5,000 open files', (w, t) => {
  const fds: number[] = []
  w.quietly(() => {
    for (let i = 0; i < 5000; i++) {
      const fd = w.fd(`f${i}`, O_RDWR | O_CREAT | O_EXCL)
      fds.push(fd)
      if (w.pwrite(fd, `content of ${i}`, 0) !== `content of ${i}`.length) return t.fail(`write ${i}`)
    }
    for (const [i, fd] of fds.entries()) if (w.content(fd) !== `content of ${i}`) return t.fail(`read ${i}`)
    for (let i = 0; i < 5000; i += 2) w.unlink(`f${i}`)
    for (const [i, fd] of fds.entries()) if (w.content(fd) !== `content of ${i}`) return t.fail(`read ${i} after deletes`)
    for (const fd of fds) w.close(fd)
  })
  t.is(w.quietly(() => w.list())?.length, 2500)
})

semantic('the same file opened a thousand times', (w, t) => {
  w.write('f', 'x')
  w.quietly(() => {
    const fds = Array.from({ length: 1000 }, (_, i) => w.fd('f', i % 2 ? O_RDONLY : O_RDWR))
    for (const fd of fds.slice(0, 999)) w.close(fd)
    t.is(w.content(fds[999]!), 'x')
    w.close(fds[999]!)
  })
  t.is(w.read('f'), 'x')
})

semantic('nothing is left behind: handles and nodes go with the last close', async (w, t, mount) => {
  await settled()
  const before = await mount.statistics()
  w.quietly(() => {
    for (let i = 0; i < 100; i++) {
      w.write(`f${i}`, 'x')
      const fd = w.fd(`f${i}`)
      w.unlink(`f${i}`)
      w.close(fd)
    }
    for (let i = 0; i < 50; i++) {
      w.mkdir(`d${i}`)
      w.list(`d${i}`)
      w.rmdir(`d${i}`)
    }
    const rooms = Array.from({ length: 20 }, () => w.open('.', O_TMPFILE | O_RDWR))
    for (const fd of rooms) if (typeof fd === 'number') w.close(fd)
  })
  await settled()
  const after = await mount.statistics()
  t.is(after.openFiles, before.openFiles)
  t.is(after.openDirectories, before.openDirectories)
  t.true(after.nodes <= before.nodes + 5, `${before.nodes} nodes before, ${after.nodes} after`)
})

/** The kernel releases what was closed a moment later. */
const settled = () => new Promise(resolve => setTimeout(resolve, 100))

semantic('O_EXCL: of many processes that make a name, one wins', async (w, t) => {
  const others = await OtherProcess.startAll(4, w.persona)
  try {
    for (let round = 0; round < 20; round++) {
      const results = await Promise.all(others.map(other => other.call('open', w.path(`f${round}`), O_WRONLY | O_CREAT | O_EXCL)))
      t.is(results.filter(result => typeof result === 'number').length, 1)
      t.is(results.filter(result => result === 'EEXIST').length, 3)
    }
    const made = await Promise.all(others.map(other => other.call('makeMany', w.path('many'), 200)))
    t.is(
      made.reduce((sum, n) => sum + n, 0),
      200,
    )
    t.is(w.quietly(() => w.list())?.length, 220)
  } finally {
    for (const other of others) other.end()
  }
})

semantic('O_APPEND: what several processes append is never torn or lost', async (w, t) => {
  const others = await OtherProcess.startAll(3, w.persona)
  try {
    w.write('log')
    await Promise.all(others.map((other, i) => other.call('appendMany', w.path('log'), `process ${i} says `, 300)))
    const lines = w
      .quietly(() => w.read('log'))
      .split('\n')
      .slice(0, -1)
    t.is(lines.length, 900)
    for (const [i] of others.entries()) {
      const own = lines.filter(line => line.startsWith(`process ${i} says `))
      t.deepEqual(
        own,
        Array.from({ length: 300 }, (_, n) => `process ${i} says ${n} ${'.'.repeat(n % 97)}`),
      )
    }
  } finally {
    for (const other of others) other.end()
  }
})

semantic('O_APPEND through two descriptors of one process, one of them writing at positions too', (w, t) => {
  const [a, b, c] = [w.fd('f', O_WRONLY | O_CREAT | O_APPEND), w.fd('f', O_WRONLY | O_APPEND), w.fd('f', O_RDWR)]
  for (let i = 0; i < 100; i++) {
    w.append(i % 2 ? a : b, `${String(i).padStart(3, '0')}\n`)
    w.pwrite(c, '#', i * 4)
  }
  t.is(w.content(c), Array.from({ length: 100 }, (_, i) => `#${String(i).padStart(3, '0').slice(1)}\n`).join(''))
  for (const fd of [a, b, c]) w.close(fd)
})

semantic('one process writes, another sees it at once', async (w, t) => {
  const [other] = await OtherProcess.startAll(1, w.persona)
  try {
    const fd = w.fd('f', O_RDWR | O_CREAT)
    const theirs = await other!.call('open', w.path('f'), O_RDWR)
    for (let i = 0; i < 50; i++) {
      w.pwrite(fd, `version ${i}`, 0)
      t.is(await other!.call('content', theirs as number), `version ${i}`)
      await other!.call('pwrite', theirs as number, `VERSION ${i}`, 0)
      t.is(w.content(fd), `VERSION ${i}`)
    }
    w.close(fd)
  } finally {
    other!.end()
  }
})
