/**
 * A server over a tree in memory, for tests: one volume, `mem`, and what it needs around it.
 * Owns: starting and stopping. Every test closes its server; `leaks` tells what was left behind.
 */
import type { ExecutionContext } from 'ava'
import { serveWebdav, type WebdavOptions, type WebdavServer } from '../../../src/fs/webdav/server.ts'
import { MemoryPropertyStore } from '../../../src/index/property-store.ts'
import { createLog, silentLog } from '../../../src/log.ts'
import type { Vfs } from '../../../src/vfs/contract.ts'
import { Tree } from '../../../src/vfs/tree.ts'
import { MemoryVolume, type MemoryVolumeOptions } from '../../../src/vfs/volumes/memory.ts'
import { HttpClient } from './http-client.ts'

export interface ServedTree {
  readonly server: WebdavServer
  readonly tree: Tree
  readonly volume: MemoryVolume
  readonly properties: MemoryPropertyStore
  /** Speaks to the server; paths begin at its root. */
  readonly http: HttpClient
  /** URL of the writable folder. */
  readonly url: string
  /** What no request should leave behind. */
  leaks(): string[]
  close(): Promise<void>
}

export interface ServeOptions extends Partial<WebdavOptions> {
  readonly volume?: MemoryVolumeOptions
  /** Puts something between the server and the tree. */
  readonly wrap?: (vfs: Vfs) => Vfs
}

/** Starts a server; with `t` it is closed, and looked at for leaks, when the test ends. */
export async function serveTree(t?: ExecutionContext, options: ServeOptions = {}): Promise<ServedTree> {
  const log = process.env.SDMOUNT_TEST_LOG ? createLog(line => process.stderr.write(line), 'debug') : silentLog
  const tree = new Tree({ log: silentLog })
  const volume = new MemoryVolume(options.volume)
  tree.addVolume('mem', volume)
  const properties = new MemoryPropertyStore()
  const { volume: _, wrap = (vfs: Vfs) => vfs, ...rest } = options
  const server = await serveWebdav({
    vfs: wrap(tree),
    log,
    host: '127.0.0.1',
    port: 0,
    anonymous: options.credentials === undefined,
    readOnly: false,
    properties,
    identity: { uid: 1000, gid: 1000, umask: 0o022 },
    ...rest,
  })
  const http = new HttpClient(server.port, options.tls !== undefined)
  let closed = false
  const served: ServedTree = {
    server,
    tree,
    volume,
    properties,
    http,
    url: `${server.url}mem/`,
    leaks() {
      const { files, directories } = tree.openHandles()
      const found: string[] = []
      if (files > 0) found.push(`${files} open files`)
      if (directories > 0) found.push(`${directories} open folders`)
      if (server.activeRequests > 0) found.push(`${server.activeRequests} requests`)
      return found
    },
    async close() {
      if (closed) return
      closed = true
      http.close()
      await server.close()
    },
  }
  t?.teardown(async () => {
    await served.close()
    // Ends the test run with a message: a teardown can't fail an assertion any more.
    const found = served.leaks()
    if (found.length > 0) throw new Error(`${t.title} left behind: ${found.join(', ')}`)
  })
  return served
}
