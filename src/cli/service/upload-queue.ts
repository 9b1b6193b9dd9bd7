/**
 * The queue of uploads, as a command sees it: `sync status`, `sync wait`, and what an unmount and a removal ask of it.
 *
 * Owns: the reading of the journal with and without a mount, and the waiting. Must stay true: waiting ends with its signal; a
 * server that is away, or refuses, holds an unmount back for a moment only (the queue goes on with the next mount), while
 * `sync wait` waits for it.
 */
import { existsSync } from 'node:fs'
import { decodeRoot } from '../../cache/staging/format.ts'
import { Journal } from '../../cache/writeback/journal.ts'
import type { Work } from '../../cache/writeback/work.ts'
import { SecretKey } from '../../crypto/secret-key.ts'
import type { VolumeRecord } from '../../index/contract.ts'
import { CommandError } from '../exit-codes.ts'
import { nameOfText } from '../names.ts'
import { sleep } from '../sleep.ts'
import { printable } from '../terminal/terminal.ts'
import { addressOf, cloudRecords, cloudSettings, findCloud } from './cloud-record.ts'
import type { QueuedWork, QueueInfo } from './requests.ts'
import type { Handler, Service } from './service.ts'

const POLL_MS = 200
/** How long a queue may stand still before an unmount leaves it: most errors pass. */
const PATIENCE_MS = 10_000
/** Of a long queue so many are shown. */
const SHOWN = 20

export const syncStatus: Handler<'sync.status'> = {
  parse: given => optionalName(given.optionalBytes('name')),
  handle: async (service, given) => ({ queues: queuesOf(service, chosen(service, given.name), SHOWN) }),
}

export const syncWait: Handler<'sync.wait'> = {
  parse: given => optionalName(given.optionalBytes('name')),
  async handle(service, given, context) {
    const records = chosen(service, given.name)
    if (!service.mounted && queuesOf(service, records, 0).some(queue => queue.queued > 0))
      throw new CommandError('not-mounted', 'uploads go on while the library is mounted: run sdmount MOUNTPOINT first')
    return { queues: await uploadsDone(service, records, context, { leaveOffline: false }) }
  },
}

export const syncRetry: Handler<'sync.retry'> = {
  parse: given => optionalName(given.optionalBytes('name')),
  async handle(service, given) {
    if (!service.mounted) throw new CommandError('not-mounted', 'uploads go on while the library is mounted: run sdmount MOUNTPOINT first')
    const records = chosen(service, given.name)
    for (const record of records) service.mounted.cloud(record.id)?.sync.retryNow()
    return { names: records.map(record => record.name) }
  },
}

/** Waits until the queues are empty, or until nothing more can be done for now; answers what is left. */
export async function uploadsDone(
  service: Service,
  records: readonly VolumeRecord[],
  context: { readonly signal: AbortSignal; update(value: { readonly queues: readonly QueueInfo[] }): Promise<void> },
  options: { readonly leaveOffline: boolean },
): Promise<QueueInfo[]> {
  const standstill = new Standstill()
  for (;;) {
    const queues = queuesOf(service, records, 0)
    const busy = queues.filter(queue => queue.queued > 0 && !(standstill.lasts(queue) && options.leaveOffline))
    if (busy.length === 0) return queuesOf(service, records, SHOWN)
    await context.update({ queues })
    await sleep(POLL_MS, context.signal)
  }
}

/** Notices queues in which nothing happens: the server is away, or all that is left waits for another attempt after an error. */
class Standstill {
  readonly #since = new Map<string, { readonly queued: number; readonly sinceMs: number }>()

  lasts({ name, state, queued }: QueueInfo): boolean {
    if (state === 'stopped' || state === 'not mounted') return true
    const seen = this.#since.get(name)
    if (state === 'working' || seen?.queued !== queued) {
      this.#since.set(name, { queued, sinceMs: Date.now() })
      return false
    }
    return Date.now() - seen.sinceMs > PATIENCE_MS
  }
}

/** The queues of volumes, with up to `shown` pieces of work each. */
export function queuesOf(service: Service, records: readonly VolumeRecord[], shown: number): QueueInfo[] {
  if (records.length === 0) return []
  return withJournal(service, journal => records.map(record => queueOf(service, journal, record, shown)))
}

function queueOf(service: Service, journal: Journal | undefined, record: VolumeRecord, shown: number): QueueInfo {
  const settings = cloudSettings(record)
  const live = service.mounted?.cloud(record.id)?.sync.status()
  const counts = live ?? journal?.counts(record.id) ?? { queued: 0, queuedBytes: 0, stored: 0, failed: 0 }
  const works = shown > 0 ? (journal?.list(record.id, shown) ?? []) : []
  return {
    name: record.name,
    address: addressOf(settings),
    state: live?.state ?? 'not mounted',
    // What only the index has to be told yet isn't done either.
    queued: counts.queued + counts.stored,
    queuedBytes: counts.queuedBytes,
    failed: counts.failed,
    sentBytes: live?.sentBytes ?? 0,
    runningBytes: live?.running.reduce((sum, work) => sum + Math.min(work.sentBytes, work.sizeBytes), 0) ?? 0,
    lastError: live?.lastError,
    works: works.map(work => describeWork(work, settings.prefix, live?.running)),
  }
}

function describeWork(
  work: Work,
  prefix: string,
  running: readonly { readonly id: number; readonly sentBytes: number }[] = [],
): QueuedWork {
  const { action } = work
  const now = running.find(other => other.id === work.id)
  return {
    does: action.kind === 'put' ? 'upload' : action.kind === 'copy' ? 'copy' : 'delete',
    name: printable(nameOfText(action.key.startsWith(prefix) ? action.key.slice(prefix.length) : action.key)),
    sizeBytes: action.kind === 'delete' ? 0 : action.sizeBytes,
    sentBytes: now?.sentBytes ?? 0,
    state: now ? 'running' : work.state === 'failed' ? 'failed' : 'waiting',
    error: work.error,
  }
}

/** Lends the journal: that of the mount, else its own for the moment; undefined where nothing was ever queued. */
export function withJournal<T>(service: Service, use: (journal: Journal | undefined) => T): T {
  const live = service.mounted?.ground?.journal
  if (live) return use(live)
  const path = service.library.paths.journal
  if (!existsSync(path)) return use(undefined)
  using key = new SecretKey(service.library.key)
  const journal = new Journal({ path, key })
  try {
    return use(journal)
  } finally {
    journal.close()
  }
}

/** The staged contents that the journal still needs, by id. */
export function stagedIds(journal: Journal): Set<string> {
  const ids = new Set<string>()
  for (const root of journal.roots()) ids.add(decodeRoot(root).fileId.toString('hex'))
  return ids
}

function chosen(service: Service, name: string | undefined): VolumeRecord[] {
  return name === undefined ? cloudRecords(service.index) : [findCloud(service.index, name)]
}

function optionalName(name: string | undefined): { readonly name?: string } {
  return name === undefined ? {} : { name }
}
