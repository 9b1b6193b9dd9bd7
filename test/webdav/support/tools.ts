/**
 * Programs of others in tests: found or skipped with the reason, run with an end.
 * Owns: the running child. Must stay true: no program outlives its test or its time.
 */
import { spawn } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'
import test, { type ExecutionContext } from 'ava'

export interface Outcome {
  /** Exit code; -1 when it was ended. */
  readonly code: number
  /** Standard output and standard error, as they came. */
  readonly output: string
}

export interface RunOptions {
  readonly cwd?: string
  readonly input?: string
  readonly env?: Readonly<Record<string, string>>
  readonly timeoutMs?: number
}

export function findTool(name: string): string | undefined {
  for (const directory of [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/sbin']) {
    try {
      accessSync(join(directory, name), constants.X_OK)
      return join(directory, name)
    } catch {}
  }
  return undefined
}

/** A test that needs programs (and maybe more); skipped, with the reason in its title, where something is missing. */
export function testWith(tools: readonly string[], title: string, body: (t: ExecutionContext) => Promise<void>, missing?: string): void {
  const absent = tools.filter(tool => !findTool(tool))
  const reason = absent.length > 0 ? `${absent.join(', ')} not installed` : missing
  if (reason) test.skip(`${title} (skipped: ${reason})`, body)
  else test.serial(title, body)
}

export function run(command: string, args: readonly string[], options: RunOptions = {}): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const child = spawn(findTool(command) ?? command, args, { cwd: options.cwd, env: { ...process.env, ...options.env } })
    let output = ''
    const timer = setTimeout(() => child.kill('SIGKILL'), options.timeoutMs ?? 300_000)
    for (const stream of [child.stdout, child.stderr]) stream.on('data', chunk => (output += chunk))
    child.on('error', error => {
      clearTimeout(timer)
      reject(error)
    })
    child.on('close', code => {
      clearTimeout(timer)
      resolve({ code: code ?? -1, output })
    })
    child.stdin.on('error', () => {})
    child.stdin.end(options.input ?? '')
  })
}

/** Runs what must succeed. */
export async function succeed(t: ExecutionContext, command: string, args: readonly string[], options: RunOptions = {}): Promise<string> {
  const { code, output } = await run(command, args, options)
  t.is(code, 0, `${command} ${args.join(' ')}: ${output.slice(-2000)}`)
  return output
}
