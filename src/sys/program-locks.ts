/**
 * Locks that programs hold on files of a mount.
 *
 * Owns: the reading of /proc/locks, where the kernel lists every fcntl and flock lock with device and inode number. Must
 * stay true: nothing here touches the mount itself (the process that serves it would wait for itself); where there is no
 * such list, nobody holds anything.
 */
import { readFileSync } from 'node:fs'
import type { Name } from '../vfs/contract.ts'
import { readMounts } from './mountinfo.ts'

/** A question for locks on the mount at `mountpoint` (absolute, as bytes); it looks anew each time. */
export function programLocks(mountpoint: Name): (ino: number) => boolean {
  return ino => {
    const device = deviceOf(mountpoint)
    if (device === undefined) return false
    const wanted = ` ${device}:${ino} `
    return heldLocks().some(line => line.includes(wanted) && !line.includes('->'))
  }
}

/** The mount's device as /proc/locks writes it. */
function deviceOf(mountpoint: Name): string | undefined {
  // The last one lies on top.
  const entry = readMounts().findLast(({ mountPoint }) => mountPoint === mountpoint)
  return entry && [entry.deviceMajor, entry.deviceMinor].map(number => number.toString(16).padStart(2, '0')).join(':')
}

function heldLocks(): string[] {
  try {
    return readFileSync('/proc/locks', 'utf8').split('\n')
  } catch {
    return []
  }
}
