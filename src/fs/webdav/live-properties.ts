/**
 * Properties that the tree itself has: size, dates, kind, locks, space.
 *
 * Owns: the table from property name to how it is read. Must stay true: a property that doesn't apply (the length of a
 * folder) is absent, never empty; getetag is what GET sends as ETag.
 */
import type { Properties, PropertyName } from '../../index/property-store.ts'
import { type Attributes, isDirectory, type Name } from '../../vfs/contract.ts'
import { entityTag } from './conditions.ts'
import { contentType } from './content-types.ts'
import { httpDate, isoDate } from './dates.ts'
import type { Exchange } from './exchange.ts'
import { lockDiscovery, SUPPORTED_LOCK } from './lock-xml.ts'
import type { PathKey } from './locks.ts'
import { textOfName } from './names.ts'
import type { Quota } from './quota.ts'
import { WIN32_NAMESPACE, win32Value } from './win32.ts'
import { escapeText } from './xml-write.ts'

/** One row of a listing. */
export interface Resource {
  readonly attributes: Attributes
  /** undefined: the root. */
  readonly name: Name | undefined
  readonly href: string
  readonly lockKey: PathKey
  /** What clients stored with it. */
  readonly stored: Properties
  /** Read only when it was asked for. */
  readonly quota: Quota | undefined
}

/** The property's content as XML; undefined when the resource has no such property. */
type Reader = (x: Exchange, resource: Resource) => string | undefined

export const APACHE_NAMESPACE = 'http://apache.org/dav/props/'

const dav = (local: string): PropertyName => `{DAV:}${local}`
const win32 = (local: string): PropertyName => `{${WIN32_NAMESPACE}}${local}`

export const EXECUTABLE: PropertyName = `{${APACHE_NAMESPACE}}executable`

const READERS: ReadonlyMap<PropertyName, Reader> = new Map<PropertyName, Reader>([
  [dav('resourcetype'), (_x, r) => (isDirectory(r.attributes.mode) ? '<D:collection/>' : '')],
  [dav('displayname'), (x, r) => (r.name === undefined ? undefined : escapeText(textOfName(r.name, x.style)))],
  [dav('getcontentlength'), (_x, r) => ofFile(r, () => String(r.attributes.sizeBytes))],
  [dav('getcontenttype'), (_x, r) => ofFile(r, () => contentType(r.name ?? ''))],
  [dav('getetag'), (_x, r) => entityTag(r.attributes)],
  [dav('getlastmodified'), (_x, r) => httpDate(r.attributes.mtimeSec)],
  [dav('creationdate'), (_x, r) => isoDate(createdSec(r))],
  [dav('supportedlock'), () => SUPPORTED_LOCK],
  [dav('lockdiscovery'), (x, r) => lockDiscovery(x, x.service.locks.covering(r.lockKey))],
  [dav('quota-available-bytes'), (_x, r) => r.quota && String(r.quota.availableBytes)],
  [dav('quota-used-bytes'), (_x, r) => r.quota && String(r.quota.usedBytes)],
  [EXECUTABLE, (_x, r) => ofFile(r, () => (r.attributes.mode & 0o100 ? 'T' : 'F'))],
  [win32('Win32CreationTime'), (_x, r) => httpDate(createdSec(r))],
  [win32('Win32LastModifiedTime'), (_x, r) => httpDate(r.attributes.mtimeSec)],
  [win32('Win32LastAccessTime'), (_x, r) => httpDate(r.attributes.atimeSec)],
  [win32('Win32FileAttributes'), (_x, r) => win32Value(r.attributes, r.stored)],
])

/** Named by clients that want to know the space; costs a statfs, so it is no part of "all". */
export const QUOTA_NAMES: ReadonlySet<PropertyName> = new Set([dav('quota-available-bytes'), dav('quota-used-bytes')])

/** What "all properties" means here. Windows' own come along where a client of that kind wrote them. */
const ALL = [...READERS.keys()].filter(name => !QUOTA_NAMES.has(name))
const ALL_BUT_WIN32 = ALL.filter(name => !name.startsWith(`{${WIN32_NAMESPACE}}`))

export function isLive(name: PropertyName): boolean {
  return READERS.has(name)
}

export function readLive(x: Exchange, resource: Resource, name: PropertyName): string | undefined {
  return READERS.get(name)?.(x, resource)
}

export function allLive(resource: Resource): readonly PropertyName[] {
  for (const name of resource.stored.keys()) if (!name.startsWith('{')) return ALL
  return ALL_BUT_WIN32
}

/** When it was made: as a client said, else as the volume knows, else no later than it was changed. */
export function createdSec(r: Resource): number {
  const stored = r.stored.get('win32:created')
  if (stored !== undefined) return Number(stored)
  const a = r.attributes
  return a.btimeSec !== 0 ? a.btimeSec : Math.min(a.mtimeSec, a.ctimeSec)
}

function ofFile(r: Resource, read: () => string): string | undefined {
  return isDirectory(r.attributes.mode) ? undefined : read()
}
