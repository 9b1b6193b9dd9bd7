/**
 * The mount table of this process, and which filesystems may make a caller wait for ever.
 *
 * Owns: the reading of /proc/self/mountinfo and the list of filesystem types that are known to answer by themselves.
 * Must stay true: paths are Names (one char per byte) with the kernel's octal escapes undone; reading the table touches no
 * mounted filesystem, so it is safe while one of them hangs. Nothing is cached.
 * It doesn't: watch the table (the observer polls it), nor say what to do with what it finds.
 */
import { readFileSync } from 'node:fs'
import type { Name } from '../vfs/contract.ts'

/** One line of mountinfo. Later entries lie on top of earlier ones with the same `mountPoint`. */
export interface MountEntry {
  readonly id: number
  readonly parentId: number
  readonly deviceMajor: number
  readonly deviceMinor: number
  /** The part of the filesystem that is mounted: '/' unless it's a bind mount or a subvolume. */
  readonly root: Name
  /** Absolute, as this process sees it. */
  readonly mountPoint: Name
  /** Type with its subtype: `ext4`, `fuse.sshfs`. */
  readonly type: string
  /** Options of the mount and of the filesystem. */
  readonly options: readonly string[]
  /** A device, a remote address, or a word. */
  readonly source: Name
}

/** Types that answer from a local disk or from memory. What isn't here may hang, or isn't made of files. */
const LOCAL_TYPES: ReadonlySet<string> = new Set([
  ...['ext2', 'ext3', 'ext4', 'xfs', 'btrfs', 'f2fs', 'bcachefs', 'zfs', 'jfs', 'reiserfs', 'nilfs2', 'ufs', 'minix'],
  ...['vfat', 'msdos', 'exfat', 'ntfs', 'ntfs3', 'hfs', 'hfsplus', 'apfs', 'udf', 'iso9660'],
  ...['squashfs', 'erofs', 'cramfs', 'romfs', 'tmpfs', 'ramfs', 'rootfs', 'overlay', 'aufs', 'ecryptfs', 'ubifs', 'jffs2'],
])

/**
 * Whether a filesystem of this type may hang (FUSE, network, automounter) or shows the system's own insides (proc, sysfs).
 * Unknown types count as such: to leave a tree out is repaired by a setting, to hang isn't.
 */
export function mayHang(type: string): boolean {
  return !LOCAL_TYPES.has(type)
}

/** The mount table now. Throws when /proc isn't mounted. */
export function readMounts(): MountEntry[] {
  return parseMountinfo(readFileSync('/proc/self/mountinfo', 'latin1'))
}

/** The entries of a mountinfo text; a line that can't be understood is left out. */
export function parseMountinfo(text: string): MountEntry[] {
  const entries: MountEntry[] = []
  for (const line of text.split('\n')) {
    const entry = parseLine(line)
    if (entry) entries.push(entry)
  }
  return entries
}

/**
 * `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue`: any number of optional fields stands
 * before the single "-".
 */
function parseLine(line: string): MountEntry | undefined {
  const fields = line.split(' ')
  const dash = fields.indexOf('-', 6)
  const [id, parentId, device, root, mountPoint, options] = fields
  const type = fields[dash + 1]
  if (dash < 0 || !type || !root || !mountPoint || !device) return undefined
  const [major, minor] = device.split(':')
  return {
    id: Number(id),
    parentId: Number(parentId),
    deviceMajor: Number(major),
    deviceMinor: Number(minor),
    root: unescapeOctal(root),
    mountPoint: unescapeOctal(mountPoint),
    type: unescapeOctal(type),
    options: [...(options ?? '').split(','), ...(fields[dash + 3] ?? '').split(',')].filter(option => option !== '').map(unescapeOctal),
    source: unescapeOctal(fields[dash + 2] ?? ''),
  }
}

/** The kernel writes space, tab, newline, backslash and "#" as \ooo. */
function unescapeOctal(text: string): string {
  return text.includes('\\') ? text.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8))) : text
}

/** The entry that a path (absolute, without symlinks) lies on: the deepest mount point above it, the last one of equals. */
export function mountOf(mounts: readonly MountEntry[], path: Name): MountEntry | undefined {
  let found: MountEntry | undefined
  for (const entry of mounts) {
    if (isWithin(entry.mountPoint, path) && entry.mountPoint.length >= (found?.mountPoint.length ?? 0)) found = entry
  }
  return found
}

/** Whether `path` is `directory` or lies below it. Both absolute and without a slash at the end (save "/"). */
export function isWithin(directory: Name, path: Name): boolean {
  return directory === '/' || path === directory || (path.startsWith(directory) && path[directory.length] === '/')
}
