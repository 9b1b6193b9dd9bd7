/**
 * Comparisons of the index with the folder that the thread of a location makes: what it tells goes to who asked.
 *
 * Owns: those that are under way. Must stay true: each ends: with its count, with what went wrong, or when it is given up.
 */
import type { VerifyRequest } from '../verify.ts'
import { errorOf, type FromDrive, type ToDrive } from './protocol.ts'

type Told = Extract<FromDrive, { readonly kind: 'difference' | 'checked' | 'verified' }>

interface Verification {
  readonly request: VerifyRequest
  readonly resolve: (count: number) => void
  readonly reject: (error: unknown) => void
  /** What was told before has been dealt with. */
  told: Promise<void>
}

export class Verifications {
  readonly #running = new Map<number, Verification>()
  #last = 0

  start(request: VerifyRequest, send: (message: ToDrive) => void): Promise<number> {
    const id = ++this.#last
    const { leftOut, settleMs, signal } = request
    signal.throwIfAborted()
    const stop = () => send({ kind: 'stop-verifying', id })
    signal.addEventListener('abort', stop, { once: true })
    return new Promise<number>((resolve, reject) => {
      this.#running.set(id, { request, resolve, reject, told: Promise.resolve() })
      send({ kind: 'verify', id, leftOut, settleMs })
    }).finally(() => signal.removeEventListener('abort', stop))
  }

  receive(message: Told): void {
    const running = this.#running.get(message.id)
    if (!running) return
    const { request, resolve, reject } = running
    if (message.kind === 'difference')
      running.told = running.told.then(() => request.difference(message.path, message.difference, message.detail))
    else if (message.kind === 'checked') running.told = running.told.then(() => request.progress(message.count))
    else {
      this.#running.delete(message.id)
      const { error, count } = message
      running.told.then(() => (error ? reject(errorOf(error)) : resolve(count)), reject)
    }
    // It is heard of at the end.
    running.told.catch(() => {})
  }

  giveUp(error: Error): void {
    for (const { reject } of this.#running.values()) reject(error)
    this.#running.clear()
  }
}
