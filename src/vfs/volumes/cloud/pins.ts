/**
 * Files that are kept in the block cache, and bringing files there.
 *
 * Owns: which nodes are pinned (in the index), and telling the cache so after a start. Must stay true: a pinned file that changes in
 * the bucket stays pinned: its new state is brought in when it is next warmed or read; waiting ends with the signal.
 */
import { FsError } from '../../../errors.ts'
import type { ObjectRecord } from '../../../index/object-store.ts'
import { type Answer, type Ino, isDirectory, isRegular, type Name } from '../../contract.ts'
import type { CloudCore } from './core.ts'

const CHILDREN_AT_ONCE = 256

export interface WarmProgress {
  readonly files: number
  readonly bytes: number
}

export interface PinnedFile {
  readonly path: Name
  readonly sizeBytes: number
}

export class Pins {
  readonly #core: CloudCore
  #isStopped = false
  #starting: Promise<void> | undefined

  constructor(core: CloudCore) {
    this.#core = core
  }

  /** What is pinned is said to the cache, once that knows what it holds. */
  start(): void {
    const { cache, index, volume, log } = this.#core
    if (!cache || index.objects.pinned(volume).length === 0) return
    this.#starting = cache
      .whenReady()
      .then(() => {
        if (this.#isStopped) return
        for (const ino of index.objects.pinned(volume)) this.#tell(index.objects.get(ino))
      })
      .catch(error => log.warning('not everything that is pinned has room in the cache', error))
  }

  async stop(): Promise<void> {
    this.#isStopped = true
    await Promise.race([this.#starting, new Promise(resolve => setImmediate(resolve))])
  }

  async pin(ino: Ino, signal: AbortSignal, progress: (done: WarmProgress) => void): Promise<void> {
    const { cache, index } = this.#core
    if (!cache) throw new FsError('not-supported', 'there is no block cache', { operation: 'pin' })
    await cache.whenReady()
    await this.#each(ino, signal, progress, record => {
      this.#tell(record)
      index.objects.put({ ...record, pinned: true })
      this.#core.commit()
    })
  }

  unpin(path: Name): void {
    const { cache, index, volume } = this.#core
    const top = this.#known(path)
    for (const ino of index.objects.pinned(volume)) {
      if (!this.#isBelow(ino, top)) continue
      const record = index.objects.get(ino)!
      index.objects.put({ ...record, pinned: false })
      const object = this.#object(record)
      if (object) cache?.unpin(object)
    }
    this.#core.commit()
  }

  list(): PinnedFile[] {
    const { index, volume } = this.#core
    return index.objects.pinned(volume).flatMap(ino => {
      const path = index.pathOf(ino)
      return path === undefined ? [] : [{ path, sizeBytes: index.node(ino)?.sizeBytes ?? 0 }]
    })
  }

  warm(ino: Ino, signal: AbortSignal, progress: (done: WarmProgress) => void): Promise<WarmProgress> {
    return this.#each(ino, signal, progress, () => {})
  }

  /** The node of a path below the volume. Each directory on the way is `listed` first. */
  async find(path: Name, listed: (directory: Ino) => Answer<void>): Promise<Ino> {
    let at = this.#core.rootIno
    for (const name of path.split('/').filter(part => part !== '')) {
      await listed(at)
      const found = this.#core.child(at, name)
      if (!found) throw new FsError('not-found', undefined, { operation: 'lookup', subject: path })
      at = found.ino
    }
    if (isDirectory(this.#core.attributes(at).mode)) await listed(at)
    return at
  }

  async #each(
    top: Ino,
    signal: AbortSignal,
    progress: (done: WarmProgress) => void,
    before: (record: ObjectRecord) => void,
  ): Promise<WarmProgress> {
    let done: WarmProgress = { files: 0, bytes: 0 }
    for (const ino of this.#filesBelow(top)) {
      if (signal.aborted) throw new FsError('interrupted')
      const record = this.#core.index.objects.get(ino)
      const remote = record && this.#core.remoteOf(record)
      if (!record || !remote) continue
      before(record)
      const bytes = await this.#core.reading.warm(remote, { signal })
      done = { files: done.files + 1, bytes: done.bytes + bytes }
      progress(done)
    }
    return done
  }

  *#filesBelow(top: Ino): Generator<Ino> {
    const { mode } = this.#core.attributes(top)
    if (isRegular(mode)) yield top
    if (!isDirectory(mode)) return
    for (let after: Name | undefined; ; ) {
      const children = this.#core.index.children(top, after, CHILDREN_AT_ONCE)
      for (const child of children) {
        after = child.name
        yield* this.#filesBelow(child.attributes.ino)
      }
      if (children.length < CHILDREN_AT_ONCE) return
    }
  }

  #tell(record: ObjectRecord | undefined): void {
    const object = record && this.#object(record)
    if (object) this.#core.cache?.pin(object)
  }

  #object(record: ObjectRecord) {
    const { cache, volume } = this.#core
    const remote = this.#core.remoteOf(record)
    return remote && cache?.object({ volume, key: remote.key, version: remote.versionId ?? remote.etag, sizeBytes: remote.sizeBytes })
  }

  #known(path: Name): Ino {
    let at = this.#core.rootIno
    for (const name of path.split('/').filter(part => part !== '')) {
      const found = this.#core.child(at, name)
      if (!found) throw new FsError('not-found', undefined, { operation: 'unpin', subject: path })
      at = found.ino
    }
    return at
  }

  #isBelow(ino: Ino, top: Ino): boolean {
    for (let at: Ino | undefined = ino; at !== undefined; at = this.#core.index.links(at)[0]?.parent) if (at === top) return true
    return false
  }
}
