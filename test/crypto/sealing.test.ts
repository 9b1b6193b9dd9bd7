/** Sealing: published vectors, everything that must not open, and the rule that no nonce repeats. */
import { createDecipheriv, randomBytes } from 'node:crypto'
import test from 'ava'
import fc from 'fast-check'
import { OpeningSpace, SALT_BYTES, SealingSpace, TAG_BYTES } from '../../src/crypto/sealing.ts'
import { KEY_PURPOSES, type KeyPurpose, SecretKey } from '../../src/crypto/secret-key.ts'

const bytes = (maxLength = 300) => fc.uint8Array({ maxLength })

function sealed(space: SealingSpace, position: number, place: Uint8Array, plaintext: Uint8Array): Buffer {
  const into = Buffer.alloc(plaintext.byteLength + TAG_BYTES)
  space.seal(position, place, plaintext, into, 0)
  return into
}

test('what was sealed opens at its place, and nowhere else', t => {
  using key = SecretKey.random()
  const space = new SealingSpace(key, 'block-contents')
  const opening = new OpeningSpace(key, 'block-contents', space.salt)
  let position = 0
  fc.assert(
    fc.property(bytes(), bytes(60), fc.integer({ min: 1, max: 1000 }), fc.nat(), (plaintext, place, step, flip) => {
      position += step
      const piece = sealed(space, position, place, plaintext)
      const opened = opening.open(position, place, piece)
      if (!opened || Buffer.compare(opened, plaintext) !== 0) return false
      const flipped = Buffer.from(piece)
      flipped[flip % flipped.length]! ^= 1 << (flip % 8)
      const otherPlace = Buffer.concat([place, Buffer.from([0])])
      return (
        opening.open(position, place, flipped) === undefined &&
        opening.open(position + 1, place, piece) === undefined &&
        opening.open(position + 2 ** 32, place, piece) === undefined &&
        opening.open(position, otherPlace, piece) === undefined &&
        opening.open(position, place, piece.subarray(0, -1)) === undefined &&
        opening.open(position, place, Buffer.concat([piece, Buffer.alloc(1)])) === undefined
      )
    }),
  )
  t.pass()
})

test('another key, purpose or salt opens nothing', t => {
  using key = SecretKey.random()
  using other = SecretKey.random()
  const space = new SealingSpace(key, 'staging')
  const place = Buffer.from('here')
  const piece = sealed(space, 7, place, Buffer.from('content'))
  t.is(new OpeningSpace(key, 'staging', space.salt).open(7, place, piece)?.toString(), 'content')
  t.is(new OpeningSpace(other, 'staging', space.salt).open(7, place, piece), undefined)
  t.is(new OpeningSpace(key, 'block-contents', space.salt).open(7, place, piece), undefined)
  t.is(new OpeningSpace(key, 'staging', randomBytes(SALT_BYTES)).open(7, place, piece), undefined)
})

test('noise never opens and never throws', t => {
  using key = SecretKey.random()
  const opening = new OpeningSpace(key, 'staging', randomBytes(SALT_BYTES))
  fc.assert(fc.property(bytes(), bytes(), fc.maxSafeNat(), (noise, place, position) => opening.open(position, place, noise) === undefined))
  t.pass()
})

test('a position is sealed once, also when sealing failed', t => {
  using key = SecretKey.random()
  const space = new SealingSpace(key, 'staging')
  const place = Buffer.alloc(0)
  sealed(space, 5, place, Buffer.from('a'))
  for (const position of [5, 4, 0, -1, 5.5, Number.NaN, 2 ** 53]) t.throws(() => sealed(space, position, place, Buffer.from('b')))
  t.throws(() => space.seal(6, place, Buffer.alloc(10), Buffer.alloc(10), 0))
  sealed(space, 6, place, Buffer.from('c'))
  t.throws(() => sealed(space, 6, place, Buffer.from('d')))
  sealed(space, Number.MAX_SAFE_INTEGER, place, Buffer.from('e'))
})

test('every space has a salt and a key of its own', t => {
  using key = SecretKey.random()
  const pieces = Array.from({ length: 50 }, () =>
    sealed(new SealingSpace(key, 'staging'), 1, Buffer.alloc(0), Buffer.alloc(32)).toString('hex'),
  )
  t.is(new Set(pieces).size, 50)
})

test('the stored form of version 1 stays readable', t => {
  // Sealed once with key 00..1f; the nonce rule and HKDF are spelled out here so that a change of either shows.
  using key = new SecretKey(Buffer.from(Array.from({ length: 32 }, (_, i) => i)))
  const salt = Buffer.alloc(SALT_BYTES, 0xa5)
  const piece = Buffer.from(FROZEN, 'hex')
  t.is(new OpeningSpace(key, 'block-contents', salt).open(0x1_0000_0002, Buffer.from('place'), piece)?.toString(), 'sdmount keeps its word')
  using derived = key.derive('block-contents', salt)
  const decipher = createDecipheriv('aes-256-gcm', derived.object, Buffer.from('000000000000000100000002', 'hex'), { authTagLength: 16 })
  decipher.setAAD(Buffer.from('place'))
  decipher.setAuthTag(piece.subarray(-16))
  t.is(Buffer.concat([decipher.update(piece.subarray(0, -16)), decipher.final()]).toString(), 'sdmount keeps its word')
})

test('derivation is HKDF-SHA256 of RFC 5869, and each purpose has its own key', t => {
  using key = new SecretKey(Buffer.alloc(32, 0x0b))
  const seen = new Set<string>()
  for (const purpose of Object.keys(KEY_PURPOSES) as KeyPurpose[]) {
    using derived = key.derive(purpose)
    seen.add(derived.use(raw => raw.toString('hex')))
  }
  t.is(seen.size, Object.keys(KEY_PURPOSES).length)
  using contents = key.derive('block-contents')
  t.is(
    contents.use(raw => raw.toString('hex')),
    DERIVED,
  )
})

test('a wiped key is gone', t => {
  const key = SecretKey.random()
  let view: Buffer | undefined
  key.use(raw => {
    view = raw
  })
  key[Symbol.dispose]()
  t.true(view!.every(byte => byte === 0))
  t.true(key.wiped)
  t.throws(() => key.object)
  t.throws(() => key.derive('staging'))
})

test('a key has 32 bytes, and is a copy', t => {
  t.throws(() => new SecretKey(Buffer.alloc(31)))
  const raw = randomBytes(32)
  const before = Buffer.from(raw)
  using key = new SecretKey(raw)
  raw.fill(0)
  key.use(held => t.deepEqual(held, before))
})

test('name tags differ wherever the parts differ', t => {
  using key = SecretKey.random()
  using other = SecretKey.random()
  const seen = new Set<string>()
  const lists = [['ab', 'c'], ['a', 'bc'], ['abc'], ['abc', ''], ['', 'abc'], [], ['']]
  for (const parts of lists) seen.add(key.nameTag(parts).toString('hex'))
  t.is(seen.size, lists.length)
  t.is(key.nameTag(['ab']).length, 16)
  t.deepEqual(key.nameTag(['ab']), key.nameTag([Buffer.from('ab')]))
  t.notDeepEqual(key.nameTag(['ab']), other.nameTag(['ab']))
})

const FROZEN = '2f70f814956de0b868e5c4124edcc9448f00512d437ae415cddb6752750781c440bf003184e6'
const DERIVED = '6bc9b9af34c7e57cbf1d2a2b1c1e152ba625bf9406c9e13033e20cbb9c199a30'
