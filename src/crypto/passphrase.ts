/**
 * The bytes of a passphrase, from whoever gave it to whoever derives a key from it.
 *
 * Owns: the memory of the bytes (wiped when it is no longer needed) and their normal form: text is taken in Unicode's form
 * NFKC, so that a passphrase typed on another system, or with full-width letters, is the same one; bytes that aren't UTF-8
 * are taken as they are.
 * Must stay true: plain ASCII never becomes a JavaScript string here (strings can't be wiped). Other text has to, for a
 * moment; that happens in the command, which ends soon, not in the daemon.
 * It doesn't: ask for passphrases, or judge them beyond their length.
 */
import { FsError } from '../errors.ts'
import { wipeableBytes } from './secret-key.ts'

export const PASSPHRASE_LIMIT_BYTES = 4096

/** Whoever made it disposes of it. */
export class Passphrase implements Disposable {
  readonly #bytes: Buffer
  #wiped = false

  /** Takes a copy as it is; the caller wipes its own. Throws FsError 'invalid' when it is empty or too long. */
  constructor(bytes: Uint8Array) {
    if (bytes.byteLength === 0) throw new FsError('invalid', 'the passphrase is empty')
    if (bytes.byteLength > PASSPHRASE_LIMIT_BYTES)
      throw new FsError('invalid', `the passphrase is longer than ${PASSPHRASE_LIMIT_BYTES} bytes`)
    this.#bytes = wipeableBytes(bytes.byteLength)
    this.#bytes.set(bytes)
  }

  /** What a person typed or a file holds, in its normal form. */
  static normalised(typed: Uint8Array): Passphrase {
    if (isAscii(typed)) return new Passphrase(typed)
    let text: string
    try {
      text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(typed)
    } catch {
      return new Passphrase(typed)
    }
    const bytes = Buffer.from(text.normalize('NFKC'), 'utf8')
    try {
      return new Passphrase(bytes)
    } finally {
      bytes.fill(0)
    }
  }

  get sizeBytes(): number {
    return this.#bytes.length
  }

  /** Lends the bytes for one call. */
  use<T>(work: (bytes: Buffer) => T): T {
    if (this.#wiped) throw new Error('the passphrase was wiped')
    return work(this.#bytes)
  }

  /** Another one with the same bytes. */
  copy(): Passphrase {
    return this.use(bytes => new Passphrase(bytes))
  }

  equals(other: Passphrase): boolean {
    return this.use(mine => other.use(theirs => mine.equals(theirs)))
  }

  /** Overwrites the bytes; using it afterwards is a bug and throws. */
  [Symbol.dispose](): void {
    this.#bytes.fill(0)
    this.#wiped = true
  }
}

function isAscii(bytes: Uint8Array): boolean {
  for (const byte of bytes) if (byte > 127) return false
  return true
}
