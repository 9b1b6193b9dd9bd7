/**
 * The process that serves one tree twice, through FUSE and over WebDAV, wired as a daemon would.
 * Owns: the mount and the server. It ends, and unmounts, when its parent says so or goes away.
 */
import { mountFuse } from '../../../src/fs/fuse/session.ts'
import { serveWebdav } from '../../../src/fs/webdav/server.ts'
import { MemoryPropertyStore } from '../../../src/index/property-store.ts'
import { createLog } from '../../../src/log.ts'
import { programLocks } from '../../../src/sys/program-locks.ts'
import { guardedVfs } from '../../../src/vfs/guarded-vfs.ts'
import { notifyingVfs } from '../../../src/vfs/notifying-vfs.ts'
import { Tree } from '../../../src/vfs/tree.ts'
import { openLocation } from '../../../src/vfs/volumes/location/location.ts'
import { openTestIndex } from '../../support/test-index.ts'

const [mountpoint = '', folder = '', indexDirectory = ''] = process.argv.slice(2)
const log = createLog(line => process.stderr.write(line), 'warning')
const index = await openTestIndex(indexDirectory, log)
const tree = new Tree({ log })
const record = index.addVolume('location', 'files', { path: folder })
const location = openLocation({
  record,
  index,
  log,
  listener: tree.listener,
  ownMountpoints: () => [mountpoint],
  routeSlot: (slot, volume) => tree.routeSlot(slot, volume),
})
tree.addVolume('files', location)
const server = await serveWebdav({
  vfs: notifyingVfs(tree, tree.listener),
  log,
  host: '127.0.0.1',
  port: 0,
  anonymous: true,
  readOnly: false,
  properties: new MemoryPropertyStore(),
  identity: { uid: 0, gid: 0, umask: 0o022 },
  heldByProgram: programLocks(mountpoint),
  settled: () => session.settled(),
})
const session = await mountFuse({
  mountpoint,
  vfs: guardedVfs(tree, server.locks),
  log,
  readOnly: false,
  allowOther: true,
  options: [],
  libraryName: 'sdmount test',
})
process.send?.({ port: server.port })

let ending = false
const end = async () => {
  if (ending) return
  ending = true
  await server.close()
  await session.unmount({ lazy: true })
  await session.ended
  await tree.close()
  index.close()
  process.exit(0)
}
process.on('message', () => void end())
process.on('disconnect', () => void end())
