/**
 * Copying a file or a folder within the tree.
 *
 * Owns: what a copy takes along: bytes, mode, times, extended attributes, stored properties (as `cp -a`, but the owner is
 * who copies); symbolic links inside a folder stay links. Must stay true: each file appears whole; what can't be copied
 * is noted and the rest goes on; a copy never reads what it writes (the caller refused a target inside the source).
 */
import { FsError } from '../../errors.ts'
import { O_RDONLY } from '../../sys/flags.ts'
import { type AttributeChanges, type Attributes, type Ino, isDirectory, isRegular, isSymlink, type Name } from '../../vfs/contract.ts'
import { ClientGone } from './body.ts'
import { copyBytes } from './copy-bytes.ts'
import { copyExtendedAttributes, Draft, tolerate } from './draft.ts'
import type { Exchange } from './exchange.ts'
import { Listing } from './listing.ts'
import type { Failures } from './multistatus.ts'
import { Pacer } from './pacer.ts'
import { carryProperties, dropProperties } from './stored-properties.ts'

const SLICE = 200

export interface CopyTarget {
  readonly parent: Ino
  readonly name: Name
  /** For the report. */
  readonly path: readonly Name[]
  /** The file that is replaced; a folder was deleted before. */
  readonly replaces?: Attributes | undefined
  /** The name must be free. */
  readonly exclusive?: boolean
}

/** Copies `source` to `target`; with `deep` false a folder without its content. */
export async function copyTree(
  x: Exchange,
  source: Attributes,
  target: CopyTarget,
  deep: boolean,
  failures: Failures,
  pacer: Pacer = new Pacer(),
): Promise<void> {
  await pacer.pause()
  if (x.gone) throw new ClientGone()
  try {
    if (isDirectory(source.mode)) await copyFolder(x, source, target, deep, failures, pacer)
    else if (isRegular(source.mode)) await copyFile(x, source, target, pacer)
    else await copySpecial(x, source, target)
  } catch (error) {
    if (!(error instanceof FsError)) throw error
    failures.add({ path: target.path, collection: isDirectory(source.mode), error })
  }
}

async function copyFolder(
  x: Exchange,
  source: Attributes,
  target: CopyTarget,
  deep: boolean,
  failures: Failures,
  pacer: Pacer,
): Promise<void> {
  const { vfs, properties } = x.service
  const made = await vfs.mkdir(x.context, target.parent, target.name, 0o777)
  const { ino } = made.attributes
  try {
    if (deep) {
      const listing = await Listing.open(x.walk, source.ino)
      for await (const slice of listing.slices(SLICE)) {
        for (const { name, attributes } of slice) {
          await copyTree(x, attributes, { parent: ino, name, path: [...target.path, name] }, true, failures, pacer)
        }
      }
    }
    await carryProperties(properties, source.ino, ino)
    await copyExtendedAttributes(vfs, x.context, source.ino, ino)
    // Last: a folder without write permission could not be filled, and filling it moves its times.
    await tolerate(() => vfs.setattr(x.context, ino, keptAttributes(source)))
  } finally {
    vfs.forget(ino, 1)
  }
}

async function copyFile(x: Exchange, source: Attributes, target: CopyTarget, pacer: Pacer): Promise<void> {
  const { vfs, properties } = x.service
  const { handle, file } = await vfs.open(x.context, source.ino, O_RDONLY)
  try {
    const draft = await Draft.begin(x, target.parent, 0o666)
    try {
      await copyBytes(x, file, draft, pacer)
      const { ino } = await draft.publish(target.name, {
        exclusive: target.exclusive ?? target.replaces === undefined,
        extendedFrom: source.ino,
        changes: keptAttributes(source),
      })
      await carryProperties(properties, source.ino, ino)
      if (target.replaces) x.service.locks.renumber(target.replaces.ino, ino)
      if (target.replaces && target.replaces.nlink <= 1) await dropProperties(properties, target.replaces.ino)
    } finally {
      await draft.discard()
    }
  } finally {
    await vfs.release(handle)
  }
}

async function copySpecial(x: Exchange, source: Attributes, target: CopyTarget): Promise<void> {
  const { vfs, properties } = x.service
  if (target.replaces) await vfs.unlink(x.context, target.parent, target.name)
  const made = isSymlink(source.mode)
    ? await vfs.symlink(x.context, target.parent, target.name, await vfs.readlink(x.context, source.ino))
    : await vfs.mknod(x.context, target.parent, target.name, source.mode, source.rdev)
  await carryProperties(properties, source.ino, made.attributes.ino)
  vfs.forget(made.attributes.ino, 1)
}

function keptAttributes(source: Attributes): AttributeChanges {
  return { mode: source.mode & 0o777, mtime: { sec: source.mtimeSec, nsec: source.mtimeNsec } }
}
