/**
 * Lets a bounded number through at a time, the others wait in order.
 * Owns: the count and the queue. Must stay true: an aborted waiter leaves the queue; a pass is given back exactly once.
 */
import { interrupted } from './errors.ts'

export class Gate {
  #limit: number
  #inside = 0
  #queue: (() => void)[] = []

  constructor(limit: number) {
    this.#limit = limit
  }

  get inside(): number {
    return this.#inside
  }
  get waiting(): number {
    return this.#queue.length
  }

  /** From now on. Those inside beyond a lower limit are left to end. */
  setLimit(limit: number): void {
    this.#limit = limit
    while (this.#inside < limit && this.#queue.length > 0) {
      this.#inside++
      this.#queue.shift()!()
    }
  }

  /** Runs `work` once there is room. */
  async pass<T>(signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
    if (signal?.aborted) throw interrupted('wait')
    if (this.#inside < this.#limit) this.#inside++
    else await this.#wait(signal)
    try {
      return await work()
    } finally {
      // The place goes to the next in line without ever being free, so that nobody slips in between.
      const next = this.#inside > this.#limit ? undefined : this.#queue.shift()
      if (next) next()
      else this.#inside--
    }
  }

  #wait(signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const enter = () => {
        signal?.removeEventListener('abort', leave)
        resolve()
      }
      const leave = () => {
        this.#queue = this.#queue.filter(other => other !== enter)
        reject(interrupted('wait'))
      }
      signal?.addEventListener('abort', leave, { once: true })
      this.#queue.push(enter)
    })
  }
}
