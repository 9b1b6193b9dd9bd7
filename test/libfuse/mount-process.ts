/**
 * The process that a test mounts in through the FUSE library: one volume, the tree and the driver, driven over IPC.
 *
 * Owns: one mount. Its parent sends an `Order`, then questions; it ends when the mount is gone, or when its parent went away.
 */

import { nameOfText } from '../../src/cli/names.ts'
import { mountLibfuse } from '../../src/fs/libfuse/session.ts'
import { mountTree } from '../../src/fs/mount.ts'
import { createLog } from '../../src/log.ts'
import { Tree } from '../../src/vfs/tree.ts'
import { type Location, openLocation } from '../../src/vfs/volumes/location/location.ts'
import { MemoryVolume } from '../../src/vfs/volumes/memory.ts'
import { openTestIndex } from '../support/test-index.ts'
import { loadLibrary } from './library.ts'

export interface Order {
  readonly mountpoint: string
  /** The folder of a location; without it the volume is in memory. */
  readonly folder?: string
  readonly indexDirectory: string
  readonly readOnly?: boolean
  readonly driver?: 'kernel' | 'libfuse'
}

export interface Statistics {
  readonly requests: number
  readonly errors: number
  readonly waiting: number
  readonly openFiles: number
  readonly openDirectories: number
  /** Nodes that the volume holds in memory. */
  readonly nodes: number
}

export type Question = 'statistics' | 'unmount' | 'unmount lazily' | 'add volume' | 'remove volume'
export type Answer = { readonly statistics?: Statistics; readonly error?: string }

async function serve(order: Order): Promise<void> {
  const log = createLog(line => process.stderr.write(line), process.env.SDMOUNT_TEST_LOG === 'debug' ? 'debug' : 'warning')
  const tree = new Tree({ log })
  const index = await openTestIndex(order.indexDirectory, log)
  let location: Location | undefined
  let memory: MemoryVolume | undefined
  if (order.folder !== undefined) {
    const record = index.volumes()[0] ?? index.addVolume('location', 'volume', { path: nameOfText(order.folder) })
    location = openLocation({
      record,
      index,
      log,
      listener: tree.listener,
      ownMountpoints: () => [nameOfText(order.mountpoint)],
      routeSlot: (slot, volume) => tree.routeSlot(slot, volume),
      readOnly: order.readOnly ?? false,
    })
    tree.addVolume('volume', location)
  } else tree.addVolume('volume', (memory = new MemoryVolume({ id: 1000, slot: 1000 })))
  const options = {
    mountpoint: order.mountpoint,
    vfs: tree,
    log,
    readOnly: order.readOnly ?? false,
    allowOther: process.getuid?.() === 0,
    options: [],
    libraryName: 'sdmount, a "test"',
  }
  const session =
    order.driver === 'kernel' ? await mountTree({ ...options, driver: 'kernel' }) : await mountLibfuse(options, { load: loadLibrary })
  const answers: Record<Question, () => Promise<Statistics | undefined>> = {
    async statistics() {
      const { requests, errors, waiting } = session.statistics()
      const { files, directories } = tree.openHandles()
      return { requests, errors, waiting, openFiles: files, openDirectories: directories, nodes: location?.nodeCount ?? memory!.nodeCount }
    },
    unmount: async () => void (await session.unmount({ lazy: false })),
    'unmount lazily': async () => void (await session.unmount({ lazy: true })),
    'add volume': async () => void tree.addVolume('second', new MemoryVolume({ id: 1001, slot: 1001 })),
    'remove volume': async () => void (await tree.removeVolume(1001)),
  }
  const send = (answer: Answer) => process.connected && process.send?.(answer)
  process.on('message', (question: Question) => {
    answers[question]().then(
      statistics => send(statistics ? { statistics } : {}),
      error => send({ error: String(error.message) }),
    )
  })
  process.on('disconnect', () => void session.unmount({ lazy: true }).catch(() => {}))
  send({})
  await session.ended
  await tree.close()
  index.close()
  process.exit(0)
}

process.once('message', (order: Order) => {
  serve(order).catch(error => {
    process.stderr.write(`${error?.stack ?? error}\n`)
    process.send?.({ error: String(error?.message ?? error) } satisfies Answer, () => process.exit(1))
  })
})
