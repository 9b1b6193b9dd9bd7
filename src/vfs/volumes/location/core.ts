/**
 * What all operations of a location share: reaching a node on the host, and what is told of it.
 *
 * Owns: the node table, and the parts: open directories (directories.ts), rows on their way to the index (rows.ts), names
 * that must not be touched (foreign-mounts.ts).
 * Must stay true:
 * - The host is reached through a directory's descriptor and one name below it, never by a path, and never through a
 *   symlink: a folder that was swapped for a symlink can't lead out of the location.
 * - What was reached is checked to be the node that was asked for; if not, 'stale' makes the kernel look again.
 * - While the folder is away nothing is asked of the host (`requireOnline`).
 */
import { FsError } from '../../../errors.ts'
import type { Log } from '../../../log.ts'
import { ENOENT, ENOTDIR, errnoError } from '../../../sys/errno.ts'
import { type Linux, linux, StatxBuffer } from '../../../sys/linux.ts'
import {
  type Answer,
  type Attributes,
  type Entry,
  type Ino,
  isDirectory,
  type Name,
  S_IFDIR,
  S_IFMT,
  type VfsListener,
} from '../../contract.ts'
import { Credentials } from './credentials.ts'
import { Directories } from './directories.ts'
import { blockedError, ForeignMounts } from './foreign-mounts.ts'
import type { LocationIndex } from './location-index.ts'
import { LocationNode, NodeTable } from './node.ts'
import { type FilesystemNumbers, InodeNumbers } from './numbering.ts'
import { Rows } from './rows.ts'

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
  readonly index: LocationIndex
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
  attributes(ino: Ino): Attributes
}

export class Core {
  readonly sys: Linux = linux()
  readonly volume: number
  readonly path: Name
  readonly index: LocationIndex
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
  readonly directories: Directories
  readonly foreign: ForeignMounts
  readonly rows: Rows
  #numbersGiven = 0
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
    this.directories = new Directories(this, options.suspectOffline)
    this.foreign = new ForeignMounts(this)
    this.rows = new Rows(this)
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
      const fd = this.directories.fd(node)
      this.sys.statx(fd, '', this.stat)
      return { fd, name: '' }
    }
    let denied = 0
    for (let tries = 0; tries < 3 && node.parent; tries++) {
      const parent = node.parent
      const name = node.name
      const fd = this.directories.fdOrStale(parent)
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
      const fd = parent ? this.directories.fdOrStale(parent) : -1
      if (!parent || fd < 0 || this.sys.statx(fd, link.name, this.stat) < 0 || !this.isSame(node)) continue
      node.reachedBy(parent, link.name, 1)
      return { fd, name: link.name }
    }
    throw new FsError('stale', 'the file is not where it was')
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
      const fd = this.directories.fdOrStale(parent)
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
      this.directories.close(node)
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
    const ino = this.index.assignIno(numbers.slot, `${Date.now()}-${process.pid}-${++this.#numbersGiven}`)
    // Remembered at once: the number is this name's from now on.
    // With all that is known: the index takes what is put here for newer than the listing that it comes from.
    this.index.putNode(this.volume, host.attributes(ino))
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
    if (this.foreign.has(parent, name)) return 'unknown'
    try {
      const node = this.node(parent)
      const result = this.sys.statx(this.directories.fd(node), name, this.stat)
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
      ? `/proc/self/fd/${this.directories.fd(parent)}/${name}`
      : `/proc/self/fd/${this.directories.fd(parent)}`
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

  /** Nobody refers to the node any more: it leaves the table. */
  dropIfUnused(node: LocationNode): void {
    if (node.lookups > 0 || node.files?.length || node === this.nodes.root) return
    if (node.gone && node.fd >= 0) void closeGone(this.sys, this.stat, node.fd)
    else this.directories.close(node)
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

  close(): void {
    this.rows.close()
    this.directories.closeAll()
    for (const node of this.nodes.values()) this.directories.close(node)
  }
}

/** Closes what may be the last descriptor of a deleted file: freeing a large one takes long enough to keep others waiting. */
export function closeGone(sys: Linux, stat: StatxBuffer, fd: number): Answer<unknown> {
  const slow = sys.statx(fd, '', stat) === 0 && stat.nlink === 0 && stat.blocks * 512 > SLOW_CLOSE_BYTES
  return slow ? sys.closeInPool(fd) : sys.close(fd)
}

/** Two files that had the same inode number one after the other were born at different times. */
export function generationOf(stat: { readonly btimeSec: number; readonly btimeNsec: number }): number {
  return (Math.imul(stat.btimeSec, 1_000_003) + stat.btimeNsec) >>> 0
}
