/** What a library is doing: for `sdmount status`. Owns: the gathering, not the printing. */
import { version } from '../version.ts'
import { locationPath } from './mounted-tree.ts'
import type { LibraryStatus } from './requests.ts'
import type { Handler } from './service.ts'

export const status: Handler<'status'> = {
  parse: () => ({}),
  async handle({ library, index, mounted }): Promise<LibraryStatus> {
    const memory = process.memoryUsage()
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
          entries: index.entryCount(record.id),
        }
        const live = mounted?.location(record.id)?.status()
        if (live) return { ...common, ...live }
        return { ...common, state: mounted ? ('closed' as const) : ('not mounted' as const), unreadable: [] }
      }),
      index: index.size(),
    }
  },
}
