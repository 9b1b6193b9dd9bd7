/**
 * What a command is, to the parser and to the documentation: words, arguments, options, examples, and what it does.
 *
 * Owns: the contract between the files in commands/ (one per group of verbs) and the parser. To add a verb: declare a
 * `Command` in commands/, list it in commands/all.ts, run scripts/generate-docs.ts.
 * A command's file is loaded at every start: it imports heavy modules inside `run`.
 */
import type { Name } from '../vfs/contract.ts'
import type { ExitName } from './exit-codes.ts'
import type { OptionName, OptionValue } from './options.ts'
import type { Terminal } from './terminal/terminal.ts'

export interface ArgumentDeclaration {
  readonly name: string
  readonly required: boolean
  readonly help: string
}

export interface Command {
  /** The words after `sdmount`; none for the default command. */
  readonly words: readonly string[]
  /** One line, lower case, no full stop. */
  readonly summary: string
  /** Paragraphs (Markdown) for the command's page. */
  readonly description: string
  readonly arguments: readonly ArgumentDeclaration[]
  readonly options: readonly OptionName[]
  readonly examples: readonly { readonly line: string; readonly does: string }[]
  run(invocation: Invocation): Promise<ExitName>
}

/** One call of a command, with everything resolved. */
export interface Invocation {
  readonly terminal: Terminal
  /** Aborted by Ctrl-C, SIGTERM and SIGHUP. */
  readonly signal: AbortSignal
  /** The environment, for what is found through it (home, XDG directories); options are already resolved. */
  readonly environment: NodeJS.ProcessEnv
  option<N extends OptionName>(name: N): OptionValue<N>
  /** An argument as text; a name that isn't UTF-8 is a usage error. */
  text(argument: string): string | undefined
  /** An argument as bytes, one char each. */
  bytes(argument: string): Name | undefined
}
