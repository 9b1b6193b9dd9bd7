/** A location in a folder of its own, driven by a thread, with an index, for tests. Owns: the folder and the index. */
import { mkdirSync, mkdtempSync, realpathSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Index } from '../../src/index/contract.ts'
import { silentLog } from '../../src/log.ts'
import { Tree } from '../../src/vfs/tree.ts'
import { type DeferredLocation, openDeferredLocation } from '../../src/vfs/volumes/location/deferred/deferred-location.ts'
import { openTestIndex } from '../support/test-index.ts'

export interface OpenedDeferred {
  readonly volume: DeferredLocation
  readonly index: Index
  readonly tree: Tree
  readonly folder: string
  dispose(): Promise<void>
}

export interface DeferredTestOptions {
  readonly deadlineMs?: number
  /** Where the location is, when it isn't a folder of its own; made ready before the location is opened. */
  readonly prepare?: (directory: string) => string
  readonly readOnly?: boolean
}

export async function openDeferred(options: DeferredTestOptions = {}): Promise<OpenedDeferred> {
  const directory = realpathSync(mkdtempSync(join(tmpdir(), 'sdmount-deferred-')))
  mkdirSync(join(directory, 'index'))
  let folder = join(directory, 'folder')
  if (options.prepare) folder = options.prepare(directory)
  else mkdirSync(folder)
  const index = await openTestIndex(join(directory, 'index'), silentLog)
  const tree = new Tree({ log: silentLog })
  const volume = openDeferredLocation({
    record: index.addVolume('location', 'folder', { path: Buffer.from(folder).toString('latin1') }),
    index,
    log: silentLog,
    listener: tree.listener,
    ownMountpoints: () => [],
    routeSlot: (slot, routed) => tree.routeSlot(slot, routed),
    ...(options.readOnly ? { readOnly: true } : {}),
    ...(options.deadlineMs === undefined ? {} : { deadlineMs: options.deadlineMs }),
  })
  tree.addVolume('folder', volume)
  return {
    volume,
    index,
    tree,
    folder,
    async dispose() {
      await volume.close()
      index.close()
      rmSync(directory, { recursive: true, force: true })
    },
  }
}
