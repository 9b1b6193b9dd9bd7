/**
 * Looks at what is at a location's path.
 *
 * Owns: the system calls behind a `RootFinding`. May hang where the filesystem does: only the observer's thread calls it.
 * Must stay true: nothing stays open.
 */
import { getSystemErrorMessage } from 'node:util'
import { ENOENT, ENOTDIR } from '../../../../sys/errno.ts'
import { O_DIRECTORY, O_PATH, O_RDONLY } from '../../../../sys/flags.ts'
import { AT_FDCWD, type Linux, StatxBuffer } from '../../../../sys/linux.ts'
import type { Name } from '../../../contract.ts'
import type { DirectoryIdentity } from './batch.ts'
import type { Descriptors } from './control.ts'
import { filesystemName, type RootFinding, type RootIdentity, udevUuid } from './root-identity.ts'

export interface FoundRoot {
  readonly kind: 'folder'
  readonly identity: RootIdentity
  readonly directory: DirectoryIdentity
  /** As `StatxBuffer.device` gives it. */
  readonly device: number
  /** The path without symlinks. */
  readonly path: Name
  isEmpty(): boolean
}

export class RootFinder {
  readonly #sys: Linux
  readonly #descriptors: Descriptors
  readonly #path: Name
  readonly #stat = new StatxBuffer()

  constructor(sys: Linux, descriptors: Descriptors, path: Name) {
    this.#sys = sys
    this.#descriptors = descriptors
    this.#path = path
  }

  /** Whether the root of the session is still at the path: the cheap question, asked every second. */
  isAt(directory: DirectoryIdentity): boolean {
    const fd = this.#descriptors.keep('child', this.#sys.openat(AT_FDCWD, this.#path, O_PATH | O_DIRECTORY))
    const found = fd >= 0 && this.#sys.statx(fd, '', this.#stat) === 0
    this.#descriptors.close('child')
    const { deviceMajor, deviceMinor, inoHigh, inoLow } = directory
    return (
      found && this.#stat.inoLow === inoLow && this.#stat.inoHigh === inoHigh && this.#stat.device === deviceMajor * 2 ** 20 + deviceMinor
    )
  }

  find(): FoundRoot | Extract<RootFinding, { kind: 'nothing' }> {
    const fd = this.#descriptors.keep('child', this.#sys.openat(AT_FDCWD, this.#path, O_PATH | O_DIRECTORY))
    if (fd < 0) return nothing(-fd)
    try {
      return this.#describe(fd)
    } finally {
      this.#descriptors.close('child')
    }
  }

  #describe(fd: number): FoundRoot | Extract<RootFinding, { kind: 'nothing' }> {
    const stat = this.#stat
    const checked = this.#sys.statx(fd, '', stat)
    if (checked < 0) return nothing(-checked)
    const statfs = this.#sys.fstatfs(fd)
    if (typeof statfs === 'number') return nothing(-statfs)
    const target = Buffer.alloc(4096)
    const length = this.#sys.readlinkat(AT_FDCWD, `/proc/thread-self/fd/${fd}`, target)
    const device = stat.device
    const deviceMajor = Math.floor(device / 2 ** 20)
    const deviceMinor = device % 2 ** 20
    return {
      kind: 'folder',
      identity: {
        filesystem: filesystemName(statfs, () => udevUuid(deviceMajor, deviceMinor)),
        ino: (BigInt(stat.inoHigh) * 2n ** 32n + BigInt(stat.inoLow)).toString(),
      },
      directory: { deviceMajor, deviceMinor, inoHigh: stat.inoHigh, inoLow: stat.inoLow },
      device,
      path: length > 0 ? target.toString('latin1', 0, length) : this.#path,
      isEmpty: () => this.#isEmpty(),
    }
  }

  /** Unreadable counts as not empty. */
  #isEmpty(): boolean {
    const fd = this.#descriptors.keep('child', this.#sys.openat(AT_FDCWD, this.#path, O_RDONLY | O_DIRECTORY))
    if (fd < 0) return false
    const dirents = Buffer.alloc(4096)
    // "." and ".." fill 24 bytes each; some filesystems hand entries out one at a time.
    let bytes = 0
    for (let more = this.#sys.getdents(fd, dirents); more > 0 && bytes <= 48; more = this.#sys.getdents(fd, dirents)) bytes += more
    this.#descriptors.close('child')
    return bytes <= 48
  }
}

function nothing(errno: number): { kind: 'nothing'; reason: string } {
  if (errno === ENOENT) return { kind: 'nothing', reason: 'the folder is missing' }
  if (errno === ENOTDIR) return { kind: 'nothing', reason: 'a file is there in place of the folder' }
  return { kind: 'nothing', reason: `the folder cannot be reached: ${getSystemErrorMessage(-errno)}` }
}
