/**
 * Which interrupts let a program go.
 *
 * While a program waits for an answer, any signal makes the kernel say so (FUSE_INTERRUPT), once a request, and not which signal.
 * To answer EINTR to each would fail reads of programs that only handle signals in passing: SIGCHLD of a build, SIGURG of Go's
 * scheduler, a profiler's timer. On a disk's filesystem such reads never fail, and hardly a program expects it.
 *
 * Owns: that choice. Must stay true: a program that is ending, or was asked to end, is let go at once, also when it was a harmless
 * signal that came first; what is looked after ends with its request.
 */
import { readFileSync } from 'node:fs'
import type { FuseRequest } from './request.ts'

/** SIGHUP, SIGINT, SIGQUIT, SIGKILL (also what the kernel gives all threads of a program that a signal ends), SIGTERM. */
const ENDING = [1, 2, 3, 9, 15].reduce((mask, signal) => mask | (1n << BigInt(signal - 1)), 0n)
/** The kernel says nothing of later signals: it is looked for them. */
const LOOK_MS = 100

export class Interruptions {
  readonly #watched = new Map<FuseRequest, NodeJS.Timeout>()
  readonly #isEnding: (thread: number) => boolean

  constructor(isEnding: (thread: number) => boolean = hasEndingSignal) {
    this.#isEnding = isEnding
  }

  /** The kernel said that who waits for this was interrupted. */
  interrupted(request: FuseRequest): void {
    if (this.#isEnding(request.pid)) return request.interrupt()
    if (this.#watched.has(request)) return
    const timer = setInterval(() => {
      if (!this.#isEnding(request.pid)) return
      this.settled(request)
      request.interrupt()
    }, LOOK_MS)
    this.#watched.set(request, timer)
  }

  /** It has its answer. */
  settled(request: FuseRequest): void {
    if (this.#watched.size === 0) return
    clearInterval(this.#watched.get(request))
    this.#watched.delete(request)
  }

  end(): void {
    for (const timer of this.#watched.values()) clearInterval(timer)
    this.#watched.clear()
  }
}

/** Whether a signal that ends programs waits for the thread. One that can't be looked at counts as ending. */
export function hasEndingSignal(thread: number): boolean {
  let status: string
  try {
    status = readFileSync(`/proc/${thread}/status`, 'latin1')
  } catch {
    return true
  }
  const mask = (field: string) => BigInt(`0x${new RegExp(`^${field}:\\s*([0-9a-f]+)$`, 'm').exec(status)?.[1] ?? '0'}`)
  return ((mask('SigPnd') | mask('ShdPnd')) & ~mask('SigBlk') & ENDING) !== 0n
}
