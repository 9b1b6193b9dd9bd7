/**
 * Two trees compared byte for byte and attribute for attribute.
 *
 * Owns: what "the same" means for a copy: names, types, contents, modes, owners, modification times to the nanosecond,
 * extended attributes with ACLs, device numbers, link targets, which names are one file, and the holes of sparse files.
 * Not compared: access, change and birth times, inode numbers, and the size of directories.
 */
import { createHash } from 'node:crypto'
import { closeSync, lstatSync, openSync, readdirSync, readlinkSync, readSync } from 'node:fs'
import { linux } from '../../src/sys/linux.ts'

export interface TreeOptions {
  /** Modification times of directories change with what is done in them: leave them out. Default: compared. */
  readonly directoryTimes?: boolean
  /** All modification times. Default: compared. */
  readonly times?: boolean
  /** Blocks of sparse files. Default: compared where a file is sparse. */
  readonly holes?: boolean
}

const PIECE_BYTES = 1 << 20

/** One line for each name below `root`, with all that is compared. */
export function describeTree(root: string, options: TreeOptions = {}): string[] {
  const lines: string[] = []
  const firstNames = new Map<string, string>()
  const walk = (path: string, shown: string) => {
    const bytes = Buffer.from(path, 'latin1')
    const stat = lstatSync(bytes, { bigint: true })
    const words = [shown, `mode ${stat.mode.toString(8)}`, `owner ${stat.uid}:${stat.gid}`, extendedAttributes(path)]
    const times = options.times !== false && (!stat.isDirectory() || options.directoryTimes !== false)
    if (times) words.push(`mtime ${stat.mtimeNs}`)
    if (!stat.isDirectory()) words.push(`links ${stat.nlink}`)
    if (stat.nlink > 1n && !stat.isDirectory()) {
      const key = `${stat.dev}:${stat.ino}`
      words.push(`is ${firstNames.get(key) ?? 'the first'}`)
      if (!firstNames.has(key)) firstNames.set(key, shown)
    }
    if (stat.isCharacterDevice() || stat.isBlockDevice()) words.push(`device ${stat.rdev}`)
    if (stat.isSymbolicLink()) words.push(`-> ${readlinkSync(bytes, 'latin1')}`)
    if (stat.isFile()) {
      words.push(`${stat.size} bytes`, contents(bytes))
      const isSparse = Number(stat.blocks) * 512 + (64 << 10) < Number(stat.size)
      if (options.holes !== false) words.push(isSparse ? 'sparse' : 'dense')
    }
    lines.push(words.join(', '))
    if (!stat.isDirectory()) return
    for (const name of readdirSync(bytes, 'latin1').sort()) walk(`${path}/${name}`, shown === '.' ? name : `${shown}/${name}`)
  }
  walk(Buffer.from(root).toString('latin1'), '.')
  return lines
}

function contents(path: Buffer): string {
  const hash = createHash('sha1')
  const piece = Buffer.allocUnsafe(PIECE_BYTES)
  const fd = openSync(path, 'r')
  try {
    for (let got = readSync(fd, piece); got > 0; got = readSync(fd, piece)) hash.update(piece.subarray(0, got))
  } finally {
    closeSync(fd)
  }
  return hash.digest('hex')
}

function extendedAttributes(path: string): string {
  const sys = linux()
  const buffer = Buffer.alloc(65_536)
  const length = sys.llistxattr(path, buffer)
  if (length < 0) return `no attributes: errno ${-length}`
  const names = length === 0 ? [] : buffer.toString('latin1', 0, length - 1).split('\0')
  return names
    .sort()
    .map(name => {
      const size = sys.lgetxattr(path, name, buffer)
      return size < 0 ? `${name} errno ${-size}` : `${name}=${buffer.toString('hex', 0, size)}`
    })
    .join(' ')
}

/** The lines in which two trees differ, for a test's message: at most `limit`. */
export function treeDifferences(left: string, right: string, options: TreeOptions = {}, limit = 20): string[] {
  const ours = describeTree(left, options)
  const theirs = describeTree(right, options)
  const inOurs = new Set(ours)
  const inTheirs = new Set(theirs)
  return [
    ...ours.filter(line => !inTheirs.has(line)).map(line => `- ${line}`),
    ...theirs.filter(line => !inOurs.has(line)).map(line => `+ ${line}`),
  ]
    .slice(0, limit)
    .map(line => line.slice(0, 400))
}
