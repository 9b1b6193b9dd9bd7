/**
 * What it must withstand: any piece of a vault flipped, cut, swapped, doubled, replayed or removed is an error that is told, never wrong
 * bytes, never a crash; the rest stays readable; a repair drops only what is lost.
 */
import { createHash } from 'node:crypto'
import { cpSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { FsError } from '../../src/errors.ts'
import { createLog } from '../../src/log.ts'
import { O_RDWR } from '../../src/sys/flags.ts'
import { type Ino, isDirectory } from '../../src/vfs/contract.ts'
import { VaultVolume } from '../../src/vfs/volumes/vault/vault.ts'
import { SeededRandom, seedOf } from '../support/random.ts'
import { context } from '../vfs/volume-contract.ts'
import { MemoryStore } from './memory-store.ts'
import { testKeys, vaultOptions } from './vault-fixture.ts'

const directory = mkdtempSync(join(tmpdir(), 'sdmount-damage-'))
test.after.always(() => rmSync(directory, { recursive: true, force: true }))
const keys = testKeys()
const limits = { packBytes: 400_000, checkpointLogBytes: 2_000 }
const signal = new AbortController().signal
const seed = seedOf(process.env)

function write(volume: VaultVolume, parent: Ino, name: string, bytes: Buffer): void {
  const { entry, file } = volume.create(context, parent, name, 0o644, O_RDWR)
  file.write(context, 0, bytes, {})
  file.release()
  volume.forget(entry.attributes.ino, 1)
}

function noise(random: SeededRandom, length: number): Buffer {
  return Buffer.from(Array.from({ length }, () => random.below(256)))
}

/** Path to content; 'damaged' where it can't be read. */
function inspect(volume: VaultVolume): Map<string, string> {
  const found = new Map<string, string>()
  const walk = (ino: Ino, prefix: string) => {
    const names: string[] = []
    volume.opendir(context, ino).read(context, 0n, false, { add: name => names.push(name) > 0 })
    for (const name of names) {
      if (name === '.' || name === '..') continue
      const { attributes: a } = volume.lookup(context, ino, name)!
      if (isDirectory(a.mode)) {
        walk(a.ino, `${prefix + name}/`)
        continue
      }
      const file = volume.open(context, a.ino, 0)
      const bytes = Buffer.alloc(a.sizeBytes)
      try {
        file.read(context, 0, bytes)
        found.set(prefix + name, createHash('sha1').update(bytes).digest('hex'))
      } catch (error) {
        if (!(error instanceof FsError) || error.kind !== 'damaged') throw error
        found.set(prefix + name, 'damaged')
      }
      file.release()
    }
  }
  walk(volume.rootIno, '')
  return found
}

interface Made {
  readonly blobs: Map<string, Buffer>
  readonly files: Map<string, string>
  /** An older state of the same vault, as stored. */
  readonly older: Map<string, Buffer>
  readonly work: string
}

async function make(): Promise<Made> {
  const random = new SeededRandom(seed)
  const store = new MemoryStore()
  const work = join(directory, 'work')
  await VaultVolume.create(vaultOptions(keys, store, work))
  let older = new Map<string, Buffer>()
  for (let round = 0; round < 4; round++) {
    const volume = await VaultVolume.open(vaultOptions(keys, store, work, { limits }))
    const folder = volume.mkdir(context, volume.rootIno, `d${round}`, 0o755).attributes.ino
    for (let i = 0; i < 6; i++) write(volume, folder, `file-${i}`, noise(random, 1000 + random.below(150_000)))
    write(volume, folder, 'text', Buffer.from('the same line again\n'.repeat(5000)))
    volume.syncfs()
    for (let i = 0; i < 8; i++) {
      write(volume, folder, `small-${i}`, noise(random, 300))
      volume.syncfs()
    }
    await volume.close()
    if (round === 2) older = new Map([...store.blobs].map(([name, bytes]) => [name, Buffer.from(bytes)]))
  }
  const volume = await VaultVolume.open(vaultOptions(keys, store, work, { limits }))
  const files = inspect(volume)
  await volume.close()
  return { blobs: store.blobs, files, older, work }
}

const made = make()

type Mutation = readonly [string, (blobs: Map<string, Buffer>) => void]

/** Each kind of mischief at each blob. */
function mutations({ blobs, older }: Made, random: SeededRandom): Mutation[] {
  const list: Mutation[] = []
  const names = [...blobs.keys()]
  for (const name of names) {
    const { length } = blobs.get(name)!
    const change = (what: string, work: (bytes: Buffer) => Buffer) =>
      list.push([`${what} ${name}`, all => void all.set(name, work(Buffer.from(all.get(name)!)))])
    for (const at of [0, 9, 20, 70, 100, 130, random.below(length), random.below(length), length - 1]) {
      if (at >= length) continue
      change(`flip byte ${at} of`, bytes => {
        bytes[at]! ^= 1 << random.below(8)
        return bytes
      })
    }
    for (const to of [0, 50, random.below(length), length - 1]) change(`cut at ${to}`, bytes => bytes.subarray(0, to))
    change('more bytes behind', bytes => Buffer.concat([bytes, Buffer.alloc(40, 1)]))
    list.push([`remove ${name}`, all => void all.delete(name)])
    const kind = name.slice(0, name.indexOf('/'))
    const same = names.filter(other => other !== name && other.startsWith(`${kind}/`))
    if (same.length > 0) {
      const other = random.pick(same)
      list.push([
        `swap ${name} and ${other}`,
        all => {
          const [one, two] = [all.get(name)!, all.get(other)!]
          all.set(name, two).set(other, one)
        },
      ])
      list.push([`${other} in place of ${name}`, all => void all.set(name, all.get(other)!)])
    }
    const old = older.get(name)
    if (old && !old.equals(blobs.get(name)!)) list.push([`older ${name}`, all => void all.set(name, old)])
  }
  return list
}

for (const withWork of [true, false]) {
  test(`no mischief gives wrong bytes: ${withWork ? 'where the vault was open before' : 'on another machine'}`, async t => {
    t.log(`SEED=${seed}`)
    const { blobs, files, work } = await made
    let told = 0
    const list = mutations(await made, new SeededRandom(seed + 1))
    for (const [what, mutate] of list) {
      const changed = new Map([...blobs].map(([name, bytes]) => [name, Buffer.from(bytes)]))
      mutate(changed)
      const lines: string[] = []
      const log = createLog(line => lines.push(line), 'warning')
      const place = join(directory, 'try')
      rmSync(place, { recursive: true, force: true })
      if (withWork) cpSync(work, place, { recursive: true })
      let volume: VaultVolume
      try {
        volume = await VaultVolume.open(vaultOptions(keys, new MemoryStore(changed), place, { log }))
      } catch (error) {
        t.true(error instanceof FsError && ['damaged', 'stale', 'not-supported', 'not-found'].includes(error.kind), `${what}: ${error}`)
        told++
        continue
      }
      const found = inspect(volume)
      for (const [path, content] of found) t.true(content === files.get(path) || content === 'damaged', `${what}: ${path} is wrong`)
      const isSame = found.size === files.size && [...found].every(([path, content]) => files.get(path) === content)
      const damage = await volume.check({ repair: false, signal, progress() {} })
      if (!isSame || damage.length > 0) {
        told++
        // On another machine, a log without its last records is an older vault: nobody there can know better.
        if (withWork || [...found.values()].includes('damaged'))
          t.true(lines.length > 0 || volume.status().detail !== undefined || damage.length > 0, `${what}: nobody was told`)
      }
      await volume.close()
    }
    t.true(told > list.length / 2, `${told} of ${list.length} were told`)
  })
}

test('a repair gives up what is lost, and nothing else', async t => {
  const { blobs, files, work } = await made
  const changed = new Map([...blobs].map(([name, bytes]) => [name, Buffer.from(bytes)]))
  const pack = [...changed.keys()].find(name => name.startsWith('packs/'))!
  changed.get(pack)![5000]! ^= 1
  const place = join(directory, 'repair')
  cpSync(work, place, { recursive: true })
  const store = new MemoryStore(changed)
  const volume = await VaultVolume.open(vaultOptions(keys, store, place, { limits }))
  const found = await volume.check({ repair: false, signal, progress() {} })
  t.is(found.length, 1, found.map(damage => damage.message).join('\n'))
  t.is(found[0]!.kind, 'chunk')
  t.true(found[0]!.message.includes(pack))
  t.deepEqual(await volume.check({ repair: false, signal, progress() {} }), found, 'looking changes nothing')
  const repaired = await volume.check({ repair: true, signal, progress() {} })
  t.truthy(repaired[0]!.repaired)
  t.deepEqual(await volume.check({ repair: true, signal, progress() {} }), [])
  await volume.gc(signal)
  await volume.close()
  rmSync(place, { recursive: true, force: true })
  const again = await VaultVolume.open(vaultOptions(keys, store, place, { limits }))
  for (const [path, content] of inspect(again)) t.is(content, found[0]!.paths.includes(path) ? 'damaged' : files.get(path)!, path)
  await again.close()
})

test('a log that is damaged where nothing else has it opens read-only as it was before, and is written again after a repair', async t => {
  const store = new MemoryStore()
  await VaultVolume.create(vaultOptions(keys, store, join(directory, 'log-made')))
  const made = await VaultVolume.open(vaultOptions(keys, store, join(directory, 'log-made')))
  for (let i = 0; i < 10; i++) {
    write(made, made.rootIno, `file-${i}`, noise(new SeededRandom(i), 2000))
    made.syncfs()
  }
  const files = inspect(made)
  await made.close()
  const segment = store.blobs.get('log/000000000002')!
  segment[segment.length >> 1]! ^= 1
  const options = vaultOptions(keys, store, join(directory, 'log'), { limits })
  const reading = await VaultVolume.open({ ...options, readOnly: true })
  await t.throwsAsync(reading.check({ repair: true, signal, progress() {} }), { instanceOf: FsError, message: /reading only/ })
  await reading.close()
  const volume = await VaultVolume.open(options)
  t.true(volume.traits.readOnly)
  t.regex(volume.status().detail ?? '', /damaged/)
  t.throws(() => volume.mkdir(context, volume.rootIno, 'new', 0o755), { instanceOf: FsError })
  const left = inspect(volume)
  t.true(left.size > 0 && left.size < files.size)
  const found = await volume.check({ repair: true, signal, progress() {} })
  t.true(found.some(damage => damage.kind === 'log' && damage.repaired !== undefined))
  await volume.close()
  const again = await VaultVolume.open(options)
  t.false(again.traits.readOnly)
  again.mkdir(context, again.rootIno, 'new', 0o755)
  t.deepEqual(inspect(again), left)
  for (const [path, content] of left) t.is(content, files.get(path)!, path)
  t.deepEqual(await again.check({ repair: false, signal, progress() {} }), [])
  await again.close()
})

test('a vault that was put back as a whole is older than last seen, until the user says that this is meant', async t => {
  const { older, work } = await made
  for (const withIndex of [true, false]) {
    const place = join(directory, `older-${withIndex}`)
    cpSync(work, place, { recursive: true })
    if (!withIndex) for (const end of ['', '-wal', '-shm']) rmSync(join(place, `vault-index.db${end}`), { force: true })
    const store = new MemoryStore(new Map([...older].map(([name, bytes]) => [name, Buffer.from(bytes)])))
    await t.throwsAsync(VaultVolume.open(vaultOptions(keys, store, place)), {
      instanceOf: FsError,
      message: /older than when it was last open/,
    })
    const volume = await VaultVolume.open(vaultOptions(keys, store, place, { acceptOlder: true }))
    t.false(inspect(volume).has('d3/text'))
    t.true(inspect(volume).has('d2/text'))
    volume.mkdir(context, volume.rootIno, 'goes on', 0o755)
    await volume.close()
    const again = await VaultVolume.open(vaultOptions(keys, store, place))
    t.truthy(again.lookup(context, again.rootIno, 'goes on'))
    await again.close()
  }
})
