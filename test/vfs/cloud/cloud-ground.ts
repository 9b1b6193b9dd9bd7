/**
 * A cloud volume for tests, on a ground of its own in a temporary directory: index, cache, staging, journal.
 * `reopen` is what a new process finds; `crash` copies what the kernel was given, as a process that is killed leaves it.
 */
import { cpSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Backend } from '../../../src/backends/contract.ts'
import { BlockCache } from '../../../src/cache/blocks/block-cache.ts'
import { StagingArea } from '../../../src/cache/staging/staging-area.ts'
import { Journal } from '../../../src/cache/writeback/journal.ts'
import { SecretKey } from '../../../src/crypto/secret-key.ts'
import { openIndex, type SqliteIndex } from '../../../src/index/open-index.ts'
import { type Log, silentLog } from '../../../src/log.ts'
import { type Ino, isDirectory, type Name, type RequestContext, type VfsListener } from '../../../src/vfs/contract.ts'
import { CloudVolume, type CloudVolumeOptions } from '../../../src/vfs/volumes/cloud/cloud-volume.ts'
import { fileOf } from '../../../src/vfs/volumes/cloud/contents.ts'
import { context } from '../volume-contract.ts'

const KEY = Buffer.alloc(32, 9)

/** Also of grounds that are left as a killed process leaves them. */
const directories = new Set<string>()
process.once('exit', () => {
  for (const directory of directories) rmSync(directory, { recursive: true, force: true })
})

export interface CloudGroundOptions {
  readonly backend: Backend
  readonly directory?: string
  readonly settings?: Record<string, unknown>
  readonly volume?: Partial<CloudVolumeOptions>
  readonly log?: Log
  readonly cacheBytes?: number
  /** Keeps the directory when it is closed. */
  readonly keep?: boolean
}

/** What a volume told its front ends. */
export class Told implements VfsListener {
  readonly lines: string[] = []
  inodeChanged(ino: Ino, data: boolean): void {
    this.lines.push(`inode ${ino}${data ? ' data' : ''}`)
  }
  entryChanged(_parent: Ino, name: Name): void {
    this.lines.push(`entry ${name}`)
  }
  entryRemoved(_parent: Ino, name: Name): void {
    this.lines.push(`removed ${name}`)
  }
  everythingChanged(): void {
    this.lines.push('everything')
  }
}

export class TestGround {
  readonly directory: string
  readonly index: SqliteIndex
  readonly cache: BlockCache
  readonly staging: StagingArea
  readonly journal: Journal
  readonly volume: CloudVolume
  readonly told = new Told()
  readonly #keep: boolean

  constructor(options: CloudGroundOptions) {
    this.directory = options.directory ?? mkdtempSync(join(tmpdir(), 'sdmount-cloud-'))
    directories.add(this.directory)
    this.#keep = options.keep ?? false
    const log = options.log ?? silentLog
    const at = (name: string) => join(this.directory, name)
    mkdirSync(at('staging'), { recursive: true })
    const key = new SecretKey(Buffer.from(KEY))
    this.index = openIndex({ directory: at('index'), key: KEY, log })
    this.cache = new BlockCache({ directory: at('cache'), key, quotaBytes: options.cacheBytes ?? 256 * 2 ** 20 })
    this.staging = new StagingArea({ directory: at('staging'), key })
    this.journal = new Journal({ path: at('journal.db'), key })
    this.staging.removeOrphans(new Set([...this.journal.roots()].map(fileOf)))
    const record =
      this.index.volumes()[0] ??
      this.index.addVolume('cloud', 'bucket', {
        bucket: 'b',
        prefix: '',
        credentials: 'chain',
        ttlMs: 60_000,
        writeMode: 'back',
        litter: false,
      })
    this.volume = CloudVolume.open({
      record: { ...record, settings: { ...record.settings, ...options.settings } },
      index: this.index,
      backend: options.backend,
      cache: this.cache,
      reading: {},
      staging: this.staging,
      journal: this.journal,
      device: 'here',
      log,
      listener: this.told,
      ...options.volume,
      engine: { firstDelayMs: 1, maximumDelayMs: 20, firstProbeMs: 5, maximumProbeMs: 50, ...options.volume?.engine },
    })
  }

  /** Everything that was written is in the bucket. */
  async drained(): Promise<void> {
    await this.volume.sync.drained(AbortSignal.timeout(120_000))
  }

  async close(): Promise<void> {
    await this.volume.close()
    await this.cache.close()
    this.journal.close()
    this.index.close()
    if (!this.#keep) rmSync(this.directory, { recursive: true, force: true })
  }

  /** The directory as a process that is killed now leaves it: what was handed to the kernel, and no more. */
  asLeftByCrash(): string {
    const copy = mkdtempSync(join(tmpdir(), 'sdmount-cloud-'))
    directories.add(copy)
    for (const name of ['index', 'staging', 'journal.db', 'journal.db-wal']) copyTree(join(this.directory, name), join(copy, name))
    return copy
  }
}

function copyTree(from: string, to: string): void {
  cpSync(from, to, { recursive: true, filter: path => !path.endsWith('-shm'), force: true })
}

/** Every path below a directory with what it is: "d path", "f path content", "l path target". */
export async function snapshot(volume: CloudVolume, ask: RequestContext = context): Promise<string[]> {
  const lines: string[] = []
  const walk = async (ino: Ino, path: string): Promise<void> => {
    const directory = await volume.opendir(ask, ino)
    const names: Name[] = []
    await directory.read(ask, 0n, false, {
      add(name) {
        if (name !== '.' && name !== '..') names.push(name)
        return true
      },
    })
    await directory.release()
    for (const name of names) {
      const found = await volume.lookup(ask, ino, name)
      if (!found) continue
      const { attributes } = found
      const here = `${path}${name}`
      if (isDirectory(attributes.mode)) {
        lines.push(`d ${here}`)
        await walk(attributes.ino, `${here}/`)
      } else if ((attributes.mode & 0o170000) === 0o120000) lines.push(`l ${here} ${await volume.readlink(ask, attributes.ino)}`)
      else lines.push(`f ${here} ${(await contentOf(volume, attributes.ino, ask)).toString('latin1')}`)
    }
  }
  await walk(volume.rootIno, '')
  return lines.sort()
}

export async function contentOf(volume: CloudVolume, ino: Ino, ask: RequestContext = context): Promise<Buffer> {
  const file = await volume.open(ask, ino, 0)
  try {
    const { attributes } = await volume.getattr(ask, ino)
    const into = Buffer.alloc(attributes.sizeBytes + 1)
    const answer = file.read(ask, 0, into)
    return typeof answer === 'number' ? into.subarray(0, answer) : await answer
  } finally {
    await file.release()
  }
}

/** What a bucket has: "key content", without metadata. */
export async function bucketOf(backend: Backend): Promise<string[]> {
  const lines: string[] = []
  for (let continuation: string | undefined; ; ) {
    const page = await backend.list({ continuation })
    for (const { key } of page.objects) {
      const parts: Buffer[] = []
      await backend.get(key, chunk => void parts.push(Buffer.from(chunk)))
      lines.push(`${key} ${Buffer.concat(parts).toString('latin1')}`)
    }
    continuation = page.next
    if (continuation === undefined) return lines.sort()
  }
}
