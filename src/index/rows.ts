/**
 * Between rows of the database and the words of the tree: names and attributes.
 *
 * Owns: the order of the attribute columns, and how a name travels. No SQL is run here.
 *
 * Names are BLOBs in the database, compared and ordered by their bytes. As BLOBs they would travel as Buffers, which cost
 * more than all other columns together; so a plain ASCII name travels as text, and the statement casts it. Reading,
 * any name is cast to text first: one that isn't valid UTF-8 shows as U+FFFD there and is read again as bytes.
 */
import { Attributes, type Ino, type Name } from '../vfs/contract.ts'

/** The attribute columns of `nodes`, in the order of `attributeValues`. */
export const ATTRIBUTE_COLUMNS = [
  'mode',
  'nlink',
  'uid',
  'gid',
  'rdev',
  'size',
  'blocks',
  'block_size',
  'atime_sec',
  'atime_nsec',
  'mtime_sec',
  'mtime_nsec',
  'ctime_sec',
  'ctime_nsec',
  'btime_sec',
  'btime_nsec',
] as const

/** A row as the database answers it in raw mode. */
export type Row = readonly (number | string | Buffer | null)[]

const ASCII = /^[\0-\x7f]*$/

/** A name as a parameter of `CAST(? AS BLOB)`. */
export function nameParameter(name: Name): string | Buffer {
  return ASCII.test(name) ? name : Buffer.from(name, 'latin1')
}

/**
 * The name that `CAST(name AS TEXT)` answered as `text`; undefined where it has to be read as bytes, since the text may
 * stand for several names.
 */
export function nameOfText(text: string): Name | undefined {
  if (ASCII.test(text)) return text
  return text.includes('\ufffd') ? undefined : Buffer.from(text, 'utf8').toString('latin1')
}

export function nameOfBytes(bytes: Buffer): Name {
  return bytes.toString('latin1')
}

/** The attributes in a row whose columns from `at` on are ATTRIBUTE_COLUMNS. */
export function attributesOfRow(ino: Ino, row: Row, at: number): Attributes {
  const a = new Attributes()
  const n = row as readonly number[]
  a.ino = ino
  a.mode = n[at]!
  a.nlink = n[at + 1]!
  a.uid = n[at + 2]!
  a.gid = n[at + 3]!
  a.rdev = n[at + 4]!
  a.sizeBytes = n[at + 5]!
  a.blocks = n[at + 6]!
  a.blockSizeBytes = n[at + 7]!
  a.atimeSec = n[at + 8]!
  a.atimeNsec = n[at + 9]!
  a.mtimeSec = n[at + 10]!
  a.mtimeNsec = n[at + 11]!
  a.ctimeSec = n[at + 12]!
  a.ctimeNsec = n[at + 13]!
  a.btimeSec = n[at + 14]!
  a.btimeNsec = n[at + 15]!
  return a
}

/**
 * Says whether a row holds these attributes already. The access time doesn't count: it changes with every reading, and
 * a scan that wrote it would write the whole index again and again.
 */
export function isSameRow(row: Row, at: number, a: Attributes): boolean {
  return (
    row[at + 12] === a.ctimeSec &&
    row[at + 13] === a.ctimeNsec &&
    row[at] === a.mode &&
    row[at + 5] === a.sizeBytes &&
    row[at + 10] === a.mtimeSec &&
    row[at + 11] === a.mtimeNsec &&
    row[at + 1] === a.nlink &&
    row[at + 2] === a.uid &&
    row[at + 3] === a.gid &&
    row[at + 4] === a.rdev &&
    row[at + 6] === a.blocks &&
    row[at + 7] === a.blockSizeBytes &&
    row[at + 14] === a.btimeSec &&
    row[at + 15] === a.btimeNsec
  )
}
