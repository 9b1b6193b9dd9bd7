/**
 * File names, which are bytes, as text that every client can show, and back.
 *
 * Owns: the escape. Must stay true: `nameOfText(textOfName(n, ...)) === n` for every name, whatever its bytes.
 *
 * | what can't be shown                                              | for whom | becomes                                  |
 * |------------------------------------------------------------------|----------|------------------------------------------|
 * | a byte that is not part of valid UTF-8                           | all      | U+F000 + byte (U+F080 to U+F0FF)         |
 * | control characters (1 to 1F, 7F) and the backslash               | all      | U+F000 + character                       |
 * | a character of U+F001 to U+F0FF itself, U+FFFE, U+FFFF           | all      | each of its bytes, as U+F000 + byte      |
 * | < > : " | ? *                                                    | Windows  | U+F000 + character                       |
 * | a space or dot at the end; the first letter of CON, NUL, LPT1... | Windows  | U+F000 + character                       |
 *
 * This is the private-use range that Windows' own Unix subsystem and Cygwin use for the same purpose.
 */
import type { Name } from '../../vfs/contract.ts'

/** For whom a name is shown. */
export type NameStyle = 'plain' | 'windows'

const PLAIN_ASCII = /^[\x20-\x5b\x5d-\x7e]*$/
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const NEEDS_ESCAPE = /[\u0001-\u001f\u007f\\\uf001-\uf0ff\ufffe\uffff]/
const WINDOWS_NEEDS_ESCAPE = /[<>:"|?*]|[ .]$|^(?:con|prn|aux|nul|com[0-9\u00b9\u00b2\u00b3]|lpt[0-9\u00b9\u00b2\u00b3])(?:\.|$)/i
const WINDOWS_RESERVED = /^(?:con|prn|aux|nul|com[0-9\u00b9\u00b2\u00b3]|lpt[0-9\u00b9\u00b2\u00b3])(?:\.|$)/i
const WINDOWS_FORBIDDEN = /[<>:"|?*]/g
const ESCAPED = /[\uf001-\uf02e\uf030-\uf0ff]/
const ESCAPE_BASE = 0xf000

const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** The name as text for a client of that style. */
export function textOfName(name: Name, style: NameStyle): string {
  const text = PLAIN_ASCII.test(name) ? name : escapeForAll(name)
  return style === 'windows' && WINDOWS_NEEDS_ESCAPE.test(text) ? escapeForWindows(text) : text
}

/** The name that a text means; undefined when the text is no text (lone surrogates). */
export function nameOfText(text: string): Name | undefined {
  if (!text.isWellFormed()) return undefined
  if (!ESCAPED.test(text)) return Buffer.from(text, 'utf8').toString('latin1')
  let name = ''
  for (const character of text) {
    name += ESCAPED.test(character)
      ? String.fromCharCode(character.charCodeAt(0) - ESCAPE_BASE)
      : Buffer.from(character, 'utf8').toString('latin1')
  }
  return name
}

/** The bytes of a name as text when they are valid UTF-8. */
export function utf8Text(name: Name): string | undefined {
  try {
    return strictUtf8.decode(Buffer.from(name, 'latin1'))
  } catch {
    return undefined
  }
}

/** Other spellings of the same text: composed and decomposed. A file system keeps one, a client may ask for the other. */
export function otherSpellings(name: Name): Name[] {
  if (/^[\0-\x7f]*$/.test(name)) return []
  const text = utf8Text(name)
  if (text === undefined) return []
  const spellings = new Set([text.normalize('NFC'), text.normalize('NFD')])
  spellings.delete(text)
  return [...spellings].map(other => Buffer.from(other, 'utf8').toString('latin1'))
}

function escapeForAll(name: Name): string {
  const whole = utf8Text(name)
  if (whole !== undefined && !NEEDS_ESCAPE.test(whole)) return whole
  let text = ''
  for (let i = 0; i < name.length; ) {
    const length = sequenceLength(name, i)
    const character = length === 0 ? undefined : utf8Text(name.slice(i, i + length))
    if (character === undefined) text += privateUse(name.charCodeAt(i++))
    else {
      text += !NEEDS_ESCAPE.test(character)
        ? character
        : [...name.slice(i, i + length)].map(byte => privateUse(byte.charCodeAt(0))).join('')
      i += length
    }
  }
  return text
}

function escapeForWindows(text: string): string {
  let escaped = text.replace(WINDOWS_FORBIDDEN, character => privateUse(character.charCodeAt(0)))
  if (WINDOWS_RESERVED.test(escaped)) escaped = privateUse(escaped.charCodeAt(0)) + escaped.slice(1)
  const last = escaped.at(-1)
  if (last === ' ' || last === '.') escaped = escaped.slice(0, -1) + privateUse(last.charCodeAt(0))
  return escaped
}

function privateUse(byte: number): string {
  return String.fromCharCode(ESCAPE_BASE + byte)
}

/** How many bytes the first of them asks for; 0 when it can't begin a character. */
function sequenceLength(name: Name, at: number): number {
  const byte = name.charCodeAt(at)
  if (byte < 0x80) return 1
  if (byte >= 0xc2 && byte < 0xe0) return 2
  if (byte >= 0xe0 && byte < 0xf0) return 3
  return byte >= 0xf0 && byte < 0xf5 ? 4 : 0
}
