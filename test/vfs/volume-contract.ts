/**
 * What every volume must do: one suite, run on each implementation.
 *
 * Owns: the tests and small helpers to drive a `Volume`. A difference between volumes is a declared trait: the test that
 * needs it says so and is skipped with that reason.
 */
import test, { type ExecutionContext } from 'ava'
import { type ErrorKind, FsError } from '../../src/errors.ts'
import {
  FALLOC_KEEP_SIZE,
  FALLOC_PUNCH_HOLE,
  O_CREAT,
  O_EXCL,
  O_RDONLY,
  O_RDWR,
  O_TRUNC,
  O_WRONLY,
  SEEK_DATA,
  SEEK_HOLE,
  XATTR_CREATE,
  XATTR_REPLACE,
} from '../../src/sys/flags.ts'
import {
  type Answer,
  type Entry,
  type Ino,
  isDirectory,
  isRegular,
  isSymlink,
  type Name,
  type OpenDirectory,
  type OpenFile,
  RENAME_EXCHANGE,
  RENAME_NOREPLACE,
  type RequestContext,
  S_IFDIR,
  S_IFIFO,
  S_IFMT,
  S_IFREG,
  type Volume,
  type VolumeTraits,
} from '../../src/vfs/contract.ts'

export interface MadeVolume {
  readonly volume: Volume
  dispose(): Promise<void>
}

export const context: RequestContext = {
  uid: process.getuid?.() ?? 0,
  gid: process.getgid?.() ?? 0,
  pid: process.pid,
  umask: 0o022,
  signal: new AbortController().signal,
}

/** All names below a directory, in the order of the listing, read in slices of `slice` entries. */
export async function listNames(volume: Volume, ino: Ino, slice = Number.POSITIVE_INFINITY): Promise<Name[]> {
  const directory = await volume.opendir(context, ino)
  try {
    return await readNames(directory, slice)
  } finally {
    await directory.release()
  }
}

async function readNames(directory: OpenDirectory, slice: number): Promise<Name[]> {
  const names: Name[] = []
  let offset = 0n
  for (let more = true; more; ) {
    let taken = 0
    more = false
    await directory.read(context, offset, false, {
      add(name, _ino, _type, next) {
        if (taken === slice) {
          more = true
          return false
        }
        taken++
        offset = next
        names.push(name)
        return true
      },
    })
  }
  return names.filter(name => name !== '.' && name !== '..')
}

export interface SuiteOptions {
  /** Where the host has something else than what a front end took it for, it says 'stale': the kernel looks again by itself. */
  readonly saysStale?: boolean
}

/** Runs the suite. Each test gets a fresh volume. */
export function volumeSuite(name: string, makeVolume: () => Promise<MadeVolume>, { saysStale = false }: SuiteOptions = {}): void {
  const check = (title: string, body: (t: ExecutionContext, v: Driver) => Promise<unknown>, needs?: keyof VolumeTraits) =>
    test(`${name}: ${title}`, async t => {
      const made = await makeVolume()
      t.teardown(() => made.dispose())
      if (needs && !made.volume.traits[needs]) {
        t.log(`skipped: this volume has no ${needs}`)
        t.pass()
        return
      }
      await body(t, new Driver(made.volume))
    })

  check('a missing name is undefined, a file made is found with the attributes it was made with', async (t, v) => {
    t.is(await v.volume.lookup(context, v.root, 'a'), undefined)
    const { entry, file } = await v.volume.create(context, v.root, 'a', 0o666, O_RDWR | O_CREAT | O_EXCL)
    await file.release()
    t.is(entry.attributes.mode, S_IFREG | 0o644)
    t.is(entry.attributes.nlink, 1)
    t.is(entry.attributes.uid, context.uid)
    const found = await v.found(v.root, 'a')
    t.is(found.attributes.ino, entry.attributes.ino)
    t.is(found.generation, entry.generation)
  })

  check('create with O_EXCL refuses an existing name, without it opens that', async (t, v) => {
    const ino = await v.write(v.root, 'a', 'one')
    await v.fails(t, 'exists', () => v.volume.create(context, v.root, 'a', 0o644, O_RDWR | O_EXCL))
    if (saysStale) await v.fails(t, 'stale', () => v.volume.create(context, v.root, 'a', 0o644, O_RDWR))
    else {
      const { entry, file } = await v.volume.create(context, v.root, 'a', 0o644, O_RDWR)
      t.is(entry.attributes.ino, ino)
      await file.release()
    }
    t.is(await v.text(ino), 'one')
  })

  check('bytes are read as written, holes as zeros, the end is short', async (t, v) => {
    const { entry, file } = await v.volume.create(context, v.root, 'a', 0o644, O_RDWR)
    t.is(await file.write(context, 10_000, Buffer.from('tail'), {}), 4)
    t.is((await v.attributes(entry.attributes.ino)).sizeBytes, 10_004)
    t.deepEqual(await v.readAt(file, 9_998, 100), Buffer.from('\0\0tail', 'latin1'))
    t.is((await v.readAt(file, 10_004, 10)).length, 0)
    t.is((await v.readAt(file, 20_000, 10)).length, 0)
    await file.write(context, 0, Buffer.from('end'), { append: true })
    t.deepEqual(await v.readAt(file, 10_000, 100), Buffer.from('tailend'))
    await file.release()
  })

  check('a size that shrinks and grows shows zeros, not old bytes', async (t, v) => {
    const ino = await v.write(v.root, 'a', 'x'.repeat(9000))
    await v.volume.setattr(context, ino, { sizeBytes: 5000 })
    await v.volume.setattr(context, ino, { sizeBytes: 9000 })
    const text = await v.text(ino)
    t.is(text.slice(0, 5000), 'x'.repeat(5000))
    t.is(text.slice(5000), '\0'.repeat(4000))
  })

  check('O_TRUNC empties', async (t, v) => {
    const ino = await v.write(v.root, 'a', 'content')
    const file = await v.volume.open(context, ino, O_WRONLY | O_TRUNC)
    await file.release()
    t.is((await v.attributes(ino)).sizeBytes, 0)
  })

  check('an unlinked file stays readable and writable while it is open', async (t, v) => {
    const ino = await v.write(v.root, 'a', 'kept')
    const file = await v.volume.open(context, ino, O_RDWR)
    await v.volume.unlink(context, v.root, 'a')
    t.is(await v.volume.lookup(context, v.root, 'a'), undefined)
    t.deepEqual(await v.readAt(file, 0, 10), Buffer.from('kept'))
    await file.write(context, 4, Buffer.from('!'), {})
    t.deepEqual(await v.readAt(file, 0, 10), Buffer.from('kept!'))
    const { attributes } = await v.volume.getattr(context, ino, file)
    t.is(attributes.nlink, 0)
    await file.release()
  })

  check('directories: links, emptiness, kinds', async (t, v) => {
    const a = await v.mkdir(v.root, 'a')
    const before = (await v.attributes(a)).nlink
    const b = await v.mkdir(a, 'b')
    await v.write(b, 'f', '')
    if (before === 2) t.is((await v.attributes(a)).nlink, 3)
    await v.fails(t, 'exists', () => v.volume.mkdir(context, a, 'b', 0o755))
    await v.fails(t, 'not-empty', () => v.volume.rmdir(context, a, 'b'))
    await v.fails(t, 'not-directory', () => v.volume.rmdir(context, b, 'f'))
    await v.fails(t, 'is-directory', () => v.volume.unlink(context, a, 'b'))
    await v.fails(t, 'not-found', () => v.volume.unlink(context, b, 'g'))
    await v.fails(t, 'not-found', () => v.volume.rmdir(context, b, 'g'))
    await v.volume.unlink(context, b, 'f')
    await v.volume.rmdir(context, a, 'b')
    t.is((await v.attributes(a)).nlink, before)
    t.true(isDirectory((await v.attributes(a)).mode))
  })

  check('rename: onto nothing, onto a file, keeps the node', async (t, v) => {
    const one = await v.write(v.root, 'one', '1')
    await v.write(v.root, 'two', '2')
    const d = await v.mkdir(v.root, 'd')
    await v.volume.rename(context, v.root, 'one', d, 'uno', 0)
    t.is((await v.found(d, 'uno')).attributes.ino, one)
    await v.volume.rename(context, d, 'uno', v.root, 'two', 0)
    t.is((await v.found(v.root, 'two')).attributes.ino, one)
    t.is(await v.text(one), '1')
    t.deepEqual((await listNames(v.volume, v.root)).sort(), ['d', 'two'])
    await v.fails(t, 'not-found', () => v.volume.rename(context, v.root, 'gone', d, 'x', 0))
  })

  check('rename: what directories may replace', async (t, v) => {
    const a = await v.mkdir(v.root, 'a')
    const full = await v.mkdir(v.root, 'full')
    await v.mkdir(v.root, 'empty')
    await v.write(full, 'f', '')
    await v.write(v.root, 'file', '')
    await v.fails(t, 'not-empty', () => v.volume.rename(context, v.root, 'a', v.root, 'full', 0), 'exists')
    await v.fails(t, 'not-directory', () => v.volume.rename(context, v.root, 'a', v.root, 'file', 0))
    await v.fails(t, 'is-directory', () => v.volume.rename(context, v.root, 'file', v.root, 'a', 0))
    await v.fails(t, 'invalid', () => v.volume.rename(context, v.root, 'a', a, 'self', 0))
    await v.volume.rename(context, v.root, 'a', v.root, 'empty', 0)
    t.is((await v.found(v.root, 'empty')).attributes.ino, a)
  })

  check('rename flags: NOREPLACE and EXCHANGE', async (t, v) => {
    const one = await v.write(v.root, 'one', '1')
    const d = await v.mkdir(v.root, 'd')
    await v.fails(t, 'exists', () => v.volume.rename(context, v.root, 'one', v.root, 'd', RENAME_NOREPLACE))
    await v.volume.rename(context, v.root, 'one', v.root, 'd', RENAME_EXCHANGE)
    t.is((await v.found(v.root, 'd')).attributes.ino, one)
    t.is((await v.found(v.root, 'one')).attributes.ino, d)
    await v.fails(t, 'not-found', () => v.volume.rename(context, v.root, 'one', v.root, 'gone', RENAME_EXCHANGE))
    await v.volume.rename(context, v.root, 'one', v.root, 'free', RENAME_NOREPLACE)
    t.is((await v.found(v.root, 'free')).attributes.ino, d)
  })

  check(
    'hard links are one node; renaming one onto the other does nothing',
    async (t, v) => {
      const ino = await v.write(v.root, 'a', 'same')
      const entry = await v.volume.link(context, ino, v.root, 'b')
      t.is(entry.attributes.ino, ino)
      t.is(entry.attributes.nlink, 2)
      await v.fails(t, 'exists', () => v.volume.link(context, ino, v.root, 'b'))
      const d = await v.mkdir(v.root, 'd')
      await v.fails(t, 'not-permitted', () => v.volume.link(context, d, v.root, 'e'))
      await v.volume.rename(context, v.root, 'a', v.root, 'b', 0)
      t.deepEqual((await listNames(v.volume, v.root)).sort(), ['a', 'b', 'd'])
      await v.volume.unlink(context, v.root, 'a')
      t.is((await v.attributes(ino)).nlink, 1)
      t.is(await v.text(ino), 'same')
    },
    'hardLinks',
  )

  check(
    'an unnamed file gets its name by link, and is gone without one',
    async (t, v) => {
      const { entry, file } = await v.volume.tmpfile(context, v.root, 0o600, O_RDWR)
      await file.write(context, 0, Buffer.from('made first'), {})
      t.deepEqual(await listNames(v.volume, v.root), [])
      t.is((await v.volume.getattr(context, entry.attributes.ino, file)).attributes.nlink, 0)
      await v.volume.link(context, entry.attributes.ino, v.root, 'named')
      await file.release()
      t.is(await v.text((await v.found(v.root, 'named')).attributes.ino), 'made first')
      const other = await v.volume.tmpfile(context, v.root, 0o600, O_RDWR)
      await other.file.release()
      t.deepEqual(await listNames(v.volume, v.root), ['named'])
    },
    'hardLinks',
  )

  check(
    'symbolic links keep their target as bytes',
    async (t, v) => {
      const target = '../some where/\xff\xfe'
      const entry = await v.volume.symlink(context, v.root, 'l', target)
      t.true(isSymlink(entry.attributes.mode))
      t.is(entry.attributes.sizeBytes, target.length)
      t.is(await v.volume.readlink(context, entry.attributes.ino), target)
      const ino = await v.write(v.root, 'f', '')
      await v.fails(t, 'invalid', () => v.volume.readlink(context, ino))
    },
    'symlinks',
  )

  check(
    'special files',
    async (t, v) => {
      const entry = await v.volume.mknod(context, v.root, 'pipe', S_IFIFO | 0o666, 0)
      t.is(entry.attributes.mode & S_IFMT, S_IFIFO)
      t.is(entry.attributes.mode & 0o777, 0o644)
    },
    'specialFiles',
  )

  check('setattr: mode, owner, times to the nanosecond', async (t, v) => {
    const ino = await v.write(v.root, 'a', '')
    const { attributes: mode } = await v.volume.setattr(context, ino, { mode: 0o4751 })
    t.is(mode.mode, S_IFREG | 0o4751)
    if (context.uid === 0) {
      const { attributes: owned } = await v.volume.setattr(context, ino, { uid: 12, gid: 34 })
      t.is(owned.uid, 12)
      t.is(owned.gid, 34)
    }
    const { attributes: times } = await v.volume.setattr(context, ino, {
      atime: { sec: 1_000_000_000, nsec: 123_456_789 },
      mtime: { sec: -5, nsec: 987_654_321 },
    })
    t.is(times.atimeSec, 1_000_000_000)
    t.is(times.atimeNsec, 123_456_789)
    t.is(times.mtimeSec, -5)
    t.is(times.mtimeNsec, 987_654_321)
    const { attributes: now } = await v.volume.setattr(context, ino, { mtime: 'now' })
    t.true(Math.abs(now.mtimeSec - Date.now() / 1000) < 60)
    t.is(now.atimeSec, 1_000_000_000)
  })

  check('a write by one without privilege clears set-user-id', async (t, v) => {
    const ino = await v.write(v.root, 'a', '')
    await v.volume.setattr(context, ino, { mode: 0o6755 })
    const file = await v.volume.open(context, ino, O_WRONLY)
    await file.write(context, 0, Buffer.from('x'), { killPrivileges: true })
    await file.release()
    t.is((await v.attributes(ino)).mode & 0o7777, 0o755)
  })

  check('a set-group-id directory gives its group to what is made in it', async (t, v) => {
    if (context.uid !== 0) return t.pass()
    const d = await v.mkdir(v.root, 'd')
    await v.volume.setattr(context, d, { gid: 77 })
    await v.volume.setattr(context, d, { mode: 0o2775 })
    const file = await v.write(d, 'f', '')
    const sub = await v.mkdir(d, 's')
    t.is((await v.attributes(file)).gid, 77)
    t.is((await v.attributes(sub)).gid, 77)
    t.is((await v.attributes(sub)).mode & 0o2000, 0o2000)
  })

  check('changes move the times of the node and of its directory', async (t, v) => {
    const d = await v.mkdir(v.root, 'd')
    const past = { sec: 1_000_000, nsec: 0 }
    await v.volume.setattr(context, d, { mtime: past })
    const ino = await v.write(d, 'f', '')
    t.true((await v.attributes(d)).mtimeSec > 1_000_000)
    await v.volume.setattr(context, ino, { mtime: past })
    const file = await v.volume.open(context, ino, O_WRONLY)
    await file.write(context, 0, Buffer.from('x'), {})
    await file.release()
    t.true((await v.attributes(ino)).mtimeSec > 1_000_000)
  })

  check(
    'extended attributes: set, get, list, remove, flags',
    async (t, v) => {
      const ino = await v.write(v.root, 'a', '')
      const value = Buffer.from([0, 255, 1, 10])
      await v.volume.setxattr(context, ino, 'user.one', value, 0, false)
      await v.volume.setxattr(context, ino, 'user.two', Buffer.alloc(0), XATTR_CREATE, false)
      t.deepEqual(await v.volume.getxattr(context, ino, 'user.one'), value)
      t.is((await v.volume.getxattr(context, ino, 'user.two')).length, 0)
      t.deepEqual((await v.volume.listxattr(context, ino)).filter(n => n.startsWith('user.')).sort(), ['user.one', 'user.two'])
      await v.fails(t, 'exists', () => v.volume.setxattr(context, ino, 'user.one', value, XATTR_CREATE, false))
      await v.fails(t, 'no-attribute', () => v.volume.setxattr(context, ino, 'user.three', value, XATTR_REPLACE, false))
      await v.volume.removexattr(context, ino, 'user.one')
      await v.fails(t, 'no-attribute', () => v.volume.getxattr(context, ino, 'user.one'))
      await v.fails(t, 'no-attribute', () => v.volume.removexattr(context, ino, 'user.one'))
    },
    'extendedAttributes',
  )

  check('names: 255 bytes, any bytes, not 256', async (t, v) => {
    const long = 'n'.repeat(255)
    const odd = [long, '\xff\xfe\x80', ' ', '...', 'a\nb', '\\', 'caf\xc3\xa9', '-', '*?"<>|:']
    for (const name of odd) await v.write(v.root, name, name)
    t.deepEqual((await listNames(v.volume, v.root)).sort(), [...odd].sort())
    for (const name of odd) t.is(await v.text((await v.found(v.root, name)).attributes.ino), name)
    await v.fails(t, 'name-too-long', () => v.volume.mkdir(context, v.root, `${long}n`, 0o755))
    await v.fails(t, 'name-too-long', () => v.volume.lookup(context, v.root, `${long}n`))
  })

  check('a listing read in slices shows each entry once', async (t, v) => {
    const names = Array.from({ length: 500 }, (_, i) => `entry-${i}`)
    for (const name of names) await v.write(v.root, name, '')
    for (const slice of [1, 7, 100, 1000]) t.deepEqual((await listNames(v.volume, v.root, slice)).sort(), [...names].sort())
  })

  check('a listing with attributes says the truth; an entry refused comes again', async (t, v) => {
    const ino = await v.write(v.root, 'f', 'four')
    const d = await v.mkdir(v.root, 'd')
    const directory = await v.volume.opendir(context, v.root)
    const seen = new Map<Name, Entry>()
    let refusals = 0
    let offset = 0n
    for (let round = 0; round < 20; round++) {
      let took = false
      await directory.read(context, offset, true, {
        add(name, inoOfEntry, type, next, entry) {
          if (took) {
            refusals++
            return false
          }
          took = true
          offset = next
          if (name === '.' || name === '..') return true
          t.is(type, name === 'd' ? S_IFDIR : S_IFREG)
          t.is(inoOfEntry, name === 'd' ? d : ino)
          if (entry) seen.set(name, entry)
          return true
        },
      })
      if (!took) break
    }
    await directory.release()
    t.true(refusals > 0)
    for (const [name, entry] of seen) {
      t.is(entry.attributes.ino, name === 'd' ? d : ino)
      if (name === 'f') t.is(entry.attributes.sizeBytes, 4)
      v.volume.forget(entry.attributes.ino, 1)
    }
  })

  check('a listing goes on while entries come and go: what stays is seen once', async (t, v) => {
    const stays = Array.from({ length: 60 }, (_, i) => `stays-${i}`)
    for (const name of stays) await v.write(v.root, name, '')
    for (let i = 0; i < 60; i++) await v.write(v.root, `goes-${i}`, '')
    const directory = await v.volume.opendir(context, v.root)
    const names: Name[] = []
    let offset = 0n
    for (let round = 0, more = true; more; round++) {
      let taken = 0
      more = false
      await directory.read(context, offset, false, {
        add(name, _ino, _type, next) {
          if (taken++ === 10) {
            more = true
            return false
          }
          offset = next
          names.push(name)
          return true
        },
      })
      if (round < 60) await v.volume.unlink(context, v.root, `goes-${round}`)
    }
    await directory.release()
    t.deepEqual(names.filter(name => name.startsWith('stays')).sort(), [...stays].sort())
  })

  check('fallocate, holes and seek', async (t, v) => {
    const { entry, file } = await v.volume.create(context, v.root, 'a', 0o644, O_RDWR)
    const size = 1 << 20
    await file.write(context, 0, Buffer.alloc(size, 'x'), {})
    try {
      await file.fallocate(context, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, size / 4, size / 4)
    } catch (error) {
      await file.release()
      if (error instanceof FsError && error.kind === 'not-supported') return t.pass()
      throw error
    }
    t.deepEqual(await v.readAt(file, size / 4 - 1, 3), Buffer.from('x\0\0', 'latin1'))
    t.is((await v.attributes(entry.attributes.ino)).sizeBytes, size)
    const hole = await file.seek(context, 0, SEEK_HOLE)
    t.true(hole === size / 4 || hole === size)
    if (hole === size / 4) t.is(await file.seek(context, hole, SEEK_DATA), size / 2)
    await v.fails(t, 'no-device', () => file.seek(context, size, SEEK_DATA))
    await file.fallocate(context, 0, size, 4096)
    t.is((await v.attributes(entry.attributes.ino)).sizeBytes, size + 4096)
    await file.release()
  })

  check('copyRange copies between files, or says that it cannot', async (t, v) => {
    const from = await v.write(v.root, 'from', 'abcdefgh')
    const source = await v.volume.open(context, from, O_RDONLY)
    const { entry, file } = await v.volume.create(context, v.root, 'to', 0o644, O_RDWR)
    try {
      t.is(await source.copyRange(context, 2, file, 1, 4), 4)
      t.is(await v.text(entry.attributes.ino), '\0cdef')
      t.is(await source.copyRange(context, 8, file, 0, 4), 0)
    } catch (error) {
      t.true(error instanceof FsError && ['not-supported', 'cross-volume'].includes(error.kind))
    } finally {
      await source.release()
      await file.release()
    }
  })

  check('nothing can be made in a directory that is gone', async (t, v) => {
    const d = await v.mkdir(v.root, 'd')
    await v.volume.rmdir(context, v.root, 'd')
    await t.throwsAsync(async () => await v.volume.mkdir(context, d, 'x', 0o755), { instanceOf: FsError })
  })

  check('a number that means nothing is stale', async (t, v) => {
    const unknown = v.root + 1_000_000_007
    await v.fails(t, 'stale', () => v.volume.getattr(context, unknown))
    await v.fails(t, 'stale', () => v.volume.lookup(context, unknown, 'a'))
    await v.fails(t, 'stale', () => v.volume.open(context, unknown, O_RDONLY))
    v.volume.forget(unknown, 1)
  })

  check('a file is no directory, a directory no file', async (t, v) => {
    const f = await v.write(v.root, 'f', '')
    const d = await v.mkdir(v.root, 'd')
    const wrong = saysStale ? 'stale' : 'not-directory'
    await v.fails(t, wrong, () => v.volume.lookup(context, f, 'x'))
    await v.fails(t, wrong, () => v.volume.mkdir(context, f, 'x', 0o755))
    await v.fails(t, 'not-directory', () => v.volume.opendir(context, f))
    await v.fails(t, 'is-directory', () => v.volume.open(context, d, O_WRONLY))
    t.true(isRegular((await v.attributes(f)).mode))
  })

  check('statfs is sane', async (t, v) => {
    const s = await v.volume.statfs(context, v.root)
    t.true(s.blocks >= s.blocksFree && s.blocksFree >= s.blocksAvailable && s.blocksAvailable >= 0)
    t.true(s.blockSizeBytes >= 512 && s.nameLengthBytes >= 255)
  })
}

/** Short words for what tests do to a volume. */
class Driver {
  readonly volume: Volume
  readonly root: Ino

  constructor(volume: Volume) {
    this.volume = volume
    this.root = volume.rootIno
  }

  async write(parent: Ino, name: Name, text: string): Promise<Ino> {
    const { entry, file } = await this.volume.create(context, parent, name, 0o644, O_RDWR)
    if (text !== '') await file.write(context, 0, Buffer.from(text, 'latin1'), {})
    await file.flush(context)
    await file.release()
    return entry.attributes.ino
  }

  async mkdir(parent: Ino, name: Name): Promise<Ino> {
    return (await this.volume.mkdir(context, parent, name, 0o755)).attributes.ino
  }

  async found(parent: Ino, name: Name): Promise<Entry> {
    const entry = await this.volume.lookup(context, parent, name)
    if (!entry) throw new Error(`${name} is not there`)
    return entry
  }

  async attributes(ino: Ino) {
    return (await this.volume.getattr(context, ino)).attributes
  }

  async readAt(file: OpenFile, position: number, lengthBytes: number): Promise<Buffer> {
    const into = Buffer.alloc(lengthBytes)
    const answer = file.read(context, position, into)
    return typeof answer === 'number' ? into.subarray(0, answer) : await answer
  }

  async text(ino: Ino): Promise<string> {
    const file = await this.volume.open(context, ino, O_RDONLY)
    try {
      return (await this.readAt(file, 0, (await this.attributes(ino)).sizeBytes + 1)).toString('latin1')
    } finally {
      await file.release()
    }
  }

  async fails(t: ExecutionContext, kind: ErrorKind, act: () => Answer<unknown>, ...alsoAllowed: ErrorKind[]): Promise<void> {
    const error = await t.throwsAsync(async () => await act())
    t.true(error instanceof FsError, `an operating error, not ${error?.stack}`)
    if (error instanceof FsError) t.true([kind, ...alsoAllowed].includes(error.kind), `${kind}, not ${error.kind}`)
  }
}
