/**
 * Which requests need which locks, and the conditions of the If header.
 *
 * Owns: the decision 412 or 423 before anything changes. Must stay true: a lock is satisfied only by its own token,
 * submitted by the user who took it; all checks of one request happen on the same turn as the change they guard, or are
 * repeated there.
 */

import { type Attributes, isRegular, type Name } from '../../vfs/contract.ts'
import { entityTag, evaluateConditions } from './conditions.ts'
import type { Exchange } from './exchange.ts'
import { evaluateIf, type ResourceState } from './if-header.ts'
import { keyOf, type Lock } from './locks.ts'
import { Refusal } from './status.ts'
import { parseReference, type Target } from './target.ts'
import type { Place, Resolution } from './tree-walk.ts'

/** What a request is about to change. */
export interface Change {
  readonly path: readonly Name[]
  /** 'node': its content or properties. 'tree': all of it, to be deleted, moved or replaced. */
  readonly what: 'node' | 'tree'
  /** The name appears or goes: its folder changes too. */
  readonly entry: boolean
}

/** The If header and the conditions of RFC 9110; throws 412. Malformed tags are a 400. */
export async function checkConditions(x: Exchange, current: Resolution): Promise<void> {
  await checkIf(x, current)
  const attributes = current.kind === 'found' ? current.attributes : undefined
  const validators = attributes && { tag: entityTag(attributes), mtimeSec: attributes.mtimeSec }
  if (evaluateConditions(x.request.headers, validators, false) !== 'go on')
    throw new Refusal(412, 'a condition of the request does not hold')
}

/** The If header alone. */
export async function checkIf(x: Exchange, current: Resolution): Promise<void> {
  const lists = x.ifLists
  if (lists.length === 0) return
  const targets = new Map<string, Target | undefined>()
  for (const { resource } of lists) {
    if (resource !== undefined && !targets.has(resource)) targets.set(resource, parseReference(resource, x.header('host')))
  }
  const stateOf = async (resource: string | undefined): Promise<ResourceState> => {
    if (resource === undefined) return state(x, current, x.target)
    const target = targets.get(resource)
    // Of another server we know nothing: no condition about it holds.
    if (!target) return { tag: undefined, tokens: new Set() }
    return state(x, await x.walk.resolve(target.path), target)
  }
  if (!(await evaluateIf(lists, stateOf))) throw new Refusal(412, 'the If header does not hold')
}

/** Throws 423 unless the client submitted a token for each lock in the way. */
export function checkLocks(x: Exchange, changes: readonly Change[]): void {
  const { locks } = x.service
  if (locks.empty) return
  const inTheWay = new Map<string, Lock[]>()
  const add = (found: readonly Lock[]) => {
    for (const lock of found) inTheWay.set(lock.key, [...(inTheWay.get(lock.key) ?? []), lock])
  }
  for (const { path, what, entry } of changes) {
    const key = keyOf(path)
    add(locks.covering(key))
    if (what === 'tree') add(locks.below(key))
    if (entry && path.length > 0) add(locks.covering(keyOf(path.slice(0, -1))))
  }
  const tokens = x.submittedTokens()
  const blocking: Lock[] = []
  for (const group of inTheWay.values()) {
    // Of several shared locks on one path, one's own is enough.
    if (!group.some(lock => tokens.has(lock.token) && lock.user === x.user)) blocking.push(group[0]!)
  }
  if (blocking.length > 0) {
    const hrefs = blocking.slice(0, 100).map(lock => x.href(lock.path, lock.collection))
    throw new Refusal(423, 'locked', { condition: 'lock-token-submitted', hrefs })
  }
}

/** Throws 423 when a program on this machine has locked what is to be replaced or deleted. */
export function checkPrograms(x: Exchange, attributes: Attributes | undefined): void {
  if (attributes && isRegular(attributes.mode) && x.service.heldByProgram(attributes.ino)) {
    throw new Refusal(423, 'a program on this machine has locked the file')
  }
}

/** The change of making or replacing what is at a place. */
export function changeAt(place: Place, exists: boolean, what: Change['what'] = 'node'): Change {
  return { path: place.path, what, entry: !exists || what === 'tree' }
}

function state(x: Exchange, resolution: Resolution, target: Target): ResourceState {
  const path = resolution.kind === 'found' ? resolution.path : resolution.kind === 'vacant' ? resolution.place.path : target.path
  const tokens = new Set(x.service.locks.covering(keyOf(path)).map(lock => lock.token))
  return { tag: resolution.kind === 'found' ? entityTag(resolution.attributes) : undefined, tokens }
}
