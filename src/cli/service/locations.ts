/**
 * Locations: add, list, remove, rescan.
 *
 * Owns: what may become a location and under which name. Must stay true: a folder inside an sdmount mount (or where
 * this library is mounted) is refused: the tree would contain itself. A folder that contains the mountpoint is fine, the
 * location leaves the mountpoint out. Nested locations are allowed, with a note.
 * Nothing here touches a location's folder: in the daemon it might lead into the daemon's own mount, which could never
 * answer then. The command that asks has resolved the path and looked at it (paths.ts).
 */
import { FsError } from '../../errors.ts'
import type { Index, LocationSettings, VolumeRecord } from '../../index/contract.ts'
import { isWithin } from '../../sys/mountinfo.ts'
import type { Name } from '../../vfs/contract.ts'
import { CommandError } from '../exit-codes.ts'
import { insideMount, ownMountAbove } from '../mounts.ts'
import { nameOfText } from '../names.ts'
import { sleep } from '../sleep.ts'
import { printable } from '../terminal/terminal.ts'
import { locationPath, type MountedTree } from './mounted-tree.ts'
import type { LocationInfo } from './requests.ts'
import type { Arguments, Handler, HandlerContext, Service } from './service.ts'

const NAME_LIMIT_BYTES = 255
const SCAN_POLL_MS = 200

type Drive = NonNullable<LocationSettings['drive']>

export const addLocation: Handler<'location.add'> = {
  parse: given => {
    const name = given.optionalBytes('name')
    return { path: given.bytes('path'), ...(name === undefined ? {} : { name }), drive: driveOf(given), wait: given.flag('wait') }
  },
  async handle(service, given, context) {
    const { path } = given
    const notes = placeProblems(service, path)
    const name = given.name ?? nameOf(path)
    const record = recordLocation(service.index, name, path, given.drive)
    await service.mounted?.attach(record)
    service.log.info(`location "${name}" added: ${path}`)
    if (given.wait && service.mounted) await waitForScans(service.mounted, [record], context)
    return { ...describe(service.index, record), mounted: service.mounted !== undefined, notes }
  },
}

export const listLocations: Handler<'location.list'> = {
  parse: () => ({}),
  handle: async service => ({ locations: locations(service.index).map(record => describe(service.index, record)) }),
}

export const removeLocation: Handler<'location.remove'> = {
  parse: given => ({ name: given.bytes('name') }),
  async handle(service, given) {
    const record = findLocation(service.index, given.name)
    const info = describe(service.index, record)
    await service.mounted?.detach(record.id)
    await service.index.removeVolume(record.id)
    service.index.flush('durable')
    service.log.info(`location "${record.name}" removed`)
    return info
  },
}

export const rescanLocations: Handler<'location.rescan'> = {
  parse: given => {
    const name = given.optionalBytes('name')
    return { ...(name === undefined ? {} : { name }), wait: given.flag('wait') }
  },
  async handle(service, given, context) {
    if (!service.mounted)
      throw new CommandError('not-mounted', 'locations are scanned while the library is mounted: run sdmount MOUNTPOINT first')
    const records = given.name === undefined ? locations(service.index) : [findLocation(service.index, given.name)]
    for (const record of records) service.mounted.location(record.id)?.rescan()
    if (given.wait) await waitForScans(service.mounted, records, context)
    return { names: records.map(record => record.name) }
  },
}

function driveOf(given: Arguments): Drive {
  const drive = given.optionalText('drive') ?? 'auto'
  if (drive === 'auto' || drive === 'direct' || drive === 'deferred') return drive
  throw new CommandError('usage', `a location is driven "auto", "direct" or "deferred", not "${drive}"`)
}

/** Records a folder as a location, after its name was found good. Also for the first run. */
export function recordLocation(index: Index, name: Name, path: Name, drive: Drive = 'auto'): VolumeRecord {
  checkName(name, 'location')
  const same = locations(index).find(record => locationPath(record) === path)
  if (same) throw new CommandError('location', `${printable(path)} is a location already, named "${printable(same.name)}"`)
  try {
    const record = index.addVolume('location', name, drive === 'auto' ? { path } : { path, drive })
    index.flush('durable')
    return record
  } catch (error) {
    if (!(error instanceof FsError) || error.kind !== 'exists') throw error
    throw new CommandError(
      'location',
      `there is already a folder named "${printable(name)}" at the top of the tree; choose another with --name`,
    )
  }
}

/** Locations of the index, in the order they were added. */
export function locations(index: Index): VolumeRecord[] {
  return index.volumes().filter(record => record.kind === 'location')
}

function describe(index: Index, record: VolumeRecord): LocationInfo {
  return { name: record.name, path: locationPath(record), entries: index.entryCount(record.id) }
}

/** The location of that name, or CommandError 'no-location'. */
export function findLocation(index: Index, name: Name): VolumeRecord {
  const all = locations(index)
  const found = all.find(record => record.name === name)
  if (found) return found
  const names = all.map(record => printable(record.name)).join(', ')
  throw new CommandError('no-location', `there is no location named "${printable(name)}"${names ? ` (there are: ${names})` : ''}`)
}

/** Throws what makes the folder impossible; answers what the user should know. */
function placeProblems(service: Service, path: Name): string[] {
  if (!path.startsWith('/')) throw new CommandError('location', `the path must be absolute: ${printable(path)}`)
  const mount = ownMountAbove(path)
  if (mount) throw insideMount(path, mount)
  const { directory, files } = service.library.paths
  if (isWithin(nameOfText(directory), path) && !isWithin(nameOfText(files), path))
    throw new CommandError('location', `${printable(path)} belongs to the library itself`)
  const notes: string[] = []
  for (const record of locations(service.index)) {
    const other = locationPath(record)
    if (other === path) continue // recordLocation says it better
    if (isWithin(other, path))
      notes.push(`it lies inside the location "${printable(record.name)}": its files appear, and are indexed, in both`)
    else if (isWithin(path, other))
      notes.push(`it contains the location "${printable(record.name)}": those files appear, and are indexed, in both`)
  }
  return notes
}

function nameOf(path: Name): Name {
  const name = path.slice(path.lastIndexOf('/') + 1)
  if (name === '') throw new CommandError('location', 'the root of the filesystem has no name: give one with --name')
  return name
}

/** Refuses what can't be the name of a folder at the top of the tree. */
export function checkName(name: Name, what: 'location' | 'volume' | 'vault'): void {
  const problem = !name
    ? 'it is empty'
    : name.length > NAME_LIMIT_BYTES
      ? `it has more than ${NAME_LIMIT_BYTES} bytes`
      : name === '.' || name === '..' || name.includes('/')
        ? 'it must be a plain name, without "/"'
        : // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not be in the name
          /[\x00-\x1f\x7f]/.test(name)
          ? 'it holds control characters'
          : undefined
  if (problem) throw new CommandError(what, `"${printable(name)}" can't be the name of a ${what}: ${problem}`)
}

/** Sends the progress of scans until all have ended. A location that goes offline has ended too. */
export async function waitForScans(
  mounted: MountedTree,
  records: readonly VolumeRecord[],
  context: HandlerContext<'location.add' | 'location.rescan' | 'volume.add'>,
): Promise<void> {
  for (const record of records) {
    for (;;) {
      const status = mounted.volume(record.id)?.status()
      const done = status?.state !== 'scanning'
      await context.update({ name: record.name, scan: status?.scan, done })
      if (done) break
      await sleep(SCAN_POLL_MS, context.signal)
    }
  }
}
