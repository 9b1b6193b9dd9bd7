/**
 * Deleting a file or a folder with all that is in it.
 *
 * Owns: the order (what is inside first), and going on past what can't be deleted. Must stay true: symbolic links are
 * deleted, never followed; others get their turn meanwhile; it goes on to the end when
 * the client vanishes (half a deletion helps nobody), but not when the server closes.
 */
import { FsError } from '../../errors.ts'
import { type Attributes, type Ino, isDirectory, type Name } from '../../vfs/contract.ts'
import { ClientGone } from './body.ts'
import type { Exchange } from './exchange.ts'
import { Listing } from './listing.ts'
import type { Failures } from './multistatus.ts'
import { Pacer } from './pacer.ts'
import { dropProperties } from './stored-properties.ts'

const SLICE = 500
/** A folder into which others keep writing is given up after this many rounds. */
const ROUND_LIMIT = 10

export interface Doomed {
  readonly parent: Ino
  readonly name: Name
  readonly attributes: Attributes
  /** For the report. */
  readonly path: readonly Name[]
}

/** Deletes; what could not be deleted is noted in `failures`. */
export async function deleteTree(x: Exchange, doomed: Doomed, failures: Failures, pacer = new Pacer()): Promise<void> {
  await pacer.pause()
  if (x.gone) throw new ClientGone()
  const { vfs } = x.service
  const collection = isDirectory(doomed.attributes.mode)
  try {
    if (collection) await deleteFolder(x, doomed, failures, pacer)
    else await vfs.unlink(x.context, doomed.parent, doomed.name)
  } catch (error) {
    // Somebody else was faster: it's gone, which is what was wanted.
    if (error instanceof FsError && error.kind === 'not-found') return
    if (!(error instanceof FsError)) throw error
    failures.add({ path: doomed.path, collection, error })
    return
  }
  if (collection || doomed.attributes.nlink <= 1) await dropProperties(x.service.properties, doomed.attributes.ino)
}

async function deleteFolder(x: Exchange, folder: Doomed, failures: Failures, pacer: Pacer): Promise<void> {
  const { vfs } = x.service
  for (let round = 1; ; round++) {
    const before = failures.count
    await deleteContent(x, folder, failures, pacer)
    // A folder that something stayed in stays too; only what stayed is reported.
    if (failures.count > before) return
    try {
      await vfs.rmdir(x.context, folder.parent, folder.name)
      return
    } catch (error) {
      // Deleting while reading may skip entries on some filesystems, and others may have written: look again.
      if (!(error instanceof FsError) || error.kind !== 'not-empty' || round >= ROUND_LIMIT) throw error
    }
  }
}

async function deleteContent(x: Exchange, folder: Doomed, failures: Failures, pacer: Pacer): Promise<void> {
  const listing = await Listing.open(x.walk, folder.attributes.ino)
  for await (const slice of listing.slices(SLICE)) {
    for (const { name, attributes } of slice) {
      const path = [...folder.path, name]
      await deleteTree(x, { parent: folder.attributes.ino, name, attributes, path }, failures, pacer)
    }
  }
}
