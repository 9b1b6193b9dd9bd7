/**
 * What differs between the systems that the library runs on: numbers of errors and flags, names of attributes.
 *
 * Owns: the contract, and Linux, whose numbers the tree speaks. Must stay true: nothing here acts; each function is a
 * table. macOS is in darwin.ts.
 */
import { errnoOf } from '../fuse/errno.ts'
import { DARWIN } from './darwin.ts'

export interface Host {
  /** The errno that programs get for an error. */
  errnoOf(error: unknown): number
  /** Flags of open(2), into the numbers of Linux. */
  openFlags(flags: number): number
  /** Flags of setxattr(2), into the numbers of Linux. */
  attributeFlags(flags: number): number
  /** Flags of a rename, into the numbers of Linux. Throws 'invalid' for those that Linux has not. */
  renameFlags(flags: number): number
  /** `whence` of lseek(2), into the numbers of Linux. */
  seekWhence(whence: number): number
  /** `mode` of a fallocate, into the numbers of Linux. */
  allocateMode(mode: number): number
  /** The name of an extended attribute as the tree has it: with its namespace. */
  attributeName(text: string): string
  /** As programs see it; undefined for one that this system's programs can't name. */
  attributeText(name: string): string | undefined
  /** f_blocks and its like are counted in units of this field of statfs. */
  readonly blocksAreIn: 'fragments' | 'blocks'
  /** The library passes ioctls whose numbers the tree knows. */
  readonly ioctls: boolean
  /** Words for libfuse, beside those that the user asked for. */
  readonly mountWords: readonly string[]
}

const same = (value: number): number => value

export const LINUX: Host = {
  errnoOf,
  openFlags: same,
  attributeFlags: same,
  renameFlags: same,
  seekWhence: same,
  allocateMode: same,
  attributeName: text => text,
  attributeText: name => name,
  blocksAreIn: 'fragments',
  ioctls: true,
  mountWords: [],
}

export function hostOf(platform: NodeJS.Platform = process.platform): Host {
  return platform === 'darwin' ? DARWIN : LINUX
}
