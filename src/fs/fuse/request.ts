/**
 * One request of the kernel: its header, and reading its arguments from the shared buffer.
 *
 * Owns: the layout of fuse_in_header and how names and numbers are read. Must stay true: arguments are read before the
 * handler waits for anything, since the buffer is used for the next request; reading past the request throws 'invalid'.
 */
import { FsError } from '../../errors.ts'
import type { Name, RequestContext } from '../../vfs/contract.ts'
import { IN_HEADER_BYTES, REQUEST_BUFFER_BYTES } from './protocol.ts'

const TWO_32 = 2 ** 32

type Latin1Buffer = Buffer & { latin1Slice(start: number, end: number): string }

/** Where requests are read into, with the arguments of the one being handled. Offsets count from the arguments' start. */
export class RequestBuffer {
  readonly bytes: Buffer = Buffer.allocUnsafeSlow(REQUEST_BUFFER_BYTES)
  readonly #words: Uint32Array = new Uint32Array(this.bytes.buffer, 0, REQUEST_BUFFER_BYTES >>> 2)
  #end = 0

  /** A request of this many bytes was read: false when it can't be one. */
  begin(lengthBytes: number): boolean {
    this.#end = lengthBytes
    return lengthBytes >= IN_HEADER_BYTES && this.#words[0] === lengthBytes
  }

  get opcode(): number {
    return this.#words[1]!
  }
  get uniqueLow(): number {
    return this.#words[2]!
  }
  get uniqueHigh(): number {
    return this.#words[3]!
  }
  get node(): number {
    return this.#words[4]! + this.#words[5]! * TWO_32
  }
  get uid(): number {
    return this.#words[6]!
  }
  get gid(): number {
    return this.#words[7]!
  }
  get pid(): number {
    return this.#words[8]!
  }
  /** Bytes of arguments. */
  get length(): number {
    return this.#end - IN_HEADER_BYTES
  }

  u32(offset: number): number {
    this.#need(offset + 4)
    return this.#words[(IN_HEADER_BYTES + offset) >>> 2]!
  }

  /** An unsigned 64-bit number; above 2^53 it is rounded (the kernel's own limits are below). */
  u64(offset: number): number {
    this.#need(offset + 8)
    const at = (IN_HEADER_BYTES + offset) >>> 2
    return this.#words[at]! + this.#words[at + 1]! * TWO_32
  }

  /**
   * A signed 64-bit number. What a number can't hold exactly (beyond 2^53) becomes the largest that it can: no file and no
   * time reaches that far either, so the host refuses both alike.
   */
  i64(offset: number): number {
    this.#need(offset + 8)
    const at = (IN_HEADER_BYTES + offset) >>> 2
    const value = this.#words[at]! + (this.#words[at + 1]! | 0) * TWO_32
    return Math.max(Number.MIN_SAFE_INTEGER, Math.min(Number.MAX_SAFE_INTEGER, value))
  }

  /** A place in a file, or a length: 'invalid' below zero. */
  position(offset: number): number {
    const value = this.i64(offset)
    if (value < 0) throw new FsError('invalid', 'a position below zero')
    return value
  }

  big64(offset: number): bigint {
    this.#need(offset + 8)
    return this.bytes.readBigInt64LE(IN_HEADER_BYTES + offset)
  }

  /** The name at `offset`, up to its NUL. */
  name(offset: number): Name {
    return this.nameAfter(offset).name
  }

  /** The name at `offset` and the offset after its NUL, where a second one stands. */
  nameAfter(offset: number): { readonly name: Name; readonly next: number } {
    const start = IN_HEADER_BYTES + offset
    const end = start < this.#end ? this.bytes.indexOf(0, start) : -1
    if (end < 0 || end >= this.#end || end === start) throw new FsError('invalid', 'a name without its end')
    return { name: (this.bytes as Latin1Buffer).latin1Slice(start, end), next: end + 1 - IN_HEADER_BYTES }
  }

  /** `lengthBytes` of the request's own memory: valid until the handler returns. */
  data(offset: number, lengthBytes: number): Buffer {
    this.#need(offset + lengthBytes)
    return this.bytes.subarray(IN_HEADER_BYTES + offset, IN_HEADER_BYTES + offset + lengthBytes)
  }

  #need(endOffset: number): void {
    if (IN_HEADER_BYTES + endOffset > this.#end) throw new FsError('invalid', 'a request shorter than its kind')
  }
}

/** Who asks, and the number that the answer must carry. */
export class FuseRequest implements RequestContext {
  readonly opcode: number
  readonly uniqueLow: number
  readonly uniqueHigh: number
  readonly node: number
  readonly uid: number
  readonly gid: number
  readonly pid: number
  umask = 0
  #controller: AbortController | undefined

  constructor(buffer: RequestBuffer) {
    this.opcode = buffer.opcode
    this.uniqueLow = buffer.uniqueLow
    this.uniqueHigh = buffer.uniqueHigh
    this.node = buffer.node
    this.uid = buffer.uid
    this.gid = buffer.gid
    this.pid = buffer.pid
  }

  get signal(): AbortSignal {
    this.#controller ??= new AbortController()
    return this.#controller.signal
  }

  /** The program was interrupted: who waits is told. */
  interrupt(): void {
    this.#controller ??= new AbortController()
    this.#controller.abort(new FsError('interrupted'))
  }

  get key(): number {
    return this.uniqueLow + this.uniqueHigh * TWO_32
  }
}
