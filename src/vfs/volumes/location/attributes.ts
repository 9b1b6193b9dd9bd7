/**
 * Attributes and extended attributes of a location's nodes.
 *
 * Owns: how each change reaches the host. Must stay true: a change is made through a descriptor of the node that was
 * checked to be it (an open file, or O_PATH), never by a name that may mean another file by then.
 */
import { FsError } from '../../../errors.ts'
import { ENODATA, errnoError } from '../../../sys/errno.ts'
import { O_NOFOLLOW, O_NONBLOCK, O_PATH, O_WRONLY } from '../../../sys/flags.ts'
import { AT_FDCWD, UTIME_NOW, UTIME_OMIT } from '../../../sys/linux.ts'
import {
  type AttributeChanges,
  type AttributesReply,
  type FilesystemStatistics,
  isDirectory,
  isSymlink,
  type Name,
  S_IFMT,
  type TimeChange,
} from '../../contract.ts'
import type { Core } from './core.ts'
import { isKnownToLack, lacks } from './missing-xattrs.ts'
import type { LocationNode } from './node.ts'
import { withoutPrivileges } from './open-file.ts'

/** XATTR_SIZE_MAX and XATTR_LIST_MAX of Linux. */
const XATTR_LIMIT_BYTES = 65_536
const VALUE = Buffer.allocUnsafeSlow(XATTR_LIMIT_BYTES)
const POSIX_ACL_ACCESS = 'system.posix_acl_access'

export function getattr(core: Core, node: LocationNode): AttributesReply {
  if (node.gone && !node.files && node.fd < 0 && node.last) return { attributes: node.last, attributeTtlMs: 0 }
  core.statNode(node)
  node.mode = core.stat.mode
  const attributes = core.attributesOf(node)
  return { attributes, attributeTtlMs: core.attributeTtlMs(node, attributes) }
}

export function setattr(core: Core, node: LocationNode, changes: AttributeChanges, fileFd: number | undefined): AttributesReply {
  withDescriptor(core, node, fd => {
    if (changes.sizeBytes !== undefined) truncate(core, node, fd, fileFd, changes.sizeBytes)
    if (changes.uid !== undefined || changes.gid !== undefined)
      check(core.sys.fchownat(fd, '', changes.uid ?? -1, changes.gid ?? -1), 'chown')
    if (changes.mode !== undefined) chmod(core, fd, changes.mode)
    else if (changes.killPrivileges) killPrivileges(core, fd)
    if (changes.atime !== undefined || changes.mtime !== undefined)
      check(core.sys.utimensat(fd, '', [hostTime(changes.atime), hostTime(changes.mtime)]), 'utimens')
    check(core.sys.statx(fd, '', core.stat), 'getattr')
    node.mode = core.stat.mode
  })
  const attributes = core.attributesOf(node)
  if (node.gone) node.last = attributes
  else if (core.numbers) core.index.putNode(core.volume, core.stat.attributes(node.ino))
  return { attributes, attributeTtlMs: core.attributeTtlMs(node, attributes) }
}

/** Runs `use` with a descriptor that is the node: an open file's, the directory's, or O_PATH for the moment. */
function withDescriptor<T>(core: Core, node: LocationNode, use: (fd: number) => T): T {
  const file = node.files?.[0]
  if (file) return use(file.fd)
  if (node.gone && node.fd >= 0) return use(node.fd)
  if (isDirectory(node.mode)) return use(core.directories.fd(node))
  const { fd: parent, name } = core.reach(node)
  const fd = core.sys.openat(parent, name, O_PATH | O_NOFOLLOW)
  check(fd, 'open')
  try {
    if (core.sys.statx(fd, '', core.stat) < 0 || !core.isSame(node)) throw new FsError('stale')
    return use(fd)
  } finally {
    core.sys.close(fd)
  }
}

/** Cuts or lengthens the node that `fd` is; `fileFd` is a descriptor of it that may be written, if there is one. */
export function truncate(core: Core, node: LocationNode, fd: number, fileFd: number | undefined, sizeBytes: number): void {
  const writable = fileFd ?? node.files?.find(file => file.writable)?.fd
  if (writable !== undefined) return check(core.sys.ftruncate(writable, sizeBytes), 'truncate')
  // Reopened through /proc, which means this very file, with or without a name.
  const own = core.sys.openat(AT_FDCWD, `/proc/self/fd/${fd}`, O_WRONLY | O_NONBLOCK)
  check(own, 'truncate')
  try {
    check(core.sys.ftruncate(own, sizeBytes), 'truncate')
  } finally {
    core.sys.close(own)
  }
}

/** Through /proc since fchmod(2) refuses O_PATH; the link there means the descriptor's file, so it isn't followed further. */
function chmod(core: Core, fd: number, mode: number): void {
  check(core.sys.chmod(`/proc/self/fd/${fd}`, mode), 'chmod')
}

function killPrivileges(core: Core, fd: number): void {
  check(core.sys.statx(fd, '', core.stat), 'getattr')
  const { mode } = core.stat
  const without = withoutPrivileges(mode)
  if (without !== mode && !isDirectory(mode) && !isSymlink(mode)) chmod(core, fd, without & ~S_IFMT)
}

function hostTime(change: TimeChange | undefined): { readonly sec: number; readonly nsec: number } {
  if (change === undefined) return { sec: 0, nsec: UTIME_OMIT }
  return change === 'now' ? { sec: 0, nsec: UTIME_NOW } : change
}

export function readlink(core: Core, node: LocationNode): Name {
  const { fd, name } = node.gone && node.fd >= 0 ? { fd: node.fd, name: '' } : core.reach(node)
  const length = core.sys.readlinkat(fd, name, VALUE)
  check(length, 'readlink')
  return VALUE.toString('latin1', 0, length)
}

export function access(core: Core, node: LocationNode, mask: number): void {
  const AT_EACCESS = 0x200
  withDescriptor(core, node, fd => check(core.sys.faccessat(AT_FDCWD, `/proc/self/fd/${fd}`, mask & 7, AT_EACCESS), 'access'))
}

export function statfs(core: Core, node: LocationNode): FilesystemStatistics {
  const fd = core.directories.fd(isDirectory(node.mode) ? node : (node.parent ?? core.nodes.root))
  const host = core.sys.fstatfs(fd)
  if (typeof host === 'number') throw errnoError(-host, 'statfs')
  return {
    blockSizeBytes: host.blockSizeBytes,
    fragmentSizeBytes: host.fragmentSizeBytes,
    blocks: host.blocks,
    blocksFree: host.blocksFree,
    blocksAvailable: host.blocksAvailable,
    files: host.files,
    filesFree: host.filesFree,
    nameLengthBytes: Math.min(host.nameLengthBytes, 255),
  }
}

// --- extended attributes ---

/**
 * Where an xattr call goes: a descriptor of an open file, or a path that leads through a directory's descriptor to the
 * name without following it (then `core.stat` is the node's).
 */
function xattrPlace(core: Core, node: LocationNode): { readonly fd: number; readonly path: Name } {
  const file = node.files?.[0]
  if (file) return { fd: file.fd, path: '' }
  if (isDirectory(node.mode)) return { fd: -1, path: `/proc/self/fd/${core.directories.fd(node)}/.` }
  const { fd, name } = core.reach(node)
  return { fd: -1, path: `/proc/self/fd/${fd}/${name}` }
}

/** Made once: programs that list folders ask every file for labels and lists that hardly any file has. */
const NO_ATTRIBUTE = new FsError('no-attribute', undefined, { operation: 'getxattr' })

export function getxattr(core: Core, node: LocationNode, name: Name): Buffer {
  const file = node.files?.[0]
  let length: number
  if (file) length = core.sys.fgetxattr(file.fd, name, VALUE)
  else {
    const { path } = xattrPlace(core, node)
    // A directory is reached by its descriptor, without a look at it.
    const isLooked = !isDirectory(node.mode)
    if (isLooked && isKnownToLack(core, node, name)) throw NO_ATTRIBUTE
    length = core.sys.lgetxattr(path, name, VALUE)
    if (isLooked && length === -ENODATA) lacks(core, node, name)
  }
  if (length === -ENODATA) throw NO_ATTRIBUTE
  check(length, 'getxattr')
  return Buffer.from(VALUE.subarray(0, length))
}

export function listxattr(core: Core, node: LocationNode): Name[] {
  const { fd, path } = xattrPlace(core, node)
  const length = fd >= 0 ? core.sys.flistxattr(fd, VALUE) : core.sys.llistxattr(path, VALUE)
  check(length, 'listxattr')
  return length === 0 ? [] : VALUE.toString('latin1', 0, length - 1).split('\0')
}

export function setxattr(core: Core, node: LocationNode, name: Name, value: Buffer, flags: number, killSetGid: boolean): void {
  if (value.length > XATTR_LIMIT_BYTES) throw new FsError('too-big')
  const { fd, path } = xattrPlace(core, node)
  check(fd >= 0 ? core.sys.fsetxattr(fd, name, value, flags) : core.sys.lsetxattr(path, name, value, flags), 'setxattr')
  // Who sets an ACL without being in the file's group loses set-group-id; the daemon of root would keep it.
  if (killSetGid && name === POSIX_ACL_ACCESS)
    withDescriptor(core, node, descriptor => {
      check(core.sys.statx(descriptor, '', core.stat), 'getattr')
      if (core.stat.mode & 0o2000) chmod(core, descriptor, core.stat.mode & 0o5777)
    })
  core.rows.touch(node)
}

export function removexattr(core: Core, node: LocationNode, name: Name): void {
  const { fd, path } = xattrPlace(core, node)
  const result = fd >= 0 ? core.sys.fremovexattr(fd, name) : core.sys.lremovexattr(path, name)
  // The kernel removes security.capability of files that never had one: that is no error to it, but to the host.
  if (-result === ENODATA) throw new FsError('no-attribute')
  check(result, 'removexattr')
  core.rows.touch(node)
}

function check(result: number, operation: string): void {
  if (result < 0) throw errnoError(-result, operation)
}
