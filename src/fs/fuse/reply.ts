/**
 * The reply buffer: encodes the structures that go to the kernel, after the 16-byte header.
 *
 * Owns: the layout of fuse_out_header, fuse_entry_out, fuse_attr_out, fuse_open_out, fuse_kstatfs, fuse_statx_out and the
 * directory entries (include/uapi/linux/fuse.h). Must stay true: every encoder writes each byte of its structure, since
 * the buffer is used again and again. It doesn't send: channel.ts does.
 * Little-endian hosts only, as the kernel speaks host order and Node runs on no other here.
 */
import type { Attributes, AttributesReply, Entry, FilesystemStatistics, Ino, Name } from '../../vfs/contract.ts'
import { MAX_WRITE_BYTES, OUT_HEADER_BYTES } from './protocol.ts'

const TWO_32 = 2 ** 32
export const ENTRY_BYTES = 128
const ATTR_BYTES = 88

/** Words of a buffer, for encoding at word offsets. */
export class WordWriter {
  readonly bytes: Buffer
  readonly words: Uint32Array

  constructor(sizeBytes: number) {
    this.bytes = Buffer.allocUnsafeSlow(sizeBytes)
    this.words = new Uint32Array(this.bytes.buffer, 0, sizeBytes >>> 2)
  }

  /** A 64-bit value (negative ones in two's complement) at word `at`. */
  put64(at: number, value: number): void {
    this.words[at] = value
    this.words[at + 1] = Math.floor(value / TWO_32)
  }

  /** fuse_attr, 22 words. */
  putAttributes(at: number, a: Attributes): void {
    const w = this.words
    this.put64(at, a.ino)
    this.put64(at + 2, a.sizeBytes)
    this.put64(at + 4, a.blocks)
    this.put64(at + 6, a.atimeSec)
    this.put64(at + 8, a.mtimeSec)
    this.put64(at + 10, a.ctimeSec)
    w[at + 12] = a.atimeNsec
    w[at + 13] = a.mtimeNsec
    w[at + 14] = a.ctimeNsec
    w[at + 15] = a.mode
    w[at + 16] = a.nlink
    w[at + 17] = a.uid
    w[at + 18] = a.gid
    w[at + 19] = a.rdev
    w[at + 20] = a.blockSizeBytes
    w[at + 21] = 0
  }

  /** fuse_entry_out, 32 words. */
  putEntry(at: number, entry: Entry): void {
    const w = this.words
    this.put64(at, entry.attributes.ino)
    w[at + 2] = entry.generation
    w[at + 3] = 0
    const entryMs = entry.entryTtlMs
    const attributeMs = entry.attributeTtlMs
    w[at + 4] = entryMs / 1000
    w[at + 5] = 0
    w[at + 6] = attributeMs / 1000
    w[at + 7] = 0
    w[at + 8] = (entryMs % 1000) * 1e6
    w[at + 9] = (attributeMs % 1000) * 1e6
    this.putAttributes(at + 10, entry.attributes)
  }
}

/** One reply at a time: header, then what an encoder wrote. Encoders answer how many bytes the body has. */
export class Reply extends WordWriter {
  constructor() {
    super(OUT_HEADER_BYTES + MAX_WRITE_BYTES + 4096)
  }

  header(lengthBytes: number, errno: number, uniqueLow: number, uniqueHigh: number): void {
    const w = this.words
    w[0] = lengthBytes
    w[1] = -errno
    w[2] = uniqueLow
    w[3] = uniqueHigh
  }

  entry(entry: Entry): number {
    this.putEntry(4, entry)
    return ENTRY_BYTES
  }

  /** "No such name, and that holds for a while": an entry without a node. */
  negativeEntry(ttlMs: number): number {
    this.words.fill(0, 4, 4 + ENTRY_BYTES / 4)
    this.words[8] = ttlMs / 1000
    this.words[12] = (ttlMs % 1000) * 1e6
    return ENTRY_BYTES
  }

  attributes(reply: AttributesReply): number {
    const w = this.words
    const ttlMs = reply.attributeTtlMs
    w[4] = ttlMs / 1000
    w[5] = 0
    w[6] = (ttlMs % 1000) * 1e6
    w[7] = 0
    this.putAttributes(8, reply.attributes)
    return 16 + ATTR_BYTES
  }

  /** fuse_open_out, after `offsetBytes` of body (an entry stands before it in the answer to CREATE). */
  open(offsetBytes: number, handle: number, flags: number, backingId: number): number {
    const at = 4 + (offsetBytes >>> 2)
    this.put64(at, handle)
    this.words[at + 2] = flags
    this.words[at + 3] = backingId
    return offsetBytes + 16
  }

  /** fuse_write_out, also what xattr sizes are answered in. */
  size(value: number): number {
    this.words[4] = value
    this.words[5] = 0
    return 8
  }

  offset(value: number): number {
    this.put64(4, value)
    return 8
  }

  data(value: Uint8Array): number {
    this.bytes.set(value, OUT_HEADER_BYTES)
    return value.length
  }

  name(value: Name): number {
    return this.bytes.write(value, OUT_HEADER_BYTES, 'latin1')
  }

  statfs(s: FilesystemStatistics): number {
    this.put64(4, s.blocks)
    this.put64(6, s.blocksFree)
    this.put64(8, s.blocksAvailable)
    this.put64(10, s.files)
    this.put64(12, s.filesFree)
    this.words[14] = s.blockSizeBytes
    this.words[15] = s.nameLengthBytes
    this.words[16] = s.fragmentSizeBytes
    this.words.fill(0, 17, 24)
    return 80
  }

  /** fuse_statx_out: what fuse_attr_out lacks is the birth time. */
  statx(reply: AttributesReply): number {
    const w = this.words
    w.fill(0, 4, 4 + 72)
    const a = reply.attributes
    const ttlMs = reply.attributeTtlMs
    w[4] = ttlMs / 1000
    w[6] = (ttlMs % 1000) * 1e6
    const at = 12
    w[at] = a.btimeSec || a.btimeNsec ? 0xfff : 0x7ff
    w[at + 1] = a.blockSizeBytes
    w[at + 4] = a.nlink
    w[at + 5] = a.uid
    w[at + 6] = a.gid
    w[at + 7] = a.mode & 0xffff
    this.put64(at + 8, a.ino)
    this.put64(at + 10, a.sizeBytes)
    this.put64(at + 12, a.blocks)
    const time = (word: number, sec: number, nsec: number) => {
      this.put64(word, sec)
      w[word + 2] = nsec
    }
    time(at + 16, a.atimeSec, a.atimeNsec)
    time(at + 20, a.btimeSec, a.btimeNsec)
    time(at + 24, a.ctimeSec, a.ctimeNsec)
    time(at + 28, a.mtimeSec, a.mtimeNsec)
    w[at + 32] = (a.rdev >>> 8) & 0xfff
    w[at + 33] = (a.rdev & 0xff) | ((a.rdev >>> 12) & 0xfff00)
    return 288
  }

  /** fuse_ioctl_out and the data. */
  ioctl(output: Buffer): number {
    this.words.fill(0, 4, 8)
    this.bytes.set(output, OUT_HEADER_BYTES + 16)
    return 16 + output.length
  }
}

/** Directory entries for one READDIR or READDIRPLUS: a buffer of its own, since the listing may take its time. */
export class DirentWriter extends WordWriter {
  readonly #longs: BigInt64Array
  #limit = 0
  #plus = false
  length = 0

  constructor() {
    super(MAX_WRITE_BYTES)
    this.#longs = new BigInt64Array(this.bytes.buffer, 0, MAX_WRITE_BYTES >>> 3)
  }

  start(limitBytes: number, plus: boolean): void {
    this.#limit = Math.min(limitBytes, this.bytes.length)
    this.#plus = plus
    this.length = 0
  }

  /** See `DirectorySink.add`. */
  add(name: Name, ino: Ino, type: number, next: bigint, entry: Entry | undefined): boolean {
    const start = this.length
    const head = this.#plus ? ENTRY_BYTES + 24 : 24
    const end = start + ((head + name.length + 7) & ~7)
    if (end > this.#limit) return false
    const w = this.words
    let at = start >>> 2
    if (this.#plus) {
      // Without attributes the kernel gets no node, and asks when somebody wants it.
      if (entry) this.putEntry(at, entry)
      else w.fill(0, at, at + ENTRY_BYTES / 4)
      at += ENTRY_BYTES / 4
    }
    this.put64(at, ino)
    this.#longs[(at + 2) >>> 1] = next
    w[at + 4] = name.length
    w[at + 5] = type >>> 12
    // The padding is in the last two words, which hold nothing but the name.
    w[(end >>> 2) - 1] = 0
    w[(end >>> 2) - 2] = 0
    this.bytes.write(name, start + head, 'latin1')
    this.length = end
    return true
  }
}
