/**
 * Where a stream of bytes is cut into chunks: by its content, so that an insertion moves few cuts.
 *
 * A gear hash rolls over the bytes: `hash = hash * 2 + table[byte]`, 32 bits, so that it knows the last 32 bytes. A cut lies
 * behind the first byte where the upper bits of the hash are zero: 20 bits before the normal length, 16 behind it
 * (normalized chunking: lengths crowd around the normal one). No cut lies before the least length, none is needed there, and
 * those bytes are not looked at save the last 32; the largest length cuts whatever the content.
 *
 * The table comes from a key: else the lengths of chunks, which show in what is stored, would tell a known file.
 *
 * Owns: the arithmetic of cuts. Pure. Must stay true: a cut depends on the key and on the bytes from the last cut on, on
 * nothing else; the numbers here are part of what dedup finds, not of any format: a reader needs none of them.
 */
import { createCipheriv } from 'node:crypto'
import type { SecretKey } from '../../crypto/secret-key.ts'

export const LEAST_CHUNK_BYTES = 64 * 1024
const NORMAL_CHUNK_BYTES = 256 * 1024
export const LARGEST_CHUNK_BYTES = 1024 * 1024
/** What the hash remembers. */
const WINDOW_BYTES = 32
const MASK_BEFORE_NORMAL = 0xfffff000 | 0
const MASK_BEHIND_NORMAL = 0xffff0000 | 0

export class ChunkCutter {
  readonly #table: Int32Array

  /** `key` is for this alone; it is not kept. */
  constructor(key: SecretKey) {
    // AES-256-CTR of zeros: the first 1 KiB of its key stream.
    const stream = createCipheriv('aes-256-ctr', key.object, Buffer.alloc(16)).update(Buffer.alloc(1024))
    this.#table = Int32Array.from({ length: 256 }, (_, i) => stream.readInt32LE(i * 4))
    stream.fill(0)
  }

  /**
   * The length of the first chunk of `bytes` from `from` to `to`. Where fewer than LARGEST_CHUNK_BYTES are given, more bytes
   * could follow and the answer may be all of them: only the caller knows whether the stream ends there.
   */
  cut(bytes: Uint8Array, from: number, to: number): number {
    const available = to - from
    if (available <= LEAST_CHUNK_BYTES) return available
    const table = this.#table
    const normal = from + Math.min(NORMAL_CHUNK_BYTES, available)
    const end = from + Math.min(LARGEST_CHUNK_BYTES, available)
    let at = from + LEAST_CHUNK_BYTES - WINDOW_BYTES
    let hash = 0
    for (const ready = from + LEAST_CHUNK_BYTES; at < ready; at++) hash = ((hash << 1) + table[bytes[at]!]!) | 0
    for (; at < normal; at++) {
      hash = ((hash << 1) + table[bytes[at]!]!) | 0
      if ((hash & MASK_BEFORE_NORMAL) === 0) return at + 1 - from
    }
    for (; at < end; at++) {
      hash = ((hash << 1) + table[bytes[at]!]!) | 0
      if ((hash & MASK_BEHIND_NORMAL) === 0) return at + 1 - from
    }
    return end - from
  }

  [Symbol.dispose](): void {
    this.#table.fill(0)
  }
}
