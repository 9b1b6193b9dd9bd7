/**
 * Where the keys to a bucket come from, and how long they are good.
 *
 * Owns: the AWS chain (environment, shared config and its profiles, SSO, container and instance roles: what the SDK does), loaded
 * when first needed since it is slow to load; and the keeping of what a provider gave until shortly before it expires.
 * Must stay true: keys are in memory only, and in no message.
 */
import { BackendError } from '../errors.ts'
import type { Credentials } from './signature.ts'

export type { Credentials } from './signature.ts'

/** Gives credentials; asked again when the last ones expire or were refused. */
export type CredentialsProvider = () => Promise<Credentials>

/** Always the same ones. */
export function fixedCredentials(credentials: Credentials): CredentialsProvider {
  return () => Promise.resolve(credentials)
}

/**
 * The standard chain, of a named profile when given. It is asked anew each time, also what its files say now: who puts new keys
 * into them expects them to be used.
 */
export function standardCredentials(profile?: string): CredentialsProvider {
  return async () => {
    const { fromNodeProviderChain } = await import('@aws-sdk/credential-providers')
    try {
      return await fromNodeProviderChain({ ignoreCache: true, ...(profile === undefined ? {} : { profile }) })()
    } catch (error) {
      const reason = error instanceof Error ? error.message : 'unknown'
      throw new BackendError('access-denied', `no credentials${profile === undefined ? '' : ` for profile "${profile}"`}: ${reason}`, {
        operation: 'credentials',
      })
    }
  }
}

const REFRESH_BEFORE_MS = 5 * 60_000
const REFUSED_PAUSE_MS = 10_000

/** Keeps what a provider gave. */
export class KeptCredentials {
  readonly #provide: CredentialsProvider
  readonly #now: () => number
  #current: Credentials | undefined
  #asking: Promise<Credentials> | undefined
  #askedMs = Number.NEGATIVE_INFINITY

  constructor(provide: CredentialsProvider, now: () => number = () => performance.now()) {
    this.#provide = provide
    this.#now = now
  }

  /** At once when good ones are at hand. */
  get(): Credentials | Promise<Credentials> {
    const current = this.#current
    if (current && !(current.expiration && current.expiration.getTime() - Date.now() < REFRESH_BEFORE_MS)) return current
    return this.#ask()
  }

  /** The server refused these. Answers others when the provider has any; the same provider isn't asked again and again. */
  async refused(credentials: Credentials): Promise<Credentials | undefined> {
    if (this.#current && !sameKeys(this.#current, credentials)) return this.#current
    if (this.#now() - this.#askedMs < REFUSED_PAUSE_MS) return undefined
    const next = await this.#ask()
    return sameKeys(next, credentials) ? undefined : next
  }

  #ask(): Promise<Credentials> {
    this.#askedMs = this.#now()
    this.#asking ??= this.#provide()
      .then(credentials => {
        this.#current = credentials
        return credentials
      })
      .finally(() => {
        this.#asking = undefined
      })
    return this.#asking
  }
}

function sameKeys(a: Credentials, b: Credentials): boolean {
  return a.accessKeyId === b.accessKeyId && a.secretAccessKey === b.secretAccessKey && a.sessionToken === b.sessionToken
}
