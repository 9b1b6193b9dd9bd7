/**
 * What is mounted below a location, and which of it must not be touched.
 *
 * Owns: the descriptor of the mount table (polled for changes), and the set of excluded places below the root.
 * Must stay true: a place is excluded before anything looks at it: the table is asked for changes ahead of each directory.
 * Excluded are mounts of types that may hang (unless the location itself lies on that very filesystem), the paths that the
 * owner names (the daemon's own mount point, known before it is mounted), and mounts that show files of the location a
 * second time (bind mounts): a directory can't have two places in one tree.
 */
import { O_RDONLY } from '../../../../sys/flags.ts'
import { AT_FDCWD, type Linux } from '../../../../sys/linux.ts'
import { isWithin, type MountEntry, mayHang, mountOf, readMounts } from '../../../../sys/mountinfo.ts'
import type { Name } from '../../../contract.ts'
import type { Descriptors } from './control.ts'

const POLLERR_AND_POLLPRI = 0x0a

export class Mounts {
  readonly #sys: Linux
  readonly #pollEntry = Buffer.alloc(8)
  #own: readonly Name[]
  #root: Name | undefined
  #rootMount: MountEntry | undefined
  #entries: readonly MountEntry[] = []
  /** Names that are excluded, by the path of their directory below the root. */
  #excluded = new Map<Name, Set<Name>>()
  #below: readonly MountEntry[] = []
  #changed = new Set<Name>()

  constructor(sys: Linux, descriptors: Descriptors, own: readonly Name[]) {
    this.#sys = sys
    this.#own = own
    const fd = descriptors.keep('mountinfo', sys.openat(AT_FDCWD, '/proc/self/mountinfo', O_RDONLY))
    this.#pollEntry.writeInt32LE(fd, 0)
    this.#pollEntry.writeInt16LE(POLLERR_AND_POLLPRI, 4)
    this.#entries = readMounts()
  }

  /** The filesystem that the root lies on. */
  get rootMount(): MountEntry | undefined {
    return this.#rootMount
  }

  /** Paths that must never be touched. */
  setOwn(own: readonly Name[]): void {
    this.#own = own
    this.refresh()
  }

  /** `root` is the location's path without symlinks, or undefined while it is away. */
  setRoot(root: Name | undefined): void {
    this.#root = root
    this.#entries = readMounts()
    this.#compute()
    this.#changed = new Set()
  }

  /** Why a path must not be opened although it's the location's own root; undefined: it may. */
  refuses(path: Name): boolean {
    return this.#own.some(own => isWithin(own, path))
  }

  /** Asks the kernel whether the table changed since the last call; costs no system call but one poll. */
  hasChanged(): boolean {
    this.#pollEntry.writeInt16LE(0, 6)
    return this.#sys.raw.poll(this.#pollEntry, 1, 0) > 0
  }

  /** Reads the table again, and notes what changed for `takeChanged`. */
  refresh(): void {
    const before = new Map(this.#below.map(entry => [entry.id, entry.mountPoint]))
    const excludedBefore = this.#excludedPaths()
    this.#entries = readMounts()
    this.#compute()
    for (const entry of this.#below) if (!before.delete(entry.id)) this.#changed.add(this.#directoryOf(entry.mountPoint))
    for (const mountPoint of before.values()) this.#changed.add(this.#directoryOf(mountPoint))
    const excludedNow = this.#excludedPaths()
    for (const path of excludedBefore) if (!excludedNow.delete(path)) this.#changed.add(parentPath(path))
    for (const path of excludedNow) this.#changed.add(parentPath(path))
  }

  /** The directories (paths below the root) in which something was mounted or unmounted since the last call. */
  takeChanged(): Set<Name> {
    const changed = this.#changed
    this.#changed = new Set()
    return changed
  }

  /** The excluded names in a directory; undefined: none. */
  excludedIn(directoryPath: Name): ReadonlySet<Name> | undefined {
    return this.#excluded.size === 0 ? undefined : this.#excluded.get(directoryPath)
  }

  /** Whether a path below the root leads to or through an excluded place. */
  isExcluded(path: Name): boolean {
    if (this.#excluded.size === 0) return false
    for (let slash = path.indexOf('/'); ; slash = path.indexOf('/', slash + 1)) {
      const upTo = slash < 0 ? path : path.slice(0, slash)
      if (this.#excluded.get(parentPath(upTo))?.has(upTo.slice(upTo.lastIndexOf('/') + 1))) return true
      if (slash < 0) return false
    }
  }

  #excludedPaths(): Set<Name> {
    const paths = new Set<Name>()
    for (const [directory, names] of this.#excluded) for (const name of names) paths.add(directory === '' ? name : `${directory}/${name}`)
    return paths
  }

  #directoryOf(mountPoint: Name): Name {
    return parentPath(this.#relative(mountPoint))
  }
  #relative(absolute: Name): Name {
    return this.#root === '/' ? absolute.slice(1) : absolute.slice(this.#root!.length + 1)
  }

  #compute(): void {
    this.#excluded = new Map()
    this.#below = []
    const root = this.#root
    if (root === undefined) return
    this.#rootMount = mountOf(this.#entries, root)
    this.#below = this.#entries.filter(entry => entry.mountPoint !== root && isWithin(root, entry.mountPoint))
    for (const absolute of excludedPlaces(this.#entries, root, this.#own)) {
      const path = this.#relative(absolute)
      const directory = parentPath(path)
      const names = this.#excluded.get(directory) ?? new Set()
      this.#excluded.set(directory, names.add(path.slice(path.lastIndexOf('/') + 1)))
    }
  }
}

/** The absolute paths below `root` that must not be touched; `own` are paths that are excluded in any case. */
export function excludedPlaces(entries: readonly MountEntry[], root: Name, own: readonly Name[]): Set<Name> {
  const excluded = new Set(own.filter(path => path !== root && isWithin(root, path)))
  const rootMount = mountOf(entries, root)
  const shown = rootMount ? [insideOf(rootMount, root)] : []
  // Of mounts on top of each other only the last is seen.
  const visible = new Map(entries.map(entry => [entry.mountPoint, entry]))
  for (const entry of visible.values()) {
    if (entry.mountPoint === root || !isWithin(root, entry.mountPoint)) continue
    const part = insideOf(entry, entry.mountPoint)
    const hangs = mayHang(entry.type) && !isSameDevice(entry, rootMount)
    if (hangs || shown.some(other => overlap(part, other))) excluded.add(entry.mountPoint)
    else shown.push(part)
  }
  return excluded
}

interface PartOfFilesystem {
  readonly entry: MountEntry
  /** Which folder of the filesystem, seen from the filesystem's own root. */
  readonly folder: Name
}

/** What a path shows, in terms of the filesystem that is mounted at `entry`. */
function insideOf(entry: MountEntry, path: Name): PartOfFilesystem {
  const below = entry.mountPoint === '/' ? path.slice(1) : path.slice(entry.mountPoint.length + 1)
  const folder = below === '' ? entry.root : entry.root === '/' ? `/${below}` : `${entry.root}/${below}`
  return { entry, folder }
}

function overlap(one: PartOfFilesystem, other: PartOfFilesystem): boolean {
  return isSameDevice(one.entry, other.entry) && (isWithin(one.folder, other.folder) || isWithin(other.folder, one.folder))
}

function isSameDevice(one: MountEntry, other: MountEntry | undefined): boolean {
  return other !== undefined && one.deviceMajor === other.deviceMajor && one.deviceMinor === other.deviceMinor
}

/** 'a/b' of 'a/b/c', '' of 'a'. */
export function parentPath(path: Name): Name {
  const slash = path.lastIndexOf('/')
  return slash < 0 ? '' : path.slice(0, slash)
}
