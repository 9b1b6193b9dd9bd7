/**
 * One mount through the library, from beginning to end: mount, serve, notify, unmount.
 *
 * Owns: the order of these, and the options. Must stay true: `ended` resolves once, after the library has let go of the
 * mount, whoever unmounted it; nothing foreign is loaded before `mountLibfuse` is called.
 * It doesn't: decide what is mounted, or which driver does it (src/fs/mount.ts).
 */
import { basename } from 'node:path'
import { describeError, FsError } from '../../errors.ts'
import type { FuseOptions, FuseSession } from '../fuse/session.ts'
import { Adapter } from './adapter.ts'
import { handleOperations } from './handle-operations.ts'
import { hostOf } from './host.ts'
import {
  addMountWords,
  checkHost,
  FUSE_LIBRARIES,
  type FuseLibraryOptions,
  type FuseMount,
  type LoadModule,
  loadFuseLibrary,
} from './library.ts'
import { PathNotifier } from './notifier.ts'
import { pathOperations } from './path-operations.ts'
import { CALL_TIMEOUT_MS, STORE_TIMEOUT_MS } from './request.ts'
import { unmountHost } from './unmount.ts'

/**
 * How long the kernel believes a name or attributes. It can't be told of changes from beside the mount, so this is how
 * late a program may see one.
 */
const BELIEVED_SEC = 1
/** Calls that may wait at once: each keeps a thread of the library. */
const CALLS_AT_ONCE = 16
const READY_TIMEOUT_MS = 10_000
/** The library answers by itself this much after our own deadline has passed without effect. */
const GRACE_MS = 15_000
/** What libfuse understands of mount(8), beside "ro". */
const MOUNT_FLAGS: ReadonlySet<string> = new Set(['nosuid', 'nodev', 'noexec', 'noatime', 'sync', 'dirsync'])
const CLEARED_BY: Readonly<Record<string, string>> = { suid: 'nosuid', dev: 'nodev', exec: 'noexec', async: 'sync', atime: 'noatime' }

/** Where it runs; given by tests. */
export interface Surroundings {
  readonly load?: LoadModule
  readonly platform?: NodeJS.Platform
}

/** Mounts the tree: answers when it can be used. Throws 'not-supported' with one line when something must be installed first. */
export async function mountLibfuse(options: FuseOptions, { load, platform = process.platform }: Surroundings = {}): Promise<FuseSession> {
  const { vfs, log, mountpoint } = options
  const library = await loadFuseLibrary(FUSE_LIBRARIES, load, platform)
  const host = hostOf(platform)
  const ended = Promise.withResolvers<void>()
  let lost = () => {}
  const libraryOptions = optionsOf(options, platform, (error, operation) => {
    if (operation === 'lifecycle') lost()
    else if (operation === 'unmount' || operation === 'cleanup') log.debug(`${operation}: ${describeError(error)}`)
    else log.error(`the FUSE library failed in ${operation}`, error)
  })
  await checkHost(library, libraryOptions, platform)

  const adapter = new Adapter({ vfs, log, host, readOnly: options.readOnly, asking: () => mount.context() })
  const mount: FuseMount = new library(mountpoint, { ...pathOperations(adapter), ...handleOperations(adapter) }, libraryOptions)
  if (!addMountWords(mount, [...mountWords(options, platform), ...host.mountWords]))
    log.warning('the FUSE library takes no mount options: only what it knows itself is in effect')
  await opened(mount, mountpoint)

  const notifier = new PathNotifier(adapter.resolver, mount)
  const unlisten = vfs.listen(notifier)
  // The library keeps no event loop alive by itself.
  const alive = setInterval(() => {}, 2 ** 30)
  let closing = false
  lost = () => {
    if (closing) return
    closing = true
    adapter.end()
    mount.unmount(error => {
      if (error) log.debug(`closing the FUSE library: ${describeError(error)}`)
      unlisten()
      notifier.close()
      clearInterval(alive)
      ended.resolve()
    })
  }
  return {
    mountpoint,
    ended: ended.promise,
    unmount: how => unmountHost(mountpoint, how, platform),
    settled: () => notifier.settled(),
    statistics: () => ({ ...adapter.statistics(), pendingNotifications: notifier.pending }),
  }
}

function optionsOf(
  options: FuseOptions,
  platform: NodeJS.Platform,
  onError: (error: unknown, operation: string) => void,
): FuseLibraryOptions {
  const call = CALL_TIMEOUT_MS + GRACE_MS
  const store = STORE_TIMEOUT_MS + GRACE_MS
  return {
    fsname: asWord(options.libraryName),
    subtype: 'sdmount',
    defaultPermissions: true,
    allowOther: options.allowOther && !isLinuxRoot(platform),
    entryTimeout: BELIEVED_SEC,
    attrTimeout: BELIEVED_SEC,
    nullPathOk: true,
    maxConcurrency: CALLS_AT_ONCE,
    timeout: { default: call, flush: store, fsync: store, fsyncdir: store, release: store, init: READY_TIMEOUT_MS },
    onError,
    // Finder shows the volume under the name of its mountpoint.
    ...(platform === 'darwin' && { displayFolder: true, name: asWord(basename(options.mountpoint)) }),
  }
}

/** Without what the library takes for the end of a word. */
function asWord(text: string): string {
  return text.replace(/[\0,\\\r\n]/g, '-') || 'sdmount'
}

/** The library wants a line in fuse.conf for `allow_other` even from root, who needs none. */
function isLinuxRoot(platform: NodeJS.Platform): boolean {
  return platform === 'linux' && process.getuid?.() === 0
}

function mountWords(options: FuseOptions, platform: NodeJS.Platform): string[] {
  const words = new Set(['nosuid', 'nodev'])
  for (const option of options.options) {
    const cleared = CLEARED_BY[option]
    if (cleared) words.delete(cleared)
    else if (MOUNT_FLAGS.has(option)) words.add(option)
  }
  if (options.readOnly) words.add('ro')
  if (options.allowOther && isLinuxRoot(platform)) words.add('allow_other')
  return [...words]
}

function opened(mount: FuseMount, mountpoint: string): Promise<void> {
  return new Promise((resolve, reject) =>
    mount.mount(cause => {
      if (!cause) return resolve()
      const { code, message } = cause as { code?: unknown; message: string }
      const kind = code === 'EMACFUSEMOUNT' || code === 'EFUSEMOUNTTIMEOUT' ? 'timed-out' : message === 'Mountpoint in use' ? 'busy' : 'io'
      reject(new FsError(kind, `libfuse could not mount at ${mountpoint}`, { operation: 'mount', cause }))
    }),
  )
}
