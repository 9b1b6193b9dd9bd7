/**
 * Answers requests about an open library, with the tree that is mounted or without one.
 *
 * Owns: the table of handlers, and the checking of arguments that came over a socket. To add a request: declare it in
 * requests.ts, write its handler in a file of its family, list it here.
 * Must stay true: arguments are checked before a handler sees them; an unknown request is a CommandError, not a crash.
 */

import type { Index } from '../../index/contract.ts'
import type { Library } from '../../library/library.ts'
import type { Log } from '../../log.ts'
import type { Name } from '../../vfs/contract.ts'
import { CommandError } from '../exit-codes.ts'
import type { MountedTree } from './mounted-tree.ts'
import type { RequestArguments, RequestName, RequestResult, RequestUpdate } from './requests.ts'

/** What a handler works with. */
export interface Service {
  readonly library: Library
  readonly index: Index
  readonly log: Log
  /** The tree and its mount, in the daemon. */
  readonly mounted: MountedTree | undefined
}

export interface HandlerContext<N extends RequestName> {
  readonly signal: AbortSignal
  update(value: RequestUpdate<N>): Promise<void>
}

/** One request: reads its arguments from what came, and does the work. */
export interface Handler<N extends RequestName> {
  parse(given: Arguments): RequestArguments<N>
  handle(service: Service, given: RequestArguments<N>, context: HandlerContext<N>): Promise<RequestResult<N>>
}

/** Loads the handlers of a family when they are asked for: a mount doesn't pay for `index verify`. */
const HANDLERS: { readonly [N in RequestName]: () => Promise<Handler<N>> } = {
  status: async () => (await import('./status.ts')).status,
  unmount: async () => (await import('./unmount.ts')).unmount,
  'location.add': async () => (await import('./locations.ts')).addLocation,
  'location.list': async () => (await import('./locations.ts')).listLocations,
  'location.remove': async () => (await import('./locations.ts')).removeLocation,
  'location.rescan': async () => (await import('./locations.ts')).rescanLocations,
  'volume.add': async () => (await import('./cloud-volumes.ts')).addCloud,
  'volume.set': async () => (await import('./cloud-volumes.ts')).setCloud,
  'volume.list': async () => (await import('./cloud-volumes.ts')).listClouds,
  'volume.remove': async () => (await import('./cloud-removal.ts')).removeCloud,
  'volume.refresh': async () => (await import('./cloud-files.ts')).refreshCloud,
  pin: async () => (await import('./cloud-files.ts')).pin,
  unpin: async () => (await import('./cloud-files.ts')).unpin,
  'cache.warm': async () => (await import('./cloud-files.ts')).warm,
  'cache.status': async () => (await import('./block-cache.ts')).cacheStatus,
  'cache.clear': async () => (await import('./block-cache.ts')).clearCache,
  'sync.status': async () => (await import('./upload-queue.ts')).syncStatus,
  'sync.wait': async () => (await import('./upload-queue.ts')).syncWait,
  'sync.retry': async () => (await import('./upload-queue.ts')).syncRetry,
  limits: async () => (await import('./limits.ts')).limits,
  'index.verify': async () => (await import('./verify.ts')).verify,
  'webdav.start': async () => (await import('./webdav-start.ts')).startWebdav,
}

/** Answers one request. Whatever `name` and `given` hold, the outcome is a result or a thrown error. */
export async function answer(
  service: Service,
  name: string,
  given: Readonly<Record<string, unknown>>,
  context: { readonly signal: AbortSignal; update(value: unknown): Promise<void> },
): Promise<unknown> {
  if (!Object.hasOwn(HANDLERS, name))
    throw new CommandError('daemon', `the running daemon does not know the request "${name}"; was it started by another version?`)
  const handler = (await HANDLERS[name as RequestName]()) as Handler<RequestName>
  return await handler.handle(service, handler.parse(new Arguments(given)), context)
}

const NAME_LIMIT_BYTES = 70_000

/** Reads arguments of a request, each with its type; a wrong one is a CommandError 'daemon'. */
export class Arguments {
  readonly #given: Readonly<Record<string, unknown>>

  constructor(given: Readonly<Record<string, unknown>>) {
    this.#given = given
  }

  /** A JSON object, whose fields the handler checks. */
  record(key: string): Readonly<Record<string, unknown>> {
    const value = this.#given[key]
    if (typeof value !== 'object' || value === null) throw new CommandError('daemon', `the request lacks "${key}"`)
    return value as Readonly<Record<string, unknown>>
  }

  flag(key: string): boolean {
    return this.#given[key] === true
  }

  /** Bytes, one char each. */
  bytes(key: string): Name {
    const value = this.optionalBytes(key)
    if (value === undefined) throw new CommandError('daemon', `the request lacks "${key}"`)
    return value
  }

  optionalBytes(key: string): Name | undefined {
    const value = this.#given[key]
    if (value === undefined || value === null) return undefined
    if (typeof value !== 'string' || value.length > NAME_LIMIT_BYTES || value === '' || !isBytes(value)) {
      throw new CommandError('daemon', `the request's "${key}" is not a name`)
    }
    return value
  }

  /** As `record`; what is absent is empty. */
  optionalRecord(key: string): Readonly<Record<string, unknown>> {
    const value = this.#given[key]
    return value === undefined || value === null ? {} : this.record(key)
  }

  text(key: string): string {
    const value = this.optionalText(key)
    if (value === undefined) throw new CommandError('daemon', `the request lacks "${key}"`)
    return value
  }

  optionalText(key: string): string | undefined {
    const value = this.#given[key]
    if (value === undefined || value === null) return undefined
    if (typeof value !== 'string' || value.length > NAME_LIMIT_BYTES) throw new CommandError('daemon', `the request's "${key}" is not text`)
    return value
  }
}

/** One char per byte, and no NUL, which no name has. */
function isBytes(text: string): boolean {
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) === 0 || text.charCodeAt(i) > 255) return false
  return true
}
