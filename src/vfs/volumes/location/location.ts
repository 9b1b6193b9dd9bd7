/**
 * A location: a local folder as a volume, used in place.
 *
 * Owns: which of the operations below goes to the host and which is answered from the index, and the location's state
 * (online, offline). Must stay true: the host's filesystem is the truth while the folder is there; offline the index is
 * all there is, names and attributes are answered from it, and everything else is 'offline' at once.
 * It doesn't: scan or watch (follower.ts), decide how a node is reached (core.ts).
 */
import { FsError } from '../../../errors.ts'
import type { LocationSettings, VolumeRecord } from '../../../index/contract.ts'
import type { Log } from '../../../log.ts'
import { errnoError } from '../../../sys/errno.ts'
import { O_ACCMODE, O_DIRECTORY, O_NOATIME, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_TRUNC } from '../../../sys/flags.ts'
import { AT_FDCWD } from '../../../sys/linux.ts'
import {
  type Answer,
  type AttributeChanges,
  type AttributesReply,
  type CreatedFile,
  type Entry,
  type FilesystemStatistics,
  type Ino,
  isDirectory,
  type Name,
  type OpenDirectory,
  type OpenFile,
  type OpenFlags,
  type RequestContext,
  S_IFMT,
  S_IFREG,
  SLOT_SIZE,
  type VfsListener,
  type Volume,
  type VolumeStatus,
  type VolumeTraits,
} from '../../contract.ts'
import * as attributes from './attributes.ts'
import { Core } from './core.ts'
import { Follower } from './follower.ts'
import { ioctl } from './ioctls.ts'
import type { LocationIndex } from './location-index.ts'
import * as names from './names.ts'
import type { LocationNode } from './node.ts'
import { getattrOffline, lookupOffline, offlineDirectory } from './offline.ts'
import { LocationDirectory } from './open-directory.ts'
import { LocationFile } from './open-file.ts'
import { type VerifyRequest, verifyLocation } from './verify.ts'

/** Missing names in folders that are watched are believed for long: the watch tells when they appear. */
const WATCHED_NEGATIVE_TTL_MS = 60_000

export interface LocationOptions {
  readonly record: VolumeRecord
  readonly index: LocationIndex
  readonly log: Log
  /** Told of changes that come from beside the mount. */
  readonly listener: VfsListener
  /** Where this process mounts: never entered from a location. */
  readonly ownMountpoints: () => readonly string[]
  /** A filesystem below the location has numbers in this slot: the tree routes them here. */
  readonly routeSlot: (slot: number, volume: Volume) => void
  readonly readOnly?: boolean
}

/** A location, whichever way it is driven. */
export interface LocationVolume extends Volume {
  /** By whom: the thread that asks, or one of its own. */
  readonly drive: 'direct' | 'deferred'
  /** How many nodes are held in memory. */
  readonly nodeCount: number
  /** Scans again, all of it or the folder at `path` below the root. */
  rescan(path?: Name): void
  /** Compares the index with the folder: how many entries were compared. Throws 'offline' when it is away. */
  verify(request: VerifyRequest): Promise<number>
}

/** Opens a location. It is usable at once; scanning and watching begin by themselves, in the background. */
export function openLocation(options: LocationOptions): Location {
  const location = new Location(options)
  location.start()
  return location
}

export class Location implements LocationVolume {
  readonly id: number
  readonly kind = 'location'
  readonly drive = 'direct'
  readonly rootIno: Ino
  readonly #core: Core
  readonly #follower: Follower
  readonly #readOnly: boolean
  readonly #index: LocationIndex
  readonly #record: VolumeRecord
  readonly #routeSlot: (slot: number, volume: Volume) => void

  constructor(options: LocationOptions) {
    const settings = options.record.settings as unknown as LocationSettings
    this.id = options.record.id
    this.#index = options.index
    this.#record = options.record
    this.#routeSlot = options.routeSlot
    this.rootIno = options.index.slot(this.id, '') * SLOT_SIZE + 1
    this.#readOnly = options.readOnly ?? false
    this.#core = new Core({
      volume: this.id,
      rootIno: this.rootIno,
      path: settings.path,
      index: options.index,
      log: options.log,
      listener: options.listener,
      newSlot: slot => options.routeSlot(slot, this),
      suspectOffline: () => this.#follower.checkRoot(),
    })
    this.#follower = new Follower({ core: this.#core, record: options.record, ownMountpoints: options.ownMountpoints })
  }

  start(): void {
    // Also the numbers of drives that are away now: the index lists them.
    for (const { slot, volume } of this.#index.slots()) if (volume === this.id) this.#routeSlot(slot, this)
    this.#follower.start()
  }

  get traits(): VolumeTraits {
    return {
      readOnly: this.#readOnly,
      hardLinks: true,
      symlinks: true,
      specialFiles: true,
      extendedAttributes: true,
      posixAcls: true,
      local: true,
      negativeTtlMs: this.#follower.isFullyWatched ? WATCHED_NEGATIVE_TTL_MS : 0,
    }
  }

  status(): VolumeStatus {
    return this.#follower.status()
  }

  /** Scans again, all of it or the folder at `path` below the root. */
  rescan(path?: Name): void {
    this.#follower.rescan(path)
  }

  verify(request: VerifyRequest): Promise<number> {
    return verifyLocation({ ...request, record: this.#record, index: this.#index })
  }

  /** Front ends are to ask again for all that they were told. */
  distrust(): void {
    this.#core.distrustAll()
  }

  /** Permission bits that the folders above leave to each class of users. */
  get rootModeMask(): number {
    return this.#core.rootModeMask
  }

  idle(): void {
    if (this.#follower.isRemovable) this.#core.directories.closeAll()
  }

  /** How many nodes are held in memory, for status and tests. */
  get nodeCount(): number {
    return this.#core.nodes.size
  }

  async close(): Promise<void> {
    await this.#follower.close()
    this.#core.close()
  }

  // --- names ---

  lookup(_context: RequestContext, parent: Ino, name: Name): Answer<Entry | undefined> {
    this.#follower.used()
    const node = this.#core.node(parent)
    return this.#orOffline(
      () => names.lookup(this.#core, node, name),
      () => lookupOffline(this.#core, node, name),
    )
  }

  forget(ino: Ino, count: number): void {
    const node = this.#core.nodes.get(ino)
    if (!node) return
    node.lookups = Math.max(0, node.lookups - count)
    this.#core.dropIfUnused(node)
  }

  symlink(context: RequestContext, parent: Ino, name: Name, target: Name): Answer<Entry> {
    return names.symlink(this.#core, context, this.#writable(parent), name, target)
  }

  mknod(context: RequestContext, parent: Ino, name: Name, mode: number, rdev: number): Answer<Entry> {
    return names.mknod(this.#core, context, this.#writable(parent), name, mode, rdev)
  }

  mkdir(context: RequestContext, parent: Ino, name: Name, mode: number): Answer<Entry> {
    return names.mkdir(this.#core, context, this.#writable(parent), name, mode)
  }

  unlink(context: RequestContext, parent: Ino, name: Name): Answer<void> {
    return names.unlink(this.#core, context, this.#writable(parent), name)
  }

  rmdir(context: RequestContext, parent: Ino, name: Name): Answer<void> {
    return names.rmdir(this.#core, context, this.#writable(parent), name)
  }

  rename(context: RequestContext, parent: Ino, name: Name, newParent: Ino, newName: Name, flags: number): Answer<void> {
    return names.rename(this.#core, context, this.#writable(parent), name, this.#core.node(newParent), newName, flags)
  }

  link(context: RequestContext, ino: Ino, newParent: Ino, newName: Name): Answer<Entry> {
    return names.link(this.#core, context, this.#core.node(ino), this.#writable(newParent), newName)
  }

  create(context: RequestContext, parent: Ino, name: Name, mode: number, flags: OpenFlags): Answer<CreatedFile<OpenFile>> {
    return names.create(this.#core, context, this.#writable(parent), name, mode, flags)
  }

  tmpfile(context: RequestContext, parent: Ino, mode: number, flags: OpenFlags): Answer<CreatedFile<OpenFile>> {
    return names.tmpfile(this.#core, context, this.#writable(parent), mode, flags)
  }

  // --- attributes ---

  getattr(_context: RequestContext, ino: Ino, file?: OpenFile): Answer<AttributesReply> {
    const node = this.#core.node(ino)
    if (file instanceof LocationFile) return attributes.getattr(this.#core, file.node)
    return this.#orOffline(
      () => attributes.getattr(this.#core, node),
      () => getattrOffline(this.#core, node),
    )
  }

  setattr(_context: RequestContext, ino: Ino, changes: AttributeChanges, file?: OpenFile): Answer<AttributesReply> {
    const fd = file instanceof LocationFile && file.writable ? file.fd : undefined
    return attributes.setattr(this.#core, this.#writable(ino), changes, fd)
  }

  readlink(_context: RequestContext, ino: Ino): Answer<Name> {
    return attributes.readlink(this.#core, this.#core.node(ino))
  }

  access(_context: RequestContext, ino: Ino, mask: number): Answer<void> {
    return attributes.access(this.#core, this.#core.node(ino), mask)
  }

  statfs(_context: RequestContext, ino: Ino): Answer<FilesystemStatistics> {
    const node = this.#core.node(ino)
    return this.#orOffline(
      () => attributes.statfs(this.#core, node),
      () => ({
        blockSizeBytes: 4096,
        fragmentSizeBytes: 4096,
        blocks: 0,
        blocksFree: 0,
        blocksAvailable: 0,
        files: 0,
        filesFree: 0,
        nameLengthBytes: 255,
      }),
    )
  }

  setxattr(context: RequestContext, ino: Ino, name: Name, value: Buffer, flags: number, killSetGid: boolean): Answer<void> {
    requireKnownSystemName(context, name)
    return attributes.setxattr(this.#core, this.#writable(ino), name, value, flags, killSetGid)
  }

  getxattr(_context: RequestContext, ino: Ino, name: Name): Answer<Buffer> {
    const node = this.#core.node(ino)
    return this.#orOffline(
      () => attributes.getxattr(this.#core, node, name),
      () => {
        // The kernel asks for ACLs to check permissions: offline the mode alone counts.
        if (name.startsWith('system.posix_acl_')) throw new FsError('no-attribute')
        this.#core.requireOnline()
        throw new FsError('no-attribute')
      },
    )
  }

  listxattr(context: RequestContext, ino: Ino): Answer<Name[]> {
    const names = attributes.listxattr(this.#core, this.#core.node(ino))
    // The host shows these to root alone, and it is the daemon that asks.
    return context.uid === 0 ? names : names.filter(name => !name.startsWith('trusted.'))
  }

  removexattr(context: RequestContext, ino: Ino, name: Name): Answer<void> {
    requireKnownSystemName(context, name)
    return attributes.removexattr(this.#core, this.#writable(ino), name)
  }

  async syncfs(): Promise<void> {
    this.#core.requireOnline()
    const { sys } = this.#core
    // syncfs(2) refuses O_PATH.
    const fd = sys.openat(this.#core.directories.fd(this.#core.nodes.root), '.', O_RDONLY | O_DIRECTORY)
    if (fd < 0) throw errnoError(-fd, 'syncfs')
    try {
      const result = await sys.syncfs(fd)
      if (result < 0) throw errnoError(-result, 'syncfs')
    } finally {
      sys.close(fd)
    }
  }

  ioctl(
    context: RequestContext,
    ino: Ino,
    file: OpenFile | undefined,
    command: number,
    input: Buffer,
    outputBytes: number,
  ): Answer<Buffer> {
    return ioctl(this.#core, context, this.#core.node(ino), file instanceof LocationFile ? file.fd : undefined, command, input, outputBytes)
  }

  // --- opening ---

  open(_context: RequestContext, ino: Ino, flags: OpenFlags): Answer<OpenFile> {
    const core = this.#core
    const node = (flags & O_ACCMODE) === O_RDONLY && !(flags & O_TRUNC) ? core.node(ino) : this.#writable(ino)
    // Without O_TRUNC: what is opened isn't known to be the node before it was looked at.
    const hostFlags = (flags & (O_ACCMODE | O_NOATIME)) | O_NONBLOCK
    // Without a name: through a descriptor that is it.
    const held = node.gone ? (node.files?.[0]?.fd ?? node.fd) : -1
    const fd = held >= 0 ? core.sys.openat(AT_FDCWD, `/proc/self/fd/${held}`, hostFlags) : this.#openByName(node, hostFlags)
    if (fd < 0) throw errnoError(-fd, 'open')
    try {
      if (core.sys.statx(fd, '', core.stat) < 0 || !core.isSame(node) || (core.stat.mode & S_IFMT) !== S_IFREG)
        throw new FsError('stale', 'another file stands there now')
      if (flags & O_TRUNC) this.#truncateOpened(node, fd, flags)
      return new LocationFile(core, node, fd, flags)
    } catch (error) {
      core.sys.close(fd)
      throw error
    }
  }

  #truncateOpened(node: LocationNode, fd: number, flags: OpenFlags): void {
    const core = this.#core
    attributes.truncate(core, node, fd, (flags & O_ACCMODE) === O_RDONLY ? undefined : fd, 0)
    core.rows.touch(node)
    core.sys.statx(fd, '', core.stat)
  }

  #openByName(node: LocationNode, hostFlags: number): number {
    const core = this.#core
    // Without the check of `reach`: the descriptor is checked instead.
    const direct = node.parent && core.sys.openat(core.directories.fd(node.parent), node.name, hostFlags | O_NOFOLLOW)
    if (direct !== undefined && direct >= 0 && core.sys.statx(direct, '', core.stat) === 0 && core.isSame(node)) return direct
    if (direct !== undefined && direct >= 0) core.sys.close(direct)
    const at = core.reach(node)
    const fd = core.sys.openat(at.fd, at.name, hostFlags | O_NOFOLLOW)
    // Only the owner may ask for O_NOATIME; it is a wish.
    return fd === -1 && hostFlags & O_NOATIME ? core.sys.openat(at.fd, at.name, (hostFlags & ~O_NOATIME) | O_NOFOLLOW) : fd
  }

  opendir(_context: RequestContext, ino: Ino): Answer<OpenDirectory> {
    const node = this.#core.node(ino)
    if (node.isBlocked) return offlineDirectory(this.#core, node)
    this.#follower.prioritize(node)
    return this.#orOffline(
      () => this.#openDirectory(node),
      () => offlineDirectory(this.#core, node),
    )
  }

  #openDirectory(node: LocationNode): OpenDirectory {
    const core = this.#core
    if (!isDirectory(node.mode)) throw new FsError('not-directory')
    const fd = core.sys.openat(core.directories.fd(node), '.', O_RDONLY | O_DIRECTORY)
    if (fd < 0) throw errnoError(-fd, 'opendir')
    core.sys.statx(fd, '', core.stat)
    const version = `${core.stat.mtimeSec}.${core.stat.mtimeNsec}/${core.stat.ctimeSec}.${core.stat.ctimeNsec}`
    const keepCache = node.version === version
    node.version = version
    return new LocationDirectory(core, node, fd, keepCache)
  }

  // --- inside ---

  /** The node, if the location can be written to. */
  #writable(ino: Ino): LocationNode {
    if (this.#readOnly) throw new FsError('read-only')
    const node = this.#core.node(ino)
    this.#core.requireOnline()
    return node
  }

  /** Asks the host; when the folder turns out to be away, the index. */
  #orOffline<T>(online: () => T, offline: () => T): T {
    if (this.#core.offlineReason !== undefined) return offline()
    try {
      return online()
    } catch (error) {
      // The host's answer made us look, and the folder is away.
      if (this.#core.offlineReason !== undefined) return offline()
      throw error
    }
  }
}

/**
 * Names of "system." reach the host's filesystem without a check by the kernel, other than those of POSIX ACLs: some hosts
 * keep ACLs of their own kind there (NFS, CIFS, NTFS), and it is the daemon of root that would set them.
 */
function requireKnownSystemName(context: RequestContext, name: Name): void {
  if (context.uid !== 0 && name.startsWith('system.') && !name.startsWith('system.posix_acl_')) throw new FsError('not-supported')
}
