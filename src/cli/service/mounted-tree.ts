/**
 * The composition root of a mount: index, tree, volumes, front end, wired in one place.
 *
 * Owns: which volumes are in the tree, and the mount. Must stay true: a volume that can't be opened (its folder is away,
 * its settings are odd) is logged and shown as offline, never a reason not to mount; `close` gives everything back in the
 * order front end, volumes, what the cloud volumes stand on, and is safe to call twice. What cloud volumes need is loaded with
 * the first of them.
 */
import { describeError, errorKind } from '../../errors.ts'
import type { MountDriver } from '../../fs/mount.ts'
import type { Index, LocationSettings, VolumeRecord } from '../../index/contract.ts'
import type { LibraryPaths } from '../../library/layout.ts'
import type { Library } from '../../library/library.ts'
import type { Log } from '../../log.ts'
import type { Name, Volume } from '../../vfs/contract.ts'
import { guardedVfs } from '../../vfs/guarded-vfs.ts'
import { Tree } from '../../vfs/tree.ts'
import type { CloudVolume } from '../../vfs/volumes/cloud/cloud-volume.ts'
import { openChosenLocation } from '../../vfs/volumes/location/deferred/choose.ts'
import type { LocationVolume } from '../../vfs/volumes/location/location.ts'
import { nameOfText } from '../names.ts'
import type { CloudGround } from './cloud.ts'
import { type LimitChanges, readLimits } from './limits.ts'
import { Vaults } from './vaults.ts'
import { WebdavServers, type WebdavSession, type WebdavSettings } from './webdav.ts'

export interface MountSettings {
  readonly mountpoint: string
  readonly readOnly: boolean
  readonly allowOther: boolean
  readonly flags: readonly string[]
  readonly sourceName: string
  readonly driver: MountDriver
  /** As a network drive instead of FUSE. */
  readonly drive?: boolean
  /** Served, and not mounted. */
  readonly webdav?: WebdavSettings
  /** Limits that the mount was started with; they are remembered. */
  readonly limits?: LimitChanges
}

export interface MountedTreeOptions {
  readonly library: Library
  readonly index: Index
  readonly log: Log
  readonly settings: MountSettings
}

/** How programs get at the tree: a mount, a drive, or a server. */
export type TreeSession = Omit<WebdavSession, 'notices'> & Partial<Pick<WebdavSession, 'notices'>>

export class MountedTree {
  readonly settings: MountSettings
  readonly sinceMs = Date.now()
  readonly #library: Library
  readonly #index: Index
  readonly #log: Log
  readonly #tree: Tree
  readonly #locations = new Map<number, LocationVolume>()
  readonly #clouds = new Map<number, CloudVolume>()
  /** Why a volume could not be opened. */
  readonly #failures = new Map<number, string>()
  readonly #leftOut: readonly Name[]
  readonly #kinds = new Map<Name, VolumeRecord['kind']>()
  /** WebDAV servers of this tree. */
  readonly webdav: WebdavServers
  /** The vaults that are open; the others are no volumes of the tree. */
  readonly vaults: Vaults
  #session: TreeSession | undefined
  #ground: CloudGround | undefined

  /** The tree with all volumes of the index. */
  static async open(options: MountedTreeOptions): Promise<MountedTree> {
    const mounted = new MountedTree(options)
    for (const record of options.index.volumes()) {
      try {
        await mounted.attach(record)
      } catch (error) {
        options.log.error(`the volume "${record.name}" can't be shown`, error)
      }
    }
    return mounted
  }

  private constructor(options: MountedTreeOptions) {
    const { paths } = options.library
    this.#leftOut = leftOut(paths, options.settings.webdav ? undefined : options.settings.mountpoint)
    this.#library = options.library
    this.#index = options.index
    this.#log = options.log
    this.settings = options.settings
    this.#tree = new Tree({ log: options.log })
    this.vaults = new Vaults({ library: options.library, index: options.index, log: options.log }, this.#tree)
    this.webdav = new WebdavServers({
      tree: this.#tree,
      index: options.index,
      log: options.log,
      directory: paths.directory,
      kindOf: volume => this.#kinds.get(volume),
    })
  }

  /** Puts the tree at its mountpoint (or serves it); answers when programs can use it. */
  async mount(): Promise<TreeSession> {
    const { webdav, drive, driver } = this.settings
    if (webdav) return (this.#session = await this.webdav.serve(webdav))
    if (drive) return (this.#session = await this.#map())
    try {
      return (this.#session = await this.#mountFuse())
    } catch (error) {
      // Where no macFUSE is installed, macOS still has its own WebDAV client.
      if (process.platform !== 'darwin' || driver !== 'auto' || errorKind(error) !== 'not-supported') throw error
      this.#log.info(`no FUSE here (${describeError(error)}): mounting over WebDAV`)
      return (this.#session = await this.#map())
    }
  }

  #map(): Promise<TreeSession> {
    return this.webdav.map(this.settings.mountpoint, { readOnly: this.settings.readOnly, keepClutter: false })
  }

  async #mountFuse(): Promise<TreeSession> {
    const { settings } = this
    const { mountTree } = await import('../../fs/mount.ts')
    const session = await mountTree({
      driver: settings.driver,
      mountpoint: settings.mountpoint,
      // A file that somebody edits over WebDAV is not changed beside him.
      vfs: guardedVfs(this.#tree, this.webdav.locks),
      log: this.#log,
      readOnly: settings.readOnly,
      allowOther: settings.allowOther,
      options: settings.flags,
      libraryName: settings.sourceName,
    })
    this.webdav.besideMount(session)
    return { ...session, statistics: () => ({ ...session.statistics() }) }
  }

  get session(): TreeSession | undefined {
    return this.#session
  }

  /** Shows a volume of the index as a folder of the tree. */
  async attach(record: VolumeRecord): Promise<void> {
    if (record.kind === 'location') this.#attachLocation(record)
    else if (record.kind === 'cloud') await this.#attachCloud(record)
    else if (record.kind !== 'vault')
      this.#log.warning(`the volume "${record.name}" is of a kind (${record.kind}) that this version can't show`)
  }

  #attachLocation(record: VolumeRecord): void {
    const location = openChosenLocation({
      record,
      index: this.#index,
      log: this.#log,
      listener: this.#tree.listener,
      routeSlot: (slot, volume) => this.#tree.routeSlot(slot, volume),
      readOnly: this.settings.readOnly,
      ownMountpoints: () => this.#leftOut,
    })
    this.#locations.set(record.id, location)
    this.#kinds.set(record.name, record.kind)
    this.#tree.addVolume(record.name, location)
  }

  async #attachCloud(record: VolumeRecord): Promise<void> {
    try {
      const ground = await this.#openGround()
      const volume = ground.open(record, { listener: this.#tree.listener, readOnly: this.settings.readOnly })
      this.#clouds.set(record.id, volume)
      this.#kinds.set(record.name, record.kind)
      this.#tree.addVolume(record.name, volume)
      this.#failures.delete(record.id)
    } catch (error) {
      this.#failures.set(record.id, describeError(error))
      throw error
    }
  }

  async #openGround(): Promise<CloudGround> {
    if (this.#ground) return this.#ground
    const { CloudGround } = await import('./cloud.ts')
    // Two that come at once find the same one.
    this.#ground ??= new CloudGround({ library: this.#library, index: this.#index, log: this.#log })
    return this.#ground
  }

  /** Takes a volume out of the tree. With `keepStore` the way to its server stays open: `ground.release` closes it. */
  async detach(id: number, options: { readonly keepStore?: boolean } = {}): Promise<void> {
    this.#locations.delete(id)
    this.#clouds.delete(id)
    this.#failures.delete(id)
    await this.#tree.removeVolume(id)
    if (!options.keepStore) this.#ground?.release(id)
  }

  /** Opens a volume anew, with the settings that it has now. */
  async reattach(id: number): Promise<void> {
    const record = this.#index.volumes().find(other => other.id === id)
    if (!record) return
    await this.detach(id)
    await this.attach(record)
  }

  /** What the cloud volumes stand on, where there are any. */
  get ground(): CloudGround | undefined {
    return this.#ground
  }

  location(id: number): LocationVolume | undefined {
    return this.#locations.get(id)
  }

  cloud(id: number): CloudVolume | undefined {
    return this.#clouds.get(id)
  }

  volume(id: number): Volume | undefined {
    return this.#locations.get(id) ?? this.#clouds.get(id) ?? this.vaults.get(id)?.volume
  }

  /** Why a volume that is not in the tree could not be opened. */
  failure(id: number): string | undefined {
    return this.#failures.get(id)
  }

  /** The limits of the library are others now. */
  limitsChanged(): void {
    this.#ground?.setLimits(readLimits(this.#index, this.#library.paths.directory))
  }

  /** Ends the volumes; the mount is gone already or goes with the process. */
  async close(): Promise<void> {
    this.#locations.clear()
    this.#clouds.clear()
    await this.webdav.close()
    await this.vaults.end()
    await this.#tree.close()
    const ground = this.#ground
    this.#ground = undefined
    await ground?.close()
  }
}

/** The folder of a location's record, one char per byte. */
export function locationPath(record: VolumeRecord): Name {
  const { path } = record.settings as unknown as LocationSettings
  return typeof path === 'string' ? path : ''
}

/**
 * What no location enters: where the library is mounted, and where the library writes while it follows changes (each row
 * of the index would be a change that makes another one).
 */
export function leftOut(library: LibraryPaths, mountpoint: string | undefined): Name[] {
  return [library.index, library.log, ...(mountpoint === undefined ? [] : [mountpoint])].map(nameOfText)
}
