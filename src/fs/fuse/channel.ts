/**
 * The kernel channel: reads requests from /dev/fuse and answers them, all on the daemon's main thread.
 *
 * Owns: the loop, the requests that are waiting for a promise, and the poll in the thread pool that wakes the loop.
 * Must stay true:
 * - One read is one request, one write is one reply; every request but FORGET and INTERRUPT gets exactly one reply.
 * - What throws is answered: an `FsError` by its errno, anything else with EIO and one log line. Nothing that the kernel
 *   sends ends the loop but ENODEV (unmounted).
 * - The loop gives the event loop its turn at least every few milliseconds. When nothing comes it sleeps in poll(2): first
 *   for a millisecond right here, since the next request of a program that walks or copies is some microseconds away and
 *   a thread of the pool would have to hand it over; then on a thread of the pool, for as long as it takes.
 * It doesn't: mount or unmount (mount.ts), decode arguments (dispatch.ts).
 */
import { FsError } from '../../errors.ts'
import type { Log } from '../../log.ts'
import { EAGAIN, EINTR, ENODEV, ENOENT, ENOSYS } from '../../sys/errno.ts'
import { linux } from '../../sys/linux.ts'
import type { Vfs } from '../../vfs/contract.ts'
import { type Dispatch, forget, OPERATIONS, type Operation } from './dispatch.ts'
import { errnoOf } from './errno.ts'
import { Interruptions } from './interruption.ts'
import { type NegotiationWish, negotiate } from './negotiate.ts'
import { Passthrough } from './passthrough.ts'
import { OP_NAMES, Op, OUT_HEADER_BYTES } from './protocol.ts'
import { Reply } from './reply.ts'
import { FuseRequest, RequestBuffer } from './request.ts'

/** How long the loop asks again before it sleeps. */
const SPIN_US = 20
/** How long it sleeps on this very thread, which nothing else can use meanwhile. */
const NAP_MS = 1
/** How long requests are served before timers and promises get a turn. */
const TURN_US = 2_000
/** How long without a request until the tree is told that it is idle. */
const IDLE_MS = 3
/** How long one poll sleeps at most. */
const POLL_MS = 1_000
const EPROTO = 71

export interface ChannelOptions {
  readonly fd: number
  readonly vfs: Vfs
  readonly log: Log
  readonly readOnly: boolean
  readonly wish: NegotiationWish
}

export interface ChannelStatistics {
  readonly requests: number
  readonly errors: number
  readonly waiting: number
  /** Requests by operation, those that came at all. */
  readonly byOperation: Readonly<Record<string, number>>
}

export class Channel {
  readonly #fd: number
  readonly #log: Log
  readonly #dispatch: Dispatch
  readonly #wish: NegotiationWish
  readonly #input = new RequestBuffer()
  readonly #reply = new Reply()
  readonly #waiting = new Map<number, FuseRequest>()
  readonly #interruptions = new Interruptions()
  /** struct pollfd: descriptor, events POLLIN. */
  readonly #pollfd = Buffer.alloc(8)
  /** The same for this thread: the pool may still be looking at the other one. */
  readonly #napfd = Buffer.alloc(8)
  readonly #sys = linux()
  #polling: Promise<void> | undefined
  #ended: PromiseWithResolvers<void> = Promise.withResolvers<void>()
  #ready: PromiseWithResolvers<void> = Promise.withResolvers<void>()
  #idleTimer: NodeJS.Timeout | undefined
  #isIdle = true
  #isEnded = false
  #turnQueued = false
  #requests = 0
  readonly #byOpcode = new Uint32Array(64)
  #errors = 0

  constructor(options: ChannelOptions) {
    this.#fd = options.fd
    this.#log = options.log
    this.#wish = options.wish
    this.#dispatch = {
      vfs: options.vfs,
      input: this.#input,
      reply: this.#reply,
      passthrough: options.wish.passthrough ? new Passthrough(options.fd) : undefined,
      readOnly: options.readOnly,
      direntWriters: [],
      negotiated: { minor: 0, passthrough: false, setxattrExtended: false, killPrivileges: false },
    }
    // Whoever doesn't wait for these must not be ended by a rejection.
    this.#ready.promise.catch(() => {})
    for (const pollfd of [this.#pollfd, this.#napfd]) {
      pollfd.writeInt32LE(options.fd, 0)
      pollfd.writeInt16LE(1, 4)
    }
  }

  /** Settles when the kernel has said hello: the mount can be used. */
  get ready(): Promise<void> {
    return this.#ready.promise
  }

  /** Resolves when the filesystem was unmounted, by whatever means. */
  get ended(): Promise<void> {
    return this.#ended.promise
  }

  statistics(): ChannelStatistics {
    return { requests: this.#requests, errors: this.#errors, waiting: this.#waiting.size, byOperation: this.#operationCounts() }
  }

  #operationCounts(): Record<string, number> {
    const counts: Record<string, number> = {}
    this.#byOpcode.forEach((count, opcode) => {
      if (count > 0) counts[OP_NAMES[opcode] ?? `operation ${opcode}`] = count
    })
    return counts
  }

  /** Begins to serve. */
  start(): void {
    this.#turn()
  }

  readonly #turn = (): void => {
    this.#turnQueued = false
    if (this.#isEnded) return
    const outcome = this.#drain()
    if (outcome === 'ended') return this.#end()
    if (outcome === 'busy') {
      this.#turnQueued = true
      setImmediate(this.#turn)
      return
    }
    this.#polling ??= this.#poll()
    this.#idleTimer ??= setTimeout(this.#idled, IDLE_MS)
  }

  /** Sleeps until the kernel has something, then takes a turn. */
  async #poll(): Promise<void> {
    let events = 0
    // A bound instead of for ever, so that the thread is given back also when nothing ever comes.
    while (events === 0 && !this.#isEnded) events = await this.#sys.pollInPool(this.#pollfd, POLL_MS)
    this.#polling = undefined
    if (!this.#turnQueued) this.#turn()
  }

  readonly #idled = (): void => {
    this.#idleTimer = undefined
    if (this.#isEnded) return
    if (this.#isIdle) return this.#dispatch.vfs.idle()
    this.#isIdle = true
    this.#idleTimer = setTimeout(this.#idled, IDLE_MS)
  }

  /** Serves requests until none came for a while ('asleep'), the turn is over ('busy'), or the mount is gone ('ended'). */
  #drain(): 'asleep' | 'busy' | 'ended' {
    const { raw, errno } = this.#sys
    const bytes = this.#input.bytes
    const size = bytes.length
    const turnEndsUs = nowUs() + TURN_US
    let idleSinceUs = 0
    let served = 0
    for (;;) {
      const length = raw.read(this.#fd, bytes, size)
      if (length > 0) {
        this.#isIdle = false
        this.#handle(length)
        idleSinceUs = 0
        if ((++served & 15) === 0 && nowUs() > turnEndsUs) return 'busy'
        continue
      }
      if (length === 0) return 'ended'
      const error = errno()
      if (error === ENODEV) return 'ended'
      if (error === EAGAIN) {
        const now = nowUs()
        if (idleSinceUs === 0) idleSinceUs = now
        // Promises of waiting requests settle in the event loop: don't keep it from them.
        if (this.#waiting.size > 0) return 'asleep'
        if (now > turnEndsUs) return 'busy'
        if (now - idleSinceUs > SPIN_US && raw.poll(this.#napfd, 1, NAP_MS) === 0) return 'asleep'
        continue
      }
      if (error === EINTR || error === ENOENT) continue // ENOENT: the request was taken back
      this.#log.error(`reading from the kernel failed with errno ${error}`)
      return 'ended'
    }
  }

  #handle(length: number): void {
    this.#requests++
    const input = this.#input
    if (!input.begin(length)) {
      this.#log.warning(`a request of ${length} bytes that is none`)
      return
    }
    const opcode = input.opcode
    this.#byOpcode[opcode & 63]!++
    let request: FuseRequest | undefined
    try {
      request = new FuseRequest(input)
      if (opcode === Op.FORGET || opcode === Op.BATCH_FORGET) return forget(this.#dispatch, request)
      if (opcode === Op.INTERRUPT) {
        const interrupted = this.#waiting.get(input.u64(0))
        if (interrupted) this.#interruptions.interrupted(interrupted)
        return
      }
      if (opcode === Op.INIT) return this.#init(request)
      if (opcode === Op.DESTROY) return this.#send(request, 0, 0)
      const operation = OPERATIONS[opcode]
      if (!operation) return this.#send(request, 0, ENOSYS)
      if (input.length < operation.least) throw new FsError('invalid', 'a request shorter than its kind')
      if (operation.mutates && this.#dispatch.readOnly) throw new FsError('read-only')
      const answer = operation.run(this.#dispatch, request)
      if (answer instanceof Promise) this.#later(request, answer, operation)
      else this.#send(request, operation.encode(this.#dispatch, answer, request), 0)
    } catch (error) {
      // FORGET and INTERRUPT have no reply, whatever they say.
      if (request && opcode !== Op.FORGET && opcode !== Op.BATCH_FORGET && opcode !== Op.INTERRUPT) this.#fail(request, error)
    }
  }

  #later(request: FuseRequest, answer: Promise<unknown>, operation: Operation): void {
    const key = request.key
    this.#waiting.set(key, request)
    const settled = () => {
      this.#waiting.delete(key)
      this.#interruptions.settled(request)
      // Others may have come while the loop slept for this one.
      if (!this.#turnQueued && !this.#isEnded) {
        this.#turnQueued = true
        setImmediate(this.#turn)
      }
    }
    answer
      .then(value => this.#send(request, operation.encode(this.#dispatch, value, request), 0))
      .catch(error => this.#fail(request, error))
      .finally(settled)
  }

  #init(request: FuseRequest): void {
    const answer = negotiate(this.#input, this.#wish, this.#reply)
    if (!answer) {
      this.#send(request, 0, EPROTO)
      this.#ready.reject(new FsError('not-supported', 'this kernel is too old: sdmount needs Linux 5.4 or newer'))
      return
    }
    this.#send(request, answer.bodyBytes, 0)
    if (answer.result.minor === 0) return
    this.#dispatch.negotiated = answer.result
    if (!answer.result.passthrough) Object.assign(this.#dispatch, { passthrough: undefined })
    this.#log.debug(`FUSE 7.${answer.result.minor}${answer.result.passthrough ? ', passthrough' : ''}`)
    this.#ready.resolve()
  }

  #fail(request: FuseRequest, error: unknown): void {
    this.#errors++
    if (!(error instanceof FsError)) {
      this.#log.error(`${OP_NAMES[request.opcode] ?? request.opcode} of node ${request.node} failed unexpectedly`, error)
      if (error instanceof Error && error.stack) this.#log.debug(error.stack)
    }
    this.#send(request, 0, errnoOf(error))
  }

  #send(request: FuseRequest, bodyBytes: number, errno: number): void {
    if (this.#isEnded) return
    const length = OUT_HEADER_BYTES + bodyBytes
    this.#reply.header(length, errno, request.uniqueLow, request.uniqueHigh)
    if (this.#sys.raw.write(this.#fd, this.#reply.bytes, length) === length) return
    const error = this.#sys.errno()
    // ENOENT: nobody waits for this reply any more. ENODEV: unmounted meanwhile.
    if (error === ENOENT || error === ENODEV) return
    this.#log.error(`the kernel refused the answer to ${OP_NAMES[request.opcode] ?? request.opcode} with errno ${error}`)
    if (errno === 0 && bodyBytes > 0) {
      this.#reply.header(OUT_HEADER_BYTES, 5, request.uniqueLow, request.uniqueHigh)
      this.#sys.raw.write(this.#fd, this.#reply.bytes, OUT_HEADER_BYTES)
    }
  }

  #end(): void {
    this.#isEnded = true
    clearTimeout(this.#idleTimer)
    this.#interruptions.end()
    for (const request of this.#waiting.values()) request.interrupt()
    this.#ready.reject(new FsError('io', 'the filesystem was unmounted before it was ready'))
    // The descriptor may be closed when this is told: not while a thread of the pool still looks at it.
    void (this.#polling ?? Promise.resolve()).then(() => this.#ended.resolve())
  }
}

function nowUs(): number {
  return performance.now() * 1000
}
