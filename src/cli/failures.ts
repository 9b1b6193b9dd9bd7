/**
 * From any error to its exit name: the one place that knows the errors of the layers below the command line.
 */
import { LibraryError, type LibraryProblem } from '../library/library-error.ts'
import { type ExitName, exitOf } from './exit-codes.ts'

const LIBRARY_EXITS = {
  missing: 'no-library',
  'in-use': 'library-in-use',
  unusable: 'library-unusable',
} as const satisfies Record<LibraryProblem, ExitName>

export function exitNameOf(error: unknown): ExitName {
  return error instanceof LibraryError ? LIBRARY_EXITS[error.problem] : exitOf(error)
}
