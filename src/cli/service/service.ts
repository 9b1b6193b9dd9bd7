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
import type { SecretExchange, Secrets } from '../control/secrets.ts'
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
  /** Where secrets come over a socket: what opens them, made with the first. */
  readonly exchange?: () => Promise<SecretExchange>
}

export interface HandlerContext<N extends RequestName> {
  readonly signal: AbortSignal
  /** What came beside the arguments; wiped once the request is answered. */
  readonly secrets: Secrets
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
  'secret.key': async () => (await import('./vault-verbs.ts')).offerSecretKey,
  'vault.create': async () => (await import('./vault-verbs.ts')).createVault,
  'vault.add': async () => (await import('./vault-verbs.ts')).addVault,
  'vault.remove': async () => (await import('./vault-verbs.ts')).removeVault,
  'vault.list': async () => (await import('./vault-verbs.ts')).listVaults,
  'vault.open': async () => (await import('./vault-verbs.ts')).openVault,
  'vault.set': async () => (await import('./vault-verbs.ts')).setVault,
  'vault.close': async () => (await import('./vault-verbs.ts')).closeVault,
  'vault.slots': async () => (await import('./vault-slots.ts')).vaultSlots,
  'vault.slot': async () => (await import('./vault-slots.ts')).changeSlot,
  'vault.info': async () => (await import('./vault-work.ts')).vaultInfo,
  'vault.check': async () => (await import('./vault-work.ts')).checkVault,
  'vault.gc': async () => (await import('./vault-work.ts')).collectVault,
  'vault.snapshot': async () => (await import('./vault-work.ts')).snapshotVault,
  'vault.snapshots': async () => (await import('./vault-work.ts')).vaultSnapshots,
  'vault.prune': async () => (await import('./vault-work.ts')).pruneVault,
  'index.verify': async () => (await import('./verify.ts')).verify,
  'webdav.start': async () => (await import('./webdav-start.ts')).startWebdav,
}

/**
 * Answers one request. Whatever `name` and `given` hold, the outcome is a result or a thrown error. `secrets` are those of a
 * caller in this process, who wipes them; what came over a socket is opened, and wiped, here.
 */
export async function answer(
  service: Service,
  name: string,
  given: Readonly<Record<string, unknown>>,
  context: { readonly signal: AbortSignal; readonly secrets?: Secrets; update(value: unknown): Promise<void> },
): Promise<unknown> {
  if (!Object.hasOwn(HANDLERS, name))
    throw new CommandError('daemon', `the running daemon does not know the request "${name}"; was it started by another version?`)
  const handler = (await HANDLERS[name as RequestName]()) as Handler<RequestName>
  const { secrets, ...plain } = given
  const opened: Secrets = secrets !== undefined && service.exchange ? (await service.exchange()).open(secrets) : new Map()
  try {
    return await handler.handle(service, handler.parse(new Arguments(plain)), { ...context, secrets: context.secrets ?? opened })
  } finally {
    for (const secret of opened.values()) secret[Symbol.dispose]()
  }
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

  optionalNumber(key: string): number | undefined {
    const value = this.#given[key]
    if (value === undefined || value === null) return undefined
    if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0)
      throw new CommandError('daemon', `the request's "${key}" is not a number`)
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
