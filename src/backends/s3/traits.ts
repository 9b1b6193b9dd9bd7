/**
 * What a particular S3 server can and can't do, as data: probed once per volume (probe.ts), remembered, overridable.
 *
 * Owns: the record, its defaults and its reading from stored settings. Unknown fields are ignored and missing ones take the
 * cautious default, so that records of older and newer versions can be read.
 */
import type { BackendCapabilities } from '../contract.ts'

export interface S3Traits {
  readonly writable: boolean
  /** `If-None-Match: *` on PUT is honoured. */
  readonly putIfAbsent: boolean
  /** `If-Match` on PUT is honoured: as the standard writes it, only without quotes (Ceph 16), or not at all. */
  readonly putIfMatch: 'quoted' | 'unquoted' | 'no'
  readonly completeIfAbsent: boolean
  readonly completeIfMatch: boolean
  readonly copyIfMatch: boolean
  readonly deleteIfMatch: boolean
  readonly versions: boolean
  readonly etagIsMd5: boolean
}

/** Nothing is promised but reading and writing. */
export const CAUTIOUS_TRAITS: S3Traits = {
  writable: true,
  putIfAbsent: false,
  putIfMatch: 'no',
  completeIfAbsent: false,
  completeIfMatch: false,
  copyIfMatch: false,
  deleteIfMatch: false,
  versions: false,
  etagIsMd5: false,
}

/** Reads a stored record; what is missing or of another type takes the cautious value. */
export function readTraits(stored: unknown): S3Traits {
  if (typeof stored !== 'object' || stored === null) return CAUTIOUS_TRAITS
  const record = stored as Record<string, unknown>
  const flag = (name: keyof S3Traits): boolean => (typeof record[name] === 'boolean' ? record[name] : (CAUTIOUS_TRAITS[name] as boolean))
  const { putIfMatch } = record
  return {
    writable: flag('writable'),
    putIfAbsent: flag('putIfAbsent'),
    putIfMatch: putIfMatch === 'quoted' || putIfMatch === 'unquoted' ? putIfMatch : 'no',
    completeIfAbsent: flag('completeIfAbsent'),
    completeIfMatch: flag('completeIfMatch'),
    copyIfMatch: flag('copyIfMatch'),
    deleteIfMatch: flag('deleteIfMatch'),
    versions: flag('versions'),
    etagIsMd5: flag('etagIsMd5'),
  }
}

/** The guarantees that a server lacks, for `volume list`. */
export function missingGuarantees(traits: S3Traits): string[] {
  const missing: string[] = []
  if (!traits.writable) missing.push('this key may only read')
  if (!traits.putIfAbsent) missing.push('two writers of one new file are told apart only by looking first')
  if (traits.putIfMatch === 'no') missing.push('a change by others in the last moment before an upload can be overwritten')
  if (!traits.completeIfMatch || !traits.completeIfAbsent) missing.push('the same for large files')
  if (!traits.copyIfMatch) missing.push('a rename may carry along a change that others made in the last moment')
  return missing
}

export function capabilitiesOf(traits: S3Traits): BackendCapabilities {
  return {
    ...traits,
    putIfMatch: traits.putIfMatch !== 'no',
    maximumPutBytes: 5 * 2 ** 30,
    minimumPartBytes: 5 * 2 ** 20,
    maximumPartBytes: 5 * 2 ** 30,
    maximumParts: 10_000,
    maximumObjectBytes: 5 * 2 ** 40,
  }
}
