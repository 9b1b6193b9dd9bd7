/**
 * What the write-back engine asks of the volume: contents, and what becomes of the tree when work is done or meets somebody else's.
 *
 * Owns: the way from done work into the index, and the deciding of conflicts. Must stay true:
 * - When `stored` answers, the index knows what the bucket has, as safely as the journal forgets the work.
 * - A conflict loses nothing: what is here gets a name of its own beside what is there.
 */
import type { ObjectInfo } from '../../../backends/contract.ts'
import type { Conflict, Resolution, UploadSource, WritebackHost } from '../../../cache/writeback/host.ts'
import type { PutAction, StoredResult, Work } from '../../../cache/writeback/work.ts'
import { Attributes, type Ino, isDirectory, type Name, S_IFREG } from '../../contract.ts'
import { conflictName } from './conflict-name.ts'
import type { Contents } from './contents.ts'
import type { CloudCore } from './core.ts'
import { asListed } from './directory-merge.ts'
import { segmentOfName } from './keys.ts'

export class CloudHost implements WritebackHost {
  readonly #core: CloudCore
  readonly #contents: Contents

  constructor(core: CloudCore, contents: Contents) {
    this.#core = core
    this.#contents = contents
  }

  /** What is left to the object is read from where the node's object is now: only this volume has changed it since. */
  source(action: PutAction): UploadSource {
    const { index, reading, staging } = this.#core
    const record = index.objects.get(action.node)
    const remote = (record && this.#core.remoteOf(record)) ?? action.base
    const base = remote && reading.open(remote)
    try {
      const reader = staging.open(action.root!, base)
      return {
        sizeBytes: reader.sizeBytes,
        ...(remote ? { base: remote } : {}),
        read: (position, into, signal) => reader.read(position, into, signal),
        baseRuns: () => reader.baseRuns(),
        close: () => {
          reader.close()
          base?.close()
        },
      }
    } catch (error) {
      base?.close()
      throw error
    }
  }

  stored(work: Work, result: StoredResult): void {
    const { action } = work
    const { index, touched, open } = this.#core
    touched.touch(action.key)
    if (action.kind === 'copy') touched.touch(action.source)
    const attributes = index.node(action.node)
    if (action.kind === 'delete') {
      this.#settled(action.node, work)
      return
    }
    if (!attributes) {
      this.#overtaken(action.key, result)
      return
    }
    const record = this.#core.record(action.node)
    const node = open.get(action.node)
    const told = {
      ...record,
      key: action.key,
      etag: result.etag,
      versionId: result.versionId,
      sizeBytes: isDirectory(attributes.mode) ? 0 : action.kind === 'copy' ? record.sizeBytes : action.sizeBytes,
      modifiedMs: this.#core.now(),
      known: action.kind === 'put' || action.metadata !== undefined || record.known,
      replaces:
        record.key === action.key || this.#core.wantedKey(action.node, isDirectory(attributes.mode)) === action.key
          ? undefined
          : record.replaces,
    }
    index.objects.put({ ...told, pending: this.#isPending(action.node, attributes, action.key, work) })
    this.#core.commit()
    const remote = this.#core.remoteOf(told)
    if (remote) node?.follow(remote)
  }

  finished(work: Work): void {
    const { action } = work
    this.#core.touched.touch(action.key)
    if (action.kind !== 'put') return
    const record = this.#core.index.objects.get(action.node)
    const isThere = record?.key === action.key
    this.#contents.uploaded(work, isThere ? this.#core.remoteOf(record) : undefined)
  }

  conflict(work: Work, conflict: Conflict): Resolution {
    const { action } = work
    const { remote } = conflict
    this.#core.log.info(`somebody else changed ${action.key}`)
    if (action.kind === 'delete') {
      // Theirs stays; the next listing shows it.
      this.#relist(action.key)
      return { decision: 'drop' }
    }
    const attributes = this.#core.index.node(action.node)
    if (action.kind === 'copy' && conflict.source) {
      if (!remote) {
        // It was deleted by somebody else: so it is here.
        if (attributes) this.#vanish(attributes)
        return { decision: 'drop' }
      }
      if (action.source === action.key) {
        // They have other content: our attributes were those of the old one.
        this.#relist(action.key)
        if (attributes) this.#core.index.objects.put({ ...this.#core.record(action.node), pending: false, known: false })
        this.#core.commit()
        return { decision: 'drop' }
      }
      if (attributes) this.#becomes(attributes, remote)
      return { decision: 'again', key: action.key, expected: action.expected, sourceExpected: { etag: remote.etag } }
    }
    if (!remote) return { decision: 'again', key: action.key, expected: 'absent' }
    const key = attributes ? this.#stepAside(attributes, action.key, remote) : this.#freeKey(action.key)
    return { decision: 'again', key, expected: 'absent' }
  }

  /** The node takes a name of its own, and theirs has the old one. */
  #stepAside(attributes: Attributes, key: string, remote: ObjectInfo): string {
    const { index, volume, listener } = this.#core
    const link = index.links(attributes.ino)[0]
    if (!link) return this.#freeKey(key)
    const name = this.#freeName(link.parent, link.name)
    index.renameEntry(volume, link.parent, link.name, link.parent, name, false)
    const record = this.#core.record(attributes.ino)
    // What the bucket had of it was replaced by theirs.
    const isGone = record.key === key
    index.objects.put({
      ...record,
      pending: true,
      replaces: undefined,
      ...(isGone ? { key: undefined, etag: undefined, versionId: undefined } : {}),
    })
    const theirs = asListed(this.#core.newAttributes(S_IFREG | 0o644, attributes.uid, attributes.gid), remote)
    if (this.#core.keyOf(link.parent, link.name, false) === key) {
      index.createEntry(volume, link.parent, link.name, theirs)
      index.objects.put({
        ...this.#core.newRecord(theirs.ino, undefined),
        key,
        etag: remote.etag,
        sizeBytes: remote.sizeBytes,
        modifiedMs: remote.modifiedMs,
        known: false,
      })
    }
    this.#core.commit()
    listener.entryChanged(link.parent, link.name)
    listener.entryChanged(link.parent, name)
    listener.inodeChanged(link.parent, true)
    this.#core.log.warning(`somebody else changed a file meanwhile: what was written here is ${name}`)
    const aside = this.#core.keyOf(link.parent, name, false)
    this.#core.touched.touch(aside)
    this.#core.touched.touch(key)
    return aside
  }

  #freeName(parent: Ino, name: Name): Name {
    for (let count = 0; ; count++) {
      const candidate = conflictName(name, this.#core.device, this.#core.now(), count)
      if (!this.#core.index.lookup(parent, candidate)) return candidate
    }
  }

  /** Of content whose node is gone. */
  #freeKey(key: string): string {
    const slash = key.lastIndexOf('/') + 1
    const name = Buffer.from(key.slice(slash), 'utf8').toString('latin1')
    return key.slice(0, slash) + segmentOfName(conflictName(name, this.#core.device, this.#core.now(), 0))
  }

  /** Work that was begun for a node that is gone. What has its name now may overwrite what it left. */
  #overtaken(key: string, result: StoredResult): void {
    const { index, volume } = this.#core
    if (result.etag === undefined) return
    const slash = key.lastIndexOf('/') + 1
    const directory = this.#directoryOf(key)
    if (directory === undefined) return
    const name = Buffer.from(key.slice(slash), 'utf8').toString('latin1')
    const child = index.objects.child(directory, name)
    if (!child?.object?.pending || child.object.key === key) return
    if (this.#core.journal.ofKey(volume, key).some(other => other.action.node === child.ino)) return
    index.objects.put({ ...child.object, replaces: result.etag })
    this.#core.commit()
  }

  #settled(ino: Ino, work: Work): void {
    const attributes = ino === 0 ? undefined : this.#core.index.node(ino)
    if (!attributes) return
    const record = this.#core.record(ino)
    if (!record.pending || record.key === undefined) return
    if (this.#isPending(ino, attributes, record.key, work)) return
    this.#core.index.objects.put({ ...record, pending: false })
    this.#core.commit()
  }

  /** Whether something is left to do when `work` is done. */
  #isPending(ino: Ino, attributes: Attributes, key: string, work: Work): boolean {
    if (this.#core.open.get(ino)?.isDirty) return true
    if (this.#core.journal.ofNode(this.#core.volume, ino).some(other => other.id !== work.id)) return true
    return this.#core.wantedKey(ino, isDirectory(attributes.mode)) !== key
  }

  #vanish(attributes: Attributes): void {
    const { index, volume, listener, open } = this.#core
    const link = index.links(attributes.ino)[0]
    if (!link) return
    const node = open.get(attributes.ino)
    if (node?.isDirty) {
      // What was written since is not in what they removed: it becomes an object of its own.
      const gone = { key: undefined, etag: undefined, versionId: undefined, replaces: undefined }
      index.objects.put({ ...this.#core.record(attributes.ino), ...gone, pending: true })
      this.#core.commit()
      return
    }
    node?.loseElsewhere()
    index.removeEntry(volume, link.parent, link.name)
    this.#core.commit()
    listener.entryRemoved(link.parent, link.name, attributes.ino)
  }

  /** A file that is moved has newer content, by somebody else. */
  #becomes(attributes: Attributes, remote: ObjectInfo): void {
    const { index, volume, listener } = this.#core
    const record = this.#core.record(attributes.ino)
    index.objects.put({ ...record, etag: remote.etag, versionId: remote.versionId, sizeBytes: remote.sizeBytes, known: false })
    index.putNode(volume, asListed(Object.assign(new Attributes(), attributes), remote))
    this.#core.commit()
    listener.inodeChanged(attributes.ino, true)
  }

  /** What is there is to be seen soon. */
  #relist(key: string): void {
    const directory = this.#directoryOf(key)
    if (directory === undefined) return
    const record = this.#core.record(directory)
    if (record.listedMs !== undefined && record.listedMs > 1) this.#core.index.objects.put({ ...record, listedMs: 1 })
  }

  /** The directory that a key lies in, as far as it is known. */
  #directoryOf(key: string): Ino | undefined {
    const { settings, rootIno, index } = this.#core
    if (!key.startsWith(settings.prefix)) return undefined
    let at = rootIno
    const segments = key.slice(settings.prefix.length).replace(/\/$/, '').split('/').slice(0, -1)
    for (const segment of segments) {
      const found = index.lookup(at, Buffer.from(segment, 'utf8').toString('latin1'))
      if (!found || !isDirectory(found.mode)) return undefined
      at = found.ino
    }
    return at
  }
}
