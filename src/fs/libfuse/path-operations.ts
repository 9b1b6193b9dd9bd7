/**
 * The callbacks on paths: each finds the node, makes one call into the tree, and hands on the answer.
 *
 * Owns: which callback calls what. Must stay true: no semantics here; a reference that the tree gave with an entry is given
 * back (entries of what was made are not kept: the library asks for the attributes by itself).
 */
import { FsError } from '../../errors.ts'
import { type AttributeChanges, type Entry, RENAME_EXCHANGE, type TimeChange } from '../../vfs/contract.ts'
import { then } from '../../vfs/tree.ts'
import type { Adapter, Call } from './adapter.ts'
import { isHiddenPath } from './hidden-files.ts'
import type { PathOperations, Timespec, WholeNumber } from './library.ts'
import { fromText, toText } from './names.ts'

/** utimensat(2): in these numbers whatever the system. */
const UTIME_NOW = 0x3fffffff
const UTIME_OMIT = 0x3ffffffe
/** "Leave it": uid_t and gid_t of -1. */
const SAME_ID = 0xffffffff
const ATTRIBUTE_LIMIT_BYTES = 16 << 20

type OnPaths = Pick<
  PathOperations,
  | 'getattr'
  | 'truncate'
  | 'chmodWithHandle'
  | 'chownWithHandle'
  | 'utimensWithHandle'
  | 'readlink'
  | 'symlink'
  | 'mknod'
  | 'mkdir'
  | 'unlink'
  | 'rmdir'
  | 'renameWithFlags'
  | 'link'
  | 'statfs'
  | 'setxattr'
  | 'getxattr'
  | 'listxattr'
  | 'removexattr'
>

export function pathOperations(d: Adapter): OnPaths {
  const { vfs, resolver, host } = d

  /** Calls that make a name. */
  const made = (call: Omit<Call<Entry>, 'done' | 'mutates'>) =>
    d.serve({
      ...call,
      mutates: true,
      done: entry => {
        resolver.release(entry.attributes.ino)
        call.reply(0)
      },
    })

  /** Calls that change attributes, by path or by handle. */
  const change = (operation: string, path: string | null, fd: WholeNumber, reply: Call<unknown>['reply'], changes: AttributeChanges) =>
    d.serve({
      operation,
      path,
      reply,
      mutates: true,
      run: request => d.nodeOf(request, path, fd, (ino, handle) => vfs.setattr(request, ino, changes, handle)),
    })

  return {
    getattr(path, reply) {
      d.serve({
        operation: 'getattr',
        path,
        reply,
        run: request => d.node(request, path, entry => entry),
        done: entry => reply(0, d.stat(entry)),
      })
    },

    truncate: (path, sizeBytes, reply) => change('truncate', path, 0, reply, { sizeBytes: Number(sizeBytes) }),

    chmodWithHandle: (path, fd, mode, reply) => change('chmod', path, fd, reply, { mode: mode & 0o7777 }),

    chownWithHandle: (path, fd, uid, gid, reply) =>
      change('chown', path, fd, reply, { ...(uid === SAME_ID ? {} : { uid }), ...(gid === SAME_ID ? {} : { gid }) }),

    utimensWithHandle(path, fd, atime, mtime, reply) {
      const a = timeChange(atime)
      const m = timeChange(mtime)
      change('utimens', path, fd, reply, { ...(a && { atime: a }), ...(m && { mtime: m }) })
    },

    readlink(path, reply) {
      d.serve({
        operation: 'readlink',
        path,
        reply,
        run: request => d.node(request, path, entry => vfs.readlink(request, entry.attributes.ino)),
        done: target => reply(0, toText(target)),
      })
    },

    symlink(target, path, reply) {
      made({
        operation: 'symlink',
        path,
        reply,
        run: request => resolver.parent(request, path, (parent, name) => vfs.symlink(request, parent, name, fromText(target))),
      })
    },

    mknod(path, mode, device, reply) {
      made({
        operation: 'mknod',
        path,
        reply,
        run: request => resolver.parent(request, path, (parent, name) => vfs.mknod(request, parent, name, mode & 0o177777, Number(device))),
      })
    },

    mkdir(path, mode, reply) {
      made({
        operation: 'mkdir',
        path,
        reply,
        run: request => resolver.parent(request, path, (parent, name) => vfs.mkdir(request, parent, name, mode & 0o7777)),
      })
    },

    unlink(path, reply) {
      d.serve({
        operation: 'unlink',
        path,
        reply,
        mutates: true,
        run(request) {
          if (d.hidden.remove(path)) return
          return resolver.parent(request, path, (parent, name) => vfs.unlink(request, parent, name))
        },
      })
    },

    rmdir(path, reply) {
      d.serve({
        operation: 'rmdir',
        path,
        reply,
        mutates: true,
        run: request =>
          resolver.parent(request, path, (parent, name) => then(vfs.rmdir(request, parent, name), () => resolver.forgetName(parent, name))),
      })
    },

    renameWithFlags(from, to, flags, reply) {
      d.serve({
        operation: 'rename',
        path: from,
        reply,
        mutates: true,
        run(request) {
          if (flags !== 0 || !isHiddenPath(to)) return rename(d, request, from, to, host.renameFlags(flags))
          return resolver.node(request, from, ({ attributes: { ino } }) => {
            if (d.files.handleOf(ino) === undefined) return rename(d, request, from, to, 0)
            return then(
              resolver.parent(request, from, (parent, name) => vfs.unlink(request, parent, name)),
              () => d.hidden.add(to, ino),
            )
          })
        },
      })
    },

    link(from, to, reply) {
      made({
        operation: 'link',
        path: from,
        reply,
        run: request =>
          d.node(request, from, entry =>
            resolver.parent(request, to, (parent, name) => vfs.link(request, entry.attributes.ino, parent, name)),
          ),
      })
    },

    statfs(path, reply) {
      d.serve({
        operation: 'statfs',
        path,
        reply,
        run: request => d.node(request, path, entry => vfs.statfs(request, entry.attributes.ino)),
        done(s) {
          const inFragments = host.blocksAreIn === 'fragments'
          reply(0, {
            bsize: inFragments ? s.blockSizeBytes : s.fragmentSizeBytes,
            frsize: inFragments ? s.fragmentSizeBytes : s.blockSizeBytes,
            blocks: s.blocks,
            bfree: s.blocksFree,
            bavail: s.blocksAvailable,
            files: s.files,
            ffree: s.filesFree,
            favail: s.filesFree,
            namemax: s.nameLengthBytes,
          })
        },
      })
    },

    setxattr(path, text, value, position, flags, reply) {
      d.serve({
        operation: 'setxattr',
        path,
        reply,
        mutates: true,
        run: request =>
          d.node(request, path, ({ attributes: { ino } }) => {
            const name = host.attributeName(fromText(text))
            const linuxFlags = host.attributeFlags(flags)
            if (position === 0) return vfs.setxattr(request, ino, name, value, linuxFlags, false)
            // Resource forks of macOS are written in pieces.
            if (position + value.length > ATTRIBUTE_LIMIT_BYTES) throw new FsError('too-big')
            return then(vfs.getxattr(request, ino, name), old => {
              const whole = Buffer.alloc(Math.max(old.length, position + value.length))
              old.copy(whole)
              value.copy(whole, position)
              return vfs.setxattr(request, ino, name, whole, linuxFlags, false)
            })
          }),
      })
    },

    getxattr(path, text, position, reply) {
      d.serve({
        operation: 'getxattr',
        path,
        reply,
        run: request => d.node(request, path, entry => vfs.getxattr(request, entry.attributes.ino, host.attributeName(fromText(text)))),
        done: value => reply(0, position === 0 ? value : value.subarray(position)),
      })
    },

    listxattr(path, reply) {
      d.serve({
        operation: 'listxattr',
        path,
        reply,
        run: request => d.node(request, path, entry => vfs.listxattr(request, entry.attributes.ino)),
        done: names =>
          reply(
            0,
            names
              .map(name => host.attributeText(name))
              .filter(name => name !== undefined)
              .map(toText),
          ),
      })
    },

    removexattr(path, text, reply) {
      d.serve({
        operation: 'removexattr',
        path,
        reply,
        mutates: true,
        run: request => d.node(request, path, entry => vfs.removexattr(request, entry.attributes.ino, host.attributeName(fromText(text)))),
      })
    },
  }
}

function rename(d: Adapter, request: Parameters<Call<void>['run']>[0], from: string, to: string, flags: number) {
  const { resolver, vfs } = d
  return resolver.parent(request, from, (parent, name) =>
    resolver.parent(request, to, (newParent, newName) =>
      then(vfs.rename(request, parent, name, newParent, newName, flags), () => {
        resolver.forgetName(parent, name)
        resolver.forgetName(newParent, newName)
        d.hidden.renamed(from, to, (flags & RENAME_EXCHANGE) !== 0)
      }),
    ),
  )
}

/** undefined: leave it. */
function timeChange(time: Timespec): TimeChange | undefined {
  if (time.nanoseconds === UTIME_OMIT) return undefined
  if (time.nanoseconds === UTIME_NOW) return 'now'
  return { sec: Number(time.seconds), nsec: time.nanoseconds }
}
