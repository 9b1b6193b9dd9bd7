/**
 * PUT: a file from the client, whole.
 *
 * Owns: the order of checks, the streaming into a draft, the answer. Must stay true: an upload that ends early leaves
 * what was there, and nothing else; the body is never held whole; what changed while it came (a lock, another upload) is
 * checked again before the new file takes its name.
 */

import { FsError } from '../../errors.ts'
import { isDirectory, isRegular } from '../../vfs/contract.ts'
import { streamBody } from './body.ts'
import { entityTag } from './conditions.ts'
import { Draft } from './draft.ts'
import { isDraftName } from './draft-name.ts'
import type { Exchange } from './exchange.ts'
import { refuseLitter } from './litter.ts'
import { changeAt, checkConditions, checkLocks, checkPrograms } from './lock-rules.ts'
import { quotaOf } from './quota.ts'
import { sendEmpty } from './respond.ts'
import { Refusal } from './status.ts'
import type { Place, Resolution } from './tree-walk.ts'

const WRITE_PERMISSION = 2

export async function put(x: Exchange): Promise<void> {
  refuseUnusable(x)
  const expectedBytes = expectedLength(x)
  const resolution = await x.walk.resolve(x.target.path)
  const place = placeForFile(x, resolution)
  refuseLitter(x, place.path)
  await checkConditions(x, resolution)
  const old = resolution.kind === 'found' ? resolution.attributes : undefined
  const change = changeAt(place, old !== undefined)
  checkLocks(x, [change])
  checkPrograms(x, old)
  if (old) await x.service.vfs.access(x.context, old.ino, WRITE_PERMISSION)
  await refuseIfTooLarge(x, place, expectedBytes)

  const draft = await Draft.begin(x, place.parent, 0o666)
  try {
    await streamBody(x, chunk => draft.append(chunk))
    if (expectedBytes !== undefined && draft.sizeBytes < expectedBytes) throw new Refusal(400, 'less came than was announced')
    const mtimeSec = ownCloudTime(x)
    const attributes = await draft.publish(place.name, {
      replaces: old,
      exclusive: x.header('if-none-match') !== undefined,
      changes: mtimeSec === undefined ? undefined : { mtime: { sec: mtimeSec, nsec: 0 } },
      recheck: async () => {
        if (isConditional(x)) await checkConditions(x, await x.walk.resolve(x.target.path))
        checkLocks(x, [change])
      },
    })
    await x.settled()
    const accepted = mtimeSec === undefined ? {} : { 'X-OC-MTime': 'accepted' }
    sendEmpty(x.response, old ? 204 : 201, { ETag: entityTag(attributes), ...accepted })
  } catch (error) {
    // Somebody else made the name while the body came, and this client asked for it to be free.
    if (error instanceof FsError && error.kind === 'exists') throw new Refusal(412, 'the name was taken meanwhile')
    throw error
  } finally {
    await draft.discard()
  }
}

function isConditional(x: Exchange): boolean {
  return ['if', 'if-match', 'if-none-match', 'if-unmodified-since'].some(name => x.header(name) !== undefined)
}

function refuseUnusable(x: Exchange): void {
  // Stored as the whole file it would destroy the rest; no client of ours sends it.
  if (x.header('content-range') !== undefined) throw new Refusal(400, 'partial uploads are not supported')
  const encoding = x.header('content-encoding')?.trim().toLowerCase()
  if (encoding !== undefined && encoding !== 'identity') throw new Refusal(415, 'encoded uploads are not supported')
}

/** The size that the client announced, in either of two headers. */
function expectedLength(x: Exchange): number | undefined {
  const announced = x.header('x-expected-entity-length')
  if (x.contentLength !== undefined || announced === undefined) return x.contentLength
  return /^\d{1,15}$/.test(announced.trim()) ? Number(announced) : undefined
}

function placeForFile(x: Exchange, resolution: Resolution): Place {
  switch (resolution.kind) {
    case 'nowhere':
      throw new Refusal(409, 'the folder does not exist')
    case 'vacant':
      if (x.target.slash) throw new Refusal(409, 'a file has no "/" at its end')
      if (isDraftName(resolution.place.name)) throw new Refusal(403, 'the name is reserved')
      return resolution.place
    case 'found':
      if (isDirectory(resolution.attributes.mode) || !resolution.place) throw new Refusal(405, 'a folder is here')
      if (x.target.slash) throw new Refusal(409, 'a file has no "/" at its end')
      if (!isRegular(resolution.attributes.mode)) throw new Refusal(403, 'no regular file')
      return resolution.place
  }
}

async function refuseIfTooLarge(x: Exchange, place: Place, expectedBytes: number | undefined): Promise<void> {
  if (expectedBytes === undefined || expectedBytes === 0) return
  if (expectedBytes > x.service.limits.fileBytes) throw new Refusal(413, `larger than ${x.service.limits.fileBytes} bytes`)
  const quota = await quotaOf(x.walk, place.parent)
  if (quota && expectedBytes > quota.availableBytes) throw new Refusal(507, 'not enough space', { condition: 'quota-not-exceeded' })
}

/** The modification time that ownCloud's clients, and rclone, send along. */
function ownCloudTime(x: Exchange): number | undefined {
  const value = x.header('x-oc-mtime')
  return value !== undefined && /^\d{1,11}(?:\.\d{1,9})?$/.test(value) ? Math.floor(Number(value)) : undefined
}
