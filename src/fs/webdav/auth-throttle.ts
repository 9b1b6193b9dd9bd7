/**
 * Slows down those who guess passwords.
 *
 * Owns: how many wrong passwords came from an address lately. Must stay true: once an address guessed wrong a few times,
 * its next guesses are looked at one after the other and at a steady slow rate, on however many connections they come;
 * a connection that proved a password once is not slowed down by others; memory is bounded.
 */
import { LRUCache } from 'lru-cache'

/** So many wrong guesses are free. */
const FREE_GUESSES = 8
/** Then one is looked at in this time, and one free guess comes back in it. */
const GUESS_MS = 1500
/** Requests of one address that may wait for their turn. */
const WAITING_LIMIT = 16
const ADDRESS_LIMIT = 4096

interface Record {
  /** Wrong guesses, falling by one each GUESS_MS. */
  wrong: number
  updatedAtMs: number
  /** Until when the queue is taken. */
  turnAtMs: number
  waiting: number
}

export class Throttle {
  readonly #now: () => number
  readonly #records = new LRUCache<string, Record>({ max: ADDRESS_LIMIT })

  constructor(now: () => number) {
    this.#now = now
  }

  /**
   * How long a guess from this address must wait before it is looked at: 0 mostly; undefined when so many wait already
   * that it is refused unseen. Call `done` after the waiting.
   */
  enter(address: string): number | undefined {
    const record = this.#record(address)
    if (record.wrong < FREE_GUESSES) return 0
    if (record.waiting >= WAITING_LIMIT) return undefined
    const now = this.#now()
    record.turnAtMs = Math.max(record.turnAtMs, now) + GUESS_MS
    record.waiting++
    return record.turnAtMs - now
  }

  /** The waiting is over. */
  done(address: string): void {
    const record = this.#record(address)
    record.waiting = Math.max(0, record.waiting - 1)
  }

  /** The guess was wrong. */
  failed(address: string): void {
    this.#record(address).wrong++
  }

  #record(address: string): Record {
    const key = addressKey(address)
    const now = this.#now()
    let record = this.#records.get(key)
    if (!record) this.#records.set(key, (record = { wrong: 0, updatedAtMs: now, turnAtMs: 0, waiting: 0 }))
    record.wrong = Math.max(0, record.wrong - (now - record.updatedAtMs) / GUESS_MS)
    record.updatedAtMs = now
    return record
  }
}

/** Of an IPv6 address the network: one host has 2^64 addresses to guess from. */
function addressKey(address: string): string {
  if (!address.includes(':') || address.startsWith('::ffff:')) return address
  const [head = '', tail] = address.split('::')
  const groups = head === '' ? [] : head.split(':')
  if (tail !== undefined) while (groups.length < 4) groups.push('0')
  return groups.slice(0, 4).join(':')
}
