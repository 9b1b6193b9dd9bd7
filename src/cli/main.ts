/**
 * The command line's main: from the process (arguments, environment, signals) to a command and its exit code.
 *
 * Owns: everything that is taken from `process`; commands get it as values. Must stay true: every way out sets an exit
 * code of exit-codes.ts, and an error is one line on standard error (with SDMOUNT_DEBUG=1 also its stack).
 */
import { readFileSync } from 'node:fs'
import type { Name } from '../vfs/contract.ts'
import { DAEMON_WORD } from './daemon/start-protocol.ts'
import { EXIT_CODES, type ExitName } from './exit-codes.ts'
import { interruption } from './interruption.ts'
import { nameOfText } from './names.ts'

/** Runs what the command line asks for and ends the process. */
export async function main(): Promise<void> {
  const given = process.argv.slice(2)
  if (given.length === 1 && given[0] === DAEMON_WORD) {
    const { runDaemon } = await import('./daemon/process.ts')
    return await runDaemon(process.env)
  }
  // Asked for by scripts all the time, and the parser takes longer to load than all else.
  if (given.length === 1 && (given[0] === '--version' || given[0] === '-V')) {
    const { version } = await import('./version.ts')
    process.stdout.write(`${version()}\n`)
    return
  }
  process.exit(EXIT_CODES[await run(given)].code)
}

async function run(given: readonly string[]): Promise<ExitName> {
  const [{ runCommandLine }, { COMMANDS }, { processTerminal }, { version }] = await Promise.all([
    import('./parser.ts'),
    import('./commands/all.ts'),
    import('./terminal/terminal.ts'),
    import('./version.ts'),
  ])
  const terminal = processTerminal()
  try {
    return await runCommandLine({
      commands: COMMANDS,
      arguments: argumentBytes(given),
      environment: process.env,
      terminal,
      signal: interruption(),
      version: version(),
    })
  } catch (error) {
    const [{ describeError }, { exitNameOf }] = await Promise.all([import('../errors.ts'), import('./failures.ts')])
    terminal.remark(`sdmount: ${describeError(error)}`)
    if (process.env.SDMOUNT_DEBUG === '1' && error instanceof Error) terminal.remark(error.stack ?? '')
    return exitNameOf(error)
  }
}

/**
 * The arguments one char per byte. Node decodes them as UTF-8 and loses what isn't; the kernel still has the bytes.
 */
function argumentBytes(given: readonly string[]): Name[] {
  const lossy = given.some(argument => argument.includes('\ufffd'))
  if (!lossy || process.platform !== 'linux') return given.map(nameOfText)
  const all = readFileSync('/proc/self/cmdline', 'latin1').split('\0').slice(0, -1)
  return all.slice(all.length - given.length)
}
