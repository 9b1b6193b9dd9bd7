/** Recovery words: the vectors of BIP39 for 256 bits, the list, and what mistyping gives. */
import { createHash } from 'node:crypto'
import test from 'ava'
import { SecretKey } from '../../../src/crypto/secret-key.ts'
import { ENGLISH_WORDS } from '../../../src/crypto/vault/english-words.ts'
import { recoveryKey, recoveryWords } from '../../../src/crypto/vault/recovery-words.ts'
import { FsError } from '../../../src/errors.ts'

/** From the vectors that BIP39 names (those of 256 bits). */
const VECTORS = [
  [
    '0000000000000000000000000000000000000000000000000000000000000000',
    'abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon art',
  ],
  [
    '7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f',
    'legal winner thank year wave sausage worth useful legal winner thank year wave sausage worth useful legal winner thank year wave sausage worth title',
  ],
  [
    '8080808080808080808080808080808080808080808080808080808080808080',
    'letter advice cage absurd amount doctor acoustic avoid letter advice cage absurd amount doctor acoustic avoid letter advice cage absurd amount doctor acoustic bless',
  ],
  [
    'ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff',
    'zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo vote',
  ],
  [
    '68a79eaca2324873eacc50cb9c6eca8cc68ea5d936f98787c60c7ebc74e6ce7c',
    'hamster diagram private dutch cause delay private meat slide toddler razor book happy fancy gospel tennis maple dilemma loan word shrug inflict delay length',
  ],
  [
    '00ac97c48106f0aeb8ba061e0250a559b3251dc35854e694780ba51d53a50120',
    'absent gorilla van acoustic humor firm title dolphin bulk barely citizen recall crane moment aspect appear track phrase actual enforce steel spoon afraid benefit',
  ],
  [
    '3edc83b60740d77af3afa2fcb82c2f1bc541ee4e2518ddef4996d32453f54a3c',
    'disagree tomato unique attend aspect runway solid violin witness scrap armed daring favorite warm decade perfect target kid grant play early wide cigar night',
  ],
  [
    '89bb4bc5555992cdaf3444c5e7ca5a6e9f27efab894f1990bae41be8b2a26ea4',
    'meadow surge vanish primary odor grocery rubber mass shine dinner notable tag venue water purchase clarify book magic ribbon daughter menu eye ritual orchard',
  ],
  [
    '911fec0fbd88029f6fa99164896c18d898c9232af18bdcca3e42d53b86493104',
    'much youth advance kitchen lens exile salt cram goose enter alert raise milk muscle profit cousin system faint mouse price reveal cause series long',
  ],
] as const

const hexOf = (key: SecretKey) => key.use(bytes => bytes.toString('hex'))

test('the list is that of BIP39', t => {
  t.is(ENGLISH_WORDS.length, 2048)
  const digest = createHash('sha256')
    .update(ENGLISH_WORDS.map(word => `${word}\n`).join(''))
    .digest('hex')
  t.is(digest, '2f5eed53a4727b4bf8880d8f3f199efc90e58503646d9ff8eff3a2ed3b24dbda')
})

test('the vectors, both ways', t => {
  for (const [hex, words] of VECTORS) {
    const key = new SecretKey(Buffer.from(hex, 'hex'))
    t.is(recoveryWords(key).join(' '), words)
    t.is(hexOf(recoveryKey(words)), hex)
  }
})

test('any key comes back, also from capitals, numbered lines and four letters of each word', t => {
  for (let i = 0; i < 200; i++) {
    const key = SecretKey.random()
    const words = recoveryWords(key)
    t.is(hexOf(recoveryKey(words.join(' '))), hexOf(key))
    t.is(hexOf(recoveryKey(words.map((word, n) => `${n + 1}. ${word.toUpperCase()}\r\n`).join(''))), hexOf(key))
    t.is(hexOf(recoveryKey(words.map(word => word.slice(0, 4)).join('\t'))), hexOf(key))
  }
})

test('what is mistyped is said, without the words', t => {
  const [, words] = VECTORS[5]
  const list = words.split(' ')
  const refusal = (typed: string) => {
    const error = t.throws(() => recoveryKey(typed), { instanceOf: FsError })
    t.is(error.kind, 'invalid')
    for (const word of list) t.false(error.message.split(/\W+/).includes(word), error.message)
    return error.message
  }
  t.regex(refusal(list.slice(1).join(' ')), /24 words; these are 23/)
  t.regex(refusal(''), /these are 0/)
  t.regex(refusal(list.with(6, 'titles').join(' ')), /word 7 /)
  t.regex(refusal(list.with(0, 'gorilla').with(1, 'absent').join(' ')), /mistyped/)
})
