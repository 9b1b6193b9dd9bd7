/** Opens the index of an open library. Owns: the words for what can be wrong with it. */
import { describeError, FsError } from '../../errors.ts'
import type { Index } from '../../index/contract.ts'
import { openIndex } from '../../index/open-index.ts'
import type { Library } from '../../library/library.ts'
import type { Log } from '../../log.ts'
import { CommandError } from '../exit-codes.ts'

/** Throws CommandError 'library-unusable' when it can't be opened: damaged, made by a newer sdmount, not readable. */
export function openLibraryIndex(library: Library, log: Log): Index {
  try {
    return openIndex({ directory: library.paths.index, key: library.key, log })
  } catch (error) {
    if (!(error instanceof FsError)) throw error
    throw new CommandError('library-unusable', `the index in ${library.paths.index} can't be opened: ${describeError(error)}`, {
      cause: error,
    })
  }
}
