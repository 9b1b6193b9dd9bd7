/**
 * LOCK and UNLOCK.
 *
 * Owns: who gets a lock. Must stay true: between the look for conflicts and the taking of the lock nothing else runs; a
 * LOCK of a name that isn't there makes an empty file, so that nobody else takes the name.
 */
import { FsError } from '../../errors.ts'
import { O_CREAT, O_EXCL, O_RDWR } from '../../sys/flags.ts'
import { type Ino, isDirectory, type Name } from '../../vfs/contract.ts'
import { readBody } from './body.ts'
import { isDraftName } from './draft-name.ts'
import type { Exchange } from './exchange.ts'
import { refuseLitter } from './litter.ts'
import { changeAt, checkConditions, checkLocks } from './lock-rules.ts'
import { lockDiscovery, readLockInfo, readTimeoutSec } from './lock-xml.ts'
import { keyOf, type Lock, type LockRequest } from './locks.ts'
import { sendEmpty, sendXml } from './respond.ts'
import { Refusal } from './status.ts'
import type { Place, Resolution } from './tree-walk.ts'

export async function lock(x: Exchange): Promise<void> {
  const depth = x.depth('infinity')
  if (depth === 1) throw new Refusal(400, 'LOCK has no depth of 1')
  const body = await readBody(x)
  const timeoutSec = readTimeoutSec(x.header('timeout'), x.service.limits.lockSec)
  const resolution = await x.walk.resolve(x.target.path)
  await checkConditions(x, resolution)
  if (body.length === 0) return refresh(x, resolution, timeoutSec)
  const info = readLockInfo(body)
  if (resolution.kind === 'nowhere') throw new Refusal(409, 'the folder does not exist')
  const path = resolution.kind === 'found' ? resolution.path : resolution.place.path
  refuseLitter(x, path)
  const ino = resolution.kind === 'found' ? resolution.attributes.ino : await makeEmptyFile(x, resolution.place)
  const collection = resolution.kind === 'found' && isDirectory(resolution.attributes.mode)
  const taken = take(x, { path, ino, collection, ...info, infinite: depth === 'infinity', user: x.user, timeoutSec })
  if (resolution.kind === 'vacant') await x.settled()
  answer(x, taken, resolution.kind === 'found' ? 200 : 201)
}

export async function unlock(x: Exchange): Promise<void> {
  const token = /^\s*<([^<>]+)>\s*$/.exec(x.header('lock-token') ?? '')?.[1]
  if (token === undefined) throw new Refusal(400, 'no Lock-Token header')
  const resolution = await x.walk.resolve(x.target.path)
  const key = keyOf(pathOf(x, resolution))
  const { locks } = x.service
  const found = locks.find(token)
  if (!found || !locks.covering(key).includes(found)) {
    throw new Refusal(409, 'no such lock here', { condition: 'lock-token-matches-request-uri' })
  }
  if (found.user !== x.user) throw new Refusal(403, "another user's lock")
  locks.remove(found)
  sendEmpty(x.response, 204)
}

/** A LOCK without a body: the lock named in the If header gets its time again. */
function refresh(x: Exchange, resolution: Resolution, timeoutSec: number): void {
  const { locks } = x.service
  const tokens = x.submittedTokens()
  if (tokens.size === 0) throw new Refusal(400, 'neither a body nor a lock to refresh')
  const covering = locks.covering(keyOf(pathOf(x, resolution)))
  const mine = covering.filter(candidate => tokens.has(candidate.token) && candidate.user === x.user)
  if (mine.length === 0) throw new Refusal(412, 'no such lock here', { condition: 'lock-token-matches-request-uri' })
  for (const candidate of mine) locks.refresh(candidate, timeoutSec)
  sendXml(x.response, 200, discovery(x, mine))
}

function take(x: Exchange, request: LockRequest): Lock {
  const { locks } = x.service
  const key = keyOf(request.path)
  const others = [...locks.covering(key), ...(request.infinite ? locks.below(key) : [])]
  const conflicts = others.filter(other => request.exclusive || other.exclusive)
  if (conflicts.length > 0) {
    const hrefs = conflicts.slice(0, 100).map(other => x.href(other.path, other.collection))
    throw new Refusal(423, 'locked by somebody else', { condition: 'no-conflicting-lock', hrefs })
  }
  if (x.service.heldByProgram(request.ino)) throw new Refusal(423, 'a program on this machine has locked the file')
  return locks.add(request)
}

async function makeEmptyFile(x: Exchange, place: Place): Promise<Ino> {
  if (x.target.slash) throw new Refusal(409, 'a file has no "/" at its end')
  if (isDraftName(place.name)) throw new Refusal(403, 'the name is reserved')
  checkLocks(x, [changeAt(place, false)])
  try {
    const made = await x.service.vfs.create(x.context, place.parent, place.name, 0o666, O_RDWR | O_CREAT | O_EXCL)
    x.walk.refer(made.entry)
    await x.service.vfs.release(made.handle)
    return made.entry.attributes.ino
  } catch (error) {
    if (!(error instanceof FsError) || error.kind !== 'exists') throw error
  }
  // Made by somebody else a moment ago: then that is what is locked.
  const found = await x.walk.resolve(x.target.path)
  if (found.kind !== 'found') throw new Refusal(409, 'the file came and went')
  return found.attributes.ino
}

function answer(x: Exchange, taken: Lock, status: number): void {
  sendXml(x.response, status, discovery(x, [taken]), { 'Lock-Token': `<${taken.token}>` })
}

function discovery(x: Exchange, locks: readonly Lock[]): string {
  return `<D:prop xmlns:D="DAV:"><D:lockdiscovery>${lockDiscovery(x, locks)}</D:lockdiscovery></D:prop>`
}

function pathOf(x: Exchange, resolution: Resolution): readonly Name[] {
  if (resolution.kind === 'found') return resolution.path
  return resolution.kind === 'vacant' ? resolution.place.path : x.target.path
}
