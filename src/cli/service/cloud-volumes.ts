/**
 * Cloud volumes: add, change, list.
 *
 * Owns: what may become a cloud volume and under which name. Must stay true: the bucket was tried before anything is recorded, and
 * what fails leaves nothing behind; keys go to the library's secrets and nowhere else.
 */
import { parseS3Location, type S3Location } from '../../backends/s3/connect.ts'
import { type CredentialsProvider, fixedCredentials, standardCredentials } from '../../backends/s3/credentials.ts'
import { FsError } from '../../errors.ts'
import type { Index, VolumeRecord } from '../../index/contract.ts'
import { addSecret, forgetSecrets, replaceSecret } from '../../library/secrets.ts'
import type { Name } from '../../vfs/contract.ts'
import { CommandError } from '../exit-codes.ts'
import { nameOfText } from '../names.ts'
import { printable } from '../terminal/terminal.ts'
import { tryBucket } from './bucket-trial.ts'
import {
  addressOf,
  type CloudRecordSettings,
  cloudRecords,
  cloudSettings,
  DEFAULT_TTL_MS,
  findCloud,
  keysOf,
  lacks,
  namedSecrets,
} from './cloud-record.ts'
import { checkName, waitForScans } from './locations.ts'
import type { CloudVolumeInfo, CloudVolumeSettings, VolumeKeys } from './requests.ts'
import type { Arguments, Handler, Service } from './service.ts'
import { queuesOf } from './upload-queue.ts'

export const addCloud: Handler<'volume.add'> = {
  parse: given => {
    const name = given.optionalBytes('name')
    const keys = parseKeys(given)
    if (keys === undefined) throw new CommandError('daemon', 'the request lacks "keys"')
    return {
      address: given.text('address'),
      ...(name === undefined ? {} : { name }),
      keys,
      settings: parseSettings(given.optionalRecord('settings')),
      wait: given.flag('wait'),
    }
  },
  async handle(service, given, context) {
    const { index } = service
    const { settings, keys } = given
    const location = parseAddress(given.address)
    const name = given.name ?? nameOf(location)
    checkPlace(index, name, location, settings.endpoint)
    const readOnly = settings.readOnly === true
    const found = await tryBucket(
      { ...settings, location, readOnly, assume: settings.assume ?? {}, keys: providerOf(keys, settings.profile) },
      context.signal,
    )
    // While the bucket was tried, somebody else may have taken the name.
    checkPlace(index, name, location, settings.endpoint)
    const secret = 'chain' in keys ? undefined : addSecret(index, keys, namedSecrets(index))
    const record = index.addVolume('cloud', name, {
      ...location,
      ...present({ endpoint: settings.endpoint, profile: settings.profile, pathStyle: settings.pathStyle, secret }),
      region: found.region,
      credentials: 'chain' in keys ? 'chain' : 'sealed',
      ttlMs: settings.ttlMs ?? DEFAULT_TTL_MS,
      writeMode: settings.writeMode ?? 'back',
      litter: settings.litter === true,
      readOnly: readOnly || !found.traits.writable,
      traits: found.traits,
    })
    index.flush('durable')
    service.log.info(`cloud volume "${name}" added: ${addressOf(location)}`)
    await service.mounted?.attach(record)
    if (given.wait && service.mounted) await waitForScans(service.mounted, [record], context)
    return { ...describe(service, record), mounted: service.mounted !== undefined }
  },
}

export const setCloud: Handler<'volume.set'> = {
  parse: given => {
    const keys = parseKeys(given)
    return {
      name: given.bytes('name'),
      ...(keys === undefined ? {} : { keys }),
      settings: parseSettings(given.optionalRecord('settings')),
    }
  },
  async handle(service, { name, keys, settings }, context) {
    const { index } = service
    const record = findCloud(index, name)
    const old = cloudSettings(record)
    const changes = present({
      endpoint: settings.endpoint,
      region: settings.region,
      profile: settings.profile,
      pathStyle: settings.pathStyle,
      ttlMs: settings.ttlMs,
      writeMode: settings.writeMode,
      litter: settings.litter,
      readOnly: settings.readOnly,
    })
    const changed = { ...old, ...changes }
    const tried = await retry(record, changed, keys, settings, service, context.signal)
    const next: CloudRecordSettings = { ...changed, ...tried }
    const stored = keepKeys(index, next, keys)
    index.updateVolume(record.id, present({ ...stored }))
    forgetSecrets(index, namedSecrets(index))
    index.flush('durable')
    service.log.info(`cloud volume "${name}" changed`)
    const isNewKeysOnly = Object.keys(changes).length === 0 && settings.assume === undefined && stored.secret === old.secret
    // The provider of the keys asks the library each time: the volume needn't be opened anew for them.
    if (!isNewKeysOnly || keys === undefined || 'chain' in keys) await service.mounted?.reattach(record.id)
    else service.mounted?.cloud(record.id)?.sync.retryNow()
    return describe(service, findCloud(index, name))
  },
}

export const listClouds: Handler<'volume.list'> = {
  parse: () => ({}),
  handle: async service => ({ volumes: cloudRecords(service.index).map(record => describe(service, record)) }),
}

/** Tries the bucket again when something changed that it depends on. */
async function retry(
  record: VolumeRecord,
  changed: CloudRecordSettings,
  keys: VolumeKeys | undefined,
  settings: CloudVolumeSettings,
  service: Service,
  signal: AbortSignal,
): Promise<Partial<CloudRecordSettings>> {
  const { endpoint, region, pathStyle, readOnly, assume } = settings
  const elsewhere = [endpoint, region, pathStyle, keys, settings.profile].some(value => value !== undefined)
  if (!elsewhere && readOnly === undefined && assume === undefined) return {}
  const found = await tryBucket(
    {
      location: changed,
      endpoint: changed.endpoint,
      region: changed.region,
      pathStyle: changed.pathStyle,
      readOnly: changed.readOnly === true,
      assume: assume ?? {},
      keys: keys === undefined ? keysOf(service.index, record) : providerOf(keys, changed.profile),
    },
    signal,
  )
  return { region: found.region, traits: found.traits, readOnly: changed.readOnly === true || !found.traits.writable }
}

/** Where the keys of the volume are from now on. */
function keepKeys(index: Index, settings: CloudRecordSettings, keys: VolumeKeys | undefined): CloudRecordSettings {
  if (keys === undefined) return settings
  if ('chain' in keys) {
    const { secret: _, ...rest } = settings
    return { ...rest, credentials: 'chain' }
  }
  if (settings.secret !== undefined) {
    replaceSecret(index, settings.secret, keys)
    return { ...settings, credentials: 'sealed' }
  }
  return { ...settings, credentials: 'sealed', secret: addSecret(index, keys, namedSecrets(index)) }
}

/** A volume as `volume list` shows it. */
function describe(service: Service, record: VolumeRecord): CloudVolumeInfo {
  const settings = cloudSettings(record)
  const status = service.mounted?.volume(record.id)?.status()
  const failure = service.mounted?.failure(record.id)
  const queue = queuesOf(service, [record], 0)[0]
  return {
    name: record.name,
    address: addressOf(settings),
    endpoint: settings.endpoint,
    region: settings.region,
    keys: settings.credentials === 'chain' ? 'AWS configuration' : 'sealed',
    ttlMs: settings.ttlMs,
    writeMode: settings.writeMode,
    readOnly: settings.readOnly === true,
    state: status?.state ?? (service.mounted ? 'closed' : 'not mounted'),
    detail: status?.detail ?? failure,
    entries: service.index.entryCount(record.id),
    queued: queue?.queued ?? 0,
    failed: queue?.failed ?? 0,
    lacks: lacks(settings),
  }
}

function parseAddress(address: string): S3Location {
  try {
    return parseS3Location(address)
  } catch (error) {
    throw error instanceof FsError ? new CommandError('usage', error.message) : error
  }
}

/** The last part of the prefix, or the bucket. */
function nameOf({ bucket, prefix }: S3Location): Name {
  return nameOfText(prefix === '' ? bucket : prefix.slice(0, -1).split('/').at(-1)!)
}

function checkPlace(index: Index, name: Name, location: S3Location, endpoint: string | undefined): void {
  checkName(name, 'volume')
  if (index.volumes().some(record => record.name === name))
    throw new CommandError(
      'volume',
      `there is already a folder named "${printable(name)}" at the top of the tree; choose another with --name`,
    )
  const same = cloudRecords(index).find(record => {
    const settings = cloudSettings(record)
    return settings.bucket === location.bucket && settings.prefix === location.prefix && settings.endpoint === endpoint
  })
  if (same) throw new CommandError('volume', `${addressOf(location)} is a volume already, named "${printable(same.name)}"`)
}

function providerOf(keys: VolumeKeys, profile: string | undefined): CredentialsProvider {
  return 'chain' in keys ? standardCredentials(profile) : fixedCredentials(keys)
}

function parseKeys(given: Arguments): VolumeKeys | undefined {
  const record = given.optionalRecord('keys')
  const { accessKeyId, secretAccessKey, sessionToken } = record
  if (record.chain === true) return { chain: true }
  if (accessKeyId === undefined) return undefined
  const isText = (value: unknown): value is string => typeof value === 'string' && value !== ''
  if (!isText(accessKeyId) || !isText(secretAccessKey) || (sessionToken !== undefined && !isText(sessionToken)))
    throw new CommandError('daemon', 'the request has no proper keys')
  return { accessKeyId, secretAccessKey, ...(sessionToken === undefined ? {} : { sessionToken }) }
}

function parseSettings(given: Readonly<Record<string, unknown>>): CloudVolumeSettings {
  const field = <T>(key: string, type: 'string' | 'number' | 'boolean'): T | undefined => {
    const value = given[key]
    if (value === undefined || value === null) return undefined
    if (typeof value !== type) throw new CommandError('daemon', `the request's "${key}" is not a ${type}`)
    return value as T
  }
  const writeMode = field<string>('writeMode', 'string')
  if (writeMode !== undefined && writeMode !== 'back' && writeMode !== 'through')
    throw new CommandError('daemon', 'the request has another "writeMode"')
  const { assume } = given
  if (assume !== undefined && (typeof assume !== 'object' || assume === null || Object.values(assume).some(v => typeof v !== 'string')))
    throw new CommandError('daemon', 'the request has another "assume"')
  return {
    endpoint: field<string>('endpoint', 'string'),
    region: field<string>('region', 'string'),
    profile: field<string>('profile', 'string'),
    pathStyle: field<boolean>('pathStyle', 'boolean'),
    ttlMs: field<number>('ttlMs', 'number'),
    writeMode,
    readOnly: field<boolean>('readOnly', 'boolean'),
    litter: field<boolean>('litter', 'boolean'),
    assume: assume as Readonly<Record<string, string>> | undefined,
  }
}

/** Without what is undefined. */
function present(record: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(record).filter(([, value]) => value !== undefined))
}
