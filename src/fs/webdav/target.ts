/**
 * Paths on the wire: request targets, Destination headers, tags of the If header, and the hrefs we answer.
 *
 * Owns: the one way from percent-encoded text to names. Must stay true: what comes out has no empty name, no "." or "..",
 * no "/", NUL, raw control character or backslash in any encoding, and no name over 255 bytes; everything else is refused
 * with 400. `parsePath(hrefOf(path)).path` is `path`.
 */
import type { Name } from '../../vfs/contract.ts'
import { type NameStyle, nameOfText, textOfName, utf8Text } from './names.ts'
import { Refusal } from './status.ts'

const NAME_LIMIT_BYTES = 255
/** More than any client makes, and it bounds the work of a request. */
const SEGMENT_LIMIT = 512

export interface Target {
  readonly path: readonly Name[]
  /** The path ended in "/": a folder is meant. */
  readonly slash: boolean
  /** What follows "?", undecoded; '' when nothing does. */
  readonly query: string
}

/** Reads a path (origin-form), with a query or without. */
export function parsePath(raw: string): Target {
  if (!raw.startsWith('/')) throw new Refusal(400, 'the path does not begin with "/"')
  if (raw.includes('#')) throw new Refusal(400, 'the path has a raw "#"')
  const queryAt = raw.indexOf('?')
  const path = queryAt < 0 ? raw : raw.slice(0, queryAt)
  const names: Name[] = []
  for (const segment of path.split('/')) {
    // Doubled slashes mean one: clients that join paths carelessly send them.
    if (segment !== '') names.push(parseSegment(segment))
  }
  if (names.length > SEGMENT_LIMIT) throw new Refusal(400, 'the path is too deep')
  return { path: names, slash: path.endsWith('/'), query: queryAt < 0 ? '' : raw.slice(queryAt + 1) }
}

/**
 * Reads a request target, or a Destination or tag: a path, or an absolute URL. `authority` is this server as the client
 * calls it (its Host header); another one is answered as undefined.
 */
export function parseReference(raw: string, authority: string | undefined): Target | undefined {
  if (raw.startsWith('/')) return parsePath(raw)
  const match = /^(https?):\/\/([^/?#]*)(.*)$/i.exec(raw)
  if (!match) throw new Refusal(400, 'neither a path nor an http URL')
  const [, scheme, host, rest] = match
  if (host === '') throw new Refusal(400, 'a URL without a host')
  const target = parsePath(rest === '' ? '/' : rest!)
  const port = scheme!.toLowerCase() === 'https' ? '443' : '80'
  return sameAuthority(host!, authority, port) ? target : undefined
}

/** The href of a path, percent-encoded, for a client of that style. Folders end in "/". */
export function hrefOf(path: readonly Name[], collection: boolean, style: NameStyle): string {
  let href = ''
  for (const name of path) href += `/${encodeName(name, style)}`
  return collection || href === '' ? `${href}/` : href
}

/** One name, percent-encoded. */
export function encodeName(name: Name, style: NameStyle): string {
  const text = textOfName(name, style)
  return UNRESERVED.test(text) ? text : encodeURIComponent(text).replace(/[!'()*]/g, encodeReserved)
}

const UNRESERVED = /^[\w.~-]*$/

function encodeReserved(character: string): string {
  return `%${character.charCodeAt(0).toString(16).toUpperCase()}`
}

function parseSegment(segment: string): Name {
  const bytes = percentDecode(segment)
  for (let i = 0; i < bytes.length; i++) {
    const byte = bytes.charCodeAt(i)
    if (byte < 0x20 || byte === 0x7f) throw new Refusal(400, 'a control character in the path')
    if (byte === 0x2f || byte === 0x5c) throw new Refusal(400, 'an encoded slash or a backslash in the path')
  }
  // What isn't UTF-8 can only be the bytes themselves.
  const text = utf8Text(bytes)
  const name = text === undefined ? bytes : nameOfText(text)
  if (name === undefined || name === '.' || name === '..') throw new Refusal(400, 'no usable name in the path')
  if (name.length > NAME_LIMIT_BYTES) throw new Refusal(400, 'a name of more than 255 bytes')
  return name
}

/** Bytes as one char each. */
function percentDecode(text: string): string {
  if (!text.includes('%')) return text
  let bytes = ''
  for (let i = 0; i < text.length; i++) {
    if (text[i] !== '%') {
      bytes += text[i]
      continue
    }
    const digits = text.slice(i + 1, i + 3)
    if (!/^[0-9a-f]{2}$/i.test(digits)) throw new Refusal(400, 'a "%" without two hexadecimal digits')
    bytes += String.fromCharCode(Number.parseInt(digits, 16))
    i += 2
  }
  return bytes
}

function sameAuthority(host: string, authority: string | undefined, defaultPort: string): boolean {
  if (authority === undefined) return false
  return withPort(host, defaultPort) === withPort(authority, defaultPort)
}

function withPort(authority: string, port: string): string {
  // User information before "@" is no part of whom we are.
  const host = authority.slice(authority.lastIndexOf('@') + 1).toLowerCase()
  return /:\d+$/.test(host) ? host : `${host.replace(/:$/, '')}:${port}`
}
