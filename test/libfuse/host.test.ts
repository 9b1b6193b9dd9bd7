/** The numbers of macOS, and how a missing library is explained. */
import test from 'ava'
import { type ErrorKind, FsError } from '../../src/errors.ts'
import { ERRNO_OF_KIND } from '../../src/fs/fuse/errno.ts'
import { DARWIN, DARWIN_ERRNO_OF_KIND } from '../../src/fs/libfuse/darwin.ts'
import { hostOf, LINUX } from '../../src/fs/libfuse/host.ts'
import {
  addMountWords,
  checkHost,
  type FuseLibrary,
  type FuseLibraryOptions,
  type FuseMount,
  loadFuseLibrary,
} from '../../src/fs/libfuse/library.ts'
import { mountTree } from '../../src/fs/mount.ts'
import { O_APPEND, O_CREAT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_RDWR, O_TRUNC, SEEK_DATA, SEEK_HOLE } from '../../src/sys/flags.ts'
import { RENAME_EXCHANGE, RENAME_NOREPLACE } from '../../src/vfs/contract.ts'

test('every kind of error has an errno on both systems', t => {
  for (const kind of Object.keys(ERRNO_OF_KIND) as ErrorKind[]) {
    t.true(DARWIN_ERRNO_OF_KIND[kind] > 0 && DARWIN_ERRNO_OF_KIND[kind] <= 106, kind)
    t.is<number, number>(DARWIN.errnoOf(new FsError(kind)), DARWIN_ERRNO_OF_KIND[kind])
  }
  // The first numbers are those of Version 7 on both, but for EAGAIN and EDEADLK, which changed places.
  for (const [kind, errno] of Object.entries(ERRNO_OF_KIND) as [ErrorKind, number][])
    if (errno < 35 && errno !== 11) t.is<number, number>(DARWIN_ERRNO_OF_KIND[kind], errno, kind)
  t.is(DARWIN.errnoOf(new Error('a bug')), 5)
  t.is(LINUX.errnoOf(new FsError('offline')), 123)
})

test('flags of macOS become those of Linux', t => {
  t.is(DARWIN.openFlags(2 | 0x8 | 0x200 | 0x400 | 0x800 | 0x100), O_RDWR | O_APPEND | O_CREAT | O_TRUNC | O_EXCL | O_NOFOLLOW)
  t.is(DARWIN.openFlags(0x100000 | 0x8000 | 0x10 | 0x20), O_DIRECTORY)
  t.is(DARWIN.attributeFlags(1 | 2), 1)
  t.is(DARWIN.attributeFlags(4), 2)
  t.is(DARWIN.renameFlags(2), RENAME_EXCHANGE)
  t.is(DARWIN.renameFlags(4), RENAME_NOREPLACE)
  t.throws(() => DARWIN.renameFlags(1), { instanceOf: FsError, message: 'invalid' })
  t.is(DARWIN.seekWhence(3), SEEK_HOLE)
  t.is(DARWIN.seekWhence(4), SEEK_DATA)
  t.is(LINUX.openFlags(0o102001), 0o102001)
})

test('attributes of macOS are user attributes of the tree', t => {
  t.is(DARWIN.attributeName('com.apple.FinderInfo'), 'user.com.apple.FinderInfo')
  t.is(DARWIN.attributeText('user.com.apple.FinderInfo'), 'com.apple.FinderInfo')
  t.is(DARWIN.attributeText('security.selinux'), undefined)
  t.is(LINUX.attributeName('security.selinux'), 'security.selinux')
  t.is(hostOf('darwin'), DARWIN)
  t.is(hostOf('linux'), LINUX)
})

const failing =
  (code: string, message = 'x') =>
  async () => {
    throw Object.assign(new Error(message), { code })
  }
const lineOf = async (action: () => Promise<unknown>): Promise<string> => {
  try {
    await action()
  } catch (error) {
    if (error instanceof FsError && error.kind === 'not-supported') return error.message
    throw error
  }
  return ''
}

test('what is missing is said in one line', async t => {
  const absent = failing('ERR_MODULE_NOT_FOUND', "Cannot find package 'fuse-napi' imported from here")
  t.is(
    await lineOf(() => loadFuseLibrary(['fuse-napi'], absent)),
    'the optional package fuse-napi is not installed: run "npm install fuse-napi"',
  )
  t.regex(
    await lineOf(() => loadFuseLibrary(['fuse-napi'], failing('EFUSEDEPENDENCY'), 'linux')),
    /^libfuse 3 is missing: .*apt install fuse3/,
  )
  t.regex(
    await lineOf(() => loadFuseLibrary(['fuse-napi'], failing('EMACFUSEDEPENDENCY'), 'darwin')),
    /^macFUSE is missing: .*brew install --cask macfuse/,
  )
  t.regex(await lineOf(() => loadFuseLibrary(['old'], async () => ({ default: class {} }))), /update it/)
  // A package of the package is missing: that is another matter.
  const broken = failing('MODULE_NOT_FOUND', "Cannot find module 'nanoresource'")
  t.is(await lineOf(() => loadFuseLibrary(['fuse-napi'], broken, 'linux')), 'the package fuse-napi can not be used here')
  const host = (code: string) => ({ checkEnvironment: failing(code) }) as unknown as FuseLibrary
  const options = {} as FuseLibraryOptions
  t.regex(await lineOf(() => checkHost(host('EMACFUSEVERSION'), options, 'darwin')), /^macFUSE is too old/)
  t.regex(await lineOf(() => checkHost(host('EFUSEHELPER'), options, 'linux')), /^fusermount3 is missing/)
  t.regex(await lineOf(() => checkHost(host('EFUSEALLOWOTHER'), options, 'linux')), /user_allow_other/)
})

test('mount words are added to those of the library', t => {
  const mount = (own: string) => ({ _fuseOptions: () => own }) as unknown as FuseMount
  const some = mount('-ofsname=x')
  t.true(addMountWords(some, ['ro', 'nodev']))
  t.is(some._fuseOptions!(), '-ofsname=x,ro,nodev')
  const none = mount('')
  addMountWords(none, ['ro'])
  t.is(none._fuseOptions!(), '-oro')
  t.false(addMountWords({} as FuseMount, ['ro']))
})

test('a driver that this system has not is refused with a line', async t => {
  const options = {} as Parameters<typeof mountTree>[0]
  t.regex(await lineOf(() => mountTree({ ...options, driver: 'kernel' }, 'darwin')), /needs Linux/)
  t.regex(await lineOf(() => mountTree({ ...options, driver: 'auto' }, 'win32')), /webdav/)
})
