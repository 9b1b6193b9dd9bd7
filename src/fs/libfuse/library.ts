/**
 * The foreign library that speaks FUSE by callbacks on paths, where the raw kernel channel can't be had (macOS).
 *
 * Owns: which package is used, the slice of it that is used, and the words it has no option for. Must stay true: nothing
 * is loaded before a mount asks for it; what is missing is said in one line with what to install.
 * Only fuse-napi will do. Its ancestors (fuse-native, @cocalc/fuse-native) have the same callbacks, but tell neither who
 * asks nor the flags of a create or rename, round times to milliseconds, and have no calls for files without a path.
 */
import { FsError } from '../../errors.ts'

/** Packages to try, in order. */
export const FUSE_LIBRARIES: readonly string[] = ['fuse-napi']

/** A whole number: exact as a `number`, else a `bigint`. */
export type WholeNumber = number | bigint
/** The first value is 0, a negative errno of the host, or what a read, a write or a copy counted. */
export type Reply = (result: number, ...values: unknown[]) => void
/** null where the library was told that handles suffice. */
export type HandlePath = string | null

export interface Timespec {
  readonly seconds: WholeNumber
  readonly nanoseconds: number
}

export interface FuseStat {
  readonly mode: number
  readonly ino: number
  readonly nlink?: number
  readonly uid?: number
  readonly gid?: number
  readonly rdev?: number
  readonly size?: number
  readonly blksize?: number
  readonly blocks?: number
  readonly atime?: Timespec
  readonly mtime?: Timespec
  readonly ctime?: Timespec
}

/** Who asks, during a callback. */
export interface FuseContext {
  readonly uid: number
  readonly gid: number
  readonly pid: number
  readonly fileInfo: { readonly writepage: boolean } | null
}

/** The callbacks that the adapter implements. */
export interface PathOperations {
  getattr(path: string, reply: Reply): void
  fgetattr(path: HandlePath, fd: WholeNumber, reply: Reply): void
  truncate(path: string, sizeBytes: WholeNumber, reply: Reply): void
  ftruncate(path: HandlePath, fd: WholeNumber, sizeBytes: WholeNumber, reply: Reply): void
  chmodWithHandle(path: HandlePath, fd: WholeNumber, mode: number, reply: Reply): void
  chownWithHandle(path: HandlePath, fd: WholeNumber, uid: number, gid: number, reply: Reply): void
  utimensWithHandle(path: HandlePath, fd: WholeNumber, atime: Timespec, mtime: Timespec, reply: Reply): void
  readlink(path: string, reply: Reply): void
  symlink(target: string, path: string, reply: Reply): void
  mknod(path: string, mode: number, device: WholeNumber, reply: Reply): void
  mkdir(path: string, mode: number, reply: Reply): void
  unlink(path: string, reply: Reply): void
  rmdir(path: string, reply: Reply): void
  renameWithFlags(from: string, to: string, flags: number, reply: Reply): void
  link(from: string, to: string, reply: Reply): void
  statfs(path: string, reply: Reply): void
  setxattr(path: string, name: string, value: Buffer, position: number, flags: number, reply: Reply): void
  getxattr(path: string, name: string, position: number, reply: Reply): void
  listxattr(path: string, reply: Reply): void
  removexattr(path: string, name: string, reply: Reply): void
  open(path: string, flags: number, reply: Reply): void
  createWithFlags(path: string, mode: number, flags: number, reply: Reply): void
  read(path: HandlePath, fd: WholeNumber, into: Buffer, lengthBytes: number, position: WholeNumber, reply: Reply): void
  write(path: HandlePath, fd: WholeNumber, data: Buffer, lengthBytes: number, position: WholeNumber, reply: Reply): void
  flush(path: HandlePath, fd: WholeNumber, reply: Reply): void
  fsync(path: HandlePath, dataOnly: boolean, fd: WholeNumber, reply: Reply): void
  release(path: HandlePath, fd: WholeNumber, reply: Reply): void
  fallocate(path: HandlePath, fd: WholeNumber, mode: number, offset: WholeNumber, lengthBytes: WholeNumber, reply: Reply): void
  lseek(path: HandlePath, fd: WholeNumber, offset: WholeNumber, whence: number, reply: Reply): void
  copyFileRange(
    path: HandlePath,
    fd: WholeNumber,
    offset: WholeNumber,
    targetPath: HandlePath,
    targetFd: WholeNumber,
    targetOffset: WholeNumber,
    lengthBytes: WholeNumber,
    flags: number,
    reply: Reply,
  ): void
  ioctl?(path: HandlePath, fd: WholeNumber, command: number, argument: WholeNumber, flags: number, data: Buffer, reply: Reply): void
  opendir(path: string, flags: number, reply: Reply): void
  readdirPaged(path: HandlePath, fd: WholeNumber, offset: WholeNumber, reply: Reply): void
  fsyncdir(path: HandlePath, dataOnly: boolean, fd: WholeNumber, reply: Reply): void
  releasedir(path: HandlePath, fd: WholeNumber, reply: Reply): void
}

/** The options of the library that are used. */
export interface FuseLibraryOptions {
  readonly fsname: string
  readonly subtype: string
  readonly defaultPermissions: boolean
  readonly allowOther: boolean
  readonly entryTimeout: number
  readonly attrTimeout: number
  readonly nullPathOk: boolean
  readonly maxConcurrency: number
  readonly displayFolder?: boolean
  readonly name?: string
  readonly timeout: Readonly<Record<string, number>>
  readonly onError: (error: unknown, operation: string) => void
}

/** One mount of the library. */
export interface FuseMount {
  mount(done: (error?: Error | null) => void): void
  unmount(done: (error?: Error | null) => void): void
  invalidateEntry(path: string, done: (error?: Error | null) => void): void
  context(): FuseContext | null
  /** The library's own: the option string that it gives to libfuse. */
  _fuseOptions?(): string
}

export interface FuseLibrary {
  new (mountpoint: string, operations: PathOperations, options: FuseLibraryOptions): FuseMount
  checkEnvironment(options: FuseLibraryOptions): Promise<unknown>
}

/** How a package is loaded: `import()`, or a test's own way. */
export type LoadModule = (name: string) => Promise<unknown>

/**
 * Loads the first of `names` that is there. Throws 'not-supported' with a line that says what to install: the package,
 * or what the package itself needs (libfuse 3 on Linux, macFUSE on macOS).
 */
export async function loadFuseLibrary(
  names: readonly string[] = FUSE_LIBRARIES,
  load: LoadModule = name => import(name),
  platform: NodeJS.Platform = process.platform,
): Promise<FuseLibrary> {
  for (const name of names) {
    let loaded: unknown
    try {
      loaded = await load(name)
    } catch (cause) {
      if (isAbsent(cause, name)) continue
      throw new FsError('not-supported', whatIsMissing(name, cause, platform), { operation: 'mount', cause })
    }
    const library = (loaded as { default?: unknown }).default ?? loaded
    if (typeof library !== 'function' || typeof (library as Partial<FuseLibrary>).checkEnvironment !== 'function')
      throw new FsError('not-supported', `the package ${name} has not the callbacks that sdmount needs: update it`, { operation: 'mount' })
    return library as unknown as FuseLibrary
  }
  throw new FsError('not-supported', `the optional package ${names.join(' or ')} is not installed: run "npm install ${names[0]}"`, {
    operation: 'mount',
  })
}

/** Checks what the host must have, before anything is mounted. Throws 'not-supported' with one line. */
export async function checkHost(
  library: FuseLibrary,
  options: FuseLibraryOptions,
  platform: NodeJS.Platform = process.platform,
): Promise<void> {
  try {
    await library.checkEnvironment(options)
  } catch (cause) {
    throw new FsError('not-supported', whatIsMissing('fuse-napi', cause, platform), { operation: 'mount', cause })
  }
}

/**
 * Gives libfuse mount words that the library has no option for. It builds its option string in a method of its own, which
 * all its versions (and its ancestors) have: the only way in. False where a version has it no longer.
 */
export function addMountWords(mount: FuseMount, words: readonly string[]): boolean {
  const build = mount._fuseOptions?.bind(mount)
  if (!build) return false
  mount._fuseOptions = () => {
    const own = build()
    return own === '' ? `-o${words.join(',')}` : `${own},${words.join(',')}`
  }
  return true
}

/** Not there at all, as opposed to there but lacking something itself. */
function isAbsent(error: unknown, name: string): boolean {
  const { code, message } = error as { code?: unknown; message?: unknown }
  return (code === 'ERR_MODULE_NOT_FOUND' || code === 'MODULE_NOT_FOUND') && String(message).includes(name)
}

/** The library's codes for what a host lacks, in our words. */
function whatIsMissing(name: string, error: unknown, platform: NodeJS.Platform): string {
  const code = String((error as { code?: unknown }).code ?? '')
  if (code === 'EMACFUSEVERSION' || code === 'EMACFUSEABI')
    return 'macFUSE is too old: update it to 5.3.1 or newer ("brew upgrade --cask macfuse")'
  if (platform === 'darwin' && code.startsWith('EMACFUSE'))
    return 'macFUSE is missing: install it with "brew install --cask macfuse", allow it in System Settings, Privacy & Security, and restart'
  if (code === 'EFUSEHELPER') return 'fusermount3 is missing: install it with "apt install fuse3"'
  if (code === 'EFUSEDEPENDENCY') return 'libfuse 3 is missing: install it with "apt install fuse3"'
  if (code === 'EFUSEDEVICE') return 'this kernel offers no FUSE: /dev/fuse can not be opened (try "modprobe fuse")'
  if (code === 'EFUSEALLOWOTHER') return 'other users may look in only when root has written "user_allow_other" to /etc/fuse.conf'
  return `the package ${name} can not be used here`
}
