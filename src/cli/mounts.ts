/**
 * What is mounted on this machine, as /proc/self/mountinfo tells it, and which of it is ours.
 *
 * Must stay true: nothing here touches a mount that may be dead or hang, except `isDead`, which asks in a child process
 * with a time limit. Paths are bytes, one char each.
 */
import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { isWithin, type MountEntry, mountOf, readMounts } from '../sys/mountinfo.ts'
import type { Name } from '../vfs/contract.ts'
import { CommandError } from './exit-codes.ts'
import { printable } from './terminal/terminal.ts'

export const FILESYSTEM_TYPE = 'fuse.sdmount'
const ALIVE_TIMEOUT_MS = 3_000
const USERS_SHOWN = 5

/** What is mounted exactly there (the topmost), if anything. */
export function mountAt(path: Name, mounts = readMounts()): MountEntry | undefined {
  return mounts.findLast(mount => mount.mountPoint === path)
}

/** The sdmount mount that holds `path` (or is it), if any. */
export function ownMountAbove(path: Name, mounts = readMounts()): MountEntry | undefined {
  const mount = mountOf(mounts, path)
  return mount?.type === FILESYSTEM_TYPE ? mount : undefined
}

/** The error for a location that would contain its own tree. */
export function insideMount(path: Name, mount: MountEntry): CommandError {
  return new CommandError(
    'location',
    `${printable(path)} is inside the sdmount tree at ${printable(mount.mountPoint)}: the tree can't contain itself`,
  )
}

/** 'dead': its daemon is gone ("Transport endpoint is not connected"); 'silent': it doesn't answer in time. */
export function probeMount(mountpoint: string): 'alive' | 'dead' | 'silent' {
  const run = spawnSync('stat', ['-f', '--', mountpoint], {
    stdio: ['ignore', 'ignore', 'pipe'],
    timeout: ALIVE_TIMEOUT_MS,
    killSignal: 'SIGKILL',
    env: { ...process.env, LC_ALL: 'C' },
    encoding: 'utf8',
  })
  if (run.signal) return 'silent'
  return run.status !== 0 && /not connected|software caused connection abort/i.test(run.stderr) ? 'dead' : 'alive'
}

/** Processes that hold something open below `mountpoint`, as far as this user may see: "1234 (vim)". Asks the mount nothing. */
export function usersOf(mountpoint: Name): string[] {
  const users: string[] = []
  for (const pid of readdirSync('/proc')) {
    if (users.length === USERS_SHOWN) break
    if (!/^[0-9]+$/.test(pid) || !holds(pid, mountpoint)) continue
    users.push(`${pid} (${readSafely(() => readFileSync(`/proc/${pid}/comm`, 'utf8').trim()) ?? '?'})`)
  }
  return users
}

function holds(pid: string, mountpoint: Name): boolean {
  const below = (link: string) => {
    const target = readSafely(() => readlinkSync(`/proc/${pid}/${link}`, 'latin1'))
    return target !== undefined && isWithin(mountpoint, target)
  }
  const descriptors = () => readSafely(() => readdirSync(`/proc/${pid}/fd`)) ?? []
  return below('cwd') || below('root') || below('exe') || descriptors().some(fd => below(`fd/${fd}`))
}

/** /proc of other users, and of processes that end meanwhile, can't be read. */
function readSafely<T>(read: () => T): T | undefined {
  try {
    return read()
  } catch {
    return undefined
  }
}
