/**
 * Random calls, held against the model after each few: with reads in between or not, with commits at any moment, with
 * the process killed and the index opened again, with listings that arrive late.
 *
 * A failure prints its seed: SDMOUNT_SEED=n npx ava test/index/model.test.ts runs it again.
 */
import test, { type ExecutionContext } from 'ava'
import { openIndex } from '../../src/index/open-index.ts'
import { silentLog } from '../../src/log.ts'
import { type Attributes, type Ino, isDirectory, type Name, S_IFDIR, S_IFLNK, S_IFREG } from '../../src/vfs/contract.ts'
import { IndexModel } from './model.ts'
import { closeQuietly, directoryOf, fileOf, HeldScheduler, KEY, killedCopy, Random, testIndex } from './support.ts'

const NAMES: readonly Name[] = ['a', 'b', 'c', 'd', 'B', 'caf\xc3\xa9', '\xff\xfe', '\xef\xbb\xbfbom', '\xef\xbf\xbd', 'x'.repeat(255), ' ']
const STEPS = Number(process.env.SDMOUNT_STEPS ?? 3000)
const TYPES = [S_IFREG, S_IFREG, S_IFREG, S_IFDIR, S_IFLNK]

interface Manner {
  readonly limits: object
  /** How often the index is read and compared, in percent of the steps. */
  readonly compared: number
  readonly tickMs: number
}

const MANNERS: Record<string, Manner> = {
  'usual bounds': { limits: {}, compared: 30, tickMs: 0 },
  'small bounds': { limits: { sweepAtOnce: 2, rowsAtOnce: 2 }, compared: 30, tickMs: 0 },
  'long queues, short slices': { limits: { sweepAtOnce: 2 }, compared: 1, tickMs: 5 },
}
for (const [title, manner] of Object.entries(MANNERS)) test(`random calls, ${title}`, t => run(t, new Random(), manner))

test('a node put again after its directory went, and made anew before either was written (seed 628285522)', t =>
  run(t, new Random(628285522), MANNERS['small bounds']!))

function run(t: ExecutionContext, random: Random, { limits, compared, tickMs }: Manner): void {
  t.log(`seed ${random.seed}`)
  let scheduler = new HeldScheduler(tickMs)
  const made = testIndex(t, { limits, scheduler })
  const { volume, base, root } = made
  let { index, directory } = made
  const model = new IndexModel()
  model.putNode(directoryOf(root))
  const listings: { parent: Ino; rows: { name: Name; attributes: Attributes }[]; since: number; modelSince: number }[] = []
  /** A slot has few numbers, so that they come again as other nodes. */
  const number = () => base + 3 + random.below(40)
  let time = 1

  const attributes = (ino: Ino): Attributes => {
    const known = model.nodes.get(ino)
    const type = known && random.chance(90) ? known.mode & 0o170000 : random.pick(TYPES)
    const make = type === S_IFDIR ? directoryOf : fileOf
    const nlink = type !== S_IFDIR && random.chance(5) ? 0 : 1
    return make(ino, {
      mode: type | 0o600,
      nlink,
      sizeBytes: random.below(3) * 2 ** 40,
      ctimeSec: time++ - 1500,
      atimeSec: random.below(5),
    })
  }
  const directories = () => [...model.nodes.values()].filter(a => isDirectory(a.mode) && hasWay(a.ino)).map(a => a.ino)
  /** A directory that the root leads to: a name goes nowhere else. */
  const hasWay = (ino: Ino): boolean => {
    for (let at = ino, depth = 0; depth < 50; depth++) {
      if (at === root) return true
      const name = model.names(at)[0]
      if (name === undefined) return false
      at = Number(name.slice(0, name.indexOf('/')))
    }
    return false
  }
  const isBelow = (ino: Ino, above: Ino): boolean => {
    for (let at: Ino | undefined = ino; at !== undefined; ) {
      if (at === above) return true
      const name: string | undefined = model.names(at)[0]
      at = name === undefined || at === root ? undefined : Number(name.slice(0, name.indexOf('/')))
    }
    return false
  }
  const fresh = (): Ino | undefined => {
    const ino = number()
    // The root stays, and nothing is put below itself.
    return ino === root ? undefined : ino
  }

  const operations: Record<string, () => void> = {
    update() {
      const ino = random.pick([...model.nodes.keys()])
      if (ino === root) return
      const a = attributes(ino)
      index.putNode(volume, a)
      model.putNode(a)
    },
    put() {
      const parent = random.pick(directories())
      const ino = fresh()
      if (ino === undefined || isBelow(parent, ino)) return
      const a = { ...attributes(ino), nlink: 1 } as Attributes
      const name = random.pick(NAMES)
      index.putNode(volume, a)
      index.putEntry(volume, parent, name, ino)
      model.putNode(a)
      model.putEntry(parent, name, ino)
    },
    create() {
      const parent = random.pick(directories())
      const ino = fresh()
      if (ino === undefined || isBelow(parent, ino)) return
      const a = { ...attributes(ino), nlink: 1 } as Attributes
      const name = random.pick(NAMES)
      index.createEntry(volume, parent, name, a)
      model.createEntry(parent, name, a)
    },
    remove() {
      const parent = random.pick(directories())
      const name = random.pick(random.chance(80) ? [...(model.entries.get(parent)?.keys() ?? []), 'none'] : NAMES)
      index.removeEntry(volume, parent, name)
      model.removeEntry(parent, name)
    },
    rename() {
      const parent = random.pick(directories())
      const newParent = random.pick(directories())
      const name = random.pick([...(model.entries.get(parent)?.keys() ?? []), 'none'])
      const newName = random.pick(NAMES)
      const exchange = random.chance(30)
      const source = model.entries.get(parent)?.get(name)
      const target = model.entries.get(newParent)?.get(newName)
      if (source !== undefined && isBelow(newParent, source)) return
      if (target !== undefined && isBelow(parent, target)) return
      index.renameEntry(volume, parent, name, newParent, newName, exchange)
      model.renameEntry(parent, name, newParent, newName, exchange)
    },
    list() {
      const parent = random.pick(directories())
      const names = new Set(NAMES.filter(() => random.chance(40)))
      const rows = []
      const used = new Set<Ino>()
      for (const name of names) {
        const known = model.entries.get(parent)?.get(name)
        const ino = known !== undefined && random.chance(80) ? known : fresh()
        if (ino === undefined || isBelow(parent, ino) || used.has(ino)) continue
        used.add(ino)
        const unchanged = model.nodes.get(ino)
        rows.push({ name, attributes: unchanged && random.chance(60) ? unchanged : ({ ...attributes(ino), nlink: 1 } as Attributes) })
      }
      listings.push({ parent, rows, since: index.scanToken(), modelSince: model.token() })
    },
    apply() {
      const listing = listings.splice(random.below(listings.length + 1), 1)[0]
      if (!listing) return
      const { parent, rows, since, modelSince } = listing
      // What is on its way out comes back as it is when a listing shows it: let it go first, as the model does at once.
      scheduler.settle()
      if (rows.some(row => isBelow(parent, row.attributes.ino) || row.attributes.ino === root)) return
      const byPages = random.chance(30)
      const difference = byPages ? applyByPages(parent, rows, since) : index.applyDirectory(volume, parent, rows, since)
      if (difference.stale) return
      const expected = model.applyDirectory(parent, rows, modelSince)
      t.deepEqual([...difference.added].sort(), expected.added.sort(), 'added')
      t.deepEqual([...difference.changed].sort(), expected.changed.sort(), 'changed')
      t.deepEqual(difference.removed.map(gone => gone.name).sort(), expected.removed.sort(), 'removed')
      t.deepEqual(difference.moved.map(moved => `${moved.parent}/${moved.name}`).sort(), expected.moved.sort(), 'moved')
    },
    flush: () => index.flush('process'),
    turn: () => void scheduler.step(),
    wait: () => scheduler.settle(),
    kill() {
      index.flush('process')
      directory = killedCopy(t, directory)
      closeQuietly(index)
      scheduler = new HeldScheduler(tickMs)
      index = openIndex({ directory, key: KEY, log: silentLog, scheduler, limits })
      t.teardown(() => closeQuietly(index))
      listings.length = 0
    },
  }
  const applyByPages = (parent: Ino, rows: { name: Name; attributes: Attributes }[], since: number) => {
    const listing = index.beginListing(volume, parent, since)
    const whole = { added: [] as Name[], changed: [] as Ino[], removed: [] as { name: Name }[], moved: [] as { parent: Ino; name: Name }[] }
    const add = (part: ReturnType<typeof listing.rows>) => {
      whole.added.push(...part.added)
      whole.changed.push(...part.changed)
      whole.removed.push(...part.removed)
      whole.moved.push(...part.moved)
      return part.stale
    }
    let stale = add(listing.rows(rows))
    for (let end = listing.finish(); ; end = listing.finish()) {
      stale = add(end) || stale
      if (end.done) return { ...whole, stale }
    }
  }
  const weights: readonly [string, number][] = [
    ['update', 20],
    ['put', 15],
    ['create', 20],
    ['remove', 12],
    ['rename', 10],
    ['list', 5],
    ['apply', compared < 10 ? 1 : 5],
    ['flush', compared < 10 ? 0.3 : 2],
    ['turn', compared < 10 ? 1 : 6],
    ['wait', compared < 10 ? 0.3 : 2],
    ['kill', 0.3],
  ]
  const total = weights.reduce((sum, [, weight]) => sum + weight, 0)
  const choose = (): string => {
    let at = random.below(total * 1000) / 1000
    for (const [name, weight] of weights) if ((at -= weight) < 0) return name
    return 'wait'
  }

  for (let step = 0; step < STEPS; step++) {
    const name = choose()
    operations[name]!()
    if (random.chance(compared)) compare(`step ${step}, after ${name}`)
  }
  scheduler.settle()
  compare('the end')
  t.is(index.entryCount(volume), model.entryCount())
  t.is(index.size().nodes, model.nodes.size)
  t.is(index.size().entries, model.entryCount())
  // Names in directories that aren't known, and nodes left without a name by another type's attributes, are no
  // contradictions here: the calls were random.
  t.deepEqual(
    [...index.problems()].filter(line => !/has no name|isn't a directory|isn't known/.test(line)),
    [],
  )

  function compare(when: string): void {
    for (let ino = base; ino < base + 44; ino++) {
      const expected = model.nodes.get(ino)
      const found = index.node(ino)
      if (!same(found, expected)) t.fail(`${when}: node ${ino} is ${JSON.stringify(found)}, expected ${JSON.stringify(expected)}`)
      if (!expected) continue
      const links = index
        .links(ino)
        .map(link => `${link.parent}/${link.name}`)
        .sort()
      t.deepEqual(links, model.names(ino), `${when}: names of ${ino}`)
    }
    for (const parent of directories()) {
      const expected = [...(model.entries.get(parent) ?? [])]
        .filter(([, ino]) => model.nodes.has(ino))
        .sort((a, b) => (a[0] < b[0] ? -1 : 1))
      const children = index.children(parent, undefined, 1000)
      t.deepEqual(
        children.map(child => [child.name, child.attributes.ino]),
        expected,
        `${when}: children of ${parent}`,
      )
      for (const [name, ino] of expected) t.is(index.lookup(parent, name)?.ino, ino, `${when}: ${parent}/${name}`)
    }
  }
  function same(a: Attributes | undefined, b: Attributes | undefined): boolean {
    if (!a || !b) return a === b
    return Object.keys(b).every(key => key.startsWith('atime') || a[key as keyof Attributes] === b[key as keyof Attributes])
  }
}
