/**
 * From bytes on the command line to a command with resolved values; yargs does the parsing and the help texts.
 *
 * Owns: the only import of yargs. Options come from options.ts, commands from commands/all.ts.
 * Must stay true: arguments pass through yargs as one char per byte (latin1), so that names that aren't UTF-8 survive;
 * only `text` decodes. Whatever is wrong with the command line is a CommandError 'usage'; help and completion are
 * printed here and answer 'ok'.
 */
import yargs from 'yargs'
import type { Name } from '../vfs/contract.ts'
import type { Command, Invocation } from './command.ts'
import { CommandError, type ExitName } from './exit-codes.ts'
import { textOfName } from './names.ts'
import { OPTIONS, type OptionDeclaration, type OptionName, type OptionValue } from './options.ts'
import type { Terminal } from './terminal/terminal.ts'

export interface ParserInput {
  readonly commands: readonly Command[]
  /** The arguments after the program's name, one char per byte. */
  readonly arguments: readonly Name[]
  readonly environment: NodeJS.ProcessEnv
  readonly terminal: Terminal
  readonly signal: AbortSignal
  readonly version: string
}

const HELP_COLUMNS = 110
const COMPLETION = 'completion'

/** Parses and runs: the command's exit, or that of the parser itself (help, version, usage). */
export async function runCommandLine(input: ParserInput): Promise<ExitName> {
  let chosen: { readonly command: Command; readonly values: Record<string, unknown> } | undefined
  const parser = yargs()
    .scriptName('sdmount')
    .parserConfiguration({
      'parse-numbers': false,
      'parse-positional-numbers': false,
      'camel-case-expansion': false,
      'dot-notation': false,
      'greedy-arrays': false,
      // `--no-wait` is an option of that name; nothing is on by default that would have to be denied.
      'boolean-negation': false,
    })
    .usage('sdmount: every folder and every cloud volume as one POSIX tree')
    .version(input.version)
    .alias('version', 'V')
    .help()
    .alias('help', 'h')
    .completion(COMPLETION, 'print a completion script for bash or zsh')
    .strict()
    .exitProcess(false)
    .wrap(HELP_COLUMNS)
    .fail((message, error) => {
      throw error instanceof CommandError ? error : new CommandError('usage', problem(message ?? String(error), input.arguments))
    })
    .epilogue('Each command has a page in docs/cli, and --help with an example.')
  declare(parser, input.commands, [], (command, values) => {
    chosen = { command, values }
  })
  if (input.arguments.length === 1 && input.arguments[0] === COMPLETION) {
    // yargs would take the word for the default command's argument.
    parser.showCompletionScript()
    return 'ok'
  }
  let output = ''
  const words = shielded(input.arguments)
  await parser.parse(words[0] === 'help' ? [...words.slice(1), '--help'] : words, {}, (_error: unknown, _values: unknown, text: string) => {
    output += text
  })
  if (output !== '') input.terminal.print(decoded(output).trimEnd())
  if (!chosen) return 'ok'
  const { command, values } = chosen
  return await command.run(invocation(input, command, values))
}

type Parser = ReturnType<typeof yargs>

/** Declares the commands whose words begin with `prefix`; groups (`location ...`) become nested commands. */
function declare(
  parser: Parser,
  commands: readonly Command[],
  prefix: readonly string[],
  choose: (command: Command, values: Record<string, unknown>) => void,
): void {
  const groups = new Set<string>()
  for (const command of commands) {
    const rest = command.words.slice(prefix.length)
    if (rest.length <= 1) {
      parser.command(
        [rest[0] ?? '$0', ...command.arguments.map(a => (a.required ? `<${a.name}>` : `[${a.name}]`))].join(' '),
        command.summary,
        own => declareCommand(own, command),
        values => choose(command, values as Record<string, unknown>),
      )
    } else if (!groups.has(rest[0]!)) {
      const word = rest[0]!
      groups.add(word)
      const members = commands.filter(c => c.words.length > prefix.length + 1 && c.words[prefix.length] === word)
      const words = members.map(c => c.words.slice(prefix.length + 1).join(' '))
      parser.command(word, `${words.join(', ')}: see sdmount ${[...prefix, word].join(' ')} --help`, own => {
        declare(own, members, [...prefix, word], choose)
        return own.demandCommand(1, `say what to do: ${words.join(', ')}`).strict()
      })
    }
  }
}

function declareCommand(parser: Parser, command: Command): Parser {
  for (const argument of command.arguments) parser.positional(argument.name, { type: 'string', describe: argument.help })
  for (const name of command.options) {
    const declaration: OptionDeclaration = OPTIONS[name]
    parser.option(name, {
      type: declaration.type === 'list' ? 'array' : declaration.type,
      string: declaration.type !== 'boolean',
      requiresArg: declaration.type !== 'boolean',
      describe:
        (declaration.value ? `${declaration.value}: ` : '') +
        declaration.help +
        (declaration.environment ? ` [${declaration.environment}]` : ''),
      ...(declaration.short ? { alias: declaration.short } : {}),
      ...(declaration.choices ? { choices: declaration.choices } : {}),
    })
  }
  for (const example of command.examples) parser.example(example.line, example.does)
  return parser.strict()
}

function invocation(input: ParserInput, command: Command, values: Record<string, unknown>): Invocation {
  const bytes = (argument: string): Name | undefined => {
    const value = values[argument]
    return typeof value === 'string' ? unshielded(value) : undefined
  }
  return {
    terminal: input.terminal,
    signal: input.signal,
    environment: input.environment,
    option: name => resolveOption(name, command.options.includes(name) ? values[name] : undefined, input.environment),
    bytes,
    text: argument => {
      const value = bytes(argument)
      return value === undefined ? undefined : text(value, argument)
    },
  }
}

/** The value of an option: from the flag, else its environment variable, else its default. */
function resolveOption<N extends OptionName>(name: N, given: unknown, environment: NodeJS.ProcessEnv): OptionValue<N> {
  const declaration: OptionDeclaration = OPTIONS[name]
  const resolve = (): boolean | string | readonly string[] | undefined => {
    if (declaration.type === 'boolean') return given === true
    const all = (Array.isArray(given) ? given : given === undefined ? [] : [given]).map(value => text(String(value), `--${name}`))
    if (declaration.type === 'list') return all
    if (all.length > 1) throw new CommandError('usage', `--${name} is given more than once`)
    const value = all[0] ?? ((declaration.environment && environment[declaration.environment]) || declaration.default)
    if (declaration.choices && typeof value === 'string' && !declaration.choices.includes(value)) {
      throw new CommandError('usage', `${declaration.environment}=${value}: choose one of ${declaration.choices.join(', ')}`)
    }
    return value
  }
  return resolve() as OptionValue<N>
}

function text(bytes: Name, what: string): string {
  const decodedText = textOfName(bytes)
  if (decodedText === undefined) throw new CommandError('usage', `${what} must be UTF-8 text`)
  return decodedText
}

/** No argument has this character: they have one char per byte. */
const SHIELD = '\ue000'

/** yargs doesn't count what stands after `--` as a command's arguments: they go without the `--`, shielded from being options. */
function shielded(given: readonly Name[]): string[] {
  const end = given.indexOf('--')
  return end < 0 ? [...given] : [...given.slice(0, end), ...given.slice(end + 1).map(argument => SHIELD + argument)]
}

function unshielded(argument: string): Name {
  return argument.startsWith(SHIELD) ? argument.slice(SHIELD.length) : argument
}

/** What yargs says, in words that help: it counts arguments before it looks for options that it doesn't know. */
function problem(message: string, given: readonly Name[]): string {
  if (given.length === 0) return 'say where to mount: sdmount MOUNTPOINT (sdmount --help lists the commands)'
  if (!message.startsWith('Not enough non-option')) return decoded(message.trim().replace(/\s*\n\s*/g, ' '))
  const unknown = given.find(argument => /^--[a-z]/.test(argument) && !isKnownFlag(argument.slice(2).split('=', 1)[0]!))
  return unknown ? `Unknown option: ${decoded(unknown)}` : 'an argument is missing; --help says which'
}

function isKnownFlag(name: string): boolean {
  return Object.hasOwn(OPTIONS, name) || name === 'help' || name === 'version'
}

/** What yargs quotes of the arguments is one char per byte. */
function decoded(text: string): string {
  const message = text.replaceAll(SHIELD, '')
  return /^[\0-\xff]*$/.test(message) ? Buffer.from(message, 'latin1').toString('utf8') : message
}
