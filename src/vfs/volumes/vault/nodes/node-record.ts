/**
 * A node's record: the attributes of a node as they are stored.
 *
 * Owns: the form. Must stay true: what one writes the other reads; a record of another length than its target says is damage.
 *
 * Record, little-endian:
 *   offset  size  field                       offset  size  field
 *   0       4     mode                        40      8     size in bytes
 *   4       4     links                       48      8     bytes that extents have
 *   8       4     user                        56      8     parent (of a directory)
 *   12      4     group                       64      8     atime, seconds, signed
 *   16      4     device                      72      8     mtime, seconds
 *   20      4     atime, nanoseconds          80      8     ctime, seconds
 *   24      4     mtime, nanoseconds          88      8     birth, seconds
 *   28      4     ctime, nanoseconds          96            target (of a symbolic link)
 *   32      4     birth, nanoseconds
 *   36      4     flags: 1 it may get a first name (made without one)
 */
import { FsError } from '../../../../errors.ts'
import { Attributes, isDirectory, isSymlink, type Name } from '../../../contract.ts'
import type { NodeId } from '../index/changes.ts'

const FIXED_BYTES = 96
const FLAG_LINKABLE = 1
const LINKS_OFFSET = 4
const SCALE = 2 ** 32
/** What statx(2) shows of a directory. */
const DIRECTORY_BYTES = 4096

export class VaultNode {
  readonly id: NodeId
  /** `sizeBytes` is the content's; `ino` is the node's number in its vault. Never handed out: `snapshot` is. */
  readonly attributes = new Attributes()
  target: Name = ''
  parent: NodeId = 0
  /** Bytes that extents have. */
  allocatedBytes = 0
  linkable = false
  /** Open files and directories. */
  openCount = 0
  /** Differs from its stored record. */
  isChanged = false

  constructor(id: NodeId) {
    this.id = id
  }

  /** Attributes to hand out. */
  snapshot(ino: number, delayedBytes: number): Attributes {
    const a = Object.assign(new Attributes(), this.attributes)
    a.ino = ino
    a.sizeBytes = isDirectory(a.mode) ? DIRECTORY_BYTES : isSymlink(a.mode) ? this.target.length : a.sizeBytes
    a.blocks = isDirectory(a.mode) ? DIRECTORY_BYTES / 512 : Math.ceil((this.allocatedBytes + delayedBytes) / 512)
    return a
  }
}

export function encodeNode(node: VaultNode): Buffer {
  const { attributes: a, target } = node
  const record = Buffer.alloc(FIXED_BYTES + target.length)
  const words = [
    a.mode,
    a.nlink,
    a.uid,
    a.gid,
    a.rdev,
    a.atimeNsec,
    a.mtimeNsec,
    a.ctimeNsec,
    a.btimeNsec,
    node.linkable ? FLAG_LINKABLE : 0,
  ]
  for (let i = 0; i < words.length; i++) record.writeUInt32LE(words[i]! >>> 0, i * 4)
  const longs = [a.sizeBytes, node.allocatedBytes, node.parent, a.atimeSec, a.mtimeSec, a.ctimeSec, a.btimeSec]
  for (let i = 0; i < longs.length; i++) {
    record.writeUInt32LE(((longs[i]! % SCALE) + SCALE) % SCALE, 40 + i * 8)
    record.writeInt32LE(Math.floor(longs[i]! / SCALE), 44 + i * 8)
  }
  record.write(target, FIXED_BYTES, 'latin1')
  return record
}

export function decodeNode(id: NodeId, record: Buffer): VaultNode {
  if (record.length < FIXED_BYTES) throw new FsError('damaged', 'the record of a node is cut off')
  const node = new VaultNode(id)
  const word = (i: number) => record.readUInt32LE(i * 4)
  const long = (i: number) => record.readInt32LE(44 + i * 8) * SCALE + record.readUInt32LE(40 + i * 8)
  const a = node.attributes
  a.ino = id
  a.mode = word(0)
  a.nlink = word(1)
  a.uid = word(2)
  a.gid = word(3)
  a.rdev = word(4)
  a.atimeNsec = word(5)
  a.mtimeNsec = word(6)
  a.ctimeNsec = word(7)
  a.btimeNsec = word(8)
  node.linkable = (word(9) & FLAG_LINKABLE) !== 0
  a.sizeBytes = long(0)
  node.allocatedBytes = long(1)
  node.parent = long(2)
  a.atimeSec = long(3)
  a.mtimeSec = long(4)
  a.ctimeSec = long(5)
  a.btimeSec = long(6)
  node.target = record.toString('latin1', FIXED_BYTES)
  return node
}

/** The link count of a record. */
export function recordLinks(record: Uint8Array): number {
  return new DataView(record.buffer, record.byteOffset, record.byteLength).getUint32(LINKS_OFFSET, true)
}
