/**
 * Opening: keys, damage, versions; and what lies on the disk.
 */
import { cpSync, readdirSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { errorKind } from '../../src/errors.ts'
import { openIndex } from '../../src/index/open-index.ts'
import { MIGRATIONS, migrate, SCHEMA_VERSION } from '../../src/index/schema.ts'
import { silentLog } from '../../src/log.ts'
import { openDatabase } from '../../src/sqlite/database.ts'
import { closeQuietly, fileOf, HeldScheduler, KEY, temporaryDirectory, testIndex } from './support.ts'

function open(t: ExecutionContext, directory: string, key = KEY) {
  const index = openIndex({ directory, key, log: silentLog, scheduler: new HeldScheduler() })
  t.teardown(() => closeQuietly(index))
  return index
}

function refuses(t: ExecutionContext, directory: string, kind: string, message: RegExp, key = KEY): void {
  const error = t.throws(() => open(t, directory, key))
  t.is(errorKind(error), kind as ReturnType<typeof errorKind>)
  t.regex(error.message, message)
}

/** A closed index with a thousand files. */
function closed(t: ExecutionContext): string {
  const { index, directory, volume, base, root } = testIndex(t)
  for (let i = 0; i < 1000; i++) index.createEntry(volume, root, `some file name ${i}`, fileOf(base + 10 + i))
  index.setSetting('colour', 'Purpurrot')
  index.close()
  return directory
}

test('another key is refused, and the right one still opens', t => {
  const directory = closed(t)
  refuses(t, directory, 'damaged', /damaged, or the key/, Buffer.alloc(32, 1))
  t.is(open(t, directory).setting('colour'), 'Purpurrot')
})

test('a key of another length is a mistake of the caller', t => {
  t.throws(() => open(t, temporaryDirectory(t), Buffer.alloc(16)), { message: /32 bytes/ })
})

test('what is no index is refused and left alone', t => {
  const directory = temporaryDirectory(t)
  for (const content of [Buffer.alloc(100_000, 'garbage'), Buffer.from('SQLite format 3\0'), Buffer.from('x')]) {
    writeFileSync(join(directory, 'index.db'), content)
    refuses(t, directory, 'damaged', /damaged/)
    t.deepEqual(readFileSync(join(directory, 'index.db')), content)
  }
})

test('a cut-off file is refused', t => {
  const directory = closed(t)
  const file = join(directory, 'index.db')
  truncateSync(file, Math.floor(statSync(file).size / 8192) * 4096)
  refuses(t, directory, 'damaged', /damaged/)
})

test('a flipped byte is an error, never wrong data', t => {
  const directory = closed(t)
  const file = join(directory, 'index.db')
  const good = readFileSync(file)
  let found = 0
  for (let page = 0; page < good.length / 4096; page++) {
    const bad = Buffer.from(good)
    bad[page * 4096 + 2000]! ^= 1
    writeFileSync(file, bad)
    try {
      const index = open(t, directory)
      for (const volume of index.volumes()) {
        for (const at of index.directories(volume.id)) {
          for (const child of index.children(at.ino, undefined, 10_000)) {
            if (!/^some file name \d+$/.test(child.name) || child.attributes.sizeBytes !== 5) t.fail(`page ${page}: wrong data`)
          }
        }
      }
      index.close()
    } catch (error) {
      found++
      t.is(errorKind(error), 'damaged', String(error))
    }
  }
  t.true(found > good.length / 4096 / 2, `${found} of ${good.length / 4096} pages`)
})

test('two pages that changed places are an error', t => {
  const directory = closed(t)
  const file = join(directory, 'index.db')
  const bytes = readFileSync(file)
  const middle = Math.floor(bytes.length / 8192)
  const page = Buffer.from(bytes.subarray(middle * 4096, (middle + 1) * 4096))
  bytes.copyWithin(middle * 4096, (middle + 1) * 4096, (middle + 2) * 4096)
  page.copy(bytes, (middle + 1) * 4096)
  writeFileSync(file, bytes)
  const error = t.throws(() => {
    const index = open(t, directory)
    const problems = [...index.problems()]
    if (problems.length > 0) throw new Error(problems[0])
  })
  t.regex(error.message, /damaged|malformed|database says/)
})

test('an index of a newer version is refused in one clear line, and left as it is', t => {
  const directory = closed(t)
  const database = openDatabase({ path: join(directory, 'index.db'), key: KEY, cacheBytes: 0 })
  database.pragma(`user_version = ${SCHEMA_VERSION + 1}`)
  database.close()
  const before = readFileSync(join(directory, 'index.db'))
  refuses(t, directory, 'not-supported', new RegExp(`newer sdmount \\(schema version ${SCHEMA_VERSION + 1}.*update sdmount`))
  t.deepEqual(readFileSync(join(directory, 'index.db')), before)
})

test('a migration happens wholly or not at all', t => {
  const directory = closed(t)
  const database = openDatabase({ path: join(directory, 'index.db'), key: KEY, cacheBytes: 0 })
  t.teardown(() => database.close())
  const next = [
    ...MIGRATIONS,
    'CREATE TABLE one (a); UPDATE settings SET value = 1',
    'CREATE TABLE two (a); INSERT INTO missing VALUES (1)',
  ]
  const version = () => database.pragma('user_version', { simple: true })
  const tables = () => database.prepare("SELECT name FROM sqlite_schema WHERE name IN ('one', 'two')").all().length
  t.throws(() => migrate(database, next), { message: /missing/ })
  t.is(version(), SCHEMA_VERSION)
  t.is(tables(), 0)
  migrate(database, next.slice(0, -1))
  t.is(version(), SCHEMA_VERSION + 1)
  t.is(tables(), 1)
  t.is(errorKind(t.throws(() => migrate(database))), 'not-supported')
})

test('another database under the same key is refused', t => {
  const directory = temporaryDirectory(t)
  const database = openDatabase({ path: join(directory, 'index.db'), key: KEY, cacheBytes: 0 })
  database.exec('CREATE TABLE something (else_ TEXT)')
  database.pragma('user_version = 1')
  database.close()
  refuses(t, directory, 'damaged', /not an index/)
})

test('no name, setting or path is readable in any file of the index, open or closed', t => {
  const { index, directory, volume, base, root, scheduler } = testIndex(t)
  const secrets = ['a telling file name', 'Documents', '/home/somebody', 'Purpurrot', 'colour', 'CREATE TABLE', 'nodes', 'SQLite format']
  for (let i = 0; i < 5000; i++) index.createEntry(volume, root, `a telling file name ${i}`, fileOf(base + 10 + i))
  index.setSetting('colour', 'Purpurrot')
  index.removeEntry(volume, root, 'a telling file name 7')
  scheduler.settle()
  const look = (when: string) => {
    for (const name of readdirSync(directory)) {
      const bytes = readFileSync(join(directory, name))
      for (const secret of secrets) t.false(bytes.includes(secret), `${secret} in ${name}, ${when}`)
    }
  }
  index.flush('durable')
  look('open')
  index.close()
  look('closed')
})

test('a directory that can not be is told as the host tells it', t => {
  const directory = temporaryDirectory(t)
  writeFileSync(join(directory, 'file'), '')
  refuses(t, join(directory, 'file', 'index'), 'not-directory', /./)
  refuses(t, '/proc/nowhere/index', 'not-found', /./)
})

test('only the owner can enter a new index directory', t => {
  const directory = join(temporaryDirectory(t), 'index')
  open(t, directory)
  t.is(statSync(directory).mode & 0o777, 0o700)
})

test('an index of each released version is opened, and brought to the present one', t => {
  const fixtures = new URL('../fixtures/', import.meta.url)
  const versions = readdirSync(fixtures).filter(name => /^index-v\d+$/.test(name))
  t.is(versions.length, SCHEMA_VERSION, 'each version has its fixture')
  for (const version of versions) {
    const directory = temporaryDirectory(t)
    cpSync(new URL(version, fixtures), directory, { recursive: true })
    const index = open(t, directory, Buffer.alloc(32, 0x11))
    const [volume] = index.volumes()
    t.is(volume!.name, 'Documents')
    t.deepEqual(volume!.settings, { path: '/home/somebody/Documents' })
    const slot = index.slots()[0]!.slot
    const root = slot * 2 ** 40 + 2
    t.deepEqual(
      index.children(root, undefined, 100).map(child => [child.name, child.attributes.ino - root, child.attributes.sizeBytes]),
      [
        ['caf\xe9', 10, 5],
        ['d', 11, 0],
        ['letter.txt', 12, 2 ** 33],
      ],
    )
    t.is(index.pathOf(root + 13), 'd/below')
    t.is(index.lookup(root, 'letter.txt')!.mtimeNsec, 123_456_789)
    t.is(index.entryCount(volume!.id), 4)
    t.is(index.setting('colour'), 'Purpurrot')
    t.is(index.assignIno(slot, 'a key'), slot * 2 ** 40 + 2 ** 39)
    t.deepEqual(index.scanState(volume!.id), { scan: 3, startedAtMs: 1_795_000_000_000, finished: true })
    t.true(index.isScanned(root, 3))
    t.deepEqual([...index.problems()], [])
    const record = index.objects.get(root + 12)
    if (version === 'index-v1') t.is(record, undefined)
    else {
      const { ino, volume: of, listedMs, ...object } = record!
      t.deepEqual([ino, of, listedMs], [root + 12, volume!.id, undefined])
      t.deepEqual(object, {
        key: 'old/letter.txt',
        etag: 'd41d8cd98f00b204e9800998ecf8427e',
        versionId: 'v7',
        sizeBytes: 2 ** 33,
        modifiedMs: 1_795_000_000_123,
        contentType: 'text/plain',
        known: true,
        pending: true,
        pinned: true,
        replaces: 'aa',
      })
      t.deepEqual(index.objects.unlisted(volume!.id, 10), [root + 11])
      t.is(index.objects.target(root + 12), '../\xff')
      t.deepEqual([...index.objects.attributes(root + 12)], [['user.colour', Buffer.from([0, 255])]])
      t.deepEqual(index.objects.moves(volume!.id), [{ id: 1, ino: root + 11, prefix: 'before/d/' }])
    }
    index.close()
  }
})
