/** The same random operations on a vault and on the memory volume: the same answers, the same tree; also after closing, rebuilding, collecting. */
import test from 'ava'
import { MemoryVolume } from '../../src/vfs/volumes/memory.ts'
import { SeededRandom, seedOf } from '../support/random.ts'
import { dump, step } from './random-operations.ts'
import { TestVault } from './vault-fixture.ts'

const STEPS = 600

test('a vault and the memory volume give the same answers', async t => {
  const seed = seedOf(process.env)
  t.log(`SEED=${seed}`)
  const limits = { packBytes: 2 * 2 ** 20, checkpointLogBytes: 20_000 }
  let { vault, volume } = await TestVault.create({ limits })
  t.teardown(() => vault.remove())
  const memory = new MemoryVolume({ slot: 3 })
  const random = new SeededRandom(seed)
  for (let i = 0; i < STEPS; i++) {
    const draw = random.below(2 ** 31)
    const expected = step(memory, new SeededRandom(draw))
    t.is(step(volume, new SeededRandom(draw)), expected, `step ${i}`)
    const event = random.below(60)
    if (event < 4) volume.syncfs()
    if (event === 4) await volume.gc(new AbortController().signal)
    if (event === 5 || event === 6) {
      await volume.close()
      if (event === 6) vault.forgetWork()
      volume = await vault.open({ limits })
    }
    if (event === 7) await volume.snapshot('')
    if (event === 8) await volume.prune({ last: 1 })
    if (i % 20 === 0 || event < 9) t.deepEqual(dump(volume), dump(memory), `after step ${i}`)
  }
  t.deepEqual(dump(volume), dump(memory))
  const options = { repair: false, signal: new AbortController().signal, progress() {} }
  t.deepEqual(await volume.check(options), [])
  await volume.close()
  t.deepEqual(
    vault.lines.filter(line => line.includes('damaged')),
    [],
  )
})
