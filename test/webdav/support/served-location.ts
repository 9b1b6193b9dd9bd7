/**
 * A server over a real folder, for tests with real clients and real bytes.
 * Owns: a temporary folder, its index, the location, the server; `close` leaves nothing behind.
 */
import { mkdirSync, mkdtempSync, realpathSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ExecutionContext } from 'ava'
import { serveWebdav, type WebdavOptions, type WebdavServer } from '../../../src/fs/webdav/server.ts'
import type { SqliteIndex } from '../../../src/index/open-index.ts'
import { MemoryPropertyStore, type PropertyStore } from '../../../src/index/property-store.ts'
import { silentLog } from '../../../src/log.ts'
import type { Vfs } from '../../../src/vfs/contract.ts'
import { Tree } from '../../../src/vfs/tree.ts'
import { openLocation } from '../../../src/vfs/volumes/location/location.ts'
import { openTestIndex } from '../../support/test-index.ts'
import { HttpClient } from './http-client.ts'

export interface ServedLocation {
  readonly server: WebdavServer
  readonly tree: Tree
  readonly properties: PropertyStore
  readonly http: HttpClient
  /** The folder that is served, on the host. */
  readonly folder: string
  /** Another folder, for what the test needs: on the host, not served. */
  readonly work: string
  /** URL of the served folder. */
  readonly url: string
  leaks(): string[]
  close(): Promise<void>
}

export interface LocationServeOptions extends Partial<WebdavOptions> {
  readonly wrap?: (vfs: Vfs) => Vfs
}

export async function serveLocation(t?: ExecutionContext, options: LocationServeOptions = {}): Promise<ServedLocation> {
  const directory = realpathSync(mkdtempSync(join(tmpdir(), 'sdmount-webdav-')))
  const folder = join(directory, 'folder')
  const work = join(directory, 'work')
  for (const path of [folder, work, join(directory, 'index')]) mkdirSync(path)
  const index = await openTestIndex(join(directory, 'index'), silentLog)
  const tree = new Tree({ log: silentLog })
  const record = index.addVolume('location', 'files', { path: Buffer.from(folder).toString('latin1') })
  const location = openLocation({
    record,
    index,
    log: silentLog,
    listener: tree.listener,
    ownMountpoints: () => [],
    routeSlot: (slot, volume) => tree.routeSlot(slot, volume),
  })
  tree.addVolume('files', location)
  // The index keeps them, where it is the real one.
  const properties = (index as Partial<Pick<SqliteIndex, 'properties'>>).properties ?? new MemoryPropertyStore()
  const { wrap = (vfs: Vfs) => vfs, ...rest } = options
  const server = await serveWebdav({
    vfs: wrap(tree),
    log: silentLog,
    host: '127.0.0.1',
    port: 0,
    anonymous: options.credentials === undefined,
    readOnly: false,
    properties,
    identity: { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0, umask: 0o022 },
    ...rest,
  })
  const http = new HttpClient(server.port)
  let closed = false
  const served: ServedLocation = {
    server,
    tree,
    properties,
    http,
    folder,
    work,
    url: `${server.url}files/`,
    leaks() {
      const { files, directories } = tree.openHandles()
      return files + directories + server.activeRequests > 0
        ? [`${files} files, ${directories} folders, ${server.activeRequests} requests`]
        : []
    },
    async close() {
      if (closed) return
      closed = true
      http.close()
      await server.close()
      await tree.close()
      index.close()
      rmSync(directory, { recursive: true, force: true })
    },
  }
  t?.teardown(async () => {
    await served.close()
    const found = served.leaks()
    if (found.length > 0) throw new Error(`${t.title} left behind: ${found.join(', ')}`)
  })
  return served
}
