/**
 * What a cloud volume's record says, as the volume needs it.
 * Owns: the settings' type, their defaults, and the reading of them. It doesn't: know keys to the bucket.
 */
import type { BackendCapabilities } from '../../../backends/contract.ts'
import { FsError } from '../../../errors.ts'
import type { VolumeRecord } from '../../../index/contract.ts'

/** The settings of a `VolumeRecord` of kind 'cloud': JSON, no secrets. */
export interface CloudSettings {
  readonly bucket: string
  /** All keys begin with it; '' or ending with "/". */
  readonly prefix: string
  readonly endpoint?: string
  readonly region?: string
  readonly profile?: string
  readonly pathStyle?: boolean
  /** 'sealed': among the library's secrets. */
  readonly credentials: 'chain' | 'sealed'
  /** How old what is known of a directory may get before it is listed again. */
  readonly ttlMs: number
  /** 'through': close and fsync wait for the upload. */
  readonly writeMode: 'back' | 'through'
  readonly capabilities?: Partial<BackendCapabilities>
  /** Take what desktops leave everywhere (`._*`, `.DS_Store`, ...). */
  readonly litter: boolean
  readonly readOnly?: boolean
}

export const DEFAULT_TTL_MS = 60_000

/** What of it the volume itself works with. */
export interface VolumeSettings {
  readonly prefix: string
  readonly ttlMs: number
  readonly writeThrough: boolean
  readonly litter: boolean
  readonly readOnly: boolean
}

/** Reads a record. Throws 'damaged' for one of another kind. */
export function volumeSettings(record: VolumeRecord): VolumeSettings {
  if (record.kind !== 'cloud') throw new FsError('damaged', 'the volume is no cloud volume', { operation: 'open volume' })
  const { prefix, ttlMs, writeMode, litter, readOnly } = record.settings
  const plain = typeof prefix === 'string' ? prefix : ''
  return {
    prefix: plain === '' || plain.endsWith('/') ? plain : `${plain}/`,
    ttlMs: typeof ttlMs === 'number' && ttlMs >= 0 ? ttlMs : DEFAULT_TTL_MS,
    writeThrough: writeMode === 'through',
    litter: litter === true,
    readOnly: readOnly === true,
  }
}

const LITTER = /^(\._.*|\.DS_Store|\.Spotlight-V100|\.Trashes|\.fseventsd|\.TemporaryItems|Thumbs\.db|desktop\.ini)$/

/** What desktops leave in every folder that they look at. */
export function isLitter(name: string): boolean {
  return LITTER.test(name)
}
