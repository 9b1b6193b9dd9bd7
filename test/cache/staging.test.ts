/** Staged content is what was written, whatever the order; its roots stay what they were; its bytes tell nothing. */
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import fc from 'fast-check'
import type { BaseReader } from '../../src/cache/staging/content.ts'
import { decodeEntries, decodeRoot, encodeRoot } from '../../src/cache/staging/format.ts'
import { Slots } from '../../src/cache/staging/slots.ts'
import type { Checkpoint, StagedFile } from '../../src/cache/staging/staged-file.ts'
import { StagingArea } from '../../src/cache/staging/staging-area.ts'
import { SecretKey } from '../../src/crypto/secret-key.ts'
import { errorKind, FsError } from '../../src/errors.ts'
import { contentOf, randomFrom, testSeed } from './content.ts'

const KEY = new SecretKey(Buffer.alloc(32, 9))
const FRAME = 32_768

function folder(t: ExecutionContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'sdmount-staging-'))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

function area(directory: string, makeRoom?: (bytes: number) => void): StagingArea {
  return new StagingArea({ directory, key: KEY, ...(makeRoom ? { makeRoom } : {}) })
}

/** An object to write over: answers at once or later. */
function base(content: Buffer, later: () => boolean = () => false): BaseReader {
  return {
    sizeBytes: content.length,
    read(position, into) {
      const bytes = content.subarray(position, position + into.length)
      if (!later()) return bytes.copy(into)
      return new Promise(resolve => setImmediate(() => resolve(Buffer.from(bytes))))
    },
  }
}

async function read(file: { read: StagedFile['read'] }, position: number, lengthBytes: number): Promise<Buffer> {
  const into = Buffer.alloc(lengthBytes, 0xee)
  const answer = file.read(position, into)
  return typeof answer === 'number' ? into.subarray(0, answer) : answer
}

/** The model: a buffer. */
function writeModel(model: Buffer, position: number, data: Buffer): Buffer {
  const grown = Buffer.alloc(Math.max(model.length, position + data.length))
  model.copy(grown)
  data.copy(grown, position)
  return grown
}

for (const seed of [testSeed(), 1, 2, 3]) {
  test(`random writes, truncations, holes, roots and restarts against a buffer (seed ${seed})`, async t => {
    t.log(`SDMOUNT_TEST_SEED=${seed}`)
    const random = randomFrom(seed)
    const directory = folder(t)
    for (let round = 0; round < 8; round++) {
      let staging = area(directory)
      const original = round % 2 === 0 ? contentOf(seed, 0, random(300_000)) : undefined
      const under = original && base(original, () => random(2) === 0)
      let file = staging.create(under)
      let model: Buffer = Buffer.from(original ?? Buffer.alloc(0))
      let roots: { checkpoint: Checkpoint; content: Buffer }[] = []
      for (let step = 0; step < 150; step++) {
        const position = random(3) === 0 ? random(400_000) : Math.min(model.length, random(400_000))
        const what = random(20)
        if (what < 9) {
          const data = contentOf(step, position, random(random(2) === 0 ? 5000 : 120_000))
          await file.write(position, data)
          if (data.length > 0) model = writeModel(model, position, data)
        } else if (what < 12) {
          const got = await read(file, position, random(150_000))
          if (Buffer.compare(got, model.subarray(position, position + got.length)) !== 0) t.fail(`step ${step}: wrong bytes at ${position}`)
        } else if (what < 14) {
          file.truncate(position)
          model = position <= model.length ? Buffer.from(model.subarray(0, position)) : writeModel(model, position, Buffer.alloc(0))
        } else if (what < 15) {
          const length = random(100_000)
          await file.zero(position, length)
          model.fill(0, Math.min(position, model.length), Math.min(position + length, model.length))
        } else if (what < 18) roots.push({ checkpoint: file.checkpoint(), content: Buffer.from(model) })
        else if (what < 19 && roots.length > 0) {
          const [ended] = roots.splice(random(roots.length), 1)
          if (!roots.some(root => root.checkpoint.number === ended!.checkpoint.number)) file.endRoot(ended!.checkpoint.number)
        } else if (roots.length > 0) {
          // The process ends: what the last root says is what there is.
          const alive = [...new Map(roots.map(root => [root.checkpoint.number, root])).values()].sort(
            (a, b) => a.checkpoint.number - b.checkpoint.number,
          )
          staging = area(directory)
          file = staging.resume(
            alive.map(root => root.checkpoint.root),
            under,
          )
          model = Buffer.from(alive.at(-1)!.content)
          roots = alive.map((root, i) => ({ checkpoint: { root: root.checkpoint.root, number: i + 1 }, content: root.content }))
        }
        t.is(file.sizeBytes, model.length)
      }
      t.is(Buffer.compare(await read(file, 0, model.length + 10), model), 0)
      for (const { checkpoint, content } of roots) {
        const reader = staging.open(checkpoint.root, under)
        t.is(Buffer.compare(await read(reader, 0, content.length), content), 0, 'an older state')
        reader.close()
      }
      await file.hydrate()
      t.deepEqual(file.baseRuns(), [])
      t.is(Buffer.compare(await read(file, 0, model.length), model), 0)
      file.remove()
    }
    t.deepEqual(readdirSync(directory), [])
  })
}

test('a file of many frames keeps its map in pages, and survives a restart', async t => {
  const directory = folder(t)
  let staging = area(directory)
  const size = 70 * 2 ** 20
  const file = staging.create()
  for (let at = 0; at < size; at += 2 ** 20) file.write(at, contentOf(1, at, 2 ** 20))
  const first = file.checkpoint()
  t.true(first.root.length < 400)
  file.write(65 * 2 ** 20, Buffer.from('changed'))
  const second = file.checkpoint()
  file.park()
  staging = area(directory)
  const old = staging.open(first.root)
  t.deepEqual(await read(old, 65 * 2 ** 20, 7), contentOf(1, 65 * 2 ** 20, 7))
  const resumed = staging.resume([second.root])
  t.is((await read(resumed, 65 * 2 ** 20, 7)).toString(), 'changed')
  for (let at = 0; at < size; at += 7 * 2 ** 20)
    t.deepEqual(await read(resumed, at, 1000), at === 65 * 2 ** 20 ? await read(file, at, 1000) : contentOf(1, at, 1000))
  resumed.remove()
})

test('what is overwritten again and again takes no more room', async t => {
  const directory = folder(t)
  const file = area(directory).create()
  let root: Checkpoint | undefined
  for (let round = 0; round < 100; round++) {
    for (let frame = 0; frame < 20; frame++) file.write(frame * FRAME, Buffer.alloc(FRAME, round))
    const next = file.checkpoint()
    if (root) file.endRoot(root.number)
    root = next
  }
  t.true(file.diskBytes < 3 * 20 * FRAME, `${file.diskBytes} bytes`)
  t.deepEqual(await read(file, 5 * FRAME, 10), Buffer.alloc(10, 99))
})

test('holes are holes: they read as zeros, are found, and take no room', async t => {
  const directory = folder(t)
  const file = area(directory).create()
  file.write(10 * 2 ** 20, Buffer.from('data'))
  file.truncate(2 ** 40)
  t.is(file.seek(0, 3), 10 * 2 ** 20)
  t.is(file.seek(0, 4), 0)
  t.is(file.seek(10 * 2 ** 20, 4), 10 * 2 ** 20 + FRAME)
  t.is(errorKind(t.throws(() => file.seek(11 * 2 ** 20, 3))), 'no-device')
  t.is(errorKind(t.throws(() => file.seek(2 ** 40, 4))), 'no-device')
  t.deepEqual(await read(file, 2 ** 40 - 5, 100), Buffer.alloc(5))
  file.checkpoint()
  t.true(file.diskBytes <= 2 * FRAME)
  await file.zero(10 * 2 ** 20, FRAME)
  t.is(errorKind(t.throws(() => file.seek(0, 3))), 'no-device')
})

test('nothing is on disk before something is written, and the empty file has a root', async t => {
  const directory = folder(t)
  const staging = area(directory)
  const file = staging.create()
  const { root } = file.checkpoint()
  await file.sync()
  t.deepEqual(readdirSync(directory), [])
  t.is(staging.open(root).sizeBytes, 0)
  const resumed = staging.resume([root])
  resumed.write(0, contentOf(1, 0, FRAME))
  const small = resumed.checkpoint().root
  t.deepEqual(readdirSync(directory), [])
  t.deepEqual(await read(area(directory).open(small), 100, 200), contentOf(1, 100, 200))
  const again = area(directory).resume([small])
  again.write(FRAME, Buffer.from('x'))
  t.deepEqual(await read(again, 0, FRAME), contentOf(1, 0, FRAME))
  const grown = again.checkpoint().root
  t.is(readdirSync(directory).length, 1)
  t.deepEqual(await read(area(directory).open(grown), FRAME - 5, 100), Buffer.concat([contentOf(1, FRAME - 5, 5), Buffer.from('x')]))
})

test('a write waits for the base only where it covers a frame in part', async t => {
  const content = contentOf(1, 0, 5 * FRAME + 100)
  const file = area(folder(t)).create(base(content, () => true))
  t.is(file.write(FRAME, Buffer.alloc(2 * FRAME)), undefined)
  t.is(file.write(5 * FRAME, Buffer.alloc(100)), undefined)
  const waiting = file.write(10, Buffer.from('abc'))
  t.true(waiting instanceof Promise)
  // What is written to the same frame meanwhile isn't lost.
  const second = file.write(20, Buffer.from('def'))
  await Promise.all([waiting, second])
  const expected = Buffer.from(content)
  expected.fill(0, FRAME, 3 * FRAME)
  expected.fill(0, 5 * FRAME)
  expected.write('abc', 10)
  expected.write('def', 20)
  t.is(Buffer.compare(await read(file, 0, content.length), expected), 0)
  t.deepEqual(file.baseRuns(), [{ begin: 3 * FRAME, end: 5 * FRAME }])
})

test('a base that fails leaves the content as it was', async t => {
  const content = contentOf(1, 0, 3 * FRAME)
  let broken = true
  const failing: BaseReader = {
    sizeBytes: content.length,
    read: (position, into) => (broken ? Promise.reject(new FsError('offline', 'away')) : content.copy(into, 0, position)),
  }
  const file = area(folder(t)).create(failing)
  t.is(errorKind(await t.throwsAsync(async () => file.write(5, Buffer.from('x')))), 'offline')
  t.is(errorKind(await t.throwsAsync(async () => file.hydrate())), 'offline')
  broken = false
  await file.write(5, Buffer.from('x'))
  const expected = Buffer.from(content)
  expected.write('x', 5)
  t.is(Buffer.compare(await read(file, 0, content.length), expected), 0)
})

test('damage is an error, never wrong bytes', async t => {
  const seed = testSeed()
  t.log(`SDMOUNT_TEST_SEED=${seed}`)
  const random = randomFrom(seed)
  const directory = folder(t)
  const content = contentOf(1, 0, 10 * FRAME)
  const staging = area(directory)
  const file = staging.create()
  file.write(0, content)
  const { root } = file.checkpoint()
  file.park()
  const path = join(directory, file.id)
  const good = readFileSync(path)
  for (let round = 0; round < 60; round++) {
    const bytes = Buffer.from(good)
    if (round % 3 === 0) bytes[4096 + random(bytes.length - 4096)]! ^= 1 << random(8)
    // Two slots change places.
    if (round % 3 === 1) {
      const [a, b] = [random(10), random(10)].map(slot => 4096 + slot * 32_784) as [number, number]
      good.copy(bytes, a, b, b + 32_784)
      good.copy(bytes, b, a, a + 32_784)
    }
    writeFileSync(path, round % 3 === 2 ? bytes.subarray(0, random(bytes.length)) : bytes)
    let reader: ReturnType<typeof staging.open> | undefined
    try {
      reader = staging.open(root)
      for (let frame = 0; frame < 10; frame++) {
        try {
          t.is(Buffer.compare(await read(reader, frame * FRAME, FRAME), content.subarray(frame * FRAME, (frame + 1) * FRAME)), 0)
        } catch (error) {
          t.is(errorKind(error), 'damaged')
        }
      }
    } catch (error) {
      t.is(errorKind(error), 'damaged')
    }
    reader?.close()
  }
  rmSync(path)
  t.is(errorKind(t.throws(() => staging.open(root).read(0, Buffer.alloc(10)))), 'damaged')
})

test('an older state of a frame does not pass for the newer one', async t => {
  const directory = folder(t)
  const staging = area(directory)
  const file = staging.create()
  file.write(FRAME, Buffer.alloc(FRAME, 0))
  file.write(0, Buffer.alloc(FRAME, 1))
  const first = file.checkpoint()
  const path = join(directory, file.id)
  const old = readFileSync(path)
  file.endRoot(first.number)
  for (let i = 2; i < 6; i++) {
    file.write(0, Buffer.alloc(FRAME, i))
    file.endRoot(file.checkpoint().number)
  }
  const { root } = file.checkpoint()
  const now = readFileSync(path)
  // Whichever slot holds it now: the first state of frame 0, sealed second, into all of them.
  for (let slot = 0; 4096 + (slot + 1) * 32_784 <= now.length; slot++) old.copy(now, 4096 + slot * 32_784, 4096 + 32_784, 4096 + 2 * 32_784)
  writeFileSync(path, now)
  t.is(errorKind(t.throws(() => staging.open(root).read(0, Buffer.alloc(10)))), 'damaged')
})

test('roots: any bytes are a root or an error, and a newer version is refused', t => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), fc.boolean(), (noise, plausible) => {
      const bytes = Buffer.from(noise)
      if (plausible && bytes.length >= 48) {
        bytes.writeUInt16LE(1, 0)
        bytes.writeUInt16LE(0, 2)
        bytes.writeUInt32LE(Math.floor((bytes.length - 48) / 20), 4)
      }
      for (const decode of [() => decodeRoot(bytes), () => decodeEntries(bytes, 3)]) {
        try {
          decode()
        } catch (error) {
          if (!(error instanceof FsError)) return false
        }
      }
      return true
    }),
  )
  const root = {
    fileId: Buffer.alloc(16, 1),
    sizeBytes: 5,
    baseEnd: 0,
    salts: [Buffer.alloc(32, 2)],
    holds: 'frame' as const,
    entries: [
      { index: 0, value: { slot: 7, position: 2 ** 40, salt: 0, lengthBytes: 5 } },
      { index: 9, value: 'zeros' as const },
    ],
  }
  t.deepEqual(decodeRoot(encodeRoot(root)), root)
  const newer = encodeRoot(root)
  newer.writeUInt16LE(2, 0)
  t.is(errorKind(t.throws(() => decodeRoot(newer))), 'not-supported')
})

test('slots: none is given out while a root that counts may need it', t => {
  const step = fc.constantFrom('take', 'give', 'root', 'end')
  fc.assert(
    fc.property(fc.array(fc.tuple(step, fc.nat(20)), { maxLength: 200 }), steps => {
      const slots = new Slots()
      const inUse: number[] = []
      const roots = new Map<number, Set<number>>()
      for (const [what, pick] of steps) {
        if (what === 'take') {
          const slot = slots.take()
          if (inUse.includes(slot)) return false
          for (const needed of roots.values()) if (needed.has(slot)) return false
          inUse.push(slot)
        } else if (what === 'give' && inUse.length > 0) slots.giveUp(inUse.splice(pick % inUse.length, 1)[0]!)
        else if (what === 'root') roots.set(slots.root(), new Set(inUse))
        else if (roots.size > 0) {
          const number = [...roots.keys()][pick % roots.size]!
          roots.delete(number)
          slots.endRoot(number)
        }
      }
      for (const number of roots.keys()) slots.endRoot(number)
      for (const slot of inUse) slots.giveUp(slot)
      const used = slots.used
      for (let i = 0; i < used; i++) slots.take()
      return slots.used === used
    }),
  )
  t.pass()
})

test('orphans go, what the journal knows stays', t => {
  const directory = folder(t)
  const staging = area(directory)
  const files = Array.from({ length: 4 }, () => staging.create())
  for (const file of files) {
    file.write(0, Buffer.alloc(FRAME + 1))
    file.checkpoint()
    file.park()
  }
  writeFileSync(join(directory, 'something else'), '')
  t.is(area(directory).removeOrphans(new Set([files[0]!.id, files[2]!.id])), 2)
  t.deepEqual(readdirSync(directory).sort(), [files[0]!.id, files[2]!.id, 'something else'].sort())
})

test('nothing readable lies below the directory', async t => {
  const directory = folder(t)
  const file = area(directory).create()
  for (let at = 0; at < 500_000; at += 50) file.write(at, Buffer.from('the very secret content of a file '))
  file.checkpoint()
  await file.sync()
  t.is(spawnSync('grep', ['-rqa', 'secret', directory]).status, 1)
  for (const name of readdirSync(directory)) t.is(statSync(join(directory, name)).mode & 0o077, 0)
})

const root = process.getuid?.() === 0 && process.platform === 'linux'
const asRoot = root ? test : test.skip
asRoot(
  root ? 'a full disk is an error, loses nothing, and is over when there is room' : 'a full disk (only root can mount a small one)',
  async t => {
    const directory = folder(t)
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=4m', 'tmpfs', directory])
    t.teardown(() => spawnSync('umount', ['-l', directory]))
    const ballast = join(directory, 'ballast')
    writeFileSync(ballast, Buffer.alloc(2 ** 20))
    let asked = 0
    const file = area(directory, () => {
      if (asked++ === 0) rmSync(ballast)
    }).create()
    const content = contentOf(1, 0, 8 * 2 ** 20)
    let written = 0
    const error = t.throws(() => {
      for (; written < content.length; written += FRAME) file.write(written, content.subarray(written, written + FRAME))
    })
    t.is(errorKind(error), 'no-space')
    t.true(asked >= 1)
    t.true(written > 3 * 2 ** 20)
    t.is(Buffer.compare(await read(file, 0, written), content.subarray(0, written)), 0)
    file.truncate(2 ** 20)
    t.is(
      errorKind(
        t.throws(() => {
          for (let at = 2 ** 20; at < 8 * 2 ** 20; at += FRAME) file.write(at, content.subarray(at, at + FRAME))
        }),
      ),
      'no-space',
    )
    file.truncate(2 ** 20)
    file.checkpoint()
    t.is(Buffer.compare(await read(file, 0, 2 ** 20), content.subarray(0, 2 ** 20)), 0)
  },
)
