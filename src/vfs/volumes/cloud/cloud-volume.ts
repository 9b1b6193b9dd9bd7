/**
 * A cloud volume: a bucket as a folder.
 *
 * Owns: the routing of operations to the parts, in which each has its say about one subject:
 *
 *   core            what they share          names     making, removing, renaming
 *   lister          asking the bucket        writer    from written bytes into the journal
 *   directory-merge what is listed           planner   what has to be done in the bucket
 *   details         what objects tell        host      what becomes of work that was done
 *   open-node, contents  open files          mover     renamed directories
 *   recovery        after a start            pins      kept in the cache
 *
 * Must stay true: opening asks no network; what was answered survives the process (docs/cloud.md has the table).
 */
import type { Backend } from '../../../backends/contract.ts'
import type { BlockCache } from '../../../cache/blocks/block-cache.ts'
import type { MemoryBudget } from '../../../cache/reading/memory-budget.ts'
import { ObjectReading } from '../../../cache/reading/object-reader.ts'
import type { StagingArea } from '../../../cache/staging/staging-area.ts'
import { type EngineOptions, type EngineSettings, type EngineStatus, WritebackEngine } from '../../../cache/writeback/engine.ts'
import type { Journal } from '../../../cache/writeback/journal.ts'
import { FsError } from '../../../errors.ts'
import type { Index, VolumeRecord } from '../../../index/contract.ts'
import type { Log } from '../../../log.ts'
import { O_ACCMODE, O_EXCL, O_RDONLY, O_TRUNC } from '../../../sys/flags.ts'
import {
  type Answer,
  type AttributeChanges,
  type AttributesReply,
  type CreatedFile,
  type Entry,
  type FilesystemStatistics,
  type Ino,
  isDirectory,
  isRegular,
  isSymlink,
  type Name,
  type OpenDirectory,
  type OpenFile,
  type OpenFlags,
  type RequestContext,
  S_IFMT,
  S_IFREG,
  type VfsListener,
  type Volume,
  type VolumeStatus,
  type VolumeTraits,
} from '../../contract.ts'
import { after } from './after.ts'
import { AttributeChanger } from './attribute-changes.ts'
import { Contents } from './contents.ts'
import { CloudCore } from './core.ts'
import { Details } from './details.ts'
import { CloudHost } from './host.ts'
import { checkedName } from './keys.ts'
import { Lister } from './lister.ts'
import { Mover } from './mover.ts'
import { Names } from './names.ts'
import { CloudDirectory } from './open-directory.ts'
import { CloudFile } from './open-file.ts'
import { type PinnedFile, Pins, type WarmProgress } from './pins.ts'
import { Planner } from './planner.ts'
import { recover } from './recovery.ts'
import { roomOf, statusOf } from './report.ts'
import { volumeSettings } from './settings.ts'
import { Writer } from './writer.ts'

export type { PinnedFile, WarmProgress } from './pins.ts'
export type { CloudSettings } from './settings.ts'

const NEGATIVE_TTL_MS = 1000

export interface CloudVolumeOptions {
  readonly record: VolumeRecord
  readonly index: Index
  /** With its retries and limits. */
  readonly backend: Backend
  /** One for the library, shared by its volumes, as what follows. */
  readonly cache?: BlockCache | undefined
  readonly reading: { readonly memory?: MemoryBudget }
  readonly staging: StagingArea
  readonly journal: Journal
  /** What names this machine in the name of a conflicting copy. */
  readonly device: string
  readonly log: Log
  readonly listener: VfsListener
  readonly engine?: Partial<EngineSettings>
  /** For tests. */
  readonly now?: () => number
  readonly step?: EngineOptions['step']
}

export interface SyncControl {
  status(): EngineStatus
  /** Answers when nothing is left but what failed. */
  drained(signal?: AbortSignal): Promise<void>
  retryNow(): void
}

export class CloudVolume implements Volume {
  readonly id: number
  readonly kind = 'cloud'
  readonly rootIno: Ino
  readonly traits: VolumeTraits
  readonly sync: SyncControl
  readonly #core: CloudCore
  readonly #engine: WritebackEngine
  readonly #lister: Lister
  readonly #details: Details
  readonly #contents: Contents
  readonly #writer: Writer
  readonly #names: Names
  readonly #mover: Mover
  readonly #changer: AttributeChanger
  readonly #pins: Pins
  #isClosed = false

  /** From the index, without asking the network. */
  static open(options: CloudVolumeOptions): CloudVolume {
    return new CloudVolume(options)
  }

  private constructor(options: CloudVolumeOptions) {
    const { record, index, backend, cache, staging, journal, device, log, listener } = options
    const settings = volumeSettings(record)
    this.id = record.id
    const { memory } = options.reading
    const reading = new ObjectReading({ backend, volume: record.id, cache, ...(memory ? { memory } : {}) })
    const now = options.now ?? Date.now
    const core = new CloudCore({
      volume: record.id,
      settings,
      index,
      backend,
      cache,
      reading,
      staging,
      journal,
      device,
      log,
      listener,
      now,
    })
    this.#core = core
    this.rootIno = core.rootIno
    this.#contents = new Contents(core, (ino, signal) => {
      const running = journal.ofNode(record.id, ino).find(work => this.#engine.isRunning(work.id))
      return running && this.#engine.done(running.id, signal)
    })
    const host = new CloudHost(core, this.#contents)
    this.#engine = new WritebackEngine({
      volume: record.id,
      journal,
      backend,
      host,
      log,
      ...(options.engine ? { settings: options.engine } : {}),
      ...(options.step ? { step: options.step } : {}),
    })
    const kick = () => this.#engine.kick()
    const planner = new Planner({ core, isRunning: id => this.#engine.isRunning(id), dropped: work => this.#contents.release(work) })
    this.#writer = new Writer(core, planner, this.#contents, this.#engine)
    this.#mover = new Mover(core, planner, kick)
    this.#lister = new Lister(core, () => this.#mover.planned())
    this.#details = new Details(core, () => this.#lister.away !== undefined)
    this.#names = new Names({ core, planner, contents: this.#contents, writer: this.#writer, kick, moved: () => this.#mover.start() })
    this.#changer = new AttributeChanger(core, planner, this.#contents, this.#writer)
    this.#pins = new Pins(core)
    this.traits = {
      readOnly: settings.readOnly,
      hardLinks: false,
      symlinks: true,
      specialFiles: false,
      extendedAttributes: true,
      posixAcls: false,
      local: false,
      negativeTtlMs: Math.min(NEGATIVE_TTL_MS, settings.ttlMs),
    }
    this.sync = {
      status: () => this.#engine.status(),
      drained: async signal => {
        await this.#mover.planned()
        await this.#engine.drained(signal)
      },
      retryNow: () => this.#engine.retryNow(),
    }
    recover(core, planner)
    this.#mover.start()
    this.#engine.start()
    this.#lister.start()
    this.#pins.start()
  }

  /** Lists a directory again now; without a path the whole volume, page by page. */
  async refresh(path?: Name, signal?: AbortSignal): Promise<void> {
    if (path === undefined || path === '') await this.#lister.again(this.rootIno, signal)
    else await this.#lister.again(await this.#pins.find(path, directory => this.#lister.fresh(directory, () => signal ?? never)), signal)
  }

  async pin(path: Name, signal: AbortSignal, progress: (done: WarmProgress) => void): Promise<void> {
    await this.#pins.pin(await this.#resolve(path, signal), signal, progress)
  }
  unpin(path: Name): void {
    this.#pins.unpin(path)
  }
  pinned(): PinnedFile[] {
    return this.#pins.list()
  }
  /** Brings all below a path into the block cache. */
  async warm(path: Name, signal: AbortSignal, progress: (done: WarmProgress) => void): Promise<WarmProgress> {
    return this.#pins.warm(await this.#resolve(path, signal), signal, progress)
  }

  // --- names ---

  lookup(context: RequestContext, parent: Ino, name: Name): Answer<Entry | undefined> {
    this.#core.directory(parent)
    checkedName(name)
    return after(this.#fresh(context, parent), () => {
      const found = this.#core.child(parent, name)
      if (!found) return undefined
      return after(this.#details.known(found.ino, parent, name), () => {
        const now = this.#core.child(parent, name)
        return now && this.#core.entry(now)
      })
    })
  }

  forget(): void {}

  readlink(_context: RequestContext, ino: Ino): Answer<Name> {
    if (!isSymlink(this.#core.attributes(ino).mode)) throw new FsError('invalid', undefined, { operation: 'readlink' })
    return after(this.#details.known(ino), () => {
      const target = this.#core.index.objects.target(ino)
      if (target === undefined) throw new FsError('io', 'the target of the link is not known', { operation: 'readlink' })
      return target
    })
  }

  symlink(context: RequestContext, parent: Ino, name: Name, target: Name): Answer<Entry> {
    return this.#changing(context, parent, 'symlink', () => this.#core.entry(this.#names.symlink(context, parent, name, target)))
  }

  mknod(context: RequestContext, parent: Ino, name: Name, mode: number): Answer<Entry> {
    const type = mode & S_IFMT
    if (type !== 0 && type !== S_IFREG) throw new FsError('not-permitted', 'a bucket holds no special files', { operation: 'mknod' })
    return this.#changing(context, parent, 'mknod', () => {
      const node = this.#names.createFile(context, parent, name, S_IFREG | (mode & 0o7777 & ~context.umask))
      this.#writer.close(node)
      return this.#core.entry(node.attributes)
    })
  }

  mkdir(context: RequestContext, parent: Ino, name: Name, mode: number): Answer<Entry> {
    return this.#changing(context, parent, 'mkdir', () =>
      this.#core.entry(this.#names.mkdir(context, parent, name, mode & 0o7777 & ~context.umask)),
    )
  }

  unlink(context: RequestContext, parent: Ino, name: Name): Answer<void> {
    return this.#changing(context, parent, 'unlink', () => this.#names.unlink(parent, name))
  }

  rmdir(context: RequestContext, parent: Ino, name: Name): Answer<void> {
    return this.#changing(context, parent, 'rmdir', () => {
      const found = this.#core.child(parent, checkedName(name))
      if (!found || !isDirectory(found.mode)) return this.#names.rmdir(parent, name)
      return after(this.#fresh(context, found.ino), () => this.#names.rmdir(parent, name))
    })
  }

  rename(context: RequestContext, parent: Ino, name: Name, newParent: Ino, newName: Name, flags: number): Answer<void> {
    this.#core.directory(newParent)
    return this.#changing(context, parent, 'rename', () =>
      after(this.#fresh(context, newParent), () =>
        after(this.#listedWhole(context, parent, name), () => {
          const target = this.#core.child(newParent, checkedName(newName))
          const listed = target && isDirectory(target.mode) ? this.#fresh(context, target.ino) : undefined
          return after(listed, () => this.#names.rename(parent, name, newParent, newName, flags))
        }),
      ),
    )
  }

  link(_context: RequestContext, ino: Ino): Entry {
    this.#core.attributes(ino)
    throw new FsError('not-permitted', 'an object has one name', { operation: 'link' })
  }

  // --- attributes ---

  getattr(_context: RequestContext, ino: Ino, file?: OpenFile): Answer<AttributesReply> {
    if (file instanceof CloudFile) return { attributes: file.node.attributes, attributeTtlMs: this.#core.beliefMs }
    this.#core.attributes(ino)
    return after(this.#details.known(ino), () => ({ attributes: this.#core.attributes(ino), attributeTtlMs: this.#core.beliefMs }))
  }

  setattr(_context: RequestContext, ino: Ino, changes: AttributeChanges, file?: OpenFile): Answer<AttributesReply> {
    this.#core.mustBeWritable('setattr')
    const node = file instanceof CloudFile ? file.node : undefined
    if (!node) this.#core.attributes(ino)
    return after(this.#details.known(ino), () => ({
      attributes: this.#changer.set(ino, changes, node),
      attributeTtlMs: this.#core.beliefMs,
    }))
  }

  access(_context: RequestContext, ino: Ino): void {
    this.#core.attributes(ino)
  }

  statfs(): FilesystemStatistics {
    return roomOf(this.#core)
  }

  setxattr(_context: RequestContext, ino: Ino, name: Name, value: Buffer, flags: number): Answer<void> {
    this.#core.mustBeWritable('setxattr')
    this.#core.attributes(ino)
    return after(this.#details.known(ino), () => this.#changer.setXattr(ino, name, value, flags))
  }

  getxattr(_context: RequestContext, ino: Ino, name: Name): Answer<Buffer> {
    this.#core.attributes(ino)
    return after(this.#details.known(ino), () => {
      const value = this.#core.index.objects.attributes(ino).get(name)
      if (!value) throw new FsError('no-attribute', undefined, { operation: 'getxattr' })
      return value
    })
  }

  listxattr(_context: RequestContext, ino: Ino): Answer<Name[]> {
    this.#core.attributes(ino)
    return after(this.#details.known(ino), () => [...this.#core.index.objects.attributes(ino).keys()])
  }

  removexattr(_context: RequestContext, ino: Ino, name: Name): Answer<void> {
    this.#core.mustBeWritable('removexattr')
    this.#core.attributes(ino)
    return after(this.#details.known(ino), () => this.#changer.removeXattr(ino, name))
  }

  async syncfs(context: RequestContext): Promise<void> {
    for (const node of [...this.#core.open.values()]) await this.#writer.fsync(node, () => context.signal)
    const { staging, journal, index } = this.#core
    // Also the contents of files that nobody has open any more: rows of the journal name them.
    await Promise.all([staging.sync(context.signal), journal.durable(), index.durable()])
  }

  // --- open files ---

  open(_context: RequestContext, ino: Ino, flags: OpenFlags): Answer<OpenFile> {
    const { mode } = this.#core.attributes(ino)
    const writes = (flags & O_ACCMODE) !== O_RDONLY || (flags & O_TRUNC) !== 0
    if (writes) this.#core.mustBeWritable('open')
    if (isDirectory(mode)) throw new FsError('is-directory', undefined, { operation: 'open' })
    if (isSymlink(mode)) throw new FsError('symlink-loop', undefined, { operation: 'open' })
    if (!isRegular(mode)) throw new FsError('no-device', undefined, { operation: 'open' })
    return after(this.#details.known(ino), () => {
      const node = this.#contents.open(ino)
      const file = new CloudFile(node, this.#writer, flags, true)
      if (flags & O_TRUNC && node.sizeBytes > 0) this.#writer.truncate(node, 0)
      return file
    })
  }

  create(context: RequestContext, parent: Ino, name: Name, mode: number, flags: OpenFlags): Answer<CreatedFile<OpenFile>> {
    return this.#changing(context, parent, 'create', () => {
      const existing = this.#core.child(parent, checkedName(name))
      if (existing) {
        if (flags & O_EXCL) throw new FsError('exists', undefined, { operation: 'create' })
        return after(this.open(context, existing.ino, flags), file => ({ entry: this.#core.entry(this.#core.attributes(file.ino)), file }))
      }
      const node = this.#names.createFile(context, parent, name, S_IFREG | (mode & 0o7777 & ~context.umask))
      return { entry: this.#core.entry(node.attributes), file: new CloudFile(node, this.#writer, flags, true) }
    })
  }

  tmpfile(): never {
    throw new FsError('not-supported', undefined, { operation: 'tmpfile' })
  }

  opendir(context: RequestContext, ino: Ino): Answer<OpenDirectory> {
    this.#core.directory(ino)
    return after(this.#fresh(context, ino), () => new CloudDirectory(this.#core, ino))
  }

  ioctl(): never {
    throw new FsError('not-tty', undefined, { operation: 'ioctl' })
  }

  // --- the volume ---

  status(): VolumeStatus {
    return statusOf(this.#core, this.#lister, this.#isClosed)
  }

  idle(): void {}

  /** Ends at once: what isn't uploaded goes on with the next start. */
  async close(): Promise<void> {
    this.#isClosed = true
    await Promise.all([this.#lister.stop(), this.#details.stop(), this.#mover.stop(), this.#engine.stop(), this.#pins.stop()])
    await this.#contents.stop()
    this.#writer.stop()
    await this.#contents.finish()
    this.#core.reading.close()
    this.#core.index.flush('process')
  }

  #fresh(context: RequestContext, directory: Ino): Answer<void> {
    return this.#lister.fresh(directory, () => context.signal)
  }

  /** Before a change below a directory: what is there is known. */
  #changing<T>(context: RequestContext, parent: Ino, operation: string, change: () => Answer<T>): Answer<T> {
    this.#core.mustBeWritable(operation)
    this.#core.directory(parent)
    return after(this.#fresh(context, parent), change)
  }

  /** A directory that is renamed has to be known with all below it: its objects are to follow. */
  #listedWhole(context: RequestContext, parent: Ino, name: Name): Answer<void> {
    const found = this.#core.child(parent, checkedName(name))
    if (!found || !isDirectory(found.mode) || !this.#lister.isPartlyUnknown(found.ino)) return
    return this.#lister.whole(found.ino, context.signal)
  }

  #resolve(path: Name, signal: AbortSignal): Promise<Ino> {
    return this.#pins.find(path, directory => this.#lister.fresh(directory, () => signal))
  }
}

const never = new AbortController().signal
