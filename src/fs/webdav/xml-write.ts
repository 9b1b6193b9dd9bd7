/**
 * XML that we answer.
 *
 * Owns: escaping, and elements of clients written out again so that they mean the same anywhere. Must stay true: every
 * DAV: element of ours has the prefix "D:", which weak clients look for literally; what a client stored comes back with
 * the prefixes, attributes and characters it had, and with all declarations it needs.
 */
import type { XmlElement } from './xml-read.ts'

export const XML_HEAD = '<?xml version="1.0" encoding="utf-8"?>\n'
export const XML_TYPE = 'application/xml; charset="utf-8"'

const TEXT_SPECIAL = /[&<>\r]/g
const ATTRIBUTE_SPECIAL = /[&<>"\t\n\r]/g
const ESCAPES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  '\t': '&#9;',
  '\n': '&#10;',
  '\r': '&#13;',
}

export function escapeText(text: string): string {
  return text.replace(TEXT_SPECIAL, character => ESCAPES[character]!)
}

export function escapeAttribute(text: string): string {
  return text.replace(ATTRIBUTE_SPECIAL, character => ESCAPES[character]!)
}

/** An element as self-contained XML. `language` is the xml:lang that surrounded it. */
export function writeElement(element: XmlElement, language?: string): string {
  const hasLanguage = element.attributes.some(({ prefix, local }) => prefix === 'xml' && local === 'lang')
  const inherited = language === undefined || hasLanguage ? '' : ` xml:lang="${escapeAttribute(language)}"`
  return write(element, new Map([['', '']]), inherited)
}

/** What is inside an element, as self-contained XML. */
export function writeChildren(element: XmlElement): string {
  return element.children.map(child => (typeof child === 'string' ? escapeText(child) : writeElement(child))).join('')
}

/** An empty element of any namespace, for names without values. */
export function emptyElement(namespace: string, local: string): string {
  if (namespace === 'DAV:') return `<D:${local}/>`
  return namespace === '' ? `<${local} xmlns=""/>` : `<X:${local} xmlns:X="${escapeAttribute(namespace)}"/>`
}

function write(element: XmlElement, scope: ReadonlyMap<string, string>, extra: string): string {
  const declared = new Map(scope)
  let declarations = ''
  const declare = (prefix: string, namespace: string) => {
    if (prefix === 'xml' || declared.get(prefix) === namespace) return
    declared.set(prefix, namespace)
    declarations += prefix === '' ? ` xmlns="${escapeAttribute(namespace)}"` : ` xmlns:${prefix}="${escapeAttribute(namespace)}"`
  }
  for (const [prefix, namespace] of element.declarations) declare(prefix, namespace)
  declare(element.prefix, element.namespace)
  let attributes = ''
  for (const { prefix, local, namespace, value } of element.attributes) {
    if (prefix !== '') declare(prefix, namespace)
    attributes += ` ${prefix === '' ? local : `${prefix}:${local}`}="${escapeAttribute(value)}"`
  }
  const name = element.prefix === '' ? element.local : `${element.prefix}:${element.local}`
  const start = `<${name}${declarations}${attributes}${extra}`
  if (element.children.length === 0) return `${start}/>`
  const content = element.children.map(child => (typeof child === 'string' ? escapeText(child) : write(child, declared, ''))).join('')
  return `${start}>${content}</${name}>`
}
