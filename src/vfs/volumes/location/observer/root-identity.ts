/**
 * Whether the folder at a location's path is the location: pure decisions.
 *
 * Owns: what identifies a location's root (its filesystem and its inode number), and the rules by which a folder counts as
 * the location, as a replacement of it, or as something else that stands in its place while it is away.
 * Must stay true: an empty mount point is never taken for a location that has become empty.
 */
import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import type { HostStatfs } from '../../../../sys/linux.ts'

/** What is remembered of a location's root, in the settings of its volume. */
export interface RootIdentity {
  /** `type:id`, the type as the hexadecimal magic number. The id is `fsid=...` or `uuid=...`, or empty where there is none. */
  readonly filesystem: string
  readonly ino: string
}

/** What was found at the path. */
export type RootFinding =
  | { readonly kind: 'folder'; readonly identity: RootIdentity; readonly isEmpty: () => boolean }
  | { readonly kind: 'nothing'; readonly reason: string }

export type RootVerdict = { readonly online: RootIdentity } | { readonly offline: string }

/** Filesystems whose statfs id is made of an identifier that is stored on them (ext, btrfs, f2fs, zfs, bcachefs). */
const LASTING_ID = new Set([0xef53, 0x9123683e, 0xf2f52010, 0x2fc12fc1, 0xca451a4e])

/**
 * Names a filesystem so that it is known again after it was unplugged. Others than the ones with a lasting id (xfs, vfat,
 * exfat, ntfs: made of the device's number, which depends on what was plugged in first) are named by the UUID that udev
 * found on their device; without it only the type is known.
 */
export function filesystemName(statfs: HostStatfs, uuidOfDevice: () => string | undefined): string {
  const type = statfs.type.toString(16)
  if (LASTING_ID.has(statfs.type) && !/^0*$/.test(statfs.filesystemId)) return `${type}:fsid=${statfs.filesystemId}`
  const uuid = uuidOfDevice()
  return uuid === undefined ? `${type}:` : `${type}:uuid=${uuid}`
}

/** The UUID that udev linked to a block device, found by the device's number. Undefined where there is no udev. */
export function udevUuid(deviceMajor: number, deviceMinor: number, directory = '/dev/disk/by-uuid'): string | undefined {
  // glibc's dev_t, for the numbers that are in use.
  const rdev = (deviceMajor & 0xfff) * 256 + (deviceMinor & 0xff) + (deviceMinor >> 8) * 2 ** 20
  try {
    return readdirSync(directory).find(uuid => {
      const stat = statSync(join(directory, uuid), { throwIfNoEntry: false })
      return stat?.isBlockDevice() && stat.rdev === rdev
    })
  } catch {
    return undefined
  }
}

/** The same filesystem, as far as can be told: an id that is missing on one side contradicts nothing. */
export function isSameFilesystem(one: string, other: string): boolean {
  const [oneType, oneId = ''] = splitOnce(one)
  const [otherType, otherId = ''] = splitOnce(other)
  if (oneType !== otherType) return false
  const comparable = oneId.split('=')[0] === otherId.split('=')[0]
  return !comparable || oneId === otherId
}

/** `recorded` is undefined for a location that was never online. */
export function judgeRoot(recorded: RootIdentity | undefined, found: RootFinding): RootVerdict {
  if (found.kind === 'nothing') return { offline: found.reason }
  if (!recorded) return { online: found.identity }
  if (!isSameFilesystem(recorded.filesystem, found.identity.filesystem))
    return { offline: 'another filesystem is there than the one that the location is on' }
  if (recorded.ino !== found.identity.ino && found.isEmpty())
    return { offline: 'an empty folder is there in place of the one that was added' }
  return { online: found.identity }
}

function splitOnce(filesystem: string): string[] {
  const colon = filesystem.indexOf(':')
  return colon < 0 ? [filesystem] : [filesystem.slice(0, colon), filesystem.slice(colon + 1)]
}
