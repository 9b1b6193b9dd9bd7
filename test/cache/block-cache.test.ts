/** The block cache: what it gives is right, what it takes is bounded, what it stores tells nothing. */
import { execFileSync, fork, spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'
import test, { type ExecutionContext } from 'ava'
import fc from 'fast-check'
import { BlockCache, type CachedObject, fittingBlock } from '../../src/cache/blocks/block-cache.ts'
import { BLOCK_CLASSES, decodeSegmentHeader, SEGMENT_HEADER_BYTES } from '../../src/cache/blocks/format.ts'
import { parseSegmentName, segmentName } from '../../src/cache/blocks/segment.ts'
import { SecretKey } from '../../src/crypto/secret-key.ts'
import { errorKind } from '../../src/errors.ts'
import { contentOf, randomFrom, testSeed } from './content.ts'

const MIB = 2 ** 20
const KEY = Buffer.alloc(32, 7)

function folder(t: ExecutionContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'sdmount-cache-'))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

function open(directory: string, quotaBytes = 64 * MIB, key = KEY): BlockCache {
  using secret = new SecretKey(key)
  return new BlockCache({ directory, key: secret, quotaBytes })
}

function object(cache: BlockCache, seed: number, sizeBytes: number): CachedObject {
  return cache.object({ volume: 1, key: `object ${seed}`, version: 'etag', sizeBytes })
}

/** Reads and holds every byte against what it must be; answers how many there were. */
function readAndCheck(
  t: ExecutionContext,
  cache: BlockCache,
  seed: number,
  state: CachedObject,
  position: number,
  lengthBytes: number,
): number {
  const into = Buffer.alloc(lengthBytes)
  const count = cache.read(state, position, into)
  if (Buffer.compare(into.subarray(0, count), contentOf(seed, position, count)) !== 0)
    t.fail(`wrong bytes of object ${seed} at ${position}`)
  return count
}

function diskBytes(directory: string): number {
  let bytes = statSync(directory).blocks * 512
  for (const name of readdirSync(directory)) bytes += statSync(join(directory, name)).blocks * 512
  return bytes
}

test.serial('what was put is read, whatever pieces it came in and is asked for in', async t => {
  const seed = testSeed()
  t.log(`SDMOUNT_TEST_SEED=${seed}`)
  const random = randomFrom(seed)
  const cache = open(folder(t), 256 * MIB)
  const sizes = [0, 1, 100, 16_383, 16_384, 16_385, 200_000, 3 * MIB + 12_345, 9 * MIB]
  const present = sizes.map(size => new Uint8Array(Math.ceil(size / 16_384)))
  const states = sizes.map((size, i) => object(cache, i, size))
  for (let round = 0; round < 600; round++) {
    const i = random(sizes.length)
    const size = sizes[i]!
    const position = random(Math.ceil(size / 16_384) + 1) * 16_384
    const lengthBytes = Math.max(0, Math.min(size - position, random(4) === 0 ? random(3 * MIB) : random(100_000)))
    if (lengthBytes > 0 && random(2) === 0) {
      t.true(cache.put(states[i]!, position, contentOf(i, position, lengthBytes)))
      const end = position + lengthBytes === size ? Math.ceil(size / 16_384) : Math.floor((position + lengthBytes) / 16_384)
      for (let block = position / 16_384; block < end; block++) present[i]![block] = 1
    } else {
      const from = Math.max(0, position - random(16_384))
      const wanted = random(500_000) + 1
      const count = readAndCheck(t, cache, i, states[i]!, from, wanted)
      let expected = from
      while (expected < Math.min(size, from + wanted) && present[i]![Math.floor(expected / 16_384)])
        expected = (Math.floor(expected / 16_384) + 1) * 16_384
      t.is(count, Math.max(0, Math.min(expected, size, from + wanted) - from), `object ${i} at ${from}`)
      t.is(cache.extent(states[i]!, from, from + wanted) - from, count)
    }
  }
  t.is(cache.status().damaged, 0)
  await cache.close()
})

test.serial('another volume, key or version is another object', async t => {
  const cache = open(folder(t))
  const state = { volume: 1, key: 'k', version: 'v', sizeBytes: 100 }
  cache.put(cache.object(state), 0, Buffer.alloc(100, 1))
  const into = Buffer.alloc(100)
  t.is(cache.read(cache.object(state), 0, into), 100)
  for (const change of [{ volume: 2 }, { key: 'K' }, { version: 'w' }, { volume: 1, key: 'kv', version: '' }])
    t.is(cache.read(cache.object({ ...state, ...change }), 0, into), 0)
  cache.forget(cache.object(state))
  t.is(cache.read(cache.object(state), 0, into), 0)
  await cache.close()
})

test.serial('a fitting block is aligned, whole or at the end, and never longer than what is at hand', t => {
  fc.assert(
    fc.property(fc.nat(1000), fc.integer({ min: 0, max: 3 * MIB }), fc.boolean(), (block, available, toEnd) => {
      const position = block * 16_384
      const fit = fittingBlock(position, available, toEnd)
      if (!fit) return available === 0 || (!toEnd && available < 16_384)
      const classBytes = BLOCK_CLASSES[fit.blockClass]!
      return (
        position % classBytes === 0 &&
        fit.lengthBytes <= available &&
        (fit.lengthBytes === classBytes || (toEnd && fit.lengthBytes === available && fit.lengthBytes < classBytes))
      )
    }),
  )
  t.pass()
})

test.serial('the quota holds at every moment of ten times its churn', async t => {
  const directory = folder(t)
  const quotaBytes = 24 * MIB
  const watch = new Worker(
    `const { readdirSync, statSync } = require('node:fs'); const { join } = require('node:path'); const { parentPort, workerData } = require('node:worker_threads')
     let most = 0, looks = 0, over = false; parentPort.on('message', () => { over = true })
     const look = () => { let n = statSync(workerData).blocks * 512; for (const f of readdirSync(workerData)) { try { n += statSync(join(workerData, f)).blocks * 512 } catch {} } if (n > most) most = n; looks++; if (over) { parentPort.postMessage({ most, looks }); process.exit() } setImmediate(look) }
     look()`,
    { eval: true, workerData: directory },
  )
  watch.on('error', error => t.fail(error.message))
  const cache = open(directory, quotaBytes)
  const random = randomFrom(5)
  const state = object(cache, 1, 4 * 1024 * MIB)
  for (let written = 0; written < 10 * quotaBytes; ) {
    const size = [16_384, 131_072, MIB][random(3)]!
    const position = random(2000) * MIB
    t.true(cache.put(state, position, contentOf(1, position, size)))
    written += size
    readAndCheck(t, cache, 1, state, position, 4096)
    t.true(cache.status().usedBytes <= quotaBytes)
    if (random(20) === 0) {
      t.true(diskBytes(directory) <= cache.status().usedBytes)
      await new Promise(setImmediate)
    }
  }
  const seen = new Promise<{ most: number; looks: number }>(resolve => watch.once('message', resolve))
  watch.postMessage('enough')
  const { most, looks } = await seen
  t.true(most <= quotaBytes, `${most} of ${quotaBytes}`)
  t.true(looks > 10)
  t.is(cache.status().damaged, 0)
  await cache.close()
  t.true(diskBytes(directory) <= quotaBytes)
})

test.serial('what is read again and again stays, what was read long ago goes', async t => {
  const cache = open(folder(t), 24 * MIB)
  const state = object(cache, 1, 1024 * MIB)
  for (let i = 0; i < 10; i++) cache.put(state, i * 131_072, contentOf(1, i * 131_072, 131_072))
  for (let i = 0; i < 100; i++) {
    cache.put(state, (10 + i) * MIB, contentOf(1, (10 + i) * MIB, MIB))
    for (const hot of [2, 5]) t.is(readAndCheck(t, cache, 1, state, hot * 131_072, 131_072), 131_072, `after ${i}`)
  }
  for (const cold of [0, 1, 3]) t.is(readAndCheck(t, cache, 1, state, cold * 131_072, 131_072), 0)
  t.is(readAndCheck(t, cache, 1, state, 109 * MIB, 131_072), 131_072)
  await cache.close()
})

test.serial('pinned objects stay whatever comes, until they are unpinned', async t => {
  const directory = folder(t)
  let cache = open(directory, 32 * MIB)
  const size = 3 * MIB + 5000
  const pinned = object(cache, 1, size)
  cache.put(pinned, 0, contentOf(1, 0, MIB))
  cache.pin(pinned)
  cache.put(pinned, MIB, contentOf(1, MIB, size - MIB))
  t.true(cache.isPinned(pinned))
  const churn = (rounds: number) => {
    const other = object(cache, 2, 4096 * MIB)
    for (let i = 0; i < rounds; i++) cache.put(other, i * MIB, contentOf(2, i * MIB, MIB))
  }
  churn(100)
  t.is(cache.extent(pinned, 0, size), size)
  t.is(readAndCheck(t, cache, 1, pinned, 0, size), size)
  t.true(cache.status().pinnedBytes >= size)
  await cache.close()

  cache = open(directory, 32 * MIB)
  await cache.whenReady()
  churn(100)
  t.is(cache.extent(object(cache, 1, size), 0, size), size)
  cache.pin(object(cache, 1, size))
  cache.settlePins()
  churn(100)
  t.is(readAndCheck(t, cache, 1, object(cache, 1, size), 0, size), size)
  cache.unpin(object(cache, 1, size))
  t.is(cache.status().pinnedBytes, 0)
  churn(100)
  t.is(cache.extent(object(cache, 1, size), 0, size), 0)
  await cache.close()
})

test.serial('clearing what is not pinned leaves what is', async t => {
  const directory = folder(t)
  const cache = open(directory)
  await cache.whenReady()
  const [pinned, other] = [object(cache, 1, 2 * MIB), object(cache, 2, 8 * MIB)]
  cache.pin(pinned)
  cache.put(pinned, 0, contentOf(1, 0, 2 * MIB))
  cache.put(other, 0, contentOf(2, 0, 8 * MIB))
  const before = cache.status().usedBytes
  const freed = cache.clearUnpinned()
  t.true(freed >= 8 * MIB)
  t.is(cache.status().usedBytes, before - freed)
  t.is(cache.extent(other, 0, 8 * MIB), 0)
  t.is(readAndCheck(t, cache, 1, pinned, 0, 2 * MIB), 2 * MIB)
  t.true(diskBytes(directory) <= before - freed)
  cache.put(other, 0, contentOf(2, 0, 8 * MIB))
  t.is(readAndCheck(t, cache, 2, other, 0, 8 * MIB), 8 * MIB, 'and goes on working')
  await cache.close()
})

test.serial('pins that were given up over a restart are evicted again', async t => {
  const directory = folder(t)
  let cache = open(directory, 32 * MIB)
  cache.pin(object(cache, 1, 2 * MIB))
  cache.put(object(cache, 1, 2 * MIB), 0, contentOf(1, 0, 2 * MIB))
  await cache.close()
  cache = open(directory, 32 * MIB)
  await cache.whenReady()
  t.true(cache.status().pinnedBytes > 0)
  cache.settlePins()
  t.is(cache.status().pinnedBytes, 0)
  t.is(readAndCheck(t, cache, 1, object(cache, 1, 2 * MIB), 0, 2 * MIB), 2 * MIB)
  await cache.close()
})

test.serial('more pinned than there is room for is refused, and the rest goes on working', async t => {
  const cache = open(folder(t), 24 * MIB)
  let refused = false
  for (let i = 0; i < 40 && !refused; i++) {
    const state = object(cache, i, MIB)
    cache.put(state, 0, contentOf(i, 0, MIB))
    try {
      cache.pin(state)
    } catch (error) {
      t.is(errorKind(error), 'quota')
      refused = true
    }
  }
  t.true(refused)
  t.true(cache.status().usedBytes <= 24 * MIB)
  const other = object(cache, 99, 100 * MIB)
  for (let i = 0; i < 20; i++) t.true(cache.put(other, i * MIB, contentOf(99, i * MIB, MIB)))
  t.is(readAndCheck(t, cache, 99, other, 19 * MIB, MIB), MIB)
  await cache.close()
})

test.serial('room between pinned blocks is used again', async t => {
  const cache = open(folder(t), 24 * MIB)
  for (let i = 0; i < 60; i++) {
    const state = object(cache, i, MIB)
    cache.pin(state)
    t.true(cache.put(state, 0, contentOf(i, 0, MIB)), `object ${i}`)
    t.is(readAndCheck(t, cache, i, state, 0, MIB), MIB)
    if (i % 2 === 0) cache.unpin(state)
    if (i % 2 === 1 && i > 4) cache.unpin(object(cache, i - 4, MIB))
  }
  for (const i of [57, 59]) t.is(readAndCheck(t, cache, i, object(cache, i, MIB), 0, MIB), MIB)
  await cache.close()
})

test.serial('a restart finds everything, the index of a proper end as well as the records of a crash', async t => {
  const directory = folder(t)
  let cache = open(directory)
  const state = object(cache, 1, 20 * MIB)
  for (let i = 0; i < 20; i++) cache.put(state, i * MIB, contentOf(1, i * MIB, MIB))
  for (let i = 0; i < 100; i++) cache.put(object(cache, 100 + i, 1000), 0, contentOf(100 + i, 0, 1000))
  await cache.close()
  for (let restart = 0; restart < 3; restart++) {
    cache = open(directory)
    await cache.whenReady()
    t.is(readAndCheck(t, cache, 1, object(cache, 1, 20 * MIB), 0, 20 * MIB), 20 * MIB)
    for (let i = 0; i < 100; i++) t.is(readAndCheck(t, cache, 100 + i, object(cache, 100 + i, 1000), 0, 1000), 1000)
    cache.put(object(cache, 200 + restart, 50_000), 0, contentOf(200 + restart, 0, 50_000))
    await cache.close()
  }
  cache = open(directory)
  await cache.whenReady()
  for (let restart = 0; restart < 3; restart++)
    t.is(readAndCheck(t, cache, 200 + restart, object(cache, 200 + restart, 50_000), 0, 50_000), 50_000)
  await cache.close()
})

test.serial('a newer copy of a block is found before an older one after a restart', async t => {
  const directory = folder(t)
  let cache = open(directory)
  const short = object(cache, 1, 16_384 * 3)
  cache.put(short, 0, contentOf(1, 0, 16_384))
  await cache.close()
  cache = open(directory)
  // Before the last run's blocks are known, the same block is put once more.
  cache.put(object(cache, 1, 16_384 * 3), 0, contentOf(1, 0, 16_384))
  await cache.whenReady()
  t.is(cache.status().blocks, 1)
  t.is(readAndCheck(t, cache, 1, object(cache, 1, 16_384 * 3), 0, 16_384), 16_384)
  await cache.close()
})

test.serial('killed at any moment, what it finds afterwards is right', async t => {
  const directory = folder(t)
  const child = fileURLToPath(new URL('./block-cache-child.ts', import.meta.url))
  for (let round = 0; round < 6; round++) {
    const progress = join(folder(t), 'progress')
    writeFileSync(progress, '')
    const process = fork(child, [directory, String(round), progress], { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] })
    const exited = new Promise(resolve => process.once('exit', resolve))
    await new Promise(resolve => setTimeout(resolve, 400 + round * 37))
    process.kill('SIGKILL')
    await exited
    const last = Number(readFileSync(progress, 'utf8') || -1)
    const cache = open(directory, 24 * MIB)
    await cache.whenReady()
    t.is(cache.status().damaged, 0)
    let found = 0
    for (let i = 0; i <= last; i++) {
      const seed = round * 100_000 + i
      const size = 1000 + ((i * 7919) % 300_000)
      const count = readAndCheck(t, cache, seed, object(cache, seed, size), 0, size)
      if (i === last) t.is(count, size, 'the last block that was reported is there')
      if (count > 0) found++
    }
    t.true(last < 0 || found > 0)
    t.true(diskBytes(directory) <= 24 * MIB)
    await cache.close()
  }
})

/** Damages a cache's files in twelve ways, one after the other. */
async function damageRounds(t: ExecutionContext, seed: number): Promise<void> {
  const random = randomFrom(seed)
  const directory = folder(t)
  for (let round = 0; round < 12; round++) {
    let cache = open(directory, 32 * MIB)
    await cache.whenReady()
    const state = object(cache, 1, 12 * MIB)
    for (let i = 0; i < 12; i++) cache.put(state, i * MIB, contentOf(1, i * MIB, MIB))
    await cache.close()
    const names = readdirSync(directory).filter(name => parseSegmentName(name))
    const pick = () => join(directory, names[random(names.length)]!)
    const kind = round % 6
    if (kind === 0)
      for (let i = 0; i < 50; i++) {
        const bytes = readFileSync(pick())
        bytes[random(bytes.length)]! ^= 1 << random(8)
        writeFileSync(pick(), bytes)
      }
    if (kind === 1) truncateSync(pick(), random(2 * MIB))
    if (kind === 2) {
      const [a, b] = [pick(), pick()]
      if (a !== b) {
        renameSync(a, `${a}.x`)
        renameSync(b, a)
        renameSync(`${a}.x`, b)
      }
    }
    if (kind === 3)
      writeFileSync(join(directory, segmentName({ pinned: false, sequence: 10_000 + round })), Buffer.from('not a segment at all'))
    if (kind === 4) {
      const bytes = readFileSync(pick())
      const at = SEGMENT_HEADER_BYTES + random(MIB)
      // One that was cut before may end here.
      if (bytes.length > at + 70_000) bytes.copy(bytes, at, at + 70_000, at + 140_000)
      writeFileSync(pick(), bytes)
    }
    if (kind === 5) {
      // A later version of the format.
      const path = pick()
      const bytes = readFileSync(path)
      if (bytes.length < SEGMENT_HEADER_BYTES) continue
      bytes.writeUInt16LE(2, 8)
      writeFileSync(path, bytes)
      t.is(decodeSegmentHeader(bytes), undefined)
    }
    cache = open(directory, 32 * MIB)
    await cache.whenReady()
    for (let i = 0; i < 12 * 8; i++) readAndCheck(t, cache, 1, object(cache, 1, 12 * MIB), i * 131_072, 131_072)
    // Whatever was lost is put again and found again.
    for (let i = 0; i < 12; i++) cache.put(object(cache, 1, 12 * MIB), i * MIB, contentOf(1, i * MIB, MIB))
    t.is(readAndCheck(t, cache, 1, object(cache, 1, 12 * MIB), 0, 12 * MIB), 12 * MIB)
    await cache.close()
  }
}

for (const seed of [testSeed(), 1252036294, 360676731])
  test.serial(`damaged, swapped, cut and foreign files give right bytes or none, and what is put again stays (seed ${seed})`, async t => {
    t.log(`SDMOUNT_TEST_SEED=${seed}`)
    await damageRounds(t, seed)
  })

test.serial('the cache of another library is discarded', async t => {
  const directory = folder(t)
  let cache = open(directory)
  cache.put(object(cache, 1, MIB), 0, contentOf(1, 0, MIB))
  await cache.close()
  cache = open(directory, 64 * MIB, Buffer.alloc(32, 8))
  await cache.whenReady()
  t.is(cache.status().blocks, 0)
  t.is(readAndCheck(t, cache, 1, object(cache, 1, MIB), 0, MIB), 0)
  await cache.close()
})

test.serial('nothing readable lies below the directory', async t => {
  const directory = folder(t)
  const cache = open(join(directory, 'made', 'when needed'))
  const secret = 'the very secret content'
  const bytes = Buffer.alloc(200_000)
  for (let at = 0; at + secret.length < bytes.length; at += 100) bytes.write(secret, at)
  for (const pinned of [false, true]) {
    const state = cache.object({ volume: 'holiday-volume', key: 'holiday/photo.jpg', version: 'holidayetag', sizeBytes: bytes.length })
    if (pinned) cache.pin(state)
    cache.put(state, 0, bytes)
  }
  t.is(spawnSync('grep', ['-rqaE', 'secret|holiday|photo', directory]).status, 1)
  await cache.close()
  t.is(spawnSync('grep', ['-rqaE', 'secret|holiday|photo', directory]).status, 1)
  t.is(spawnSync('grep', ['-rqaE', 'process [0-9]+', directory]).status, 0)
  for (const name of readdirSync(directory, { recursive: true })) t.is(statSync(join(directory, String(name))).mode & 0o077, 0)
})

test.serial('a second process is told who holds the directory', async t => {
  const directory = folder(t)
  const cache = open(directory)
  const script = `import { BlockCache } from ${JSON.stringify(new URL('../../src/cache/blocks/block-cache.ts', import.meta.url).href)}
    import { SecretKey } from ${JSON.stringify(new URL('../../src/crypto/secret-key.ts', import.meta.url).href)}
    try { new BlockCache({ directory: ${JSON.stringify(directory)}, key: SecretKey.random(), quotaBytes: 2 ** 26 }) } catch (error) { console.log(error.kind, error.message) }
    process.exit()`
  const told = execFileSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' })
  t.regex(told, new RegExp(`^busy .* in use by process ${process.pid} since 20`))
  t.is(errorKind(t.throws(() => open(directory))), 'busy')
  await cache.close()
  await open(directory).close()
})

test.serial('a quota that is too small is refused in one line', t => {
  const error = t.throws(() => open(folder(t), MIB))
  t.is(errorKind(error), 'invalid')
  t.regex(error!.message, /a cache needs at least \d+ MiB/)
})

test.serial('a lowered quota is kept at once, also over a restart; clear empties', async t => {
  const directory = folder(t)
  let cache = open(directory, 64 * MIB)
  const state = object(cache, 1, 60 * MIB)
  for (let i = 0; i < 50; i++) cache.put(state, i * MIB, contentOf(1, i * MIB, MIB))
  cache.setQuota(32 * MIB)
  t.true(diskBytes(directory) <= 32 * MIB)
  t.is(readAndCheck(t, cache, 1, state, 49 * MIB, MIB), MIB)
  t.true(cache.shrink(5 * MIB) >= 5 * MIB)
  await cache.close()
  cache = open(directory, 20 * MIB)
  t.true(diskBytes(directory) <= 20 * MIB)
  await cache.whenReady()
  t.is(readAndCheck(t, cache, 1, object(cache, 1, 60 * MIB), 49 * MIB, MIB), MIB)
  cache.clear()
  t.is(cache.status().blocks, 0)
  t.true(diskBytes(directory) < MIB)
  t.true(cache.put(object(cache, 1, 60 * MIB), 0, contentOf(1, 0, MIB)))
  t.is(readAndCheck(t, cache, 1, object(cache, 1, 60 * MIB), 0, MIB), MIB)
  await cache.close()
})

test.serial('more blocks than its memory allows are not kept', async t => {
  using key = new SecretKey(KEY)
  const cache = new BlockCache({ directory: folder(t), key, quotaBytes: 64 * MIB, maximumBlocks: 1000 })
  for (let i = 0; i < 5000; i++) {
    cache.put(object(cache, i, 2000), 0, contentOf(i, 0, 2000))
    t.true(cache.status().blocks <= 1000)
  }
  await cache.close()
})

const root = process.getuid?.() === 0 && process.platform === 'linux'
const asRoot = root ? test.serial : test.skip
asRoot(root ? 'a full disk stops the cache from growing, nothing else' : 'a full disk (only root can mount a small one)', async t => {
  const directory = folder(t)
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=12m', 'tmpfs', directory])
  t.teardown(() => spawnSync('umount', ['-l', directory]))
  const cache = open(directory, 64 * MIB)
  const state = object(cache, 1, 100 * MIB)
  for (let i = 0; i < 50; i++) {
    t.true(cache.put(state, i * MIB, contentOf(1, i * MIB, MIB)), `${i}`)
    t.is(readAndCheck(t, cache, 1, state, i * MIB, MIB), MIB)
  }
  writeFileSync(join(directory, 'other'), Buffer.alloc(2 * MIB).subarray(0, Math.max(0, freeBytes(directory))))
  cache.clear()
  cache.put(state, 0, contentOf(1, 0, MIB))
  readAndCheck(t, cache, 1, state, 0, MIB)
  await cache.close()
})

function freeBytes(directory: string): number {
  const [, line] = execFileSync('df', ['-B1', '--output=avail', directory], { encoding: 'utf8' }).trim().split('\n')
  return Number(line)
}
