/**
 * Sealing of bulk data: AES-256-GCM, each piece bound to its place.
 *
 * Owns: the one way in which this project encrypts bytes on disk, and the rule that no (key, nonce) pair ever repeats:
 *
 *   A space is a key of its own, derived from a parent key and 32 random bytes (the salt, which is stored in the clear with
 *   the data). Only whoever made the space seals in it, once, in memory: a `SealingSpace` is born with a fresh salt and can't
 *   be made from a stored one. Within a space the nonce is the position (4 zero bytes, then 8 bytes big-endian), and `seal`
 *   asserts that positions strictly ascend. A process that starts anew opens old spaces for reading (`OpeningSpace`, which
 *   can't seal) and makes new ones for writing. So a pair repeats only if two salts of 256 random bits do.
 *
 * The place (additional authenticated data) says what the piece is: format and version, which object, which index, which
 * length: the caller encodes it. A piece that was moved, swapped, cut or replayed elsewhere doesn't open.
 * Must stay true: `open` gives either the very bytes that were sealed for that place, or false and no bytes.
 * It doesn't: know files, or compress, or hide lengths.
 *
 * Sealed piece:  offset  size      field
 *                0       n         ciphertext, as long as the plaintext
 *                n       16        GCM tag over place and ciphertext
 */
import { createCipheriv, createDecipheriv, type KeyObject, randomBytes } from 'node:crypto'
import type { KeyPurpose, SecretKey } from './secret-key.ts'

export const TAG_BYTES = 16
export const SALT_BYTES = 32
const NONCE_BYTES = 12
const CIPHER = 'aes-256-gcm'
const OPTIONS = { authTagLength: TAG_BYTES } as const

/** Writes the nonce of a position. */
function setNonce(nonce: Buffer, position: number): void {
  nonce.writeUInt32BE(Math.floor(position / 2 ** 32), 4)
  nonce.writeUInt32BE(position >>> 0, 8)
}

/** A fresh space, for writing. */
export class SealingSpace {
  /** 32 random bytes, to be stored with the data. */
  readonly salt: Buffer
  readonly #key: KeyObject
  readonly #nonce = Buffer.alloc(NONCE_BYTES)
  #last = -1

  constructor(parent: SecretKey, purpose: KeyPurpose) {
    this.salt = randomBytes(SALT_BYTES)
    using key = parent.derive(purpose, this.salt)
    this.#key = key.object
  }

  /** Seals `plaintext` into `into` at `at`: its length and 16 bytes more. `position` is above all before it in this space. */
  seal(position: number, place: Uint8Array, plaintext: Uint8Array, into: Buffer, at: number): void {
    if (!Number.isSafeInteger(position) || position <= this.#last) throw new Error(`position ${position} was sealed already`)
    if (at + plaintext.byteLength + TAG_BYTES > into.length) throw new Error('no room for the sealed piece')
    // Spent before it is used: whatever happens next, it isn't used again.
    this.#last = position
    setNonce(this.#nonce, position)
    const cipher = createCipheriv(CIPHER, this.#key, this.#nonce, OPTIONS)
    cipher.setAAD(place)
    cipher.update(plaintext).copy(into, at)
    cipher.final()
    cipher.getAuthTag().copy(into, at + plaintext.byteLength)
  }
}

/** A space that was written before (or is being written), for reading. */
export class OpeningSpace {
  readonly #key: KeyObject
  readonly #nonce = Buffer.alloc(NONCE_BYTES)

  constructor(parent: SecretKey, purpose: KeyPurpose, salt: Uint8Array) {
    if (salt.byteLength !== SALT_BYTES) throw new Error(`a salt has ${SALT_BYTES} bytes, not ${salt.byteLength}`)
    using key = parent.derive(purpose, salt)
    this.#key = key.object
  }

  /** The plaintext, or undefined when this isn't what was sealed at that position for that place. */
  open(position: number, place: Uint8Array, sealed: Uint8Array): Buffer | undefined {
    const length = sealed.byteLength - TAG_BYTES
    if (length < 0) return undefined
    setNonce(this.#nonce, position)
    const decipher = createDecipheriv(CIPHER, this.#key, this.#nonce, OPTIONS)
    decipher.setAAD(place)
    decipher.setAuthTag(sealed.subarray(length))
    const plaintext = decipher.update(sealed.subarray(0, length))
    try {
      decipher.final()
    } catch {
      plaintext.fill(0)
      return undefined
    }
    return plaintext
  }
}
