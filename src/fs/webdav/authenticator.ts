/**
 * Who asks: the one place where a request gets its user.
 *
 * Owns: which schemes are offered. Must stay true: Basic is accepted only where nobody can listen (TLS, or the loopback
 * interface); a connection that proved a password once isn't slowed down; without a user nothing but OPTIONS is answered.
 */
import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Credentials, verifyBasic } from './auth-basic.ts'
import { DigestAuthority } from './auth-digest.ts'
import { Throttle } from './auth-throttle.ts'
import { Refusal } from './status.ts'

const REALM = 'sdmount'

/** Ways to log in. */
export type Scheme = 'digest' | 'basic'

export interface AuthenticatorOptions {
  readonly schemes: readonly Scheme[]
  /** Nobody: everybody is let in, with the user ''. */
  readonly credentials: readonly Credentials[]
  readonly tls: boolean
  readonly now: () => number
}

export class Authenticator {
  readonly #credentials: readonly Credentials[]
  readonly #tls: boolean
  readonly #schemes: readonly Scheme[]
  readonly #digest: DigestAuthority
  readonly #throttle: Throttle
  readonly #proven = new WeakSet<Socket>()

  constructor({ credentials, schemes, tls, now }: AuthenticatorOptions) {
    this.#schemes = schemes
    this.#credentials = credentials
    this.#tls = tls
    this.#digest = new DigestAuthority(REALM, now)
    this.#throttle = new Throttle(now)
  }

  /** The user, or a 401 thrown. `signal` ends the waiting of a slowed-down guess. */
  async user(request: IncomingMessage, signal: AbortSignal): Promise<string> {
    if (this.#credentials.length === 0) return ''
    const header = request.headers.authorization
    if (header === undefined) throw this.#unauthorized(request, false)
    const { socket } = request
    const address = socket.remoteAddress ?? ''
    if (!this.#proven.has(socket)) await this.#turn(address, signal)
    const verdict = this.#verify(request, header)
    if (typeof verdict === 'object') {
      this.#proven.add(socket)
      return verdict.user
    }
    if (verdict === 'wrong') {
      this.#proven.delete(socket)
      this.#throttle.failed(address)
    }
    throw this.#unauthorized(request, verdict === 'stale')
  }

  async #turn(address: string, signal: AbortSignal): Promise<void> {
    const waitMs = this.#throttle.enter(address)
    if (waitMs === undefined) {
      throw new Refusal(429, 'too many wrong passwords from this address', { headers: { 'Retry-After': '30' }, close: true })
    }
    if (waitMs === 0) return
    try {
      await sleep(waitMs, undefined, { signal })
    } finally {
      this.#throttle.done(address)
    }
  }

  #verify(request: IncomingMessage, header: string) {
    if (/^Digest\s/i.test(header) && this.#schemes.includes('digest'))
      return this.#digest.verify(header, request.method ?? '', request.url ?? '', this.#credentials)
    if (!this.#basicAllowed(request)) return 'wrong'
    const user = verifyBasic(header, this.#credentials)
    return user === undefined ? 'wrong' : { user }
  }

  #basicAllowed(request: IncomingMessage): boolean {
    return this.#schemes.includes('basic') && (this.#tls || isLoopback(request.socket.remoteAddress ?? ''))
  }

  #unauthorized(request: IncomingMessage, stale: boolean): Refusal {
    const challenges: string[] = []
    if (this.#schemes.includes('digest')) {
      // The clients of Windows and macOS take the first Digest they see, and know MD5 only.
      const old = /MiniRedir|DavClnt|WebDAVFS|WebDAVLib/i.test(request.headers['user-agent'] ?? '')
      if (!old) challenges.push(this.#digest.challenge('SHA-256', stale))
      challenges.push(this.#digest.challenge('MD5', stale))
    }
    if (this.#basicAllowed(request)) challenges.push(`Basic realm="${REALM}", charset="UTF-8"`)
    return new Refusal(401, 'who are you?', { headers: { 'WWW-Authenticate': challenges } })
  }
}

export function isLoopback(address: string): boolean {
  return /^(?:127\.|::1$|::ffff:127\.)/.test(address)
}
