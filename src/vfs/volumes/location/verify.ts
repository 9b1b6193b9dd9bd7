/**
 * Compares what the index knows of a location with what is on the disk.
 *
 * Owns: the walk of both sides, and what counts as a difference. It changes nothing and follows no symlink.
 * Must stay true:
 * - What differs is looked at again after `settleMs`: changes beside the mount arrive within a second, and files are
 *   written while this walks. Only what differs both times is told.
 * - The event loop goes on: it rests after every few milliseconds of work.
 * - What the location leaves out (mounts that may hang, its own mountpoint, folders that may not be read) isn't compared.
 * Not compared: access times and block counts, which change without anybody changing anything.
 */
import { setTimeout as timer } from 'node:timers/promises'
import { FsError } from '../../../errors.ts'
import type { LocationSettings, VolumeRecord } from '../../../index/contract.ts'
import { ENOENT, ENOTDIR, errnoError } from '../../../sys/errno.ts'
import { O_DIRECTORY, O_NOFOLLOW, O_PATH, O_RDONLY } from '../../../sys/flags.ts'
import { AT_FDCWD, type Linux, linux, StatxBuffer } from '../../../sys/linux.ts'
import { type Attributes, type Ino, isDirectory, type Name, SLOT_SIZE } from '../../contract.ts'
import type { LocationIndex } from './location-index.ts'
import { Control, Descriptors } from './observer/control.ts'
import { Mounts } from './observer/mounts.ts'

const WORK_MS = 5
const INDEX_PAGE = 500
const LISTING_BYTES = 64 << 10
/** With more of them a second look would take as long as the first. */
const SECOND_LOOKS_LIMIT = 1_000
/** openat(2) takes paths of less than 4,096 bytes. */
const PIECE_BYTES = 3_500

export interface VerifyOptions {
  readonly record: VolumeRecord
  readonly index: Pick<LocationIndex, 'slot' | 'children'>
  /** Paths that the location doesn't enter. */
  readonly leftOut: readonly Name[]
  readonly signal: AbortSignal
  /** How long a change may take to arrive in the index. */
  readonly settleMs: number
  difference(path: Name, kind: DifferenceKind, detail: string): Promise<void>
  /** Told now and then. */
  progress(checked: number): Promise<void>
}

export type DifferenceKind = 'only on disk' | 'only in the index' | 'differs'

interface Found {
  readonly path: Name
  readonly kind: DifferenceKind
  readonly detail: string
}

/** What is compared, by a location that knows its own record and index. */
export type VerifyRequest = Omit<VerifyOptions, 'record' | 'index'>

/** Compares the whole location: how many entries were compared. Throws 'offline' when its folder is away. */
export async function verifyLocation(options: VerifyOptions): Promise<number> {
  using walk = new Walk(options)
  return await walk.run()
}

class Walk implements Disposable {
  readonly #options: VerifyOptions
  readonly #sys: Linux = linux()
  readonly #stat = new StatxBuffer()
  readonly #descriptors: Descriptors
  readonly #mounts: Mounts
  readonly #rootIno: Ino
  readonly #root: number
  #checked = 0
  #workedSinceMs = performance.now()

  constructor(options: VerifyOptions) {
    const { path } = options.record.settings as unknown as LocationSettings
    this.#options = options
    this.#rootIno = options.index.slot(options.record.id, '') * SLOT_SIZE + 1
    this.#root = this.#sys.openat(AT_FDCWD, path, O_PATH | O_DIRECTORY)
    if (this.#root < 0) throw new FsError('offline', 'its folder is not there')
    this.#descriptors = new Descriptors(this.#sys, new Control())
    this.#mounts = new Mounts(this.#sys, this.#descriptors, options.leftOut)
    this.#mounts.setRoot(path)
  }

  [Symbol.dispose](): void {
    this.#descriptors.closeAll()
    this.#sys.close(this.#root)
  }

  async run(): Promise<number> {
    const again: { readonly path: Name; readonly ino: Ino }[] = []
    const directories: { readonly path: Name; readonly ino: Ino }[] = [{ path: '', ino: this.#rootIno }]
    for (let at = directories.pop(); at; at = directories.pop()) {
      const differences = await this.#compare(at.path, at.ino, (path, ino) => directories.push({ path, ino }))
      if (differences.length === 0) continue
      if (again.length < SECOND_LOOKS_LIMIT) again.push(at)
      else await this.#tell(differences)
    }
    if (again.length > 0) {
      await timer(this.#options.settleMs, undefined, { signal: this.#options.signal })
      for (const { path, ino } of again) await this.#tell(await this.#compare(path, ino, () => {}))
    }
    return this.#checked
  }

  async #tell(differences: readonly Found[]): Promise<void> {
    for (const { path, kind, detail } of differences) await this.#options.difference(path, kind, detail)
  }

  /** One directory: its entries on both sides. `below` is told of the directories that both have. */
  async #compare(path: Name, ino: Ino, below: (path: Name, ino: Ino) => void): Promise<Found[]> {
    const found: Found[] = []
    const fd = this.#open(path)
    if (fd < 0) return found // Gone meanwhile (its parent tells), or not to be read.
    try {
      const names = await this.#list(fd)
      const excluded = this.#mounts.excludedIn(path)
      let at = 0
      const onlyOnDisk = (name: Name) => {
        // Gone since it was listed: no difference.
        if (!excluded?.has(name) && this.#sys.statx(fd, name, this.#stat) === 0)
          found.push({ path: join(path, name), kind: 'only on disk', detail: '' })
      }
      for await (const [name, attributes] of this.#indexed(ino)) {
        while (at < names.length && names[at]! < name) onlyOnDisk(names[at++]!)
        if (names[at] !== name) {
          if (this.#sys.statx(fd, name, this.#stat) < 0) found.push({ path: join(path, name), kind: 'only in the index', detail: '' })
          continue
        }
        at++
        if (excluded?.has(name)) continue
        if (this.#sys.statx(fd, name, this.#stat) < 0) continue
        const detail = differenceOf(this.#stat, attributes)
        if (detail !== '') found.push({ path: join(path, name), kind: 'differs', detail })
        if (isDirectory(attributes.mode) && isDirectory(this.#stat.mode)) below(join(path, name), attributes.ino)
      }
      while (at < names.length) onlyOnDisk(names[at++]!)
      return found
    } finally {
      this.#sys.close(fd)
    }
  }

  /** Opens a directory below the root, in pieces that the kernel takes. Negative: it isn't to be read. */
  #open(path: Name): number {
    let fd = this.#sys.openat(this.#root, '.', path === '' ? O_RDONLY | O_DIRECTORY : O_PATH | O_DIRECTORY)
    for (let from = 0; fd >= 0 && from < path.length; ) {
      const end = path.length - from <= PIECE_BYTES ? path.length : path.lastIndexOf('/', from + PIECE_BYTES)
      const flags = end === path.length ? O_RDONLY : O_PATH
      const next = this.#sys.openat(fd, path.slice(from, end), flags | O_DIRECTORY | O_NOFOLLOW)
      this.#sys.close(fd)
      fd = next
      from = end + 1
    }
    return fd
  }

  /** The names in an open directory, in the order of the index. Layout of struct linux_dirent64: open-directory.ts. */
  async #list(fd: number): Promise<Name[]> {
    const names: Name[] = []
    const buffer = Buffer.allocUnsafe(LISTING_BYTES)
    for (;;) {
      const got = this.#sys.getdents(fd, buffer)
      if (got < 0 && -got !== ENOENT && -got !== ENOTDIR) throw errnoError(-got, 'readdir')
      if (got <= 0) return names.sort()
      for (let at = 0; at < got; at += buffer.readUInt16LE(at + 16)) {
        const name = buffer.toString('latin1', at + 19, buffer.indexOf(0, at + 19))
        if (name !== '.' && name !== '..') names.push(name)
      }
      await this.#rest()
    }
  }

  /** The entries of a directory in the index, in name order. */
  async *#indexed(parent: Ino): AsyncGenerator<readonly [Name, Attributes]> {
    for (let after: Name | undefined; ; ) {
      const page = this.#options.index.children(parent, after, INDEX_PAGE)
      for (const { name, attributes } of page) {
        this.#checked++
        yield [name, attributes]
      }
      if (page.length < INDEX_PAGE) return
      after = page.at(-1)!.name
      await this.#rest()
    }
  }

  /** Lets others work, now and then. */
  async #rest(): Promise<void> {
    if (performance.now() - this.#workedSinceMs < WORK_MS) return
    this.#options.signal.throwIfAborted()
    await this.#options.progress(this.#checked)
    await new Promise(resolve => setImmediate(resolve))
    this.#workedSinceMs = performance.now()
  }
}

/** What differs between a file on the disk and its row, for a person; '' when nothing does. */
function differenceOf(disk: StatxBuffer, row: Attributes): string {
  const now = disk.attributes(row.ino)
  const pairs: [string, number | string, number | string][] = [
    ['type and mode', now.mode.toString(8), row.mode.toString(8)],
    ['links', now.nlink, row.nlink],
    ['owner', now.uid, row.uid],
    ['group', now.gid, row.gid],
    ['size', now.sizeBytes, row.sizeBytes],
    ['device', now.rdev, row.rdev],
    ['mtime', time(now.mtimeSec, now.mtimeNsec), time(row.mtimeSec, row.mtimeNsec)],
    ['ctime', time(now.ctimeSec, now.ctimeNsec), time(row.ctimeSec, row.ctimeNsec)],
  ]
  return pairs
    .filter(([, onDisk, inIndex]) => onDisk !== inIndex)
    .map(([what, onDisk, inIndex]) => `${what} ${onDisk}, index ${inIndex}`)
    .join('; ')
}

function time(sec: number, nsec: number): string {
  return `${sec}.${String(nsec).padStart(9, '0')}`
}

function join(directory: Name, name: Name): Name {
  return directory === '' ? name : `${directory}/${name}`
}
