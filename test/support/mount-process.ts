/**
 * The process that a test mounts in: locations, tree and kernel channel as the daemon wires them, driven over IPC.
 *
 * Owns: one mount. Its parent sends a `MountOrder`, then questions; it answers `ready`, `failed` or what was asked.
 * It ends when the mount is gone, when it is told to, or when its parent went away (then it unmounts).
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { mountFuse } from '../../src/fs/fuse/session.ts'
import type { Index } from '../../src/index/contract.ts'
import { createLog } from '../../src/log.ts'
import { Tree } from '../../src/vfs/tree.ts'
import { openChosenLocation } from '../../src/vfs/volumes/location/deferred/choose.ts'
import type { LocationVolume } from '../../src/vfs/volumes/location/location.ts'
import { openTestIndex } from './test-index.ts'

export interface MountOrder {
  readonly mountpoint: string
  /** Name at the top and absolute path of each folder. */
  readonly folders: readonly { readonly name: string; readonly path: string }[]
  /** Where the index is kept: the same directory in a second mount has the same inode numbers. */
  readonly indexDirectory: string
  readonly readOnly: boolean
  readonly allowOther: boolean
  readonly passthrough: boolean
  /** Who asks the folders: the mounting thread, or one for each. */
  readonly drive: LocationVolume['drive']
  readonly options: readonly string[]
}

export interface MountStatistics {
  readonly requests: number
  readonly errors: number
  readonly waiting: number
  readonly openFiles: number
  readonly openDirectories: number
  readonly nodes: number
  readonly residentBytes: number
}

/** What is in use after garbage was collected. */
export interface MountMemory {
  readonly heapBytes: number
  readonly externalBytes: number
}

export type ToMount =
  | { readonly kind: 'mount'; readonly order: MountOrder }
  | { readonly kind: 'statistics' }
  | { readonly kind: 'verify' }
  | { readonly kind: 'memory' }
  | { readonly kind: 'unmount' }
export type FromMount =
  | { readonly kind: 'ready' }
  | { readonly kind: 'failed'; readonly message: string }
  | { readonly kind: 'statistics'; readonly statistics: MountStatistics }
  | { readonly kind: 'verified'; readonly differences: readonly string[] }
  | { readonly kind: 'memory'; readonly memory: MountMemory }
  | { readonly kind: 'unmounted'; readonly message?: string }

/** How long a scan may take before the index is compared with the disk, and a change to arrive in the index. */
const SCAN_MS = 60_000
const SETTLE_MS = 1_500
const DIFFERENCES_TOLD = 20

async function serve(order: MountOrder): Promise<void> {
  const log = createLog(line => process.stderr.write(line), process.env.SDMOUNT_TEST_LOG === 'debug' ? 'debug' : 'warning')
  const index = await openTestIndex(order.indexDirectory, log)
  const tree = new Tree({ log })
  const locations: LocationVolume[] = []
  for (const { name, path } of order.folders) {
    const record = index.volumes().find(volume => volume.name === name) ?? index.addVolume('location', name, { path, drive: order.drive })
    const location = openChosenLocation({
      record,
      index,
      log,
      listener: tree.listener,
      ownMountpoints: () => [order.mountpoint],
      routeSlot: (slot, volume) => tree.routeSlot(slot, volume),
      readOnly: order.readOnly,
    })
    tree.addVolume(name, location)
    locations.push(location)
  }
  const session = await mountFuse({ ...order, vfs: tree, log, libraryName: 'sdmount test' })
  const send = (message: FromMount) => process.connected && process.send?.(message)
  process.on('message', (message: ToMount) => {
    if (message.kind === 'statistics') {
      const { files, directories } = tree.openHandles()
      const nodes = locations.reduce((sum, location) => sum + location.nodeCount, 0)
      const { requests, errors, waiting } = session.statistics()
      const residentBytes = process.memoryUsage.rss()
      send({
        kind: 'statistics',
        statistics: { requests, errors, waiting, openFiles: files, openDirectories: directories, nodes, residentBytes },
      })
    }
    if (message.kind === 'memory') send({ kind: 'memory', memory: memoryInUse() })
    if (message.kind === 'verify')
      verify(index, locations, order).then(
        differences => send({ kind: 'verified', differences }),
        error => send({ kind: 'verified', differences: [String(error?.stack ?? error)] }),
      )
    if (message.kind === 'unmount')
      session.unmount({ lazy: false }).then(
        () => send({ kind: 'unmounted' }),
        error => send({ kind: 'unmounted', message: String(error.message) }),
      )
  })
  process.on('disconnect', () => void session.unmount({ lazy: true }))
  send({ kind: 'ready' })
  await session.ended
  await tree.close()
  index.close()
  process.exit(0)
}

function memoryInUse(): MountMemory {
  setFlagsFromString('--expose-gc')
  runInNewContext('gc')()
  const { heapUsed, external } = process.memoryUsage()
  return { heapBytes: heapUsed, externalBytes: external }
}

/** Waits for the scan, then compares the index with the disk: the differences, a line each. */
async function verify(index: Index, locations: readonly LocationVolume[], order: MountOrder): Promise<string[]> {
  const differences: string[] = []
  const signal = AbortSignal.timeout(SCAN_MS)
  for (const location of locations) {
    while (location.status().state === 'scanning') await sleep(50, undefined, { signal })
    await location.verify({
      leftOut: [order.mountpoint],
      signal,
      settleMs: SETTLE_MS,
      difference: async (path, kind, detail) => {
        if (differences.length < DIFFERENCES_TOLD) differences.push(`${path}: ${kind} ${detail}`.trim())
      },
      progress: async () => {},
    })
  }
  return [...differences, ...[...index.problems()].slice(0, DIFFERENCES_TOLD)]
}

process.once('message', (message: ToMount) => {
  if (message.kind !== 'mount') return
  serve(message.order).catch(error => {
    process.stderr.write(`${error?.stack ?? error}\n`)
    process.send?.({ kind: 'failed', message: String(error?.message ?? error) } satisfies FromMount, () => process.exit(1))
  })
})
