/**
 * AWS Signature Version 4 for S3, in a header.
 *
 * Owns: the signing of one request. The derived key of a day is kept, since deriving it costs more than the signature.
 * Must stay true: nothing here is ever logged; what is signed is what is sent (the caller sends `headers` as they are).
 */
import { createHmac, hash } from 'node:crypto'

export interface Credentials {
  readonly accessKeyId: string
  readonly secretAccessKey: string
  readonly sessionToken?: string | undefined
  readonly expiration?: Date | undefined
}

/** The SHA-256 of nothing. */
export const EMPTY_SHA256 = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'

export interface RequestToSign {
  readonly method: string
  /** Encoded once, as it is sent. */
  readonly path: string
  /** `name=value` pairs sorted by name, encoded, as sent. */
  readonly query: string
  /** Lower-case names; gets `x-amz-date`, `x-amz-content-sha256`, `x-amz-security-token` and `authorization`. */
  readonly headers: Record<string, string>
  readonly payloadSha256: string
  readonly atMs: number
}

const hmac = (key: string | Buffer, text: string): Buffer => createHmac('sha256', key).update(text).digest()

export class Signer {
  readonly #region: string
  #key: Buffer | undefined
  #keyOf: Credentials | undefined
  #keyDay = ''

  constructor(region: string) {
    this.#region = region
  }

  /** Adds the signature to `request.headers`. */
  sign(request: RequestToSign, credentials: Credentials): void {
    const { headers, payloadSha256 } = request
    const time = new Date(request.atMs).toISOString().replace(/[-:]|\.\d{3}/g, '')
    const day = time.slice(0, 8)
    headers['x-amz-date'] = time
    headers['x-amz-content-sha256'] = payloadSha256
    if (credentials.sessionToken !== undefined) headers['x-amz-security-token'] = credentials.sessionToken
    const names = Object.keys(headers).sort()
    const signed = names.join(';')
    let canonical = `${request.method}\n${request.path}\n${request.query}\n`
    for (const name of names) canonical += `${name}:${collapseSpaces(headers[name]!)}\n`
    canonical += `\n${signed}\n${payloadSha256}`
    const scope = `${day}/${this.#region}/s3/aws4_request`
    const text = `AWS4-HMAC-SHA256\n${time}\n${scope}\n${hash('sha256', canonical, 'hex')}`
    const signature = createHmac('sha256', this.#dayKey(credentials, day)).update(text).digest('hex')
    headers.authorization = `AWS4-HMAC-SHA256 Credential=${credentials.accessKeyId}/${scope},SignedHeaders=${signed},Signature=${signature}`
  }

  #dayKey(credentials: Credentials, day: string): Buffer {
    if (!this.#key || this.#keyOf !== credentials || this.#keyDay !== day) {
      this.#key = hmac(hmac(hmac(hmac(`AWS4${credentials.secretAccessKey}`, day), this.#region), 's3'), 'aws4_request')
      this.#keyOf = credentials
      this.#keyDay = day
    }
    return this.#key
  }
}

/** What is signed of a header value, by the rules of the signature; sent it is as it was. */
function collapseSpaces(value: string): string {
  return value.includes('  ') ? value.replace(/ {2,}/g, ' ') : value
}

/** Percent-encodes all but the unreserved characters of RFC 3986, as signatures want it. */
export function encodeValue(text: string): string {
  return encodeURIComponent(text).replace(/[!'()*]/g, c => `%${c.charCodeAt(0).toString(16).toUpperCase()}`)
}

/** The same for a key in a path: "/" stays. */
export function encodePath(key: string): string {
  return encodeValue(key).replaceAll('%2F', '/')
}

/** A query in the form that is signed and sent. Undefined values are left out. */
export function encodeQuery(parameters: Readonly<Record<string, string | undefined>>): string {
  return Object.keys(parameters)
    .filter(name => parameters[name] !== undefined)
    .sort()
    .map(name => `${encodeValue(name)}=${encodeValue(parameters[name]!)}`)
    .join('&')
}
