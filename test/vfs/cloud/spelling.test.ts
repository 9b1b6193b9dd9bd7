/** How names become keys and attributes metadata, both ways, also as rclone and s3fs write them. */
import test from 'ava'
import { Attributes } from '../../../src/vfs/contract.ts'
import { conflictName } from '../../../src/vfs/volumes/cloud/conflict-name.ts'
import { nameOfSegment, segmentOfName } from '../../../src/vfs/volumes/cloud/keys.ts'
import { attributesIn, metadataOf } from '../../../src/vfs/volumes/cloud/metadata.ts'
import { SeededRandom, seedOf } from '../../support/random.ts'

const bytes = (text: string) => Buffer.from(text).toString('latin1')

test('a name is spelled as it is where it is UTF-8, else as rclone does', t => {
  t.is(segmentOfName('plain.txt'), 'plain.txt')
  t.is(segmentOfName(bytes('café 🦊')), 'café 🦊')
  t.is(segmentOfName('caf\xe9'), 'caf\u201bE9')
  t.is(segmentOfName(bytes('\u201bnot an escape')), '\u201bnot an escape')
  t.is(segmentOfName(bytes('\u201bE9')), '\u201b\u201bE9')
  t.is(nameOfSegment('caf\u201bE9'), 'caf\xe9')
  for (const segment of ['', '.', '..', 'a\0', 'n'.repeat(256), '\u201b41', '\ud800']) t.is(nameOfSegment(segment), undefined)
})

test('every name comes back', t => {
  const seed = seedOf(process.env)
  t.log(`SEED=${seed}`)
  const random = new SeededRandom(seed)
  const parts = [
    'a',
    '0',
    'E9',
    '\xe9',
    '\xff',
    '\xc3',
    bytes('é'),
    bytes('\u201b'),
    bytes('\ufffd'),
    bytes('🦊'),
    '\xe2\x80',
    '\xed\xa0\x80',
    ' ',
  ]
  const seen = new Map<string, string>()
  for (let i = 0; i < 20_000; i++) {
    const name = Array.from({ length: 1 + random.below(7) }, () => random.pick(parts)).join('')
    const segment = segmentOfName(name)
    t.true(segment.isWellFormed())
    if (nameOfSegment(segment) !== name || (seen.get(segment) ?? name) !== name)
      t.is(Buffer.from(segment).toString('hex'), Buffer.from(name, 'latin1').toString('hex'))
    seen.set(segment, name)
  }
})

test('metadata as it is written, and as others write it', t => {
  const a = Object.assign(new Attributes(), { mode: 0o100640, uid: 12, gid: 34, mtimeSec: 1_700_000_000, mtimeNsec: 5 })
  const xattrs = new Map([['user.colour', Buffer.from([0, 255])]])
  const metadata = metadataOf(a, xattrs)
  t.is(metadata.mtime, '1700000000.000000005')
  t.is(metadata.mode, '33184')
  t.deepEqual(attributesIn(metadata), { mode: 0o100640, uid: 12, gid: 34, mtime: { sec: 1_700_000_000, nsec: 5 }, xattrs })
  const early = metadataOf(Object.assign(new Attributes(), { mtimeSec: -5, mtimeNsec: 987_654_321 }), new Map())
  t.deepEqual(attributesIn(early).mtime, { sec: -5, nsec: 987_654_321 })
  t.deepEqual(attributesIn({ mtime: '1700000000', mode: '41471', uid: '0', gid: '0' }), {
    mode: 0o120777,
    uid: 0,
    gid: 0,
    mtime: { sec: 1_700_000_000, nsec: 0 },
  })
  t.deepEqual(attributesIn({ mtime: '2023-11-14T22:13:20.5Z', mode: '100644' }), {
    mode: 0o100644,
    mtime: { sec: 1_700_000_000, nsec: 500_000_000 },
  })
  t.deepEqual(attributesIn({ mtime: 'yesterday', mode: '9999999', uid: '-1', gid: 'root', xattr: '%' }), {})
  t.throws(() => metadataOf(a, new Map([['user.large', Buffer.alloc(2000)]])), { message: /extended attributes/ })
})

test('a conflicting copy keeps its extension and stays a name', t => {
  const now = Date.UTC(2026, 10, 21, 4, 5, 6)
  t.is(conflictName('letter.txt', 'laptop', now, 0), 'letter.conflict-laptop-2026-11-21-040506.txt')
  t.is(conflictName('a.tar.gz', 'laptop', now, 2), 'a.conflict-laptop-2026-11-21-040506-2.tar.gz')
  t.is(conflictName('.hidden', 'laptop', now, 0), '.hidden.conflict-laptop-2026-11-21-040506')
  const long = conflictName(bytes('é'.repeat(127)), 'laptop', now, 0)
  t.true(long.length <= 255)
  t.false(Buffer.from(long, 'latin1').toString('utf8').includes('\ufffd'))
})
