/**
 * A cloud volume against the memory volume under random acts, with restarts, killed processes, and other machines on the bucket.
 * `SEED` repeats one.
 */
import test, { type ExecutionContext } from 'ava'
import { MemoryBackend } from '../../../src/backends/memory.ts'
import { describeError } from '../../../src/errors.ts'
import { type Log, silentLog } from '../../../src/log.ts'
import { MemoryVolume } from '../../../src/vfs/volumes/memory.ts'
import { SeededRandom, seedOf } from '../../support/random.ts'
import { TestGround } from './cloud-ground.ts'
import { Actor, describeAct, randomAct, treeOf } from './random-acts.ts'

/** So often everything is compared. */
const EACH = Number(process.env.EACH ?? 40)
const ACTS = Number(process.env.ACTS ?? 400)

async function agree(t: ExecutionContext, cloud: Actor, memory: Actor, when: string): Promise<void> {
  const [actual, expected] = [await treeOf(cloud.volume), await treeOf(memory.volume)]
  if (JSON.stringify(actual) !== JSON.stringify(expected)) {
    const short = (line: string) => line.slice(0, 80)
    t.deepEqual(actual.map(short), expected.map(short), when)
    t.deepEqual(actual, expected, when)
  }
}

for (const round of [0, 1, 2, 3]) {
  test(`random acts, restarts and kills (${round})`, async t => {
    t.timeout(600_000)
    const seed = seedOf(process.env) + round * 7919
    t.log(`SEED=${seed - round * 7919}`)
    t.teardown(() => {
      if (!t.passed) t.log(recent.slice(-60).join('\n'))
    })
    const random = new SeededRandom(seed)
    const backend = new MemoryBackend(round % 2 === 0 ? {} : { copyIfMatch: false, deleteIfMatch: false, putIfMatch: false })
    const recent: string[] = []
    const note = (message: string) => void recent.push(`  log: ${message}`)
    const log: Log = { ...silentLog, info: note, warning: note, error: (message, cause) => note(`${message}: ${describeError(cause)}`) }
    let ground = new TestGround({ backend, keep: true, log })
    t.teardown(() => ground.close())
    const cloud = new Actor(ground.volume)
    const memory = new Actor(new MemoryVolume())
    for (let i = 0; i < ACTS; i++) {
      const act = randomAct(random)
      recent.push(`${i} ${describeAct(act)}`)
      const [actual, expected] = [await cloud.act(act), await memory.act(act)]
      if (actual !== expected) {
        t.log(recent.slice(-30).join('\n'))
        t.is(actual.slice(0, 200), expected.slice(0, 200), recent.at(-1))
        await agree(t, cloud, memory, recent.slice(-80).join('\n'))
        t.is(actual, expected)
        return
      }
      const chance = random.below(60)
      if (chance === 0) {
        await ground.drained().catch(error => {
          t.log(recent.slice(-30).join('\n'), ground.journal.list(1, 100))
          throw error
        })
      } else if (chance === 1 || chance === 2) {
        await cloud.dropAll()
        await memory.dropAll()
        const left = chance === 1 ? ground.asLeftByCrash() : ground.directory
        await ground.close()
        recent.push(chance === 1 ? 'killed' : 'restarted')
        ground = new TestGround({ backend, directory: left, keep: true, log })
        cloud.volume = ground.volume
      } else if (chance === 3) {
        await ground.volume.refresh()
        recent.push('refreshed')
      }
      if (i % EACH === EACH - 1) {
        await agree(t, cloud, memory, recent.slice(-45).join('\n'))
      }
    }
    await cloud.dropAll()
    await memory.dropAll()
    await ground.drained()
    await ground.volume.refresh()
    await agree(t, cloud, memory, recent.slice(-80).join('\n'))
    t.deepEqual([...ground.index.problems()], [])
    t.deepEqual(ground.index.objects.pending(1, 0, 10), [])
    t.deepEqual(ground.volume.sync.status().failed, 0)
    // Another machine sees the same, by what the bucket has alone.
    const other = new TestGround({ backend })
    t.teardown(() => other.close())
    await agree(t, new Actor(other.volume), memory, `elsewhere, after ${recent.slice(-80).join('\n')}`)
  })
}
