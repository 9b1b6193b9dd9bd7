/**
 * A kernel for tests: the other end of a channel, in the same process, without a mount.
 *
 * Owns: a pair of connected packet sockets; one message is one request or one reply, as on /dev/fuse. Must stay true: the
 * channel is the real one, nothing of it is replaced.
 */
import { setImmediate as turn } from 'node:timers/promises'
import { Channel } from '../../src/fs/fuse/channel.ts'
import { IN_HEADER_BYTES, Op, OUT_HEADER_BYTES } from '../../src/fs/fuse/protocol.ts'
import { createLog } from '../../src/log.ts'
import { linux } from '../../src/sys/linux.ts'
import type { Vfs } from '../../src/vfs/contract.ts'

const AF_UNIX = 1
const SOCK_SEQPACKET = 5
const SOCK_NONBLOCK = 0o4000
const LARGEST_REPLY_BYTES = (1 << 20) + 8192
const ANSWER_MS = 5_000

export interface Answer {
  readonly unique: bigint
  /** 0, or the number of the errno. */
  readonly errno: number
  readonly body: Buffer
}

export interface RequestOptions {
  readonly uid?: number
  readonly gid?: number
  readonly pid?: number
  /** What the header says of the length, where it lies. */
  readonly claimedBytes?: number
}

export class FakeKernel {
  readonly channel: Channel
  readonly deviceFd: number
  /** Lines of the log at warning and above. */
  readonly complaints: string[] = []
  readonly #fd: number
  readonly #into = Buffer.allocUnsafeSlow(LARGEST_REPLY_BYTES)
  readonly #answers = new Map<bigint, Answer[]>()
  #unique = 2n
  #isClosed = false

  constructor(vfs: Vfs, options: { readonly readOnly?: boolean; readonly passthrough?: boolean } = {}) {
    const sys = linux()
    const pair = Buffer.alloc(8)
    if (sys.socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair) < 0) throw new Error('socketpair')
    this.#fd = pair.readInt32LE(0)
    this.deviceFd = pair.readInt32LE(4)
    const log = createLog(line => this.complaints.push(line), 'warning')
    this.channel = new Channel({
      fd: this.deviceFd,
      vfs,
      log,
      readOnly: options.readOnly ?? false,
      wish: { passthrough: options.passthrough ?? false, stackDepth: 1 },
    })
    this.channel.start()
  }

  /** Connected: the hello is done. */
  static async start(vfs: Vfs, options: { readonly readOnly?: boolean; readonly passthrough?: boolean } = {}): Promise<FakeKernel> {
    const kernel = new FakeKernel(vfs, options)
    const answer = await kernel.ask(Op.INIT, 0, initArguments(7, 44, 0xffff_ffff, 0xffff_ffff))
    if (answer.errno !== 0) throw new Error(`INIT: errno ${answer.errno}`)
    return kernel
  }

  /** Sends a request: the number that its answer will carry. */
  send(opcode: number, node: number | bigint, args: Buffer, options: RequestOptions = {}): bigint {
    const unique = (this.#unique += 2n)
    const message = Buffer.alloc(IN_HEADER_BYTES + args.length)
    message.writeUInt32LE(options.claimedBytes ?? message.length, 0)
    message.writeUInt32LE(opcode >>> 0, 4)
    message.writeBigUInt64LE(unique, 8)
    message.writeBigUInt64LE(BigInt.asUintN(64, BigInt(node)), 16)
    message.writeUInt32LE(options.uid ?? 0, 24)
    message.writeUInt32LE(options.gid ?? 0, 28)
    message.writeUInt32LE(options.pid ?? 1, 32)
    args.copy(message, IN_HEADER_BYTES)
    this.sendRaw(message)
    return unique
  }

  /** Sends bytes as they are. */
  sendRaw(message: Buffer): void {
    const sent = linux().write(this.#fd, message)
    if (sent !== message.length) throw new Error(`send: ${sent}`)
  }

  /** Sends and waits for the answer. */
  async ask(opcode: number, node: number | bigint, args: Buffer, options: RequestOptions = {}): Promise<Answer> {
    return await this.answer(this.send(opcode, node, args, options))
  }

  /** The answer to a request. Throws when none comes: a hang is a failure. */
  async answer(unique: bigint): Promise<Answer> {
    for (const until = Date.now() + ANSWER_MS; ; ) {
      this.receive()
      const answer = this.#answers.get(unique)?.shift()
      if (answer) return answer
      if (Date.now() > until) throw new Error(`request ${unique} was not answered`)
      await turn()
    }
  }

  /** Takes in what has come. Throws for what isn't a reply. */
  receive(): Answer[] {
    const fresh: Answer[] = []
    for (;;) {
      const length = linux().read(this.#fd, this.#into)
      if (length <= 0) return fresh
      const message = Buffer.from(this.#into.subarray(0, length))
      if (length < OUT_HEADER_BYTES || message.readUInt32LE(0) !== length)
        throw new Error(`a reply of ${length} bytes says it has ${message.readUInt32LE(0)}`)
      const answer = { unique: message.readBigUInt64LE(8), errno: 0 - message.readInt32LE(4), body: message.subarray(OUT_HEADER_BYTES) }
      fresh.push(answer)
      const waiting = this.#answers.get(answer.unique)
      if (waiting) waiting.push(answer)
      else this.#answers.set(answer.unique, [answer])
    }
  }

  /** Answers that nobody took. */
  get untaken(): Answer[] {
    return [...this.#answers.values()].flat()
  }

  /** Unmounts: answers when the channel has ended. */
  async end(): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    linux().close(this.#fd)
    await this.channel.ended
    linux().close(this.deviceFd)
  }
}

/** fuse_init_in. */
export function initArguments(major: number, minor: number, flags: number, flags2: number | undefined): Buffer {
  const args = Buffer.alloc(flags2 === undefined ? 16 : 64)
  args.writeUInt32LE(major, 0)
  args.writeUInt32LE(minor, 4)
  args.writeUInt32LE(131_072, 8)
  args.writeUInt32LE(flags >>> 0, 12)
  if (flags2 !== undefined) args.writeUInt32LE(flags2 >>> 0, 16)
  return args
}

/** A name with its NUL. */
export function named(...names: string[]): Buffer {
  return Buffer.from(names.map(name => `${name}\0`).join(''), 'latin1')
}

/** 32-bit words, then bytes. */
export function words(...parts: (number | bigint | Buffer)[]): Buffer {
  return Buffer.concat(
    parts.map(part => {
      if (Buffer.isBuffer(part)) return part
      const bytes = Buffer.alloc(typeof part === 'bigint' ? 8 : 4)
      if (typeof part === 'bigint') bytes.writeBigUInt64LE(BigInt.asUintN(64, part))
      else bytes.writeUInt32LE(part >>> 0)
      return bytes
    }),
  )
}
