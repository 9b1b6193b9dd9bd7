/**
 * A library's directory: where everything that sdmount keeps lives, opened by one process at a time.
 *
 * Owns: the version file, the order of opening. The layout is in layout.ts; docs/formats.md describes the files.
 * Must stay true: the directory is 0700 and belongs to who opens it; nothing is written before the lock is held; a
 * library that a newer version made is left exactly as it is.
 */
import { chmodSync, existsSync, mkdirSync, readFileSync, realpathSync, statSync } from 'node:fs'
import { type Key, obtainKey } from './key.ts'
import { type LibraryPaths, libraryExists, libraryPaths } from './layout.ts'
import { LibraryError } from './library-error.ts'
import { lockLibrary } from './lock.ts'
import { writeDurably } from './write-durably.ts'

/**
 * The version file: one line of ASCII.
 * | bytes | what |
 * |---|---|
 * | `sdmount-library ` | fixed |
 * | decimal number | the version; this program reads and writes 1 |
 * | `\n` | end |
 */
const VERSION = 1

export interface Library extends Disposable {
  readonly paths: LibraryPaths
  readonly key: Key
  /** Nothing was there before. */
  readonly fresh: boolean
}

/**
 * Opens the library, or makes it where `create` is set and there is nothing. Throws LibraryError: 'missing', 'in-use'
 * (with the holder), 'unusable'.
 */
export function openLibrary(directory: string, options: { readonly create: boolean }): Library {
  if (!options.create && !libraryExists(directory)) throw new LibraryError('missing', `there is no library in ${directory}`)
  prepareDirectory(directory)
  const paths = libraryPaths(realpathSync(directory))
  if (existsSync(paths.version)) checkVersion(paths)
  const lock = lockLibrary(paths.lock)
  try {
    const fresh = !existsSync(paths.version)
    if (fresh) {
      if (existsSync(paths.index)) {
        throw new LibraryError(
          'unusable',
          `${directory} holds an index but no version file: part of the library is missing; restore it from a backup`,
        )
      }
    } else {
      checkVersion(paths)
    }
    // The version comes last: a library that has one is complete.
    const key = obtainKey(paths.key, { create: fresh })
    if (fresh) writeDurably(paths.version, `sdmount-library ${VERSION}\n`, { replace: false })
    return { paths, key, fresh, [Symbol.dispose]: () => lock[Symbol.dispose]() }
  } catch (error) {
    lock[Symbol.dispose]()
    throw error
  }
}

/** The directory, there and private. */
function prepareDirectory(directory: string): void {
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 })
    const status = statSync(directory)
    const me = process.getuid?.()
    if (me !== undefined && status.uid !== me) {
      throw new LibraryError('unusable', `${directory} belongs to user ${status.uid}, not to you (${me})`)
    }
    if ((status.mode & 0o077) !== 0) chmodSync(directory, 0o700)
  } catch (error) {
    if (error instanceof LibraryError) throw error
    throw new LibraryError('unusable', `can't use ${directory} as a library: ${(error as Error).message}`, { cause: error })
  }
}

function checkVersion(paths: LibraryPaths): void {
  const text = readFileSync(paths.version, 'latin1')
  const number = /^sdmount-library ([0-9]{1,9})\n$/.exec(text)?.[1]
  if (number === undefined) throw new LibraryError('unusable', `${paths.version} is damaged`)
  if (Number(number) > VERSION) {
    throw new LibraryError(
      'unusable',
      `the library in ${paths.directory} was made by a newer sdmount (version ${number}, this one reads ${VERSION})`,
    )
  }
  if (Number(number) < 1) throw new LibraryError('unusable', `${paths.version} is damaged`)
}
