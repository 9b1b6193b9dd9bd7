/**
 * COPY and MOVE.
 *
 * Owns: their common checks, and what is done to the target first. Must stay true: nothing is deleted before every check
 * passed; a move within a volume is one rename; a move between volumes copies all before it deletes anything.
 */
import { FsError } from '../../errors.ts'
import { type Attributes, isDirectory, RENAME_NOREPLACE, ROOT_INO } from '../../vfs/contract.ts'
import { copyTree } from './copy-tree.ts'
import { ownAttributes, removablePlace } from './delete.ts'
import { deleteTree } from './delete-tree.ts'
import { isDraftName } from './draft-name.ts'
import type { Exchange } from './exchange.ts'
import { refuseLitter } from './litter.ts'
import { changeAt, checkConditions, checkLocks, checkPrograms } from './lock-rules.ts'
import { keyOf } from './locks.ts'
import { Failures } from './multistatus.ts'
import { sendEmpty } from './respond.ts'
import { Refusal } from './status.ts'
import { dropProperties } from './stored-properties.ts'
import type { Target } from './target.ts'
import type { Found, Place, Resolution } from './tree-walk.ts'

interface Transfer {
  readonly found: Found
  /** What is copied: a link's target; or moved: the link itself. */
  readonly source: Attributes
  readonly sourcePlace: Place | undefined
  readonly destination: Target
  readonly place: Place
  /** What is at the destination. */
  readonly old: Attributes | undefined
}

export async function copy(x: Exchange): Promise<void> {
  const depth = x.depth('infinity')
  if (depth === 1) throw new Refusal(400, 'COPY has no depth of 1')
  const transfer = await prepare(x, false)
  checkLocks(x, [changeAt(transfer.place, transfer.old !== undefined, transfer.old ? 'tree' : 'node')])
  checkPrograms(x, transfer.old)
  const failures = new Failures()
  if (!(await clearTarget(x, transfer, failures))) return failures.send(x)
  await copyTo(x, transfer, depth === 'infinity', failures)
  await x.settled()
  finish(x, transfer, failures)
}

export async function move(x: Exchange): Promise<void> {
  if (x.depth('infinity') !== 'infinity') throw new Refusal(400, 'MOVE has no depth but infinity')
  const transfer = await prepare(x, true)
  const { place, old } = transfer
  const sourcePlace = transfer.sourcePlace!
  checkLocks(x, [changeAt(sourcePlace, true, 'tree'), changeAt(place, old !== undefined, old ? 'tree' : 'node')])
  checkPrograms(x, transfer.source)
  checkPrograms(x, old)
  x.persist()
  const failures = new Failures()
  if (!(await clearTarget(x, transfer, failures))) return failures.send(x)
  if (!(await renamed(x, transfer))) {
    await copyTo(x, transfer, true, failures)
    // What could not be copied is still where it was; so is all the rest.
    if (failures.count === 0) {
      await deleteTree(
        x,
        { parent: sourcePlace.parent, name: sourcePlace.name, attributes: transfer.source, path: x.target.path },
        failures,
      )
    }
  }
  if (failures.count === 0) x.service.locks.removeTree(keyOf(sourcePlace.path))
  await x.settled()
  finish(x, transfer, failures)
}

async function prepare(x: Exchange, moves: boolean): Promise<Transfer> {
  const destination = x.destination()
  const { overwrite } = x
  const found = await x.walk.resolve(x.target.path)
  await checkConditions(x, found)
  if (found.kind !== 'found') throw new Refusal(404, 'not found')
  const sourcePlace = moves ? removablePlace(found) : found.place
  const source = moves ? ownAttributes(found) : found.attributes
  const to = respelled(await x.walk.resolve(destination.path), destination, source, moves)
  if (to.kind === 'nowhere') throw new Refusal(409, 'the folder of the destination does not exist')
  const place = to.kind === 'vacant' ? to.place : removablePlace(to)
  refuseLitter(x, place.path)
  if (isDraftName(place.name) || place.parent === ROOT_INO) throw new Refusal(403, 'the destination is reserved')
  refuseOverlap(found, sourcePlace, place, to.kind === 'found')
  const old = to.kind === 'found' ? ownAttributes(to) : undefined
  if (old && !overwrite) throw new Refusal(412, 'the destination exists')
  return { found, source, sourcePlace, destination, place, old }
}

/**
 * Another spelling of a name (its case where that is ignored, or its Unicode form) leads to the file itself: a move to it
 * replaces nothing, it is a change of the spelling.
 */
function respelled(to: Resolution, destination: Target, source: Attributes, moves: boolean): Resolution {
  const name = destination.path.at(-1)
  if (!moves || to.kind !== 'found' || to.link || !to.place || name === undefined || to.place.name === name) return to
  const itself = to.attributes.ino === source.ino && (source.nlink <= 1 || isDirectory(source.mode))
  return itself ? { kind: 'vacant', place: { ...to.place, name, path: [...to.place.path.slice(0, -1), name] } } : to
}

/** A thing can't go into itself, nor take the place of a folder that it is in. */
function refuseOverlap(found: Found, sourcePlace: Place | undefined, place: Place, exists: boolean): void {
  const sourceKeys = [keyOf(found.path), ...(sourcePlace ? [keyOf(sourcePlace.path)] : [])]
  const targetKey = keyOf(place.path)
  for (const key of sourceKeys) {
    if (targetKey === key) throw new Refusal(403, 'source and destination are the same')
    if (targetKey.startsWith(`${key}/`) && isDirectory(found.attributes.mode))
      throw new Refusal(403, 'the destination is inside the source')
    if (exists && key.startsWith(`${targetKey}/`)) throw new Refusal(403, 'the source is inside the destination')
  }
}

/** Deletes a folder, or what a folder is to replace; a file is replaced by a file in one step later. False: it stayed. */
async function clearTarget(x: Exchange, { source, place, old, destination }: Transfer, failures: Failures): Promise<boolean> {
  if (!old || (!isDirectory(old.mode) && !isDirectory(source.mode))) return true
  await deleteTree(x, { parent: place.parent, name: place.name, attributes: old, path: destination.path }, failures)
  for (const lock of x.service.locks.below(keyOf(place.path))) x.service.locks.remove(lock)
  return failures.count === 0
}

/** The one rename; false when it leads to another volume. */
async function renamed(x: Exchange, { source, sourcePlace, place, old }: Transfer): Promise<boolean> {
  const { vfs, properties } = x.service
  const from = sourcePlace!
  const replaces = old !== undefined && !isDirectory(old.mode) && !isDirectory(source.mode)
  try {
    await vfs.rename(
      x.context,
      from.parent,
      from.name,
      place.parent,
      place.name,
      replaces || isSamePlace(from, place) ? 0 : RENAME_NOREPLACE,
    )
  } catch (error) {
    if (error instanceof FsError && error.kind === 'cross-volume') return false
    if (error instanceof FsError && error.kind === 'exists') throw new Refusal(412, 'the destination was made meanwhile')
    throw error
  }
  if (replaces && old.ino === source.ino) {
    // Two names of one file: renaming one onto the other does nothing, but the old name must go.
    await vfs.unlink(x.context, from.parent, from.name)
  } else if (replaces && old.nlink <= 1) await dropProperties(properties, old.ino)
  return true
}

/** The same folder and, but for case or spelling, maybe the same name: "no replace" might refuse it. */
function isSamePlace(from: Place, to: Place): boolean {
  const fold = (name: string) => Buffer.from(name, 'latin1').toString('utf8').normalize('NFC').toLowerCase()
  return from.parent === to.parent && fold(from.name) === fold(to.name)
}

async function copyTo(x: Exchange, { source, place, old, destination }: Transfer, deep: boolean, failures: Failures): Promise<void> {
  const replaces = old && !isDirectory(old.mode) && !isDirectory(source.mode) ? old : undefined
  await copyTree(x, source, { parent: place.parent, name: place.name, path: destination.path, replaces }, deep, failures)
}

function finish(x: Exchange, { old, destination }: Transfer, failures: Failures): void {
  if (failures.count === 0) {
    sendEmpty(x.response, old ? 204 : 201)
    return
  }
  const only = failures.onlyAbout(destination.path)
  if (only) throw only
  failures.send(x)
}
