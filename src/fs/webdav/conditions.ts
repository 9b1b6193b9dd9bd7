/**
 * Conditional requests: If-Match, If-None-Match, If-Modified-Since, If-Unmodified-Since, If-Range.
 *
 * Owns: entity tags and the order of evaluation of RFC 9110, section 13.2.2. Pure. Must stay true: the tag is strong, so
 * it changes whenever the bytes may have: the node's number and generation change when a file is replaced, its size and
 * times (to the nanosecond) when it is written; the change time also tells of a modification time that was set back.
 */
import type { Attributes } from '../../vfs/contract.ts'
import { parseHttpDate } from './dates.ts'

/** The strong entity tag of a node, quoted. */
export function entityTag(a: Attributes): string {
  const words = [a.ino, a.sizeBytes, a.mtimeSec, a.mtimeNsec, a.ctimeSec, a.ctimeNsec]
  return `"${words.map(word => word.toString(36)).join('-')}"`
}

export interface ConditionHeaders {
  readonly 'if-match'?: string | undefined
  readonly 'if-none-match'?: string | undefined
  readonly 'if-modified-since'?: string | undefined
  readonly 'if-unmodified-since'?: string | undefined
}

/** What a request is about, as far as conditions see it; undefined: there is nothing there. */
export interface Validators {
  readonly tag: string
  readonly mtimeSec: number
}

/** 'go on', or the status that answers. `reads` for GET and HEAD, which may be told 304. */
export function evaluateConditions(headers: ConditionHeaders, current: Validators | undefined, reads: boolean): 'go on' | 304 | 412 {
  const match = headers['if-match']
  const unmodified = headers['if-unmodified-since']
  if (match !== undefined) {
    if (!current || !listHas(match, current.tag, 'strong')) return 412
  } else if (unmodified !== undefined) {
    const since = parseHttpDate(unmodified)
    if (since !== undefined && (!current || current.mtimeSec > since)) return 412
  }
  const noneMatch = headers['if-none-match']
  const modified = headers['if-modified-since']
  if (noneMatch !== undefined) {
    if (current && listHas(noneMatch, current.tag, 'weak')) return reads ? 304 : 412
  } else if (modified !== undefined && reads) {
    const since = parseHttpDate(modified)
    if (since !== undefined && current && current.mtimeSec <= since) return 304
  }
  return 'go on'
}

/** Whether a Range may be served: If-Range is absent, or names what is there now. */
export function rangeApplies(ifRange: string | undefined, current: Validators): boolean {
  if (ifRange === undefined) return true
  const text = ifRange.trim()
  if (text.startsWith('"')) return text === current.tag
  return !text.startsWith('W/') && parseHttpDate(text) === current.mtimeSec
}

function listHas(header: string, tag: string, comparison: 'strong' | 'weak'): boolean {
  if (header.trim() === '*') return true
  for (const [, weak, opaque] of header.matchAll(/(W\/)?("[^"]*")/g)) {
    if (opaque === tag && (comparison === 'weak' || !weak)) return true
  }
  return false
}
