/**
 * What is done with files and folders of cloud volumes: pin, unpin, warm, refresh.
 * Owns: the passing on of progress. Must stay true: a client that is slow is told less often, and nothing waits for it.
 */

import { errorKind } from '../../errors.ts'
import type { VolumeRecord } from '../../index/contract.ts'
import type { CloudVolume } from '../../vfs/volumes/cloud/cloud-volume.ts'
import { CommandError } from '../exit-codes.ts'
import { printable } from '../terminal/terminal.ts'
import { findCloud } from './cloud-record.ts'
import type { CloudPath, FetchUpdate } from './requests.ts'
import type { Arguments, Handler, Service } from './service.ts'

const PROGRESS_MS = 100

export const pin: Handler<'pin'> = {
  parse: parsePath,
  async handle(service, given, context) {
    const { volume, record } = open(service, given)
    await fetching(record, given, () => volume.pin(given.path, context.signal, telling(context)))
    const below = volume.pinned().filter(({ path }) => given.path === '' || path === given.path || path.startsWith(`${given.path}/`))
    return { sizeBytes: below.reduce((sum, file) => sum + file.sizeBytes, 0) }
  },
}

export const unpin: Handler<'unpin'> = {
  parse: parsePath,
  async handle(service, given) {
    const { volume, record } = open(service, given)
    await fetching(record, given, async () => volume.unpin(given.path))
    return {}
  },
}

export const warm: Handler<'cache.warm'> = {
  parse: parsePath,
  async handle(service, given, context) {
    const { volume, record } = open(service, given)
    return await fetching(record, given, () => volume.warm(given.path, context.signal, telling(context)))
  },
}

export const refreshCloud: Handler<'volume.refresh'> = {
  parse: parsePath,
  async handle(service, given, context) {
    const { volume, record } = open(service, given)
    await fetching(record, given, () => volume.refresh(given.path === '' ? undefined : given.path, context.signal))
    return {}
  },
}

function parsePath(given: Arguments): CloudPath {
  const isWhole = given.optionalText('path') === ''
  return { volume: given.bytes('volume'), path: isWhole ? '' : given.bytes('path') }
}

function open(service: Service, given: CloudPath): { readonly volume: CloudVolume; readonly record: VolumeRecord } {
  const other = service.index.volumes().find(record => record.name === given.volume)
  if (other && other.kind !== 'cloud')
    throw new CommandError('volume', `"${printable(given.volume)}" is no cloud volume: its files are always here`)
  const record = findCloud(service.index, given.volume)
  if (!service.mounted) throw new CommandError('not-mounted', 'the library is not mounted: run sdmount MOUNTPOINT first')
  const volume = service.mounted.cloud(record.id)
  if (volume) return { volume, record }
  throw new CommandError('volume', `"${printable(record.name)}" is not open: ${service.mounted.failure(record.id) ?? 'it was removed'}`)
}

/** In words what can be wrong with a path, a server, the cache. */
async function fetching<T>(record: VolumeRecord, { path }: CloudPath, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    const what = `${printable(record.name)}${path === '' ? '' : `/${printable(path)}`}`
    const line = (exit: 'volume' | 'cache' | 'unreachable' | 'credentials' | 'interrupted') =>
      new CommandError(exit, exit === 'interrupted' ? 'interrupted' : `${what}: ${(error as Error).message}`)
    switch (errorKind(error)) {
      case 'not-found':
        throw new CommandError('volume', `there is no ${what}`)
      case 'quota':
      case 'no-space':
        throw line('cache')
      case 'offline':
      case 'timed-out':
        throw line('unreachable')
      case 'access-denied':
        throw line('credentials')
      case 'interrupted':
        throw line('interrupted')
      default:
        throw error
    }
  }
}

function telling(context: { update(value: FetchUpdate): Promise<void> }): (progress: FetchUpdate) => void {
  let toldAtMs = 0
  let sending = false
  return progress => {
    if (sending || Date.now() - toldAtMs < PROGRESS_MS) return
    toldAtMs = Date.now()
    sending = true
    context.update(progress).finally(() => {
      sending = false
    })
  }
}
