/**
 * The composition root of a mount: index, tree, volumes, front end, wired in one place.
 *
 * Owns: which volumes are in the tree, and the mount. Must stay true: a volume that can't be opened (its folder is away,
 * its settings are odd) is logged and shown as offline, never a reason not to mount; `close` gives everything back in the
 * order front end, volumes, and is safe to call twice.
 */
import { describeError, errorKind } from '../../errors.ts'
import type { MountDriver } from '../../fs/mount.ts'
import type { Index, LocationSettings, VolumeRecord } from '../../index/contract.ts'
import type { LibraryPaths } from '../../library/layout.ts'
import type { Log } from '../../log.ts'
import type { Name } from '../../vfs/contract.ts'
import { guardedVfs } from '../../vfs/guarded-vfs.ts'
import { Tree } from '../../vfs/tree.ts'
import { type Location, openLocation } from '../../vfs/volumes/location/location.ts'
import { nameOfText } from '../names.ts'
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
}

/** How programs get at the tree: a mount, a drive, or a server. */
export type TreeSession = Omit<WebdavSession, 'notices'> & Partial<Pick<WebdavSession, 'notices'>>

export class MountedTree {
  readonly settings: MountSettings
  readonly sinceMs = Date.now()
  readonly #index: Index
  readonly #log: Log
  readonly #tree: Tree
  readonly #locations = new Map<number, Location>()
  readonly #leftOut: readonly Name[]
  readonly #kinds = new Map<Name, VolumeRecord['kind']>()
  /** WebDAV servers of this tree. */
  readonly webdav: WebdavServers
  #session: TreeSession | undefined

  constructor(options: { readonly library: LibraryPaths; readonly index: Index; readonly log: Log; readonly settings: MountSettings }) {
    this.#leftOut = leftOut(options.library, options.settings.webdav ? undefined : options.settings.mountpoint)
    this.#index = options.index
    this.#log = options.log
    this.settings = options.settings
    this.#tree = new Tree({ log: options.log })
    this.webdav = new WebdavServers({
      tree: this.#tree,
      index: options.index,
      log: options.log,
      directory: options.library.directory,
      kindOf: volume => this.#kinds.get(volume),
    })
    for (const record of options.index.volumes()) {
      try {
        this.attach(record)
      } catch (error) {
        this.#log.error(`the volume "${record.name}" can't be shown`, error)
      }
    }
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
  attach(record: VolumeRecord): void {
    if (record.kind !== 'location') {
      this.#log.warning(`the volume "${record.name}" is of a kind (${record.kind}) that this version can't show`)
      return
    }
    const location = openLocation({
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

  /** Takes a volume out of the tree. */
  async detach(id: number): Promise<void> {
    this.#locations.delete(id)
    await this.#tree.removeVolume(id)
  }

  location(id: number): Location | undefined {
    return this.#locations.get(id)
  }

  /** Ends the volumes; the mount is gone already or goes with the process. */
  async close(): Promise<void> {
    this.#locations.clear()
    await this.webdav.close()
    await this.#tree.close()
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
