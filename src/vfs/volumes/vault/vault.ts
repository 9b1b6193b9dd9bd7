/**
 * A vault as a volume: a tree whose names, attributes and bytes are sealed, over a store of blobs.
 *
 * Owns: which tree a number belongs to (now, or a snapshot), and what is done to the vault as a whole. The parts:
 *
 *   store      where blobs lie            nodes      attributes, numbers, references
 *   chunks     contents by their hash     contents   bytes of files: extents and what was written since
 *   log        records, checkpoints       commits    when all of it is durable
 *   index      the tree, in SQLite        upkeep     collecting, checking
 *
 * Must stay true: what is in a snapshot never changes; `.snapshots` in the root is found by name and not listed, so that a copy
 * of the vault doesn't copy its past, and a removal of everything doesn't fail on it.
 * It doesn't: know passphrases, or who else has the vault open.
 */
import { FsError } from '../../../errors.ts'
import type {
  AttributeChanges,
  AttributesReply,
  CreatedFile,
  Entry,
  FilesystemStatistics,
  Ino,
  Name,
  OpenDirectory,
  OpenFile,
  OpenFlags,
  RequestContext,
  Volume,
  VolumeStatus,
  VolumeTraits,
} from '../../contract.ts'
import { indexNumbers } from './index/inspection.ts'
import type { SnapshotRow } from './index/working-index.ts'
import { LiveTree } from './live-tree.ts'
import { createVault, type OpenedVault, openVault, type VaultOptions } from './open-vault.ts'
import { ROOT_ID, type VaultParts } from './parts.ts'
import { type KeepRules, keptSnapshots } from './snapshots/keep-rules.ts'
import { PastTree, SNAPSHOTS_NAME } from './snapshots/past-tree.ts'
import { checkedLabel, snapshotName } from './snapshots/snapshot-names.ts'
import { Caretaker } from './upkeep/caretaker.ts'
import { type CheckOptions, check, type Damage } from './upkeep/checker.ts'
import { type Collected, collect, type UpkeepProgress } from './upkeep/collector.ts'

const NEGATIVE_TTL_MS = 60_000

export interface SnapshotInfo {
  readonly id: number
  /** Below `.snapshots`, one character a byte. */
  readonly name: Name
  readonly label: string
  readonly timeMs: number
}

export interface VaultInfo {
  /** Of the last commit: each is one more. */
  readonly generation: number
  readonly nodes: number
  readonly chunks: number
  readonly packs: number
  readonly snapshots: number
  /** Of all files and snapshots, before duplicates and compression. */
  readonly contentBytes: number
  /** Without duplicates, before compression. */
  readonly uniqueBytes: number
  /** Of the chunks that are in use, as they are stored. */
  readonly storedBytes: number
  /** All that the vault takes in its store, the header aside. */
  readonly totalBytes: number
}

export class VaultVolume implements Volume {
  readonly id: number
  readonly kind = 'vault'
  readonly rootIno: Ino
  readonly traits: VolumeTraits
  readonly #opened: OpenedVault
  readonly #parts: VaultParts
  readonly #live: LiveTree
  readonly #past: PastTree
  readonly #caretaker: Caretaker
  readonly #nowMs: () => number

  private constructor(options: VaultOptions, opened: OpenedVault) {
    this.id = options.record.id
    this.#opened = opened
    this.#parts = opened.parts
    this.#live = new LiveTree(this.#parts, options.slot)
    this.#past = new PastTree(this.#parts, options.slot)
    this.#nowMs = () => Math.floor(this.#parts.nodes.now().sec * 1000)
    this.#caretaker = new Caretaker(this.#parts, options.log)
    this.rootIno = this.#parts.nodes.ino(ROOT_ID)
    this.traits = {
      readOnly: this.#parts.readOnly,
      hardLinks: true,
      symlinks: true,
      specialFiles: true,
      extendedAttributes: true,
      posixAcls: false,
      local: false,
      negativeTtlMs: NEGATIVE_TTL_MS,
    }
  }

  /** Writes an empty vault into an empty store. */
  static async create(options: VaultOptions): Promise<void> {
    createVault(options)
  }

  /**
   * Throws 'stale' for a vault that is older than this machine has seen it, 'damaged' where nothing can be read, 'not-supported'
   * where a newer program wrote it. Where a part of log or index is lost, what is before it opens read-only, and `status` says so.
   */
  static async open(options: VaultOptions): Promise<VaultVolume> {
    return new VaultVolume(options, openVault(options))
  }

  // --- the vault as a whole ---

  /** Keeps the tree as it is now. */
  async snapshot(label = ''): Promise<SnapshotInfo> {
    this.#mustBeWritable('snapshot')
    this.#parts.commits.commit('none')
    this.#parts.recorder.snapshot(checkedLabel(label), this.#nowMs())
    this.#parts.commits.commit('none')
    return this.snapshots().at(-1)!
  }

  /** In the order in which they were taken. */
  snapshots(): SnapshotInfo[] {
    const rows = this.#parts.index.snapshots()
    return rows.map(row => info(row, rows))
  }

  /** Removes the snapshots that the rules don't keep; answers them. Their space is free after the next collection. */
  async prune(rules: KeepRules): Promise<SnapshotInfo[]> {
    this.#mustBeWritable('prune')
    const all = this.snapshots()
    const kept = keptSnapshots(
      all.map(({ id, timeMs }) => ({ id, time: timeMs })),
      rules,
    )
    return this.#removeSnapshots(all.filter(({ id }) => !kept.has(id)))
  }

  /** Throws 'not-found' for a name that isn't there. */
  async removeSnapshot(name: Name): Promise<SnapshotInfo> {
    this.#mustBeWritable('remove snapshot')
    const found = this.snapshots().find(snapshot => snapshot.name === name)
    if (!found) throw new FsError('not-found', 'there is no such snapshot', { subject: name })
    this.#removeSnapshots([found])
    return found
  }

  /** Frees what nothing refers to. */
  async gc(signal: AbortSignal, progress: UpkeepProgress = () => {}): Promise<Collected> {
    this.#mustBeWritable('gc')
    return this.#caretaker.alone(ending => collect(this.#parts, AbortSignal.any([signal, ending]), progress))
  }

  /** Reads all that is stored and answers what is damaged; with `repair` gives up what is lost. */
  async check(options: CheckOptions): Promise<Damage[]> {
    const repairLog = async () => {
      await this.#opened.supersede()
      return this.#parts.readOnly
        ? 'what came after the damage is given up; open the vault again to write to it'
        : 'written anew from what this machine has: nothing is lost'
    }
    return this.#caretaker.alone(ending => {
      const signal = AbortSignal.any([options.signal, ending])
      return check(this.#parts, () => this.#opened.storedDamage(), repairLog, { ...options, signal })
    })
  }

  info(): VaultInfo {
    const { index, store, extents } = this.#parts
    let totalBytes = 0
    for (const prefix of ['packs/', 'log/', 'checkpoints/']) for (const { sizeBytes } of store.list(prefix)) totalBytes += sizeBytes
    return { ...indexNumbers(index.database), generation: this.#opened.generation(), packs: extents.packs().length, totalBytes }
  }

  // --- names ---

  lookup(context: RequestContext, parent: Ino, name: Name): Entry | undefined {
    if (this.#isSnapshots(parent, name)) return this.#past.folder()
    return this.#past.has(parent) ? this.#past.lookup(parent, name) : this.#live.lookup(context, parent, name)
  }

  forget(ino: Ino, count: number): void {
    if (this.#past.has(ino)) this.#past.forget(ino, count)
    else this.#live.forget(ino, count)
  }

  symlink(context: RequestContext, parent: Ino, name: Name, target: Name): Entry {
    this.#mustBeFree(parent, name)
    return this.#live.symlink(context, parent, name, target)
  }

  mknod(context: RequestContext, parent: Ino, name: Name, mode: number, rdev: number): Entry {
    this.#mustBeFree(parent, name)
    return this.#live.mknod(context, parent, name, mode, rdev)
  }

  mkdir(context: RequestContext, parent: Ino, name: Name, mode: number): Entry {
    this.#mustBeFree(parent, name)
    return this.#live.mkdir(context, parent, name, mode)
  }

  unlink(context: RequestContext, parent: Ino, name: Name): void {
    if (this.#isSnapshots(parent, name)) throw new FsError('is-directory', undefined, { operation: 'unlink' })
    this.#mustBeNow(parent)
    this.#live.unlink(context, parent, name)
  }

  rmdir(context: RequestContext, parent: Ino, name: Name): void {
    if (this.#isSnapshots(parent, name)) throw new FsError('not-permitted', undefined, { operation: 'rmdir' })
    this.#mustBeNow(parent)
    this.#live.rmdir(context, parent, name)
  }

  rename(context: RequestContext, parent: Ino, name: Name, newParent: Ino, newName: Name, flags: number): void {
    if (this.#past.has(parent) !== this.#past.has(newParent)) throw new FsError('cross-volume', undefined, { operation: 'rename' })
    this.#mustBeNow(parent)
    if (this.#isSnapshots(parent, name) || this.#isSnapshots(newParent, newName))
      throw new FsError('not-permitted', undefined, { operation: 'rename' })
    this.#live.rename(context, parent, name, newParent, newName, flags)
  }

  link(context: RequestContext, ino: Ino, newParent: Ino, newName: Name): Entry {
    if (this.#past.has(ino) !== this.#past.has(newParent)) throw new FsError('cross-volume', undefined, { operation: 'link' })
    this.#mustBeFree(newParent, newName)
    return this.#live.link(context, ino, newParent, newName)
  }

  readlink(context: RequestContext, ino: Ino): Name {
    return this.#past.has(ino) ? this.#past.readlink(ino) : this.#live.readlink(context, ino)
  }

  // --- attributes ---

  getattr(context: RequestContext, ino: Ino): AttributesReply {
    return this.#past.has(ino) ? this.#past.getattr(ino) : this.#live.getattr(context, ino)
  }

  setattr(context: RequestContext, ino: Ino, changes: AttributeChanges): AttributesReply {
    this.#mustBeNow(ino)
    return this.#live.setattr(context, ino, changes)
  }

  access(context: RequestContext, ino: Ino): void {
    if (this.#past.has(ino)) this.#past.getattr(ino)
    else this.#live.access(context, ino)
  }

  statfs(): FilesystemStatistics {
    return this.#live.statfs()
  }

  setxattr(context: RequestContext, ino: Ino, name: Name, value: Buffer, flags: number): void {
    this.#mustBeNow(ino)
    this.#live.setxattr(context, ino, name, value, flags)
  }

  getxattr(context: RequestContext, ino: Ino, name: Name): Buffer {
    return this.#past.has(ino) ? this.#past.getxattr(ino, name) : this.#live.getxattr(context, ino, name)
  }

  listxattr(context: RequestContext, ino: Ino): Name[] {
    return this.#past.has(ino) ? this.#past.listxattr(ino) : this.#live.listxattr(context, ino)
  }

  removexattr(context: RequestContext, ino: Ino, name: Name): void {
    this.#mustBeNow(ino)
    this.#live.removexattr(context, ino, name)
  }

  // --- open files ---

  open(context: RequestContext, ino: Ino, flags: OpenFlags): OpenFile {
    return this.#past.has(ino) ? this.#past.open(ino, flags) : this.#live.open(context, ino, flags)
  }

  create(context: RequestContext, parent: Ino, name: Name, mode: number, flags: OpenFlags): CreatedFile<OpenFile> {
    this.#mustBeFree(parent, name)
    return this.#live.create(context, parent, name, mode, flags)
  }

  tmpfile(context: RequestContext, parent: Ino, mode: number, flags: OpenFlags): CreatedFile<OpenFile> {
    this.#mustBeNow(parent)
    return this.#live.tmpfile(context, parent, mode, flags)
  }

  opendir(context: RequestContext, ino: Ino): OpenDirectory {
    return this.#past.has(ino) ? this.#past.opendir(ino) : this.#live.opendir(context, ino)
  }

  ioctl(): Buffer {
    throw new FsError('not-tty', undefined, { operation: 'ioctl' })
  }

  syncfs(): void {
    this.#live.syncfs()
  }

  status(): VolumeStatus {
    const detail = this.#parts.commits.failure?.message ?? this.#parts.commits.trouble ?? this.#opened.damage[0]
    return { state: 'online', unreadable: [], ...(detail === undefined ? {} : { detail }) }
  }

  idle(): void {}

  async close(): Promise<void> {
    await this.#caretaker.close()
    await this.#opened.close()
  }

  // --- inside ---

  #isSnapshots(parent: Ino, name: Name): boolean {
    return parent === this.rootIno && name === SNAPSHOTS_NAME
  }

  #mustBeNow(ino: Ino): void {
    if (this.#past.has(ino)) throw new FsError('read-only')
  }

  /** In a living directory, and not the name of the snapshots. */
  #mustBeFree(parent: Ino, name: Name): void {
    this.#mustBeNow(parent)
    if (this.#isSnapshots(parent, name)) throw new FsError('exists')
  }

  #mustBeWritable(operation: string): void {
    if (this.#parts.readOnly) throw new FsError('read-only', undefined, { operation })
  }

  #removeSnapshots(gone: SnapshotInfo[]): SnapshotInfo[] {
    for (const { id } of gone) this.#parts.recorder.snapshotGone(id)
    this.#parts.commits.commit('none')
    return gone
  }
}

function info(row: SnapshotRow, all: readonly SnapshotRow[]): SnapshotInfo {
  return { id: row.id, name: snapshotName(row, all), label: row.label, timeMs: row.time }
}

export type { Collected, Damage, KeepRules, VaultOptions }
