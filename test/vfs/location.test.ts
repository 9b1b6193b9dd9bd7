/** A location does what every volume must do. (One that a thread drives: test/deferred.) */
import { mkdirSync, mkdtempSync, realpathSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { silentLog } from '../../src/log.ts'
import { Tree } from '../../src/vfs/tree.ts'
import { openLocation } from '../../src/vfs/volumes/location/location.ts'
import { openTestIndex } from '../support/test-index.ts'
import { volumeSuite } from './volume-contract.ts'

volumeSuite(
  'location',
  async () => {
    const directory = realpathSync(mkdtempSync(join(tmpdir(), 'sdmount-location-')))
    const path = join(directory, 'folder')
    for (const made of [path, join(directory, 'index')]) mkdirSync(made)
    const index = await openTestIndex(join(directory, 'index'), silentLog)
    const tree = new Tree({ log: silentLog })
    const volume = openLocation({
      record: index.addVolume('location', 'folder', { path: Buffer.from(path).toString('latin1') }),
      index,
      log: silentLog,
      listener: tree.listener,
      ownMountpoints: () => [],
      routeSlot: (slot, routed) => tree.routeSlot(slot, routed),
    })
    return {
      volume,
      async dispose() {
        await volume.close()
        index.close()
        rmSync(directory, { recursive: true, force: true })
      },
    }
  },
  { saysStale: true },
)
