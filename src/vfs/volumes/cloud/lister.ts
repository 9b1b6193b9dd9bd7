/**
 * Listing the bucket: directory by directory as they are asked for, and all of it once in the background.
 *
 * Owns: which listings run, how old what is known may be, and whether the store answers. Must stay true:
 * - A directory that is asked for is listed at once, whatever else runs; many who ask share one listing.
 * - What was listed before is shown without waiting for a store that is away; only what never was listed fails then.
 * - Objects that wait for their move are nowhere shown under their old names: nothing is listed before their moves are planned.
 * It doesn't: decide what a listed object means (directory-merge.ts).
 */
import type { ListPage } from '../../../backends/contract.ts'
import { describeError, errorKind, FsError } from '../../../errors.ts'
import type { Answer, Ino } from '../../contract.ts'
import { isDirectory } from '../../contract.ts'
import type { CloudCore } from './core.ts'
import { DirectoryMerge } from './directory-merge.ts'

/** So long a directory that is known already waits for its newer listing. */
const PATIENCE_MS = 3000
/** While the store is away it is asked so often. */
const AWAY_MS = 5000
const RETRY_BACKGROUND_MS = 10_000
const ATTEMPTS = 5
const HIDDEN_LIMIT = 100

export interface ListingProgress {
  readonly startedMs: number
  directories: number
  entries: number
}

export class Lister {
  readonly #core: CloudCore
  /** Answers when nothing is left whose objects aren't planned to move. */
  readonly #movesPlanned: () => Promise<void>
  readonly #running = new Map<Ino, Promise<void>>()
  readonly #hidden = new Map<string, string>()
  readonly #abort = new AbortController()
  #background: Promise<void> | undefined
  #timer: NodeJS.Timeout | undefined
  #progress: ListingProgress | undefined
  #awayUntilMs = 0
  #awayReason: string | undefined

  constructor(core: CloudCore, movesPlanned: () => Promise<void>) {
    this.#core = core
    this.#movesPlanned = movesPlanned
  }

  /** Begins with the listing of everything, where that wasn't done yet. */
  start(): void {
    if (this.#core.index.objects.unlisted(this.#core.volume, 1).length > 0) this.#begin()
  }

  async stop(): Promise<void> {
    clearTimeout(this.#timer)
    this.#abort.abort()
    await this.#background
    await Promise.allSettled(this.#running.values())
  }

  get progress(): ListingProgress | undefined {
    return this.#progress
  }
  /** Why the store can't be reached, while it can't. */
  get away(): string | undefined {
    return this.#awayReason
  }
  get hidden(): { readonly path: string; readonly reason: string }[] {
    return [...this.#hidden].map(([path, reason]) => ({ path, reason }))
  }

  /** What is known of a directory is young enough when this answers. */
  fresh(directory: Ino, signal: () => AbortSignal): Answer<void> {
    const listedMs = this.#core.index.objects.get(directory)?.listedMs ?? 0
    if (listedMs === 0) return this.#firstTime(directory, signal())
    const ageMs = this.#core.now() - listedMs
    const limitMs = this.#core.settings.ttlMs - this.#core.beliefMs
    if ((ageMs >= 0 && ageMs < limitMs) || this.#isAway()) return
    return abortable(Promise.race([this.list(directory).catch(() => {}), patience()]), signal())
  }

  /** Lists a directory now; who asks while it runs shares it. */
  list(directory: Ino): Promise<void> {
    let running = this.#running.get(directory)
    if (!running) {
      running = this.#listDirectory(directory).finally(() => this.#running.delete(directory))
      this.#running.set(directory, running)
    }
    return running
  }

  /** Lists a directory again, with all below it where it is the volume's own. */
  async again(directory: Ino, signal: AbortSignal | undefined): Promise<void> {
    const listing = directory === this.#core.rootIno ? this.#listTree(directory) : this.list(directory)
    await (signal ? abortable(listing, signal) : listing)
  }

  /** `everything`, for somebody who waits. */
  whole(directory: Ino, signal: AbortSignal): Promise<void> {
    return abortable(this.everything(directory), signal)
  }

  /** All that lies below a directory is known when this answers. */
  async everything(directory: Ino): Promise<void> {
    if (this.#unlistedBelow(directory).length > 0) await this.#listTree(directory)
    // What turned up meanwhile, or was kept although the bucket has nothing of it.
    for (let left = this.#unlistedBelow(directory); left.length > 0; left = this.#unlistedBelow(directory))
      for (const ino of left) await this.list(ino)
  }

  /** Whether something below a directory was never listed. */
  isPartlyUnknown(directory: Ino): boolean {
    return this.#unlistedBelow(directory).length > 0
  }

  async #firstTime(directory: Ino, signal: AbortSignal): Promise<void> {
    try {
      await abortable(this.list(directory), signal)
    } catch (error) {
      if (errorKind(error) === 'interrupted') throw error
      if ((this.#core.index.objects.get(directory)?.listedMs ?? 0) === 0) throw error
    }
  }

  #unlistedBelow(directory: Ino): Ino[] {
    const { index, volume, rootIno } = this.#core
    const unlisted = index.objects.unlisted(volume, 100_000)
    if (directory === rootIno) return unlisted
    return unlisted.filter(ino => {
      for (let at: Ino | undefined = ino; at !== undefined; at = index.links(at)[0]?.parent) if (at === directory) return true
      return false
    })
  }

  #isAway(): boolean {
    return this.#awayReason !== undefined && this.#core.now() < this.#awayUntilMs
  }

  /** One directory, its sub-directories as names only. */
  async #listDirectory(directory: Ino): Promise<void> {
    for (let attempt = 0; ; attempt++) {
      await this.#movesPlanned()
      const core = this.#core
      const prefix = core.prefixOf(directory)
      const since = core.touched.begin()
      try {
        const merge = new DirectoryMerge({ core, directory, prefix, since, startedMs: core.now() })
        for (let continuation: string | undefined; ; ) {
          const page: ListPage = await this.#page({ prefix, delimiter: '/', continuation })
          if (core.touched.isLost(since) || !this.#isStill(directory)) break
          for (const folded of page.prefixes) {
            if (merge.subdirectory(folded.slice(prefix.length, -1)) === 'unnamable')
              this.#hide(folded, 'its name is none that a folder can have')
          }
          for (const listed of page.objects) {
            if (listed.key === prefix) merge.marker(listed)
            else this.#hide(listed.key, merge.file(listed))
          }
          continuation = page.next
          if (continuation === undefined) {
            merge.finish()
            return
          }
        }
      } finally {
        core.touched.end()
      }
      if (!this.#isStill(directory)) throw new FsError('stale', 'the folder is gone', { operation: 'list' })
      if (attempt >= ATTEMPTS) throw new FsError('try-again', 'the folder is changed faster than it can be listed', { operation: 'list' })
    }
  }

  /** A directory with all below it, in as few pages as there can be. */
  async #listTree(top: Ino): Promise<void> {
    const core = this.#core
    await this.#movesPlanned()
    const prefix = core.prefixOf(top)
    const since = core.touched.begin()
    try {
      const walk = new TreeWalk(core, top, prefix, since, (key, reason) => this.#hide(key, reason))
      for (let continuation: string | undefined; ; ) {
        const page: ListPage = await this.#page({ prefix, continuation })
        // Renamed directories: what was merged so far is right, the rest is listed anew.
        if (core.touched.isLost(since)) return
        walk.page(page)
        if (this.#progress && top === core.rootIno) {
          this.#progress.entries += page.objects.length
          this.#progress.directories = walk.directories
        }
        continuation = page.next
        if (continuation === undefined) {
          walk.finish()
          return
        }
      }
    } finally {
      core.touched.end()
    }
  }

  async #page(options: {
    readonly prefix: string
    readonly delimiter?: string
    readonly continuation: string | undefined
  }): Promise<ListPage> {
    try {
      const page = await this.#core.backend.list({ ...options, signal: this.#abort.signal })
      this.#awayReason = undefined
      return page
    } catch (error) {
      if (!this.#abort.signal.aborted) {
        this.#awayReason = describeError(error)
        this.#awayUntilMs = this.#core.now() + AWAY_MS
      }
      throw error
    }
  }

  #begin(): void {
    if (this.#background || this.#abort.signal.aborted) return
    this.#progress = { startedMs: this.#core.now(), directories: 0, entries: 0 }
    this.#background = this.everything(this.#core.rootIno)
      .catch(error => {
        if (this.#abort.signal.aborted) return
        this.#core.log.warning('the bucket could not be listed to its end; it is tried again', error)
        this.#timer = setTimeout(() => this.#begin(), RETRY_BACKGROUND_MS)
        this.#timer.unref()
      })
      .finally(() => {
        this.#background = undefined
        this.#progress = undefined
      })
  }

  #isStill(directory: Ino): boolean {
    const attributes = this.#core.index.node(directory)
    return attributes !== undefined && isDirectory(attributes.mode)
  }

  #hide(key: string, reason: string | undefined): void {
    if (reason === undefined) this.#hidden.delete(key)
    else if (this.#hidden.size < HIDDEN_LIMIT) this.#hidden.set(key, reason)
  }
}

/** Pages of a listing without delimiter, taken apart into directories: those that the keys have left are complete. */
class TreeWalk {
  readonly #core: CloudCore
  readonly #since: number
  readonly #hide: (key: string, reason: string | undefined) => void
  readonly #stack: DirectoryMerge[] = []
  directories = 0

  constructor(core: CloudCore, top: Ino, prefix: string, since: number, hide: (key: string, reason: string | undefined) => void) {
    this.#core = core
    this.#since = since
    this.#hide = hide
    this.#enter(top, prefix)
  }

  page(page: ListPage): void {
    for (const listed of page.objects) {
      const { key } = listed
      while (!key.startsWith(this.#last.prefix)) this.#leave()
      const merge = this.#enterAll(key)
      if (!merge) continue
      if (key === merge.prefix) merge.marker(listed)
      else this.#hide(key, merge.file(listed))
    }
  }

  finish(): void {
    while (this.#stack.length > 0) this.#leave()
  }

  get #last(): DirectoryMerge {
    return this.#stack[this.#stack.length - 1]!
  }

  /** Enters the directories of a key; undefined when one of them can't be shown. */
  #enterAll(key: string): DirectoryMerge | undefined {
    for (;;) {
      const merge = this.#last
      const slash = key.indexOf('/', merge.prefix.length)
      if (slash < 0) return merge
      const segment = key.slice(merge.prefix.length, slash)
      const ino = merge.subdirectory(segment, key)
      if (ino === 'leaving') return undefined
      if (ino === 'unnamable') {
        this.#hide(key, 'a folder on its way has no name that can be shown')
        return undefined
      }
      this.#enter(ino, key.slice(0, slash + 1))
    }
  }

  #enter(directory: Ino, prefix: string): void {
    this.directories++
    const startedMs = this.#core.now()
    this.#stack.push(new DirectoryMerge({ core: this.#core, directory, prefix, since: this.#since, startedMs }))
  }

  #leave(): void {
    this.#stack.pop()!.finish()
  }
}

async function patience(): Promise<void> {
  await new Promise(resolve => setTimeout(resolve, PATIENCE_MS).unref())
}

/** `work`, until somebody gives up waiting; the work goes on. */
export async function abortable<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  let leave = () => {}
  const aborted = new Promise<never>((_, reject) => {
    leave = () => reject(new FsError('interrupted'))
    if (signal.aborted) leave()
    else signal.addEventListener('abort', leave, { once: true })
  })
  try {
    return await Promise.race([work, aborted])
  } finally {
    signal.removeEventListener('abort', leave)
  }
}
