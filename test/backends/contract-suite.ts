/**
 * What every `Backend` must do, as tests: each store and each wrapper runs all of it.
 * Differences are capabilities: where one is missing, the test asserts that it is refused instead.
 */
import { createHash, randomBytes } from 'node:crypto'
import anyTest, { type ExecutionContext, type TestFn } from 'ava'
import type { Backend, BodySource, ObjectInfo } from '../../src/backends/contract.ts'
import { type ErrorKind, errorKind } from '../../src/errors.ts'

const test = anyTest as TestFn

export interface SuiteOptions {
  /** Before all test titles. */
  readonly name: string
  /** A store for the whole suite; each test uses names of its own in it. */
  readonly open: () => Promise<Backend>
  /** Why the suite can't run here. */
  readonly skip?: string | undefined
}

/** Registers the suite. */
export function backendSuite(options: SuiteOptions): void {
  let opened: Promise<Backend> | undefined
  let count = 0
  const it = (title: string, body: (t: ExecutionContext, backend: Backend, prefix: string) => Promise<void>) => {
    const full = `${options.name}: ${title}`
    if (options.skip !== undefined) {
      test.skip(`${full} (${options.skip})`, t => t.pass())
      return
    }
    test(full, async t => {
      opened ??= options.open()
      await body(t, await opened, `t${count++}/`)
    })
  }
  test.after.always(`${options.name}: close`, async () => {
    if (opened) (await opened).close()
  })

  it('the bucket answers', async (t, backend) => {
    await backend.check()
    t.true(backend.description.length > 0)
  })

  it('what is put is what is got', async (t, backend, prefix) => {
    for (const size of [0, 1, 4096, 65_536, 65_537, 3_000_000]) {
      const bytes = randomBytes(size)
      const key = `${prefix}${size}`
      const put = await backend.put(key, bytes, {
        metadata: { mtime: '1700000000.5', mode: '33188', empty: '' },
        contentType: 'text/plain',
        writeId: `w${size}`,
      })
      const head = await backend.head(key)
      t.is(head.sizeBytes, size)
      t.is(head.etag, put.etag)
      t.like(head.metadata, { mtime: '1700000000.5', mode: '33188', 'sdmount-write': `w${size}` })
      t.is(head.contentType, 'text/plain')
      t.true(Math.abs(head.modifiedMs - Date.now()) < 60_000)
      const got = await read(backend, key)
      t.deepEqual(got.bytes, bytes)
      t.is(got.info.etag, put.etag)
      t.is(got.info.metadata.mode, '33188')
      if (backend.capabilities.etagIsMd5) t.is(put.etag, createHash('md5').update(bytes).digest('hex'))
    }
  })

  it('ranges are cut at the end and refused past it', async (t, backend, prefix) => {
    const bytes = randomBytes(100_000)
    const key = `${prefix}object`
    await backend.put(key, bytes)
    for (const [offset, lengthBytes] of [
      [0, 1],
      [0, 100_000],
      [0, 200_000],
      [99_999, 1],
      [50_000, 30_000],
      [99_990, 4096],
      [65_535, 2],
    ] as const) {
      const got = await read(backend, key, { range: { offset, lengthBytes } })
      t.deepEqual(got.bytes, bytes.subarray(offset, offset + lengthBytes))
      t.is(got.info.sizeBytes, 100_000)
    }
    await fails(t, 'invalid', () => read(backend, key, { range: { offset: 100_000, lengthBytes: 1 } }))
    await fails(t, 'invalid', () => read(backend, key, { range: { offset: 5, lengthBytes: 0 } }))
  })

  it('a get of one state never gives another', async (t, backend, prefix) => {
    const key = `${prefix}object`
    const first = await backend.put(key, Buffer.from('first'))
    t.is((await read(backend, key, { ifMatch: first.etag })).bytes.toString(), 'first')
    await backend.put(key, Buffer.from('second'))
    await fails(t, 'stale', () => read(backend, key, { ifMatch: first.etag }))
    await fails(t, 'stale', () => read(backend, key, { ifMatch: first.etag, range: { offset: 0, lengthBytes: 2 } }))
  })

  it('what is missing is not-found', async (t, backend, prefix) => {
    await fails(t, 'not-found', () => backend.head(`${prefix}nothing`))
    await fails(t, 'not-found', () => read(backend, `${prefix}nothing`))
    await fails(t, 'not-found', () => backend.copy(`${prefix}nothing`, `${prefix}target`))
    await backend.delete(`${prefix}nothing`)
  })

  it('names come back as they were written, listed in byte order', async (t, backend, prefix) => {
    const names = [
      'a', 'A', 'a b', 'a+b', 'a%20b', 'a&b<c>"d\'', 'ä', 'a\u0308', '日本', '\u{1f600}', '\uffee', 'x\ty', 'x\u0001y', '~tilde', '!$()*,;=:@?#[]', 'back\\slash',
      'dir/', 'dir/file', 'dir//double', '/leading', '.', '..', './x', '../x', 'per%cent', `${'n'.repeat(500)}`, 'new\nline', 'trailing ', ' leading',
    ] // biome-ignore format: a table of names
    for (const name of names) await backend.put(prefix + name, Buffer.from(name))
    const listed = await listAll(backend, prefix, 7)
    const expected = names.map(name => prefix + name).sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
    t.deepEqual(
      listed.map(object => object.key),
      expected,
    )
    for (const name of names) t.is((await read(backend, prefix + name)).bytes.toString(), name)
    for (const object of listed) t.is(object.sizeBytes, Buffer.byteLength(object.key.slice(prefix.length)))
    t.deepEqual(await backend.deleteMany(names.map(name => prefix + name)), [])
    t.deepEqual(await listAll(backend, prefix, 1000), [])
  })

  it('names that no store takes are refused', async (t, backend, prefix) => {
    await fails(t, 'bad-name', () => backend.put('', Buffer.alloc(1)))
    await fails(t, 'bad-name', () => backend.put(`${prefix}\ud800`, Buffer.alloc(1)))
    await fails(t, 'bad-name', () => backend.head(`${prefix}\0`))
    await fails(t, 'name-too-long', () => backend.put(prefix + 'ä'.repeat(600), Buffer.alloc(1)))
    await backend.put(prefix + 'n'.repeat(1024 - prefix.length), Buffer.alloc(1))
  })

  it('a listing folds at the delimiter and goes on page by page', async (t, backend, prefix) => {
    for (let i = 0; i < 12; i++)
      for (const name of [`d${i}/a`, `d${i}/b`, `d${i}/s/c`, `f${i}`]) await backend.put(prefix + name, Buffer.from(name))
    for (const maximumKeys of [1, 3, 1000]) {
      const objects: string[] = []
      const prefixes: string[] = []
      let continuation: string | undefined
      let pages = 0
      do {
        const page = await backend.list({ prefix, delimiter: '/', maximumKeys, continuation })
        t.true(page.objects.length + page.prefixes.length <= maximumKeys)
        objects.push(...page.objects.map(object => object.key))
        prefixes.push(...page.prefixes)
        continuation = page.next
        t.true(++pages < 100)
      } while (continuation !== undefined)
      t.deepEqual(objects, Array.from({ length: 12 }, (_, i) => `${prefix}f${i}`).sort())
      t.deepEqual(prefixes, Array.from({ length: 12 }, (_, i) => `${prefix}d${i}/`).sort())
    }
    const below = await backend.list({ prefix: `${prefix}d3/`, delimiter: '/' })
    t.deepEqual(
      below.objects.map(object => object.key),
      [`${prefix}d3/a`, `${prefix}d3/b`],
    )
    t.deepEqual(below.prefixes, [`${prefix}d3/s/`])
    t.deepEqual(await backend.list({ prefix: `${prefix}nothing` }), { objects: [], prefixes: [], next: undefined })
  })

  it('more than a page of objects, listed and deleted', async (t, backend, prefix) => {
    const keys = Array.from({ length: 1_100 }, (_, i) => `${prefix}${String(i).padStart(5, '0')}`)
    await Promise.all(
      Array.from({ length: 8 }, async (_, lane) => {
        for (let i = lane; i < keys.length; i += 8) await backend.put(keys[i]!, Buffer.from('x'))
      }),
    )
    t.deepEqual(
      (await listAll(backend, prefix, 1000)).map(object => object.key),
      keys,
    )
    t.deepEqual(await backend.deleteMany([...keys, `${prefix}never-there`]), [])
    t.deepEqual(await listAll(backend, prefix, 1000), [])
    t.deepEqual(await backend.deleteMany([]), [])
  })

  it('a source is sent as it is, and only whole', async (t, backend, prefix) => {
    const bytes = randomBytes(700_000)
    const pieces = (count: number): BodySource => ({
      sizeBytes: bytes.length,
      async *open() {
        for (let i = 0; i < count; i++) yield bytes.subarray(i * 100_000, (i + 1) * 100_000)
      },
    })
    await backend.put(`${prefix}whole`, pieces(7))
    t.deepEqual((await read(backend, `${prefix}whole`)).bytes, bytes)
    await fails(t, 'io', () => backend.put(`${prefix}short`, pieces(6)))
    await fails(t, 'not-found', () => backend.head(`${prefix}short`))
    await fails(t, 'io', () => backend.put(`${prefix}long`, { ...pieces(7), sizeBytes: 650_000 }))
    await fails(t, 'not-found', () => backend.head(`${prefix}long`))
    const broken: BodySource = {
      sizeBytes: 10,
      // biome-ignore lint/correctness/useYield: it fails before its first piece
      async *open() {
        throw new RangeError('the source broke')
      },
    }
    await t.throwsAsync(() => backend.put(`${prefix}broken`, broken), { instanceOf: RangeError })
    await fails(t, 'not-found', () => backend.head(`${prefix}broken`))
  })

  it('bytes that do not fit their checksum are refused', async (t, backend, prefix) => {
    await fails(t, 'damaged', () =>
      backend.put(`${prefix}wrong`, Buffer.from('these'), { sha256: createHash('sha256').update('those').digest('hex') }),
    )
    await fails(t, 'not-found', () => backend.head(`${prefix}wrong`))
    await backend.put(`${prefix}right`, Buffer.from('these'), { sha256: createHash('sha256').update('these').digest('hex') })
  })

  it('a put that must be the first', async (t, backend, prefix) => {
    const key = `${prefix}object`
    if (!backend.capabilities.putIfAbsent) {
      await fails(t, 'not-supported', () => backend.put(key, Buffer.from('x'), { condition: { absent: true } }))
      return
    }
    const outcomes = await Promise.allSettled(
      Array.from({ length: 8 }, (_, i) => backend.put(key, Buffer.from(`writer ${i}`), { condition: { absent: true } })),
    )
    const won = outcomes.findIndex(outcome => outcome.status === 'fulfilled')
    t.is(outcomes.filter(outcome => outcome.status === 'fulfilled').length, 1)
    for (const outcome of outcomes) if (outcome.status === 'rejected') t.is(errorKind(outcome.reason), 'exists')
    t.is((await read(backend, key)).bytes.toString(), `writer ${won}`)
  })

  it('a put onto just this state', async (t, backend, prefix) => {
    const key = `${prefix}object`
    const { etag } = await backend.put(key, Buffer.from('one'))
    if (!backend.capabilities.putIfMatch) {
      await fails(t, 'not-supported', () => backend.put(key, Buffer.from('two'), { condition: { match: etag } }))
      return
    }
    const second = await backend.put(key, Buffer.from('two'), { condition: { match: etag } })
    await fails(t, 'stale', () => backend.put(key, Buffer.from('three'), { condition: { match: etag } }))
    t.is((await read(backend, key)).bytes.toString(), 'two')
    await backend.delete(key)
    await fails(t, ['stale', 'not-found'], () => backend.put(key, Buffer.from('four'), { condition: { match: second.etag } }))
  })

  it('an upload in parts, resumed by its id', async (t, backend, prefix) => {
    const key = `${prefix}object`
    const parts = [randomBytes(5 * 2 ** 20), randomBytes(5 * 2 ** 20 + 3), randomBytes(1000)]
    const upload = await backend.uploads.create(key, { metadata: { mode: '33188' }, writeId: 'w1', contentType: 'text/plain' })
    const third = await backend.uploads.putPart(upload, 3, parts[2]!)
    await backend.uploads.putPart(upload, 1, randomBytes(5 * 2 ** 20))
    const first = await backend.uploads.putPart(upload, 1, parts[0]!)
    await fails(t, 'not-found', () => backend.head(key))
    t.deepEqual(
      (await backend.uploads.list(prefix)).map(({ key, uploadId }) => ({ key, uploadId })),
      [{ key, uploadId: upload.uploadId }],
    )
    const resumed = { key, uploadId: upload.uploadId }
    t.deepEqual(await backend.uploads.parts(resumed), [first, third])
    const second = await backend.uploads.putPart(resumed, 2, parts[1]!, { sha256: createHash('sha256').update(parts[1]!).digest('hex') })
    const done = await backend.uploads.complete(resumed, [first, second, third])
    t.true(done.etag.length > 0)
    const got = await read(backend, key)
    t.is(Buffer.compare(got.bytes, Buffer.concat(parts)), 0)
    t.is(got.info.etag, done.etag)
    t.like(got.info.metadata, { mode: '33188', 'sdmount-write': 'w1' })
    t.is(got.info.contentType, 'text/plain')
    await fails(t, 'not-found', () => backend.uploads.parts(upload))
    t.deepEqual(await backend.uploads.list(prefix), [])
  })

  it('an upload in parts refuses what does not fit', async (t, backend, prefix) => {
    const key = `${prefix}object`
    const upload = await backend.uploads.create(key)
    const small = await backend.uploads.putPart(upload, 1, randomBytes(1000))
    const last = await backend.uploads.putPart(upload, 2, randomBytes(1000))
    await fails(t, 'invalid', () => backend.uploads.complete(upload, [small, last]))
    await fails(t, 'invalid', () => backend.uploads.complete(upload, [{ ...last, etag: '0'.repeat(32) }]))
    await fails(t, 'invalid', () => backend.uploads.complete(upload, [last, small]))
    await fails(t, 'damaged', () =>
      backend.uploads.putPart(upload, 3, Buffer.from('these'), { sha256: createHash('sha256').update('those').digest('hex') }),
    )
    await backend.uploads.abort(upload)
    await backend.uploads.abort(upload)
    await fails(t, 'not-found', () => backend.uploads.putPart(upload, 1, Buffer.from('late')))
    await fails(t, 'not-found', () => backend.uploads.complete(upload, [small]))
    await fails(t, 'not-found', () => backend.head(key))
  })

  it('an upload in parts under a condition', async (t, backend, prefix) => {
    const key = `${prefix}object`
    const there = await backend.put(key, Buffer.from('there'))
    const conditions = [
      { condition: { absent: true } as const, supported: backend.capabilities.completeIfAbsent, kind: 'exists' },
      { condition: { match: '0'.repeat(32) }, supported: backend.capabilities.completeIfMatch, kind: 'stale' },
    ] as const
    for (const { condition, supported, kind } of conditions) {
      const upload = await backend.uploads.create(key)
      const part = await backend.uploads.putPart(upload, 1, Buffer.from('new'))
      await fails(t, supported ? kind : 'not-supported', () => backend.uploads.complete(upload, [part], { condition }))
      await backend.uploads.abort(upload)
    }
    t.is((await read(backend, key)).info.etag, there.etag)
  })

  it('parts copied from another object', async (t, backend, prefix) => {
    const bytes = randomBytes(6 * 2 ** 20)
    const { etag } = await backend.put(`${prefix}source`, bytes)
    const upload = await backend.uploads.create(`${prefix}target`)
    const condition = backend.capabilities.copyIfMatch ? { sourceIfMatch: etag } : {}
    const first = await backend.uploads.copyPart(upload, 1, `${prefix}source`, { offset: 1000, lengthBytes: 5 * 2 ** 20 }, condition)
    const second = await backend.uploads.putPart(upload, 2, Buffer.from('end'))
    if (backend.capabilities.copyIfMatch)
      await fails(t, 'stale', () =>
        backend.uploads.copyPart(upload, 3, `${prefix}source`, { offset: 0, lengthBytes: 10 }, { sourceIfMatch: '0'.repeat(32) }),
      )
    else
      await fails(t, 'not-supported', () =>
        backend.uploads.copyPart(upload, 3, `${prefix}source`, { offset: 0, lengthBytes: 10 }, { sourceIfMatch: etag }),
      )
    await backend.uploads.complete(upload, [first, second])
    const expected = Buffer.concat([bytes.subarray(1000, 1000 + 5 * 2 ** 20), Buffer.from('end')])
    t.is(Buffer.compare((await read(backend, `${prefix}target`)).bytes, expected), 0)
  })

  it('copies keep or replace metadata, also onto themselves', async (t, backend, prefix) => {
    const source = `${prefix}a source+%&ä`
    const { etag } = await backend.put(source, Buffer.from('content'), { metadata: { mode: '1' }, contentType: 'text/plain' })
    await backend.copy(source, `${prefix}kept`)
    t.like(await backend.head(`${prefix}kept`), { metadata: { mode: '1' }, contentType: 'text/plain', sizeBytes: 7 })
    const replaced = await backend.copy(source, `${prefix}replaced`, {
      replace: { metadata: { uid: '2' }, contentType: 'text/html', writeId: 'w' },
      sizeBytes: 7,
    })
    const head = await backend.head(`${prefix}replaced`)
    t.deepEqual({ ...head.metadata }, { uid: '2', 'sdmount-write': 'w' })
    t.is(head.contentType, 'text/html')
    t.is(head.etag, replaced.etag)
    await backend.copy(source, source, { replace: { metadata: { mode: '3' } } })
    t.is((await backend.head(source)).metadata.mode, '3')
    t.is((await read(backend, source)).bytes.toString(), 'content')
    if (backend.capabilities.copyIfMatch)
      await fails(t, 'stale', () => backend.copy(source, `${prefix}other`, { sourceIfMatch: '0'.repeat(32) }))
    else await fails(t, 'not-supported', () => backend.copy(source, `${prefix}other`, { sourceIfMatch: etag }))
  })

  it('deletion, under a condition where there is one', async (t, backend, prefix) => {
    const key = `${prefix}object`
    const { etag } = await backend.put(key, Buffer.from('x'))
    if (backend.capabilities.deleteIfMatch) {
      await fails(t, 'stale', () => backend.delete(key, { ifMatch: '0'.repeat(32) }))
      await backend.delete(key, { ifMatch: etag })
    } else {
      await fails(t, 'not-supported', () => backend.delete(key, { ifMatch: etag }))
      await backend.delete(key)
    }
    await fails(t, 'not-found', () => backend.head(key))
    await backend.delete(key)
  })

  it('metadata that would not come back is refused', async (t, backend, prefix) => {
    for (const metadata of [{ Upper: 'x' }, { 'new\nline': 'x' }, { x: 'ä' }, { x: 'a\r\nb: c' }, { x: ' padded ' }] as Record<
      string,
      string
    >[])
      await fails(t, 'invalid', () => backend.put(`${prefix}x`, Buffer.alloc(1), { metadata }))
    await fails(t, 'too-big', () => backend.put(`${prefix}x`, Buffer.alloc(1), { metadata: { x: 'y'.repeat(2100) } }))
    await backend.put(`${prefix}ok`, Buffer.alloc(1), { metadata: { x: 'y'.repeat(1200), z: 'a  b, c; "d"' } })
    t.is((await backend.head(`${prefix}ok`)).metadata.z, 'a  b, c; "d"')
  })

  it('an abort ends a call at once', async (t, backend, prefix) => {
    const key = `${prefix}object`
    await backend.put(key, randomBytes(4_000_000))
    const aborted = AbortSignal.abort()
    for (const call of [
      () => backend.check({ signal: aborted }),
      () => backend.list({ signal: aborted }),
      () => backend.head(key, { signal: aborted }),
      () => read(backend, key, { signal: aborted }),
      () => backend.put(key, Buffer.alloc(1), { signal: aborted }),
      () => backend.copy(key, `${prefix}copy`, { signal: aborted }),
      () => backend.delete(key, { signal: aborted }),
      () => backend.deleteMany([key], { signal: aborted }),
      () => backend.uploads.create(key, { signal: aborted }),
    ]) await fails(t, 'interrupted', call) // biome-ignore format: a list
    const later = new AbortController()
    let taken = 0
    await fails(t, 'interrupted', () =>
      backend.get(
        key,
        chunk => {
          taken += chunk.length
          later.abort()
        },
        { signal: later.signal },
      ),
    )
    t.true(taken > 0 && taken < 4_000_000)
    t.is((await backend.head(key)).sizeBytes, 4_000_000)
  })

  it('whoever takes the bytes sets the pace, and may refuse', async (t, backend, prefix) => {
    const key = `${prefix}object`
    const bytes = randomBytes(1_000_000)
    await backend.put(key, bytes)
    const taken: Buffer[] = []
    let inside = 0
    await backend.get(key, async chunk => {
      t.is(inside++, 0)
      await new Promise(resolve => setTimeout(resolve, 1))
      taken.push(Buffer.from(chunk))
      inside--
    })
    t.is(Buffer.compare(Buffer.concat(taken), bytes), 0)
    await t.throwsAsync(
      () =>
        backend.get(key, () => {
          throw new RangeError('enough')
        }),
      { instanceOf: RangeError },
    )
    await t.throwsAsync(() => backend.get(key, () => Promise.reject(new RangeError('enough'))), { instanceOf: RangeError })
    t.is((await backend.head(key)).sizeBytes, 1_000_000)
  })

  it('a reader sees a whole old or a whole new object', async (t, backend, prefix) => {
    const key = `${prefix}object`
    const states = Array.from({ length: 10 }, (_, i) => Buffer.alloc(300_000, i))
    await backend.put(key, states[0]!)
    let writing = true
    const writer = (async () => {
      for (const state of states) await backend.put(key, state)
      writing = false
    })()
    while (writing) {
      const { bytes } = await read(backend, key)
      t.is(bytes.length, 300_000)
      t.true(bytes.equals(Buffer.alloc(300_000, bytes[0])))
    }
    await writer
  })

  it('many calls at once', async (t, backend, prefix) => {
    const sizes = Array.from({ length: 100 }, (_, i) => (i * 7919) % 50_000)
    await Promise.all(sizes.map((size, i) => backend.put(`${prefix}${i}`, Buffer.alloc(size, i))))
    const got = await Promise.all(sizes.map((_, i) => read(backend, `${prefix}${i}`)))
    for (const [i, { bytes }] of got.entries()) t.true(bytes.equals(Buffer.alloc(sizes[i]!, i)))
  })
}

/** All bytes of a get. */
export async function read(
  backend: Backend,
  key: string,
  options?: Parameters<Backend['get']>[2],
): Promise<{ bytes: Buffer; info: ObjectInfo }> {
  const chunks: Buffer[] = []
  const info = await backend.get(key, chunk => void chunks.push(Buffer.from(chunk)), options)
  return { bytes: Buffer.concat(chunks), info }
}

export async function listAll(
  backend: Backend,
  prefix: string,
  maximumKeys: number,
): Promise<{ key: string; sizeBytes: number; etag: string }[]> {
  const objects: { key: string; sizeBytes: number; etag: string }[] = []
  let continuation: string | undefined
  do {
    const page = await backend.list({ prefix, maximumKeys, continuation })
    objects.push(...page.objects)
    continuation = page.next
  } while (continuation !== undefined)
  return objects
}

/** The call fails with this kind. */
export async function fails(t: ExecutionContext, kind: ErrorKind | readonly ErrorKind[], call: () => Promise<unknown>): Promise<void> {
  const error = await t.throwsAsync(async () => call())
  const got = errorKind(error)
  if (typeof kind === 'string') t.is(got, kind, error?.message)
  else t.true(kind.includes(got!), `${got} is none of ${kind.join(', ')}`)
}
