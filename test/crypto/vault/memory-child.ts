/** Opens a header with the passphrase that comes on standard input, says so, and forgets it when it is told to. */
import { readFileSync, readSync } from 'node:fs'
import { forgetReleasedKeys } from '../../../src/crypto/forget.ts'
import { Passphrase } from '../../../src/crypto/passphrase.ts'
import { wipeableBytes } from '../../../src/crypto/secret-key.ts'
import { unlockHeader } from '../../../src/crypto/vault/header.ts'

const line = wipeableBytes(64)
const length = readSync(0, line, 0, 64, null)
const passphrase = Passphrase.normalised(line.subarray(0, length))
line.fill(0)

async function held(): Promise<void> {
  const header = await unlockHeader(readFileSync(process.argv[2]!), passphrase)
  const derived = header.keys.master.derive('content-names')
  derived.nameTag(['something'])
  process.stdout.write('open\n')
  readSync(0, Buffer.alloc(1), 0, 1, null)
  derived[Symbol.dispose]()
  header[Symbol.dispose]()
  passphrase[Symbol.dispose]()
}

await held()
await forgetReleasedKeys()
process.stdout.write('closed\n')
setInterval(() => {}, 1000)
