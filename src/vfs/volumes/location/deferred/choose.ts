/**
 * Which way a location is driven: on the main thread, or by a thread of its own.
 *
 * Owns: the choice, and the opening that follows it. Must stay true: nothing of the location's filesystem is touched here.
 */
import type { LocationSettings } from '../../../../index/contract.ts'
import { mayHang, mountOf, readMounts } from '../../../../sys/mountinfo.ts'
import { type LocationVolume, openLocation } from '../location.ts'
import { type DeferredLocationOptions, openDeferredLocation } from './deferred-location.ts'

/** 'auto' goes by the filesystem: one that may hang, now or when the location was last online, has a thread of its own. */
export function chooseDrive(settings: LocationSettings): LocationVolume['drive'] {
  if (settings.drive === 'direct' || settings.drive === 'deferred') return settings.drive
  const mount = mountOf(readMounts(), settings.path)
  return (mount && mayHang(mount.type)) || isForeign(settings.identity?.filesystem) ? 'deferred' : 'direct'
}

/** Opens a location as its settings say. */
export function openChosenLocation(options: DeferredLocationOptions): LocationVolume {
  const settings = options.record.settings as unknown as LocationSettings
  return chooseDrive(settings) === 'deferred' ? openDeferredLocation(options) : openLocation(options)
}

/** Types (statfs) of filesystems that may hang; a location keeps the one that it was last on. */
const FOREIGN_TYPES: ReadonlySet<string> = new Set([
  '65735546', // fuse
  '6969', // nfs
  'ff534d42', // cifs
  'fe534d42', // smb2
  '517b', // smb
  'c36400', // ceph
  '1021997', // 9p
  '6b414653', // afs
  '5346414f', // openafs
  '47504653', // gpfs
])

function isForeign(filesystem: string | undefined): boolean {
  return filesystem !== undefined && FOREIGN_TYPES.has(filesystem.slice(0, filesystem.indexOf(':')))
}
