/**
 * The ground on which the cloud volumes of a library stand, and the composition of each of them.
 *
 * Owns: what all of them share (block cache, staging, journal, memory, bandwidth), opened with the first of them, and each one's
 * way to its server: store, log, limits, retries. Must stay true: opening asks no network, so that a volume whose server is away
 * opens from the index; the cache's directory has one holder; staged contents that no row of the journal names are removed before
 * anything is written; `close` gives back in reverse order, after the volumes are closed.
 */
import { hostname } from 'node:os'
import { Bandwidth } from '../../backends/bandwidth.ts'
import { composeBackend } from '../../backends/compose.ts'
import type { Backend } from '../../backends/contract.ts'
import { type SharedBandwidth, StoreLimits } from '../../backends/limit.ts'
import { S3Backend } from '../../backends/s3/s3-backend.ts'
import { BlockCache } from '../../cache/blocks/block-cache.ts'
import { MemoryBudget } from '../../cache/reading/memory-budget.ts'
import { StagingArea } from '../../cache/staging/staging-area.ts'
import { Journal } from '../../cache/writeback/journal.ts'
import { SecretKey } from '../../crypto/secret-key.ts'
import type { Index, VolumeRecord } from '../../index/contract.ts'
import type { Library } from '../../library/library.ts'
import type { Log } from '../../log.ts'
import type { VfsListener } from '../../vfs/contract.ts'
import { CloudVolume } from '../../vfs/volumes/cloud/cloud-volume.ts'
import { addressOf, cloudSettings, keysOf } from './cloud-record.ts'
import { decideCacheSize, type Limits } from './limits.ts'
import { stagedIds } from './upload-queue.ts'

/** Listing, copying and deleting at once, of each volume. */
const REQUESTS_AT_ONCE = 16
const DEVICE_LIMIT = 32

export interface CloudGroundOptions {
  readonly library: Library
  readonly index: Index
  readonly log: Log
}

export class CloudGround {
  readonly cache: BlockCache
  readonly journal: Journal
  readonly staging: StagingArea
  readonly #index: Index
  readonly #log: Log
  readonly #memory: MemoryBudget
  readonly #bandwidth: SharedBandwidth
  readonly #stores = new Map<number, { readonly backend: Backend; readonly limits: StoreLimits }>()
  readonly #given: AsyncDisposableStack
  #limits: Limits

  /** Throws 'busy' when another process holds the cache. */
  constructor(options: CloudGroundOptions) {
    const { paths } = options.library
    this.#index = options.index
    this.#log = options.log
    this.#limits = decideCacheSize(options.index, paths.directory)
    this.#memory = new MemoryBudget(this.#limits.memoryBytes)
    this.#bandwidth = {
      download: new Bandwidth(this.#limits.downloadBytesPerSecond ?? undefined),
      upload: new Bandwidth(this.#limits.uploadBytesPerSecond ?? undefined),
    }
    this.#given = new AsyncDisposableStack()
    const key = new SecretKey(options.library.key)
    this.#given.defer(() => key[Symbol.dispose]())
    this.journal = new Journal({ path: paths.journal, key })
    this.#given.defer(() => this.journal.close())
    try {
      this.cache = new BlockCache({ directory: paths.cache, key, quotaBytes: this.#limits.cacheBytes, log: options.log })
    } catch (error) {
      void this.#given.disposeAsync()
      throw error
    }
    this.#given.defer(() => this.cache.close())
    this.staging = new StagingArea({ directory: paths.staging, key, makeRoom: bytes => void this.cache.shrink(bytes) })
    const orphans = this.staging.removeOrphans(stagedIds(this.journal))
    if (orphans > 0) this.#log.info(`${orphans} staged contents that nothing refers to were removed`)
  }

  /** Opens a volume from the index; its server is asked when it is needed. */
  open(record: VolumeRecord, options: { readonly listener: VfsListener; readonly readOnly: boolean }): CloudVolume {
    const backend = this.#connect(record)
    return CloudVolume.open({
      record: options.readOnly ? { ...record, settings: { ...record.settings, readOnly: true } } : record,
      index: this.#index,
      backend,
      cache: this.cache,
      reading: { memory: this.#memory },
      staging: this.staging,
      journal: this.journal,
      device: deviceName(),
      log: this.#log,
      listener: options.listener,
      engine: { worksAtOnce: this.#limits.uploadsAtOnce },
    })
  }

  /** The way to a volume's server, while the volume is open. */
  backend(id: number): Backend | undefined {
    return this.#stores.get(id)?.backend
  }

  /** The volume is closed: so is its way to the server. */
  release(id: number): void {
    this.#stores.get(id)?.backend.close()
    this.#stores.delete(id)
  }

  /** New limits hold at once, save that of memory. */
  setLimits(limits: Limits): void {
    if (limits.cacheBytes !== this.#limits.cacheBytes) this.cache.setQuota(limits.cacheBytes)
    this.#limits = limits
    this.#bandwidth.download.setRate(limits.downloadBytesPerSecond ?? undefined)
    this.#bandwidth.upload.setRate(limits.uploadBytesPerSecond ?? undefined)
    for (const store of this.#stores.values()) {
      store.limits.downloads.setLimit(limits.downloadsAtOnce)
      store.limits.uploads.setLimit(limits.uploadsAtOnce)
    }
  }

  /** After all volumes are closed. */
  async close(): Promise<void> {
    for (const id of [...this.#stores.keys()]) this.release(id)
    await this.#given.disposeAsync()
  }

  #connect(record: VolumeRecord): Backend {
    const settings = cloudSettings(record)
    const { uploadsAtOnce, downloadsAtOnce } = this.#limits
    const store = new S3Backend({
      bucket: settings.bucket,
      region: settings.region,
      endpoint: settings.endpoint,
      pathStyle: settings.pathStyle,
      traits: settings.traits,
      credentials: keysOf(this.#index, record),
      connections: { maximumConnections: uploadsAtOnce + downloadsAtOnce + REQUESTS_AT_ONCE },
    })
    const limits = new StoreLimits({ uploadsAtOnce, downloadsAtOnce, requestsAtOnce: REQUESTS_AT_ONCE }, this.#bandwidth)
    const backend = composeBackend(store, { limits, log: this.#log })
    this.#stores.set(record.id, { backend, limits })
    this.#log.debug(`${addressOf(settings)}: ready`)
    return backend
  }
}

/** What names this machine in the name of a conflicting copy. */
export function deviceName(host: string = hostname()): string {
  const plain = host
    .split('.')[0]!
    .replace(/[^A-Za-z0-9-]+/g, '-')
    .replace(/^-+|-+$/g, '')
    .slice(0, DEVICE_LIMIT)
  return plain === '' ? 'device' : plain
}
