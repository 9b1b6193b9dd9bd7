/**
 * A process that serves a folder, for tests that look at its memory, and for the bench.
 * Owns: the server. Sends `{ port }` when it listens; answers any message with `{ residentBytes, peakBytes }`; ends with its
 * parent.
 */
import { serveWebdav } from '../../../src/fs/webdav/server.ts'
import type { SqliteIndex } from '../../../src/index/open-index.ts'
import { MemoryPropertyStore } from '../../../src/index/property-store.ts'
import { silentLog } from '../../../src/log.ts'
import { Tree } from '../../../src/vfs/tree.ts'
import { openLocation } from '../../../src/vfs/volumes/location/location.ts'
import { openTestIndex } from '../../support/test-index.ts'

const [folder = '', indexDirectory = ''] = process.argv.slice(2)
const index = await openTestIndex(indexDirectory, silentLog)
const tree = new Tree({ log: silentLog })
const record = index.addVolume('location', 'files', { path: folder })
const location = openLocation({
  record,
  index,
  log: silentLog,
  listener: tree.listener,
  ownMountpoints: () => [],
  routeSlot: (slot, volume) => tree.routeSlot(slot, volume),
})
tree.addVolume('files', location)
const server = await serveWebdav({
  vfs: tree,
  log: silentLog,
  host: '127.0.0.1',
  port: 0,
  anonymous: true,
  readOnly: false,
  properties: (index as Partial<Pick<SqliteIndex, 'properties'>>).properties ?? new MemoryPropertyStore(),
  identity: { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0, umask: 0o022 },
})
process.on('message', () => {
  // maxRSS is in kilobytes.
  process.send?.({
    residentBytes: process.memoryUsage.rss(),
    peakBytes: process.resourceUsage().maxRSS * 1024,
    state: location.status().state,
  })
})
process.on('disconnect', () => process.exit(0))
process.send?.({ port: server.port })
