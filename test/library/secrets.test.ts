/** Keys to buckets that the library keeps: written before they are named, gone with who named them, unreadable on disk. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { openIndex } from '../../src/index/open-index.ts'
import { addSecret, forgetSecrets, readSecret, replaceSecret } from '../../src/library/secrets.ts'
import { silentLog } from '../../src/log.ts'

const KEYS = { accessKeyId: 'AKIAPLAINTEXTID', secretAccessKey: 'plaintextsecret' }
const OTHER = { accessKeyId: 'OTHERPLAINTEXTID', secretAccessKey: 'othersecret', sessionToken: 'plaintexttoken' }

function memoryStore(initial: Record<string, string> = {}) {
  const settings = new Map(Object.entries(initial))
  return { setting: (key: string) => settings.get(key), setSetting: (key: string, value: string) => void settings.set(key, value) }
}

test('kept, replaced, and gone with the volume that named them', t => {
  const store = memoryStore()
  t.is(readSecret(store, 'none'), undefined)
  const first = addSecret(store, KEYS, new Set())
  const second = addSecret(store, OTHER, new Set([first]))
  t.not(first, second)
  t.deepEqual(readSecret(store, first), KEYS)
  t.deepEqual(readSecret(store, second), OTHER)
  replaceSecret(store, first, OTHER)
  t.deepEqual(readSecret(store, first), OTHER)
  forgetSecrets(store, new Set([second]))
  t.is(readSecret(store, first), undefined)
  t.deepEqual(readSecret(store, second), OTHER)
  const third = addSecret(store, KEYS, new Set())
  t.is(readSecret(store, second), undefined, 'what no volume names goes with the next change')
  t.deepEqual(readSecret(store, third), KEYS)
  t.is(readSecret(store, 'constructor'), undefined)
})

test('the stored form of version 1 is read as it was written', t => {
  const id = '00112233445566778899aabbccddeeff'
  const stored = `{"1":{"${id}":{"accessKeyId":"AKIAPLAINTEXTID","secretAccessKey":"plaintextsecret"}}}`
  const store = memoryStore({ secrets: stored })
  t.deepEqual(readSecret(store, id), KEYS)
  replaceSecret(store, id, KEYS)
  t.is(store.setting('secrets'), stored)
})

test('what reads as no secrets is refused without being quoted', t => {
  for (const stored of ['no json plaintextsecret', '{"2":{}}', '[]', 'null', '{"1":{"a":{"accessKeyId":1}}}', '{"1":{"a":null}}']) {
    const error = t.throws(() => readSecret(memoryStore({ secrets: stored }), 'a'), { name: 'LibraryError' })
    t.notRegex(error.message, /plaintext/)
  }
})

test('on disk nothing of them can be read, also after they were replaced', t => {
  const directory = mkdtempSync(join(tmpdir(), 'sdmount-secrets-'))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  const key = Buffer.alloc(32, 7)
  const index = openIndex({ directory, key, log: silentLog })
  const id = addSecret(index, KEYS, new Set())
  replaceSecret(index, id, OTHER)
  index.flush('durable')
  const files = () => readdirSync(directory, { recursive: true, encoding: 'utf8', withFileTypes: true }).filter(entry => entry.isFile())
  const look = () => {
    t.true(files().length > 0)
    for (const file of files()) {
      const bytes = readFileSync(join(file.parentPath, file.name))
      for (const secret of [...Object.values(KEYS), ...Object.values(OTHER)]) t.false(bytes.includes(secret), file.name)
    }
  }
  look()
  index.close()
  look()
  const again = openIndex({ directory, key, log: silentLog })
  t.deepEqual(readSecret(again, id), OTHER)
  again.close()
})
