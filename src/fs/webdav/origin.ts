/**
 * Keeps other web sites out.
 *
 * Owns: the Host and Origin checks. Must stay true: a page of another site can't use a browser that is logged in here
 * (cross-site requests), and a name of another site that was made to point here (DNS rebinding) is not served. An address
 * as a number can't be rebound, so it is always a good Host.
 */
import type { IncomingMessage } from 'node:http'
import { isIP } from 'node:net'
import { hostname } from 'node:os'
import { Refusal } from './status.ts'

export class OriginGuard {
  readonly #hosts: ReadonlySet<string>

  /** `extra`: names under which this server is reached, besides localhost and the machine's own. */
  constructor(extra: readonly string[]) {
    const own = hostname().toLowerCase()
    this.#hosts = new Set(['localhost', own, `${own}.local`, ...extra.map(name => name.toLowerCase())])
  }

  /** Throws 421 or 403. */
  check(request: IncomingMessage): void {
    const { host, origin } = request.headers
    if (host !== undefined && !this.#knows(host)) throw new Refusal(421, 'this server has another name')
    if (origin !== undefined && !isSameOrigin(origin, host)) throw new Refusal(403, 'requests of other sites are refused')
    const site = request.headers['sec-fetch-site']
    if (site === 'cross-site' || site === 'same-site') {
      // A link somewhere else may lead here; a page somewhere else may not embed or fetch.
      const followed = request.headers['sec-fetch-mode'] === 'navigate' && request.headers['sec-fetch-dest'] === 'document'
      if (!followed || (request.method !== 'GET' && request.method !== 'HEAD'))
        throw new Refusal(403, 'requests of other sites are refused')
    }
  }

  #knows(host: string): boolean {
    const name = hostName(host)
    if (name === undefined) return false
    return this.#hosts.has(name) || name.endsWith('.localhost') || isIP(name.replace(/^\[|\]$/g, '')) !== 0
  }
}

/** The name in a Host header, without its port; undefined when it is no host. */
function hostName(host: string): string | undefined {
  return /^(\[[0-9a-f:.]+\]|[^:/@\s[\]]+)(?::\d{1,5})?$/i.exec(host)?.[1]?.toLowerCase().replace(/\.$/, '')
}

function isSameOrigin(origin: string, host: string | undefined): boolean {
  const match = /^(https?):\/\/([^/]+)$/i.exec(origin)
  if (!match || host === undefined) return false
  const port = match[1]!.toLowerCase() === 'https' ? '443' : '80'
  const full = (authority: string) => (/:\d+$/.test(authority) ? authority : `${authority}:${port}`).toLowerCase()
  return full(match[2]!) === full(host)
}
