/** A location in a folder of its own, driven by a thread, with an index, for tests. Owns: the folder and the index. */
import { mkdirSync, mkdtempSync, realpathSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Index } from '../../src/index/contract.ts'
import { silentLog } from '../../src/log.ts'
import type { VfsListener, VolumeStatus } from '../../src/vfs/contract.ts'
import { Tree } from '../../src/vfs/tree.ts'
import { type DeferredLocation, openDeferredLocation } from '../../src/vfs/volumes/location/deferred/deferred-location.ts'
import { openTestIndex } from '../support/test-index.ts'

const STATE_MS = 60_000

export interface OpenedDeferred {
  readonly volume: DeferredLocation
  readonly index: Index
  /** Waits until the location is as asked. */
  becomes(state: VolumeStatus['state']): Promise<void>
  dispose(): Promise<void>
}

export interface DeferredTestOptions {
  readonly deadlineMs?: number
  readonly readOnly?: boolean
  /** What is told of changes. */
  readonly listener?: VfsListener
  /** The folder; by default one of its own. */
  readonly folder?: string
}

export async function openDeferred(options: DeferredTestOptions = {}): Promise<OpenedDeferred> {
  const directory = realpathSync(mkdtempSync(join(tmpdir(), 'sdmount-deferred-')))
  const folder = options.folder ?? join(directory, 'folder')
  if (!options.folder) mkdirSync(folder)
  mkdirSync(join(directory, 'index'))
  const index = await openTestIndex(join(directory, 'index'), silentLog)
  const tree = new Tree({ log: silentLog })
  const volume = openDeferredLocation({
    record: index.addVolume('location', 'folder', { path: Buffer.from(folder).toString('latin1') }),
    index,
    log: silentLog,
    listener: options.listener ?? tree.listener,
    ownMountpoints: () => [],
    routeSlot: (slot, routed) => tree.routeSlot(slot, routed),
    ...(options.readOnly ? { readOnly: true } : {}),
    ...(options.deadlineMs === undefined ? {} : { deadlineMs: options.deadlineMs }),
  })
  return {
    volume,
    index,
    async becomes(state) {
      const signal = AbortSignal.timeout(STATE_MS)
      while (volume.status().state !== state) await sleep(20, undefined, { signal })
    },
    async dispose() {
      await volume.close()
      index.close()
      rmSync(directory, { recursive: true, force: true })
    },
  }
}
