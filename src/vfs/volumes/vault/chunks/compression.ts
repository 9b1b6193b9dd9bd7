/**
 * Compression of chunks: zstd, where it pays.
 *
 * Owns: when it is tried and when its result is taken. Must stay true: what decompresses to another length than was stored is
 * damage. (What is compressed and how well shows in the stored lengths: docs/formats.md.)
 */
import { constants, zstdCompressSync, zstdDecompressSync } from 'node:zlib'

/** Below, a call costs more than the bytes. */
const LEAST_BYTES = 1024
const SAMPLE_BYTES = 4096
/** Bits a byte, of a sample, above which nothing is tried: what is compressed or encrypted already. */
const DENSE_BITS = 7.6
const LEVEL = 1
const OPTIONS = { params: { [constants.ZSTD_c_compressionLevel]: LEVEL } }

const counts = new Uint32Array(256)

/** The compressed bytes, or undefined where less than an eighth would be saved. */
export function compress(bytes: Buffer): Buffer | undefined {
  if (bytes.length < LEAST_BYTES || isDense(bytes)) return undefined
  const compressed = zstdCompressSync(bytes, { ...OPTIONS, chunkSize: bytes.length })
  return compressed.length <= bytes.length - bytes.length / 8 ? compressed : undefined
}

/** The bytes, or undefined for what isn't zstd of just that many. */
export function decompress(bytes: Buffer, lengthBytes: number): Buffer | undefined {
  try {
    const plain = zstdDecompressSync(bytes, { maxOutputLength: lengthBytes, chunkSize: Math.max(64, lengthBytes) })
    return plain.length === lengthBytes ? plain : undefined
  } catch {
    return undefined
  }
}

/** The entropy of four samples over the bytes. */
function isDense(bytes: Buffer): boolean {
  counts.fill(0)
  const sample = Math.min(bytes.length, SAMPLE_BYTES)
  const part = sample >> 2
  const stride = Math.floor((bytes.length - part) / 3)
  for (let p = 0; p < 4; p++) for (let i = p * stride, end = i + part; i < end; i++) counts[bytes[i]!]!++
  const total = part * 4
  let bits = 0
  for (let i = 0; i < 256; i++) if (counts[i]! > 0) bits -= (counts[i]! / total) * Math.log2(counts[i]! / total)
  // A small sample can't show all 256 values equally often.
  return bits > Math.min(DENSE_BITS, Math.log2(total) - 0.9)
}
