/**
 * What the library remembers of a cloud volume, and the keys that belong to it.
 *
 * Owns: the reading of a record's settings (their form is docs/formats.md's), the words for a bucket, the provider of its keys.
 * Must stay true: settings hold no secret; what is missing in them takes a default, so that older records can be read.
 */
import { BackendError } from '../../backends/errors.ts'
import { type CredentialsProvider, standardCredentials } from '../../backends/s3/credentials.ts'
import { missingGuarantees, readTraits, type S3Traits } from '../../backends/s3/traits.ts'
import { FsError } from '../../errors.ts'
import type { Index, VolumeRecord } from '../../index/contract.ts'
import { readSecret } from '../../library/secrets.ts'
import type { Name } from '../../vfs/contract.ts'
import type { CloudSettings } from '../../vfs/volumes/cloud/cloud-volume.ts'
import { CommandError } from '../exit-codes.ts'
import { printable } from '../terminal/terminal.ts'

export const DEFAULT_TTL_MS = 60_000

/** The settings of a record of kind 'cloud'. */
export interface CloudRecordSettings extends CloudSettings {
  readonly region: string
  /** What the server was found to do, with what the user said of it. */
  readonly traits: S3Traits
  /** The id of its keys among the library's secrets, where they are sealed. */
  readonly secret?: string
}

/** Reads a record. Throws 'damaged' for what is none of ours. */
export function cloudSettings(record: VolumeRecord): CloudRecordSettings {
  const stored = record.settings as Partial<Record<keyof CloudRecordSettings, unknown>>
  const text = (value: unknown): string | undefined => (typeof value === 'string' ? value : undefined)
  const { bucket, region, ttlMs } = stored
  if (typeof bucket !== 'string' || typeof region !== 'string')
    throw new FsError('damaged', 'the settings of the volume name no bucket', { operation: 'open volume' })
  const endpoint = text(stored.endpoint)
  const profile = text(stored.profile)
  const secret = text(stored.secret)
  return {
    bucket,
    prefix: text(stored.prefix) ?? '',
    region,
    ...(endpoint === undefined ? {} : { endpoint }),
    ...(profile === undefined ? {} : { profile }),
    ...(secret === undefined ? {} : { secret }),
    ...(typeof stored.pathStyle === 'boolean' ? { pathStyle: stored.pathStyle } : {}),
    credentials: stored.credentials === 'sealed' ? 'sealed' : 'chain',
    ttlMs: typeof ttlMs === 'number' ? ttlMs : DEFAULT_TTL_MS,
    writeMode: stored.writeMode === 'through' ? 'through' : 'back',
    litter: stored.litter === true,
    readOnly: stored.readOnly === true,
    traits: readTraits(stored.traits),
  }
}

/** `s3://bucket/prefix`, for people. */
export function addressOf({ bucket, prefix }: Pick<CloudSettings, 'bucket' | 'prefix'>): string {
  return `s3://${bucket}${prefix === '' ? '' : `/${prefix.replace(/\/$/, '')}`}`
}

/** What the server can't promise, a line each. */
export function lacks(settings: CloudRecordSettings): string[] {
  if (settings.readOnly) return []
  return missingGuarantees(settings.traits)
}

/** Cloud volumes of the index, in the order they were added. */
export function cloudRecords(index: Index): VolumeRecord[] {
  return index.volumes().filter(record => record.kind === 'cloud')
}

/** The cloud volume of that name, or CommandError 'no-volume'. */
export function findCloud(index: Index, name: Name): VolumeRecord {
  const all = cloudRecords(index)
  const found = all.find(record => record.name === name)
  if (found) return found
  const names = all.map(record => printable(record.name)).join(', ')
  throw new CommandError('no-volume', `there is no cloud volume named "${printable(name)}"${names ? ` (there are: ${names})` : ''}`)
}

/** The ids of the secrets that volumes name. */
export function namedSecrets(index: Index): Set<string> {
  const ids = cloudRecords(index).map(record => record.settings.secret)
  return new Set(ids.filter(id => typeof id === 'string'))
}

/** Gives the keys of a volume whenever they are needed: those of now, so that new ones hold at once. */
export function keysOf(index: Index, record: VolumeRecord): CredentialsProvider {
  const settings = cloudSettings(record)
  const { secret } = settings
  if (settings.credentials === 'chain') return standardCredentials(settings.profile)
  return async () => {
    const keys = secret === undefined ? undefined : readSecret(index, secret)
    if (keys) return keys
    throw new BackendError('access-denied', `the library has no keys for it: run sdmount volume set ${printable(record.name)} --ask`, {
      operation: 'credentials',
    })
  }
}
