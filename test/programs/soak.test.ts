/** A daemon that works for long stays small: nodes leave with FORGET, nothing that was opened stays open. */
import { readdirSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import type { TestMount } from '../support/mount.ts'
import { ORDINARY, PASSTHROUGH, type Place, program } from './suite.ts'

const isRoot = process.getuid?.() === 0
const FILES = 2_000
const ROUNDS = 4
/** A node is some 500 bytes: one left of each file of each round would be 4 MB. */
const GROWTH_BYTES = 1_000_000

/** What may stay known: the working directories of programs, and the ways to them. */
const NODES_LEFT = 100

/** The kernel forgets what it knows of the tree; the daemon is told in FORGET requests, sooner or later. */
async function forgetAll(mount: TestMount): Promise<number> {
  for (let tries = 0; ; tries++) {
    if (tries % 20 === 0) writeFileSync('/proc/sys/vm/drop_caches', '2')
    const { nodes } = await mount.statistics()
    if (nodes < NODES_LEFT || tries === 1200) return nodes
    await sleep(50)
  }
}

const descriptors = (mount: TestMount) => readdirSync(`/proc/${mount.pid}/fd`).length

const mebibytes = (bytes: number) => (bytes / 2 ** 20).toFixed(1)

async function walk({ run }: Place): Promise<void> {
  await run('sh', ['-c', 'ls -lR . | wc -l; find . -type f -size +1 | wc -l; cat */name* | wc -c; tar cf /dev/null .'])
}

program(
  'walks, reads and writes for a while: nodes, descriptors and memory come back',
  { needs: ['find', 'tar'], in: [PASSTHROUGH, ORDINARY], unless: () => (isRoot ? undefined : 'needs root to drop caches') },
  async place => {
    const { t, mount, run } = place
    await run('sh', ['-c', `for d in $(seq 1 30); do mkdir $d; (cd $d; seq -f "name %g" 1 ${FILES / 30} | xargs -d "\\n" touch); done`])
    await walk(place)
    const nodesAtStart = await forgetAll(mount)
    t.true(nodesAtStart < NODES_LEFT, `${nodesAtStart} nodes are left of ${FILES} when the kernel has forgotten them`)
    const descriptorsAtStart = descriptors(mount)
    const before = await mount.memory()
    for (let round = 0; round < ROUNDS; round++) {
      await walk(place)
      await run('sh', [
        '-c',
        'for d in 1 2 3; do (cd $d; for i in $(seq 1 60); do echo $i > new$i; mv new$i moved$i; ln moved$i link$i; rm moved$i link$i; done); done; dd if=/dev/zero of=large bs=1M count=30 status=none; cat large > /dev/null; rm large',
      ])
      t.true((await mount.statistics()).nodes >= FILES, 'a walk makes nodes known')
      const nodes = await forgetAll(mount)
      t.true(nodes < NODES_LEFT, `round ${round}: ${nodes} nodes are left`)
    }
    const { openFiles, openDirectories, waiting } = await mount.statistics()
    t.deepEqual({ openFiles, openDirectories, waiting }, { openFiles: 0, openDirectories: 0, waiting: 0 })
    t.true(descriptors(mount) <= descriptorsAtStart + 5, `${descriptorsAtStart} descriptors were open, now ${descriptors(mount)}`)
    const after = await mount.memory()
    const { residentBytes } = await mount.statistics()
    t.log(`heap ${mebibytes(before.heapBytes)} then ${mebibytes(after.heapBytes)}, resident ${mebibytes(residentBytes)} MiB`)
    t.true(after.heapBytes < before.heapBytes + GROWTH_BYTES, `the heap grew from ${before.heapBytes} to ${after.heapBytes} bytes`)
    t.true(
      after.externalBytes < before.externalBytes + GROWTH_BYTES,
      `buffers grew from ${before.externalBytes} to ${after.externalBytes} bytes`,
    )
  },
)
