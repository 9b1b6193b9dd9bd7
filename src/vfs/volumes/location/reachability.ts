/**
 * Who could reach a location's folder by its own path.
 *
 * A mount of root shows a folder to every user (allow_other). By its own path it may stand below a folder that only its
 * owner can enter (/root, a home of mode 0700): then the mount must not be a way around that. The answer is a mask for the
 * permission bits of the location's root directory.
 *
 * Owns: that mask. It errs on the side of the folder's owner and group where the answer would need group memberships, and
 * on the side of the closed folder for everybody else.
 */
import { statSync } from 'node:fs'
import { dirname } from 'node:path'

const ALL = 0o7777

/** The bits of the root directory's mode that the folders above leave. `path` is as the host knows it (UTF-8). */
export function reachableMode(path: Buffer): number {
  let mask = ALL
  let at = path.toString('latin1')
  while (at !== '/' && at !== '.') {
    at = dirname(at)
    const stat = statSync(Buffer.from(at, 'latin1'), { throwIfNoEntry: false })
    if (!stat) continue
    if (!(stat.mode & 0o001)) mask &= ~0o007
    if (!(stat.mode & 0o011)) mask &= ~0o070
  }
  return mask
}
