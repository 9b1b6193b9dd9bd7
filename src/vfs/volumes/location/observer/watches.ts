/**
 * The inotify instance of one location: watches on directories, and the events that come from them.
 *
 * Owns: the inotify descriptor, the limits that the system sets to it, and the map from watch to directory.
 * Must stay true: one directory (inode) has one watch, whatever its path, so a watch that is known already says that a
 * directory has moved. A watch pins no filesystem: the kernel drops it with an unmount.
 * It doesn't: look at the disk, or decide what an event means.
 */
import { EAGAIN, EINTR } from '../../../../sys/errno.ts'
import { O_CLOEXEC, O_NONBLOCK } from '../../../../sys/flags.ts'
import type { Linux } from '../../../../sys/linux.ts'
import type { Name } from '../../../contract.ts'
import type { Descriptors } from './control.ts'
import { type DirectoryNumber, NONE } from './directory-table.ts'

export const IN_MODIFY = 0x2
export const IN_ATTRIB = 0x4
export const IN_CLOSE_WRITE = 0x8
export const IN_MOVED_FROM = 0x40
export const IN_MOVED_TO = 0x80
export const IN_CREATE = 0x100
export const IN_DELETE = 0x200
export const IN_DELETE_SELF = 0x400
export const IN_MOVE_SELF = 0x800
export const IN_UNMOUNT = 0x2000
export const IN_Q_OVERFLOW = 0x4000
export const IN_IGNORED = 0x8000
const IN_ONLYDIR = 0x1000000
const IN_EXCL_UNLINK = 0x4000000

const DIRECTORY_EVENTS =
  IN_MODIFY | IN_ATTRIB | IN_CLOSE_WRITE | IN_MOVED_FROM | IN_MOVED_TO | IN_CREATE | IN_DELETE | IN_DELETE_SELF | IN_MOVE_SELF
/** Of folders above the location only what happens to themselves: /tmp and /home are busy places. */
const ANCESTOR_EVENTS = IN_DELETE_SELF | IN_MOVE_SELF
/** While the location is away, what appears where it should be. */
const WAITING_EVENTS = ANCESTOR_EVENTS | IN_CREATE | IN_MOVED_TO

const ENOMEM = 12
const EMFILE = 24
const ENFILE = 23
const ENOSPC = 28
const EVENT_HEADER_BYTES = 16
/** How long no more watches are asked for after the system refused one. */
const REFUSED_REST_MS = 5_000
/** How much of the queue is read before other work has its turn. */
const READS_AT_ONCE = 64

export interface WatchEvents {
  /** Something happened to `name` in the directory; '' means to the directory itself. `mask` are IN_ bits. */
  changed(directory: DirectoryNumber, name: Name, mask: number): void
  /** Something happened to a folder above the location. */
  ancestorChanged(): void
  /** Events were lost. */
  overflowed(): void
}

export interface WatchLimits {
  /** At most so many watches, as if the system allowed no more. */
  readonly watches?: number | undefined
  /** After each so many events some count as lost. */
  readonly eventsBetweenLosses?: number | undefined
}

export class Watches {
  readonly #sys: Linux
  readonly #descriptors: Descriptors
  readonly #events: WatchEvents
  readonly #limits: WatchLimits
  readonly #buffer: Buffer = Buffer.allocUnsafeSlow(256 * 1024)
  readonly #directories = new Map<number, DirectoryNumber>()
  readonly #ancestors = new Set<number>()
  #eventCount = 0
  #refusedUntil = 0
  #refusal: string | undefined

  constructor(sys: Linux, descriptors: Descriptors, limits: WatchLimits, events: WatchEvents) {
    this.#sys = sys
    this.#descriptors = descriptors
    this.#limits = limits
    this.#events = events
  }

  /** The inotify descriptor for poll(2), -1 when there is none. */
  get descriptor(): number {
    return this.#descriptors.get('inotify')
  }
  get count(): number {
    return this.#directories.size
  }
  /** Why not all directories are watched; undefined: nothing was refused. */
  get refusal(): string | undefined {
    return this.#refusal
  }

  /** Whether a watch may be had now, for all that is known. */
  get canAdd(): boolean {
    if (this.descriptor < 0 || performance.now() < this.#refusedUntil) return false
    return this.#limits.watches === undefined || this.#directories.size < this.#limits.watches
  }

  /** Drops all watches, and events that wait, and starts anew. */
  reset(): void {
    this.#directories.clear()
    this.#ancestors.clear()
    this.#refusedUntil = 0
    this.#refusal = undefined
    const fd = this.#sys.inotifyInit(O_NONBLOCK | O_CLOEXEC)
    this.#descriptors.keep('inotify', fd)
    if (fd < 0) this.#refuse(-fd, 'fs.inotify.max_user_instances')
  }

  /**
   * Watches the directory that is open at `fd`. Answers NONE when no watch is to be had. `owner` of the answer says who
   * has the watch: a directory that was moved has it already.
   */
  add(fd: number, directory: DirectoryNumber): number {
    if (this.descriptor < 0 || performance.now() < this.#refusedUntil) return NONE
    if (this.#limits.watches !== undefined && this.#directories.size >= this.#limits.watches)
      return this.#refuse(ENOSPC, 'fs.inotify.max_user_watches')
    const watch = this.#sys.inotifyAddWatch(this.descriptor, `/proc/thread-self/fd/${fd}`, DIRECTORY_EVENTS | IN_ONLYDIR | IN_EXCL_UNLINK)
    if (watch < 0) return -watch === ENOSPC || -watch === ENOMEM ? this.#refuse(-watch, 'fs.inotify.max_user_watches') : NONE
    if (!this.#directories.has(watch)) this.#directories.set(watch, directory)
    return watch
  }

  /** Leaves writes out of what is told of the watched directory that is open at `fd`, or takes them in again. */
  setMuted(fd: number, muted: boolean): boolean {
    const events = muted ? DIRECTORY_EVENTS & ~IN_MODIFY : DIRECTORY_EVENTS
    return this.#sys.inotifyAddWatch(this.descriptor, `/proc/thread-self/fd/${fd}`, events | IN_ONLYDIR | IN_EXCL_UNLINK) >= 0
  }

  owner(watch: number): DirectoryNumber {
    return this.#directories.get(watch) ?? NONE
  }

  remove(watch: number): void {
    if (this.#directories.delete(watch)) this.#sys.inotifyRemoveWatch(this.descriptor, watch)
  }

  /** Watches the folders above `path` (absolute); `waiting`: the nearest that exists also for what appears in it. */
  watchAncestors(path: Name, waiting: boolean): void {
    if (this.descriptor < 0) return
    let nearest = waiting
    for (let at = path; at !== '/' && at !== ''; ) {
      at = at.slice(0, at.lastIndexOf('/')) || '/'
      const watch = this.#sys.inotifyAddWatch(this.descriptor, at, (nearest ? WAITING_EVENTS : ANCESTOR_EVENTS) | IN_ONLYDIR)
      if (watch < 0) continue
      this.#ancestors.add(watch)
      nearest = false
    }
  }

  /** Reads the events that wait. Answers whether there were any. */
  read(): boolean {
    const fd = this.descriptor
    if (fd < 0) return false
    const before = this.#eventCount
    for (let reads = 0; reads < READS_AT_ONCE; reads++) {
      const length = this.#sys.read(fd, this.#buffer)
      if (length === -EAGAIN || length === -EINTR || length <= 0) break
      this.#dispatch(length)
    }
    if (this.#eventCount > (this.#limits.eventsBetweenLosses ?? Number.POSITIVE_INFINITY)) {
      this.#eventCount = 0
      this.#events.overflowed()
      return true
    }
    return this.#eventCount > before
  }

  /** struct inotify_event: watch, mask, cookie, length of the name (padded with NULs), name. */
  #dispatch(length: number): void {
    const buffer = this.#buffer
    for (let at = 0; at + EVENT_HEADER_BYTES <= length; this.#eventCount++) {
      const watch = buffer.readInt32LE(at)
      const mask = buffer.readUInt32LE(at + 4)
      const start = at + EVENT_HEADER_BYTES
      at = start + buffer.readUInt32LE(at + 12)
      if (mask & IN_Q_OVERFLOW) {
        this.#events.overflowed()
        continue
      }
      const directory = this.#directories.get(watch)
      if (this.#ancestors.has(watch) && directory === undefined) this.#events.ancestorChanged()
      if (mask & IN_IGNORED) {
        this.#ancestors.delete(watch)
        this.#directories.delete(watch)
      }
      if (directory === undefined) continue
      let end = at
      while (end > start && buffer[end - 1] === 0) end--
      this.#events.changed(directory, buffer.toString('latin1', start, end), mask)
    }
  }

  #refuse(errno: number, setting: string): number {
    this.#refusedUntil = performance.now() + REFUSED_REST_MS
    const reason =
      errno === ENOSPC
        ? 'the limit of the system is reached'
        : errno === EMFILE || errno === ENFILE
          ? 'too many are open'
          : `errno ${errno}`
    this.#refusal ??= `not all folders can be watched (${reason}); raise it with: sysctl ${setting}=1048576`
    return NONE
  }
}
