/**
 * One directory as the bucket lists it, against what the index has: made known, brought up to date, or removed.
 *
 * Owns: the rules by which listed objects become nodes. Must stay true:
 * - What is pending here, or was touched since the listing was asked for, is left as it is: neither made, changed nor removed.
 * - A node keeps its number while its object is the same or replaced by a newer one.
 * - Nothing is removed before the listing of the directory was complete.
 * It doesn't: ask the bucket (lister.ts), or commit.
 */
import type { ListedObject } from '../../../backends/contract.ts'
import { NameSet } from '../../../index/name-set.ts'
import type { ObjectRecord } from '../../../index/object-store.ts'
import { Attributes, type Ino, isDirectory, type Name, S_IFDIR, S_IFREG } from '../../contract.ts'
import type { CloudCore } from './core.ts'
import { nameOfSegment, segmentOfName } from './keys.ts'
import { isLitter } from './settings.ts'

const CHILDREN_AT_ONCE = 1000

export interface MergeOptions {
  readonly core: CloudCore
  readonly directory: Ino
  readonly prefix: string
  /** The number of `TouchedKeys` when the listing was asked for. */
  readonly since: number
  readonly startedMs: number
}

export class DirectoryMerge {
  readonly directory: Ino
  readonly prefix: string
  readonly #core: CloudCore
  readonly #since: number
  readonly #startedMs: number
  /** Nothing was known of the directory: nobody needs to be told of single names. */
  readonly #isNew: boolean
  readonly #seen = new NameSet()
  #lastDirectory: { readonly segment: string; readonly ino: Ino } | undefined
  #changes = 0

  constructor(options: MergeOptions) {
    this.#core = options.core
    this.directory = options.directory
    this.prefix = options.prefix
    this.#since = options.since
    this.#startedMs = options.startedMs
    this.#isNew = this.#core.index.children(this.directory, undefined, 1).length === 0
  }

  /** An object right in this directory. Answers a reason when it can't be shown. */
  file(listed: ListedObject): string | undefined {
    const core = this.#core
    const segment = listed.key.slice(this.prefix.length)
    const name = nameOfSegment(segment)
    if (name === undefined) return 'its name is none that a file can have'
    if (!core.settings.litter && isLitter(name)) return undefined
    const known = core.index.objects.child(this.directory, name)
    if (known && isDirectory(known.mode)) return 'a folder has the same name'
    this.#seen.add(name)
    if (this.#isOurs(listed.key, known?.object)) return undefined
    if (this.#lastDirectory?.segment === segment) return 'a folder has the same name'
    if (!known) this.#makeFile(name, listed)
    else this.#update(known.ino, known.object, listed)
    return undefined
  }

  /**
   * A directory of this one, by the key part before the slash; `witness` is the key of an object below it. 'unnamable': it can't be
   * shown. 'leaving': what is below it there is elsewhere here, and on its way.
   */
  subdirectory(segment: string, witness?: string): Ino | 'unnamable' | 'leaving' {
    if (this.#lastDirectory?.segment === segment) return this.#lastDirectory.ino
    const ino = this.#findDirectory(segment, witness)
    if (typeof ino === 'number') this.#lastDirectory = { segment, ino }
    return ino
  }

  /** The marker of this directory itself. */
  marker(listed: ListedObject): void {
    const { index } = this.#core
    const record = this.#core.record(this.directory)
    if (record.pending || this.#isOurs(listed.key, record)) return
    if (record.key === listed.key && record.etag === listed.etag) return
    index.objects.put({ ...record, ...stateOf(listed), known: false })
  }

  /** The listing was complete: what it didn't show is gone. */
  finish(): void {
    const { index, listener } = this.#core
    const before = this.#core.record(this.directory)
    // A listing that was asked for later was merged meanwhile.
    if ((before.listedMs ?? 0) > this.#startedMs) return
    for (let after: Name = ''; ; ) {
      const children = index.objects.children(this.directory, after, CHILDREN_AT_ONCE)
      for (const child of children) {
        after = child.name
        if (this.#seen.has(child.name) || !this.#mayGo(child)) continue
        index.removeEntry(this.#core.volume, this.directory, child.name)
        this.#core.open.get(child.ino)?.loseElsewhere()
        if (isDirectory(child.mode)) this.#core.forgetPrefixes()
        listener.entryRemoved(this.directory, child.name, child.ino)
        this.#changes++
      }
      if (children.length < CHILDREN_AT_ONCE) break
    }
    index.objects.put({ ...before, listedMs: this.#startedMs })
    if (this.#changes > 0) listener.inodeChanged(this.directory, true)
  }

  /** Work on the key waits here, or was done since the listing was asked for: we know better. */
  #isOurs(key: string, record: ObjectRecord | undefined): boolean {
    const { touched, index, volume } = this.#core
    if (record?.pending || touched.isTouched(key, this.#since)) return true
    if (index.objects.pendingAt(volume, key)) return true
    return this.#hasWork(key)
  }

  #makeFile(name: Name, listed: ListedObject): void {
    const { index, listener, volume } = this.#core
    const attributes = this.#core.newAttributes(S_IFREG | 0o644, process.getuid?.() ?? 0, process.getgid?.() ?? 0)
    index.createEntry(volume, this.directory, name, asListed(attributes, listed))
    index.objects.put({ ...this.#core.newRecord(attributes.ino, undefined), ...stateOf(listed), known: false })
    if (!this.#isNew) listener.entryChanged(this.directory, name)
    this.#changes++
  }

  #update(ino: Ino, record: ObjectRecord | undefined, listed: ListedObject): void {
    const { index, listener, open, volume } = this.#core
    if (record?.etag === listed.etag && record.key === listed.key && record.sizeBytes === listed.sizeBytes) return
    const node = open.get(ino)
    // What is written here meets the other one when it is uploaded.
    if (node?.isDirty || node?.staged) return
    const attributes = index.node(ino)
    if (!attributes) return
    // Who has it open reads the state that was opened; written to, it would take the place of one that nobody here has seen.
    if (node) node.isLost = true
    open.delete(ino)
    index.objects.put({ ...(record ?? this.#core.newRecord(ino, undefined)), ...stateOf(listed), known: false })
    index.putNode(volume, asListed(Object.assign(new Attributes(), attributes), listed))
    listener.inodeChanged(ino, true)
    this.#changes++
  }

  #findDirectory(segment: string, witness: string | undefined): Ino | 'unnamable' | 'leaving' {
    const core = this.#core
    const name = nameOfSegment(segment)
    if (name === undefined) return 'unnamable'
    if (!core.settings.litter && isLitter(name)) return 'leaving'
    const known = core.index.objects.child(this.directory, name)
    if (known && isDirectory(known.mode)) {
      this.#seen.add(name)
      return known.ino
    }
    const prefix = `${this.prefix}${segment}/`
    if (this.#isOurs(prefix, undefined) || (witness === undefined ? this.#mayLeave(prefix) : this.#isOurs(witness, undefined)))
      return 'leaving'
    if (known) {
      // A file and a folder of one name: the folder is shown, unless the file isn't in the bucket yet.
      const key = this.prefix + segmentOfName(name)
      if (this.#isOurs(key, known.object) || core.open.get(known.ino)?.isDirty) return 'leaving'
      core.index.removeEntry(core.volume, this.directory, name)
      core.open.get(known.ino)?.loseElsewhere()
      core.listener.entryRemoved(this.directory, name, known.ino)
    }
    this.#seen.add(name)
    const attributes = core.newAttributes(S_IFDIR | 0o755, process.getuid?.() ?? 0, process.getgid?.() ?? 0)
    core.index.createEntry(core.volume, this.directory, name, attributes)
    core.index.objects.put({ ...core.newRecord(attributes.ino, 0) })
    if (!this.#isNew) core.listener.entryChanged(this.directory, name)
    this.#changes++
    return attributes.ino
  }

  /** What lies below a prefix may all be on its way to other names. */
  #mayLeave(prefix: string): boolean {
    const { index, journal, touched, volume } = this.#core
    const end = `${prefix.slice(0, -1)}0`
    if (touched.isTouchedBelow(prefix, this.#since)) return true
    return index.objects.hasPendingBetween(volume, prefix, end) || journal.touchesBetween(volume, prefix, end)
  }

  /** The bucket doesn't have it, and nothing here is on its way there. */
  #mayGo(child: { readonly name: Name; readonly ino: Ino; readonly mode: number; readonly object: ObjectRecord | undefined }): boolean {
    const { open, touched } = this.#core
    const key = this.prefix + segmentOfName(child.name) + (isDirectory(child.mode) ? '/' : '')
    if (touched.isTouched(key, this.#since)) return false
    const { object } = child
    if (object?.pending || open.get(child.ino)?.isDirty) return false
    if (isDirectory(child.mode)) return (object?.key === undefined || object.key === key) && !this.#hasOwn(child.ino, `${key}`)
    return object === undefined || (object.key === key && !this.#hasWork(key))
  }

  #hasWork(key: string): boolean {
    const { journal, volume } = this.#core
    return journal.hasWork(volume) && journal.ofKey(volume, key).length > 0
  }

  /** Something below a directory is here only. */
  #hasOwn(directory: Ino, prefix: string): boolean {
    const { index, open, touched } = this.#core
    for (let after: Name = ''; ; ) {
      const children = index.objects.children(directory, after, CHILDREN_AT_ONCE)
      for (const child of children) {
        after = child.name
        const isBelow = isDirectory(child.mode)
        const key = prefix + segmentOfName(child.name) + (isBelow ? '/' : '')
        const { object } = child
        if (object?.pending || open.get(child.ino)?.isDirty || touched.isTouched(key, this.#since)) return true
        if (object?.key !== undefined && object.key !== key) return true
        if (!isBelow && object && object.key === undefined) return true
        if (isBelow && this.#hasOwn(child.ino, key)) return true
      }
      if (children.length < CHILDREN_AT_ONCE) return false
    }
  }
}

function stateOf(listed: ListedObject) {
  return {
    key: listed.key,
    etag: listed.etag,
    versionId: undefined,
    sizeBytes: listed.sizeBytes,
    modifiedMs: listed.modifiedMs,
    contentType: undefined,
    replaces: undefined,
  }
}

/** What a listing tells of a file: the times are those of its upload, until its metadata is read. */
export function asListed(attributes: Attributes, listed: ListedObject): Attributes {
  const sec = Math.floor(listed.modifiedMs / 1000)
  const nsec = Math.round(listed.modifiedMs - sec * 1000) * 1_000_000
  attributes.sizeBytes = listed.sizeBytes
  attributes.blocks = Math.ceil(listed.sizeBytes / 512)
  attributes.mtimeSec = attributes.ctimeSec = attributes.atimeSec = sec
  attributes.mtimeNsec = attributes.ctimeNsec = attributes.atimeNsec = nsec
  return attributes
}
