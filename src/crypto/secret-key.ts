/**
 * Keys and what they are derived for.
 *
 * Owns: the memory of a key (wiped when it is no longer needed) and the closed list of purposes. One key has one purpose: what
 * seals blocks never names them, what a vault uses never opens the cache.
 * Must stay true: a purpose's text never changes once something was stored under it (it is part of the stored format), and a
 * key's bytes appear nowhere but here and inside node:crypto.
 * It doesn't: keep keys anywhere, or make them out of passphrases.
 */
import { createHmac, createSecretKey, hkdfSync, type KeyObject, randomFillSync } from 'node:crypto'

export const KEY_BYTES = 32
const NAME_TAG_BYTES = 16

/** What a key may be derived for. */
export const KEY_PURPOSES = {
  'block-contents': 'sdmount 1 block cache contents',
  'block-names': 'sdmount 1 block cache names',
  staging: 'sdmount 1 staging contents',
  journal: 'sdmount 1 write-back journal database',
  'index-database': 'sdmount 1 index database',
  'content-store': 'sdmount 1 content store contents',
  'content-names': 'sdmount 1 content store names',
  'vault-slot': 'sdmount 1 vault key slot',
  'vault-header': 'sdmount 1 vault header',
  'control-secret': 'sdmount 1 control secret',
  'vault-packs': 'sdmount 1 vault packs',
  'vault-names': 'sdmount 1 vault chunk names',
  'vault-cuts': 'sdmount 1 vault chunk cuts',
  'vault-log': 'sdmount 1 vault log',
  'vault-checkpoint': 'sdmount 1 vault checkpoint',
  'vault-index': 'sdmount 1 vault working index',
  'vault-seen': 'sdmount 1 vault last seen',
} as const

export type KeyPurpose = keyof typeof KEY_PURPOSES

/**
 * Memory for a secret: wiping it reaches all of it. Not of the shared pool, and not what `Buffer.alloc` gives for small sizes: up
 * to 64 bytes lie in the heap of V8, which moves them and leaves copies behind.
 */
export function wipeableBytes(sizeBytes: number): Buffer {
  return Buffer.from(new ArrayBuffer(sizeBytes))
}

/** 32 secret bytes. Whoever made it disposes of it. */
export class SecretKey implements Disposable {
  readonly #bytes: Buffer
  #object: KeyObject | undefined
  #wiped = false

  /** Takes a copy; the caller wipes its own. */
  constructor(bytes: Uint8Array) {
    if (bytes.byteLength !== KEY_BYTES) throw new Error(`a key has ${KEY_BYTES} bytes, not ${bytes.byteLength}`)
    this.#bytes = wipeableBytes(KEY_BYTES)
    this.#bytes.set(bytes)
  }

  static random(): SecretKey {
    const bytes = randomFillSync(wipeableBytes(KEY_BYTES))
    const key = new SecretKey(bytes)
    bytes.fill(0)
    return key
  }

  /** The key for a purpose (HKDF-SHA256), of its own for each salt. */
  derive(purpose: KeyPurpose, salt: Uint8Array = new Uint8Array(0)): SecretKey {
    const bytes = new Uint8Array(hkdfSync('sha256', this.object, salt, KEY_PURPOSES[purpose], KEY_BYTES))
    const key = new SecretKey(bytes)
    bytes.fill(0)
    return key
  }

  /** For node:crypto, which wipes its own copy when nobody holds the object any more. */
  get object(): KeyObject {
    this.#assertAlive()
    this.#object ??= createSecretKey(this.#bytes)
    return this.#object
  }

  /** Lends the bytes for one call, for libraries that take nothing else. */
  use<T>(work: (bytes: Buffer) => T): T {
    this.#assertAlive()
    return work(this.#bytes)
  }

  /**
   * A name that tells nothing to who lacks the key: 16 bytes of HMAC-SHA256 over the parts, each with its length before it, so
   * that no two lists of parts are alike.
   */
  nameTag(parts: readonly (string | Uint8Array)[]): Buffer {
    const hmac = createHmac('sha256', this.object)
    const length = Buffer.alloc(4)
    for (const part of parts) {
      const bytes = typeof part === 'string' ? Buffer.from(part, 'utf8') : part
      length.writeUInt32LE(bytes.byteLength)
      hmac.update(length).update(bytes)
    }
    return hmac.digest().subarray(0, NAME_TAG_BYTES)
  }

  get wiped(): boolean {
    return this.#wiped
  }

  /** Overwrites the bytes; using the key afterwards is a bug and throws. */
  [Symbol.dispose](): void {
    this.#bytes.fill(0)
    this.#object = undefined
    this.#wiped = true
  }

  #assertAlive(): void {
    if (this.#wiped) throw new Error('the key was wiped')
  }
}
