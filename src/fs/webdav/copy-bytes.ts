/**
 * The bytes of one open file into another.
 * Owns: the choice of means. Must stay true: others get their turn between pieces; memory is one piece.
 */
import { FsError } from '../../errors.ts'
import type { OpenFile } from '../../vfs/contract.ts'
import { ClientGone } from './body.ts'
import type { Exchange } from './exchange.ts'
import type { Pacer } from './pacer.ts'

const RANGE_BYTES = 4 * 2 ** 20
const CHUNK_BYTES = 256 * 1024

/** What is written to: an empty file that grows. */
export interface CopySink {
  readonly file: OpenFile
  readonly sizeBytes: number
  append(data: Buffer): void | Promise<void>
  /** Bytes were put at the end by other means than `append`. */
  grown(lengthBytes: number): void
}

/** By the filesystem's own means where both files are on one volume, else through memory in pieces. */
export async function copyBytes(x: Exchange, source: OpenFile, target: CopySink, pacer: Pacer): Promise<void> {
  let at = 0
  try {
    for (;;) {
      const copied = await source.copyRange(x.context, at, target.file, at, RANGE_BYTES)
      if (copied === 0) return
      at += copied
      target.grown(copied)
      await pacer.pause()
      if (x.gone) throw new ClientGone()
    }
  } catch (error) {
    if (!(error instanceof FsError) || at > 0 || !COPY_BY_HAND.has(error.kind)) throw error
  }
  const buffer = Buffer.allocUnsafeSlow(CHUNK_BYTES)
  for (;;) {
    const read = source.read(x.context, target.sizeBytes, buffer)
    const chunk = typeof read === 'number' ? buffer.subarray(0, read) : await read
    if (chunk.length === 0) return
    await target.append(chunk)
    await pacer.pause()
    if (x.gone) throw new ClientGone()
  }
}

const COPY_BY_HAND: ReadonlySet<string> = new Set(['cross-volume', 'not-supported', 'not-implemented', 'invalid'])
