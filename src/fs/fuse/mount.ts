/**
 * Mounting and unmounting: gets a descriptor of /dev/fuse that is connected to a mount point.
 *
 * Owns: mount(2) for root, fusermount3 for everybody else, and the option strings of both. Must stay true: the descriptor
 * is non-blocking and closed on exec; an unmount runs in a child process, since the kernel may ask us while it unmounts.
 * It doesn't: serve requests (channel.ts).
 */
import { spawn, spawnSync } from 'node:child_process'
import { constants, openSync } from 'node:fs'
import { FsError } from '../../errors.ts'
import { errnoError } from '../../sys/errno.ts'
import { linux } from '../../sys/linux.ts'

const FILESYSTEM_TYPE = 'fuse.sdmount'
const FLAG_BITS: Readonly<Record<string, number>> = {
  ro: 1,
  nosuid: 2,
  nodev: 4,
  noexec: 8,
  sync: 16,
  dirsync: 128,
  noatime: 1024,
  nodiratime: 2048,
  relatime: 1 << 21,
}
const CLEARED_BY: Readonly<Record<string, string>> = {
  rw: 'ro',
  suid: 'nosuid',
  dev: 'nodev',
  exec: 'noexec',
  async: 'sync',
  atime: 'noatime',
}
const F_SETFL = 4
const F_SETFD = 2
const UNMOUNT_TIMEOUT_MS = 60_000

export interface MountOptions {
  readonly mountpoint: string
  /** What `mount` and `df` show as the source. */
  readonly sourceName: string
  readonly readOnly: boolean
  readonly allowOther: boolean
  /** Further options of mount(8): nosuid, nodev, noexec, noatime, and their opposites. */
  readonly options: readonly string[]
}

/** Mounts and answers the descriptor of the kernel channel. Throws 'not-permitted', 'not-supported', 'busy', ... with a line for the user. */
export function mount(options: MountOptions): number {
  return process.getuid?.() === 0 ? mountAsRoot(options) : mountAsUser(options)
}

/** The flags as a set of words: nosuid and nodev unless they were switched off. */
function flagWords(options: MountOptions): Set<string> {
  const words = new Set(['nosuid', 'nodev'])
  if (options.readOnly) words.add('ro')
  for (const option of options.options) {
    const cleared = CLEARED_BY[option]
    if (cleared) words.delete(cleared)
    else if (FLAG_BITS[option] !== undefined) words.add(option)
  }
  return words
}

function mountAsRoot(options: MountOptions): number {
  let fd: number
  try {
    fd = openSync('/dev/fuse', constants.O_RDWR | constants.O_NONBLOCK)
  } catch (cause) {
    throw new FsError('not-supported', 'this kernel offers no FUSE: /dev/fuse can not be opened (try "modprobe fuse")', {
      operation: 'mount',
      cause,
    })
  }
  let flags = 0
  for (const word of flagWords(options)) flags |= FLAG_BITS[word] ?? 0
  // A mount of root is for every user: each gets what the folder itself would give him (default_permissions; what he could
  // not reach by the folder's own path he can't reach here, see src/vfs/volumes/location/reachability.ts).
  const data = `fd=${fd},rootmode=40000,user_id=0,group_id=0,default_permissions,allow_other`
  const result = linux().mount(options.sourceName, latin1Path(options.mountpoint), FILESYSTEM_TYPE, flags, data)
  if (result < 0) {
    linux().close(fd)
    throw errnoError(-result, 'mount', options.mountpoint)
  }
  return fd
}

/** fusermount3 (setuid root) opens and mounts, and sends the descriptor over a socket (SCM_RIGHTS). */
function mountAsUser(options: MountOptions): number {
  const sys = linux()
  const pair = Buffer.alloc(8)
  const made = sys.socketpair(1, 1, 0, pair)
  if (made < 0) throw errnoError(-made, 'mount')
  const ours = pair.readInt32LE(4)
  const theirs = pair.readInt32LE(0)
  try {
    // What only fusermount3's caller may not choose (dev, suid) it refuses itself, with its own words.
    const words = [`fsname=${options.sourceName.replace(/[,\\]/g, '\\$&')}`, 'subtype=sdmount', 'default_permissions']
    if (options.allowOther) words.push('allow_other')
    for (const word of flagWords(options)) if (word !== 'nosuid' && word !== 'nodev') words.push(word)
    const run = spawnSync('fusermount3', ['-o', words.join(','), '--', options.mountpoint], {
      stdio: ['ignore', 'ignore', 'pipe', theirs],
      env: { ...process.env, _FUSE_COMMFD: '3' },
      encoding: 'utf8',
    })
    if (run.error && 'code' in run.error && run.error.code === 'ENOENT')
      throw new FsError('not-supported', 'fusermount3 is missing: install it with "apt install fuse3"', { operation: 'mount' })
    if (run.status !== 0)
      throw new FsError('not-permitted', run.stderr?.trim() || `fusermount3 ended with ${run.status ?? run.signal}`, { operation: 'mount' })
    return receiveDescriptor(ours)
  } finally {
    sys.close(ours)
    sys.close(theirs)
  }
}

/** struct msghdr with one iovec and room for one descriptor (x86-64 and arm64 agree). */
function receiveDescriptor(socket: number): number {
  const sys = linux()
  const data = Buffer.alloc(1)
  const iovec = Buffer.alloc(16)
  const control = Buffer.alloc(64)
  const message = Buffer.alloc(56)
  iovec.writeBigUInt64LE(sys.address(data), 0)
  iovec.writeBigUInt64LE(1n, 8)
  message.writeBigUInt64LE(sys.address(iovec), 16)
  message.writeBigUInt64LE(1n, 24)
  message.writeBigUInt64LE(sys.address(control), 32)
  message.writeBigUInt64LE(64n, 40)
  const MSG_DONTWAIT = 0x40
  const got = sys.recvmsg(socket, message, MSG_DONTWAIT)
  // cmsghdr: length 8, level 4, type 4, then the descriptor.
  if (got < 1 || Number(control.readBigUInt64LE(0)) < 20)
    throw new FsError('io', 'fusermount3 mounted but sent no descriptor', { operation: 'mount' })
  const fd = control.readInt32LE(16)
  sys.fcntl(fd, F_SETFD, 1)
  sys.fcntl(fd, F_SETFL, constants.O_NONBLOCK)
  return fd
}

/** Unmounts in a child process. Throws 'busy' when programs use it (unless `lazy`), 'invalid' when nothing is mounted there. */
export async function unmount(mountpoint: string, options: { readonly lazy: boolean }): Promise<void> {
  const root = process.getuid?.() === 0
  const [program, args] = root
    ? ['umount', [...(options.lazy ? ['-l'] : []), '--', mountpoint]]
    : ['fusermount3', ['-u', ...(options.lazy ? ['-z'] : []), '--', mountpoint]]
  const { status, stderr } = await run(program as string, args as string[])
  if (status === 0) return
  if (/busy/i.test(stderr))
    throw new FsError('busy', `${mountpoint} is in use; close what uses it, or unmount with --lazy`, { operation: 'umount' })
  throw new FsError('invalid', stderr.trim() || `${program} ended with ${status}`, { operation: 'umount' })
}

function run(program: string, args: string[]): Promise<{ status: number; stderr: string }> {
  return new Promise((resolve, reject) => {
    // The words of umount are looked at, so they must be the untranslated ones.
    const child = spawn(program, args, {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { ...process.env, LC_ALL: 'C' },
      timeout: UNMOUNT_TIMEOUT_MS,
    })
    let stderr = ''
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr = (stderr + text).slice(-4000)
    })
    child.on('error', cause => reject(new FsError('not-supported', `${program} can not be run`, { operation: 'umount', cause })))
    child.on('close', code => resolve({ status: code ?? -1, stderr }))
  })
}

function latin1Path(path: string): string {
  return Buffer.from(path, 'utf8').toString('latin1')
}
