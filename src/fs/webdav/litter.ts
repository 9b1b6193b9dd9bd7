/**
 * The clutter of desktop systems.
 *
 * Owns: which names Explorer and Finder look for, or write, without anybody having asked: view settings, thumbnails,
 * resource forks. Where a volume doesn't want them (by default every cloud volume), such names are refused before
 * anything is looked up; reading what is there always works.
 */
import type { Name } from '../../vfs/contract.ts'
import type { Exchange } from './exchange.ts'
import { Refusal } from './status.ts'

const LITTER_NAMES: ReadonlySet<string> = new Set([
  // Finder
  '.ds_store',
  '.apdisk',
  '.fseventsd',
  '.localized',
  '.metadata_never_index',
  '.metadata_never_index_unless_rootfs',
  '.ql_disablethumbnails',
  '.spotlight-v100',
  '.temporaryitems',
  '.trashes',
  '.volumeicon.icns',
  // Explorer
  '$recycle.bin',
  'autorun.inf',
  'desktop.ini',
  'ehthumbs.db',
  'ehthumbs_vista.db',
  'system volume information',
  'thumbs.db',
])

export function isLitter(name: Name): boolean {
  return name.startsWith('._') || LITTER_NAMES.has(name.toLowerCase())
}

/** Throws 403 when a path lies in clutter that its volume doesn't want. */
export function refuseLitter(x: Exchange, path: readonly Name[]): void {
  if (path.length > 1 && path.some(isLitter) && !x.service.acceptsLitter(path[0]!)) {
    throw new Refusal(403, 'system clutter is not kept on this volume')
  }
}
