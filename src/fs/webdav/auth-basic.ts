/**
 * Basic authentication (RFC 7617).
 * Owns: reading the header and comparing. Must stay true: the comparison takes the same time wherever the strings differ;
 * passwords beyond ASCII are taken in UTF-8 and in Latin-1, because clients disagree.
 */
import { createHash, timingSafeEqual } from 'node:crypto'

export interface Credentials {
  readonly user: string
  readonly password: string
}

/** The user that the header proves; undefined when it proves none. */
export function verifyBasic(header: string, all: readonly Credentials[]): string | undefined {
  const encoded = /^Basic +([A-Za-z0-9+/_-]+={0,2}) *$/i.exec(header)?.[1]
  if (encoded === undefined) return undefined
  const given = Buffer.from(encoded, 'base64')
  let user: string | undefined
  for (const credentials of all) {
    const expected = `${credentials.user}:${credentials.password}`
    // Latin-1 only where it can say the same: it drops what it has no byte for.
    const encodings = /^[\0-\xff]*$/.test(expected) ? (['utf8', 'latin1'] as const) : (['utf8'] as const)
    for (const encoding of encodings) if (sameBytes(given, Buffer.from(expected, encoding))) user = credentials.user
  }
  return user
}

/** Equality in a time that doesn't depend on the content: of digests, so that the lengths don't matter either. */
export function sameBytes(a: Buffer, b: Buffer): boolean {
  return timingSafeEqual(createHash('sha256').update(a).digest(), createHash('sha256').update(b).digest())
}
