/**
 * Runs the checks and the tests, and counts them: for scripts/test.
 *
 * Owns: the last line, `N passed, N failed` (and `, N skipped` where some were), which is counted from what ran. Must stay
 * true: whatever goes wrong, a crash of the test runner too, counts as at least one failure.
 */
import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { ReportCount } from './report-count.ts'

const files = process.argv.slice(2)
let passed = 0
let failed = 0
let skipped = 0

/** A check that passes or fails as a whole; what it prints is shown when it fails. */
async function check(name: string, program: string, arguments_: readonly string[]): Promise<void> {
  let output = ''
  const code = await run(program, arguments_, line => {
    output += `${line}\n`
  })
  if (code === 0) passed++
  else failed++
  console.log(`${code === 0 ? 'ok' : 'not ok'} - ${name}`)
  if (code !== 0) process.stdout.write(output)
}

async function tests(): Promise<void> {
  const count = new ReportCount()
  const code = await run('ava', files, line => {
    count.line(line)
    console.log(line)
  })
  const total = count.end(code)
  passed += total.passed
  failed += total.failed
  skipped += total.skipped
}

/** The exit code of a program (1 when it couldn't be started or was killed), its output line by line. */
function run(program: string, arguments_: readonly string[], line: (text: string) => void): Promise<number> {
  return new Promise(resolve => {
    const child = spawn(program, arguments_, { stdio: ['ignore', 'pipe', 'pipe'] })
    const readers = [child.stdout, child.stderr].map(input => {
      const reader = createInterface({ input })
      reader.on('line', line)
      return new Promise(closed => reader.once('close', closed))
    })
    child.once('error', error => {
      line(String(error))
      resolve(1)
    })
    child.once('close', async code => {
      await Promise.all(readers)
      resolve(code ?? 1)
    })
  })
}

if (files.length === 0) {
  await check('types', 'tsc', ['--noEmit'])
  await check('lint and format', 'biome', ['check', '.'])
}
await tests()
console.log(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`)
process.exitCode = failed > 0 ? 1 : 0
