/**
 * The files of a library's directory. Owns: the names.
 *   version        what made it; refused when newer
 *   lock           held (flock) by the process that works with the library; says its process id
 *   key            the library's key, or where it is kept (key.ts)
 *   index/         the index
 *   log/           the daemon's log, rotated
 *   control.sock   where commands reach the daemon
 *   journal.db     what waits to be uploaded to cloud volumes
 *   staging/       the contents that wait, sealed
 *   cache/         blocks of cloud objects, sealed; held by one process at a time
 *   Files/         the folder that a library begins with where the user has no standard folders
 */
import { existsSync } from 'node:fs'
import { join } from 'node:path'

/** The paths inside a library directory. */
export function libraryPaths(directory: string) {
  return {
    directory,
    version: join(directory, 'version'),
    lock: join(directory, 'lock'),
    key: join(directory, 'key'),
    index: join(directory, 'index'),
    log: join(directory, 'log'),
    logFile: join(directory, 'log', 'sdmount.log'),
    crashFile: join(directory, 'log', 'crash.log'),
    socket: join(directory, 'control.sock'),
    files: join(directory, 'Files'),
    journal: join(directory, 'journal.db'),
    staging: join(directory, 'staging'),
    cache: join(directory, 'cache'),
  }
}

export type LibraryPaths = ReturnType<typeof libraryPaths>

/** Does a library exist there? Looks, takes nothing. */
export function libraryExists(directory: string): boolean {
  return existsSync(libraryPaths(directory).version)
}
