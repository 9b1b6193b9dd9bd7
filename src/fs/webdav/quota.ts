/**
 * The space that a folder's filesystem has, for quota properties and for uploads that can't fit.
 *
 * Owns: what the root says, which holds nothing itself: what the roomiest of its volumes says, so that a client that asks
 * there (Finder asks at the root of its mount only) doesn't refuse to copy anything.
 */
import { type FilesystemStatistics, type Ino, ROOT_INO } from '../../vfs/contract.ts'
import { Listing } from './listing.ts'
import type { TreeWalk } from './tree-walk.ts'

export interface Quota {
  readonly availableBytes: number
  readonly usedBytes: number
}

/** undefined: the filesystem doesn't say. */
export async function quotaOf(walk: TreeWalk, ino: Ino): Promise<Quota | undefined> {
  if (ino !== ROOT_INO) return quota(await walk.vfs.statfs(walk.context, ino))
  let roomiest: Quota | undefined
  const listing = await Listing.open(walk, ino)
  for await (const slice of listing.slices(100)) {
    for (const { attributes } of slice) {
      const other = quota(await walk.vfs.statfs(walk.context, attributes.ino))
      if (other && (!roomiest || other.availableBytes > roomiest.availableBytes)) roomiest = other
    }
  }
  return roomiest
}

function quota(s: FilesystemStatistics): Quota | undefined {
  if (s.blocks === 0) return undefined
  return { availableBytes: s.blocksAvailable * s.fragmentSizeBytes, usedBytes: (s.blocks - s.blocksFree) * s.fragmentSizeBytes }
}
