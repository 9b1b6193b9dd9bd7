/**
 * The directories of a location that are open on the host.
 *
 * Owns: one O_PATH descriptor for each directory that was used lately, and which are closed first.
 * Must stay true:
 * - A directory is opened by one name below its parent's descriptor, never through a symlink, and checked to be the node
 *   that was meant: neither depth nor path length matter, and a swapped folder can't lead out of the location.
 * - None of them stays open when nothing was asked for a while (`closeAll`), so that a drive can be unmounted.
 */
import { FsError } from '../../../errors.ts'
import { ENOENT, ENOTDIR, errnoError } from '../../../sys/errno.ts'
import { O_DIRECTORY, O_NOFOLLOW, O_PATH } from '../../../sys/flags.ts'
import { AT_FDCWD } from '../../../sys/linux.ts'
import type { Core } from './core.ts'
import { blockedError } from './foreign-mounts.ts'
import type { LocationNode } from './node.ts'

/** How many directories are kept open while requests come. */
const DIRECTORIES_OPEN = 512

export class Directories {
  readonly #core: Core
  readonly #suspectOffline: () => void
  readonly #open = new Set<LocationNode>()
  #tick = 0

  /** `suspectOffline` is told when the root can't be opened. */
  constructor(core: Core, suspectOffline: () => void) {
    this.#core = core
    this.#suspectOffline = suspectOffline
  }

  /** The directory's O_PATH descriptor. Valid until the event loop's next turn. */
  fd(node: LocationNode): number {
    node.usedAt = ++this.#tick
    if (node.fd >= 0) return node.fd
    if (node.isBlocked) throw blockedError()
    const core = this.#core
    core.requireOnline()
    // From the nearest ancestor that is open downward: each step is one name, so depth and path length don't matter.
    const chain: LocationNode[] = []
    let at: LocationNode | undefined = node
    while (at && at.fd < 0) {
      chain.push(at)
      at = at.parent
    }
    if (!at && chain.at(-1) !== core.nodes.root) throw new FsError('stale', 'a directory without a way to it')
    for (let i = chain.length - 1; i >= 0; i--) this.#openOne(chain[i]!)
    if (this.#open.size > DIRECTORIES_OPEN) this.#closeOldest()
    return node.fd
  }

  /** The same, or -1 when another directory stands there now. */
  fdOrStale(node: LocationNode): number {
    try {
      return this.fd(node)
    } catch (error) {
      if (error instanceof FsError && error.kind === 'stale') return -1
      throw error
    }
  }

  close(node: LocationNode): void {
    if (node.fd < 0) return
    this.#core.sys.close(node.fd)
    node.fd = -1
    this.#open.delete(node)
  }

  /** Closes what would keep a drive busy. Open files stay open: they are the programs' own. */
  closeAll(): void {
    for (const node of this.#open) {
      this.#core.sys.close(node.fd)
      node.fd = -1
    }
    this.#open.clear()
  }

  /**
   * The node is gone while a front end holds on to it (a current directory, an open fifo): a descriptor that was opened
   * before keeps it within reach. It isn't among those that are closed when nothing is asked, since it couldn't be opened again.
   */
  keepGone(node: LocationNode, fd: number): void {
    this.#open.delete(node)
    if (node.fd < 0) node.fd = fd
    else if (fd >= 0) this.#core.sys.close(fd)
  }

  #openOne(node: LocationNode): void {
    const core = this.#core
    const { sys } = core
    const isRoot = node === core.nodes.root
    const fd = isRoot
      ? sys.openat(AT_FDCWD, core.path, O_PATH | O_DIRECTORY)
      : sys.openat(node.parent!.fd, node.name, O_PATH | O_DIRECTORY | O_NOFOLLOW)
    if (fd < 0) {
      if (isRoot) this.#requireRoot()
      throw -fd === ENOENT || -fd === ENOTDIR ? new FsError('stale') : errnoError(-fd, 'open directory', node.path())
    }
    const checked = sys.statx(fd, '', core.stat)
    if (checked < 0 || !core.isSame(node)) {
      sys.close(fd)
      if (isRoot) this.#requireRoot()
      throw new FsError('stale', 'another directory stands there now')
    }
    node.fd = fd
    node.usedAt = ++this.#tick
    this.#open.add(node)
  }

  #requireRoot(): void {
    this.#suspectOffline()
    this.#core.requireOnline()
  }

  #closeOldest(): void {
    const oldestFirst = [...this.#open].sort((a, b) => a.usedAt - b.usedAt)
    for (const node of oldestFirst.slice(0, oldestFirst.length >> 1)) this.close(node)
  }
}
