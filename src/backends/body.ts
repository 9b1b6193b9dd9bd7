/**
 * What is sent to a store: bytes at hand or a source of them.
 * Owns: the small arithmetic of bodies. It doesn't send.
 */
import { createHash, hash } from 'node:crypto'
import type { Body, BodySource, CallOptions } from './contract.ts'
import { BackendError, interrupted } from './errors.ts'

export function bodyBytes(body: Body): number {
  return body instanceof Uint8Array ? body.byteLength : body.sizeBytes
}

/** SHA-256 in hex; a source is read once for it. */
export async function bodySha256(body: Body): Promise<string> {
  if (body instanceof Uint8Array) return hash('sha256', body, 'hex')
  const sum = createHash('sha256')
  for await (const chunk of body.open()) sum.update(chunk)
  return sum.digest('hex')
}

const PIECE_BYTES = 64 * 1024

/** The same bytes in pieces, with a wait before each. */
export function pacedBody(body: Body, pace: (bytes: number) => void | Promise<void>): BodySource {
  return {
    sizeBytes: bodyBytes(body),
    async *open() {
      for await (const chunk of body instanceof Uint8Array ? [body] : body.open()) {
        for (let at = 0; at < chunk.byteLength; at += PIECE_BYTES) {
          const piece = chunk.subarray(at, at + PIECE_BYTES)
          const wait = pace(piece.byteLength)
          if (wait) await wait
          yield piece
        }
      }
    },
  }
}

/** A body as one buffer of its own, held against its size. */
export async function collect(body: Body, maximumBytes: number, signal: CallOptions['signal']): Promise<Buffer> {
  const sizeBytes = body instanceof Uint8Array ? body.byteLength : body.sizeBytes
  if (sizeBytes > maximumBytes) throw new BackendError('file-too-large', 'too large for one request', { operation: 'put' })
  if (body instanceof Uint8Array) return Buffer.from(body)
  const chunks: Buffer[] = []
  let total = 0
  for await (const chunk of body.open()) {
    if (signal?.aborted) throw interrupted('put')
    chunks.push(Buffer.from(chunk))
    total += chunk.byteLength
  }
  if (total !== sizeBytes)
    throw new BackendError('io', `there are ${total < sizeBytes ? 'fewer' : 'more'} bytes to send than was said`, { operation: 'put' })
  return Buffer.concat(chunks)
}
