/** What programs see of a volume through the FUSE library, with a volume in memory and with a location. */
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import * as fs from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import test, { type ExecutionContext } from 'ava'
import { linux } from '../../src/sys/linux.ts'
import { Mounted, whyNoLibfuse } from './mounted.ts'

/** Longer than the kernel believes what it was told. */
const UNTIL_ASKED_AGAIN_MS = 1_300
const RENAME_NOREPLACE = 1
const RENAME_EXCHANGE = 2
const AT_FDCWD = -100

const unable = await whyNoLibfuse()
const mounts = new Map<string, Mounted>()

test.after.always(async () => {
  for (const mounted of mounts.values()) await mounted.dispose()
})

/** Runs in an empty folder of a volume of each kind; afterwards nothing may be open, nothing may have failed. */
function semantic(title: string, body: (t: ExecutionContext, folder: string, mounted: Mounted) => void | Promise<void>): void {
  for (const kind of ['memory', 'location'] as const) {
    const name = `${kind}: ${title}`
    if (unable) {
      test.skip(`${name} (${unable})`, () => {})
      continue
    }
    test.serial(name, async t => {
      let mounted = mounts.get(kind)
      if (!mounted) mounts.set(kind, (mounted = await new Mounted(kind).start()))
      const folder = join(mounted.volume, `t${randomBytes(6).toString('hex')}`)
      fs.mkdirSync(folder)
      await body(t, folder, mounted)
      fs.rmSync(folder, { recursive: true })
      t.notRegex(mounted.log, / error /)
    })
  }
}

const errno = (action: () => unknown): string => {
  try {
    action()
    return 'no error'
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? String(error)
  }
}

semantic('a file is written, read, appended to, truncated and removed', (t, folder) => {
  const path = join(folder, 'file')
  fs.writeFileSync(path, 'one')
  fs.appendFileSync(path, ' two')
  t.is(fs.readFileSync(path, 'utf8'), 'one two')
  fs.truncateSync(path, 3)
  t.is(fs.readFileSync(path, 'utf8'), 'one')
  fs.truncateSync(path, 5)
  t.is(fs.readFileSync(path, 'latin1'), 'one\0\0')
  t.is(
    errno(() => fs.openSync(path, 'wx')),
    'EEXIST',
  )
  t.is(
    errno(() => fs.readdirSync(path)),
    'ENOTDIR',
  )
  fs.unlinkSync(path)
  t.is(
    errno(() => fs.readFileSync(path)),
    'ENOENT',
  )
})

semantic('two that append to one file lose nothing', (t, folder) => {
  const path = join(folder, 'log')
  const a = fs.openSync(path, 'a')
  const b = fs.openSync(path, 'a')
  for (let i = 0; i < 50; i++) {
    fs.writeSync(a, `a${i}\n`)
    fs.writeSync(b, `b${i}\n`)
  }
  fs.closeSync(a)
  fs.closeSync(b)
  t.is(fs.readFileSync(path, 'utf8').split('\n').length, 101)
})

semantic('attributes are kept: mode, owner, times to the nanosecond', (t, folder) => {
  const path = join(folder, 'file')
  fs.writeFileSync(path, '', { mode: 0o666 })
  fs.chmodSync(path, 0o4750)
  t.is(fs.statSync(path).mode & 0o7777, 0o4750)
  if (process.getuid?.() === 0) {
    fs.chownSync(path, 1234, 5678)
    const { uid, gid } = fs.statSync(path)
    t.deepEqual([uid, gid], [1234, 5678])
    fs.chownSync(path, 0, -1)
    t.is(fs.statSync(path).gid, 5678)
  }
  const sys = linux()
  t.is(
    sys.utimensat(AT_FDCWD, path, [
      { sec: 1_000_000_001, nsec: 123_456_789 },
      { sec: -5, nsec: 987_654_321 },
    ]),
    0,
  )
  const { atimeNs, mtimeNs } = fs.statSync(path, { bigint: true })
  t.deepEqual([atimeNs, mtimeNs], [1_000_000_001_123_456_789n, -4_012_345_679n])
  const UTIME_OMIT = 0x3ffffffe
  t.is(
    sys.utimensat(AT_FDCWD, path, [
      { sec: 0, nsec: UTIME_OMIT },
      { sec: 7, nsec: 0 },
    ]),
    0,
  )
  const after = fs.statSync(path, { bigint: true })
  t.deepEqual([after.atimeNs, after.mtimeNs], [1_000_000_001_123_456_789n, 7_000_000_000n])
})

semantic('the caller owns what it makes, with its umask', (t, folder) => {
  if (process.getuid?.() !== 0) {
    t.log('needs root')
    t.pass()
    return
  }
  fs.chmodSync(folder, 0o777)
  const path = join(folder, 'file')
  const made = spawnSync('setpriv', [
    '--reuid=1234',
    '--regid=5678',
    '--clear-groups',
    'sh',
    '-c',
    `umask 027; echo > "${path}"; mkdir "${path}.d"`,
  ])
  t.is(made.status, 0, String(made.stderr))
  const { uid, gid, mode } = fs.statSync(path)
  t.deepEqual([uid, gid, mode & 0o777], [1234, 5678, 0o640])
  t.is(fs.statSync(`${path}.d`).mode & 0o777, 0o750)
  fs.chmodSync(path, 0o600)
  t.is(spawnSync('setpriv', ['--reuid=4321', '--regid=4321', '--clear-groups', 'cat', path]).status, 1)
})

semantic('rename moves, replaces, and keeps to its flags', (t, folder) => {
  const at = (name: string) => join(folder, name)
  const sys = linux()
  fs.writeFileSync(at('a'), 'a')
  fs.writeFileSync(at('b'), 'b')
  fs.mkdirSync(at('d'))
  t.is(sys.renameat2(AT_FDCWD, at('a'), AT_FDCWD, at('b'), RENAME_NOREPLACE), -17)
  t.is(sys.renameat2(AT_FDCWD, at('a'), AT_FDCWD, at('b'), RENAME_EXCHANGE), 0)
  t.is(fs.readFileSync(at('a'), 'utf8'), 'b')
  fs.renameSync(at('a'), at('b'))
  t.is(fs.readFileSync(at('b'), 'utf8'), 'b')
  fs.renameSync(at('b'), at('d/c'))
  t.deepEqual(fs.readdirSync(folder), ['d'])
  t.is(
    errno(() => fs.renameSync(at('d'), at('d/e'))),
    'EINVAL',
  )
  fs.mkdirSync(at('e'))
  t.is(
    errno(() => fs.renameSync(at('e'), at('d'))),
    'ENOTEMPTY',
  )
})

semantic('a renamed folder is found under its new name, with all below it', (t, folder) => {
  const at = (name: string) => join(folder, name)
  fs.mkdirSync(at('one/two/three'), { recursive: true })
  fs.writeFileSync(at('one/two/three/file'), 'x')
  const fd = fs.openSync(at('one/two/three/file'), 'r+')
  fs.renameSync(at('one'), at('uno'))
  fs.mkdirSync(at('one'))
  t.is(fs.readFileSync(at('uno/two/three/file'), 'utf8'), 'x')
  t.is(
    errno(() => fs.statSync(at('one/two'))),
    'ENOENT',
  )
  fs.writeSync(fd, 'y', 0)
  fs.unlinkSync(at('uno/two/three/file'))
  fs.renameSync(at('uno'), at('one/uno'))
  t.is(fs.fstatSync(fd).nlink, 0)
  fs.closeSync(fd)
  t.deepEqual(fs.readdirSync(at('one/uno/two/three')), [])
})

semantic('a file that was deleted while open stays usable, and leaves no name', (t, folder, mounted) => {
  const path = join(folder, 'file')
  const fd = fs.openSync(path, 'w+')
  fs.writeSync(fd, 'hello')
  fs.unlinkSync(path)
  t.deepEqual(fs.readdirSync(folder), [])
  if (fs.existsSync(join(mounted.folder, folder.split('/').at(-1)!)))
    t.deepEqual(fs.readdirSync(join(mounted.folder, folder.split('/').at(-1)!)), [])
  t.is(fs.fstatSync(fd).nlink, 0)
  t.is(fs.fstatSync(fd).size, 5)
  fs.fchmodSync(fd, 0o600)
  fs.ftruncateSync(fd, 3)
  fs.futimesSync(fd, 1, 2)
  t.is(fs.fstatSync(fd).mtimeMs, 2000)
  const again = Buffer.alloc(5)
  t.is(fs.readSync(fd, again, 0, 5, 0), 3)
  const reopened = fs.openSync(`/proc/self/fd/${fd}`, 'r')
  t.is(fs.readSync(reopened, again, 0, 5, 0), 3)
  fs.writeFileSync(path, 'another')
  fs.closeSync(fd)
  t.is(fs.fstatSync(reopened).size, 3)
  fs.closeSync(reopened)
  t.is(fs.readFileSync(path, 'utf8'), 'another')
})

semantic('a folder can be removed when all that was in it is deleted, though still open', (t, folder) => {
  const directory = join(folder, 'd')
  fs.mkdirSync(directory)
  const fd = fs.openSync(join(directory, 'file'), 'w+')
  fs.writeSync(fd, 'x')
  fs.unlinkSync(join(directory, 'file'))
  fs.rmdirSync(directory)
  t.is(fs.readSync(fd, Buffer.alloc(1), 0, 1, 0), 1)
  fs.closeSync(fd)
})

semantic('replacing an open file keeps the old one for who has it open', (t, folder) => {
  const path = join(folder, 'file')
  fs.writeFileSync(path, 'old')
  const fd = fs.openSync(path, 'r')
  fs.writeFileSync(`${path}.new`, 'newer')
  fs.renameSync(`${path}.new`, path)
  t.is(fs.readFileSync(path, 'utf8'), 'newer')
  t.is(fs.readFileSync(fd, 'utf8'), 'old')
  fs.closeSync(fd)
  t.deepEqual(fs.readdirSync(folder), ['file'])
})

semantic('links: hard ones share what they hold, symbolic ones say where', async (t, folder) => {
  const at = (name: string) => join(folder, name)
  fs.writeFileSync(at('a'), 'shared')
  fs.linkSync(at('a'), at('b'))
  t.is(fs.statSync(at('b')).nlink, 2)
  fs.writeFileSync(at('b'), 'changed')
  await sleep(UNTIL_ASKED_AGAIN_MS)
  t.is(fs.readFileSync(at('a'), 'utf8'), 'changed')
  fs.unlinkSync(at('a'))
  await sleep(UNTIL_ASKED_AGAIN_MS)
  t.is(fs.statSync(at('b')).nlink, 1)
  fs.symlinkSync('b', at('s'))
  t.is(fs.readlinkSync(at('s')), 'b')
  t.is(fs.readFileSync(at('s'), 'utf8'), 'changed')
  fs.symlinkSync('é/日本', at('u'))
  t.is(fs.readlinkSync(at('u')), 'é/日本')
  t.is(
    errno(() => fs.linkSync(at('b'), at('s'))),
    'EEXIST',
  )
})

semantic('extended attributes are set, listed, read and removed', (t, folder) => {
  const sys = linux()
  const path = join(folder, 'file')
  fs.writeFileSync(path, '')
  const value = randomBytes(300)
  t.is(sys.lsetxattr(path, 'user.one', value, 0), 0)
  t.is(sys.lsetxattr(path, 'user.empty', Buffer.alloc(0), 0), 0)
  t.is(sys.lsetxattr(path, 'user.one', value, 1), -17)
  t.is(sys.lsetxattr(path, 'user.two', value, 2), -61)
  const into = Buffer.alloc(400)
  t.is(sys.lgetxattr(path, 'user.one', into), 300)
  t.deepEqual(into.subarray(0, 300), value)
  t.is(sys.lgetxattr(path, 'user.one', Buffer.alloc(10)), -34)
  t.is(sys.lgetxattr(path, 'user.none', into), -61)
  const length = sys.llistxattr(path, into)
  t.deepEqual(into.toString('latin1', 0, length).split('\0').sort(), ['', 'user.empty', 'user.one'])
  t.is(sys.lremovexattr(path, 'user.one'), 0)
  t.is(sys.lgetxattr(path, 'user.one', into), -61)
})

semantic('special files are made and are what they are', (t, folder) => {
  const fifo = join(folder, 'fifo')
  execFileSync('mkfifo', [fifo])
  t.true(fs.statSync(fifo).isFIFO())
  if (process.getuid?.() !== 0) return
  const device = join(folder, 'null')
  execFileSync('mknod', [device, 'c', '1', '300'])
  t.is(fs.statSync(device).rdev, (1 << 8) | (300 & 0xff) | ((300 & ~0xff) << 12))
})

semantic('holes, ranges and copies', (t, folder) => {
  const sys = linux()
  const path = join(folder, 'file')
  const fd = fs.openSync(path, 'w+')
  fs.writeSync(fd, Buffer.alloc(65_536, 1), 0, 65_536, 0)
  fs.writeSync(fd, Buffer.alloc(65_536, 2), 0, 65_536, 1 << 20)
  const SEEK_DATA = 3
  const SEEK_HOLE = 4
  t.is(sys.lseek(fd, 0, SEEK_HOLE), 65_536)
  t.is(sys.lseek(fd, 65_536, SEEK_DATA), 1 << 20)
  t.is(sys.lseek(fd, 2 << 20, SEEK_DATA), -6)
  t.is(sys.fallocate(fd, 3, 0, 65_536), 0)
  const byte = Buffer.alloc(1)
  fs.readSync(fd, byte, 0, 1, 100)
  t.is(byte[0], 0)
  t.is(sys.fallocate(fd, 0, 0, 2 << 20), 0)
  t.is(fs.fstatSync(fd).size, 2 << 20)
  const copy = fs.openSync(`${path}.copy`, 'w+')
  let copied = 0
  while (copied < 2 << 20) {
    const n = sys.copyFileRange(fd, copied, copy, copied, (2 << 20) - copied)
    if (n <= 0) break
    copied += n
  }
  t.is(copied, 2 << 20)
  fs.closeSync(fd)
  fs.closeSync(copy)
  t.true(fs.readFileSync(`${path}.copy`).equals(fs.readFileSync(path)))
})

semantic('a folder of 10,000 names is listed whole, also while it shrinks', (t, folder) => {
  const names = Array.from({ length: 10_000 }, (_, i) => `name-${i}-${'x'.repeat(i % 60)}`).sort()
  for (const name of names) fs.closeSync(fs.openSync(join(folder, name), 'w'))
  t.deepEqual(fs.readdirSync(folder).sort(), names)
  const kinds = fs.readdirSync(folder, { withFileTypes: true })
  t.true(kinds.every(entry => entry.isFile()))
  const open = fs.opendirSync(folder)
  let seen = 0
  for (let entry = open.readSync(); entry; entry = open.readSync()) {
    fs.unlinkSync(join(folder, entry.name))
    seen++
  }
  open.closeSync()
  t.is(seen, 10_000)
  t.deepEqual(fs.readdirSync(folder), [])
})

semantic('a large file comes back byte for byte, also past 4 GiB', (t, folder) => {
  const path = join(folder, 'large')
  const piece = randomBytes(1 << 20)
  const wrote = createHash('sha256')
  const fd = fs.openSync(path, 'w+')
  for (let i = 0; i < 64; i++) {
    piece.writeUInt32LE(i, 0)
    wrote.update(piece)
    fs.writeSync(fd, piece)
  }
  const far = 5 * 2 ** 30 + 123
  fs.writeSync(fd, 'far away', far)
  fs.fsyncSync(fd)
  fs.closeSync(fd)
  t.is(fs.statSync(path).size, far + 8)
  const read = fs.openSync(path, 'r')
  const got = createHash('sha256')
  const into = Buffer.alloc(300_000)
  for (let at = 0; at < 64 << 20; ) {
    const n = fs.readSync(read, into, 0, Math.min(into.length, (64 << 20) - at), at)
    got.update(into.subarray(0, n))
    at += n
  }
  t.is(got.digest('hex'), wrote.digest('hex'))
  t.is(fs.readSync(read, into, 0, 100, far), 8)
  t.is(into.toString('latin1', 0, 8), 'far away')
  fs.closeSync(read)
})

semantic('names are what they were: 255 bytes, any script, what other systems leave behind', (t, folder) => {
  const names = [
    'n'.repeat(255),
    'ü'.repeat(127),
    '日本語.txt',
    'e\u0301',
    '\u00e9',
    '👩‍👩‍👧',
    '._file',
    '.DS_Store',
    ' ',
    '\n',
    '\\',
    'a:b',
    '\uf8ff',
    '\uefc3\uefa9x',
  ]
  for (const name of names) fs.writeFileSync(join(folder, name), name)
  t.deepEqual(fs.readdirSync(folder).sort(), names.map(name => name.replace('\uefc3\uefa9', 'é')).sort())
  for (const name of names) t.is(fs.readFileSync(join(folder, name), 'utf8'), name)
  t.is(
    errno(() => fs.writeFileSync(join(folder, 'n'.repeat(256)), '')),
    'ENAMETOOLONG',
  )
})

semantic('a name that is not UTF-8 is refused, not changed', (t, folder) => {
  const bytes = Buffer.concat([Buffer.from(`${folder}/`), Buffer.from([0x66, 0xff])])
  t.is(
    errno(() => fs.writeFileSync(bytes, '')),
    'EILSEQ',
  )
  t.is(
    errno(() => fs.mkdirSync(bytes)),
    'EILSEQ',
  )
  t.deepEqual(fs.readdirSync(folder), [])
})

semantic('renames and links from one volume to another say that they can not', async (t, folder, mounted) => {
  await mounted.ask('add volume')
  fs.writeFileSync(join(folder, 'file'), 'x')
  const other = join(mounted.mountpoint, 'second')
  t.is(
    errno(() => fs.renameSync(join(folder, 'file'), join(other, 'file'))),
    'EXDEV',
  )
  t.is(
    errno(() => fs.linkSync(join(folder, 'file'), join(other, 'file'))),
    'EXDEV',
  )
  t.is(
    errno(() => fs.mkdirSync(join(mounted.mountpoint, 'third'))),
    process.getuid?.() === 0 ? 'EPERM' : 'EACCES',
  )
  execFileSync('mv', [join(folder, 'file'), other])
  t.is(fs.readFileSync(join(other, 'file'), 'utf8'), 'x')
  await mounted.ask('remove volume')
  t.deepEqual(fs.readdirSync(mounted.mountpoint), ['volume'])
  await sleep(100)
  t.is(
    errno(() => fs.statSync(join(other, 'file'))),
    'ENOENT',
  )
})

semantic('git clones into it, checks, and packs', (t, folder, mounted) => {
  const source = join(mounted.directory, `source-${folder.split('/').at(-1)}`)
  const git = (...args: string[]) =>
    execFileSync('git', ['-c', 'user.name=t', '-c', 'user.email=t@example.org', '-c', 'safe.directory=*', ...args], {
      encoding: 'utf8',
      stdio: 'pipe',
    })
  git('init', '-q', source)
  for (let commit = 0; commit < 3; commit++) {
    for (let i = 0; i < 60; i++) {
      fs.mkdirSync(join(source, `d${i % 7}`), { recursive: true })
      fs.writeFileSync(join(source, `d${i % 7}/f${i}`), randomBytes(200 + i * 37).toString('base64'))
    }
    git('-C', source, 'add', '-A')
    git('-C', source, 'commit', '-qm', `commit ${commit}`)
  }
  const clone = join(folder, 'clone')
  git('clone', '-q', '--no-local', source, clone)
  git('-C', clone, 'fsck', '--full', '--strict')
  fs.writeFileSync(join(clone, 'd0/f0'), 'changed')
  t.is(git('-C', clone, 'status', '--porcelain').trim(), 'M d0/f0')
  git('-C', clone, 'commit', '-qam', 'more')
  git('-C', clone, 'gc', '-q', '--aggressive', '--prune=now')
  git('-C', clone, 'fsck', '--full')
  t.is(git('-C', clone, 'status', '--porcelain'), '')
})

semantic('many programs at once get along', async (t, folder) => {
  const script = `cd "${folder}" && for i in $(seq 40); do mkdir -p w$0/$i && echo $i > w$0/$i/f && mv w$0/$i/f w$0/$i/g && cat w$0/$i/g >> sum$0 && rm -r w$0/$i; done`
  const codes = await Promise.all(
    Array.from({ length: 8 }, (_, i) => new Promise<number | null>(resolve => spawn('sh', ['-c', script, String(i)]).on('close', resolve))),
  )
  t.deepEqual(codes, Array(8).fill(0))
  for (let i = 0; i < 8; i++) t.is(fs.readFileSync(join(folder, `sum${i}`), 'utf8').split('\n').length, 41)
})

semantic('nothing stays open, and no node is held, when all is done', async (t, folder, mounted) => {
  const before = (await mounted.ask('statistics'))!
  fs.mkdirSync(join(folder, 'a/b/c'), { recursive: true })
  for (let i = 0; i < 500; i++) {
    fs.writeFileSync(join(folder, `a/b/c/${i}`), 'x')
    fs.readFileSync(join(folder, `a/b/c/${i}`))
    fs.readdirSync(join(folder, 'a/b'))
  }
  fs.rmSync(join(folder, 'a'), { recursive: true })
  await sleep(100)
  const after = (await mounted.ask('statistics'))!
  t.is(after.openFiles, 0)
  t.is(after.openDirectories, 0)
  t.is(after.waiting, 0)
  t.true(after.nodes <= before.nodes + 2, `${before.nodes} nodes before, ${after.nodes} after`)
})
