/** POSIX: time stamps. */
import { O_APPEND, O_CREAT, O_RDONLY, O_RDWR } from '../../src/sys/flags.ts'
import { S_IFIFO } from '../../src/vfs/contract.ts'
import { semantic, tick } from './suite.ts'
import type { World } from './world.ts'

const SECOND = 1_000_000_000n

semantic('utimensat keeps nanoseconds, before 1970 and after 2038', (w, t) => {
  w.write('f')
  w.mkdir('d')
  w.symlink('f', 's')
  w.mknod('p', S_IFIFO | 0o644)
  const times = [
    0n,
    1n,
    999_999_999n,
    1_700_000_000n * SECOND + 123_456_789n,
    2n ** 31n * SECOND + 5n, // one second after what 32 bits hold
    4_000_000_000n * SECOND + 987_654_321n,
    -1n, // the last nanosecond of 1969
    -1_000_000_000n * SECOND + 1n,
    -(2n ** 31n) * SECOND,
  ]
  for (const name of ['f', 'd', 's', 'p'])
    for (const [i, atime] of times.entries()) {
      const mtime = times[times.length - 1 - i]!
      t.is(w.utimens(name, atime, mtime), 0)
      const after = w.attributes(name)
      t.is(after.atime, atime, `${name} atime`)
      t.is(after.mtime, mtime, `${name} mtime`)
      w.note(name, after.atime, after.mtime)
    }
})

semantic('utimensat: times beyond what the filesystem holds are cut as it cuts them', (w, t) => {
  w.write('f')
  for (const seconds of [2n ** 33n, 2n ** 34n, 2n ** 40n, -(2n ** 33n)]) {
    t.is(w.utimens('f', seconds * SECOND, seconds * SECOND), 0)
    w.note(w.attributes('f').mtime, w.attributes('f').atime)
  }
})

semantic('utimensat: UTIME_NOW and UTIME_OMIT, together and alone', (w, t) => {
  w.write('f')
  w.utimens('f', 1n * SECOND, 2n * SECOND)
  t.is(w.utimens('f', undefined, 3n * SECOND), 0)
  t.like(w.attributes('f'), { atime: 1n * SECOND, mtime: 3n * SECOND })
  t.is(w.utimens('f', 4n * SECOND, undefined), 0)
  t.like(w.attributes('f'), { atime: 4n * SECOND, mtime: 3n * SECOND })
  t.is(w.utimens('f', undefined, undefined), 0)
  t.like(w.attributes('f'), { atime: 4n * SECOND, mtime: 3n * SECOND })
  const before = BigInt(Date.now() - 100) * 1_000_000n
  t.is(w.utimens('f', 'now', undefined), 0)
  t.true(w.attributes('f').atime > before)
  t.is(w.attributes('f').mtime, 3n * SECOND)
  t.is(w.utimens('f', 5n * SECOND, 'now'), 0)
  t.is(w.attributes('f').atime, 5n * SECOND)
  t.true(w.attributes('f').mtime > before)
  t.is(w.utimens('f', 'now', 'now'), 0)
  t.true(w.attributes('f').atime > before)
})

semantic('utimensat changes ctime, and of a symlink its own times', (w, t) => {
  w.write('f')
  w.symlink('f', 's')
  const [file, link] = [w.attributes('f'), w.attributes('s')]
  tick()
  t.is(w.utimens('s', 1n, 2n), 0)
  t.true(w.attributes('s').ctime > link.ctime)
  t.like(w.attributes('f'), { mtime: file.mtime, ctime: file.ctime })
  t.is(w.utimens('f', 1n, 2n), 0)
  t.true(w.attributes('f').ctime > file.ctime)
})

type Changed = 'mtime' | 'ctime'

/** What an operation does to the times of a name. */
function changes(title: string, prepare: (w: World) => void, act: (w: World) => unknown, name: string, expected: readonly Changed[]): void {
  semantic(`times: ${title}`, async (w, t) => {
    prepare(w)
    const before = w.attributes(name)
    tick()
    await act(w)
    const after = w.attributes(name)
    const changed = (['mtime', 'ctime'] as const).filter(which => after[which] !== before[which])
    t.deepEqual(changed, [...expected])
    for (const which of changed) t.true(after[which] > before[which])
  })
}

const file = (w: World) => w.write('f', 'content')
const directory = (w: World) => w.mkdir('d')
const both: Changed[] = ['mtime', 'ctime']

changes('chmod', file, w => w.chmod('f', 0o600), 'f', ['ctime'])
changes('chmod of a directory', directory, w => w.chmod('d', 0o700), 'd', ['ctime'])
changes('chown', file, w => w.chown('f', w.persona.uid, w.persona.gid), 'f', ['ctime'])
changes('link', file, w => w.link('f', 'g'), 'f', ['ctime'])
changes('write', file, w => w.write('f', 'CONTENT'), 'f', both)
changes(
  'append',
  file,
  w => {
    const fd = w.fd('f', O_RDWR | O_APPEND)
    w.append(fd, 'x')
    w.close(fd)
  },
  'f',
  both,
)
changes('truncate to another size', file, w => w.truncate('f', 3), 'f', both)
changes('truncate to the same size', file, w => w.truncate('f', 7), 'f', both)
changes('read', file, w => w.read('f'), 'f', [])
changes(
  'open and close',
  file,
  w => {
    w.close(w.fd('f', O_RDWR))
    w.close(w.fd('f', O_RDONLY))
  },
  'f',
  [],
)
changes(
  'fallocate that extends',
  file,
  w => {
    const fd = w.fd('f', O_RDWR)
    w.fallocate(fd, 0, 0, 10_000)
    w.close(fd)
  },
  'f',
  both,
)
changes('setxattr', file, w => w.setxattr('f', 'user.a', 'b'), 'f', ['ctime'])
changes(
  'rename (the parent)',
  w => [directory(w), w.write('d/a')],
  w => w.rename('d/a', 'd/b'),
  'd',
  both,
)
changes('create in a directory', directory, w => w.close(w.fd('d/f', O_RDWR | O_CREAT)), 'd', both)
changes(
  'unlink in a directory',
  w => [directory(w), w.write('d/a')],
  w => w.unlink('d/a'),
  'd',
  both,
)
changes('symlink in a directory', directory, w => w.symlink('x', 'd/s'), 'd', both)
changes('mkfifo in a directory', directory, w => w.mknod('d/p', S_IFIFO | 0o644), 'd', both)
changes(
  'link into a directory',
  w => [directory(w), file(w)],
  w => w.link('f', 'd/g'),
  'd',
  both,
)
changes(
  'a failed create',
  w => [directory(w), w.write('d/f')],
  w => w.mkdir('d/f'),
  'd',
  [],
)
changes(
  'a listing',
  w => [directory(w), w.write('d/f')],
  w => w.list('d'),
  'd',
  [],
)
changes(
  'write to a file below',
  w => [directory(w), w.write('d/f')],
  w => w.write('d/f', 'x'),
  'd',
  [],
)
