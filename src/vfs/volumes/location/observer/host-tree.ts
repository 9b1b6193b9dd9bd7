/**
 * Opens directories of the location on the host, by their place in the table.
 *
 * Owns: the walk from the root, in pieces shorter than PATH_MAX, and the root's descriptor while work is being done.
 * Must stay true:
 * - No symlink is followed below the root, and no mount is entered that `Mounts` excludes: a walk that would cross into
 *   any mount stops first, and goes on only after the mount table was read again and allows it.
 * - What was opened is the directory that the table means, by device and inode number; else the answer is -ESTALE.
 * - `release` closes the root: nothing of the location's filesystem stays open while the observer rests.
 */
import { ELOOP, ENOENT, ENOTDIR } from '../../../../sys/errno.ts'
import { O_CLOEXEC, O_DIRECTORY, O_NOFOLLOW, O_PATH, O_RDONLY } from '../../../../sys/flags.ts'
import {
  AT_EMPTY_PATH,
  AT_FDCWD,
  AT_SYMLINK_NOFOLLOW,
  type Linux,
  RESOLVE_NO_SYMLINKS,
  RESOLVE_NO_XDEV,
  STATX_BASIC_AND_BTIME,
} from '../../../../sys/linux.ts'
import type { Name } from '../../../contract.ts'
import type { DescriptorSlot, Descriptors } from './control.ts'
import { type DirectoryNumber, type DirectoryTable, ROOT } from './directory-table.ts'
import type { Mounts } from './mounts.ts'

export const EXDEV = 18
export const ESTALE = 116
const AT_NO_AUTOMOUNT = 0x800
/** Shorter than PATH_MAX with room for a last name. */
const PIECE_BYTES = 3500

export const DIRECTORY_PATH_ONLY = O_PATH | O_DIRECTORY | O_NOFOLLOW
export const DIRECTORY_READ = O_RDONLY | O_DIRECTORY | O_NOFOLLOW

/** No such directory at that place (now): somebody moved or removed something on the way. */
export function isMissing(errno: number): boolean {
  return errno === ENOENT || errno === ENOTDIR || errno === ELOOP || errno === ESTALE
}

export class HostTree {
  /** The last `statx`: words of struct statx. */
  readonly stat: Uint32Array = new Uint32Array(64)
  readonly #statBytes: Buffer = Buffer.from(this.stat.buffer)
  readonly #sys: Linux
  readonly #descriptors: Descriptors
  readonly #mounts: Mounts
  readonly #rootPath: Name
  readonly #table: DirectoryTable
  readonly #hasOpenat2: boolean

  /** `rootPath` is absolute, without symlinks. `stepwise` walks without openat2(2), as on kernels that lack it. */
  constructor(sys: Linux, descriptors: Descriptors, mounts: Mounts, rootPath: Name, table: DirectoryTable, stepwise: boolean) {
    this.#sys = sys
    this.#descriptors = descriptors
    this.#mounts = mounts
    this.#rootPath = rootPath
    this.#table = table
    this.#hasOpenat2 = !stepwise && descriptors.keep('step', sys.openat2(AT_FDCWD, '/', DIRECTORY_PATH_ONLY, RESOLVE_NO_SYMLINKS)) >= 0
    descriptors.close('step')
  }

  /**
   * Opens a directory of the table into a cell and leaves its struct statx in `stat`. Answers the descriptor, or a
   * negative errno: -EXDEV when an excluded mount is in the way, -ESTALE when another directory is there.
   */
  open(directory: DirectoryNumber, path: Name, slot: DescriptorSlot, flags: number): number {
    const root = this.#openRoot()
    if (root < 0) return root
    const opened =
      directory === ROOT ? this.#descriptors.keep(slot, this.#sys.openat(root, '.', flags)) : this.#walk(root, path, slot, flags)
    if (opened < 0) return opened
    const checked = this.statDescriptor(opened)
    if (checked === 0 && this.#table.isSame(directory, this.stat)) return opened
    this.#descriptors.close(slot)
    return checked < 0 ? checked : -ESTALE
  }

  /** Opens a name in an open directory, as `open` does. The identity is for the caller to check. */
  openBelow(directoryFd: number, directoryPath: Name, name: Name, slot: DescriptorSlot, flags: number): number {
    return this.#openPiece(directoryFd, name, directoryPath === '' ? name : `${directoryPath}/${name}`, slot, flags)
  }

  /** statx of a name that stands in `nameBytes` with a NUL; 0, or a negative errno. */
  statBytes(directoryFd: number, nameBytes: Uint8Array): number {
    const flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT
    return this.#sys.raw.statx(directoryFd, nameBytes, flags, STATX_BASIC_AND_BTIME, this.#statBytes) < 0 ? -this.#sys.errno() : 0
  }
  statName(directoryFd: number, name: Name): number {
    return this.statBytes(directoryFd, this.#sys.cstr(name))
  }
  statDescriptor(fd: number): number {
    return this.#sys.raw.statx(fd, this.#sys.cstr(''), AT_EMPTY_PATH, STATX_BASIC_AND_BTIME, this.#statBytes) < 0 ? -this.#sys.errno() : 0
  }

  release(): void {
    this.#descriptors.close('root')
  }

  #openRoot(): number {
    const open = this.#descriptors.get('root')
    if (open >= 0) return open
    const root = this.#descriptors.keep('root', this.#sys.openat(AT_FDCWD, this.#rootPath, O_PATH | O_DIRECTORY))
    if (root < 0) return root
    const checked = this.statDescriptor(root)
    if (checked === 0 && this.#table.isSame(ROOT, this.stat)) return root
    this.release()
    return checked < 0 ? checked : -ESTALE
  }

  #walk(root: number, path: Name, slot: DescriptorSlot, flags: number): number {
    let at = root
    let from = 0
    for (;;) {
      const end = this.#pieceEnd(path, from)
      const isLast = end === path.length
      const piece = path.slice(from, end)
      const opened = this.#openPiece(at, piece, path.slice(0, end), 'step', isLast ? flags : DIRECTORY_PATH_ONLY)
      if (opened < 0) return opened
      if (isLast) return this.#descriptors.move('step', slot)
      // The step's cell is needed again: the one in hand waits in the slot that it will end in.
      at = this.#descriptors.move('step', slot)
      from = end + 1
    }
  }

  #pieceEnd(path: Name, from: number): number {
    if (this.#hasOpenat2) return path.length - from <= PIECE_BYTES ? path.length : path.lastIndexOf('/', from + PIECE_BYTES)
    const slash = path.indexOf('/', from)
    return slash < 0 ? path.length : slash
  }

  /** `pathFromRoot` is the piece's place, for the question whether a mount on the way may be entered. */
  #openPiece(at: number, piece: Name, pathFromRoot: Name, slot: DescriptorSlot, flags: number): number {
    if (this.#mounts.isExcluded(pathFromRoot)) return -EXDEV
    if (!this.#hasOpenat2) return this.#descriptors.keep(slot, this.#sys.openat(at, piece, flags | O_CLOEXEC))
    const direct = this.#sys.openat2(at, piece, flags, RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV)
    if (direct !== -EXDEV) return this.#descriptors.keep(slot, direct)
    this.#mounts.refresh()
    if (this.#mounts.isExcluded(pathFromRoot)) return -EXDEV
    return this.#descriptors.keep(slot, this.#sys.openat2(at, piece, flags, RESOLVE_NO_SYMLINKS))
  }
}
