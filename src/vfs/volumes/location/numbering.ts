/**
 * From the host's inode numbers to the tree's.
 *
 * Owns: which slot a filesystem of the host has. Must stay true: the same file has the same number over remounts of the
 * tree and of the drive: the slot belongs to the filesystem's own id (`filesystemName`), not to the device number that the
 * host gave it this time; numbers that don't fit a slot are given out by the index.
 * The tree's number is slot * 2^40 + host number, so that nothing needs to be looked up or stored for it.
 */
import type { VolumeId } from '../../../index/contract.ts'
import type { HostStatfs, StatxBuffer } from '../../../sys/linux.ts'
import { type Ino, SLOT_SIZE } from '../../contract.ts'
import type { LocationIndex } from './location-index.ts'
import { filesystemName, udevUuid } from './observer/root-identity.ts'

/** The index gives numbers out in the upper half of a slot. */
const HIGH_LIMIT = SLOT_SIZE / 2 / 2 ** 32

/** Filesystems that make inode numbers up as they go: a number means nothing after it was evicted. */
const WITHOUT_NUMBERS = new Set([0x4d44 /* vfat */, 0x2011bab0 /* exfat */, 0x65735546 /* fuse */])

/** Filesystems on which setting or removing any extended attribute moves the node's ctime (tried: ext4, xfs). */
const WITH_CTIME_OF_XATTRS = new Set([0xef53 /* ext2, ext3, ext4 */, 0x58465342 /* xfs */])

export interface FilesystemNumbers {
  readonly slot: number
  readonly base: number
  /** False: a file is known by its name alone (vfat, exfat). */
  readonly stable: boolean
  /** A node whose ctime is what it was has the extended attributes that it had. */
  readonly ctimeTellsXattrs: boolean
}

export class InodeNumbers {
  readonly #index: LocationIndex
  readonly #volume: VolumeId
  readonly #byDevice = new Map<number, FilesystemNumbers>()
  readonly #keys = new Map<number, string>()
  readonly #newSlot: (slot: number) => void

  constructor(index: LocationIndex, volume: VolumeId, newSlot: (slot: number) => void) {
    this.#index = index
    this.#volume = volume
    this.#newSlot = newSlot
  }

  /** What is known of a device number; undefined: `register` it first. */
  of(device: number): FilesystemNumbers | undefined {
    return this.#byDevice.get(device)
  }

  /** Gives a filesystem its slot, the one that it always had. */
  register(device: number, statfs: HostStatfs): FilesystemNumbers {
    const name = filesystemName(statfs, () => udevUuid(Math.floor(device / 2 ** 20), device % 2 ** 20))
    // Two filesystems that can't be told apart are there at once: the second gets a slot of its own, by order.
    let key = name
    for (let n = 2; [...this.#keys.values()].includes(key); n++) key = `${name}#${n}`
    this.#keys.set(device, key)
    const slot = this.#index.slot(this.#volume, key)
    const numbers = {
      slot,
      base: slot * SLOT_SIZE,
      stable: !WITHOUT_NUMBERS.has(statfs.type),
      ctimeTellsXattrs: WITH_CTIME_OF_XATTRS.has(statfs.type),
    }
    this.#byDevice.set(device, numbers)
    this.#newSlot(slot)
    return numbers
  }

  /** Device numbers are the host's for as long as a drive is there: forget them when it went away. */
  clear(): void {
    this.#byDevice.clear()
    this.#keys.clear()
  }

  /** The number of the node in `stat`, whose filesystem has `numbers`. */
  ino(numbers: FilesystemNumbers, stat: StatxBuffer): Ino {
    return this.inoOf(numbers, stat.inoHigh, stat.inoLow)
  }

  inoOf(numbers: FilesystemNumbers, high: number, low: number): Ino {
    return high < HIGH_LIMIT ? numbers.base + high * 2 ** 32 + low : this.#index.assignIno(numbers.slot, `${high}:${low}`)
  }
}
