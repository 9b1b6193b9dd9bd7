/** A mount on macOS, as far as it can be seen without a Mac: what the library is asked for, and when the mount has ended. */
import { registerHooks } from 'node:module'
import test from 'ava'
import { FsError } from '../../src/errors.ts'
import type { FuseOptions } from '../../src/fs/fuse/session.ts'
import type { FuseLibrary, FuseLibraryOptions, PathOperations } from '../../src/fs/libfuse/library.ts'
import { silentLog } from '../../src/log.ts'
import { Tree } from '../../src/vfs/tree.ts'
import { MemoryVolume } from '../../src/vfs/volumes/memory.ts'

// Neither system calls of Linux nor the library that makes them may be touched on the way to a mount on macOS.
registerHooks({
  resolve(specifier, context, next) {
    if (/^koffi$|sys\/linux\.ts$/.test(specifier)) throw new Error(`${specifier} was loaded`)
    return next(specifier, context)
  },
})
const { mountLibfuse } = await import('../../src/fs/libfuse/session.ts')
const { mountTree } = await import('../../src/fs/mount.ts')

function world(fails?: Error) {
  const tree = new Tree({ log: silentLog })
  tree.addVolume('v', new MemoryVolume({ slot: 11 }))
  const seen: { mountpoint?: string; operations?: PathOperations; options?: FuseLibraryOptions; words?: string; isOpen?: boolean } = {}
  class Fake {
    constructor(mountpoint: string, operations: PathOperations, options: FuseLibraryOptions) {
      Object.assign(seen, { mountpoint, operations, options })
    }
    static async checkEnvironment() {}
    _fuseOptions() {
      return '-ofsname=x'
    }
    mount(done: (error?: Error) => void) {
      seen.words = this._fuseOptions()
      seen.isOpen = !fails
      setImmediate(done, fails)
    }
    unmount(done: () => void) {
      seen.isOpen = false
      setImmediate(done)
    }
    invalidateEntry() {}
    context() {
      return null
    }
  }
  const options: FuseOptions = {
    mountpoint: '/Volumes/tree',
    vfs: tree,
    log: silentLog,
    readOnly: false,
    allowOther: true,
    options: ['noexec', 'suid', 'relatime'],
    libraryName: 'My, "library"/x',
  }
  return { tree, seen, options, load: async () => ({ default: Fake as unknown as FuseLibrary }) }
}

test('the library is asked for what macOS needs', async t => {
  const { seen, options, load } = world()
  const session = await mountLibfuse({ ...options, readOnly: true }, { load, platform: 'darwin' })
  t.is(seen.mountpoint, '/Volumes/tree')
  t.like(seen.options, {
    allowOther: true,
    defaultPermissions: true,
    nullPathOk: true,
    displayFolder: true,
    name: 'tree',
    fsname: 'My- "library"/x',
    subtype: 'sdmount',
  })
  t.is(seen.words, '-ofsname=x,nodev,noexec,ro,daemon_timeout=600')
  t.is(session.mountpoint, '/Volumes/tree')
  t.like(session.statistics(), { requests: 0, waiting: 0, pendingNotifications: 0 })
  seen.options!.onError(new Error('unmounted'), 'lifecycle')
  await session.ended
})

test('it ends once, when the library has let go, and gives its nodes back', async t => {
  const { seen, options, load, tree } = world()
  const session = await mountLibfuse(options, { load, platform: 'darwin' })
  const stat = await new Promise<unknown[]>(resolve => seen.operations!.getattr('/v', (...values) => resolve(values)))
  t.is(stat[0], 0)
  t.is(session.statistics().requests, 1)
  t.true(seen.isOpen)
  seen.options!.onError(new Error('unmounted'), 'lifecycle')
  seen.options!.onError(new Error('once more'), 'lifecycle')
  await session.ended
  t.false(seen.isOpen)
  await tree.close()
})

test('what the library could not do is said', async t => {
  const slow = world(Object.assign(new Error('Timed out waiting for macFUSE'), { code: 'EMACFUSEMOUNT' }))
  const error = await t.throwsAsync(mountLibfuse(slow.options, { load: slow.load, platform: 'darwin' }), { instanceOf: FsError })
  t.is((error as FsError).kind, 'timed-out')
  const used = world(new Error('Mountpoint in use'))
  t.is(((await t.throwsAsync(mountLibfuse(used.options, { load: used.load, platform: 'darwin' }))) as FsError).kind, 'busy')
})

test('without the package a mount on macOS says what to install', async t => {
  const absent = async () => {
    throw Object.assign(new Error("Cannot find package 'fuse-napi'"), { code: 'ERR_MODULE_NOT_FOUND' })
  }
  const { options } = world()
  const error = await t.throwsAsync(mountLibfuse(options, { load: absent, platform: 'darwin' }))
  t.regex(error.message, /npm install fuse-napi/)
  t.is(typeof mountTree, 'function')
})
