/**
 * Makes the mountpoint ready: there, a folder, empty, and without the remains of a daemon that was killed.
 *
 * Must stay true: a mount that may be dead is not touched except through mounts.ts (which can't hang); what isn't a dead
 * mount of sdmount is never unmounted.
 */
import { mkdirSync, readdirSync, realpathSync, statSync } from 'node:fs'
import { unmount } from '../../fs/fuse/mount.ts'
import { isWithin } from '../../sys/mountinfo.ts'
import type { Name } from '../../vfs/contract.ts'
import { CommandError } from '../exit-codes.ts'
import { FILESYSTEM_TYPE, mountAt, probeMount } from '../mounts.ts'
import { nameOfText } from '../names.ts'
import { pathProblem } from '../paths.ts'
import { printable } from '../terminal/terminal.ts'

/** More mounts than this on top of one another aren't an accident. */
const STACKED_LIMIT = 16

/** Clears what a killed daemon left there. Answers how many dead mounts were cleared. */
export async function clearDeadMounts(mountpoint: string): Promise<number> {
  for (let cleared = 0; cleared < STACKED_LIMIT; cleared++) {
    const mount = mountAt(nameOfText(mountpoint))
    if (mount?.type !== FILESYSTEM_TYPE || probeMount(mountpoint) !== 'dead') return cleared
    await unmount(mountpoint, { lazy: true })
  }
  return STACKED_LIMIT
}

/** Checks, or throws CommandError 'mountpoint'. Makes the folder where it is missing. */
export function checkMountpoint(
  mountpoint: string,
  options: { readonly nonEmpty: boolean; readonly library: string; readonly locations: readonly Name[] },
): void {
  const mount = mountAt(nameOfText(mountpoint))
  if (mount?.type === FILESYSTEM_TYPE) {
    throw new CommandError(
      'mountpoint',
      `another library is mounted at ${mountpoint} (${printable(mount.source)}): run sdmount umount ${mountpoint} first`,
    )
  }
  const collides = (path: Name) => isWithin(nameOfText(mountpoint), path)
  if (collides(nameOfText(realpathSync(options.library))))
    throw new CommandError('mountpoint', `${mountpoint} holds the library itself (${options.library}): choose another folder`)
  const inside = options.locations.find(collides)
  if (inside !== undefined)
    throw new CommandError(
      'mountpoint',
      `${mountpoint} holds the location ${printable(inside)}, which the mount would hide: choose another folder`,
    )
  try {
    mkdirSync(mountpoint)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw new CommandError('mountpoint', `${mountpoint}: ${pathProblem(error)}`)
  }
  try {
    if (!statSync(mountpoint).isDirectory()) throw new CommandError('mountpoint', `${mountpoint} is not a folder`)
    if (!options.nonEmpty && readdirSync(mountpoint).length > 0) {
      throw new CommandError(
        'mountpoint',
        `${mountpoint} is not empty: choose an empty folder, or say -o nonempty (its files are out of sight while it is mounted)`,
      )
    }
  } catch (error) {
    throw error instanceof CommandError ? error : new CommandError('mountpoint', `${mountpoint}: ${pathProblem(error)}`)
  }
}
