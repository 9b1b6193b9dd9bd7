/**
 * The answer to a request that succeeded for a part of what it was about.
 * Owns: the collecting of failures, bounded, and their form. An empty collection means that all went well.
 */
import type { Name } from '../../vfs/contract.ts'
import type { Exchange } from './exchange.ts'
import { statusLine } from './propfind-body.ts'
import { sendXml } from './respond.ts'
import { statusOf } from './status.ts'
import { escapeText } from './xml-write.ts'

const REPORTED_LIMIT = 1000

export interface Failure {
  readonly path: readonly Name[]
  readonly collection: boolean
  readonly error: unknown
}

export class Failures {
  readonly #reported: Failure[] = []
  #count = 0

  get count(): number {
    return this.#count
  }

  /** The only failure, when there is just one and it is about `path` itself. */
  onlyAbout(path: readonly Name[]): unknown {
    const [first] = this.#reported
    return this.#count === 1 && first && first.path.length === path.length ? first.error : undefined
  }

  add(failure: Failure): void {
    this.#count++
    if (this.#reported.length < REPORTED_LIMIT) this.#reported.push(failure)
  }

  send(x: Exchange): void {
    const rows = this.#reported.map(({ path, collection, error }) => {
      const href = escapeText(x.href(path, collection))
      return `<D:response><D:href>${href}</D:href><D:status>${statusLine(statusOf(error))}</D:status></D:response>`
    })
    sendXml(x.response, 207, `<D:multistatus xmlns:D="DAV:">${rows.join('')}</D:multistatus>`)
  }
}
