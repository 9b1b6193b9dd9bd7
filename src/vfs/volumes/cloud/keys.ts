/**
 * Between names of files (bytes) and parts of object keys (Unicode text).
 *
 * Owns: the one spelling of each. Must stay true: `nameOfSegment(segmentOfName(name))` is the name, for every name; a key part that
 * no name is spelled as is answered with undefined and can't be shown.
 *
 * A name that is UTF-8 is spelled as it is. A byte that isn't part of UTF-8 is spelled as rclone does it: U+201B and two hex
 * digits. A U+201B of the name itself is doubled where it could be read as the beginning of that.
 */
import { FsError } from '../../../errors.ts'
import type { Name } from '../../contract.ts'

const QUOTE = '\u201b'
const ASCII = /^[\0-\x7f]*$/
const ESCAPED = /\u201b(\u201b|[0-9A-F]{2})/g
const NAME_LIMIT_BYTES = 255
const KEY_LIMIT_BYTES = 1024

/** The part of a key that a name is spelled as. */
export function segmentOfName(name: Name): string {
  if (ASCII.test(name)) return name
  const bytes = Buffer.from(name, 'latin1')
  const text = bytes.toString('utf8')
  if (!text.includes('\ufffd') && !text.includes(QUOTE)) return text
  let segment = ''
  for (let at = 0; at < bytes.length; ) {
    const length = characterLength(bytes, at)
    if (length === 0) segment += QUOTE + bytes[at]!.toString(16).toUpperCase().padStart(2, '0')
    else segment += bytes.toString('utf8', at, at + length)
    at += Math.max(1, length)
  }
  return text.includes(QUOTE) ? withQuotesDoubled(bytes, segment) : segment
}

/** The name that a part of a key shows as; undefined: it can't be one. */
export function nameOfSegment(segment: string): Name | undefined {
  if (segment === '' || segment === '.' || segment === '..' || segment.includes('\0')) return undefined
  if (ASCII.test(segment)) return segment.length > NAME_LIMIT_BYTES ? undefined : segment
  if (segment.includes('\0') || !segment.isWellFormed()) return undefined
  const name = segment.includes(QUOTE) ? unescaped(segment) : Buffer.from(segment, 'utf8').toString('latin1')
  if (name.length > NAME_LIMIT_BYTES || name.includes('/') || name.includes('\0')) return undefined
  return segmentOfName(name) === segment ? name : undefined
}

/** Throws for what is no name of a file. */
export function checkedName(name: Name): Name {
  if (name.length > NAME_LIMIT_BYTES) throw new FsError('name-too-long')
  if (name === '' || name === '.' || name === '..' || name.includes('/') || name.includes('\0')) throw new FsError('invalid')
  return name
}

/** Throws 'name-too-long' for a key that no store takes. */
export function checkedKey(key: string): string {
  if (key.length * 3 > KEY_LIMIT_BYTES && Buffer.byteLength(key) > KEY_LIMIT_BYTES)
    throw new FsError('name-too-long', 'the path is longer than the bucket takes', { operation: 'name' })
  return key
}

/** How many bytes the UTF-8 character at `at` has; 0: none. */
function characterLength(bytes: Buffer, at: number): number {
  const first = bytes[at]!
  if (first < 0x80) return 1
  const length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : first >= 0xc2 ? 2 : 0
  if (length === 0 || at + length > bytes.length) return 0
  const text = bytes.toString('utf8', at, at + length)
  return text.includes('\ufffd') && Buffer.compare(Buffer.from(text), bytes.subarray(at, at + length)) !== 0 ? 0 : length
}

function withQuotesDoubled(bytes: Buffer, plain: string): string {
  let segment = ''
  for (let at = 0; at < bytes.length; ) {
    const length = characterLength(bytes, at)
    if (length === 0) segment += QUOTE + bytes[at]!.toString(16).toUpperCase().padStart(2, '0')
    else {
      const character = bytes.toString('utf8', at, at + length)
      segment += character === QUOTE && mayBegin(bytes, at + length) ? QUOTE + QUOTE : character
    }
    at += Math.max(1, length)
  }
  return segment.length < plain.length ? plain : segment
}

/** What follows a U+201B could be taken for the rest of an escape: two hex digits, another one, or an escaped byte. */
function mayBegin(bytes: Buffer, at: number): boolean {
  if (at >= bytes.length) return false
  const rest = bytes.toString('latin1', at, at + 3)
  return /^[0-9A-F]{2}/.test(rest) || rest === '\xe2\x80\x9b' || characterLength(bytes, at) === 0
}

function unescaped(segment: string): Name {
  let name = ''
  let from = 0
  for (const match of segment.matchAll(ESCAPED)) {
    name += Buffer.from(segment.slice(from, match.index), 'utf8').toString('latin1')
    name += match[1] === QUOTE ? '\xe2\x80\x9b' : String.fromCharCode(Number.parseInt(match[1]!, 16))
    from = match.index + match[0].length
  }
  return name + Buffer.from(segment.slice(from), 'utf8').toString('latin1')
}
