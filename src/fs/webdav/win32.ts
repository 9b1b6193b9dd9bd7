/**
 * What Windows keeps with a file, in the namespace of Microsoft's schemas: three times and the attribute bits.
 *
 * Owns: their reading and writing. Must stay true: modified and access time are the file's own; the read-only bit is the
 * absence of the owner's write permission, for which other programs look; what POSIX has no place for (creation time;
 * hidden, system, archive) is stored with the file's properties under plain names (`win32:created`, `win32:attributes`).
 */
import type { Properties, PropertyName } from '../../index/property-store.ts'
import { type AttributeChanges, type Attributes, isDirectory } from '../../vfs/contract.ts'
import { parseHttpDate } from './dates.ts'

export const WIN32_NAMESPACE = 'urn:schemas-microsoft-com:'

const READ_ONLY = 0x01
const DIRECTORY = 0x10
const ARCHIVE = 0x20
/** Hidden, system, archive: kept as given. */
const KEPT = 0x02 | 0x04 | ARCHIVE

/** A change of a live property, in the tree's words. */
export interface LiveChange {
  readonly attributes?: AttributeChanges
  readonly stored?: readonly [PropertyName, string]
}

/** Win32FileAttributes: eight hexadecimal digits. */
export function win32Value(a: Attributes, stored: Properties): string {
  const kept = stored.get('win32:attributes')
  const bits = (kept === undefined ? (isDirectory(a.mode) ? 0 : ARCHIVE) : Number(kept) & KEPT) | (isDirectory(a.mode) ? DIRECTORY : 0)
  return (bits | (a.mode & 0o200 ? 0 : READ_ONLY)).toString(16).padStart(8, '0')
}

/** What setting one of the four means; undefined when the value is none. */
export function win32Change(local: string, value: string, current: Attributes): LiveChange | undefined {
  if (local === 'Win32FileAttributes') return attributesChange(value, current)
  const sec = parseHttpDate(value)
  if (sec === undefined) return undefined
  switch (local) {
    case 'Win32LastModifiedTime':
      return { attributes: { mtime: { sec, nsec: 0 } } }
    case 'Win32LastAccessTime':
      return { attributes: { atime: { sec, nsec: 0 } } }
    case 'Win32CreationTime':
      return { stored: ['win32:created', String(sec)] }
    default:
      return undefined
  }
}

function attributesChange(value: string, current: Attributes): LiveChange | undefined {
  const match = /^\s*(?:0x)?([0-9a-f]{1,8})\s*$/i.exec(value)
  if (!match) return undefined
  const bits = Number.parseInt(match[1]!, 16)
  const stored = ['win32:attributes', String(bits & KEPT)] as const
  const readOnly = (bits & READ_ONLY) !== 0
  // A folder's read-only bit means something else to Windows (that it has a desktop.ini).
  if (isDirectory(current.mode) || readOnly === ((current.mode & 0o200) === 0)) return { stored }
  const mode = readOnly ? current.mode & 0o7777 & ~0o222 : (current.mode & 0o7777) | 0o200
  return { stored, attributes: { mode } }
}
