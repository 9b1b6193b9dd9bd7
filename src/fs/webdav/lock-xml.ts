/**
 * Locks as XML: lockdiscovery and supportedlock, and the body of LOCK.
 *
 * Owns: their form. Must stay true: Windows looks for a literal `<D:activelock>`; timeouts are whole seconds; the owner's
 * element comes back as the client gave it. A LOCK body that no strict reader takes is read for the two words that count:
 * some versions of Windows send such, and hang when LOCK is refused.
 */
import type { Exchange } from './exchange.ts'
import type { Lock } from './locks.ts'
import { Refusal } from './status.ts'
import { childElements, isDav, readXml } from './xml-read.ts'
import { escapeText, writeChildren } from './xml-write.ts'

const OWNER_LIMIT_BYTES = 8192

const lockEntry = (scope: string) =>
  `<D:lockentry><D:lockscope><D:${scope}/></D:lockscope><D:locktype><D:write/></D:locktype></D:lockentry>`

export const SUPPORTED_LOCK = lockEntry('exclusive') + lockEntry('shared')

/** The active locks, as the content of lockdiscovery. */
export function lockDiscovery(x: Exchange, locks: readonly Lock[]): string {
  return locks.map(lock => activeLock(x, lock)).join('')
}

function activeLock(x: Exchange, lock: Lock): string {
  const owner = lock.owner === undefined ? '' : `<D:owner>${lock.owner}</D:owner>`
  return (
    `<D:activelock><D:locktype><D:write/></D:locktype><D:lockscope><D:${lock.exclusive ? 'exclusive' : 'shared'}/></D:lockscope>` +
    `<D:depth>${lock.infinite ? 'infinity' : '0'}</D:depth>${owner}<D:timeout>Second-${x.service.locks.secondsLeft(lock)}</D:timeout>` +
    `<D:locktoken><D:href>${escapeText(lock.token)}</D:href></D:locktoken>` +
    `<D:lockroot><D:href>${escapeText(x.href(lock.path, lock.collection))}</D:href></D:lockroot></D:activelock>`
  )
}

export interface LockInfo {
  readonly exclusive: boolean
  readonly owner: string | undefined
}

/** Reads the body of a LOCK that asks for a new lock. */
export function readLockInfo(body: Buffer): LockInfo {
  let info: LockInfo
  try {
    info = readStrictly(body)
  } catch (error) {
    if (!(error instanceof Refusal) || error.details.condition) throw error
    info = readTolerantly(body.toString('utf8')) ?? fail(error)
  }
  if (info.owner !== undefined && Buffer.byteLength(info.owner) > OWNER_LIMIT_BYTES) throw new Refusal(413, 'the lock owner is too long')
  return info
}

function readStrictly(body: Buffer): LockInfo {
  const root = readXml(body)
  if (!isDav(root, 'lockinfo')) throw new Refusal(400, 'the body is no lockinfo')
  const scope = childElements(root, 'lockscope').flatMap(element => childElements(element))
  const type = childElements(root, 'locktype').flatMap(element => childElements(element))
  if (scope.length !== 1 || type.length !== 1 || !isDav(type[0]!, 'write')) throw new Refusal(400, 'the lockinfo asks for no known lock')
  if (!isDav(scope[0]!, 'exclusive') && !isDav(scope[0]!, 'shared')) throw new Refusal(400, 'the lockinfo asks for no known scope')
  const owner = childElements(root, 'owner')[0]
  return { exclusive: isDav(scope[0]!, 'exclusive'), owner: owner && writeChildren(owner) }
}

function readTolerantly(text: string): LockInfo | undefined {
  if (text.includes('<!') || !/<(?:[\w.-]{1,64}:)?lockinfo[\s>]/.test(text)) return undefined
  const scope = /<(?:[\w.-]{1,64}:)?(exclusive|shared)\s*\/?>/.exec(text)?.[1]
  if (scope === undefined || !/<(?:[\w.-]{1,64}:)?write\s*\/?>/.test(text)) return undefined
  const href = /<(?:[\w.-]{1,64}:)?href>([^<>]{0,1000})</.exec(text)?.[1]
  const owner = href === undefined ? undefined : `<D:href xmlns:D="DAV:">${escapeText(href)}</D:href>`
  return { exclusive: scope === 'exclusive', owner }
}

function fail(error: Refusal): never {
  throw error
}

/** The Timeout header: the first value that is understood, at most `capSec`. */
export function readTimeoutSec(header: string | undefined, capSec: number): number {
  for (const part of (header ?? '').split(',')) {
    const seconds = /^\s*Second-(\d{1,10})\s*$/i.exec(part)?.[1]
    if (seconds !== undefined) return Math.min(Math.max(Number(seconds), 1), capSec)
    if (/^\s*Infinite\s*$/i.test(part)) return capSec
  }
  return capSec
}
