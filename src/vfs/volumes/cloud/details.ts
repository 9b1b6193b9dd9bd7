/**
 * What only the objects themselves tell: their metadata, written by this or other tools.
 *
 * Owns: the questions under way, and the reading ahead of them when a folder is walked. Must stay true: a node is asked about once
 * for each state of its object; what is pending here is never overwritten; a store that is away delays nobody: what the listing
 * told is shown then.
 */
import type { ObjectInfo } from '../../../backends/contract.ts'
import { errorKind } from '../../../errors.ts'
import type { ObjectRecord } from '../../../index/object-store.ts'
import { type Answer, Attributes, type Ino, isDirectory, isSymlink, type Name, S_IFLNK, S_IFMT } from '../../contract.ts'
import type { CloudCore } from './core.ts'
import { attributesIn } from './metadata.ts'

const AT_ONCE = 16
/** So many names after one that was asked for are asked about, too. */
const AHEAD = 48
/** What is asked ahead, waiting, at most. */
const WAITING_LIMIT = 512
const PATIENCE_MS = 4000
const TARGET_LIMIT_BYTES = 4095

export class Details {
  readonly #core: CloudCore
  readonly #isAway: () => boolean
  readonly #running = new Map<Ino, Promise<void>>()
  readonly #waiting = new Map<Ino, ObjectRecord>()
  readonly #abort = new AbortController()
  /** The last name asked for in a directory, and up to where was asked ahead. */
  #walk: { readonly parent: Ino; name: Name; aheadOf: Name } | undefined

  constructor(core: CloudCore, isAway: () => boolean) {
    this.#core = core
    this.#isAway = isAway
  }

  async stop(): Promise<void> {
    this.#waiting.clear()
    this.#abort.abort()
    await Promise.allSettled(this.#running.values())
  }

  /** What the object tells of a node is known when this answers, as far as the store is there. */
  known(ino: Ino, parent?: Ino, name?: Name): Answer<void> {
    const record = this.#core.index.objects.get(ino)
    if (!record || record.known || record.pending || record.key === undefined) return
    if (this.#isAway()) return
    const asked = this.#ask(record)
    if (parent !== undefined && name !== undefined) this.#askAhead(parent, name)
    return Promise.race([asked.catch(() => {}), patience()])
  }

  #ask(record: ObjectRecord): Promise<void> {
    const running = this.#running.get(record.ino)
    if (running) return running
    this.#waiting.delete(record.ino)
    const asking = this.#run(record).finally(() => {
      this.#running.delete(record.ino)
      this.#next()
    })
    this.#running.set(record.ino, asking)
    return asking
  }

  #next(): void {
    for (const [ino, record] of this.#waiting) {
      if (this.#running.size >= AT_ONCE) return
      this.#waiting.delete(ino)
      this.#ask(record).catch(() => {})
    }
  }

  /** A folder is walked: the names after this one are needed soon. */
  #askAhead(parent: Ino, name: Name): void {
    const walk = this.#walk
    if (walk?.parent === parent && name > walk.name && name <= walk.aheadOf) {
      walk.name = name
      return
    }
    const children = this.#core.index.objects.children(parent, name, AHEAD)
    this.#walk = { parent, name, aheadOf: children.at(-1)?.name ?? name }
    for (const { ino, object } of children) {
      if (!object || object.known || object.pending || object.key === undefined || this.#running.has(ino)) continue
      if (this.#waiting.size < WAITING_LIMIT) this.#waiting.set(ino, object)
    }
    this.#next()
  }

  async #run(record: ObjectRecord): Promise<void> {
    const { backend } = this.#core
    const signal = this.#abort.signal
    let info: ObjectInfo
    try {
      info = await backend.head(record.key!, { signal })
    } catch (error) {
      // It went meanwhile: the next listing shows it.
      if (errorKind(error) === 'not-found') return
      throw error
    }
    const kept = attributesIn(info.metadata)
    let target: Name | undefined
    if (kept.mode !== undefined && isSymlink(kept.mode) && info.sizeBytes <= TARGET_LIMIT_BYTES && info.sizeBytes > 0) {
      const parts: Buffer[] = []
      await backend.get(record.key!, chunk => void parts.push(Buffer.from(chunk)), { ifMatch: info.etag, signal })
      target = Buffer.concat(parts).toString('latin1')
    }
    this.#apply(record, info, target)
  }

  #apply(asked: ObjectRecord, info: ObjectInfo, target: Name | undefined): void {
    const { index, open, listener } = this.#core
    const record = index.objects.get(asked.ino)
    if (!record || record.pending || record.key !== asked.key || record.etag !== asked.etag) return
    const before = index.node(asked.ino)
    // A newer one than the listing showed: that of the next listing counts.
    if (!before || open.get(asked.ino)?.isDirty || info.etag !== asked.etag) return
    const kept = attributesIn(info.metadata)
    const a = Object.assign(new Attributes(), before)
    const { versionId, contentType, modifiedMs } = info
    if (!isDirectory(a.mode)) {
      a.sizeBytes = info.sizeBytes
      a.blocks = Math.ceil(info.sizeBytes / 512)
    }
    if (kept.mode !== undefined) a.mode = (a.mode & S_IFMT) | (kept.mode & 0o7777)
    if (kept.uid !== undefined) a.uid = kept.uid
    if (kept.gid !== undefined) a.gid = kept.gid
    if (kept.mtime) {
      a.mtimeSec = kept.mtime.sec
      a.mtimeNsec = kept.mtime.nsec
    }
    const told = { ...record, versionId, contentType, modifiedMs, sizeBytes: info.sizeBytes, known: true }
    if (target !== undefined && !isDirectory(before.mode)) {
      this.#becomeLink(a, told, target)
      return
    }
    this.#core.setAttributes(a)
    index.objects.put(told)
    if (kept.xattrs) index.objects.setAttributes(a.ino, kept.xattrs)
    else if (index.objects.attributes(a.ino).size > 0) index.objects.setAttributes(a.ino, new Map())
    listener.inodeChanged(a.ino, false)
  }

  /** What the listing showed as a file is a symbolic link: another node. */
  #becomeLink(attributes: Attributes, record: ObjectRecord, target: Name): void {
    const { index, volume, listener } = this.#core
    const link = index.links(attributes.ino)[0]
    if (!link) return
    if (isSymlink(attributes.mode)) {
      index.objects.put(record)
      index.objects.setTarget(attributes.ino, target)
      return
    }
    const before = attributes.ino
    const a = Object.assign(new Attributes(), attributes, {
      ino: this.#core.freshIno(),
      mode: S_IFLNK | (attributes.mode & 0o7777),
      sizeBytes: target.length,
    })
    index.removeEntry(volume, link.parent, link.name)
    index.createEntry(volume, link.parent, link.name, a)
    index.objects.put({ ...record, ino: a.ino })
    index.objects.setTarget(a.ino, target)
    listener.entryRemoved(link.parent, link.name, before)
    listener.entryChanged(link.parent, link.name)
  }
}

async function patience(): Promise<void> {
  await new Promise(resolve => setTimeout(resolve, PATIENCE_MS).unref())
}
