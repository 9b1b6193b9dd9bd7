/**
 * The callbacks on open files and directories.
 *
 * Owns: which callback calls what, and that an open node keeps its reference until it is released. Must stay true: no
 * semantics here; buffers of the library are used until the tree has answered, never after.
 */
import { FsError } from '../../errors.ts'
import { FMODE_EXEC, O_ACCMODE, O_APPEND, O_CREAT, O_EXCL, O_NOCTTY, O_RDONLY, O_TRUNC, SEEK_DATA, SEEK_HOLE } from '../../sys/flags.ts'
import type { Attributes, AttributesReply, Ino, OpenFile } from '../../vfs/contract.ts'
import { then } from '../../vfs/tree.ts'
import type { Adapter } from './adapter.ts'
import { recovering } from './answers.ts'
import type { PathOperations } from './library.ts'
import { OpenedDirectory } from './open-handles.ts'
import { STORE_TIMEOUT_MS } from './request.ts'

/** The reply's count is 32 bits wide. */
const COPY_LIMIT_BYTES = 0x7fff_f000
const FUSE_IOCTL_DIR = 1 << 4

type OnHandles = Pick<
  PathOperations,
  | 'fgetattr'
  | 'ftruncate'
  | 'open'
  | 'createWithFlags'
  | 'read'
  | 'write'
  | 'flush'
  | 'fsync'
  | 'release'
  | 'fallocate'
  | 'lseek'
  | 'copyFileRange'
  | 'ioctl'
  | 'opendir'
  | 'readdirPaged'
  | 'fsyncdir'
  | 'releasedir'
>

interface Opened {
  readonly handle: number
  readonly file: OpenFile
}

export function handleOperations(d: Adapter): OnHandles {
  const { vfs, resolver, host, files, directories } = d

  /** `attributes` of the entry whose reference the open file keeps; undefined where there is none. */
  const opened = ({ handle, file }: Opened, ino: Ino, flags: number, attributes: Attributes | undefined) => {
    files.add({ handle, ino, file, appends: (flags & O_APPEND) !== 0, isReferenced: attributes !== undefined })
    // Each name of a file has a cache of its own in the kernel, so what was cached by one can't know of the others.
    return { fd: handle, directIO: file.directIo, keepCache: file.keepCache && attributes?.nlink === 1 }
  }

  return {
    fgetattr(path, fd, reply) {
      d.serve<AttributesReply>({
        operation: 'getattr',
        path,
        reply,
        run(request) {
          const open = files.find(fd)
          if (open) return vfs.getattr(request, open.ino, open.handle)
          if (path === null) throw new FsError('bad-handle')
          return d.node(request, path, entry => entry)
        },
        done: attributes => reply(0, d.stat(attributes)),
      })
    },

    ftruncate(path, fd, sizeBytes, reply) {
      d.serve({
        operation: 'truncate',
        path,
        reply,
        mutates: true,
        run: request => d.nodeOf(request, path, fd, (ino, handle) => vfs.setattr(request, ino, { sizeBytes: Number(sizeBytes) }, handle)),
      })
    },

    open(path, hostFlags, reply) {
      const flags = host.openFlags(hostFlags) & ~(FMODE_EXEC | O_CREAT | O_EXCL | O_NOCTTY)
      d.serve({
        operation: 'open',
        path,
        reply,
        mutates: (flags & O_ACCMODE) !== O_RDONLY || (flags & O_TRUNC) !== 0,
        run: request => {
          const hidden = d.hidden.find(path)
          if (hidden !== undefined) return then(vfs.open(request, hidden, flags), it => opened(it, hidden, flags, undefined))
          return then(resolver.lookup(request, path), ({ attributes }) =>
            recovering(
              () => then(vfs.open(request, attributes.ino, flags), it => opened(it, attributes.ino, flags, attributes)),
              error => {
                resolver.release(attributes.ino)
                throw error
              },
            ),
          )
        },
        done: result => reply(0, result),
      })
    },

    createWithFlags(path, mode, hostFlags, reply) {
      const flags = host.openFlags(hostFlags) & ~FMODE_EXEC
      d.serve({
        operation: 'create',
        path,
        reply,
        mutates: true,
        run: request =>
          resolver.parent(request, path, (parent, name) =>
            then(vfs.create(request, parent, name, mode & 0o7777, flags), created => {
              const { attributes } = created.entry
              return opened(created, attributes.ino, flags, attributes)
            }),
          ),
        done: result => reply(0, result),
      })
    },

    read(path, fd, into, lengthBytes, position, reply) {
      d.serve<number | Buffer>({
        operation: 'read',
        path,
        reply,
        run: request =>
          files.get(fd).file.read(request, Number(position), into.length === lengthBytes ? into : into.subarray(0, lengthBytes)),
        done: got => reply(typeof got === 'number' ? got : got.copy(into)),
      })
    },

    write(path, fd, data, _lengthBytes, position, reply) {
      d.serve({
        operation: 'write',
        path,
        reply,
        mutates: true,
        run(request) {
          const { file, appends } = files.get(fd)
          return file.write(request, Number(position), data, { append: appends && !request.isPage })
        },
        done: written => reply(written),
      })
    },

    flush(path, fd, reply) {
      d.serve({ operation: 'flush', path, reply, timeoutMs: STORE_TIMEOUT_MS, run: request => files.get(fd).file.flush(request) })
    },

    fsync(path, dataOnly, fd, reply) {
      d.serve({ operation: 'fsync', path, reply, timeoutMs: STORE_TIMEOUT_MS, run: request => files.get(fd).file.fsync(request, dataOnly) })
    },

    release(path, fd, reply) {
      d.serve({
        operation: 'release',
        path,
        reply,
        timeoutMs: STORE_TIMEOUT_MS,
        run() {
          const open = files.remove(fd)
          if (!open) return
          const { ino, handle, isReferenced } = open
          if (files.handleOf(ino) === undefined) d.hidden.closed(ino)
          return then(vfs.release(handle), () => {
            if (isReferenced) resolver.release(ino)
          })
        },
      })
    },

    fallocate(path, fd, mode, offset, lengthBytes, reply) {
      d.serve({
        operation: 'fallocate',
        path,
        reply,
        mutates: true,
        run: request => files.get(fd).file.fallocate(request, host.allocateMode(mode), Number(offset), Number(lengthBytes)),
      })
    },

    lseek(path, fd, offset, hostWhence, reply) {
      d.serve({
        operation: 'lseek',
        path,
        reply,
        run(request) {
          const whence = host.seekWhence(hostWhence)
          if (whence !== SEEK_DATA && whence !== SEEK_HOLE) throw new FsError('invalid')
          return files.get(fd).file.seek(request, Number(offset), whence)
        },
        done: found => reply(0, found),
      })
    },

    copyFileRange(path, fd, offset, _targetPath, targetFd, targetOffset, lengthBytes, _flags, reply) {
      d.serve({
        operation: 'copy_file_range',
        path,
        reply,
        mutates: true,
        run(request) {
          const limit = Math.min(Number(lengthBytes), COPY_LIMIT_BYTES)
          return files.get(fd).file.copyRange(request, Number(offset), files.get(targetFd).file, Number(targetOffset), limit)
        },
        done: copied => reply(copied),
      })
    },

    ...(host.ioctls &&
      ({
        ioctl(path, fd, command, _argument, flags, data, reply) {
          d.serve({
            operation: 'ioctl',
            path,
            reply,
            run(request) {
              const isDirectory = (flags & FUSE_IOCTL_DIR) !== 0
              const { ino, handle } = isDirectory ? d.directory(fd) : files.get(fd)
              return vfs.ioctl(request, ino, isDirectory ? undefined : handle, command >>> 0, data, data.length)
            },
            // The library wants as many bytes back as it gave.
            done: output => reply(0, Buffer.concat([output, data.subarray(output.length)], data.length)),
          })
        },
      } satisfies Pick<PathOperations, 'ioctl'>)),

    opendir(path, _flags, reply) {
      d.serve({
        operation: 'opendir',
        path,
        reply,
        run: request =>
          then(resolver.lookup(request, path), ({ attributes: { ino } }) =>
            recovering(
              () =>
                then(vfs.opendir(request, ino), ({ handle, directory }) => {
                  directories.set(handle, new OpenedDirectory(handle, ino, directory))
                  return handle
                }),
              error => {
                resolver.release(ino)
                throw error
              },
            ),
          ),
        done: fd => reply(0, { fd }),
      })
    },

    readdirPaged(path, fd, offset, reply) {
      d.serve({
        operation: 'readdir',
        path,
        reply,
        run: request => d.directory(fd).read(request, BigInt(offset)),
        done: ({ names, stats, nexts }) => reply(0, names, stats, nexts),
      })
    },

    fsyncdir(path, dataOnly, fd, reply) {
      d.serve({
        operation: 'fsyncdir',
        path,
        reply,
        timeoutMs: STORE_TIMEOUT_MS,
        run: request => d.directory(fd).directory.fsync(request, dataOnly),
      })
    },

    releasedir(path, fd, reply) {
      d.serve({
        operation: 'releasedir',
        path,
        reply,
        run() {
          const open = directories.get(Number(fd))
          if (!open) return
          directories.delete(open.handle)
          if (open.leftOut > 0)
            d.log.warning(`${open.leftOut} names of a folder were not listed: they are not UTF-8 and too long to be shown`)
          return then(vfs.releasedir(open.handle), () => resolver.release(open.ino))
        },
      })
    },
  }
}
