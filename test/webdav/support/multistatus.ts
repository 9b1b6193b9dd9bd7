/** Reads 207 answers for tests: strictly (what isn't well-formed throws), and without the server's own reader. */
import { SaxesParser } from 'saxes'

export interface Property {
  readonly status: number
  /** Text below the element. */
  readonly text: string
  /** Names of elements right inside, as `{namespace}local`. */
  readonly children: readonly string[]
}

export interface Row {
  readonly href: string
  /** Of a response without propstat. */
  readonly status: number | undefined
  readonly properties: ReadonlyMap<string, Property>
}

interface Element {
  readonly name: string
  readonly prefix: string
  readonly children: Element[]
  text: string
}

export function parseXml(text: string): Element {
  const parser = new SaxesParser({ xmlns: true })
  const root: Element = { name: '', prefix: '', children: [], text: '' }
  const open = [root]
  parser.on('error', error => {
    throw error
  })
  parser.on('opentag', tag => {
    if (tag.uri === 'DAV:' && tag.prefix !== 'D' && tag.local === 'multistatus')
      throw new Error('a DAV element of the server without the prefix D:')
    const element: Element = { name: `{${tag.uri}}${tag.local}`, prefix: tag.prefix, children: [], text: '' }
    open.at(-1)!.children.push(element)
    open.push(element)
  })
  parser.on('text', characters => {
    for (const element of open) element.text += characters
  })
  parser.on('cdata', characters => {
    for (const element of open) element.text += characters
  })
  parser.on('closetag', () => {
    open.pop()
  })
  parser.write(text).close()
  return root.children[0]!
}

export function parseMultistatus(text: string): Row[] {
  const root = parseXml(text)
  if (root.name !== '{DAV:}multistatus') throw new Error(`no multistatus: ${root.name}`)
  return root.children.filter(child => child.name === '{DAV:}response').map(readRow)
}

/** The properties of the only row, or of the row with that href. */
export function propertiesOf(text: string, href?: string): ReadonlyMap<string, Property> {
  const rows = parseMultistatus(text)
  const row = href === undefined ? rows[0] : rows.find(candidate => candidate.href === href)
  if (!row) throw new Error(`no row for ${href}`)
  return row.properties
}

function readRow(response: Element): Row {
  const properties = new Map<string, Property>()
  let status: number | undefined
  for (const child of response.children) {
    if (child.name === '{DAV:}status') status = readStatus(child.text)
    if (child.name !== '{DAV:}propstat') continue
    const code = readStatus(only(child, '{DAV:}status').text)
    for (const property of only(child, '{DAV:}prop').children) {
      if (properties.has(property.name)) throw new Error(`${property.name} comes twice`)
      properties.set(property.name, { status: code, text: property.text, children: property.children.map(({ name }) => name) })
    }
  }
  return { href: only(response, '{DAV:}href').text, status, properties }
}

function only(element: Element, name: string): Element {
  const found = element.children.filter(child => child.name === name)
  if (found.length !== 1) throw new Error(`${found.length} of ${name} in ${element.name}`)
  return found[0]!
}

function readStatus(line: string): number {
  return Number(/^HTTP\/1\.1 (\d{3}) /.exec(line)?.[1])
}
