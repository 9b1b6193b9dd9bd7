/**
 * The FUSE operations: decode a request, make one call into `Vfs`, encode the answer.
 *
 * Owns: which operation calls what. Each entry of the table has `run` (decodes and calls; reads the request's memory
 * before anything waits) and `encode` (writes the reply's body, answering its length). Must stay true: no semantics here:
 * what a program sees is decided in src/vfs.
 * It doesn't: send, catch errors or know about time (channel.ts).
 */
import { FsError } from '../../errors.ts'
import { FMODE_EXEC, O_ACCMODE, O_RDONLY, SEEK_DATA, SEEK_HOLE } from '../../sys/flags.ts'
import {
  type Answer,
  type AttributeChanges,
  type CreatedFile,
  type Entry,
  type HandleId,
  type Ino,
  type Name,
  type OpenFile,
  ROOT_INO,
  type TimeChange,
  type Vfs,
} from '../../vfs/contract.ts'
import { then } from '../../vfs/tree.ts'
import type { Negotiated } from './negotiate.ts'
import type { Passthrough } from './passthrough.ts'
import * as P from './protocol.ts'
import { DirentWriter, ENTRY_BYTES, type Reply } from './reply.ts'
import type { FuseRequest, RequestBuffer } from './request.ts'

/** What the handlers work with: one per mount. */
export interface Dispatch {
  readonly vfs: Vfs
  readonly input: RequestBuffer
  readonly reply: Reply
  readonly passthrough: Passthrough | undefined
  readonly readOnly: boolean
  readonly direntWriters: DirentWriter[]
  negotiated: Negotiated
}

// biome-ignore lint/suspicious/noExplicitAny: each operation has its own type of value between run and encode
export interface Operation<T = any> {
  /** Bytes that the arguments must have at least. */
  readonly least: number
  /** Changes the tree: refused on a read-only mount. */
  readonly mutates?: boolean
  run(d: Dispatch, request: FuseRequest): Answer<T>
  encode(d: Dispatch, value: T, request: FuseRequest): number
}

const nothing = (): number => 0

interface Opened {
  readonly handle: HandleId
  readonly flags: number
  readonly backingId: number
}

const open: Operation<Opened> = {
  least: 8,
  run(d, request) {
    const flags = d.input.u32(0)
    const killPrivileges = (d.input.u32(4) & P.FUSE_OPEN_KILL_SUIDGID) !== 0
    const { node } = request
    if (d.readOnly && (flags & O_ACCMODE) !== O_RDONLY) throw new FsError('read-only')
    return then(d.vfs.open(request, node, flags & ~FMODE_EXEC), ({ handle, file }) => {
      if (!killPrivileges) return openReply(d, handle, file)
      try {
        const killed = then(d.vfs.setattr(request, node, { killPrivileges: true }, handle), () => openReply(d, handle, file))
        return killed instanceof Promise ? killed.catch(error => closeAgain(d, handle, error)) : killed
      } catch (error) {
        return closeAgain(d, handle, error)
      }
    })
  },
  encode: (d, opened) => d.reply.open(0, opened.handle, opened.flags, opened.backingId),
}

/** The kernel releases only what it was told was opened. */
function closeAgain(d: Dispatch, handle: HandleId, error: unknown): Answer<never> {
  return then(d.vfs.release(handle), () => {
    throw error
  })
}

function openReply(d: Dispatch, handle: HandleId, file: OpenFile): Opened {
  const backingId = d.passthrough ? d.passthrough.opened(file.ino, file.backingFd) : 0
  let flags = file.noFlush ? P.FOPEN_NOFLUSH : 0
  // In passthrough mode there is no page cache of ours to keep or bypass: the kernel refuses those flags beside it.
  if (backingId !== 0) flags |= P.FOPEN_PASSTHROUGH
  else if (file.directIo) flags |= P.FOPEN_DIRECT_IO | P.FOPEN_PARALLEL_DIRECT_WRITES
  else if (file.keepCache) flags |= P.FOPEN_KEEP_CACHE
  return { handle, flags, backingId }
}

type Created = CreatedFile<OpenFile> & { readonly handle: HandleId }
const encodeCreated = (d: Dispatch, created: { readonly entry: Entry } & Opened): number => {
  d.reply.entry(created.entry)
  return d.reply.open(ENTRY_BYTES, created.handle, created.flags, created.backingId)
}
const toCreated = (d: Dispatch) => (created: Created) => ({ entry: created.entry, ...openReply(d, created.handle, created.file) })

const encodeEntry = (d: Dispatch, entry: Entry): number => d.reply.entry(entry)

function readDirectory(plus: boolean): Operation<DirentWriter> {
  return {
    least: 40,
    run(d, request) {
      const directory = d.vfs.directory(d.input.u64(0))
      const offset = d.input.big64(8)
      const writer = d.direntWriters.pop() ?? new DirentWriter()
      writer.start(d.input.u32(16), plus)
      return then(directory.read(request, offset, plus, writer), () => writer)
    },
    encode(d, writer) {
      const length = d.reply.data(writer.bytes.subarray(0, writer.length))
      // Two are enough for the usual case; a burst of slow listings makes more, which are let go.
      if (d.direntWriters.length < 2) d.direntWriters.push(writer)
      return length
    },
  }
}

function rename(flagsAt: number | undefined, namesAt: number): Operation<void> {
  return {
    least: namesAt + 4,
    mutates: true,
    run(d, request) {
      const newParent = d.input.u64(0)
      const flags = flagsAt === undefined ? 0 : d.input.u32(flagsAt)
      const { name, next } = d.input.nameAfter(namesAt)
      return d.vfs.rename(request, request.node, validName(name), newParent, validName(d.input.name(next)), flags)
    },
    encode: nothing,
  }
}

function attributeChanges(input: RequestBuffer): AttributeChanges {
  const valid = input.u32(0)
  const changes: { -readonly [K in keyof AttributeChanges]: AttributeChanges[K] } = {}
  if (valid & P.FATTR_MODE) changes.mode = input.u32(68) & 0o7777
  if (valid & P.FATTR_UID) changes.uid = input.u32(76)
  if (valid & P.FATTR_GID) changes.gid = input.u32(80)
  if (valid & P.FATTR_SIZE) changes.sizeBytes = input.i64(16)
  const time = (now: number, sec: number, nsec: number): TimeChange =>
    valid & now ? 'now' : { sec: input.i64(sec), nsec: input.u32(nsec) }
  if (valid & P.FATTR_ATIME) changes.atime = time(P.FATTR_ATIME_NOW, 32, 56)
  if (valid & P.FATTR_MTIME) changes.mtime = time(P.FATTR_MTIME_NOW, 40, 60)
  if (valid & P.FATTR_KILL_SUIDGID) changes.killPrivileges = true
  return changes
}

/** Answers with a value, or with its size when the caller asked for that (size 0). */
function sized(d: Dispatch, limitBytes: number, value: Buffer): number {
  if (limitBytes === 0) return d.reply.size(value.length)
  if (value.length > limitBytes) throw new FsError('range')
  return d.reply.data(value)
}

function validName(name: Name): Name {
  if (name.length > 255) throw new FsError('name-too-long')
  if (name === '.' || name === '..' || name.includes('/')) throw new FsError('invalid', 'not a name')
  return name
}

const operations: Record<number, Operation> = {
  [P.Op.LOOKUP]: {
    least: 2,
    run: (d, request) => d.vfs.lookup(request, request.node, validName(d.input.name(0))),
    encode(d, entry: Entry | undefined, request) {
      if (entry) return d.reply.entry(entry)
      const ttlMs = d.vfs.negativeTtlMs(request.node)
      if (ttlMs === 0) throw new FsError('not-found')
      return d.reply.negativeEntry(ttlMs)
    },
  },
  [P.Op.GETATTR]: {
    least: 16,
    run(d, request) {
      const handle = d.input.u32(0) & P.FUSE_GETATTR_FH ? d.input.u64(8) : undefined
      return d.vfs.getattr(request, request.node, handle)
    },
    encode: (d, reply) => d.reply.attributes(reply),
  },
  [P.Op.SETATTR]: {
    least: 88,
    mutates: true,
    run(d, request) {
      const handle = d.input.u32(0) & P.FATTR_FH ? d.input.u64(8) : undefined
      return d.vfs.setattr(request, request.node, attributeChanges(d.input), handle)
    },
    encode: (d, reply) => d.reply.attributes(reply),
  },
  [P.Op.READLINK]: {
    least: 0,
    run: (d, request) => d.vfs.readlink(request, request.node),
    encode: (d, target: Name) => d.reply.name(target),
  },
  [P.Op.SYMLINK]: {
    least: 4,
    mutates: true,
    run(d, request) {
      const { name, next } = d.input.nameAfter(0)
      return d.vfs.symlink(request, request.node, validName(name), d.input.name(next))
    },
    encode: encodeEntry,
  },
  [P.Op.MKNOD]: {
    least: 18,
    mutates: true,
    run(d, request) {
      request.umask = d.input.u32(8)
      return d.vfs.mknod(request, request.node, validName(d.input.name(16)), d.input.u32(0) & 0o177777, d.input.u32(4))
    },
    encode: encodeEntry,
  },
  [P.Op.MKDIR]: {
    least: 10,
    mutates: true,
    run(d, request) {
      request.umask = d.input.u32(4)
      return d.vfs.mkdir(request, request.node, validName(d.input.name(8)), d.input.u32(0) & 0o7777)
    },
    encode: encodeEntry,
  },
  [P.Op.UNLINK]: {
    least: 2,
    mutates: true,
    run: (d, request) => d.vfs.unlink(request, request.node, validName(d.input.name(0))),
    encode: nothing,
  },
  [P.Op.RMDIR]: {
    least: 2,
    mutates: true,
    run: (d, request) => d.vfs.rmdir(request, request.node, validName(d.input.name(0))),
    encode: nothing,
  },
  [P.Op.RENAME]: rename(undefined, 8),
  [P.Op.RENAME2]: rename(8, 16),
  [P.Op.LINK]: {
    least: 10,
    mutates: true,
    run: (d, request) => d.vfs.link(request, d.input.u64(0), request.node, validName(d.input.name(8))),
    encode: encodeEntry,
  },
  [P.Op.OPEN]: open,
  [P.Op.READ]: {
    least: 40,
    run(d, request) {
      const file = d.vfs.file(d.input.u64(0))
      const lengthBytes = Math.min(d.input.u32(16), P.MAX_WRITE_BYTES)
      const into = d.reply.bytes.subarray(P.OUT_HEADER_BYTES, P.OUT_HEADER_BYTES + lengthBytes)
      return file.read(request, d.input.position(8), into)
    },
    encode: (d, got: number | Buffer) => (typeof got === 'number' ? got : d.reply.data(got)),
  },
  [P.Op.WRITE]: {
    least: 40,
    mutates: true,
    run(d, request) {
      const file = d.vfs.file(d.input.u64(0))
      const writeFlags = d.input.u32(20)
      const data = d.input.data(40, d.input.u32(16))
      const cached = (writeFlags & P.FUSE_WRITE_CACHE) !== 0
      return file.write(request, d.input.position(8), data, {
        killPrivileges: (writeFlags & P.FUSE_WRITE_KILL_SUIDGID) !== 0,
        // Pages written back (mmap) carry the flags of whichever file was at hand: their position counts.
        append: !cached && (d.input.u32(32) & 0o2000) !== 0,
      })
    },
    encode: (d, written: number) => d.reply.size(written),
  },
  [P.Op.STATFS]: {
    least: 0,
    run: (d, request) => d.vfs.statfs(request, request.node || ROOT_INO),
    encode: (d, statistics) => d.reply.statfs(statistics),
  },
  [P.Op.RELEASE]: {
    least: 24,
    run(d, request) {
      d.passthrough?.released(request.node)
      return d.vfs.release(d.input.u64(0))
    },
    encode: nothing,
  },
  [P.Op.FSYNC]: {
    least: 16,
    run: (d, request) => d.vfs.file(d.input.u64(0)).fsync(request, (d.input.u32(8) & P.FUSE_FSYNC_FDATASYNC) !== 0),
    encode: nothing,
  },
  [P.Op.SETXATTR]: {
    least: 10,
    mutates: true,
    run(d, request) {
      const sizeBytes = d.input.u32(0)
      const flags = d.input.u32(4)
      const extended = d.negotiated.setxattrExtended
      const kill = extended && (d.input.u32(8) & P.FUSE_SETXATTR_ACL_KILL_SGID) !== 0
      const { name, next } = d.input.nameAfter(extended ? 16 : 8)
      return d.vfs.setxattr(request, request.node, name, d.input.data(next, sizeBytes), flags, kill)
    },
    encode: nothing,
  },
  [P.Op.GETXATTR]: {
    least: 10,
    run(d, request) {
      const limitBytes = d.input.u32(0)
      return then(d.vfs.getxattr(request, request.node, d.input.name(8)), value => ({ limitBytes, value }))
    },
    encode: (d, { limitBytes, value }) => sized(d, limitBytes, value),
  },
  [P.Op.LISTXATTR]: {
    least: 8,
    run(d, request) {
      const limitBytes = d.input.u32(0)
      return then(d.vfs.listxattr(request, request.node), names => ({
        limitBytes,
        value: Buffer.from(names.map(name => `${name}\0`).join(''), 'latin1'),
      }))
    },
    encode: (d, { limitBytes, value }) => sized(d, limitBytes, value),
  },
  [P.Op.REMOVEXATTR]: {
    least: 2,
    mutates: true,
    run: (d, request) => d.vfs.removexattr(request, request.node, d.input.name(0)),
    encode: nothing,
  },
  [P.Op.FLUSH]: {
    least: 24,
    run: (d, request) => d.vfs.file(d.input.u64(0)).flush(request),
    encode: nothing,
  },
  [P.Op.OPENDIR]: {
    least: 8,
    run: (d, request) => d.vfs.opendir(request, request.node),
    encode: (d, { handle, directory }) =>
      d.reply.open(0, handle, directory.keepCache ? P.FOPEN_CACHE_DIR | P.FOPEN_KEEP_CACHE : P.FOPEN_CACHE_DIR, 0),
  },
  [P.Op.READDIR]: readDirectory(false),
  [P.Op.READDIRPLUS]: readDirectory(true),
  [P.Op.RELEASEDIR]: {
    least: 24,
    run: d => d.vfs.releasedir(d.input.u64(0)),
    encode: nothing,
  },
  [P.Op.FSYNCDIR]: {
    least: 16,
    run: (d, request) => d.vfs.directory(d.input.u64(0)).fsync(request, (d.input.u32(8) & P.FUSE_FSYNC_FDATASYNC) !== 0),
    encode: nothing,
  },
  [P.Op.ACCESS]: {
    least: 8,
    run: (d, request) => d.vfs.access(request, request.node, d.input.u32(0)),
    encode: nothing,
  },
  [P.Op.CREATE]: {
    least: 18,
    mutates: true,
    run(d, request) {
      request.umask = d.input.u32(8)
      const created = d.vfs.create(
        request,
        request.node,
        validName(d.input.name(16)),
        d.input.u32(4) & 0o7777,
        d.input.u32(0) & ~FMODE_EXEC,
      )
      return then(created, toCreated(d))
    },
    encode: encodeCreated,
  },
  [P.Op.TMPFILE]: {
    least: 16,
    mutates: true,
    run(d, request) {
      request.umask = d.input.u32(8)
      return then(d.vfs.tmpfile(request, request.node, d.input.u32(4) & 0o7777, d.input.u32(0) & ~FMODE_EXEC), toCreated(d))
    },
    encode: encodeCreated,
  },
  [P.Op.IOCTL]: {
    least: 32,
    run(d, request) {
      // A directory's ioctl comes with a handle of the directory table.
      const handle = d.input.u32(8) & P.FUSE_IOCTL_DIR ? undefined : d.input.u64(0)
      const input = Buffer.from(d.input.data(32, d.input.u32(24)))
      return d.vfs.ioctl(request, request.node, handle, d.input.u32(12), input, Math.min(d.input.u32(28), 65_536))
    },
    encode: (d, output: Buffer) => d.reply.ioctl(output),
  },
  [P.Op.FALLOCATE]: {
    least: 32,
    mutates: true,
    run: (d, request) => d.vfs.file(d.input.u64(0)).fallocate(request, d.input.u32(24), d.input.position(8), d.input.position(16)),
    encode: nothing,
  },
  [P.Op.LSEEK]: {
    least: 24,
    run(d, request) {
      const whence = d.input.u32(16)
      if (whence !== SEEK_DATA && whence !== SEEK_HOLE) throw new FsError('invalid')
      return d.vfs.file(d.input.u64(0)).seek(request, d.input.i64(8), whence)
    },
    encode: (d, offset: number) => d.reply.offset(offset),
  },
  [P.Op.COPY_FILE_RANGE]: {
    least: 56,
    mutates: true,
    run(d, request) {
      const source = d.vfs.file(d.input.u64(0))
      const target = d.vfs.file(d.input.u64(24))
      // The reply's size is 32 bits wide.
      const lengthBytes = Math.min(d.input.u64(40), 0x7fff_f000)
      return source.copyRange(request, d.input.position(8), target, d.input.position(32), lengthBytes)
    },
    encode: (d, copied: number) => d.reply.size(copied),
  },
  [P.Op.SYNCFS]: {
    least: 8,
    run: (d, request) => d.vfs.syncfs(request, request.node || ROOT_INO),
    encode: nothing,
  },
  [P.Op.STATX]: {
    least: 24,
    run(d, request) {
      const handle = d.input.u32(0) & P.FUSE_GETATTR_FH ? d.input.u64(8) : undefined
      return d.vfs.getattr(request, request.node, handle)
    },
    encode: (d, reply) => d.reply.statx(reply),
  },
}

/** The operation of an opcode; undefined for what isn't served (the kernel is told ENOSYS and stops asking). */
export const OPERATIONS: readonly (Operation | undefined)[] = (() => {
  const table: (Operation | undefined)[] = []
  for (const [opcode, operation] of Object.entries(operations)) table[Number(opcode)] = operation
  return table
})()

/** FORGET and BATCH_FORGET: the pairs in the request. They have no reply. */
export function forget(d: Dispatch, request: FuseRequest): void {
  if (request.opcode === P.Op.FORGET) return d.vfs.forget(request.node, d.input.u64(0))
  const count = d.input.u32(0)
  for (let i = 0; i < count; i++) d.vfs.forget(d.input.u64(8 + i * 16) as Ino, d.input.u64(16 + i * 16))
}
