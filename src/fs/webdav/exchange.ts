/**
 * One request and its answer: what every method's handler gets.
 *
 * Owns: the request's context (who acts, and the signal that ends it when the client vanishes), the walk through the tree
 * with its references, and small readings of headers. Must stay true: `end` is called once, however the request ended.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { PropertyStore } from '../../index/property-store.ts'
import type { Log } from '../../log.ts'
import type { Ino, Name, RequestContext, Vfs } from '../../vfs/contract.ts'
import { type IfList, parseIf, tokensIn } from './if-header.ts'
import type { WebdavLimits } from './limits.ts'
import type { LockTable } from './locks.ts'
import type { NameStyle } from './names.ts'
import { Refusal } from './status.ts'
import { hrefOf, parseReference, type Target } from './target.ts'
import { TreeWalk } from './tree-walk.ts'

/** Under whose name the operations run. */
export interface Identity {
  readonly uid: number
  readonly gid: number
  readonly umask: number
}

/** What all requests share. */
export interface Service {
  readonly vfs: Vfs
  readonly log: Log
  readonly properties: PropertyStore
  readonly locks: LockTable
  readonly limits: WebdavLimits
  readonly identity: Identity
  readonly readOnly: boolean
  /** Whether a program that works on the same tree through the mount has a lock on the node. */
  readonly heldByProgram: (ino: Ino) => boolean
  /** Resolves when other front ends know of every change so far. */
  readonly settled: () => Promise<void>
  /** Slots of volumes that have no unnamed files, or give them no names: found out as it happens. */
  readonly withoutUnnamed: Set<number>
  /** Whether the clutter of desktop systems may be written below this folder of the root (litter.ts). */
  readonly acceptsLitter: (top: Name) => boolean
}

const SETTLE_MS = 1000

export class Exchange {
  readonly service: Service
  readonly request: IncomingMessage
  readonly response: ServerResponse
  readonly target: Target
  /** Who asks; '' where nobody needs to say. */
  readonly user: string
  readonly walk: TreeWalk
  readonly #context: ClientContext
  #ifLists: readonly IfList[] | undefined

  constructor(service: Service, request: IncomingMessage, response: ServerResponse, target: Target, user: string) {
    this.service = service
    this.request = request
    this.response = response
    this.target = target
    this.user = user
    this.#context = new ClientContext(service.identity)
    this.walk = new TreeWalk(service.vfs, this.#context)
    response.once('close', this.abort)
  }

  get context(): RequestContext {
    return this.#context
  }

  get method(): string {
    return this.request.method ?? ''
  }

  header(name: string): string | undefined {
    const value = this.request.headers[name]
    return Array.isArray(value) ? value.join(', ') : value
  }

  /** Windows' own client: it asks for compact listings, and can't open a folder that holds names it can't hold. */
  get fromWindows(): boolean {
    return /Microsoft-WebDAV-MiniRedir/i.test(this.header('user-agent') ?? '')
  }

  get style(): NameStyle {
    return this.fromWindows ? 'windows' : 'plain'
  }

  href(path: readonly Name[], collection: boolean): string {
    return hrefOf(path, collection, this.style)
  }

  /** The If header, read once. */
  get ifLists(): readonly IfList[] {
    const header = this.header('if')
    return (this.#ifLists ??= header === undefined ? [] : parseIf(header))
  }

  /** Lock tokens that the client submits: in the If header, or in a Lock-Token header as some clients do. */
  submittedTokens(): Set<string> {
    const tokens = tokensIn(this.ifLists)
    const single = /^\s*<([^<>]+)>\s*$/.exec(this.header('lock-token') ?? '')?.[1]
    if (single !== undefined) tokens.add(single)
    return tokens
  }

  /** The Destination of COPY and MOVE. */
  destination(): Target {
    const raw = this.header('destination')
    if (raw === undefined) throw new Refusal(400, 'no Destination header')
    const target = parseReference(raw.trim(), this.header('host'))
    if (!target) throw new Refusal(502, 'the destination is on another server')
    return target
  }

  /** The Depth header; `absent` when there is none. */
  depth(absent: 0 | 1 | 'infinity'): 0 | 1 | 'infinity' {
    const value = this.header('depth')?.trim().toLowerCase()
    if (value === undefined) return absent
    if (value === '0') return 0
    if (value === '1') return 1
    if (value === 'infinity') return 'infinity'
    throw new Refusal(400, 'the Depth header is none of 0, 1, infinity')
  }

  /** The Overwrite header: true unless it says F. */
  get overwrite(): boolean {
    const value = this.header('overwrite')?.trim().toUpperCase()
    if (value === undefined || value === 'T') return true
    if (value === 'F') return false
    throw new Refusal(400, 'the Overwrite header is neither T nor F')
  }

  /** Something came behind the headers. */
  get hasBody(): boolean {
    return this.request.headers['transfer-encoding'] !== undefined || (this.contentLength ?? 0) > 0
  }

  get contentLength(): number | undefined {
    const value = this.request.headers['content-length']
    return value === undefined ? undefined : Number(value)
  }

  /**
   * To be called when all is changed and before it is answered: who asks on another way (the mount) after this answer must
   * see the change. Bounded, since a program that hangs in the mount may hold up the kernel's invalidation.
   */
  async settled(): Promise<void> {
    let timer: NodeJS.Timeout | undefined
    const enough = new Promise<void>(resolve => {
      timer = setTimeout(resolve, SETTLE_MS)
    })
    await Promise.race([this.service.settled(), enough])
    clearTimeout(timer)
  }

  /** What was begun is brought to its end, also when the client vanishes: half a move would be worse. */
  persist(): void {
    this.response.removeListener('close', this.abort)
  }

  /** Nobody waits for the work any more. */
  get gone(): boolean {
    return this.#context.aborted
  }

  /** Ends the work for this request: the client vanished, or the server closes. */
  readonly abort = (): void => this.#context.abort()

  /** The request is over. */
  end(): void {
    this.response.removeListener('close', this.abort)
    this.walk.release()
  }
}

/** The signal is made when somebody asks for it: most requests are answered at once. */
class ClientContext implements RequestContext {
  readonly uid: number
  readonly gid: number
  readonly umask: number
  readonly pid = 0
  #controller: AbortController | undefined
  #aborted = false

  get aborted(): boolean {
    return this.#aborted
  }

  constructor(identity: Identity) {
    this.uid = identity.uid
    this.gid = identity.gid
    this.umask = identity.umask
  }

  get signal(): AbortSignal {
    if (!this.#controller) {
      this.#controller = new AbortController()
      if (this.#aborted) this.#controller.abort()
    }
    return this.#controller.signal
  }

  abort(): void {
    this.#aborted = true
    this.#controller?.abort()
  }
}
