/**
 * A recovery key as 24 words (BIP39, English), to be written down by a person and typed in again.
 *
 * Owns: the way from 256 bits to words and back, with the checksum that catches a misread word. BIP39's way from words to the
 * seed of a wallet isn't used: the 256 bits are the key.
 * Must stay true: messages name the number of a wrong word, never the word.
 *
 * 24 words of 11 bits are 264 bits: the 256 of the key, then the first 8 of its SHA-256.
 */
import { createHash } from 'node:crypto'
import { FsError } from '../../errors.ts'
import { KEY_BYTES, SecretKey, wipeableBytes } from '../secret-key.ts'
import { ENGLISH_WORDS } from './english-words.ts'

export const RECOVERY_WORDS = 24
const WORD_BITS = 11
/** A word is told by these letters; more of it may be left out. */
const TELLING_LETTERS = 4

/** The words of a key. */
export function recoveryWords(key: SecretKey): string[] {
  const bits = wipeableBytes(KEY_BYTES + 1)
  try {
    key.use(bytes => {
      bits.set(bytes)
      bits[KEY_BYTES] = checksum(bytes)
    })
    return Array.from({ length: RECOVERY_WORDS }, (_, i) => ENGLISH_WORDS[wordAt(bits, i)]!)
  } finally {
    bits.fill(0)
  }
}

/** The key of words as they were typed: any case, any white space, numbers before the words. Throws FsError 'invalid'. */
export function recoveryKey(typed: string): SecretKey {
  const words = typed
    .normalize('NFKD')
    .toLowerCase()
    .split(/[^a-z]+/)
    .filter(word => word !== '')
  if (words.length !== RECOVERY_WORDS) throw new FsError('invalid', `a recovery key has ${RECOVERY_WORDS} words; these are ${words.length}`)
  const bits = wipeableBytes(KEY_BYTES + 1)
  try {
    words.forEach((word, i) => {
      const number = wordNumber(word)
      if (number < 0) throw new FsError('invalid', `word ${i + 1} of the recovery key is not one of the list`)
      for (let bit = 0; bit < WORD_BITS; bit++) {
        if ((number >> (WORD_BITS - 1 - bit)) & 1) bits[(i * WORD_BITS + bit) >> 3]! |= 0x80 >> ((i * WORD_BITS + bit) & 7)
      }
    })
    if (checksum(bits.subarray(0, KEY_BYTES)) !== bits[KEY_BYTES])
      throw new FsError('invalid', 'the recovery key is mistyped: its words are of the list, but they do not belong together')
    return new SecretKey(bits.subarray(0, KEY_BYTES))
  } finally {
    bits.fill(0)
  }
}

function wordAt(bits: Buffer, index: number): number {
  let number = 0
  for (let bit = index * WORD_BITS; bit < (index + 1) * WORD_BITS; bit++)
    number = (number << 1) | ((bits[bit >> 3]! >> (7 - (bit & 7))) & 1)
  return number
}

/** The first four letters are enough: no two words share them. */
function wordNumber(word: string): number {
  const exact = ENGLISH_WORDS.indexOf(word)
  return exact >= 0 || word.length !== TELLING_LETTERS ? exact : ENGLISH_WORDS.findIndex(candidate => candidate.startsWith(word))
}

function checksum(key: Uint8Array): number {
  return createHash('sha256').update(key).digest()[0]!
}
