/** Paths to nodes: what the tree says now, within bounds, and every reference given back. */
import { setImmediate as turn } from 'node:timers/promises'
import test from 'ava'
import { FsError } from '../../src/errors.ts'
import { PathResolver, split } from '../../src/fs/libfuse/resolver.ts'
import { silentLog } from '../../src/log.ts'
import { type Answer, type Entry, type Ino, isDirectory, type Name, ROOT_INO, type Vfs } from '../../src/vfs/contract.ts'
import { Tree } from '../../src/vfs/tree.ts'
import { MemoryVolume } from '../../src/vfs/volumes/memory.ts'
import { context } from '../vfs/volume-contract.ts'

/** The tree with its references counted, and answers that come late when asked to. */
function counted(isSlow: () => boolean = () => false) {
  const tree = new Tree({ log: silentLog })
  const memory = new MemoryVolume({ slot: 7 })
  tree.addVolume('v', memory)
  const references = new Map<Ino, number>()
  let lookups = 0
  const vfs: Pick<Vfs, 'lookup' | 'getattr' | 'forget'> = {
    lookup(who, parent, name): Answer<Entry | undefined> {
      lookups++
      const took = (entry: Entry | undefined) => {
        if (entry) references.set(entry.attributes.ino, (references.get(entry.attributes.ino) ?? 0) + 1)
        return entry
      }
      if (isSlow()) return turn().then(async () => took(await tree.lookup(who, parent, name)))
      const entry = took(tree.lookup(who, parent, name) as Entry | undefined)
      return isSlow() ? turn(entry) : entry
    },
    getattr: (who, ino) => tree.getattr(who, ino),
    forget(ino, count) {
      const left = (references.get(ino) ?? 0) - count
      if (left < 0) throw new Error(`node ${ino} was forgotten more often than it was looked up`)
      references.set(ino, left)
      tree.forget(ino, count)
    },
  }
  const held = () => [...references.values()].reduce((sum, count) => sum + count, 0)
  return { tree, memory, vfs, held, lookups: () => lookups }
}

const errorOf = (action: () => unknown): string => {
  try {
    action()
    return ''
  } catch (error) {
    return error instanceof FsError ? error.kind : String(error)
  }
}

test('a path leads to its node; directories on the way are asked for once', t => {
  const { memory, vfs, held, lookups } = counted()
  const a = memory.mkdir(context, memory.rootIno, 'a', 0o755).attributes.ino
  const b = memory.mkdir(context, a, 'b', 0o755).attributes.ino
  const file = memory.mknod(context, b, 'file', 0o644, 0).attributes.ino
  const resolver = new PathResolver({ vfs })
  t.is(
    resolver.node(context, '/v/a/b/file', entry => entry.attributes.ino),
    file,
  )
  t.is(lookups(), 4)
  t.is(
    resolver.node(context, '/v/a/b/file', entry => entry.attributes.ino),
    file,
  )
  t.is(lookups(), 5)
  t.deepEqual(
    resolver.parent(context, '/v/a/b/new', (parent, name) => [parent, name] as const),
    [b, 'new'],
  )
  t.is(lookups(), 5)
  t.is(
    resolver.node(context, '/', entry => entry.attributes.ino),
    ROOT_INO,
  )
  t.is(held(), 3)
  resolver.clear()
  t.is(held(), 0)
})

test('what is missing or no directory is said', t => {
  const { memory, vfs, held } = counted()
  memory.mknod(context, memory.rootIno, 'file', 0o644, 0)
  const resolver = new PathResolver({ vfs })
  t.is(
    errorOf(() => resolver.lookup(context, '/v/none')),
    'not-found',
  )
  t.is(
    errorOf(() => resolver.lookup(context, '/v/none/x')),
    'not-found',
  )
  t.is(
    errorOf(() => resolver.lookup(context, '/v/file/x')),
    'not-directory',
  )
  t.is(
    errorOf(() => resolver.parent(context, '/', () => 0)),
    'invalid',
  )
  t.is(
    errorOf(() => split(`/${'n'.repeat(256)}`)),
    'name-too-long',
  )
  t.is(
    errorOf(() => split('/a/../b')),
    'invalid',
  )
  t.is(
    errorOf(() => split('/a\ufffd')),
    'bad-name',
  )
  resolver.clear()
  t.is(held(), 0)
})

test('a directory is believed for as long as the tree says, or until it says otherwise', t => {
  const { tree, memory, vfs } = counted()
  let now = 0
  const resolver = new PathResolver({ vfs, now: () => now })
  const inoOf = (path: string) => resolver.parent(context, path, parent => parent)
  const old = memory.mkdir(context, memory.rootIno, 'a', 0o755).attributes.ino
  t.is(inoOf('/v/a/x'), old)
  memory.rename(context, memory.rootIno, 'a', memory.rootIno, 'b', 0)
  const other = memory.mkdir(context, memory.rootIno, 'a', 0o755).attributes.ino
  t.is(inoOf('/v/a/x'), old)
  now = 5_000
  t.is(inoOf('/v/a/x'), other)
  t.is(inoOf('/v/b/x'), old)
  memory.rename(context, memory.rootIno, 'b', memory.rootIno, 'c', 0)
  resolver.forgetName(memory.rootIno, 'b')
  t.is(
    errorOf(() => inoOf('/v/b/x')),
    'not-found',
  )
  // Looking at the name itself tells too.
  t.is(inoOf('/v/c/x'), old)
  memory.rmdir(context, memory.rootIno, 'c')
  t.is(
    errorOf(() => resolver.lookup(context, '/v/c')),
    'not-found',
  )
  t.is(
    errorOf(() => inoOf('/v/c/x')),
    'not-found',
  )
  tree.forget(0, 0)
})

test('the cache is bounded, and references leave with what leaves it', t => {
  const { memory, vfs, held } = counted()
  const resolver = new PathResolver({ vfs, limit: 10 })
  let parent = memory.rootIno
  let path = '/v'
  for (let i = 0; i < 50; i++) {
    parent = memory.mkdir(context, parent, `d${i}`, 0o755).attributes.ino
    path += `/d${i}`
    memory.mkdir(context, memory.rootIno, `s${i}`, 0o755)
    t.is(
      resolver.parent(context, `${path}/x`, ino => ino),
      parent,
    )
    resolver.parent(context, `/v/s${i}/x`, ino => ino)
    t.true(resolver.size <= 10)
    t.is(held(), resolver.size)
  }
  resolver.clear()
  t.is(held(), 0)
})

test('what a waiting call uses stays until it has ended, though the cache lets go of it', async t => {
  const { memory, vfs, held } = counted()
  const a = memory.mkdir(context, memory.rootIno, 'a', 0o755).attributes.ino
  const resolver = new PathResolver({ vfs })
  const { promise, resolve } = Promise.withResolvers<void>()
  const waiting = resolver.parent(context, '/v/a/x', parent => promise.then(() => parent))
  resolver.clear()
  t.is(held(), 1)
  resolve()
  t.is(await waiting, a)
  t.is(held(), 0)
})

test('an answer that was under way while something changed is used, but not remembered', async t => {
  let isLate = true
  const { memory, vfs, held } = counted(() => isLate)
  const old = memory.mkdir(context, memory.rootIno, 'a', 0o755).attributes.ino
  const resolver = new PathResolver({
    vfs: {
      ...vfs,
      // It was so when it was asked.
      lookup(who, parent, name) {
        isLate = false
        const entry = vfs.lookup(who, parent, name)
        return turn().then(() => entry)
      },
    },
  })
  const asked = resolver.parent(context, '/v/a/x', parent => parent)
  await turn()
  memory.rename(context, memory.rootIno, 'a', memory.rootIno, 'b', 0)
  resolver.forgetName(memory.rootIno, 'a')
  t.is(await asked, old)
  await t.throwsAsync(async () => await resolver.parent(context, '/v/a/x', parent => parent), { message: 'not-found' })
  resolver.clear()
  t.is(held(), 0)
})

for (const isSlow of [false, true])
  test(`random changes and look-ups, answered ${isSlow ? 'sooner or later' : 'at once'}`, async t => {
    const seed = Number(process.env.SDMOUNT_TEST_SEED ?? Math.floor(Math.random() * 2 ** 31))
    t.log(`SDMOUNT_TEST_SEED=${seed}`)
    let state = seed
    const random = (below: number) => {
      state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fffffff
      return (state >>> 8) % below
    }
    const { memory, vfs, held } = counted(() => isSlow && random(2) === 0)
    const resolver = new PathResolver({ vfs, limit: 12 })
    const path = () => `/v${Array.from({ length: 1 + random(4) }, () => `/${'abc'[random(3)]}`).join('')}`

    /** The truth: straight down, without a cache. */
    const truth = (names: readonly Name[]): Ino | undefined => {
      let at = memory.rootIno
      for (const name of names) {
        const entry = memory.lookup(context, at, name)
        if (!entry) return undefined
        memory.forget(entry.attributes.ino, 1)
        at = entry.attributes.ino
        if (!isDirectory(entry.attributes.mode)) return undefined
      }
      return at
    }
    const change = () => {
      const [from, to] = [split(path()).slice(1), split(path()).slice(1)]
      const [name, newName] = [from.pop()!, to.pop()!]
      const [parent, newParent] = [truth(from), truth(to)]
      if (parent === undefined || newParent === undefined) return
      try {
        const kind = random(8)
        if (kind < 5) memory.forget(memory.mkdir(context, parent, name, 0o755).attributes.ino, 1)
        else if (kind === 5) memory.rmdir(context, parent, name)
        else memory.rename(context, parent, name, newParent, newName, kind === 6 ? 0 : 2)
      } catch (error) {
        if (!(error instanceof FsError)) throw error
        return
      }
      resolver.forgetName(parent, name)
      resolver.forgetName(newParent, newName)
    }
    const outcome = async (action: () => Answer<Ino>): Promise<Ino | string> => {
      try {
        return await action()
      } catch (error) {
        if (error instanceof FsError) return error.kind
        throw error
      }
    }
    let found = 0
    for (let round = 0; round < 3_000; round++) {
      for (let i = random(3); i > 0; i--) change()
      const paths = Array.from({ length: isSlow ? 1 + random(6) : 1 }, path)
      const asked = paths.map(one => outcome(() => resolver.node(context, one, entry => entry.attributes.ino)))
      // Changes meanwhile: whatever is found then, nothing may be lost or given back twice.
      if (isSlow && random(4) === 0) for (let i = 0; i < 3; i++) change()
      await Promise.all(asked)
      const still = path()
      const expected = truth(split(still).slice(1))
      if (expected !== undefined) found++
      const got = await outcome(() => resolver.node(context, still, entry => entry.attributes.ino))
      t.is(got, expected ?? 'not-found', `seed ${seed}, round ${round}`)
      t.true(resolver.size <= 12)
      t.is(held(), resolver.size, `seed ${seed}, round ${round}`)
    }
    t.true(found > 500, `only ${found} paths led anywhere`)
    resolver.clear()
    t.is(held(), 0)
  })
