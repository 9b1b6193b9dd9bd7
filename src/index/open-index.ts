/**
 * The index over SQLite: the parts put together behind the contract.
 *
 * Owns: the order of opening and closing, and that every read sees what was written before. What things mean is in the
 * parts:
 *
 *   schema      tables, migrations            write-queue     changes that wait, joined
 *   statements  the SQL of the tree           committer       when they are written; the transaction
 *   rows        names and columns             tree-writer     what a change means for the rows
 *   slots       inode numbers                 tree-reader     what is visible
 *   volumes     volumes, settings, scans      listing         a directory against what is stored
 *   counters    how many rows                 recent-changes  listings against newer changes
 *   problems    what contradicts itself       property-table  what clients attach to nodes
 *   object-table  what buckets hold
 *
 * and, below, src/sqlite: the encrypted file (database) and its log on the disk (log-file).
 *
 * Must stay true: one process at a time has the index open for writing (the library's lock sees to it); a write costs its
 * caller a place in the queue and no SQL.
 */
import { existsSync, mkdirSync, statSync } from 'node:fs'
import { join, resolve } from 'node:path'
import type { Log } from '../log.ts'
import { type Database, databaseError, openDatabase } from '../sqlite/database.ts'
import { LogFile } from '../sqlite/log-file.ts'
import { errnoError } from '../sys/errno.ts'
import { type Ino, SLOT_SIZE } from '../vfs/contract.ts'
import { Committer } from './committer.ts'
import type { Index, VolumeId } from './contract.ts'
import { Counters } from './counters.ts'
import { Listings } from './listing.ts'
import { ObjectTable } from './object-table.ts'
import { findProblems } from './problems.ts'
import type { PropertyStore } from './property-store.ts'
import { PropertyTable } from './property-table.ts'
import { RecentChanges } from './recent-changes.ts'
import { eventLoopScheduler, type Scheduler } from './scheduler.ts'
import { migrate } from './schema.ts'
import { Slots } from './slots.ts'
import { prepareStatements } from './statements.ts'
import { TreeReader } from './tree-reader.ts'
import { TreeWriter } from './tree-writer.ts'
import { Volumes } from './volumes.ts'
import { WriteQueue } from './write-queue.ts'

const CACHE_BYTES = 16 * 2 ** 20
/** Bounds beyond which things are done by pieces. */
const LIMITS = { sweepAtOnce: 512, rowsAtOnce: 10_000, rememberedChanges: 65_536 }
/** Rows below removed directories, or of removed volumes, that go in one step of background work. */
const BACKGROUND_STEP = 256
const DATABASE_FILE = 'index.db'

export interface OpenIndexOptions {
  /** Where the index lies; made (0700) where it doesn't exist, but nothing above it. */
  readonly directory: string
  /** 32 bytes. */
  readonly key: Buffer
  readonly log: Log
  /** Bound of the page cache. */
  readonly cacheBytes?: number
  /** For tests. */
  readonly scheduler?: Scheduler
  /** For tests: smaller bounds, so that a small tree passes them. */
  readonly limits?: Partial<typeof LIMITS>
}

export interface SqliteIndex extends Index {
  /** What clients attach to nodes. */
  readonly properties: PropertyStore
}

/**
 * Opens the index in `directory`, or makes it. Throws FsError: 'damaged' where the key is wrong or the file isn't an
 * index, 'not-supported' for one that a newer program made, and what the host says where it can't be read.
 */
export function openIndex(options: OpenIndexOptions): SqliteIndex {
  const { directory, key, log, cacheBytes = CACHE_BYTES, scheduler = eventLoopScheduler } = options
  const limits = { ...LIMITS, ...options.limits }
  const path = join(resolve(directory), DATABASE_FILE)
  const connections: Database[] = []
  const connect = (bytes: number) => {
    const database = openDatabase({ path, key, cacheBytes: bytes })
    connections.unshift(database)
    return database
  }
  try {
    if (!existsSync(directory)) mkdirSync(directory, { mode: 0o700 })
    const database = connect(cacheBytes)
    migrate(database)
    const logFile = new LogFile(database, connect(0), path)
    return assemble({ database, logFile, path, log, scheduler, limits })
  } catch (error) {
    for (const connection of connections) connection.close()
    throw databaseError(isHostError(error) ? errnoError(-error.errno, 'open index', directory) : error, 'open index')
  }
}

function isHostError(error: unknown): error is Error & { readonly errno: number } {
  return error instanceof Error && 'errno' in error && typeof error.errno === 'number'
}

interface Ground {
  readonly database: Database
  readonly logFile: LogFile
  readonly path: string
  readonly log: Log
  readonly scheduler: Scheduler
  readonly limits: typeof LIMITS
}

function assemble({ database, logFile, path, log, scheduler, limits }: Ground): SqliteIndex {
  const sql = prepareStatements(database)
  const changes = new RecentChanges(() => scheduler.nowMs(), limits.rememberedChanges)
  const queue = new WriteQueue(changes)
  const counters = new Counters(database)
  const committer = new Committer(
    database,
    logFile,
    queue,
    {
      apply: operation => writer.apply(operation),
      background() {
        changes.expire()
        if (reader.hasDoomed) {
          committer.begin()
          return writer.sweep(BACKGROUND_STEP) || volumes.isRemoving
        }
        if (volumes.isRemoving) {
          volumes.removeSome(BACKGROUND_STEP)
          reader.countDoomed()
        }
        return volumes.isRemoving
      },
      committing: () => counters.write(),
      committed: () => counters.committed(),
      rolledBack() {
        counters.rolledBack()
        try {
          reader.countDoomed()
        } catch (error) {
          // Then it stays as it was: looking for what isn't there costs time only.
          log.warning('index: it could not be read after a failed write', error)
        }
      },
    },
    scheduler,
    log,
  )
  const slots = new Slots(database, committer)
  const reader = new TreeReader(sql, slots)
  const properties = new PropertyTable(database, committer)
  const objects = new ObjectTable(database, committer)
  const writer = new TreeWriter({ sql, reader, queue, changes, counters, slots, properties, objects, sweepAtOnce: limits.sweepAtOnce })
  const volumes = new Volumes(database, committer, slots, counters)
  const listings = new Listings({ sql, reader, writer, changes, counters, slots, committer, rowsAtOnce: limits.rowsAtOnce })
  if (reader.hasDoomed || volumes.isRemoving) committer.wake()

  const requireOwn = (volume: VolumeId, ino: Ino): void => {
    if (slots.volumeOf(ino) !== volume) throw new Error(`node ${ino} (slot ${Math.floor(ino / SLOT_SIZE)}) isn't of volume ${volume}`)
  }
  /** What SQLite throws is told as FsError. */
  const guarded = <T>(operation: string, run: () => T): T => {
    try {
      return run()
    } catch (error) {
      throw databaseError(error, operation)
    }
  }
  /** A read: it sees what was written before. */
  const reading = <T>(read: () => T): T => {
    try {
      committer.settle()
      return read()
    } catch (error) {
      throw databaseError(error, 'read index')
    }
  }
  const writing = <T>(write: () => T): T => guarded('write index', write)
  const walking = function* <T>(walk: () => Iterable<T>): Generator<T> {
    try {
      yield* walk()
    } catch (error) {
      throw databaseError(error, 'read index')
    }
  }

  return {
    putNode(volume, attributes) {
      requireOwn(volume, attributes.ino)
      queue.putNode(attributes)
      committer.queued()
    },
    createEntry(volume, parent, name, attributes) {
      requireOwn(volume, attributes.ino)
      queue.createEntry(parent, name, attributes)
      committer.queued()
    },
    putEntry(volume, parent, name, ino) {
      requireOwn(volume, ino)
      queue.putEntry(parent, name, ino)
      committer.queued()
    },
    removeEntry(volume, parent, name) {
      requireOwn(volume, parent)
      queue.removeEntry(parent, name)
      committer.queued()
    },
    renameEntry(volume, parent, name, newParent, newName, exchange) {
      requireOwn(volume, parent)
      queue.renameEntry(parent, name, newParent, newName, exchange)
      committer.queued()
    },

    node: ino => reading(() => reader.node(ino)),
    lookup: (parent, name) => reading(() => reader.lookup(parent, name)),
    children: (parent, after, limit) => reading(() => reader.children(parent, after, limit)),
    links: ino => reading(() => reader.links(ino)),
    pathOf: ino => reading(() => reader.pathOf(ino)),
    *directories(volume) {
      yield* walking(() => {
        committer.settle()
        return reader.directories(slots.slotsOf(volume))
      })
    },

    applyDirectory(volume, parent, rows, since) {
      requireOwn(volume, parent)
      return reading(() => listings.apply(parent, rows, since))
    },
    beginListing(volume, parent, since) {
      requireOwn(volume, parent)
      const listing = reading(() => listings.begin(parent, since))
      return {
        rows: rows => reading(() => listing.rows(rows)),
        finish: () => reading(() => listing.finish()),
        cancel: () => listing.cancel(),
      }
    },
    scanToken: () => changes.token(),
    markScanned(parent, scan) {
      reading(() => {
        committer.begin(true)
        sql.markScanned(parent, scan)
      })
    },
    isScanned: (parent, scan) => reading(() => sql.scanned(parent) === scan),
    scanState: volume => reading(() => volumes.scanState(volume)),
    setScanState: (volume, state) => writing(() => volumes.setScanState(volume, state)),

    volumes: () => volumes.list(),
    addVolume: (kind, name, settings) => writing(() => volumes.add(kind, name, settings, Date.now())),
    updateVolume: (id, settings) => writing(() => volumes.update(id, settings)),
    removeVolume(id) {
      const removed = reading(() => volumes.remove(id))
      committer.wake()
      return removed
    },
    slot(volume, device) {
      if (!volumes.has(volume)) throw new Error(`there is no volume ${volume}`)
      return writing(() => slots.slot(volume, device))
    },
    slots: () => slots.list(),
    assignIno: (slot, key) => writing(() => slots.assignIno(slot, key)),
    freshIno: slot => writing(() => slots.freshIno(slot)),
    setting: key => reading(() => volumes.setting(key)),
    setSetting: (key, value) => writing(() => volumes.setSetting(key, value)),

    entryCount: volume => reading(() => (volumes.has(volume) ? counters.entries(volume) : 0)),
    size: () => reading(() => ({ bytes: bytesOf(path) + bytesOf(`${path}-wal`), entries: counters.allEntries, nodes: counters.nodes })),
    *problems() {
      yield* walking(() => {
        committer.flush()
        return findProblems(database)
      })
    },

    properties,
    objects,

    addSource: settle => committer.addSource(settle),
    flush(durability) {
      committer.flush()
      if (durability === 'durable') logFile.sync()
    },
    async durable() {
      committer.flush()
      await logFile.syncing()
    },
    close() {
      try {
        committer.close()
      } finally {
        volumes.close()
        logFile.letGo()
        database.close()
        logFile.close()
      }
    },
  }
}

function bytesOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0
}
