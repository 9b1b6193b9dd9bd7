/** A disk that fails or is full for a moment: the error is told, nothing is lost, and the next attempt makes all of it durable. */
import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { FsError } from '../../src/errors.ts'
import { O_RDWR } from '../../src/sys/flags.ts'
import { VaultVolume } from '../../src/vfs/volumes/vault/vault.ts'
import { context } from '../vfs/volume-contract.ts'
import { MemoryStore, type StoreEvent } from './memory-store.ts'
import { dump } from './random-operations.ts'
import { testKeys, vaultOptions } from './vault-fixture.ts'

for (const [what, fails] of [
  ['a log record that is written and not synced', event => event.kind === 'sync' && event.name.startsWith('log/')],
  ['a log record that is written in part', event => event.kind === 'append' && event.name.startsWith('log/')],
  ['a pack that is written in part', event => event.kind === 'append' && event.name.startsWith('packs/')],
  ['a pack that is not synced', event => event.kind === 'sync' && event.name.startsWith('packs/')],
] as [string, (event: StoreEvent) => boolean][]) {
  test(`after ${what}`, async t => {
    const directory = mkdtempSync(join(tmpdir(), 'sdmount-failing-'))
    t.teardown(() => rmSync(directory, { recursive: true, force: true }))
    const keys = testKeys()
    const store = new MemoryStore()
    await VaultVolume.create(vaultOptions(keys, store, join(directory, 'one')))
    const volume = await VaultVolume.open(vaultOptions(keys, store, join(directory, 'one')))
    const write = (name: string) => {
      const { file } = volume.create(context, volume.rootIno, name, 0o644, O_RDWR)
      file.write(context, 0, randomBytes(200_000), {})
      file.release()
    }
    write('before')
    volume.syncfs()
    write('while')
    for (let attempt = 0; attempt < 2; attempt++) {
      let count = 0
      store.fails = event => fails(event) && count++ === 0
      t.throws(() => volume.syncfs(), { instanceOf: FsError })
    }
    store.fails = () => false
    write('after')
    volume.syncfs()
    const tree = dump(volume)
    // As another machine finds it, also without a proper end.
    const left = new MemoryStore(new Map(store.blobs))
    const found = await VaultVolume.open(vaultOptions(keys, left, join(directory, 'two')))
    t.false(found.traits.readOnly, found.status().detail)
    t.deepEqual(dump(found), tree)
    t.deepEqual(await found.check({ repair: false, signal: new AbortController().signal, progress() {} }), [])
    await found.close()
    await volume.close()
  })
}
