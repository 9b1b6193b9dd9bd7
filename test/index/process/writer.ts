/** Makes files and tells each when it is flushed, until it is killed. Parameters: directory, a prefix of names. */
import { openIndex } from '../../../src/index/open-index.ts'
import { silentLog } from '../../../src/log.ts'
import { SLOT_SIZE } from '../../../src/vfs/contract.ts'
import { directoryOf, fileOf, KEY } from '../support.ts'

const [directory, prefix] = process.argv.slice(2)
const index = openIndex({ directory: directory!, key: KEY, log: silentLog })
const volume = (index.volumes()[0] ?? index.addVolume('location', 'Documents', {})).id
const base = index.slot(volume, '') * SLOT_SIZE
const root = base + 2
index.putNode(volume, directoryOf(root))
for (let i = 0; ; i++) {
  const ino = base + 10 + Number(prefix) * 1_000_000 + i
  index.createEntry(volume, root, `${prefix} ${i}`, fileOf(ino))
  // Some more that nobody was told of, renamed and removed.
  index.createEntry(volume, root, `${prefix} other ${i}`, directoryOf(ino + 500_000))
  if (i % 3 === 0) index.renameEntry(volume, root, `${prefix} other ${i}`, root, `${prefix} renamed ${i}`, false)
  index.flush(i % 50 === 0 ? 'durable' : 'process')
  process.stdout.write(`${prefix} ${i}\n`)
  if (i % 20 === 0) await new Promise(resolve => setTimeout(resolve, 1))
}
