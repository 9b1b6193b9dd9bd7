/**
 * XML bodies of requests, as small trees. The one place that meets saxes.
 *
 * Owns: the bounds. Must stay true: no document type and so no entities of its own are accepted (nothing is fetched,
 * nothing expands); nesting and the number of nodes are bounded before memory is spent; namespaces are resolved, so that
 * nobody above looks at prefixes.
 */
import { SaxesParser, type SaxesTagNS } from 'saxes'
import { Refusal } from './status.ts'

const DEPTH_LIMIT = 100
/** Elements, attributes, comments and the like. */
const NODE_LIMIT = 4000

export interface XmlAttribute {
  readonly prefix: string
  readonly local: string
  readonly namespace: string
  readonly value: string
}

export interface XmlElement {
  readonly prefix: string
  readonly local: string
  readonly namespace: string
  /** Without namespace declarations. */
  readonly attributes: readonly XmlAttribute[]
  /** Declarations made on this element: prefix ('' for the default) to namespace. */
  readonly declarations: ReadonlyMap<string, string>
  readonly children: (XmlElement | string)[]
}

const XMLNS = 'http://www.w3.org/2000/xmlns/'

/** Reads a whole document; throws a 400 for what is malformed, has a document type, or passes the bounds. */
export function readXml(body: Buffer): XmlElement {
  const parser = new SaxesParser({ xmlns: true, position: false, forceXMLVersion: true, defaultXMLVersion: '1.0' })
  const open: XmlElement[] = []
  let root: XmlElement | undefined
  let nodes = 0
  const count = () => {
    if (++nodes > NODE_LIMIT) throw new Refusal(400, 'the XML body has too many nodes')
  }
  const text = (characters: string) => {
    open.at(-1)?.children.push(characters)
  }
  parser.on('error', error => {
    throw new Refusal(400, `the XML body is malformed: ${error.message.slice(0, 200)}`)
  })
  parser.on('doctype', () => {
    throw new Refusal(400, 'a document type is not accepted', { condition: 'no-external-entities' })
  })
  parser.on('attribute', count)
  parser.on('comment', count)
  parser.on('processinginstruction', count)
  parser.on('text', text)
  parser.on('cdata', characters => {
    count()
    text(characters)
  })
  parser.on('opentagstart', () => {
    count()
    if (open.length >= DEPTH_LIMIT) throw new Refusal(400, 'the XML body is nested too deeply')
  })
  parser.on('opentag', tag => {
    const element = elementOf(tag)
    open.at(-1)?.children.push(element)
    root ??= element
    open.push(element)
  })
  parser.on('closetag', () => {
    open.pop()
  })
  parser.write(decode(body)).close()
  if (!root) throw new Refusal(400, 'the XML body is empty')
  return root
}

/** The child elements, all or those of the DAV: namespace with this name. */
export function childElements(element: XmlElement, davName?: string): XmlElement[] {
  const elements = element.children.filter(child => typeof child !== 'string')
  return davName === undefined ? elements : elements.filter(child => isDav(child, davName))
}

/** The text below an element, however nested. */
export function textContent(element: XmlElement): string {
  return element.children.map(child => (typeof child === 'string' ? child : textContent(child))).join('')
}

export function isDav(element: XmlElement, local: string): boolean {
  return element.namespace === 'DAV:' && element.local === local
}

/** The value of xml:lang on this element. */
export function languageOf(element: XmlElement): string | undefined {
  return element.attributes.find(({ prefix, local }) => prefix === 'xml' && local === 'lang')?.value
}

function elementOf(tag: SaxesTagNS): XmlElement {
  const attributes = Object.values(tag.attributes)
    .filter(({ uri, name }) => uri !== XMLNS && name !== 'xmlns')
    .map(({ prefix, local, uri, value }) => ({ prefix, local, namespace: uri, value }))
  const declarations = new Map(Object.entries(tag.ns))
  return { prefix: tag.prefix, local: tag.local, namespace: tag.uri, attributes, declarations, children: [] }
}

function decode(body: Buffer): string {
  const utf16 = body.length >= 2 && (body.readUInt16BE(0) === 0xfeff || body.readUInt16BE(0) === 0xfffe)
  const encoding = !utf16 ? 'utf-8' : body[0] === 0xff ? 'utf-16le' : 'utf-16be'
  try {
    return new TextDecoder(encoding, { fatal: true }).decode(body)
  } catch {
    throw new Refusal(400, `the XML body is not ${encoding.toUpperCase()}`)
  }
}
