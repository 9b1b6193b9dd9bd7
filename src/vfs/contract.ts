/**
 * The words and contracts of the tree: what front ends call (`Vfs`) and what volumes implement (`Volume`).
 *
 * Owns: types only (and the small `Attributes` class), no behaviour. Read this file and you know the system.
 *
 * Rules that bind every implementation:
 * - An operation answers `T | Promise<T>`: synchronously when it can be answered at once, with a promise only when it
 *   must wait for a network or a slow disk. A promise ends: its `context.signal` aborts it.
 * - Operating errors are thrown (or rejected) as `FsError`. `lookup` of a missing name isn't an error: it answers undefined.
 * - Names are bytes: a `Name` is a string with one char per byte (latin1), never decoded, never containing "/" or NUL.
 *   Symlink targets are the same. Only WebDAV and search decode.
 * - Inode numbers are unique in the whole tree, stable across remounts, safe integers: slot * 2^40 + local number.
 *   Slot 0 is the tree's own (the root is 1); the index gives out slots.
 * - Buffers handed in (`data`, `into`) belong to the caller again when the call returns, also when it returned a promise.
 */

export type Answer<T> = T | Promise<T>

/** A file name: one char per byte (latin1), 1 to 255 bytes, no "/" and no NUL, not "." or "..". */
export type Name = string

/** An inode number: unique in the tree, stable across remounts, a safe integer. */
export type Ino = number

/** The number of the tree's root directory. */
export const ROOT_INO: Ino = 1

/** Inode numbers are `slot * SLOT_SIZE + local`. */
export const SLOT_SIZE = 2 ** 40

/** How many slots there are: the numbers stay below 2^53. */
export const SLOT_COUNT = 2 ** 13

/** The attributes of a node: struct statx, with times as seconds and nanoseconds. Instances are never changed once handed on. */
export class Attributes {
  ino: Ino = 0
  /** File type and permission bits (S_IFMT | 07777). */
  mode = 0
  nlink = 1
  uid = 0
  gid = 0
  /** Device number of a device node, in the kernel's 32-bit encoding (new_encode_dev). */
  rdev = 0
  sizeBytes = 0
  /** Allocated blocks of 512 bytes. */
  blocks = 0
  blockSizeBytes = 4096
  atimeSec = 0
  atimeNsec = 0
  mtimeSec = 0
  mtimeNsec = 0
  ctimeSec = 0
  ctimeNsec = 0
  /** Birth time; 0 where unknown. */
  btimeSec = 0
  btimeNsec = 0
}

export const S_IFMT = 0o170000
export const S_IFSOCK = 0o140000
export const S_IFLNK = 0o120000
export const S_IFREG = 0o100000
export const S_IFBLK = 0o060000
export const S_IFDIR = 0o040000
export const S_IFCHR = 0o020000
export const S_IFIFO = 0o010000

export function isDirectory(mode: number): boolean {
  return (mode & S_IFMT) === S_IFDIR
}
export function isRegular(mode: number): boolean {
  return (mode & S_IFMT) === S_IFREG
}
export function isSymlink(mode: number): boolean {
  return (mode & S_IFMT) === S_IFLNK
}

/** Who asks. `signal` is made when first read, so that what is answered at once costs nothing. */
export interface RequestContext {
  readonly uid: number
  readonly gid: number
  readonly pid: number
  /** The caller's umask for create, mkdir, mknod: the volume applies it (a default ACL replaces it). */
  readonly umask: number
  readonly signal: AbortSignal
}

/** What a name means, with how long a front end may believe it. */
export interface Entry {
  readonly attributes: Attributes
  /** Tells two nodes apart that had the same number one after the other. */
  readonly generation: number
  /** How long the name may be believed without asking again. */
  readonly entryTtlMs: number
  /** How long the attributes may be believed. */
  readonly attributeTtlMs: number
}

export interface AttributesReply {
  readonly attributes: Attributes
  readonly attributeTtlMs: number
}

/** 'now' is the clock of the volume (UTIME_NOW). */
export type TimeChange = { readonly sec: number; readonly nsec: number } | 'now'

/** What setattr changes; what is absent stays. */
export interface AttributeChanges {
  readonly mode?: number
  readonly uid?: number
  readonly gid?: number
  readonly sizeBytes?: number
  readonly atime?: TimeChange
  readonly mtime?: TimeChange
  readonly btime?: TimeChange
  /** Clear set-user-id and set-group-id as POSIX asks of a writer without privilege. */
  readonly killPrivileges?: boolean
}

export interface FilesystemStatistics {
  readonly blockSizeBytes: number
  readonly fragmentSizeBytes: number
  readonly blocks: number
  readonly blocksFree: number
  readonly blocksAvailable: number
  readonly files: number
  readonly filesFree: number
  readonly nameLengthBytes: number
}

/** open(2) flags in Linux numbers, whatever the platform (src/sys/flags.ts names them). */
export type OpenFlags = number

export interface WriteOptions {
  /** Clear set-user-id and set-group-id (the writer has no privilege to keep them). */
  readonly killPrivileges?: boolean
  /** The position is ignored, the data goes to the end (O_APPEND). Without it the position counts. */
  readonly append?: boolean
}

/** An open file. All of its methods may be called until `release` returned. */
export interface OpenFile {
  readonly ino: Ino
  /** The front end may keep what it cached of this file: nothing changed since it was cached. */
  readonly keepCache: boolean
  /** The front end must not cache this file's data. */
  readonly directIo: boolean
  /** close() needs no flush here: nothing is delayed and nothing can fail. */
  readonly noFlush: boolean
  /**
   * A descriptor of a regular file on a local filesystem whose bytes are this file's bytes: a front end that can may
   * let the kernel read and write it directly. Such bytes bypass `read` and `write`; the volume copes.
   */
  readonly backingFd?: number | undefined
  /** Reads at `position` into `into`, answering the byte count (less than asked only at the end of file); an answer
   * that had to wait carries its own bytes instead and leaves `into` alone. */
  read(context: RequestContext, position: number, into: Buffer): number | Promise<Buffer>
  /** Writes all of `data`, or as much as fits: the byte count. */
  write(context: RequestContext, position: number, data: Buffer, options: WriteOptions): Answer<number>
  /** Each close(2) of a descriptor: what is delayed is reported here. */
  flush(context: RequestContext): Answer<void>
  /** Bytes (and with `dataOnly` false all attributes) are on stable storage when this answers. */
  fsync(context: RequestContext, dataOnly: boolean): Answer<void>
  /** fallocate(2): `mode` in Linux numbers (KEEP_SIZE 1, PUNCH_HOLE 2, COLLAPSE 8, ZERO 16, INSERT 32). */
  fallocate(context: RequestContext, mode: number, offset: number, lengthBytes: number): Answer<void>
  /** lseek(2) with SEEK_DATA (3) or SEEK_HOLE (4): the offset found. */
  seek(context: RequestContext, offset: number, whence: number): Answer<number>
  /** copy_file_range(2) to another open file of the same volume: bytes copied; throws 'cross-volume' or 'not-supported'. */
  copyRange(context: RequestContext, offset: number, target: OpenFile, targetOffset: number, lengthBytes: number): Answer<number>
  /** The last close. Never fails; an error here is logged. Called exactly once. */
  release(): Answer<void>
}

/** Takes directory entries; false: it's full, this entry was not taken, stop. */
export interface DirectorySink {
  /**
   * `next` is the offset from which a later `read` continues after this entry. `type` is S_IFMT bits, 0 where unknown.
   * `entry` comes when `read` was asked for attributes and they are at hand.
   */
  add(name: Name, ino: Ino, type: number, next: bigint, entry: Entry | undefined): boolean
}

/** An open directory. */
export interface OpenDirectory {
  readonly ino: Ino
  /** The front end may cache the listing, and keep the one it cached. */
  readonly keepCache: boolean
  /** Lists from `offset` (0n: from the start; includes "." and ".."), until the sink is full or the directory ends. */
  read(context: RequestContext, offset: bigint, withAttributes: boolean, sink: DirectorySink): Answer<void>
  fsync(context: RequestContext, dataOnly: boolean): Answer<void>
  release(): Answer<void>
}

/** RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT of renameat2(2). */
export const RENAME_NOREPLACE = 1
export const RENAME_EXCHANGE = 2
export const RENAME_WHITEOUT = 4

/**
 * Operations on nodes, in the kernel's words. A volume implements them for its own inode numbers; the tree implements
 * them for all by routing. The methods are safe to call with any number: an unknown one throws 'stale'.
 */
export interface NodeOperations {
  /** undefined: no such name (then `negativeTtlMs` of the volume's traits says how long that holds). */
  lookup(context: RequestContext, parent: Ino, name: Name): Answer<Entry | undefined>
  /** The front end dropped `count` of the references that entries gave it. */
  forget(ino: Ino, count: number): void
  getattr(context: RequestContext, ino: Ino, file?: OpenFile): Answer<AttributesReply>
  setattr(context: RequestContext, ino: Ino, changes: AttributeChanges, file?: OpenFile): Answer<AttributesReply>
  readlink(context: RequestContext, ino: Ino): Answer<Name>
  symlink(context: RequestContext, parent: Ino, name: Name, target: Name): Answer<Entry>
  mknod(context: RequestContext, parent: Ino, name: Name, mode: number, rdev: number): Answer<Entry>
  mkdir(context: RequestContext, parent: Ino, name: Name, mode: number): Answer<Entry>
  unlink(context: RequestContext, parent: Ino, name: Name): Answer<void>
  rmdir(context: RequestContext, parent: Ino, name: Name): Answer<void>
  rename(context: RequestContext, parent: Ino, name: Name, newParent: Ino, newName: Name, flags: number): Answer<void>
  link(context: RequestContext, ino: Ino, newParent: Ino, newName: Name): Answer<Entry>
  access(context: RequestContext, ino: Ino, mask: number): Answer<void>
  statfs(context: RequestContext, ino: Ino): Answer<FilesystemStatistics>
  /** `name` with its namespace (`user.x`). `flags`: XATTR_CREATE 1, XATTR_REPLACE 2. */
  setxattr(context: RequestContext, ino: Ino, name: Name, value: Buffer, flags: number, killSetGid: boolean): Answer<void>
  getxattr(context: RequestContext, ino: Ino, name: Name): Answer<Buffer>
  listxattr(context: RequestContext, ino: Ino): Answer<Name[]>
  removexattr(context: RequestContext, ino: Ino, name: Name): Answer<void>
  /** syncfs(2). */
  syncfs(context: RequestContext, ino: Ino): Answer<void>
}

export interface CreatedFile<File> {
  readonly entry: Entry
  readonly file: File
}

/** Differences between volumes, as data. */
export interface VolumeTraits {
  readonly readOnly: boolean
  readonly hardLinks: boolean
  readonly symlinks: boolean
  readonly specialFiles: boolean
  readonly extendedAttributes: boolean
  readonly posixAcls: boolean
  /** What a program writes is stored as it is by the host: passthrough is possible. */
  readonly local: boolean
  /** How long a missing name may be believed to be missing. */
  readonly negativeTtlMs: number
}

/** What a person is told of a volume. */
export interface VolumeStatus {
  readonly state: 'online' | 'offline' | 'scanning' | 'closed'
  /** Why it is offline, or what needs attention; one line. */
  readonly detail?: string
  readonly scan?: ScanProgress
  /** Folders that could not be read (at most the first hundred), with the reason. */
  readonly unreadable: readonly { readonly path: string; readonly reason: string }[]
}

export interface ScanProgress {
  readonly directories: number
  readonly entries: number
  readonly entriesPerSecond: number
  readonly startedAtMs: number
}

/** One folder at the top of the tree. It owns its nodes; the tree only routes. */
export interface Volume extends NodeOperations {
  /** The volume's number in the index. */
  readonly id: number
  readonly kind: 'location' | 'cloud' | 'vault' | 'view' | 'memory'
  /** The inode number of its root directory. */
  readonly rootIno: Ino
  readonly traits: VolumeTraits
  open(context: RequestContext, ino: Ino, flags: OpenFlags): Answer<OpenFile>
  create(context: RequestContext, parent: Ino, name: Name, mode: number, flags: OpenFlags): Answer<CreatedFile<OpenFile>>
  /** An unnamed file in `parent` (O_TMPFILE). */
  tmpfile(context: RequestContext, parent: Ino, mode: number, flags: OpenFlags): Answer<CreatedFile<OpenFile>>
  opendir(context: RequestContext, ino: Ino): Answer<OpenDirectory>
  /** ioctl(2) with a plain in and out buffer; throws 'not-tty' for what it doesn't know. */
  ioctl(context: RequestContext, ino: Ino, file: OpenFile | undefined, command: number, input: Buffer, outputBytes: number): Answer<Buffer>
  status(): VolumeStatus
  /** Nothing was asked for a while: descriptors that would keep a drive busy are closed, caches may shrink. */
  idle(): void
  /** Ends background work, writes what is delayed. Afterwards no method is called. */
  close(): Promise<void>
}

/** A handle number of the tree: what a front end stores in its open reply. */
export type HandleId = number

/** What a front end is told of changes that it didn't make itself. */
export interface VfsListener {
  /** The attributes of `ino` changed; with `data`, its cached bytes (or cached listing) are wrong too. */
  inodeChanged(ino: Ino, data: boolean): void
  /** The name may mean something else now. */
  entryChanged(parent: Ino, name: Name): void
  /** The name is gone, and it meant `child`. */
  entryRemoved(parent: Ino, name: Name, child: Ino): void
  /** Anything may have changed, also what was cached as missing. Single nodes that are known are told beside this. */
  everythingChanged(): void
}

/** The whole tree: what a front end calls. Handles are numbers here, so that a wire protocol can carry them. */
export interface Vfs extends Omit<NodeOperations, 'getattr' | 'setattr'> {
  readonly negativeTtlMs: (parent: Ino) => number
  getattr(context: RequestContext, ino: Ino, handle?: HandleId): Answer<AttributesReply>
  setattr(context: RequestContext, ino: Ino, changes: AttributeChanges, handle?: HandleId): Answer<AttributesReply>
  /** Opens; the front end passes `handle` to the calls below until `release`. */
  open(context: RequestContext, ino: Ino, flags: OpenFlags): Answer<{ readonly handle: HandleId; readonly file: OpenFile }>
  create(
    context: RequestContext,
    parent: Ino,
    name: Name,
    mode: number,
    flags: OpenFlags,
  ): Answer<CreatedFile<OpenFile> & { readonly handle: HandleId }>
  tmpfile(
    context: RequestContext,
    parent: Ino,
    mode: number,
    flags: OpenFlags,
  ): Answer<CreatedFile<OpenFile> & { readonly handle: HandleId }>
  /** The open file behind a handle: for read, write, flush, fsync, ... Throws 'bad-handle'. */
  file(handle: HandleId): OpenFile
  release(handle: HandleId): Answer<void>
  opendir(context: RequestContext, ino: Ino): Answer<{ readonly handle: HandleId; readonly directory: OpenDirectory }>
  directory(handle: HandleId): OpenDirectory
  releasedir(handle: HandleId): Answer<void>
  ioctl(
    context: RequestContext,
    ino: Ino,
    handle: HandleId | undefined,
    command: number,
    input: Buffer,
    outputBytes: number,
  ): Answer<Buffer>
  /** Told of changes from other front ends and from beside the mount. Answers a function that ends it. */
  listen(listener: VfsListener): () => void
  idle(): void
}
