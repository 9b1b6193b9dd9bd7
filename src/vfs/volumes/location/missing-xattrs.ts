/**
 * Extended attributes that a node was found to lack: programs that list a folder ask every file for the same few, and the
 * kernel asks for some at each write, without remembering the answer.
 *
 * Owns: what is remembered of that, in the node. Must stay true: it can't be out of date. It holds only while the host's
 * ctime is the one that was seen before the host was asked, on filesystems where a change of any attribute moves the ctime,
 * and only if that ctime was old enough by then for every later change to get another one.
 */
import type { Name } from '../../contract.ts'
import type { Core } from './core.ts'
import type { LocationNode } from './node.ts'

/** A bit each. */
const REMEMBERED: Readonly<Record<Name, number>> = {
  'security.selinux': 1,
  'system.posix_acl_access': 2,
  'system.posix_acl_default': 4,
  'security.capability': 8,
}
/** The coarsest ctime is that of ext3: whole seconds. */
const CTIME_GRAIN_SEC = 2

/** `core.stat` is the node's, of this moment. */
export function isKnownToLack(core: Core, node: LocationNode, name: Name): boolean {
  if (node.lacksXattrs === 0 || (node.lacksXattrs & (REMEMBERED[name] ?? 0)) === 0) return false
  return node.lacksSinceSec === core.stat.ctimeSec && node.lacksSinceNsec === core.stat.ctimeNsec
}

/** The host said so; `core.stat` is the node's from before it was asked. */
export function lacks(core: Core, node: LocationNode, name: Name): void {
  const bit = REMEMBERED[name] ?? 0
  const { ctimeSec, ctimeNsec, device } = core.stat
  if (bit === 0 || core.numbers.of(device)?.ctimeTellsXattrs !== true || ctimeSec > Date.now() / 1000 - CTIME_GRAIN_SEC) return
  if (node.lacksSinceSec !== ctimeSec || node.lacksSinceNsec !== ctimeNsec) node.lacksXattrs = 0
  node.lacksXattrs |= bit
  node.lacksSinceSec = ctimeSec
  node.lacksSinceNsec = ctimeNsec
}
