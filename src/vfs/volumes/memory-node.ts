/**
 * A node of the memory volume: attributes, and what its type holds.
 *
 * Owns: the fields of a node and the keeping of its times. Must stay true: `attributes` handed out is a copy, never
 * changed afterwards; a directory's `entries` are in the order of their cookies.
 */
import { Attributes, type Ino, isDirectory, type Name, type TimeChange } from '../contract.ts'
import { type Ledger, SparseBytes } from './sparse-bytes.ts'

export interface MemoryEntry {
  readonly ino: Ino
  /** The place in the listing; grows with each entry made, so that a reader goes on where it was whatever happens meanwhile. */
  readonly cookie: bigint
}

/** Seconds and nanoseconds since 1970. */
export interface Timestamp {
  readonly sec: number
  readonly nsec: number
}

export class MemoryNode {
  readonly attributes: Attributes = new Attributes()
  /** Of a regular file. */
  readonly bytes: SparseBytes
  /** Of a directory. */
  readonly entries = new Map<Name, MemoryEntry>()
  readonly xattrs = new Map<Name, Buffer>()
  target: Name = ''
  /** Of a directory: the directory that holds it. */
  parent: Ino = 0
  /** Open files and directories, and references that front ends hold. Without names and these, the node goes. */
  openCount = 0
  references = 0
  /** An unnamed file may get a first name; an unlinked one stays without. */
  linkable = false

  constructor(ledger: Ledger) {
    this.bytes = new SparseBytes(ledger)
  }

  /** A copy, with sizes as they are now. */
  snapshot(): Attributes {
    const a = Object.assign(new Attributes(), this.attributes)
    a.sizeBytes = isDirectory(a.mode) ? 4096 : this.target.length || this.bytes.sizeBytes
    a.blocks = isDirectory(a.mode) ? 8 : this.bytes.allocatedBytes / 512
    return a
  }

  touchAccess(now: Timestamp): void {
    this.attributes.atimeSec = now.sec
    this.attributes.atimeNsec = now.nsec
  }

  touchChange(now: Timestamp): void {
    this.attributes.ctimeSec = now.sec
    this.attributes.ctimeNsec = now.nsec
  }

  /** The content changed: both times, as POSIX asks. */
  touchModify(now: Timestamp): void {
    this.attributes.mtimeSec = now.sec
    this.attributes.mtimeNsec = now.nsec
    this.touchChange(now)
  }

  setTime(which: 'atime' | 'mtime' | 'btime', change: TimeChange, now: Timestamp): void {
    const time = change === 'now' ? now : change
    this.attributes[`${which}Sec`] = time.sec
    this.attributes[`${which}Nsec`] = time.nsec
  }

  /** Clears set-user-id, and set-group-id where the group may execute. */
  killPrivileges(): void {
    const { mode } = this.attributes
    this.attributes.mode = mode & ~0o4000 & (mode & 0o010 ? ~0o2000 : -1)
  }
}
