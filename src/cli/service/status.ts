/** What a library is doing: for `sdmount status`. Owns: the gathering, not the printing. */
import { version } from '../version.ts'
import { locationPath } from './mounted-tree.ts'
import type { LibraryStatus, VolumeInfo } from './requests.ts'
import type { Handler, Service } from './service.ts'

/** What waits to be uploaded, by volume. */
async function cloudQueues(service: Service): Promise<Map<number, NonNullable<VolumeInfo['cloud']>>> {
  const records = service.index.volumes().filter(record => record.kind === 'cloud')
  if (records.length === 0) return new Map()
  const { queuesOf } = await import('./upload-queue.ts')
  const queues = queuesOf(service, records, 0)
  return new Map(records.map((record, i) => [record.id, { address: queues[i]!.address, queue: queues[i]! }]))
}

export const status: Handler<'status'> = {
  parse: () => ({}),
  async handle(service): Promise<LibraryStatus> {
    const { library, index, mounted } = service
    const memory = process.memoryUsage()
    const queues = await cloudQueues(service)
    return {
      version: version(),
      library: library.paths.directory,
      daemon: mounted ? { pid: process.pid, rssBytes: memory.rss, heapUsedBytes: memory.heapUsed } : undefined,
      mounts: mounted?.session
        ? [
            {
              mountpoint: mounted.session.mountpoint,
              readOnly: mounted.settings.readOnly,
              sinceMs: mounted.sinceMs,
              statistics: { ...mounted.session.statistics() },
            },
          ]
        : [],
      volumes: index.volumes().map(record => {
        const common = {
          id: record.id,
          kind: record.kind,
          name: record.name,
          path: record.kind === 'location' ? locationPath(record) : undefined,
          drive: mounted?.location(record.id)?.drive,
          entries: index.entryCount(record.id),
          cloud: queues.get(record.id),
        }
        const live = mounted?.volume(record.id)?.status()
        if (live) return { ...common, ...live }
        const failure = mounted?.failure(record.id)
        if (failure !== undefined) return { ...common, state: 'offline' as const, detail: failure, unreadable: [] }
        return { ...common, state: mounted ? ('closed' as const) : ('not mounted' as const), unreadable: [] }
      }),
      index: index.size(),
    }
  },
}
