/**
 * Random numbers that a seed repeats. Owns: the generator (mulberry32) and where a seed comes from.
 */

/** SEED of the environment, else a new one: print it. */
export function seedOf(environment: NodeJS.ProcessEnv): number {
  return Number(environment.SEED ?? Date.now() % 2 ** 31)
}

export class SeededRandom {
  #state: number

  constructor(seed: number) {
    this.#state = seed >>> 0
  }

  /** A whole number from 0 to `limit - 1`. */
  below(limit: number): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0
    let x = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state)
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x
    return ((x ^ (x >>> 14)) >>> 0) % limit
  }

  pick<T>(from: readonly T[]): T {
    return from[this.below(from.length)]!
  }
}
