/** An ordinary commit and a durable one, with marks around them for who traces the system calls. Parameter: directory. */
import { writeSync } from 'node:fs'
import { openIndex } from '../../../src/index/open-index.ts'
import { silentLog } from '../../../src/log.ts'
import { SLOT_SIZE } from '../../../src/vfs/contract.ts'
import { directoryOf, fileOf, KEY } from '../support.ts'

const index = openIndex({ directory: process.argv[2]!, key: KEY, log: silentLog })
const volume = index.addVolume('location', 'Documents', {}).id
const base = index.slot(volume, '') * SLOT_SIZE
index.putNode(volume, directoryOf(base + 2))
index.flush('process')
for (const [what, durability] of [
  ['ordinary', 'process'],
  ['durable', 'durable'],
] as const) {
  writeSync(1, `begin ${what}\n`)
  index.createEntry(volume, base + 2, what, fileOf(base + (durability === 'durable' ? 11 : 10)))
  index.flush(durability)
  writeSync(1, `end ${what}\n`)
}
index.close()
