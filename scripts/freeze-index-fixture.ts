/**
 * Makes the frozen index of the present schema version, once, when a version is released: test/fixtures/index-v<N>.
 * The test in test/index/open.test.ts reads all of them for ever. An existing one is never made again.
 */
import { existsSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { openIndex } from '../src/index/open-index.ts'
import { SCHEMA_VERSION } from '../src/index/schema.ts'
import { silentLog } from '../src/log.ts'
import { Attributes, S_IFDIR, S_IFREG, SLOT_SIZE } from '../src/vfs/contract.ts'

const directory = join(import.meta.dirname, '..', 'test', 'fixtures', `index-v${SCHEMA_VERSION}`)
if (existsSync(directory)) {
  console.error(`${directory} exists: a frozen index stays as it is`)
  process.exit(1)
}
mkdirSync(directory, { recursive: true })

const index = openIndex({ directory, key: Buffer.alloc(32, 0x11), log: silentLog })
const volume = index.addVolume('location', 'Documents', { path: '/home/somebody/Documents' }).id
const slot = index.slot(volume, '')
const root = slot * SLOT_SIZE + 2
const node = (number: number, mode: number, sizeBytes: number): Attributes =>
  Object.assign(new Attributes(), { ino: root + number, mode, sizeBytes, mtimeSec: 1_700_000_000, mtimeNsec: 123_456_789, nlink: 1 })

index.putNode(volume, node(0, S_IFDIR | 0o755, 0))
index.createEntry(volume, root, 'caf\xe9', node(10, S_IFREG | 0o644, 5))
index.createEntry(volume, root, 'd', node(11, S_IFDIR | 0o700, 0))
index.createEntry(volume, root, 'letter.txt', node(12, S_IFREG | 0o600, 2 ** 33))
index.createEntry(volume, root + 11, 'below', node(13, S_IFREG | 0o600, 1))
index.setSetting('colour', 'Purpurrot')
index.assignIno(slot, 'a key')
index.setScanState(volume, { scan: 3, startedAtMs: 1_795_000_000_000, finished: true })
index.markScanned(root, 3)
index.close()
console.log(directory)
