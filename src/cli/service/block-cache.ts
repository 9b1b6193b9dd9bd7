/**
 * The block cache as a command sees it: `cache status` and `cache clear`, with and without a mount.
 * Must stay true: the directory has one holder, so without a mount it is opened for the moment, under the library's lock; what is
 * pinned isn't cleared.
 */
import { existsSync } from 'node:fs'
import { BlockCache } from '../../cache/blocks/block-cache.ts'
import { SecretKey } from '../../crypto/secret-key.ts'
import { cloudRecords } from './cloud-record.ts'
import { readLimits } from './limits.ts'
import type { CacheStatus } from './requests.ts'
import type { Handler, Service } from './service.ts'

export const cacheStatus: Handler<'cache.status'> = {
  parse: () => ({}),
  async handle(service): Promise<CacheStatus> {
    const directory = service.library.paths.cache
    const pinned = cloudRecords(service.index).flatMap(record =>
      (service.mounted?.cloud(record.id)?.pinned() ?? []).map(pin => ({ volume: record.name, ...pin })),
    )
    return await withCache(service, async cache => {
      await cache?.whenReady()
      const status = cache?.status()
      const { cacheBytes } = readLimits(service.index, service.library.paths.directory)
      return {
        directory,
        quotaBytes: status?.quotaBytes ?? cacheBytes,
        usedBytes: status?.usedBytes ?? 0,
        pinnedBytes: status?.pinnedBytes ?? 0,
        blocks: status?.blocks ?? 0,
        hits: status?.hits ?? 0,
        misses: status?.misses ?? 0,
        damaged: status?.damaged ?? 0,
        pinned,
      }
    })
  },
}

export const clearCache: Handler<'cache.clear'> = {
  parse: () => ({}),
  handle: service =>
    withCache(service, async cache => {
      await cache?.whenReady()
      const freedBytes = cache?.clearUnpinned() ?? 0
      service.log.info('the block cache was cleared')
      return { freedBytes }
    }),
}

/** Lends the cache: that of the mount, else its own for the moment; undefined where there is none. */
async function withCache<T>(service: Service, use: (cache: BlockCache | undefined) => Promise<T>): Promise<T> {
  const live = service.mounted?.ground?.cache
  if (live) return await use(live)
  const { cache: directory, directory: library } = service.library.paths
  if (!existsSync(directory)) return await use(undefined)
  using key = new SecretKey(service.library.key)
  const cache = new BlockCache({ directory, key, quotaBytes: readLimits(service.index, library).cacheBytes, log: service.log })
  try {
    return await use(cache)
  } finally {
    await cache.close()
  }
}
