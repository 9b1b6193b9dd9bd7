/**
 * All limits of the library: disk and memory that cloud volumes may take, bandwidth, transfers at once.
 *
 * Owns: the one setting in which they are remembered, their defaults and bounds. docs/cloud.md has the table.
 * Must stay true: what was never set has its default; the size of the cache is decided once, by the disk that is free then, and
 * remembered (it would shrink as the cache grows otherwise).
 */
import { statfsSync } from 'node:fs'
import type { Index } from '../../index/contract.ts'
import { CommandError } from '../exit-codes.ts'
import type { Handler, Service } from './service.ts'

export interface Limits {
  readonly cacheBytes: number
  readonly memoryBytes: number
  /** Of all cloud volumes together; null: without limit. */
  readonly uploadBytesPerSecond: number | null
  readonly downloadBytesPerSecond: number | null
  /** Of each cloud volume. */
  readonly uploadsAtOnce: number
  readonly downloadsAtOnce: number
}

/** What is absent stays as it is. */
export type LimitChanges = { readonly [K in keyof Limits]?: Limits[K] | undefined }

const SETTING = 'limits'
const MIB = 2 ** 20
const DEFAULTS = {
  memoryBytes: 96 * MIB,
  uploadBytesPerSecond: null,
  downloadBytesPerSecond: null,
  uploadsAtOnce: 8,
  downloadsAtOnce: 16,
} as const satisfies Omit<Limits, 'cacheBytes'>

const CACHE_SHARE_OF_FREE = 0.1
const CACHE_LARGEST_DEFAULT_BYTES = 20 * 2 ** 30

/** The least and the most that may be set. */
const BOUNDS: Readonly<Record<keyof Limits, readonly [number, number]>> = {
  cacheBytes: [32 * MIB, 2 ** 50],
  memoryBytes: [32 * MIB, 2 ** 40],
  uploadBytesPerSecond: [1024, 2 ** 50],
  downloadBytesPerSecond: [1024, 2 ** 50],
  uploadsAtOnce: [1, 128],
  downloadsAtOnce: [1, 128],
}

/** What holds for this library; `directory` is where its cache is. */
export function readLimits(index: Index, directory: string): Limits {
  const set = readSet(index)
  return { ...DEFAULTS, cacheBytes: set.cacheBytes ?? defaultCacheBytes(directory), ...withoutAbsent(set) }
}

/** Remembers the size of the cache, once it is about to be used. */
export function decideCacheSize(index: Index, directory: string): Limits {
  const limits = readLimits(index, directory)
  if (readSet(index).cacheBytes === undefined) writeSet(index, { ...readSet(index), cacheBytes: limits.cacheBytes })
  return limits
}

/** Remembers changes. Throws CommandError 'usage' for what is out of bounds. */
export function changeLimits(index: Index, changes: LimitChanges): void {
  checkBounds(changes)
  writeSet(index, { ...readSet(index), ...withoutAbsent(changes) })
}

export const limits: Handler<'limits'> = {
  parse: given => ({ changes: parseChanges(given.record('changes')) }),
  async handle(service: Service, { changes }) {
    if (Object.keys(changes).length > 0) {
      changeLimits(service.index, changes)
      service.mounted?.limitsChanged()
      service.log.info('limits changed')
    }
    return { limits: readLimits(service.index, service.library.paths.directory), mounted: service.mounted !== undefined }
  },
}

/** Changes as they came over a socket or with the settings of a mount. */
export function parseChanges(given: Readonly<Record<string, unknown>>): LimitChanges {
  const changes: Record<string, number | null> = {}
  for (const name of Object.keys(BOUNDS) as (keyof Limits)[]) {
    const value = given[name]
    if (value === undefined) continue
    if (value !== null && typeof value !== 'number') throw new CommandError('daemon', `the request's "${name}" is not a number`)
    if (value === null && !name.endsWith('PerSecond')) throw new CommandError('daemon', `the request's "${name}" is missing`)
    changes[name] = value
  }
  checkBounds(changes)
  return changes as LimitChanges
}

function checkBounds(changes: LimitChanges): void {
  for (const name of Object.keys(BOUNDS) as (keyof Limits)[]) {
    const value = changes[name]
    const [least, most] = BOUNDS[name]
    if (value === undefined || value === null || (Number.isFinite(value) && value >= least && value <= most)) continue
    throw new CommandError('usage', `${WORDS[name]} may be from ${least} to ${most}, not ${value}`)
  }
}

const WORDS: Readonly<Record<keyof Limits, string>> = {
  cacheBytes: 'the size of the cache in bytes',
  memoryBytes: 'the memory in bytes',
  uploadBytesPerSecond: 'bytes a second up',
  downloadBytesPerSecond: 'bytes a second down',
  uploadsAtOnce: 'uploads at once',
  downloadsAtOnce: 'downloads at once',
}

function readSet(index: Index): LimitChanges {
  const text = index.setting(SETTING)
  return text === undefined ? {} : (JSON.parse(text) as LimitChanges)
}

function writeSet(index: Index, set: LimitChanges): void {
  index.setSetting(SETTING, JSON.stringify(set))
}

function withoutAbsent(changes: LimitChanges): Partial<Limits> {
  return Object.fromEntries(Object.entries(changes).filter(([, value]) => value !== undefined))
}

function defaultCacheBytes(directory: string): number {
  const { bavail, bsize } = statfsSync(directory)
  const share = Math.floor((bavail * bsize * CACHE_SHARE_OF_FREE) / MIB) * MIB
  return Math.max(BOUNDS.cacheBytes[0], Math.min(CACHE_LARGEST_DEFAULT_BYTES, share))
}
