/**
 * Kill -9 and power loss at every write: the vault's writes and syncs are recorded, and after every prefix of them it is opened from
 * what a crash would leave. It must be as it was after some operation, none earlier than the last fsync that was answered.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { VaultVolume } from '../../src/vfs/volumes/vault/vault.ts'
import { SeededRandom, seedOf } from '../support/random.ts'
import { context } from '../vfs/volume-contract.ts'
import { MemoryStore, storeAfter } from './memory-store.ts'
import { dump, step } from './random-operations.ts'
import { testKeys, vaultOptions } from './vault-fixture.ts'

const STEPS = 160
const TRIALS = 700

/** Which states may be found after an event. */
interface Moment {
  /** Index of the last state that was made durable, and of the newest that an operation may have begun to make. */
  readonly durable: number
  readonly newest: number
}

test('after a crash at any write all that was synced is there, and nothing is half there', async t => {
  const seed = seedOf(process.env)
  t.log(`SEED=${seed}`)
  const random = new SeededRandom(seed)
  const directory = mkdtempSync(join(tmpdir(), 'sdmount-crash-'))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  const keys = testKeys()
  const store = new MemoryStore()
  const limits = { packBytes: 1_500_000, checkpointLogBytes: 15_000 }
  await VaultVolume.create(vaultOptions(keys, store, join(directory, 'first')))
  const begin = store.events.length
  const moments: Moment[] = []
  let durable = 0
  const states: string[] = []
  store.onEvent = () => moments.push({ durable, newest: states.length })

  let volume = await VaultVolume.open(vaultOptions(keys, store, join(directory, 'first'), { limits }))
  states.push(dump(volume).join('\n'))
  for (let i = 0; i < STEPS; i++) {
    step(volume, random)
    states.push(dump(volume).join('\n'))
    const event = random.below(20)
    const now = states.length - 1
    if (event < 4) volume.syncfs()
    else if (event === 4) await volume.gc(new AbortController().signal)
    else if (event === 5) await volume.snapshot(`${i}`)
    else if (event === 6) await volume.prune({ last: 1 })
    else if (event === 7) {
      await volume.close()
      volume = await VaultVolume.open(vaultOptions(keys, store, join(directory, 'first'), { limits }))
    } else continue
    durable = now
  }
  await volume.close()
  store.onEvent = () => {}

  const total = moments.length
  for (let trial = 0; trial < TRIALS; trial++) {
    const count = trial < 40 ? total - trial : random.below(total + 1)
    const draw = random.below(2 ** 31)
    const left = storeAfter(store.events, begin + count, trial % 4 === 0 ? undefined : new SeededRandom(draw))
    const work = join(directory, `trial-${trial}`)
    const found = await VaultVolume.open(vaultOptions(keys, left, work))
    const moment = count === 0 ? { durable: 0, newest: 0 } : moments[count - 1]!
    const seen = dump(found).join('\n')
    t.false(found.traits.readOnly, `event ${count}: ${found.status().detail}`)
    const allowed = states.slice(moment.durable, moment.newest + 1)
    t.true(allowed.includes(seen), `event ${count} of ${total}, draw ${draw}: another state than ${moment.durable} to ${moment.newest}`)
    if (trial % 10 === 0) {
      const options = { repair: false, signal: new AbortController().signal, progress() {} }
      t.deepEqual(await found.check(options), [], `event ${count}, draw ${draw}`)
    }
    await found.close()
    rmSync(work, { recursive: true, force: true })
  }
})

test('a record whose header lies across two sectors of which one was written is torn, not damaged', async t => {
  const directory = mkdtempSync(join(tmpdir(), 'sdmount-crash-'))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  const keys = testKeys()
  const store = new MemoryStore()
  await VaultVolume.create(vaultOptions(keys, store, join(directory, 'first')))
  const volume = await VaultVolume.open(vaultOptions(keys, store, join(directory, 'first')))
  const segment = 'log/000000000002'
  const left = () => 512 - ((store.blobs.get(segment)?.length ?? 0) % 512)
  for (let i = 0; i < 5000 && (i === 0 || left() >= 8); i++) {
    volume.mkdir(context, volume.rootIno, `${i}`.padEnd(1 + ((i * 7) % 100), 'x'), 0o755)
    volume.syncfs()
  }
  const before = store.blobs.get(segment)!.length
  const boundary = before + left()
  t.true(left() < 8)
  const tree = dump(volume)
  volume.mkdir(context, volume.rootIno, 'torn', 0o755)
  volume.syncfs()
  for (const [what, from, to] of [
    ['behind', boundary, undefined],
    ['before', before, boundary],
  ] as const) {
    const bytes = Buffer.from(store.blobs.get(segment)!).fill(0, from, to)
    const found = await VaultVolume.open(
      vaultOptions(keys, new MemoryStore(new Map(store.blobs).set(segment, bytes)), join(directory, what)),
    )
    t.false(found.traits.readOnly, found.status().detail)
    t.deepEqual(dump(found), tree)
    await found.close()
  }
  await volume.close()
})
