/** The header of a vault: what opens it, what must not, what is said of every kind of damage, and a frozen one. */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import test from 'ava'
import fc from 'fast-check'
import { Passphrase } from '../../../src/crypto/passphrase.ts'
import { SecretKey } from '../../../src/crypto/secret-key.ts'
import type { Argon2Costs } from '../../../src/crypto/vault/argon2.ts'
import { createHeader, type NewSlot, type OpenHeader, openHeaderWith, unlockHeader } from '../../../src/crypto/vault/header.ts'
import { HeaderError, type HeaderProblem } from '../../../src/crypto/vault/header-error.ts'
import { decodeHeader, HEADER_BYTES } from '../../../src/crypto/vault/header-format.ts'
import { recoveryKey } from '../../../src/crypto/vault/recovery-words.ts'
import { SeededRandom, seedOf } from '../../support/random.ts'

const CHEAP: Argon2Costs = { memoryKib: 8192, passes: 1, lanes: 1 }
const FROZEN = new URL('../../fixtures/vault-header-v1/header', import.meta.url)
const FROZEN_WORDS =
  'hamster diagram private dutch cause delay private meat slide toddler razor book happy fancy gospel tennis maple dilemma loan word shrug inflict delay length'

const phrase = (text: string) => new Passphrase(Buffer.from(text))
const slot = (label: string, text: string): NewSlot => ({ label, passphrase: phrase(text), costs: CHEAP })
const masterOf = (header: OpenHeader) => header.keys.master.use(bytes => bytes.toString('hex'))

async function problemOf(work: () => unknown): Promise<HeaderProblem | 'none'> {
  try {
    await work()
    return 'none'
  } catch (error) {
    if (!(error instanceof HeaderError)) throw error
    return error.problem
  }
}

/** The checksum made good again, as somebody would who changes a header on purpose. */
function rechecked(bytes: Buffer): Buffer {
  createHash('sha256')
    .update(bytes.subarray(0, HEADER_BYTES - 32))
    .digest()
    .copy(bytes, HEADER_BYTES - 32)
  return bytes
}

test('each passphrase and the recovery key open the same vault, and nothing else does', async t => {
  const recovery = SecretKey.random()
  const made = await createHeader([slot('main', 'first one'), slot('ann', 'second one'), { recovery }])
  const bytes = made.encode()
  t.is(bytes.length, HEADER_BYTES)
  for (const [secret, label] of [
    [phrase('first one'), 'main'],
    [phrase('second one'), 'ann'],
    [recovery, 'recovery'],
  ] as const) {
    const opened = await unlockHeader(bytes, secret)
    t.is(masterOf(opened), masterOf(made))
    t.deepEqual(opened.keys.vaultId, made.keys.vaultId)
    t.is(opened.openedBy, label)
    t.deepEqual(
      opened.slots.map(s => [s.label, s.kind]),
      [
        ['main', 'passphrase'],
        ['ann', 'passphrase'],
        ['recovery', 'recovery'],
      ],
    )
  }
  t.is(await problemOf(() => unlockHeader(bytes, phrase('third one'))), 'wrong-secret')
  t.is(await problemOf(() => unlockHeader(bytes, SecretKey.random())), 'wrong-secret')
  t.is((await t.throwsAsync(unlockHeader(bytes, phrase('third one'))))?.message, 'wrong passphrase')
})

test('slots are added, replaced and removed; the keys stay, the generation counts', async t => {
  let header = await createHeader([slot('main', 'one')])
  t.is(header.generation, 1)
  const master = masterOf(header)
  header = await header.add(slot('ann', 'two'))
  t.is(await problemOf(() => header.add(slot('ann', 'three'))), 'slot')
  header = await header.replace(slot('main', 'new one'))
  t.is(header.generation, 3)
  t.is(await problemOf(() => unlockHeader(header.encode(), phrase('one'))), 'wrong-secret')
  t.is(masterOf(await unlockHeader(header.encode(), phrase('new one'))), master)
  const recovery = SecretKey.random()
  header = await header.replace({ recovery: SecretKey.random() })
  header = await header.replace({ recovery })
  t.is(masterOf(await unlockHeader(header.encode(), recovery)), master)
  header = header.remove('main')
  t.is(await problemOf(() => unlockHeader(header.encode(), phrase('new one'))), 'wrong-secret')
  t.is(await problemOf(() => header.remove('ann')), 'slot', 'the last passphrase stays, also beside a recovery key')
  t.is(await problemOf(() => header.remove('nobody')), 'slot')
  header = header.remove('recovery')
  t.is(await problemOf(() => unlockHeader(header.encode(), recovery)), 'wrong-secret')
  for (const label of ['', 'recovery', 'a\nb', 'x'.repeat(56)]) t.is(await problemOf(() => header.add(slot(label, 'x'))), 'slot', label)
  for (let i = header.slots.length; i < 8; i++) header = await header.add(slot(`ü${i}`, `pass ${i}`))
  t.is(await problemOf(() => header.add(slot('one more', 'x'))), 'slot')
  const opened = await unlockHeader(header.encode(), phrase('pass 7'))
  t.is(opened.openedBy, 'ü7')
})

test('a header of keys at hand opens without a passphrase; that of another vault does not', async t => {
  const [mine, other] = [await createHeader([slot('main', 'one')]), await createHeader([slot('main', 'one')])]
  using opened = openHeaderWith(mine.keys, mine.encode())
  t.is(masterOf(opened), masterOf(mine))
  t.is(await problemOf(() => openHeaderWith(mine.keys, other.encode())), 'forged')
  const disguised = other.encode()
  mine.keys.vaultId.copy(disguised, 32)
  t.is(await problemOf(() => openHeaderWith(mine.keys, rechecked(disguised))), 'forged')
})

test('two headers of one vault share no salt, and so no key', async t => {
  const header = await createHeader([slot('main', 'one')])
  const [a, b] = [header.encode(), header.encode()]
  t.notDeepEqual(a.subarray(1088, 1120), b.subarray(1088, 1120))
  t.notDeepEqual(a.subarray(1120, 1648), b.subarray(1120, 1648))
  const again = (await header.replace(slot('main', 'one'))).encode()
  for (const [from, to] of [
    [64 + 16, 64 + 32],
    [64 + 32, 64 + 64],
  ])
    t.notDeepEqual(a.subarray(from, to), again.subarray(from, to))
})

test('each kind of wrong bytes has its own line', async t => {
  const header = await createHeader([slot('main', 'one'), slot('ann', 'two')])
  const good = header.encode()
  const changed = (change: (bytes: Buffer) => void) => {
    const bytes = Buffer.from(good)
    change(bytes)
    return bytes
  }
  const lines = new Map<string, [HeaderProblem, RegExp, Buffer]>([
    ['empty', ['truncated', /is empty/, Buffer.alloc(0)]],
    ['cut in its first bytes', ['truncated', /cut off: 5 of/, good.subarray(0, 5)]],
    ['cut', ['truncated', /cut off: 2047 of 2048/, good.subarray(0, 2047)]],
    ['another file', ['foreign', /not the header of a vault/, Buffer.from('{"a":1}'.padEnd(2048))]],
    ['a flip', ['damaged', /its checksum/, changed(bytes => (bytes[700]! ^= 1))]],
    ['longer', ['damaged', /1 bytes follow/, Buffer.concat([good, Buffer.alloc(1)])]],
    ['an absurd length', ['damaged', /its length/, changed(bytes => bytes.writeUInt32LE(0xffff_ffff, 12))]],
    ['newer', ['newer', /newer sdmount \(header version 2/, rechecked(changed(bytes => bytes.writeUInt16LE(2, 8)))]],
    ['a feature', ['newer', /flags 0x80000001/, rechecked(changed(bytes => bytes.writeUInt32LE(0x8000_0001, 16)))]],
    ['too much memory', ['excessive', /4294967295 KiB/, rechecked(changed(bytes => bytes.writeUInt32LE(0xffff_ffff, 64 + 4)))]],
    ['too many passes', ['excessive', /65 passes/, rechecked(changed(bytes => bytes.writeUInt32LE(65, 64 + 8)))]],
    ['an unknown slot', ['damaged', /slot 1/, rechecked(changed(bytes => (bytes[64] = 9)))]],
    ['an unknown derivation', ['damaged', /slot 2/, rechecked(changed(bytes => (bytes[64 + 128 + 1] = 7)))]],
    ['no slots', ['damaged', /there are none/, rechecked(changed(bytes => bytes.fill(0, 64, 64 + 256)))]],
    ['something in the zeros', ['damaged', /zero/, rechecked(changed(bytes => (bytes[2000] = 1)))]],
    ['a generation that no header has', ['damaged', /generation/, rechecked(changed(bytes => bytes.fill(0, 24, 32)))]],
  ])
  for (const [what, [problem, line, bytes]] of lines) {
    const error = t.throws(() => decodeHeader(bytes), { instanceOf: HeaderError }, what)
    t.is(error.problem, problem, what)
    t.regex(error.message, line, what)
  }
})

test('whoever lacks the key changes nothing unseen', async t => {
  const header = await createHeader([slot('main', 'one'), slot('ann', 'two')])
  const good = header.encode()
  const opens = (bytes: Buffer, text: string) => problemOf(() => unlockHeader(rechecked(bytes), phrase(text)))
  const swapped = Buffer.from(good)
  good.copy(swapped, 64, 192, 320)
  good.copy(swapped, 192, 64, 192)
  t.is(await opens(swapped, 'one'), 'forged', 'slots exchanged')
  const without = Buffer.from(good)
  without.fill(0, 192, 320)
  t.is(await opens(without, 'one'), 'forged', 'a slot taken away')
  const stranger = await createHeader([slot('main', 'mine')])
  const planted = Buffer.from(good)
  stranger.encode().copy(planted, 320, 64, 192)
  t.is(await opens(planted, 'one'), 'forged', 'a slot added')
  t.is(await opens(planted, 'mine'), 'wrong-secret', 'which opens nothing')
  const older = Buffer.from(good)
  older.writeBigUInt64LE(99n, 24)
  t.is(await opens(older, 'one'), 'forged', 'another generation')
  const revived = (await header.replace(slot('main', 'changed'))).encode()
  good.copy(revived, 64, 64, 192)
  t.is(await opens(revived, 'one'), 'forged', 'a passphrase that was changed put back')
  const costs = Buffer.from(good)
  costs.writeUInt32LE(2, 64 + 8)
  t.is(await opens(costs, 'one'), 'wrong-secret', 'other costs are another key')
  t.is(await opens(costs, 'two'), 'forged')
})

test('every single flipped bit is noticed', async t => {
  const header = await createHeader([slot('main', 'one'), { recovery: SecretKey.random() }])
  const good = header.encode()
  for (let bit = 0; bit < HEADER_BYTES * 8; bit++) {
    const bytes = Buffer.from(good)
    bytes[bit >> 3]! ^= 1 << (bit & 7)
    const problem = await problemOf(() => openHeaderWith(header.keys, bytes))
    if (problem === 'none') t.fail(`bit ${bit}`)
    if (bit >= (HEADER_BYTES - 32) * 8) continue
    const forged = await problemOf(() => openHeaderWith(header.keys, rechecked(bytes)))
    if (forged === 'none') t.fail(`bit ${bit} with its checksum`)
  }
  t.pass()
})

test('whatever the bytes are, the decoder answers or says what is wrong', async t => {
  const good = (await createHeader([slot('main', 'one'), { recovery: SecretKey.random() }])).encode()
  const seed = seedOf(process.env)
  t.log(`SEED=${seed}`)
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 3000 }), bytes => {
      t.throws(() => decodeHeader(Buffer.from(bytes)), { instanceOf: HeaderError })
    }),
    { seed, numRuns: 500 },
  )
  const random = new SeededRandom(seed)
  for (let round = 0; round < 20_000; round++) {
    const bytes = Buffer.from(good)
    for (let i = random.below(6); i >= 0; i--) {
      const at = random.below(HEADER_BYTES - 32)
      const [value, length] = [random.pick([0, 1, 2, 0x7f, 0x80, 0xff, random.below(256)]), random.pick([1, 1, 2, 4, 8, 64])]
      bytes.fill(value, at, Math.min(at + length, HEADER_BYTES - 32))
    }
    const cut = random.below(10) === 0 ? bytes.subarray(0, random.below(HEADER_BYTES)) : rechecked(bytes)
    try {
      const header = decodeHeader(cut)
      for (const { argon2 } of header.slots.filter(s => s !== undefined)) {
        if (argon2 && argon2.memoryKib * argon2.passes > 8 * 1024 * 1024) t.fail(`round ${round}: costs out of bounds`)
      }
    } catch (error) {
      if (!(error instanceof HeaderError)) t.fail(`round ${round}: ${String(error)}`)
    }
  }
  t.pass()
})

test('a header of version 1 opens for ever', async t => {
  const bytes = readFileSync(FROZEN)
  const byPassphrase = await unlockHeader(bytes, phrase('correct horse battery staple'))
  t.is(byPassphrase.keys.vaultId.toString('hex'), VAULT_ID)
  t.is(masterOf(byPassphrase), MASTER)
  t.is(byPassphrase.generation, 3)
  t.deepEqual(byPassphrase.slots, [
    { label: 'main', createdMs: 1_790_000_000_000, kind: 'passphrase', argon2: { memoryKib: 65_536, passes: 3, lanes: 4 } },
    { label: 'recovery', createdMs: 1_790_000_000_000, kind: 'recovery', argon2: undefined },
    { label: 'für Ann', createdMs: 1_790_000_000_000, kind: 'passphrase', argon2: { memoryKib: 8192, passes: 1, lanes: 1 } },
  ])
  t.is(masterOf(await unlockHeader(bytes, Passphrase.normalised(Buffer.from('Zürich')))), MASTER)
  t.is(masterOf(await unlockHeader(bytes, recoveryKey(FROZEN_WORDS))), MASTER)
})

/** Of the frozen header. */
const VAULT_ID = '2fc4f1bbdcaaca328bb883bb1708387f'
const MASTER = '53cbe42ba1fe42d9d329ad54b17314b68ebf08b047baee26ce0bc895615baeea'
