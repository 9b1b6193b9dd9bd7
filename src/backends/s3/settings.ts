/**
 * What is set about one bucket, and the address that follows from it.
 *
 * Owns: the settings type and the rules of S3 addresses. No secrets in here: credentials come from a provider.
 */
import { BackendError } from '../errors.ts'
import type { Origin } from '../http/connection.ts'
import type { PoolLimits } from '../http/pool.ts'
import type { CredentialsProvider } from './credentials.ts'
import type { S3Traits } from './traits.ts'

export interface S3Settings {
  readonly bucket: string
  readonly region: string
  /** `http(s)://host[:port]`; undefined: Amazon's, by the region. */
  readonly endpoint?: string | undefined
  /** The bucket in the path and not in the host name; undefined: with an endpoint, or for names that no certificate covers. */
  readonly pathStyle?: boolean | undefined
  readonly credentials: CredentialsProvider
  /** What this server can do: probed once, remembered, overridable. */
  readonly traits: S3Traits
  readonly connections?: Partial<PoolLimits> | undefined
}

export interface S3Address {
  readonly origin: Origin
  /** The `host` header. */
  readonly host: string
  /** What stands before "/key" in the path. */
  readonly base: string
  readonly pathStyle: boolean
  /** The address without bucket, for the SDK and for people. */
  readonly endpoint: string
}

/** Where requests for the bucket go. Throws 'invalid' with a line for the user. */
export function s3Address(settings: Pick<S3Settings, 'bucket' | 'region' | 'endpoint' | 'pathStyle'>): S3Address {
  const { bucket, region } = settings
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{1,253}$/.test(bucket)) throw new BackendError('invalid', `"${bucket}" can't be the name of a bucket`)
  if (!/^[A-Za-z0-9-]{1,64}$/.test(region)) throw new BackendError('invalid', `"${region}" can't be the name of a region`)
  const url = parseEndpoint(settings.endpoint ?? `https://s3.${region}.amazonaws.com${region.startsWith('cn-') ? '.cn' : ''}`)
  const secure = url.protocol === 'https:'
  const pathStyle = settings.pathStyle ?? (settings.endpoint !== undefined || bucket.includes('.') || /[A-Z_]/.test(bucket))
  const hostname = pathStyle ? url.hostname : `${bucket}.${url.hostname}`
  const port = url.port === '' ? (secure ? 443 : 80) : Number(url.port)
  return {
    origin: { secure, host: hostname.replace(/^\[|\]$/g, ''), port },
    host: url.port === '' ? hostname : `${hostname}:${url.port}`,
    base: pathStyle ? `/${bucket}` : '',
    pathStyle,
    endpoint: `${url.protocol}//${url.host}`,
  }
}

function parseEndpoint(endpoint: string): URL {
  const wrong = () =>
    new BackendError(
      'invalid',
      `"${endpoint.replace(/\/\/[^@/]*@/, '//')}" is not an endpoint: it should read https://host or https://host:port`,
    )
  if (!URL.canParse(endpoint)) throw wrong()
  const url = new URL(endpoint)
  if (
    (url.protocol !== 'https:' && url.protocol !== 'http:') ||
    url.username !== '' ||
    url.search !== '' ||
    url.hash !== '' ||
    !/^\/?$/.test(url.pathname)
  )
    throw wrong()
  return url
}
