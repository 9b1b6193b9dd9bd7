/**
 * Attributes of files as metadata of objects, in the keys that rclone and s3fs use.
 *
 * Owns: the spelling, both ways. What is written: `mtime` ("seconds.nanoseconds", both), `mode` (decimal with the type, s3fs),
 * `uid`, `gid`, and `xattr` (s3fs: JSON of base64 values, URL-encoded). What is read besides: times as RFC 3339 and modes in
 * octal (rclone with --metadata). Must stay true: what can't be read is left out, never guessed.
 */
import type { Metadata } from '../../../backends/contract.ts'
import { FsError } from '../../../errors.ts'
import { type Attributes, isDirectory, type Name, S_IFDIR, S_IFLNK, S_IFMT, S_IFREG } from '../../contract.ts'

/** Servers take 2 KiB in all; the rest is for the others. */
const XATTR_LIMIT_BYTES = 1200
const LARGEST_MODE = 0o177777

export const DIRECTORY_CONTENT_TYPE = 'application/x-directory'

export interface KeptAttributes {
  readonly mode?: number
  readonly uid?: number
  readonly gid?: number
  readonly mtime?: { readonly sec: number; readonly nsec: number }
  readonly xattrs?: ReadonlyMap<Name, Buffer>
}

/** Throws 'no-space' when the extended attributes are more than objects can carry. */
export function metadataOf(a: Attributes, xattrs: ReadonlyMap<Name, Buffer>): Metadata {
  const metadata: Record<string, string> = {
    mtime: timeText(a.mtimeSec, a.mtimeNsec),
    mode: String(a.mode),
    uid: String(a.uid),
    gid: String(a.gid),
  }
  if (xattrs.size > 0) metadata.xattr = encodeXattrs(xattrs)
  return metadata
}

export function attributesIn(metadata: Metadata): KeptAttributes {
  const mode = modeIn(metadata.mode)
  const uid = numberIn(metadata.uid)
  const gid = numberIn(metadata.gid)
  const mtime = timeIn(metadata.mtime)
  const xattrs = metadata.xattr === undefined ? undefined : decodeXattrs(metadata.xattr)
  return {
    ...(mode === undefined ? {} : { mode }),
    ...(uid === undefined ? {} : { uid }),
    ...(gid === undefined ? {} : { gid }),
    ...(mtime === undefined ? {} : { mtime }),
    ...(xattrs === undefined ? {} : { xattrs }),
  }
}

export function encodeXattrs(xattrs: ReadonlyMap<Name, Buffer>): string {
  const values: Record<string, string> = {}
  for (const [name, value] of xattrs) values[Buffer.from(name, 'latin1').toString('utf8')] = value.toString('base64')
  const text = encodeURIComponent(JSON.stringify(values))
  if (text.length > XATTR_LIMIT_BYTES)
    throw new FsError('no-space', 'an object can not carry that many extended attributes', { operation: 'setxattr' })
  return text
}

function decodeXattrs(text: string): Map<Name, Buffer> | undefined {
  try {
    const values: unknown = JSON.parse(decodeURIComponent(text))
    if (typeof values !== 'object' || values === null) return undefined
    const found = new Map<Name, Buffer>()
    for (const [name, value] of Object.entries(values))
      if (typeof value === 'string') found.set(Buffer.from(name, 'utf8').toString('latin1'), Buffer.from(value, 'base64'))
    return found
  } catch {
    return undefined
  }
}

/** With nine digits after the point; times before 1970 as the number that they are. */
function timeText(sec: number, nsec: number): string {
  const nanoseconds = BigInt(sec) * 1_000_000_000n + BigInt(nsec)
  const size = nanoseconds < 0n ? -nanoseconds : nanoseconds
  const fraction = String(size % 1_000_000_000n).padStart(9, '0')
  return `${nanoseconds < 0n ? '-' : ''}${size / 1_000_000_000n}.${fraction}`
}

function timeIn(text: string | undefined): { sec: number; nsec: number } | undefined {
  if (text === undefined) return undefined
  const plain = /^(-?)(\d{1,12})(?:\.(\d*))?$/.exec(text)
  if (!plain) return dateIn(text)
  const size = BigInt(plain[2]!) * 1_000_000_000n + BigInt((plain[3] ?? '').padEnd(9, '0').slice(0, 9))
  return split(plain[1] === '-' ? -size : size)
}

function dateIn(text: string): { sec: number; nsec: number } | undefined {
  const date = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)$/.exec(text)
  const ms = date ? Date.parse(`${date[1]}${date[3]}`) : Number.NaN
  if (!date || Number.isNaN(ms)) return undefined
  return { sec: ms / 1000, nsec: Number((date[2] ?? '').padEnd(9, '0').slice(0, 9)) }
}

function split(nanoseconds: bigint): { sec: number; nsec: number } {
  const nsec = ((nanoseconds % 1_000_000_000n) + 1_000_000_000n) % 1_000_000_000n
  return { sec: Number((nanoseconds - nsec) / 1_000_000_000n), nsec: Number(nsec) }
}

function numberIn(text: string | undefined): number | undefined {
  if (text === undefined || !/^\d{1,10}$/.test(text)) return undefined
  const value = Number(text)
  return value < 2 ** 32 - 1 ? value : undefined
}

/** Type and permissions; the type 0 where none is told. */
function modeIn(text: string | undefined): number | undefined {
  if (text === undefined || !/^\d{1,7}$/.test(text)) return undefined
  const decimal = Number(text)
  const mode = decimal > LARGEST_MODE || text.startsWith('0') ? Number.parseInt(text, 8) : decimal
  const type = mode & S_IFMT
  return Number.isNaN(mode) || mode > LARGEST_MODE || ![0, S_IFREG, S_IFDIR, S_IFLNK].includes(type) ? undefined : mode
}

/** What kind of object it is said to be. */
export function contentTypeOf(mode: number): string | undefined {
  return isDirectory(mode) ? DIRECTORY_CONTENT_TYPE : undefined
}
