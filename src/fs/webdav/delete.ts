/**
 * DELETE and MKCOL: the two methods that change nothing but a name.
 * Owns: their checks. Must stay true: the root and the volumes at the top can't be deleted, also not emptied.
 */
import { FsError } from '../../errors.ts'
import { isDirectory, ROOT_INO } from '../../vfs/contract.ts'
import { deleteTree } from './delete-tree.ts'
import { isDraftName } from './draft-name.ts'
import type { Exchange } from './exchange.ts'
import { refuseLitter } from './litter.ts'
import { changeAt, checkConditions, checkLocks, checkPrograms } from './lock-rules.ts'
import { keyOf } from './locks.ts'
import { Failures } from './multistatus.ts'
import { sendEmpty } from './respond.ts'
import { Refusal } from './status.ts'
import type { Found, Place } from './tree-walk.ts'

export async function del(x: Exchange): Promise<void> {
  const found = await x.walk.resolve(x.target.path)
  await checkConditions(x, found)
  if (found.kind !== 'found') throw new Refusal(404, 'not found')
  const place = removablePlace(found)
  // A folder is deleted whole; a client that means less is refused rather than misunderstood.
  const depth = x.depth('infinity')
  if (depth === 1 || (depth === 0 && isDirectory(ownAttributes(found).mode)))
    throw new Refusal(400, 'a folder is deleted with all that is in it')
  checkLocks(x, [changeAt(place, true, 'tree')])
  checkPrograms(x, found.attributes)
  x.persist()
  const failures = new Failures()
  await deleteTree(x, { parent: place.parent, name: place.name, attributes: ownAttributes(found), path: x.target.path }, failures)
  await x.settled()
  if (failures.count === 0) {
    x.service.locks.removeTree(keyOf(place.path))
    sendEmpty(x.response, 204)
    return
  }
  const only = failures.onlyAbout(x.target.path)
  if (only) throw only
  failures.send(x)
}

export async function mkcol(x: Exchange): Promise<void> {
  if (x.hasBody) throw new Refusal(415, 'MKCOL takes no body')
  const resolution = await x.walk.resolve(x.target.path)
  await checkConditions(x, resolution)
  if (resolution.kind === 'nowhere') throw new Refusal(409, 'the folder above does not exist')
  if (resolution.kind === 'found') throw new Refusal(405, 'it exists already')
  const { place } = resolution
  refuseLitter(x, place.path)
  if (isDraftName(place.name)) throw new Refusal(403, 'the name is reserved')
  checkLocks(x, [changeAt(place, false)])
  try {
    x.walk.refer(await x.service.vfs.mkdir(x.context, place.parent, place.name, 0o777))
  } catch (error) {
    if (error instanceof FsError && error.kind === 'exists') throw new Refusal(405, 'it exists already')
    throw error
  }
  await x.settled()
  sendEmpty(x.response, 201)
}

/** Where the name to be removed is: of a link, the link. Throws 403 for the root and the volumes. */
export function removablePlace(found: Found): Place {
  const place = found.link ?? found.place
  if (!place || place.parent === ROOT_INO) throw new Refusal(403, 'the root and the volumes in it stay')
  return place
}

/** The attributes of what has the name: of a link, its own. */
export function ownAttributes(found: Found): Found['attributes'] {
  return found.link?.attributes ?? found.attributes
}
