/**
 * Looks for bytes in the memory of another process.
 * Owns: the reading of /proc/PID/maps and /proc/PID/mem. Needs root, or a child of this process.
 */
import { closeSync, openSync, readFileSync, readSync } from 'node:fs'

const PIECE_BYTES = 16 << 20

/** How often each of `patterns` is found in the writable memory of a process. Throws when it can't be read. */
export function countInMemory(pid: number, patterns: Readonly<Record<string, Buffer>>): Record<string, number> {
  const counts = Object.fromEntries(Object.keys(patterns).map(name => [name, 0]))
  const overlap = Math.max(...Object.values(patterns).map(pattern => pattern.length)) - 1
  const fd = openSync(`/proc/${pid}/mem`, 'r')
  const piece = Buffer.alloc(PIECE_BYTES + overlap)
  try {
    for (const [from, to] of writableRanges(pid)) {
      for (let at = from; at < to; at += PIECE_BYTES) {
        const length = Math.min(piece.length, to - at)
        let got: number
        try {
          got = readSync(fd, piece, 0, length, at)
        } catch {
          continue // A page that went away meanwhile, or guards a stack.
        }
        for (const [name, pattern] of Object.entries(patterns)) counts[name]! += occurrences(piece.subarray(0, got), pattern)
      }
    }
  } finally {
    closeSync(fd)
  }
  return counts
}

function writableRanges(pid: number): (readonly [number, number])[] {
  return readFileSync(`/proc/${pid}/maps`, 'latin1')
    .split('\n')
    .flatMap(line => {
      const match = /^([0-9a-f]+)-([0-9a-f]+) rw/.exec(line)
      return match ? [[Number.parseInt(match[1]!, 16), Number.parseInt(match[2]!, 16)] as const] : []
    })
}

function occurrences(bytes: Buffer, pattern: Buffer): number {
  let count = 0
  for (let at = bytes.indexOf(pattern); at >= 0; at = bytes.indexOf(pattern, at + 1)) count++
  return count
}
