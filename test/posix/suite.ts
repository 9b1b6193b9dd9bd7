/**
 * POSIX tests: one test for each semantic, run through a real mount and in a plain directory of the host.
 *
 * Owns: the three ways in which everything is tried (root with passthrough, root without, an ordinary user) and the
 * comparison of what happened in the mount with what happened beside it. Must stay true: a semantic that this machine
 * can't try is skipped with the reason, never passed.
 */
import { chmodSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { mountTemporary, ordinaryUser, type TestMount, whyNoMount } from '../support/mount.ts'
import type { Persona } from '../support/system-calls.ts'
import { World } from './world.ts'

interface Configuration {
  readonly name: string
  readonly asUser: 'root' | 'sdmount-test'
  readonly passthrough: boolean
}

export const CONFIGURATIONS: readonly Configuration[] = [
  { name: 'root, passthrough', asUser: 'root', passthrough: true },
  { name: 'root, no passthrough', asUser: 'root', passthrough: false },
  { name: 'ordinary user', asUser: 'sdmount-test', passthrough: false },
]

export interface SemanticOptions {
  /** Acts as several users, or as root: a mount that one ordinary user made for himself can't show it. */
  readonly needsRoot?: boolean
  /** What happens beside the mount isn't compared: the test says what is expected of the mount alone. */
  readonly mountOnly?: boolean
}

export type Body = (world: World, t: ExecutionContext, mount: TestMount) => unknown

const mounts = new Map<Configuration, TestMount>()
let count = 0

/** People for tests with several users: none of them is in the password file. */
export const ANNA: Persona = { uid: 20_001, gid: 20_001, groups: [20_001, 30_000] }
export const BERT: Persona = { uid: 20_002, gid: 20_002, groups: [20_002, 30_000] }
export const CARL: Persona = { uid: 20_003, gid: 20_003, groups: [20_003] }
/** A group that Anna and Bert are in. */
export const COMMON_GROUP = 30_000

/** Declares a test of one semantic for each configuration. */
export function semantic(title: string, body: Body, options: SemanticOptions = {}): void {
  for (const configuration of CONFIGURATIONS) {
    const why =
      whyNoMount(configuration.asUser) ?? (options.needsRoot && configuration.asUser !== 'root' ? 'needs several users' : undefined)
    if (why) {
      test.skip(`${configuration.name}: ${title} (${why})`, t => t.pass())
      continue
    }
    test.serial(`${configuration.name}: ${title}`, async t => {
      const mount = await mountOf(configuration)
      const name = `test${++count}`
      const plain = options.mountOnly ? undefined : await inWorld(t, body, mount, join(mount.directory, 'plain', name))
      const mounted = await inWorld(t, body, mount, join(mount.folder.mounted, name))
      if (plain) t.deepEqual(mounted, plain, 'the mount (first) differs from a plain directory (second)')
    })
  }
}

async function inWorld(t: ExecutionContext, body: Body, mount: TestMount, root: string): Promise<readonly string[]> {
  const { uid, gid } = mount.owner
  const world = new World(root, { uid, gid, groups: [gid] })
  process.umask(0o022)
  const made = world.mkdir(root)
  if (made !== 0) throw new Error(`${root}: ${made}`)
  try {
    await body(world, t, mount)
  } catch (error) {
    t.log(root.startsWith(mount.mountpoint) ? 'in the mount' : 'in the plain directory: the test itself is wrong about this host')
    throw error
  }
  return world.record
}

async function mountOf(configuration: Configuration): Promise<TestMount> {
  let mount = mounts.get(configuration)
  if (!mount) {
    mount = await mountTemporary(configuration)
    mounts.set(configuration, mount)
    const plain = join(mount.directory, 'plain')
    mkdirSync(plain)
    for (const path of [plain, ...mount.folders.map(folder => folder.path)]) chmodSync(path, 0o777)
  }
  return mount
}

test.after('the index knows what is on the disk, and nothing else', async t => {
  for (const [configuration, mount] of mounts) t.deepEqual(await mount.verify(), [], configuration.name)
})

test.after.always('unmount', async t => {
  for (const mount of mounts.values()) {
    // A warning or an error in the log is a finding, also when all answers were right.
    if (mount.log) t.log(mount.log)
    await mount.dispose()
  }
})

export { ordinaryUser }

/** Time enough for the host's clock to give another time stamp. */
export function tick(): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 6)
}
