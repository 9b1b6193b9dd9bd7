/** The client's side of Digest authentication, with every field open to be made wrong. */
import { createHash } from 'node:crypto'
import type { Reply } from './http-client.ts'

export interface DigestFields {
  readonly user: string
  readonly password: string
  readonly method: string
  readonly uri: string
  readonly nonce: string
  readonly nc?: number
  readonly algorithm?: 'MD5' | 'SHA-256'
  readonly realm?: string
  readonly encoding?: 'utf8' | 'latin1'
  /** Added to or replaced in the header. */
  readonly header?: Readonly<Record<string, string | undefined>>
}

export function digestHeader(fields: DigestFields): string {
  const { user, password, method, uri, nonce, algorithm = 'MD5', realm = 'sdmount', encoding = 'utf8' } = fields
  const hash = (text: string) =>
    createHash(algorithm === 'MD5' ? 'md5' : 'sha256')
      .update(Buffer.from(text, encoding))
      .digest('hex')
  const nc = (fields.nc ?? 1).toString(16).padStart(8, '0')
  const response = hash(`${hash(`${user}:${realm}:${password}`)}:${nonce}:${nc}:cn:auth:${hash(`${method}:${uri}`)}`)
  const wire = Buffer.from(user, encoding).toString('latin1')
  const parts: Record<string, string | undefined> = {
    username: `"${wire.replace(/["\\]/g, '\\$&')}"`,
    realm: `"${realm}"`,
    nonce: `"${nonce}"`,
    uri: `"${uri}"`,
    algorithm,
    qop: 'auth',
    nc,
    cnonce: '"cn"',
    response: `"${response}"`,
    ...fields.header,
  }
  const list = Object.entries(parts).flatMap(([name, value]) => (value === undefined ? [] : [`${name}=${value}`]))
  return `Digest ${list.join(', ')}`
}

/** The challenges of a 401, one for each header line. */
export function challenges(reply: Reply): string[] {
  const found: string[] = []
  for (let i = 0; i < reply.raw.length; i += 2) if (reply.raw[i]!.toLowerCase() === 'www-authenticate') found.push(reply.raw[i + 1]!)
  return found
}

export function nonceOf(reply: Reply): string {
  const nonce = /nonce="([^"]+)"/.exec(challenges(reply).find(challenge => challenge.startsWith('Digest')) ?? '')?.[1]
  if (nonce === undefined) throw new Error('no nonce')
  return nonce
}

export function basicHeader(user: string, password: string, encoding: 'utf8' | 'latin1' = 'utf8'): string {
  return `Basic ${Buffer.from(`${user}:${password}`, encoding).toString('base64')}`
}
