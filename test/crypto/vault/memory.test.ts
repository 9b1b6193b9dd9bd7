/** After the wiping, a process's memory holds neither passphrase nor master key; before it, it does (the search finds them). */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import { Passphrase } from '../../../src/crypto/passphrase.ts'
import { unlockHeader } from '../../../src/crypto/vault/header.ts'
import { countInMemory } from '../../support/process-memory.ts'

const HEADER = fileURLToPath(new URL('../../fixtures/vault-header-v1/header', import.meta.url))
const CHILD = fileURLToPath(new URL('memory-child.ts', import.meta.url))
const PASSPHRASE = 'correct horse battery staple'

const onLinux = process.platform === 'linux' ? test : test.skip

onLinux('keys and passphrase are gone from memory', async t => {
  const header = await unlockHeader(readFileSync(HEADER), new Passphrase(Buffer.from(PASSPHRASE)))
  const patterns = {
    passphrase: Buffer.from(PASSPHRASE),
    master: header.keys.master.use(bytes => Buffer.from(bytes)),
    derived: header.keys.master.derive('content-names').use(bytes => Buffer.from(bytes)),
  }
  const child = spawn(process.execPath, [CHILD, HEADER], { stdio: ['pipe', 'pipe', 'inherit'] })
  t.teardown(() => child.kill('SIGKILL'))
  child.stdin.write(PASSPHRASE)
  t.is(String((await once(child.stdout, 'data'))[0]), 'open\n')
  const open = countInMemory(child.pid!, patterns)
  t.true(open.passphrase! > 0 && open.master! > 0 && open.derived! > 0, JSON.stringify(open))
  child.stdin.write('x')
  t.is(String((await once(child.stdout, 'data'))[0]), 'closed\n')
  t.deepEqual(countInMemory(child.pid!, patterns), { passphrase: 0, master: 0, derived: 0 })
})
