/** Fills an index with a million entries, or opens it and tells what that took. Parameters: directory, "fill" or "open". */
import { openIndex } from '../../../src/index/open-index.ts'
import { silentLog } from '../../../src/log.ts'
import { SLOT_SIZE } from '../../../src/vfs/contract.ts'
import { directoryOf, fileOf, KEY } from '../support.ts'

const DIRECTORIES = 20_000
const FILES = 50
const [directory, what] = process.argv.slice(2)
const before = process.memoryUsage.rss()
const index = openIndex({ directory: directory!, key: KEY, log: silentLog })

if (what === 'fill') {
  const volume = index.addVolume('location', 'Documents', {}).id
  const base = index.slot(volume, '') * SLOT_SIZE
  const root = base + 2
  index.putNode(volume, directoryOf(root))
  for (let d = 0; d < DIRECTORIES; d++) {
    const ino = base + 10 + d * (FILES + 1)
    index.createEntry(volume, root, `folder ${d}`, directoryOf(ino))
    const rows = Array.from({ length: FILES }, (_, i) => ({ name: `a file with a usual name ${i}.jpeg`, attributes: fileOf(ino + 1 + i) }))
    if (index.applyDirectory(volume, ino, rows, index.scanToken()).stale) throw new Error('stale')
    if (d % 50 === 0) await new Promise(setImmediate)
  }
} else {
  const { entries } = index.size()
  const volume = index.volumes()[0]!.id
  const root = index.slots()[0]!.slot * SLOT_SIZE + 2
  if (!index.lookup(root, 'folder 777')) throw new Error('missing')
  const growthBytes = process.memoryUsage.rss() - before
  let seen = 0
  for (const at of index.directories(volume)) seen += at.ino === root ? 0 : index.children(at.ino, undefined, 100).length
  if (seen !== DIRECTORIES * FILES) throw new Error(`${seen} files`)
  console.log(JSON.stringify({ entries, growthBytes, walkedGrowthBytes: process.memoryUsage.rss() - before }))
}
index.close()
