/**
 * Taking a cloud volume out of the library; the bucket stays as it is.
 *
 * Owns: the order in which its parts go. Must stay true: changes that aren't in the bucket yet are given up only when the user
 * said so, also those that came in while he was asked; after a crash in the middle the volume is either still there or gone, and
 * what is left of it (staged contents, keys) goes with the next start or the next removal.
 */
import type { Backend } from '../../backends/contract.ts'
import type { Journal } from '../../cache/writeback/journal.ts'
import type { Work } from '../../cache/writeback/work.ts'
import type { VolumeRecord } from '../../index/contract.ts'
import { forgetSecrets } from '../../library/secrets.ts'
import { CommandError } from '../exit-codes.ts'
import { bytes, count } from '../terminal/format.ts'
import { printable } from '../terminal/terminal.ts'
import { addressOf, cloudSettings, findCloud, namedSecrets } from './cloud-record.ts'
import type { QueueInfo } from './requests.ts'
import type { Handler, Service } from './service.ts'
import { queuesOf, stagedIds, withJournal } from './upload-queue.ts'

const NAMED = 5
const UPLOADS_LISTED = 1000
/** Begun uploads are ended on the server if it answers; it isn't waited for long. */
const ABORT_MS = 10_000

export const removeCloud: Handler<'volume.remove'> = {
  parse: given => ({ name: given.bytes('name'), discard: given.flag('discard') }),
  async handle(service, { name, discard }) {
    const record = findCloud(service.index, name)
    if (!discard) refusePending(service, record)
    const backend = service.mounted?.ground?.backend(record.id)
    await service.mounted?.detach(record.id, { keepStore: true })
    try {
      // Now that nothing more comes in.
      if (!discard) refusePending(service, record)
    } catch (error) {
      service.mounted?.ground?.release(record.id)
      await service.mounted?.attach(record)
      throw error
    }
    const begun = withJournal(service, journal => begunUploads(journal, record))
    const discarded = withJournal(service, journal => forgetQueue(service, journal, record))
    if (backend) await abortUploads(backend, begun)
    service.mounted?.ground?.release(record.id)
    const address = addressOf(cloudSettings(record))
    await service.index.removeVolume(record.id)
    forgetSecrets(service.index, namedSecrets(service.index))
    service.index.flush('durable')
    service.log.info(`cloud volume "${record.name}" removed${discarded > 0 ? `; ${discarded} changes were given up` : ''}`)
    return { name: record.name, address, discarded }
  },
}

function refusePending(service: Service, record: VolumeRecord): void {
  const queue = queuesOf(service, [record], NAMED)[0]
  if (!queue || queue.queued + queue.failed === 0) return
  throw new CommandError(
    'uploads',
    `${whatIsPending(queue)}. Wait for them with sdmount sync wait ${printable(record.name)}, or give them up with --discard`,
  )
}

/** "3 changes of "photos" are not in the bucket yet (1.5 MiB): a.jpg, b.jpg, c.jpg". */
export function whatIsPending(queue: QueueInfo): string {
  const all = queue.queued + queue.failed
  const names = [...new Set(queue.works.map(work => work.name))]
  const more = all > queue.works.length ? ', ...' : ''
  const failed = queue.failed > 0 ? `, ${count(queue.failed)} of them failed` : ''
  return `${count(all)} ${all === 1 ? 'change' : 'changes'} of "${printable(queue.name)}" ${all === 1 ? 'is' : 'are'} not in the bucket yet (${bytes(queue.queuedBytes)}${failed})${names.length > 0 ? `: ${names.join(', ')}${more}` : ''}`
}

function begunUploads(journal: Journal | undefined, record: VolumeRecord): Work[] {
  return journal?.list(record.id, UPLOADS_LISTED).filter(work => work.upload !== undefined) ?? []
}

/** Forgets what was queued, and the contents that only it needed. Answers how many pieces of work that were. */
function forgetQueue(service: Service, journal: Journal | undefined, record: VolumeRecord): number {
  if (!journal) return 0
  const before = stagedIds(journal)
  const forgotten = journal.forget(record.id)
  const after = stagedIds(journal)
  // Without a mount they go as orphans when the next one starts.
  for (const id of before) if (!after.has(id)) service.mounted?.ground?.staging.remove(id)
  return forgotten
}

/** What was sent in parts and never completed would lie in the bucket, unseen and paid for. */
async function abortUploads(backend: Backend, works: readonly Work[]): Promise<void> {
  const signal = AbortSignal.timeout(ABORT_MS)
  await Promise.all(
    works.map(({ action, upload }) => backend.uploads.abort({ key: action.key, uploadId: upload!.uploadId }, { signal }).catch(() => {})),
  )
}
