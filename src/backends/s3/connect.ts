/**
 * From what a person types to a bucket that is known to work.
 *
 * Owns: the reading of `s3://bucket/prefix`, the finding of a bucket's region, the check before anything is recorded.
 * Must stay true: nothing is stored here, and every way of not getting in is one clear line.
 */
import type { CallOptions } from '../contract.ts'
import { BackendError } from '../errors.ts'
import type { Origin } from '../http/connection.ts'
import { HttpPool, type PoolLimits } from '../http/pool.ts'
import type { CredentialsProvider } from './credentials.ts'
import { probeS3 } from './probe.ts'
import { S3Backend } from './s3-backend.ts'
import type { S3Settings } from './settings.ts'
import { CAUTIOUS_TRAITS, type S3Traits } from './traits.ts'

export interface S3Location {
  readonly bucket: string
  /** Empty, or ending in "/". */
  readonly prefix: string
}

/** Reads `s3://bucket[/prefix]`. Throws 'invalid' with a line for the user. */
export function parseS3Location(text: string): S3Location {
  const match = /^s3:\/\/([^/]+)(?:\/(.*))?$/s.exec(text)
  if (!match) throw new BackendError('invalid', `"${text}" is not a bucket: it should read s3://bucket or s3://bucket/folder`)
  const prefix = (match[2] ?? '').replace(/\/+$/, '')
  return { bucket: match[1]!, prefix: prefix === '' ? '' : `${prefix}/` }
}

export interface ConnectOptions extends CallOptions {
  readonly location: S3Location
  readonly endpoint?: string | undefined
  readonly region?: string | undefined
  readonly pathStyle?: boolean | undefined
  readonly credentials: CredentialsProvider
  /** What was found out before: nothing is tried then. */
  readonly traits?: S3Traits | undefined
  readonly connections?: Partial<PoolLimits> | undefined
}

export interface ConnectedS3 {
  readonly store: S3Backend
  /** To be remembered, all but the credentials. */
  readonly settings: S3Settings
}

/** The region that servers without regions are spoken to with. */
const ANY_REGION = 'us-east-1'

/** Checks the bucket, and tries out what its server can do unless that is known. */
export async function connectS3(options: ConnectOptions): Promise<ConnectedS3> {
  const { location, endpoint } = options
  const region = options.region ?? (endpoint === undefined ? await discoverRegion(location.bucket, options) : ANY_REGION)
  const common = {
    bucket: location.bucket,
    region,
    endpoint,
    pathStyle: options.pathStyle,
    credentials: options.credentials,
    connections: options.connections,
  }
  const call = options.signal ? { signal: options.signal } : {}
  if (options.traits) {
    const settings = { ...common, traits: options.traits }
    return { store: new S3Backend(settings), settings }
  }
  const trial = new S3Backend({ ...common, traits: CAUTIOUS_TRAITS })
  try {
    const settings = { ...common, traits: await probeS3(trial, location.bucket, location.prefix, call) }
    return { store: new S3Backend(settings), settings }
  } finally {
    trial.close()
  }
}

const AMAZON: Origin = { secure: true, host: 's3.amazonaws.com', port: 443 }

/** Where Amazon keeps a bucket: told to anybody who asks. */
export async function discoverRegion(bucket: string, options: CallOptions = {}, origin: Origin = AMAZON): Promise<string> {
  const pool = new HttpPool(origin)
  let region: string | undefined
  let status = 0
  try {
    await pool.request(
      { method: 'HEAD', target: `/${encodeURIComponent(bucket)}`, headers: { host: origin.host } },
      {
        head: head => {
          status = head.status
          region = head.headers['x-amz-bucket-region']
        },
        data: () => {},
      },
      { signal: options.signal, repeatable: true },
    )
  } finally {
    pool.close()
  }
  if (region !== undefined) return region
  if (status === 404) throw new BackendError('offline', 'the bucket does not exist', { operation: 'check' })
  throw new BackendError('io', 'the region of the bucket can not be found out: name it', { operation: 'check' })
}
