/**
 * Why a library can't be opened. Owns: the error, with its closed set of reasons; the command line gives each an exit code.
 */
export type LibraryProblem = 'missing' | 'in-use' | 'unusable'

export class LibraryError extends Error {
  readonly problem: LibraryProblem
  /** Who holds the library, where that is the problem and it is known. */
  readonly holder: number | undefined

  constructor(problem: LibraryProblem, message: string, options: ErrorOptions & { readonly holder?: number | undefined } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.name = 'LibraryError'
    this.problem = problem
    this.holder = options.holder
  }
}
