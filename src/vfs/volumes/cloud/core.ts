/**
 * What the parts of a cloud volume share: the ground it stands on, its open nodes, and the keys of its nodes.
 *
 * Owns: which nodes are open, the making of node numbers and attributes, and the commit that stands before every answer.
 * Must stay true: what `commit` answered survives the process; a node's key is made of its names up to the volume's root, and of
 * nothing else.
 */
import type { Backend } from '../../../backends/contract.ts'
import type { BlockCache } from '../../../cache/blocks/block-cache.ts'
import type { ObjectReading, RemoteObject } from '../../../cache/reading/object-reader.ts'
import type { StagingArea } from '../../../cache/staging/staging-area.ts'
import type { Journal } from '../../../cache/writeback/journal.ts'
import { FsError } from '../../../errors.ts'
import type { Index, VolumeId } from '../../../index/contract.ts'
import type { ObjectRecord } from '../../../index/object-store.ts'
import type { Log } from '../../../log.ts'
import { Attributes, type Entry, type Ino, isDirectory, type Name, S_IFDIR, SLOT_SIZE, type VfsListener } from '../../contract.ts'
import { checkedKey, segmentOfName } from './keys.ts'
import type { OpenNode } from './open-node.ts'
import type { VolumeSettings } from './settings.ts'
import { TouchedKeys } from './touched-keys.ts'

/** A front end may believe what it was told for so long; what changes is told before. */
const LONGEST_BELIEF_MS = 10_000
const REMEMBERED_DIRECTORIES = 10_000
/** More directories than any key has. */
const DEPTH_LIMIT = 1100

export interface CoreParts {
  readonly volume: VolumeId
  readonly settings: VolumeSettings
  readonly index: Index
  readonly backend: Backend
  readonly cache: BlockCache | undefined
  readonly reading: ObjectReading
  readonly staging: StagingArea
  readonly journal: Journal
  readonly device: string
  readonly log: Log
  readonly listener: VfsListener
  readonly now: () => number
}

export class CloudCore {
  readonly volume: VolumeId
  readonly settings: VolumeSettings
  readonly index: Index
  readonly backend: Backend
  readonly cache: BlockCache | undefined
  readonly reading: ObjectReading
  readonly staging: StagingArea
  readonly journal: Journal
  readonly device: string
  readonly log: Log
  readonly listener: VfsListener
  readonly now: () => number
  readonly rootIno: Ino
  readonly touched = new TouchedKeys()
  /** By number: the nodes that somebody has open, or whose content isn't in the journal yet. */
  readonly open = new Map<Ino, OpenNode>()
  readonly #slot: number
  readonly #prefixes = new Map<Ino, string>()

  constructor(parts: CoreParts) {
    this.volume = parts.volume
    this.settings = parts.settings
    this.index = parts.index
    this.backend = parts.backend
    this.cache = parts.cache
    this.reading = parts.reading
    this.staging = parts.staging
    this.journal = parts.journal
    this.device = parts.device
    this.log = parts.log
    this.listener = parts.listener
    this.now = parts.now
    this.#slot = parts.index.slot(parts.volume, '')
    this.rootIno = this.#slot * SLOT_SIZE + 1
    this.#makeRoot()
  }

  // --- nodes ---

  /** Throws 'stale' for a number that means nothing (any more). */
  attributes(ino: Ino): Attributes {
    const attributes = this.open.get(ino)?.attributes ?? this.index.node(ino)
    if (!attributes || Math.floor(ino / SLOT_SIZE) !== this.#slot) throw new FsError('stale')
    return attributes
  }

  directory(ino: Ino): Attributes {
    const attributes = this.attributes(ino)
    if (!isDirectory(attributes.mode)) throw new FsError('not-directory')
    return attributes
  }

  /** What a name means; open nodes with what they are now. */
  child(parent: Ino, name: Name): Attributes | undefined {
    const attributes = this.index.lookup(parent, name)
    return attributes && (this.open.get(attributes.ino)?.attributes ?? attributes)
  }

  record(ino: Ino): ObjectRecord {
    return this.index.objects.get(ino) ?? this.newRecord(ino, undefined)
  }

  /** Of a node that the bucket knows nothing of. `listedMs`: of a directory. */
  newRecord(ino: Ino, listedMs: number | undefined): ObjectRecord {
    return {
      ino,
      volume: this.volume,
      key: undefined,
      etag: undefined,
      versionId: undefined,
      sizeBytes: 0,
      modifiedMs: 0,
      contentType: undefined,
      known: true,
      pending: false,
      pinned: false,
      listedMs,
      replaces: undefined,
    }
  }

  freshIno(): Ino {
    return this.index.freshIno(this.#slot)
  }

  newAttributes(mode: number, uid: number, gid: number): Attributes {
    const a = new Attributes()
    a.ino = this.freshIno()
    a.mode = mode
    a.nlink = 1
    a.uid = uid
    a.gid = gid
    const { sec, nsec } = this.time()
    a.atimeSec = a.mtimeSec = a.ctimeSec = a.btimeSec = sec
    a.atimeNsec = a.mtimeNsec = a.ctimeNsec = a.btimeNsec = nsec
    if (isDirectory(mode)) {
      a.sizeBytes = 4096
      a.blocks = 8
    }
    return a
  }

  /** Changes attributes: the index and, of an open node, what it shows. */
  setAttributes(attributes: Attributes): void {
    const node = this.open.get(attributes.ino)
    if (node) node.attributes = attributes
    if (!node?.isUnlinked) this.index.putNode(this.volume, attributes)
  }

  /** The content of a directory changed. */
  touchDirectory(ino: Ino): void {
    const before = this.index.node(ino)
    if (before) this.setAttributes(modified(before, this.time()))
  }

  /** What is entered under a name, with how long it may be believed. */
  entry(attributes: Attributes): Entry {
    const beliefMs = this.beliefMs
    return { attributes, generation: 1, entryTtlMs: beliefMs, attributeTtlMs: beliefMs }
  }

  get beliefMs(): number {
    return Math.min(LONGEST_BELIEF_MS, this.settings.ttlMs / 4)
  }

  time(): { readonly sec: number; readonly nsec: number } {
    const milliseconds = this.now()
    const nanoseconds = BigInt(Math.floor(milliseconds)) * 1_000_000n + (process.hrtime.bigint() % 1_000_000n)
    return { sec: Number(nanoseconds / 1_000_000_000n), nsec: Number(nanoseconds % 1_000_000_000n) }
  }

  // --- keys ---

  /** What the keys of all that is below a directory begin with. */
  prefixOf(directory: Ino): string {
    const names: Name[] = []
    let at = directory
    let prefix: string | undefined
    for (let depth = 0; depth < DEPTH_LIMIT; depth++) {
      prefix = at === this.rootIno ? this.settings.prefix : this.#prefixes.get(at)
      if (prefix !== undefined) break
      const link = this.index.links(at)[0]
      if (!link) throw new FsError('stale')
      names.push(link.name)
      at = link.parent
    }
    if (prefix === undefined) throw new FsError('stale')
    for (const name of names.reverse()) prefix += `${segmentOfName(name)}/`
    if (this.#prefixes.size >= REMEMBERED_DIRECTORIES) this.#prefixes.clear()
    this.#prefixes.set(directory, prefix)
    return prefix
  }

  /** Directories have other names than before. */
  forgetPrefixes(): void {
    this.#prefixes.clear()
  }

  keyOf(parent: Ino, name: Name, isDirectory: boolean): string {
    return checkedKey(this.prefixOf(parent) + segmentOfName(name) + (isDirectory ? '/' : ''))
  }

  /** Where a node's object belongs; undefined: it has no name. */
  wantedKey(ino: Ino, isDirectory: boolean): string | undefined {
    const link = this.index.links(ino)[0]
    return link && this.keyOf(link.parent, link.name, isDirectory)
  }

  // --- the disk ---

  /** What was changed survives the process when this returns. */
  commit(): void {
    this.index.flush('process')
  }

  mustBeWritable(operation: string): void {
    if (this.settings.readOnly) throw new FsError('read-only', undefined, { operation })
  }

  /** The object as the index knows it, to be read; undefined: there is none. */
  remoteOf(record: ObjectRecord): RemoteObject | undefined {
    const { key, etag, versionId, sizeBytes } = record
    return key === undefined || etag === undefined ? undefined : { key, etag, versionId, sizeBytes }
  }

  #makeRoot(): void {
    if (this.index.node(this.rootIno)) return
    const root = Object.assign(this.newAttributes(S_IFDIR | 0o755, process.getuid?.() ?? 0, process.getgid?.() ?? 0), { ino: this.rootIno })
    this.index.putNode(this.volume, root)
    this.index.objects.put(this.newRecord(this.rootIno, 0))
    this.commit()
  }
}

/** A copy with the times of a changed content. */
export function modified(before: Attributes, time: { readonly sec: number; readonly nsec: number }): Attributes {
  const a = changed(before, time)
  a.mtimeSec = time.sec
  a.mtimeNsec = time.nsec
  return a
}

/** A copy with the time of changed attributes. */
export function changed(before: Attributes, time: { readonly sec: number; readonly nsec: number }): Attributes {
  const a = Object.assign(new Attributes(), before)
  a.ctimeSec = time.sec
  a.ctimeNsec = time.nsec
  return a
}

/** Of a file of that size. */
export function sized(before: Attributes, sizeBytes: number): Attributes {
  return Object.assign(new Attributes(), before, { sizeBytes, blocks: Math.ceil(sizeBytes / 512) })
}
