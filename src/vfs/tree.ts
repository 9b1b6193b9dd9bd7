/**
 * The tree: one root directory with a folder for each volume, and the routing of every operation to the volume that owns
 * the node.
 *
 * Owns: the root directory (inode 1), the table of volumes by slot, the handle table.
 * Must stay true: an inode number belongs to the volume of its slot; a handle number names one open file until `release`;
 * a rename or link between volumes is 'cross-volume', so that programs copy.
 * It doesn't: know what a volume does, cache anything, or check permissions (the front end and the host do).
 */
import { FsError } from '../errors.ts'
import type { Log } from '../log.ts'
import {
  type Answer,
  type AttributeChanges,
  Attributes,
  type AttributesReply,
  type CreatedFile,
  type DirectorySink,
  type Entry,
  type FilesystemStatistics,
  type HandleId,
  type Ino,
  type Name,
  type OpenDirectory,
  type OpenFile,
  type OpenFlags,
  type RequestContext,
  ROOT_INO,
  S_IFDIR,
  SLOT_COUNT,
  SLOT_SIZE,
  type Vfs,
  type VfsListener,
  type Volume,
} from './contract.ts'
import { EndedDirectory, EndedFile } from './ended-handles.ts'
import { HandleTable } from './handle-table.ts'

/** The listing of the root changes seldom and its changes are told to the front ends. */
const ROOT_TTL_MS = 60_000

export interface TreeOptions {
  readonly log: Log
  /** Owner of the root directory: who runs the daemon. */
  readonly uid?: number
  readonly gid?: number
  readonly now?: () => number
}

export class Tree implements Vfs {
  readonly #log: Log
  readonly #uid: number
  readonly #gid: number
  readonly #now: () => number
  readonly #bySlot: (Volume | undefined)[] = []
  readonly #byName = new Map<Name, Volume>()
  readonly #names = new Map<Volume, Name>()
  readonly #listeners = new Set<VfsListener>()
  readonly #files = new HandleTable<OpenFile>()
  readonly #directories = new HandleTable<OpenDirectory>()
  /** Slots that were asked anything since `takeUse` looked. */
  readonly #used = new Uint8Array(SLOT_COUNT)
  #changedAtMs: number

  constructor(options: TreeOptions) {
    this.#log = options.log
    this.#uid = options.uid ?? process.getuid?.() ?? 0
    this.#gid = options.gid ?? process.getgid?.() ?? 0
    this.#now = options.now ?? Date.now
    this.#changedAtMs = this.#now()
  }

  // --- volumes ---

  /** What volumes tell the front ends through: give it to a volume when it is made. */
  readonly listener: VfsListener = {
    inodeChanged: (ino, data) => {
      for (const listener of this.#listeners) listener.inodeChanged(ino, data)
    },
    entryChanged: (parent, name) => {
      for (const listener of this.#listeners) listener.entryChanged(parent, name)
    },
    entryRemoved: (parent, name, child) => {
      for (const listener of this.#listeners) listener.entryRemoved(parent, name, child)
    },
    everythingChanged: () => {
      for (const listener of this.#listeners) listener.everythingChanged()
    },
  }

  /** Shows a volume as a folder at the top. Its slots must be registered with `routeSlot` (the volume's root slot is). */
  addVolume(name: Name, volume: Volume): void {
    if (this.#byName.has(name)) throw new FsError('exists', `a volume named "${name}" is mounted already`)
    this.#byName.set(name, volume)
    this.#names.set(volume, name)
    this.routeSlot(Math.floor(volume.rootIno / SLOT_SIZE), volume)
    this.#rootChanged(name)
  }

  /** Numbers of this slot belong to `volume` (a location has a slot for each filesystem below it). */
  routeSlot(slot: number, volume: Volume): void {
    this.#bySlot[slot] = volume
  }

  /**
   * Takes a volume out and closes it. Files that are open in it stay usable until they are closed; with `endFiles` they are
   * closed now, and programs get errors.
   */
  async removeVolume(id: number, options: { readonly endFiles?: boolean } = {}): Promise<void> {
    for (const [name, volume] of this.#byName) {
      if (volume.id !== id) continue
      this.#byName.delete(name)
      this.#names.delete(volume)
      const isIn = (open: { readonly ino: Ino }) => this.#bySlot[Math.floor(open.ino / SLOT_SIZE)] === volume
      const ended = options.endFiles
        ? [
            ...this.#files.exchange(isIn, file => new EndedFile(file.ino)),
            ...this.#directories.exchange(isIn, d => new EndedDirectory(d.ino)),
          ]
        : []
      for (let slot = 0; slot < this.#bySlot.length; slot++) if (this.#bySlot[slot] === volume) this.#bySlot[slot] = undefined
      for (const listener of this.#listeners) listener.entryRemoved(ROOT_INO, name, volume.rootIno)
      this.#rootChanged(name)
      await Promise.allSettled(ended.map(async open => await open.release()))
      await volume.close()
      return
    }
  }

  /** Whether programs asked anything of the volume since this was called last. Names at the top of the tree don't count. */
  takeUse(volume: Volume): boolean {
    let used = false
    for (let slot = 0; slot < this.#bySlot.length; slot++) {
      if (this.#bySlot[slot] !== volume) continue
      used ||= this.#used[slot] === 1
      this.#used[slot] = 0
    }
    return used
  }

  /** How many files and directories are open in the volume. */
  openIn(volume: Volume): number {
    let count = 0
    for (const { ino } of this.#files.values()) if (this.#bySlot[Math.floor(ino / SLOT_SIZE)] === volume) count++
    for (const { ino } of this.#directories.values()) if (this.#bySlot[Math.floor(ino / SLOT_SIZE)] === volume) count++
    return count
  }

  volumes(): { readonly name: Name; readonly volume: Volume }[] {
    return [...this.#byName].map(([name, volume]) => ({ name, volume }))
  }

  /** Closes all volumes; the first error is thrown after all were tried. */
  async close(): Promise<void> {
    const results = await Promise.allSettled([...this.#byName.values()].map(volume => volume.close()))
    this.#byName.clear()
    this.#bySlot.length = 0
    for (const result of results) if (result.status === 'rejected') throw result.reason
  }

  listen(listener: VfsListener): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  idle(): void {
    for (const volume of this.#byName.values()) volume.idle()
  }

  /** Open files and directories, for status and for tests that look for leaks. */
  openHandles(): { readonly files: number; readonly directories: number } {
    return { files: this.#files.size, directories: this.#directories.size }
  }

  // --- nodes ---

  readonly negativeTtlMs = (parent: Ino): number => (parent === ROOT_INO ? ROOT_TTL_MS : this.#volume(parent).traits.negativeTtlMs)

  lookup(context: RequestContext, parent: Ino, name: Name): Answer<Entry | undefined> {
    if (parent !== ROOT_INO) return this.#volume(parent).lookup(context, parent, name)
    const volume = this.#byName.get(name)
    if (!volume) return undefined
    return then(volume.getattr(context, volume.rootIno), reply => volumeEntry(reply))
  }

  forget(ino: Ino, count: number): void {
    if (ino !== ROOT_INO) this.#bySlot[Math.floor(ino / SLOT_SIZE)]?.forget(ino, count)
  }

  getattr(context: RequestContext, ino: Ino, handle?: HandleId): Answer<AttributesReply> {
    if (ino === ROOT_INO) return this.#rootAttributes()
    return this.#volume(ino).getattr(context, ino, handle === undefined ? undefined : this.#files.find(handle))
  }

  setattr(context: RequestContext, ino: Ino, changes: AttributeChanges, handle?: HandleId): Answer<AttributesReply> {
    if (ino === ROOT_INO) throw rootIsFixed('setattr')
    return this.#volume(ino).setattr(context, ino, changes, handle === undefined ? undefined : this.#files.find(handle))
  }

  readlink(context: RequestContext, ino: Ino): Answer<Name> {
    if (ino === ROOT_INO) throw new FsError('invalid', undefined, { operation: 'readlink' })
    return this.#volume(ino).readlink(context, ino)
  }

  symlink(context: RequestContext, parent: Ino, name: Name, target: Name): Answer<Entry> {
    return this.#parent(parent, 'symlink').symlink(context, parent, name, target)
  }

  mknod(context: RequestContext, parent: Ino, name: Name, mode: number, rdev: number): Answer<Entry> {
    return this.#parent(parent, 'mknod').mknod(context, parent, name, mode, rdev)
  }

  mkdir(context: RequestContext, parent: Ino, name: Name, mode: number): Answer<Entry> {
    return this.#parent(parent, 'mkdir').mkdir(context, parent, name, mode)
  }

  unlink(context: RequestContext, parent: Ino, name: Name): Answer<void> {
    return this.#parent(parent, 'unlink').unlink(context, parent, name)
  }

  rmdir(context: RequestContext, parent: Ino, name: Name): Answer<void> {
    return this.#parent(parent, 'rmdir').rmdir(context, parent, name)
  }

  rename(context: RequestContext, parent: Ino, name: Name, newParent: Ino, newName: Name, flags: number): Answer<void> {
    if (parent === ROOT_INO && newParent === ROOT_INO) throw rootIsFixed('rename')
    const volume = parent === ROOT_INO ? undefined : this.#volume(parent)
    const newVolume = newParent === ROOT_INO ? undefined : this.#volume(newParent)
    if (!volume || volume !== newVolume) throw new FsError('cross-volume', undefined, { operation: 'rename' })
    return volume.rename(context, parent, name, newParent, newName, flags)
  }

  link(context: RequestContext, ino: Ino, newParent: Ino, newName: Name): Answer<Entry> {
    if (ino === ROOT_INO) throw new FsError('not-permitted', undefined, { operation: 'link' })
    const volume = this.#volume(ino)
    if (newParent === ROOT_INO || this.#volume(newParent) !== volume) throw new FsError('cross-volume', undefined, { operation: 'link' })
    return volume.link(context, ino, newParent, newName)
  }

  access(context: RequestContext, ino: Ino, mask: number): Answer<void> {
    if (ino !== ROOT_INO) return this.#volume(ino).access(context, ino, mask)
    if (mask & 2) throw new FsError('access-denied', undefined, { operation: 'access' })
  }

  statfs(context: RequestContext, ino: Ino): Answer<FilesystemStatistics> {
    if (ino !== ROOT_INO) return this.#volume(ino).statfs(context, ino)
    // The top holds nothing itself: df shows it as empty and full, each volume as what it is.
    return {
      blockSizeBytes: 4096,
      fragmentSizeBytes: 4096,
      blocks: 0,
      blocksFree: 0,
      blocksAvailable: 0,
      files: 0,
      filesFree: 0,
      nameLengthBytes: 255,
    }
  }

  setxattr(context: RequestContext, ino: Ino, name: Name, value: Buffer, flags: number, killSetGid: boolean): Answer<void> {
    if (ino === ROOT_INO) throw rootIsFixed('setxattr')
    return this.#volume(ino).setxattr(context, ino, name, value, flags, killSetGid)
  }

  getxattr(context: RequestContext, ino: Ino, name: Name): Answer<Buffer> {
    if (ino === ROOT_INO) throw new FsError('no-attribute', undefined, { operation: 'getxattr' })
    return this.#volume(ino).getxattr(context, ino, name)
  }

  listxattr(context: RequestContext, ino: Ino): Answer<Name[]> {
    return ino === ROOT_INO ? [] : this.#volume(ino).listxattr(context, ino)
  }

  removexattr(context: RequestContext, ino: Ino, name: Name): Answer<void> {
    if (ino === ROOT_INO) throw new FsError('no-attribute', undefined, { operation: 'removexattr' })
    return this.#volume(ino).removexattr(context, ino, name)
  }

  syncfs(context: RequestContext, ino: Ino): Answer<void> {
    if (ino !== ROOT_INO) return this.#volume(ino).syncfs(context, ino)
    const waits = [...this.#byName.values()].map(volume => volume.syncfs(context, volume.rootIno))
    return Promise.all(waits).then(() => {})
  }

  // --- files ---

  open(context: RequestContext, ino: Ino, flags: OpenFlags): Answer<{ readonly handle: HandleId; readonly file: OpenFile }> {
    if (ino === ROOT_INO) throw new FsError('is-directory', undefined, { operation: 'open' })
    return then(this.#volume(ino).open(context, ino, flags), file => ({ handle: this.#files.add(file), file }))
  }

  create(
    context: RequestContext,
    parent: Ino,
    name: Name,
    mode: number,
    flags: OpenFlags,
  ): Answer<CreatedFile<OpenFile> & { readonly handle: HandleId }> {
    return then(this.#parent(parent, 'create').create(context, parent, name, mode, flags), this.#created)
  }

  tmpfile(
    context: RequestContext,
    parent: Ino,
    mode: number,
    flags: OpenFlags,
  ): Answer<CreatedFile<OpenFile> & { readonly handle: HandleId }> {
    return then(this.#parent(parent, 'tmpfile').tmpfile(context, parent, mode, flags), this.#created)
  }

  readonly #created = (created: CreatedFile<OpenFile>) => ({
    entry: created.entry,
    file: created.file,
    handle: this.#files.add(created.file),
  })

  file(handle: HandleId): OpenFile {
    return this.#files.get(handle)
  }

  release(handle: HandleId): Answer<void> {
    return this.#files.remove(handle)?.release()
  }

  opendir(context: RequestContext, ino: Ino): Answer<{ readonly handle: HandleId; readonly directory: OpenDirectory }> {
    const directory = ino === ROOT_INO ? this.#openRoot() : this.#volume(ino).opendir(context, ino)
    return then(directory, opened => ({ handle: this.#directories.add(opened), directory: opened }))
  }

  directory(handle: HandleId): OpenDirectory {
    return this.#directories.get(handle)
  }

  releasedir(handle: HandleId): Answer<void> {
    return this.#directories.remove(handle)?.release()
  }

  ioctl(
    context: RequestContext,
    ino: Ino,
    handle: HandleId | undefined,
    command: number,
    input: Buffer,
    outputBytes: number,
  ): Answer<Buffer> {
    if (ino === ROOT_INO) throw new FsError('not-tty', undefined, { operation: 'ioctl' })
    const file = handle === undefined ? undefined : this.#files.find(handle)
    return this.#volume(ino).ioctl(context, ino, file, command, input, outputBytes)
  }

  // --- inside ---

  #volume(ino: Ino): Volume {
    const slot = Math.floor(ino / SLOT_SIZE)
    const volume = this.#bySlot[slot]
    if (!volume) throw new FsError('stale', 'the volume of this node is not mounted any more')
    this.#used[slot] = 1
    return volume
  }

  #parent(parent: Ino, operation: string): Volume {
    if (parent === ROOT_INO) throw rootIsFixed(operation)
    return this.#volume(parent)
  }

  #rootAttributes(): AttributesReply {
    const attributes = new Attributes()
    attributes.ino = ROOT_INO
    attributes.mode = S_IFDIR | 0o555
    attributes.nlink = 2 + this.#byName.size
    attributes.uid = this.#uid
    attributes.gid = this.#gid
    attributes.sizeBytes = 4096
    attributes.blocks = 8
    const sec = Math.floor(this.#changedAtMs / 1000)
    const nsec = Math.floor(this.#changedAtMs % 1000) * 1_000_000
    attributes.atimeSec = attributes.mtimeSec = attributes.ctimeSec = attributes.btimeSec = sec
    attributes.atimeNsec = attributes.mtimeNsec = attributes.ctimeNsec = attributes.btimeNsec = nsec
    return { attributes, attributeTtlMs: ROOT_TTL_MS }
  }

  #rootChanged(name: Name): void {
    this.#changedAtMs = this.#now()
    this.#log.debug(`the top of the tree changed: ${name}`)
    this.listener.entryChanged(ROOT_INO, name)
    this.listener.inodeChanged(ROOT_INO, true)
  }

  #openRoot(): OpenDirectory {
    const listing: readonly [Name, Volume | undefined][] = [['.', undefined], ['..', undefined], ...this.#byName]
    return {
      ino: ROOT_INO,
      keepCache: false,
      read(context: RequestContext, offset: bigint, withAttributes: boolean, sink: DirectorySink): Answer<void> {
        const step = (i: number): Answer<void> => {
          for (; i < listing.length; i++) {
            const [name, volume] = listing[i]!
            const next = BigInt(i + 1)
            if (!volume || !withAttributes) {
              if (!sink.add(name, volume?.rootIno ?? ROOT_INO, S_IFDIR, next, undefined)) return
              continue
            }
            // A volume that can't say its attributes is still listed.
            const reply = attempt(() => volume.getattr(context, volume.rootIno))
            if (reply instanceof Promise) {
              const at = i
              return reply.then(r => (sink.add(name, volume.rootIno, S_IFDIR, next, r && volumeEntry(r)) ? step(at + 1) : undefined))
            }
            if (!sink.add(name, volume.rootIno, S_IFDIR, next, reply && volumeEntry(reply))) return
          }
        }
        return offset < 0n ? undefined : step(Number(offset))
      },
      fsync() {},
      release() {},
    }
  }
}

/** Continues at once with a value, later with a promise. */
export function then<T, R>(answer: Answer<T>, next: (value: T) => Answer<R>): Answer<R> {
  return answer instanceof Promise ? answer.then(next) : next(answer)
}

function attempt<T>(ask: () => Answer<T>): Answer<T | undefined> {
  try {
    const answer = ask()
    return answer instanceof Promise ? answer.catch(() => undefined) : answer
  } catch {
    return undefined
  }
}

function volumeEntry(reply: AttributesReply): Entry {
  return { attributes: reply.attributes, generation: 0, entryTtlMs: ROOT_TTL_MS, attributeTtlMs: reply.attributeTtlMs }
}

function rootIsFixed(operation: string): FsError {
  return new FsError('not-permitted', 'the top of the tree is made of volumes: add a folder with "sdmount location add"', { operation })
}
