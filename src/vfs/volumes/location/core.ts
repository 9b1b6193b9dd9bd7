/**
 * What all operations of a location share: reaching a node on the host, and following changes into the index.
 *
 * Owns: the node table, the O_PATH descriptors of directories, and the rows that wait to be put into the index.
 * Must stay true:
 * - The host is reached through a directory's descriptor and one name below it, never by a path, and never through a
 *   symlink: a folder that was swapped for a symlink can't lead out of the location.
 * - What was reached is checked to be the node that was asked for; if not, 'stale' makes the kernel look again.
 * - Descriptors are closed when nothing was asked for a while (`closeDescriptors`), so that a drive can be unmounted.
 * - While the folder is away nothing is asked of the host (`requireOnline`).
 */
import { FsError } from '../../../errors.ts'
import type { Index } from '../../../index/contract.ts'
import type { Log } from '../../../log.ts'
import { ENOENT, ENOTDIR, errnoError } from '../../../sys/errno.ts'
import { O_DIRECTORY, O_NOFOLLOW, O_PATH } from '../../../sys/flags.ts'
import { AT_FDCWD, type Linux, linux, StatxBuffer } from '../../../sys/linux.ts'
import {
  type Answer,
  Attributes,
  type Entry,
  type Ino,
  isDirectory,
  type Name,
  S_IFDIR,
  S_IFMT,
  SLOT_SIZE,
  type VfsListener,
} from '../../contract.ts'
import { Credentials } from './credentials.ts'
import { LocationNode, NodeTable } from './node.ts'
import { type FilesystemNumbers, InodeNumbers } from './numbering.ts'
import type { LocationFile } from './open-file.ts'

/** How many directories are kept open while requests come. */
const DIRECTORIES_OPEN = 512
/** How long rows wait for the next change of the same node. */
const SETTLE_MS = 8
const SLOW_CLOSE_BYTES = 16 << 20
/** How many nodes are kept in memory (some 500 bytes each); directories and open files come on top. */
const NODES_KEPT = 50_000
/** Nodes looked at for each one that comes, while there are too many. */
const EVICTION_STEPS = 4
/** How long what nobody watches may be believed. */
const UNWATCHED_TTL_MS = 1_000
/** What is watched is invalidated when it changes: the bound is for what a watch can't see (changes through mmap). */
const WATCHED_ENTRY_TTL_MS = 600_000
const WATCHED_ATTRIBUTE_TTL_MS = 60_000

export interface CoreOptions {
  readonly volume: number
  readonly rootIno: Ino
  /** Absolute path of the folder, as bytes. */
  readonly path: Name
  readonly index: Index
  readonly log: Log
  readonly listener: VfsListener
  readonly newSlot: (slot: number) => void
  /** Told when the host's answers suggest that the folder is away. */
  readonly suspectOffline: () => void
}

/** What the host says of who a file is. */
interface HostIdentity {
  readonly mode: number
  readonly inoHigh: number
  readonly inoLow: number
}

export class Core {
  readonly sys: Linux = linux()
  readonly volume: number
  readonly path: Name
  readonly index: Index
  readonly log: Log
  readonly listener: VfsListener
  readonly nodes: NodeTable
  readonly numbers: InodeNumbers
  readonly credentials: Credentials = new Credentials()
  /** The last statx: valid until the next one. */
  readonly stat: StatxBuffer = new StatxBuffer()
  /** Why the folder is away; undefined while it is there. */
  offlineReason: string | undefined
  /** Permission bits that the folders above the location leave to each class of users (see `location.ts`). */
  rootModeMask = process.getuid?.() === 0 ? 0o7700 : 0o7777
  /** Says whether changes in a directory are told as they happen. */
  isWatched: (node: LocationNode) => boolean = () => false
  /** All of the location is in the index. */
  isScanned: () => boolean = () => false
  /** Open files that the kernel may write itself. */
  readonly writers = new Set<LocationFile>()
  readonly #suspectOffline: () => void
  /** Names at which filesystems are mounted that must not be touched, by directory. */
  readonly #blocked = new Map<Ino, Set<Name>>()
  readonly #open = new Set<LocationNode>()
  readonly #dirty = new Set<LocationNode>()
  readonly #unsource: () => void
  #lookedAtWriters = false
  #isClosed = false
  #settleTimer: NodeJS.Timeout | undefined
  #tick = 0
  /** Where the eviction goes on. Not kept longer than it is needed: an iterator holds on to all that was ever in the map. */
  #sweep: IterableIterator<LocationNode> | undefined
  #hasEvicted = false

  constructor(options: CoreOptions) {
    this.volume = options.volume
    this.path = options.path
    this.index = options.index
    this.log = options.log
    this.listener = options.listener
    this.nodes = new NodeTable(options.rootIno)
    this.nodes.root.mode = S_IFDIR
    this.numbers = new InodeNumbers(options.index, options.volume, options.newSlot)
    this.#suspectOffline = options.suspectOffline
    this.#unsource = options.index.addSource(isRead => this.settle(isRead))
  }

  // --- reaching the host ---

  /** Throws 'offline' while the folder is away. */
  requireOnline(): void {
    if (this.offlineReason !== undefined) throw new FsError('offline', this.offlineReason)
  }

  node(ino: Ino): LocationNode {
    const node = this.nodes.get(ino) ?? this.#fromIndex(ino)
    if (!node) throw new FsError('stale', `node ${ino} is not known`)
    return node
  }

  /** The directory's O_PATH descriptor. Valid until the event loop's next turn. */
  directoryFd(node: LocationNode): number {
    node.usedAt = ++this.#tick
    if (node.fd >= 0) return node.fd
    if (node.isBlocked) throw blockedError()
    this.requireOnline()
    // From the nearest ancestor that is open downward: each step is one name, so depth and path length don't matter.
    const chain: LocationNode[] = []
    let at: LocationNode | undefined = node
    while (at && at.fd < 0) {
      chain.push(at)
      at = at.parent
    }
    if (!at && chain.at(-1) !== this.nodes.root) throw new FsError('stale', 'a directory without a way to it')
    for (let i = chain.length - 1; i >= 0; i--) this.#openDirectory(chain[i]!)
    if (this.#open.size > DIRECTORIES_OPEN) this.#closeOldest()
    return node.fd
  }

  #openDirectory(node: LocationNode): void {
    const isRoot = node === this.nodes.root
    const fd = isRoot
      ? this.sys.openat(AT_FDCWD, this.path, O_PATH | O_DIRECTORY)
      : this.sys.openat(node.parent!.fd, node.name, O_PATH | O_DIRECTORY | O_NOFOLLOW)
    if (fd < 0) {
      if (isRoot) {
        this.#suspectOffline()
        this.requireOnline()
      }
      throw -fd === ENOENT || -fd === ENOTDIR ? new FsError('stale') : errnoError(-fd, 'open directory', node.path())
    }
    const checked = this.sys.statx(fd, '', this.stat)
    if (checked < 0 || !this.isSame(node)) {
      this.sys.close(fd)
      if (isRoot) {
        this.#suspectOffline()
        this.requireOnline()
      }
      throw new FsError('stale', 'another directory stands there now')
    }
    node.fd = fd
    node.usedAt = ++this.#tick
    this.#open.add(node)
  }

  /** The last statx is about this node. The root is whatever the location's path was accepted as. */
  isSame(node: LocationNode): boolean {
    const { stat } = this
    if (stat.inoLow === node.inoLow && stat.inoHigh === node.inoHigh && stat.device === node.device)
      return (stat.mode & S_IFMT) === (node.mode & S_IFMT) && (node.generation === 0 || node.generation === generationOf(stat))
    // Without lasting numbers a name is all the identity there is, except while a file is open: then the host keeps its number.
    if (node.files || this.numbers.of(stat.device)?.stable !== false) return false
    return stat.device === node.device && (stat.mode & S_IFMT) === (node.mode & S_IFMT)
  }

  /** Fills `stat` for a node, by an open file or by a name that still means it. Throws 'stale' when there is none. */
  statNode(node: LocationNode): void {
    const file = node.files?.[0]
    if (file) {
      if (this.sys.statx(file.fd, '', this.stat) < 0) throw errnoError(this.sys.errno(), 'getattr')
      return
    }
    if (node.fd >= 0) {
      if (this.sys.statx(node.fd, '', this.stat) < 0) throw errnoError(this.sys.errno(), 'getattr')
      return
    }
    this.reach(node)
  }

  /** A directory descriptor and a name that mean the node now; `stat` is filled. */
  reach(node: LocationNode): { readonly fd: number; readonly name: Name } {
    if (node.isBlocked) throw blockedError()
    this.requireOnline()
    if (node === this.nodes.root) {
      const fd = this.directoryFd(node)
      this.sys.statx(fd, '', this.stat)
      return { fd, name: '' }
    }
    let denied = 0
    for (let tries = 0; tries < 3 && node.parent; tries++) {
      const parent = node.parent
      const name = node.name
      const fd = this.#directoryOrStale(parent)
      if (fd >= 0) {
        const result = this.sys.statx(fd, name, this.stat)
        if (result === 0 && this.isSame(node)) return { fd, name }
        if (result < 0 && -result !== ENOENT && -result !== ENOTDIR) denied = -result
      }
      node.lostName(parent, name)
    }
    if (denied) throw errnoError(denied, 'getattr')
    // The index knows all names of a file; the table only the latest.
    for (const link of this.index.links(node.ino)) {
      const parent = this.nodes.get(link.parent) ?? this.#fromIndex(link.parent)
      const fd = parent ? this.#directoryOrStale(parent) : -1
      if (!parent || fd < 0 || this.sys.statx(fd, link.name, this.stat) < 0 || !this.isSame(node)) continue
      node.reachedBy(parent, link.name, 1)
      return { fd, name: link.name }
    }
    throw new FsError('stale', 'the file is not where it was')
  }

  #directoryOrStale(node: LocationNode): number {
    try {
      return this.directoryFd(node)
    } catch (error) {
      if (error instanceof FsError && error.kind === 'stale') return -1
      throw error
    }
  }

  /** A node that the table let go of, found again by what the index knows. */
  #fromIndex(ino: Ino): LocationNode | undefined {
    const link = this.index.links(ino)[0]
    const attributes = link && this.index.node(ino)
    if (!link || !attributes) return undefined
    const parent = this.nodes.get(link.parent) ?? this.#fromIndex(link.parent)
    if (!parent) return undefined
    const node = new LocationNode(ino, parent, link.name)
    node.mode = attributes.mode
    if (this.offlineReason === undefined) {
      const fd = this.#directoryOrStale(parent)
      if (fd < 0 || this.sys.statx(fd, link.name, this.stat) < 0) return undefined
      const numbers = this.numbers.of(this.stat.device)
      if (!numbers || (numbers.stable && this.numbers.ino(numbers, this.stat) !== ino)) return undefined
      this.#identify(node)
    }
    this.nodes.add(node)
    return node
  }

  // --- nodes and what is told of them ---

  /** The node that the last statx (of `name` in `parent`) is about. */
  adopt(parent: LocationNode, name: Name): LocationNode {
    const { stat } = this
    const ino = this.#inoOfStat(parent, name)
    const generation = generationOf(stat)
    let node = this.nodes.get(ino)
    if (!node) {
      node = new LocationNode(ino, parent, name)
      node.generation = generation
      this.nodes.add(node)
      if (this.nodes.size > NODES_KEPT) this.#evict()
      else this.#sweep = undefined
    } else if (node.generation !== generation || (node.mode & S_IFMT) !== (stat.mode & S_IFMT)) {
      // The host gave the number of a deleted file to a new one.
      this.closeDirectory(node)
      node.generation = generation
      node.aliases = undefined
      node.version = ''
      node.parent = undefined
      node.reachedBy(parent, name, 1)
    } else node.reachedBy(parent, name, stat.nlink)
    this.#identify(node)
    return node
  }

  #identify(node: LocationNode): void {
    const { stat } = this
    node.mode = stat.mode
    node.device = stat.device
    node.inoLow = stat.inoLow
    node.inoHigh = stat.inoHigh
    node.generation ||= generationOf(stat)
  }

  /** Makes the root node stand for what the last statx saw at the location's path. */
  identifyRoot(): void {
    const { root } = this.nodes
    root.mode = this.stat.mode
    root.device = this.stat.device
    root.inoLow = this.stat.inoLow
    root.inoHigh = this.stat.inoHigh
  }

  #inoOfStat(parent: LocationNode, name: Name): Ino {
    const { stat } = this
    const numbers = this.numbers.of(stat.device) ?? this.#registerFilesystem(parent, name)
    return numbers.stable ? this.numbers.ino(numbers, stat) : this.inoByName(numbers, parent.ino, name, stat)
  }

  /** The number of a name on a filesystem without lasting numbers: what the index knows it by, or a new one. */
  inoByName(numbers: FilesystemNumbers, parent: Ino, name: Name, host: HostIdentity): Ino {
    const { mode } = host
    const known = this.index.lookup(parent, name)
    const replaced = known !== undefined && this.#isReplaced(known.ino, host)
    if (known && (known.mode & S_IFMT) === (mode & S_IFMT) && !replaced) return known.ino
    // Told here, since the row that is put below leaves no difference for anybody to find.
    if (replaced) this.listener.entryRemoved(parent, name, known.ino)
    const ino = this.index.assignIno(numbers.slot, `${Date.now()}-${process.pid}-${++this.#tick}`)
    // Remembered at once: the number is this name's from now on.
    const attributes = new Attributes()
    attributes.ino = ino
    attributes.mode = mode
    this.index.putNode(this.volume, attributes)
    this.index.putEntry(this.volume, parent, name, ino)
    return ino
  }

  /** The node is open, so that the host keeps its number, and the name has another one: a new file took it. */
  #isReplaced(ino: Ino, host: HostIdentity): boolean {
    const node = this.nodes.get(ino)
    return node?.files !== undefined && (node.inoLow !== host.inoLow || node.inoHigh !== host.inoHigh)
  }

  /** The number of the directory at a path below the root, by the index. */
  inoOfPath(path: Name): Ino | undefined {
    let ino: Ino | undefined = this.nodes.root.ino
    for (const name of path.split('/')) ino = ino === undefined ? undefined : this.index.lookup(ino, name)?.ino
    return ino
  }

  /** Gives the filesystem of a path below the root its slot; the observer has found that it may be asked. */
  registerPath(device: number, path: Name): FilesystemNumbers | undefined {
    const statfs = this.sys.statfs(path === '' ? this.path : `${this.path}/${path}`)
    return typeof statfs === 'number' ? undefined : this.numbers.register(device, statfs)
  }

  /** What the host says of a name now: its attributes, undefined when it isn't there, 'unknown' when that can't be told. */
  look(parent: Ino, name: Name): Attributes | undefined | 'unknown' {
    if (this.isBlocked(parent, name)) return 'unknown'
    try {
      const node = this.node(parent)
      const result = this.sys.statx(this.directoryFd(node), name, this.stat)
      if (result === 0) return this.stat.attributes(this.#inoOfStat(node, name))
      return -result === ENOENT ? undefined : 'unknown'
    } catch (error) {
      if (error instanceof FsError) return 'unknown'
      throw error
    }
  }

  /** The front ends know the node by this very name, and can't have been told since that the name is missing: no news. */
  isKnownAs(ino: Ino, parent: Ino, name: Name): boolean {
    const node = this.nodes.get(ino)
    return node !== undefined && node.name === name && node.parent?.ino === parent && !node.parent.toldMissing
  }

  /** Another filesystem is mounted at a name, one that may hang: it isn't touched any more. */
  block(parent: Ino, name: Name): void {
    const names = this.#blocked.get(parent)
    if (names?.has(name)) return
    if (names) names.add(name)
    else this.#blocked.set(parent, new Set([name]))
    this.listener.entryChanged(parent, name)
  }

  unblock(parent: Ino, name: Name): void {
    const names = this.#blocked.get(parent)
    if (!names?.delete(name)) return
    if (names.size === 0) this.#blocked.delete(parent)
    this.listener.entryChanged(parent, name)
  }

  isBlocked(parent: Ino, name: Name): boolean {
    return this.#blocked.size > 0 && (this.#blocked.get(parent)?.has(name) ?? false)
  }

  blockedAttributes(parent: Ino, name: Name): Attributes {
    const attributes = new Attributes()
    attributes.ino = this.index.assignIno(Math.floor(this.nodes.root.ino / SLOT_SIZE), `mount:${parent}/${name}`)
    attributes.mode = S_IFDIR | 0o555
    attributes.nlink = 2
    return attributes
  }

  /** Nothing that was told of the location is to be believed any more: it went and came, or changes were lost. */
  distrustAll(): void {
    this.listener.everythingChanged()
    for (const node of this.nodes.values()) {
      if (node.parent) this.listener.entryChanged(node.parent.ino, node.name)
      this.listener.inodeChanged(node.ino, true)
    }
  }

  #registerFilesystem(parent: LocationNode, name: Name): FilesystemNumbers {
    const { device } = this.stat
    // A type that can't have a filesystem mounted on it is on its directory's.
    const where = isDirectory(this.stat.mode)
      ? `/proc/self/fd/${this.directoryFd(parent)}/${name}`
      : `/proc/self/fd/${this.directoryFd(parent)}`
    const statfs = this.sys.statfs(where)
    if (typeof statfs === 'number') throw errnoError(-statfs, 'statfs', parent.path())
    return this.numbers.register(device, statfs)
  }

  /** The attributes of the last statx as the tree tells them. */
  attributesOf(node: LocationNode): Attributes {
    const attributes = this.stat.attributes(node.ino)
    if (node === this.nodes.root) attributes.mode &= S_IFMT | this.rootModeMask
    return attributes
  }

  /** An answer to a lookup: counts one reference of the front end. */
  entry(node: LocationNode, attributes: Attributes): Entry {
    node.lookups++
    return {
      attributes,
      generation: node.generation,
      entryTtlMs: node.parent && this.isWatched(node.parent) ? WATCHED_ENTRY_TTL_MS : UNWATCHED_TTL_MS,
      attributeTtlMs: this.attributeTtlMs(node, attributes),
    }
  }

  attributeTtlMs(node: LocationNode, attributes: Attributes): number {
    const directory = isDirectory(attributes.mode)
    // Another name of a file may be outside of what is watched.
    if (!directory && attributes.nlink > 1) return UNWATCHED_TTL_MS
    const watcher = directory ? node : node.parent
    return watcher && this.isWatched(watcher) ? WATCHED_ATTRIBUTE_TTL_MS : UNWATCHED_TTL_MS
  }

  /**
   * The node is gone while a front end holds on to it (a current directory, an open fifo): a descriptor that was opened
   * before keeps it within reach. It isn't among those that are closed when nothing is asked, since it couldn't be opened again.
   */
  keepGone(node: LocationNode, fd: number): void {
    this.#open.delete(node)
    if (node.fd < 0) node.fd = fd
    else if (fd >= 0) this.sys.close(fd)
  }

  /** Nobody refers to the node any more: it leaves the table. */
  dropIfUnused(node: LocationNode): void {
    if (node.lookups > 0 || node.files?.length || node === this.nodes.root) return
    if (node.gone && node.fd >= 0) void closeGone(this.sys, this.stat, node.fd)
    else this.closeDirectory(node)
    this.nodes.remove(node)
  }

  /**
   * The table has grown large: a few of the files that nobody has open leave it. The front end may ask for them again: then
   * the index says where they are (`#fromIndex`), so only what it knows may leave, which is all once a scan has ended.
   */
  #evict(): void {
    if (!this.isScanned()) return
    const sweep = (this.#sweep ??= this.nodes.values())
    for (let steps = 0; steps < EVICTION_STEPS; steps++) {
      const next = sweep.next()
      if (next.done) {
        this.#sweep = undefined
        return
      }
      const node = next.value
      if (node.files || node.gone || node.isBlocked || !node.parent || isDirectory(node.mode)) continue
      this.nodes.remove(node)
      this.#hasEvicted = true
    }
  }

  /** A front end may have something of the node cached. */
  mayBeCached(ino: Ino): boolean {
    return this.#hasEvicted || this.nodes.get(ino) !== undefined
  }

  // --- the index ---

  /** The node changed on the host: its row is put into the index within milliseconds, or before anybody reads the index. */
  touch(node: LocationNode): void {
    // A file that was left open is written to on and on; the location's rows are gone by then.
    if (this.#isClosed) return
    this.#dirty.add(node)
    this.#settleTimer ??= setTimeout(() => {
      this.#settleTimer = undefined
      this.#putDirty()
    }, SETTLE_MS)
  }

  /** A name was made. */
  linked(parent: LocationNode, name: Name, attributes: Attributes): void {
    if (attributes.nlink === 1 || isDirectory(attributes.mode)) this.index.createEntry(this.volume, parent.ino, name, attributes)
    else {
      this.index.putNode(this.volume, attributes)
      this.index.putEntry(this.volume, parent.ino, name, attributes.ino)
    }
    this.touch(parent)
  }

  /** A node was moved: its name's row is made where the index didn't know it yet (the scan hadn't come by). */
  putRow(node: LocationNode, parent: LocationNode, name: Name): void {
    if (this.sys.statx(this.directoryFd(parent), name, this.stat) < 0 || !this.isSame(node)) return
    this.index.putNode(this.volume, this.stat.attributes(node.ino))
    this.index.putEntry(this.volume, parent.ino, name, node.ino)
  }

  /** A node for a name that must not be touched. */
  blockedNode(attributes: Attributes, parent: LocationNode, name: Name): LocationNode {
    const node = new LocationNode(attributes.ino, parent, name)
    node.mode = attributes.mode
    node.isBlocked = true
    this.nodes.add(node)
    return node
  }

  /** Puts what waits; for a reader also what the kernel wrote behind our back (passthrough). */
  settle(isRead: boolean): void {
    if (isRead) this.#lookAtWriters()
    this.#putDirty()
  }

  /** Once for each callback of the event loop is enough: who wrote before he asks can only be heard in a later one. */
  #lookAtWriters(): void {
    if (this.#lookedAtWriters || this.writers.size === 0 || this.offlineReason !== undefined) return
    this.#lookedAtWriters = true
    queueMicrotask(() => {
      this.#lookedAtWriters = false
    })
    for (const file of this.writers) if (file.wasWritten()) this.#dirty.add(file.node)
  }

  #putDirty(): void {
    if (this.#dirty.size === 0) return
    const nodes = [...this.#dirty]
    this.#dirty.clear()
    if (this.offlineReason !== undefined) return
    for (const node of nodes) {
      if (node.gone) continue
      try {
        this.statNode(node)
        this.index.putNode(this.volume, this.stat.attributes(node.ino))
      } catch (error) {
        // Gone or moved beside the mount: the observer tells what became of it.
        if (!(error instanceof FsError)) throw error
      }
    }
  }

  // --- descriptors ---

  closeDirectory(node: LocationNode): void {
    if (node.fd < 0) return
    this.sys.close(node.fd)
    node.fd = -1
    this.#open.delete(node)
  }

  /** Closes what would keep a drive busy. Open files stay open: they are the programs' own. */
  closeDescriptors(): void {
    for (const node of this.#open) {
      this.sys.close(node.fd)
      node.fd = -1
    }
    this.#open.clear()
  }

  #closeOldest(): void {
    const oldestFirst = [...this.#open].sort((a, b) => a.usedAt - b.usedAt)
    for (const node of oldestFirst.slice(0, oldestFirst.length >> 1)) this.closeDirectory(node)
  }

  close(): void {
    clearTimeout(this.#settleTimer)
    this.settle(true)
    this.#isClosed = true
    this.#unsource()
    this.closeDescriptors()
    for (const node of this.nodes.values()) this.closeDirectory(node)
  }
}

/** Closes what may be the last descriptor of a deleted file: freeing a large one takes long enough to keep others waiting. */
export function closeGone(sys: Linux, stat: StatxBuffer, fd: number): Answer<unknown> {
  const slow = sys.statx(fd, '', stat) === 0 && stat.nlink === 0 && stat.blocks * 512 > SLOW_CLOSE_BYTES
  return slow ? sys.closeInPool(fd) : sys.close(fd)
}

function blockedError(): FsError {
  return new FsError('access-denied', 'another filesystem that may hang is mounted there; open it where it is mounted')
}

/** Two files that had the same inode number one after the other were born at different times. */
function generationOf(stat: StatxBuffer): number {
  return (Math.imul(stat.btimeSec, 1_000_003) + stat.btimeNsec) >>> 0
}
