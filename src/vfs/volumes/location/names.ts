/**
 * Operations on names: lookup, create, link, unlink, rename and their kin.
 *
 * Owns: the order of host call, node table and index row. Must stay true: the host's call comes first and decides; the
 * index is told after it succeeded and before the operation is answered; a node whose last name went is marked as gone.
 */
import { FsError } from '../../../errors.ts'
import { EEXIST, ENOENT, ENOTDIR, errnoError } from '../../../sys/errno.ts'
import { O_ACCMODE, O_CREAT, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_PATH, O_TMPFILE } from '../../../sys/flags.ts'
import { AT_FDCWD, AT_REMOVEDIR, AT_SYMLINK_FOLLOW } from '../../../sys/linux.ts'
import {
  Attributes,
  type CreatedFile,
  type Entry,
  isDirectory,
  type Name,
  type OpenFile,
  RENAME_EXCHANGE,
  type RequestContext,
} from '../../contract.ts'
import type { Core } from './core.ts'
import type { LocationNode } from './node.ts'
import { LocationFile } from './open-file.ts'

const S_ISVTX = 0o1000

/** undefined: no such name. A name under which a foreign filesystem is mounted is an empty directory that nobody touches. */
export function lookup(core: Core, parent: LocationNode, name: Name): Entry | undefined {
  if (core.foreign.has(parent.ino, name)) return blockedEntry(core, parent, name)
  if (parent.isBlocked) return undefined
  const fd = core.directories.fd(parent)
  const result = core.sys.statx(fd, name, core.stat)
  if (result === 0) {
    const node = core.adopt(parent, name)
    return core.entry(node, core.attributesOf(node))
  }
  if (-result === ENOENT) {
    if (parent.gone) throw new FsError('not-found')
    parent.toldMissing = true
    return undefined
  }
  // A name too long for the host names nothing there; ENOTDIR means the directory was replaced.
  throw -result === ENOTDIR ? new FsError('stale') : errnoError(-result, 'lookup')
}

/** A directory that stands for a mount which may hang: listed, empty, not entered. */
function blockedEntry(core: Core, parent: LocationNode, name: Name): Entry {
  const attributes = core.foreign.attributes(parent.ino, name)
  const node = core.foreign.node(attributes, parent, name)
  return core.entry(node, attributes)
}

function made(core: Core, parent: LocationNode, name: Name): Entry {
  const result = core.sys.statx(core.directories.fd(parent), name, core.stat)
  if (result < 0) throw errnoError(-result, 'lookup')
  const node = core.adopt(parent, name)
  const attributes = core.attributesOf(node)
  core.rows.linked(parent, name, attributes)
  return core.entry(node, attributes)
}

function check(result: number, operation: string): void {
  if (result < 0) throw errnoError(-result, operation)
}

export function symlink(core: Core, context: RequestContext, parent: LocationNode, name: Name, target: Name): Entry {
  const fd = core.directories.fd(parent)
  check(
    core.credentials.as(context, () => core.sys.symlinkat(target, fd, name)),
    'symlink',
  )
  return made(core, parent, name)
}

export function mknod(core: Core, context: RequestContext, parent: LocationNode, name: Name, mode: number, rdev: number): Entry {
  const fd = core.directories.fd(parent)
  check(
    core.credentials.as(context, () => core.sys.mknodat(fd, name, mode, rdev)),
    'mknod',
  )
  return made(core, parent, name)
}

export function mkdir(core: Core, context: RequestContext, parent: LocationNode, name: Name, mode: number): Entry {
  const fd = core.directories.fd(parent)
  check(
    core.credentials.as(context, () => core.sys.mkdirat(fd, name, mode)),
    'mkdir',
  )
  return made(core, parent, name)
}

export function create(
  core: Core,
  context: RequestContext,
  parent: LocationNode,
  name: Name,
  mode: number,
  flags: number,
): CreatedFile<OpenFile> {
  const directory = core.directories.fd(parent)
  // Made, or not opened at all: nobody has checked whether the caller may open what came to stand there meanwhile.
  const hostFlags = (flags & O_ACCMODE) | O_CREAT | O_EXCL | O_NOFOLLOW | O_NONBLOCK
  const fd = core.credentials.as(context, () => core.sys.openat(directory, name, hostFlags, mode))
  if (-fd === EEXIST && !(flags & O_EXCL)) throw new FsError('stale', 'a file of that name came meanwhile')
  check(fd, 'create')
  try {
    check(core.sys.statx(fd, '', core.stat), 'create')
    const node = core.adopt(parent, name)
    const attributes = core.attributesOf(node)
    core.rows.linked(parent, name, attributes)
    const file = new LocationFile(core, node, fd, flags)
    return { entry: core.entry(node, attributes), file }
  } catch (error) {
    core.sys.close(fd)
    throw error
  }
}

export function tmpfile(core: Core, context: RequestContext, parent: LocationNode, mode: number, flags: number): CreatedFile<OpenFile> {
  const directory = core.directories.fd(parent)
  const hostFlags = (flags & (O_ACCMODE | O_EXCL)) | O_TMPFILE
  const fd = core.credentials.as(context, () => core.sys.openat(directory, '.', hostFlags, mode))
  check(fd, 'tmpfile')
  try {
    check(core.sys.statx(fd, '', core.stat), 'tmpfile')
    const node = core.adopt(parent, '')
    node.parent = undefined
    node.gone = true
    const attributes = core.attributesOf(node)
    node.last = attributes
    const file = new LocationFile(core, node, fd, flags)
    return { entry: core.entry(node, attributes), file }
  } catch (error) {
    core.sys.close(fd)
    throw error
  }
}

export function link(core: Core, context: RequestContext, node: LocationNode, newParent: LocationNode, newName: Name): Entry {
  const file = node.files?.[0]
  let result: number
  if (file && node.gone) {
    // A file without a name (O_TMPFILE) gets one through its descriptor.
    const directory = core.directories.fd(newParent)
    result = core.credentials.as(context, () =>
      core.sys.linkat(AT_FDCWD, `/proc/self/fd/${file.fd}`, directory, newName, AT_SYMLINK_FOLLOW),
    )
  } else {
    const from = core.reach(node)
    const directory = core.directories.fd(newParent)
    result = core.credentials.as(context, () => core.sys.linkat(from.fd, from.name, directory, newName, 0))
  }
  check(result, 'link')
  const entry = made(core, newParent, newName)
  if (entry.attributes.ino === node.ino) return entry
  // The old name meant another file just now: what was linked is not what was asked for.
  core.sys.unlinkat(core.directories.fd(newParent), newName, 0)
  core.index.removeEntry(core.volume, newParent.ino, newName)
  forgetOne(core, entry)
  throw new FsError('stale')
}

function forgetOne(core: Core, entry: Entry): void {
  const node = core.nodes.get(entry.attributes.ino)
  if (!node) return
  node.lookups--
  core.dropIfUnused(node)
}

export function unlink(core: Core, context: RequestContext, parent: LocationNode, name: Name): void {
  remove(core, context, parent, name, 0)
}

export function rmdir(core: Core, context: RequestContext, parent: LocationNode, name: Name): void {
  if (core.foreign.has(parent.ino, name)) throw new FsError('busy')
  remove(core, context, parent, name, AT_REMOVEDIR)
}

function remove(core: Core, context: RequestContext, parent: LocationNode, name: Name, flags: number): void {
  const fd = core.directories.fd(parent)
  requireOwner(core, context, fd, parent, name)
  const before = whatIsAt(core, fd, parent, name)
  const result = core.sys.unlinkat(fd, name, flags)
  if (result < 0) {
    stays(core, before)
    throw errnoError(-result, flags ? 'rmdir' : 'unlink')
  }
  core.index.removeEntry(core.volume, parent.ino, name)
  core.rows.touch(parent)
  if (before) nameGone(core, before, parent, name)
}

/**
 * In a sticky directory only the owner of a name (or of the directory) may take it away. The kernel has checked that for
 * what it believed the name to mean; what stands there now may be somebody else's, and the daemon of root could remove it.
 */
function requireOwner(core: Core, context: RequestContext, fd: number, parent: LocationNode, name: Name): void {
  if (!core.credentials.isRoot || context.uid === 0 || !(parent.mode & S_ISVTX)) return
  if (core.sys.statx(fd, name, core.stat) < 0 || core.stat.uid === context.uid) return
  if (core.sys.statx(fd, '', core.stat) < 0 || !(core.stat.mode & S_ISVTX) || core.stat.uid === context.uid) return
  throw new FsError('not-permitted', undefined, { operation: 'unlink' })
}

interface Before {
  readonly node: LocationNode
  readonly attributes: Attributes
  /** O_PATH, where the node may go and nothing else would reach it then; or -1. */
  readonly fd: number
}

/** What a name means just before it goes, if a front end knows it: only then there is somebody to keep it for. */
function whatIsAt(core: Core, fd: number, parent: LocationNode, name: Name): Before | undefined {
  if (core.sys.statx(fd, name, core.stat) < 0) return undefined
  const { stat } = core
  const numbers = core.numbers.of(stat.device)
  if (!numbers) return undefined
  const known = core.nodes.get(numbers.stable ? core.numbers.ino(numbers, stat) : (core.index.lookup(parent.ino, name)?.ino ?? -1))
  if (known) {
    const attributes = core.attributesOf(known)
    const held = known.lookups > 0 && known.fd < 0 && (stat.nlink <= 1 || isDirectory(stat.mode))
    return { node: known, attributes, fd: held ? core.sys.openat(fd, name, O_PATH | O_NOFOLLOW) : -1 }
  }
  // Another name of a file that nobody looked up: its row must still say how many names are left.
  if (stat.nlink > 1 && !isDirectory(stat.mode)) {
    const node = core.adopt(parent, name)
    return { node, attributes: core.attributesOf(node), fd: -1 }
  }
  return undefined
}

/** It didn't go after all. */
function stays(core: Core, before: Before | undefined): void {
  if (before && before.fd >= 0) core.sys.close(before.fd)
}

function nameGone(core: Core, before: Before, parent: LocationNode, name: Name): void {
  const { node, attributes } = before
  node.lostName(parent, name)
  if (isDirectory(attributes.mode) || attributes.nlink <= 1) {
    node.gone = true
    node.parent = undefined
    node.aliases = undefined
    const last = Object.assign(new Attributes(), attributes)
    last.nlink = 0
    node.last = last
    core.directories.keepGone(node, before.fd)
  } else {
    stays(core, before)
    core.rows.touch(node)
  }
  core.dropIfUnused(node)
}

export function rename(
  core: Core,
  context: RequestContext,
  parent: LocationNode,
  name: Name,
  newParent: LocationNode,
  newName: Name,
  flags: number,
): void {
  if (core.foreign.has(parent.ino, name) || core.foreign.has(newParent.ino, newName)) throw new FsError('busy')
  const exchange = (flags & RENAME_EXCHANGE) !== 0
  const fd = core.directories.fd(parent)
  const newFd = core.directories.fd(newParent)
  requireOwner(core, context, fd, parent, name)
  requireOwner(core, context, newFd, newParent, newName)
  if (core.sys.statx(fd, name, core.stat) < 0) throw new FsError('not-found', undefined, { operation: 'rename' })
  const moved = core.adopt(parent, name)
  const movedInode = moved.ino
  const replaced = whatIsAt(core, newFd, newParent, newName)
  const result = core.sys.renameat2(fd, name, newFd, newName, flags)
  if (result < 0) {
    stays(core, replaced)
    throw errnoError(-result, 'rename')
  }
  core.rows.touch(parent)
  core.rows.touch(newParent)
  core.rows.touch(moved)
  if (replaced && replaced.node.ino === movedInode && !exchange) {
    // Two names of one file: the host does nothing (rename(2)), and neither must the index.
    stays(core, replaced)
    moved.reachedBy(parent, name, 2)
    return
  }
  core.index.renameEntry(core.volume, parent.ino, name, newParent.ino, newName, exchange)
  moved.lostName(parent, name)
  if (exchange && replaced) {
    stays(core, replaced)
    replaced.node.lostName(newParent, newName)
    replaced.node.reachedBy(parent, name, replaced.attributes.nlink)
    core.rows.touch(replaced.node)
  } else if (replaced) nameGone(core, replaced, newParent, newName)
  moved.reachedBy(newParent, newName, 2)
  core.rows.moved(moved, newParent, newName)
  if (exchange && replaced) core.rows.moved(replaced.node, parent, name)
  core.dropIfUnused(moved)
}
