/**
 * Names between the library, which speaks JavaScript strings, and the tree, where a name is bytes.
 *
 * The library makes strings from UTF-8 and puts U+FFFD for each byte that isn't any; what comes back it writes as UTF-8.
 * A name that isn't UTF-8 (macOS has none; Linux and object stores do) would so be lost. Here each such byte b (0x80 to
 * 0xFF) is shown as the private character U+EF00 + b, and read back as the byte. To keep two names from looking the same,
 * characters of that range, and U+FFFD, that a name really holds are shown byte by byte too.
 * Must stay true: `fromText(toText(name)) === name` for every name; U+FFFD in a string from the library stands for bytes
 * that are lost, so it is refused, never guessed.
 */
import { FsError } from '../../errors.ts'
import type { Name } from '../../vfs/contract.ts'

const ESCAPE = 0xef00
const REPLACEMENT = 0xfffd
// biome-ignore lint/suspicious/noControlCharactersInRegex: all of ASCII is meant
const ASCII = /^[\u0000-\u007f]*$/

/** The bytes that name `text` stands for. Throws 'bad-name' where the library could not tell them. */
export function fromText(text: string): Name {
  if (ASCII.test(text)) return text
  let name = ''
  let plainFrom = 0
  const plain = (to: number) => {
    if (to > plainFrom) name += Buffer.from(text.slice(plainFrom, to), 'utf8').toString('latin1')
  }
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i)
    if (unit === REPLACEMENT) throw new FsError('bad-name', 'a name that is not UTF-8')
    if (!isEscape(unit)) continue
    plain(i)
    name += String.fromCharCode(unit - ESCAPE)
    plainFrom = i + 1
  }
  plain(text.length)
  return name
}

/** How the library is told a name or a symlink's target. */
export function toText(name: Name): string {
  if (ASCII.test(name)) return name
  let text = ''
  for (let i = 0; i < name.length; ) {
    const length = sequenceLength(name, i)
    const character = length === 0 ? undefined : decode(name, i, length)
    if (character === undefined || character === REPLACEMENT || isEscape(character)) {
      const end = i + Math.max(length, 1)
      for (; i < end; i++) text += String.fromCharCode(ESCAPE + name.charCodeAt(i))
    } else {
      text += String.fromCodePoint(character)
      i += length
    }
  }
  return text
}

function isEscape(character: number): boolean {
  return character >= ESCAPE + 0x80 && character <= ESCAPE + 0xff
}

/** Bytes of the UTF-8 sequence that begins at `at`; 0 where none does. */
function sequenceLength(name: Name, at: number): number {
  const first = name.charCodeAt(at)
  if (first < 0x80) return 1
  const length = first >= 0xc2 && first <= 0xdf ? 2 : first >= 0xe0 && first <= 0xef ? 3 : first >= 0xf0 && first <= 0xf4 ? 4 : 0
  for (let i = 1; i < length; i++) {
    const byte = name.charCodeAt(at + i) // NaN past the end
    if (!(byte >= 0x80 && byte <= 0xbf)) return 0
  }
  return length
}

/** The character of a sequence; undefined for one that is longer than it need be, a surrogate or past the last. */
function decode(name: Name, at: number, length: number): number | undefined {
  const first = name.charCodeAt(at)
  if (length === 1) return first
  let character = first & (0xff >> (length + 1))
  for (let i = 1; i < length; i++) character = (character << 6) | (name.charCodeAt(at + i) & 0x3f)
  const least = length === 2 ? 0x80 : length === 3 ? 0x800 : 0x10000
  if (character < least || character > 0x10ffff || (character >= 0xd800 && character <= 0xdfff)) return undefined
  return character
}
