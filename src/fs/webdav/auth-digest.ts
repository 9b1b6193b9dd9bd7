/**
 * Digest authentication (RFC 7616), with MD5 and SHA-256 and qop=auth.
 *
 * Owns: nonces. Must stay true: a nonce is ours (it carries a keyed hash of its time), lives for a limited time, and each
 * of its counts is good for one request; the answer covers method and target, so it can't be used for another request.
 * It doesn't: keep more than a bounded number of nonces; one that was dropped is "stale", and the client takes a new one
 * without asking its user.
 */
import { createHash, createHmac, randomBytes } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import { type Credentials, sameBytes } from './auth-basic.ts'

export type DigestAlgorithm = 'MD5' | 'SHA-256'

/** Says whose request it is, that it is nobody's, or that only the nonce is too old. */
export type DigestVerdict = { readonly user: string } | 'wrong' | 'stale'

const NONCE_MS = 10 * 60_000
const NONCE_LIMIT = 4096
/** Requests on several connections come out of order; counts further back are refused. */
const WINDOW = 128

interface NonceUse {
  highest: number
  /** Counts seen among the last WINDOW, as distances below `highest`. */
  readonly seen: Set<number>
}

export class DigestAuthority {
  readonly #realm: string
  readonly #now: () => number
  readonly #secret = randomBytes(32)
  readonly #uses = new LRUCache<string, NonceUse>({ max: NONCE_LIMIT })

  constructor(realm: string, now: () => number) {
    this.#realm = realm
    this.#now = now
  }

  /** A challenge for the WWW-Authenticate header. */
  challenge(algorithm: DigestAlgorithm, stale: boolean): string {
    const nonce = this.#nonce(this.#now())
    return `Digest realm="${this.#realm}", qop="auth", algorithm=${algorithm}, nonce="${nonce}", charset=UTF-8${stale ? ', stale=true' : ''}`
  }

  verify(header: string, method: string, target: string, all: readonly Credentials[]): DigestVerdict {
    const fields = parseFields(header)
    const { nonce, uri, nc, cnonce, response } = fields
    if (!nonce || uri === undefined || !nc || !cnonce || !response || fields.qop !== 'auth') return 'wrong'
    if (!/^[0-9a-f]{8}$/i.test(nc) || uri !== target || fields.realm !== this.#realm) return 'wrong'
    const algorithm = (fields.algorithm ?? 'MD5').toUpperCase()
    if (algorithm !== 'MD5' && algorithm !== 'SHA-256') return 'wrong'
    const issuedMs = this.#issued(nonce)
    if (issuedMs === undefined) return 'wrong'
    const hash = (text: string | Buffer) =>
      createHash(algorithm === 'MD5' ? 'md5' : 'sha256')
        .update(text)
        .digest('hex')
    const tail = `${nonce}:${nc}:${cnonce}:auth:${hash(`${method}:${uri}`)}`
    const user = this.#proven(fields, all, response, secret => hash(`${hash(secret)}:${tail}`))
    if (user === undefined) return 'wrong'
    if (this.#now() - issuedMs > NONCE_MS) return 'stale'
    return this.#spend(nonce, Number.parseInt(nc, 16)) ? { user } : 'stale'
  }

  #proven(
    fields: Readonly<Record<string, string>>,
    all: readonly Credentials[],
    response: string,
    answer: (secret: Buffer) => string,
  ): string | undefined {
    const name = userName(fields)
    let proven: string | undefined
    for (const { user, password } of all) {
      const latin1 = Buffer.from(user, 'utf8').toString('latin1')
      if (name !== user && name !== latin1) continue
      for (const encoding of ['utf8', 'latin1'] as const) {
        const secret = Buffer.from(`${user}:${this.#realm}:${password}`, encoding)
        if (sameBytes(Buffer.from(answer(secret)), Buffer.from(response.toLowerCase()))) proven = user
      }
    }
    return proven
  }

  #nonce(atMs: number): string {
    const stamp = `${Math.floor(atMs).toString(36)}.${randomBytes(9).toString('base64url')}`
    return `${stamp}.${this.#seal(stamp)}`
  }

  #seal(stamp: string): string {
    return createHmac('sha256', this.#secret).update(stamp).digest('base64url')
  }

  /** When we gave it out; undefined when we didn't. */
  #issued(nonce: string): number | undefined {
    const [time, salt, seal, more] = nonce.split('.')
    if (!time || !salt || !seal || more !== undefined) return undefined
    return sameBytes(Buffer.from(seal), Buffer.from(this.#seal(`${time}.${salt}`))) ? Number.parseInt(time, 36) : undefined
  }

  /** Notes that a count was used; false when it was before. */
  #spend(nonce: string, count: number): boolean {
    const use = this.#uses.get(nonce)
    if (!use) {
      this.#uses.set(nonce, { highest: count, seen: new Set([count]) })
      return true
    }
    if (count <= use.highest - WINDOW || use.seen.has(count)) return false
    use.seen.add(count)
    if (count > use.highest) {
      use.highest = count
      if (use.seen.size > 2 * WINDOW) for (const old of use.seen) if (old <= count - WINDOW) use.seen.delete(old)
    }
    return true
  }
}

/** The user name: plain, or in the extended notation (`username*=UTF-8''...`). */
function userName(fields: Readonly<Record<string, string>>): string | undefined {
  const extended = fields['username*']
  if (extended === undefined) return fields.username
  const match = /^UTF-8''(.*)$/i.exec(extended)
  try {
    return match ? decodeURIComponent(match[1]!) : undefined
  } catch {
    return undefined
  }
}

/** The fields of the header, names in lower case. Header values reach us as Latin-1. */
function parseFields(header: string): Record<string, string> {
  const fields: Record<string, string> = Object.create(null)
  const list = header.replace(/^Digest\s+/i, '')
  for (const [, name, quoted, plain] of list.matchAll(/([A-Za-z*]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))/g)) {
    fields[name!.toLowerCase()] ??= quoted === undefined ? plain! : quoted.replace(/\\(.)/g, '$1')
  }
  return fields
}
