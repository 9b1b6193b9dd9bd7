/**
 * What a PROPFIND asks for, and the rendering of one row of its answer.
 *
 * Owns: the three kinds of question, the split into found and not found, and the compact form for Windows, which drops a
 * folder's listing past a million bytes: it gets what its Explorer shows and nothing else.
 */
import type { PropertyName } from '../../index/property-store.ts'
import { isDirectory } from '../../vfs/contract.ts'
import { httpDate, isoDate } from './dates.ts'
import type { Exchange } from './exchange.ts'
import { allLive, createdSec, isLive, QUOTA_NAMES, type Resource, readLive } from './live-properties.ts'
import { lockDiscovery } from './lock-xml.ts'
import { Refusal } from './status.ts'
import { WIN32_NAMESPACE, win32Value } from './win32.ts'
import { childElements, isDav, readXml, type XmlElement } from './xml-read.ts'
import { emptyElement, escapeText } from './xml-write.ts'

export type Question =
  | { readonly kind: 'all'; readonly include: readonly PropertyName[] }
  | { readonly kind: 'names' }
  | { readonly kind: 'some'; readonly names: readonly PropertyName[] }
  | { readonly kind: 'compact' }

/** The start of an answer: the prefixes that rows use. */
export const MULTISTATUS_OPEN = `<D:multistatus xmlns:D="DAV:" xmlns:Z="${WIN32_NAMESPACE}">`
export const MULTISTATUS_CLOSE = '</D:multistatus>'

/** Reads the body. An empty one asks for everything. */
export function readQuestion(body: Buffer, fromWindows: boolean): Question {
  if (body.length === 0) return fromWindows ? { kind: 'compact' } : { kind: 'all', include: [] }
  const root = readXml(body)
  if (!isDav(root, 'propfind')) throw new Refusal(400, 'the body is no propfind')
  const children = childElements(root).filter(child => child.namespace === 'DAV:')
  const kinds = children.filter(child => ['allprop', 'propname', 'prop'].includes(child.local))
  if (kinds.length !== 1) throw new Refusal(400, 'the propfind asks for none, or more than one, of allprop, propname, prop')
  switch (kinds[0]!.local) {
    case 'allprop':
      return { kind: 'all', include: children.filter(child => child.local === 'include').flatMap(names) }
    case 'propname':
      return { kind: 'names' }
    default:
      return { kind: 'some', names: names(kinds[0]!) }
  }
}

export function asksForQuota(question: Question): boolean {
  const asked = question.kind === 'some' ? question.names : question.kind === 'all' ? question.include : []
  return question.kind === 'names' || asked.some(name => QUOTA_NAMES.has(name))
}

/** One response element. */
export function renderRow(x: Exchange, resource: Resource, question: Question): string {
  const href = `<D:response><D:href>${escapeText(resource.href)}</D:href>`
  switch (question.kind) {
    case 'compact':
      return `${href}${propstat(compact(x, resource), 200)}</D:response>`
    case 'names':
      return `${href}${propstat(propertyNames(x, resource), 200)}</D:response>`
    case 'all': {
      const missing: PropertyName[] = []
      const found = allProperties(x, resource) + select(x, resource, question.include, missing, new Set(allLive(resource)))
      return `${href}${propstat(found, 200)}${notFound(missing)}</D:response>`
    }
    case 'some': {
      const missing: PropertyName[] = []
      const found = select(x, resource, question.names, missing, new Set())
      const hasFound = found !== '' || missing.length === 0
      return `${href}${hasFound ? propstat(found, 200) : ''}${notFound(missing)}</D:response>`
    }
  }
}

function allProperties(x: Exchange, resource: Resource): string {
  let found = ''
  for (const name of allLive(resource)) {
    const value = readLive(x, resource, name)
    if (value !== undefined) found += liveElement(name, value)
  }
  for (const [name, value] of resource.stored) if (name.startsWith('{')) found += value
  return found
}

/** The elements of the names that are there; the others are noted in `missing`. */
function select(
  x: Exchange,
  resource: Resource,
  asked: readonly PropertyName[],
  missing: PropertyName[],
  already: ReadonlySet<PropertyName>,
): string {
  let found = ''
  for (const name of asked) {
    if (already.has(name)) continue
    const live = isLive(name)
    const value = live ? readLive(x, resource, name) : resource.stored.get(name)
    if (value === undefined) missing.push(name)
    else found += live ? liveElement(name, value) : value
  }
  return found
}

function propertyNames(x: Exchange, resource: Resource): string {
  let found = ''
  for (const name of [...allLive(resource), ...QUOTA_NAMES]) {
    if (readLive(x, resource, name) !== undefined) found += liveElement(name, '')
  }
  for (const name of resource.stored.keys()) if (name.startsWith('{')) found += nameElement(name)
  return found
}

function compact(x: Exchange, r: Resource): string {
  const a = r.attributes
  const kind = isDirectory(a.mode)
    ? '<D:resourcetype><D:collection/></D:resourcetype>'
    : `<D:resourcetype/><D:getcontentlength>${a.sizeBytes}</D:getcontentlength>`
  const locks = x.service.locks.covering(r.lockKey)
  const discovery = locks.length === 0 ? '' : `<D:lockdiscovery>${lockDiscovery(x, locks)}</D:lockdiscovery>`
  const bits = r.stored.has('win32:attributes') || !(a.mode & 0o200)
  const attributes = bits ? `<Z:Win32FileAttributes>${win32Value(a, r.stored)}</Z:Win32FileAttributes>` : ''
  return (
    `<D:creationdate>${isoDate(createdSec(r))}</D:creationdate><D:getlastmodified>${httpDate(a.mtimeSec)}</D:getlastmodified>` +
    `${kind}${attributes}${discovery}`
  )
}

function liveElement(name: PropertyName, value: string): string {
  const [namespace, local] = split(name)
  if (namespace === 'DAV:') return value === '' ? `<D:${local}/>` : `<D:${local}>${value}</D:${local}>`
  if (namespace === WIN32_NAMESPACE) return value === '' ? `<Z:${local}/>` : `<Z:${local}>${value}</Z:${local}>`
  return value === '' ? emptyElement(namespace, local) : `<A:${local} xmlns:A="${namespace}">${value}</A:${local}>`
}

export function nameElement(name: PropertyName): string {
  return emptyElement(...split(name))
}

export function propstat(content: string, status: number, extra = ''): string {
  const prop = content === '' ? '<D:prop/>' : `<D:prop>${content}</D:prop>`
  return `<D:propstat>${prop}<D:status>${statusLine(status)}</D:status>${extra}</D:propstat>`
}

const REASONS: Readonly<Record<number, string>> = {
  200: 'OK',
  403: 'Forbidden',
  404: 'Not Found',
  409: 'Conflict',
  423: 'Locked',
  424: 'Failed Dependency',
  507: 'Insufficient Storage',
}

export function statusLine(status: number): string {
  return `HTTP/1.1 ${status} ${REASONS[status] ?? 'Failed'}`
}

function notFound(missing: readonly PropertyName[]): string {
  return missing.length === 0 ? '' : propstat(missing.map(nameElement).join(''), 404)
}

export function split(name: PropertyName): [namespace: string, local: string] {
  const end = name.lastIndexOf('}')
  return [name.slice(1, end), name.slice(end + 1)]
}

export function propertyName(element: XmlElement): PropertyName {
  return `{${element.namespace}}${element.local}`
}

function names(element: XmlElement): PropertyName[] {
  return [...new Set(childElements(element).map(propertyName))]
}
