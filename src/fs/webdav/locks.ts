/**
 * The lock table: write locks on paths, as RFC 4918 knows them.
 *
 * Owns: which locks exist, and when they end. Must stay true: a lock belongs to a path and to the user who took it, and
 * never follows a file that moves; an exclusive lock is alone on what it covers; times out by the clock it is given, with
 * no timers; the table is bounded.
 * It doesn't: know what is at a path (there may be nothing), or decide which requests need which locks (lock-rules.ts).
 *
 * Paths are keys: names joined by "/", each after a "/", '' for the root; so "below" is a matter of prefixes.
 */
import { randomUUID } from 'node:crypto'
import type { Ino, Name } from '../../vfs/contract.ts'
import type { NodeLocks } from '../../vfs/guarded-vfs.ts'
import { Refusal } from './status.ts'

export type PathKey = string

export interface Lock {
  /** `opaquelocktoken:...` */
  readonly token: string
  readonly key: PathKey
  readonly path: readonly Name[]
  /** It was a folder when it was locked. */
  readonly collection: boolean
  readonly exclusive: boolean
  /** Covers all that is below, also what comes later. */
  readonly infinite: boolean
  /** Whose it is. */
  readonly user: string
  /** The client's owner element's content, as XML. */
  readonly owner: string | undefined
  /** The node at the path, for front ends that know nodes and no paths. Another one when the file is replaced. */
  ino: Ino
  expiresAtMs: number
}

export type LockRequest = Pick<Lock, 'path' | 'collection' | 'exclusive' | 'infinite' | 'user' | 'owner' | 'ino'> & {
  readonly timeoutSec: number
}

const LOCK_LIMIT = 10_000

export function keyOf(path: readonly Name[]): PathKey {
  return path.length === 0 ? '' : `/${path.join('/')}`
}

export class LockTable implements NodeLocks {
  readonly #now: () => number
  readonly #byKey = new Map<PathKey, Lock[]>()
  readonly #byToken = new Map<string, Lock>()
  readonly #byIno = new Map<Ino, Lock[]>()

  constructor(now: () => number) {
    this.#now = now
  }

  /** Whether there may be any lock at all: listings ask before they look up each entry. */
  get empty(): boolean {
    return this.#byToken.size === 0
  }

  get anyHeld(): boolean {
    return this.#byToken.size > 0
  }

  /** Whether the node itself is locked (what is in a locked folder isn't asked for here). */
  holds(ino: Ino): boolean {
    const now = this.#now()
    return this.#byIno.get(ino)?.some(lock => lock.expiresAtMs > now) ?? false
  }

  get size(): number {
    return this.#byToken.size
  }

  /** A new lock. The caller made sure that there is no conflict. */
  add(request: LockRequest): Lock {
    if (this.#byToken.size >= LOCK_LIMIT) this.#sweep()
    if (this.#byToken.size >= LOCK_LIMIT) throw new Refusal(503, 'too many locks', { headers: { 'Retry-After': '60' } })
    const { timeoutSec, ...rest } = request
    const lock = {
      ...rest,
      token: `opaquelocktoken:${randomUUID()}`,
      key: keyOf(request.path),
      expiresAtMs: this.#now() + timeoutSec * 1000,
    }
    this.#byToken.set(lock.token, lock)
    insert(this.#byKey, lock.key, lock)
    insert(this.#byIno, lock.ino, lock)
    return lock
  }

  find(token: string): Lock | undefined {
    const lock = this.#byToken.get(token)
    if (lock && lock.expiresAtMs <= this.#now()) {
      this.remove(lock)
      return undefined
    }
    return lock
  }

  refresh(lock: Lock, timeoutSec: number): void {
    lock.expiresAtMs = this.#now() + timeoutSec * 1000
  }

  remove(lock: Lock): void {
    this.#byToken.delete(lock.token)
    drop(this.#byKey, lock.key, lock)
    drop(this.#byIno, lock.ino, lock)
  }

  /** A locked file was replaced: its locks are on the new node. */
  renumber(from: Ino, to: Ino): void {
    for (const lock of [...(this.#byIno.get(from) ?? [])]) {
      drop(this.#byIno, from, lock)
      lock.ino = to
      insert(this.#byIno, to, lock)
    }
  }

  /** Locks on this very path. */
  at(key: PathKey): Lock[] {
    const locks = this.#byKey.get(key)
    if (!locks) return []
    const now = this.#now()
    for (const lock of locks) if (lock.expiresAtMs <= now) this.remove(lock)
    return this.#byKey.get(key) ?? []
  }

  /** Locks that cover the path: its own, and infinite ones of folders above. */
  covering(key: PathKey): Lock[] {
    if (this.empty) return []
    const locks = [...this.at(key)]
    for (let at = key; at !== ''; ) {
      at = at.slice(0, at.lastIndexOf('/'))
      for (const lock of this.at(at)) if (lock.infinite) locks.push(lock)
    }
    return locks
  }

  /** Locks on paths strictly below. */
  below(key: PathKey): Lock[] {
    const found: Lock[] = []
    if (this.empty) return found
    for (const at of [...this.#byKey.keys()]) if (at !== key && at.startsWith(`${key}/`)) found.push(...this.at(at))
    return found
  }

  /** What was here is gone: its locks, and those below, go too. */
  removeTree(key: PathKey): void {
    for (const lock of [...this.at(key), ...this.below(key)]) this.remove(lock)
  }

  /** Whole seconds that are left. */
  secondsLeft(lock: Lock): number {
    return Math.max(1, Math.ceil((lock.expiresAtMs - this.#now()) / 1000))
  }

  #sweep(): void {
    for (const key of [...this.#byKey.keys()]) this.at(key)
  }
}

function insert<Key>(map: Map<Key, Lock[]>, key: Key, lock: Lock): void {
  const others = map.get(key)
  if (others) others.push(lock)
  else map.set(key, [lock])
}

function drop<Key>(map: Map<Key, Lock[]>, key: Key, lock: Lock): void {
  const rest = map.get(key)?.filter(other => other !== lock) ?? []
  if (rest.length === 0) map.delete(key)
  else map.set(key, rest)
}
