/**
 * The Range header.
 * Owns: which bytes a request means. Pure. Several ranges are answered with the whole file, as RFC 9110 allows: no client
 * of ours asks for them, and overlapping ones are a way to make a server work for nothing.
 */

export interface ByteRange {
  readonly start: number
  /** Exclusive. */
  readonly end: number
}

/** The range asked for; 'whole' when the header is absent or to be ignored; 'unsatisfiable' when it lies behind the end. */
export function parseRange(header: string | undefined, sizeBytes: number): ByteRange | 'whole' | 'unsatisfiable' {
  const match = header === undefined ? null : /^bytes=[ \t]*(\d*)-(\d*)[ \t]*$/i.exec(header)
  if (!match) return 'whole'
  const [, first, last] = match
  if (first === '') {
    if (last === '') return 'whole'
    const length = Number(last)
    if (length === 0 || sizeBytes === 0) return 'unsatisfiable'
    return { start: Math.max(0, sizeBytes - length), end: sizeBytes }
  }
  const start = Number(first)
  const end = last === '' ? sizeBytes : Math.min(Number(last) + 1, sizeBytes)
  if (last !== '' && Number(last) < start) return 'whole'
  return start >= sizeBytes ? 'unsatisfiable' : { start, end }
}
