/**
 * `index verify`: which locations are compared, and what is said of the others.
 * The comparison itself is src/vfs/volumes/location/verify.ts.
 */
import { FsError } from '../../errors.ts'
import type { VolumeRecord } from '../../index/contract.ts'
import { type VerifyRequest, verifyLocation } from '../../vfs/volumes/location/verify.ts'
import { CommandError } from '../exit-codes.ts'
import { sleep } from '../sleep.ts'
import { findLocation, locations } from './locations.ts'
import { leftOut } from './mounted-tree.ts'
import type { Handler, HandlerContext, Service } from './service.ts'

const SCAN_POLL_MS = 200
/** Changes beside the mount arrive in the index within a second. */
const SETTLE_MS = 1_500
const PROGRESS_MS = 100

export const verify: Handler<'index.verify'> = {
  parse: given => {
    const name = given.optionalBytes('name')
    return name === undefined ? {} : { name }
  },
  async handle(service, given, context) {
    const records = given.name === undefined ? locations(service.index) : [findLocation(service.index, given.name)]
    let checked = 0
    let differences = 0
    for (const record of records) {
      const reason = await whyNot(service, record, context)
      if (reason !== undefined) {
        await context.update({ skipped: record.name, reason })
        continue
      }
      const done = checked
      let toldAtMs = 0
      try {
        const request: VerifyRequest = {
          leftOut: leftOut(service.library.paths, service.mounted?.settings.mountpoint),
          signal: context.signal,
          settleMs: service.mounted ? SETTLE_MS : 0,
          difference: async (path, kind, detail) => {
            differences++
            await context.update({ difference: { location: record.name, path, kind, detail } })
          },
          progress: async now => {
            if (Date.now() - toldAtMs < PROGRESS_MS) return
            toldAtMs = Date.now()
            await context.update({ location: record.name, checked: done + now })
          },
        }
        // The location itself knows whether its filesystem may be asked from here.
        const location = service.mounted?.location(record.id)
        checked += await (location ? location.verify(request) : verifyLocation({ ...request, record, index: service.index }))
      } catch (error) {
        if (context.signal.aborted) throw new CommandError('interrupted', 'interrupted')
        if (!(error instanceof FsError) || error.kind !== 'offline') throw error
        await context.update({ skipped: record.name, reason: `it is offline: ${error.message}` })
      }
    }
    return { checked, differences }
  },
}

/** Why a location can't be compared; waits for its scan. */
async function whyNot(service: Service, record: VolumeRecord, context: HandlerContext<'index.verify'>): Promise<string | undefined> {
  for (;;) {
    const status = service.mounted?.location(record.id)?.status()
    if (status?.state === 'offline') return `it is offline: ${status.detail ?? 'its folder is away'}`
    if (status?.state !== 'scanning') break
    await context.update({ location: record.name, scanning: status.scan?.entries ?? 0 })
    await sleep(SCAN_POLL_MS, context.signal)
  }
  if (service.index.scanState(record.id)?.finished !== true) return 'it was never scanned to the end; mount the library for that'
  return undefined
}
