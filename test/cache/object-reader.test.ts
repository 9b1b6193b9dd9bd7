/** Reading of cloud objects: right bytes, as few and small fetches as promised, and an end to every wait. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import type { Backend } from '../../src/backends/contract.ts'
import { BackendError } from '../../src/backends/errors.ts'
import { intercept } from '../../src/backends/intercept.ts'
import { MemoryBackend } from '../../src/backends/memory.ts'
import { BlockCache } from '../../src/cache/blocks/block-cache.ts'
import { ObjectReading, type RemoteObject } from '../../src/cache/reading/object-reader.ts'
import { SecretKey } from '../../src/crypto/secret-key.ts'
import { errorKind } from '../../src/errors.ts'
import { contentOf, randomFrom, testSeed } from './content.ts'

const MIB = 2 ** 20
const none = () => undefined

interface Setup {
  readonly memory: MemoryBackend
  readonly reading: ObjectReading
  readonly cache: BlockCache | undefined
  readonly gets: { key: string; offset: number; lengthBytes: number }[]
  /** Bytes that were asked of the store. */
  asked(): number
  /** Stands before each get. */
  gate: (key: string, number: number, signal: AbortSignal | undefined) => Promise<void> | undefined
}

function setup(t: ExecutionContext, options: { readonly cache?: boolean | BlockCache; readonly memoryBytes?: number } = {}): Setup {
  const memory = new MemoryBackend()
  const gets: Setup['gets'] = []
  const counted: Backend = Object.create(memory, {
    get: {
      value: async (...[key, consume, getOptions]: Parameters<Backend['get']>) => {
        const info = await memory.head(key)
        const range = getOptions?.range ?? { offset: 0, lengthBytes: info.sizeBytes }
        gets.push({ key, ...range })
        await it.gate(key, gets.length, getOptions?.signal)
        return memory.get(key, consume, getOptions)
      },
    },
  })
  let cache: BlockCache | undefined
  if (options.cache instanceof BlockCache) cache = options.cache
  else if (options.cache !== false) cache = newCache(t)
  const it: Setup = {
    memory,
    cache,
    gets,
    reading: new ObjectReading({ backend: counted, volume: 1, ...options, cache }),
    asked: () => gets.reduce((sum, get) => sum + get.lengthBytes, 0),
    gate: () => undefined,
  }
  return it
}

function newCache(t: ExecutionContext, quotaBytes = 128 * MIB, directory = mkdtempSync(join(tmpdir(), 'sdmount-reader-'))): BlockCache {
  using key = new SecretKey(Buffer.alloc(32, 3))
  const cache = new BlockCache({ directory, key, quotaBytes })
  t.teardown(async () => {
    await cache.close()
    rmSync(directory, { recursive: true, force: true })
  })
  return cache
}

async function object(it: Setup, seed: number, sizeBytes: number): Promise<RemoteObject> {
  const key = `object ${seed}`
  const { etag } = await it.memory.put(key, contentOf(seed, 0, sizeBytes))
  return { key, etag, sizeBytes }
}

async function read(
  reader: { read: (position: number, into: Buffer, signal: () => AbortSignal | undefined) => number | Promise<Buffer> },
  position: number,
  lengthBytes: number,
): Promise<Buffer> {
  const into = Buffer.alloc(lengthBytes)
  const answer = reader.read(position, into, none)
  return typeof answer === 'number' ? into.subarray(0, answer) : answer
}

for (const cached of [true, false]) {
  test(`random reads of random objects are right ${cached ? 'with' : 'without'} a cache`, async t => {
    const seed = testSeed()
    t.log(`SDMOUNT_TEST_SEED=${seed}`)
    const random = randomFrom(seed)
    const it = setup(t, { cache: cached, memoryBytes: 12 * MIB })
    const sizes = [0, 1, 5000, 16_384, 300_000, 6 * MIB + 17]
    const objects = await Promise.all(sizes.map((size, i) => object(it, i, size)))
    const readers = objects.map(remote => it.reading.open(remote))
    await Promise.all(
      Array.from({ length: 4 }, async () => {
        for (let round = 0; round < 150; round++) {
          const i = random(sizes.length)
          const position = random(sizes[i]! + 2)
          const lengthBytes = random(4) === 0 ? random(2 * MIB) : random(70_000)
          const got = await read(readers[i]!, position, lengthBytes)
          const expected = contentOf(i, position, Math.max(0, Math.min(lengthBytes, sizes[i]! - position)))
          if (Buffer.compare(got, expected) !== 0) t.fail(`object ${i} at ${position}, ${lengthBytes} bytes`)
          t.true(it.reading.memory.usedBytes <= 12 * MIB)
        }
      }),
    )
    for (const reader of readers) reader.close()
    await new Promise(setImmediate)
    t.is(it.reading.memory.usedBytes, 0)
    t.is(it.reading.memory.objects, 0)
  })
}

test('a stream is fetched ahead in parallel ranges, each byte once, and answered at once when it is there', async t => {
  const it = setup(t)
  const size = 40 * MIB
  const remote = await object(it, 1, size)
  const reader = it.reading.open(remote)
  let sync = 0
  for (let position = 0; position < size; position += 131_072) {
    const into = Buffer.alloc(131_072)
    const answer = reader.read(position, into, none)
    if (typeof answer === 'number') sync++
    const bytes = typeof answer === 'number' ? into.subarray(0, answer) : await answer
    if (Buffer.compare(bytes, contentOf(1, position, 131_072)) !== 0) t.fail(`at ${position}`)
  }
  t.is(it.asked(), size)
  t.true(it.gets.length < 80, `${it.gets.length} ranges`)
  t.true(sync > 200, `${sync} of 320 at once`)
  reader.close()
  const again = it.reading.open(remote)
  t.is(typeof again.read(5 * MIB, Buffer.alloc(MIB), none), 'number')
  t.is(it.asked(), size)
  again.close()
})

test('a random 4 KiB read fetches one small block, and finds it the next time', async t => {
  const it = setup(t)
  const reader = it.reading.open(await object(it, 1, 30 * MIB))
  for (const [i, position] of [17 * MIB + 5000, 3 * MIB, 25 * MIB + 16_000].entries()) {
    t.deepEqual(await read(reader, position, 4096), contentOf(1, position, 4096))
    t.true(it.asked() <= (i + 1) * 32_768, `${it.asked()} bytes`)
  }
  const before = it.gets.length
  t.is(typeof reader.read(17 * MIB + 6000, Buffer.alloc(100), none), 'number')
  t.is(it.gets.length, before)
  reader.close()
})

test('opening fetches nothing', async t => {
  const it = setup(t)
  it.reading.open(await object(it, 1, MIB)).close()
  t.is(it.gets.length, 0)
})

test('a small file comes in one request, also for many readers at once', async t => {
  const it = setup(t)
  const remote = await object(it, 1, 100_000)
  const readers = Array.from({ length: 10 }, () => it.reading.open(remote))
  const got = await Promise.all(readers.map((reader, i) => read(reader, i * 10, 4096)))
  got.forEach((bytes, i) => {
    t.deepEqual(bytes, contentOf(1, i * 10, 4096))
  })
  t.is(it.gets.length, 1)
  for (const reader of readers) reader.close()
})

test('an aborted read ends at once and the transfer with it, while others go on', async t => {
  const it = setup(t)
  const remote = await object(it, 1, 10 * MIB)
  const released: (() => void)[] = []
  let aborted = 0
  it.gate = (_key, _number, signal) =>
    new Promise<void>((resolve, reject) => {
      released.push(resolve)
      signal?.addEventListener('abort', () => {
        aborted++
        reject(new BackendError('interrupted', 'interrupted'))
      })
    })
  const reader = it.reading.open(remote)
  const other = it.reading.open(remote)
  const controller = new AbortController()
  const stuck = reader.read(5 * MIB, Buffer.alloc(4096), () => controller.signal) as Promise<Buffer>
  const sharing = other.read(5 * MIB, Buffer.alloc(4096), none) as Promise<Buffer>
  await new Promise(setImmediate)
  controller.abort()
  t.is(errorKind(await t.throwsAsync(stuck)), 'interrupted')
  t.is(aborted, 0)
  for (const release of released.splice(0)) release()
  t.deepEqual(await sharing, contentOf(1, 5 * MIB, 4096))
  const alone = new AbortController()
  const single = reader.read(8 * MIB, Buffer.alloc(4096), () => alone.signal) as Promise<Buffer>
  await new Promise(setImmediate)
  alone.abort()
  t.is(errorKind(await t.throwsAsync(single)), 'interrupted')
  t.is(aborted, 1)
  const after = reader.read(8 * MIB, Buffer.alloc(4096), none) as Promise<Buffer>
  await new Promise(setImmediate)
  for (const release of released.splice(0)) release()
  t.deepEqual(await after, contentOf(1, 8 * MIB, 4096))
  reader.close()
  other.close()
})

test('closing ends what was fetched ahead', async t => {
  const it = setup(t)
  const remote = await object(it, 1, 10 * MIB)
  let aborted = 0
  it.gate = (_key, number, signal) =>
    number === 1
      ? undefined
      : new Promise<void>((_resolve, reject) => {
          signal?.addEventListener('abort', () => {
            aborted++
            reject(new BackendError('interrupted', 'interrupted'))
          })
        })
  const reader = it.reading.open(remote)
  await read(reader, 0, 4096)
  t.true(it.gets.length > 1)
  reader.close()
  await new Promise(setImmediate)
  t.is(aborted, it.gets.length - 1)
  t.is(it.reading.memory.usedBytes, 0)
})

test('an error reaches who waits, and the next read tries anew', async t => {
  const it = setup(t)
  const remote = await object(it, 1, MIB)
  const reader = it.reading.open(remote)
  it.gate = () => Promise.reject(new BackendError('offline', 'no connection'))
  t.is(errorKind(await t.throwsAsync(read(reader, 500_000, 4096))), 'offline')
  it.gate = () => undefined
  t.deepEqual(await read(reader, 500_000, 4096), contentOf(1, 500_000, 4096))
  reader.close()
})

test('another state of the object is stale, never a mixture', async t => {
  const it = setup(t)
  const remote = await object(it, 1, MIB)
  const reader = it.reading.open(remote)
  await read(reader, 500_000, 4096)
  await it.memory.put(remote.key, contentOf(2, 0, MIB))
  t.deepEqual(await read(reader, 500_000, 4096), contentOf(1, 500_000, 4096))
  t.is(errorKind(await t.throwsAsync(read(reader, 900_000, 4096))), 'stale')
  reader.close()
})

test('damaged bytes of a whole small object are fetched once more, and given to nobody', async t => {
  const it = setup(t)
  const remote = await object(it, 1, 50_000)
  let damage = 1
  const backend = intercept(it.memory, {
    around: async (call, run) => {
      const result = await run()
      if (call.operation === 'get' && damage-- > 0)
        throw new BackendError('damaged', 'the bytes do not fit the checksum', { transient: true })
      return result
    },
    consume: consume => (chunk, info) => {
      if (damage > 0) chunk[0]! ^= 0xff
      return consume(chunk, info)
    },
  })
  const reading = new ObjectReading({ backend, volume: 1, cache: it.cache })
  const reader = reading.open(remote)
  t.deepEqual(await read(reader, 0, 50_000), contentOf(1, 0, 50_000))
  reader.close()
  damage = 5
  const other = await object(it, 2, 50_000)
  const second = reading.open(other)
  t.is(errorKind(await t.throwsAsync(read(second, 0, 50_000))), 'damaged')
  second.close()
})

test('a damaged block on disk is fetched again', async t => {
  const directory = mkdtempSync(join(tmpdir(), 'sdmount-reader-'))
  const cache = newCache(t, 64 * MIB, directory)
  const it = setup(t, { cache })
  const remote = await object(it, 1, MIB)
  t.is(await it.reading.warm(remote), MIB)
  const file = join(directory, readdirSync(directory).find(name => name.startsWith('s0'))!)
  const bytes = readFileSync(file)
  for (let at = 300; at < MIB; at += 10_000) bytes[at]! ^= 1
  writeFileSync(file, bytes, { flag: 'r+' })
  const reader = it.reading.open(remote)
  t.deepEqual(await read(reader, 100_000, 4096), contentOf(1, 100_000, 4096))
  t.true(cache.status().damaged > 0)
  reader.close()
})

test('after a restart what the disk holds comes before the network', async t => {
  const directory = mkdtempSync(join(tmpdir(), 'sdmount-reader-'))
  using key = new SecretKey(Buffer.alloc(32, 3))
  let cache = new BlockCache({ directory, key, quotaBytes: 64 * MIB })
  const it = setup(t, { cache })
  const remote = await object(it, 1, 3 * MIB)
  t.is(await it.reading.warm(remote), 3 * MIB)
  await cache.close()
  cache = new BlockCache({ directory, key, quotaBytes: 64 * MIB })
  const offline = intercept(it.memory, { around: () => Promise.reject(new BackendError('offline', 'no connection')) })
  const reader = new ObjectReading({ backend: offline, volume: 1, cache }).open(remote)
  t.false(cache.ready)
  t.deepEqual(await read(reader, MIB, 100_000), contentOf(1, MIB, 100_000))
  reader.close()
  await cache.close()
  rmSync(directory, { recursive: true })
})

test('warm brings in what is missing, once, and part of it when asked', async t => {
  const it = setup(t)
  const remote = await object(it, 1, 20 * MIB)
  t.is(await it.reading.warm(remote, { endBytes: 5 * MIB }), 5 * MIB)
  const asked = it.asked()
  t.true(asked <= 8 * MIB)
  t.is(await it.reading.warm(remote), 20 * MIB)
  t.is(it.asked(), 20 * MIB)
  t.is(await it.reading.warm(remote), 20 * MIB)
  t.is(it.asked(), 20 * MIB)
  t.is(it.reading.memory.usedBytes, 0)
  const controller = new AbortController()
  it.gate = () => new Promise(() => {})
  const stuck = it.reading.warm(await object(it, 2, MIB), { signal: controller.signal })
  setTimeout(() => controller.abort(), 20)
  t.is(errorKind(await t.throwsAsync(stuck)), 'interrupted')
})

test('memory stays within its budget when many streams are slow', async t => {
  const it = setup(t, { memoryBytes: 16 * MIB })
  it.gate = () => new Promise(resolve => setTimeout(resolve, 1))
  const objects = await Promise.all(Array.from({ length: 6 }, (_, i) => object(it, i, 12 * MIB)))
  let most = 0
  await Promise.all(
    objects.map(async (remote, i) => {
      const reader = it.reading.open(remote)
      for (let position = 0; position < remote.sizeBytes; position += MIB) {
        const bytes = await read(reader, position, MIB)
        most = Math.max(most, it.reading.memory.usedBytes)
        if (Buffer.compare(bytes, contentOf(i, position, MIB)) !== 0) t.fail(`object ${i} at ${position}`)
      }
      reader.close()
    }),
  )
  t.true(most <= 16 * MIB)
  t.true(most > 4 * MIB)
})
