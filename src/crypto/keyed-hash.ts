/**
 * The one entry point of the BLAKE3 library: names of contents that say nothing to who lacks the key.
 *
 * Owns: keyed BLAKE3-256. Must stay true: one key, one content, one name, for ever (names are stored).
 */
import { Blake3Hasher } from '@napi-rs/blake-hash'
import type { SecretKey } from './secret-key.ts'

export const CONTENT_NAME_BYTES = 32

/** The name of a content under a key: 32 bytes. */
export function contentName(key: SecretKey, content: Uint8Array): Buffer {
  const bytes = Buffer.isBuffer(content) ? content : Buffer.from(content.buffer, content.byteOffset, content.byteLength)
  return key.use(secret => Blake3Hasher.newKeyed(secret).update(bytes).digestBuffer())
}
