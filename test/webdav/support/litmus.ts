/** The litmus suite: every test of it must pass, without a warning. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ExecutionContext } from 'ava'
import { run } from './tools.ts'

const SUITES = { basic: 16, copymove: 13, props: 30, locks: 41, http: 4 }
export const litmusCredentials = { user: 'lit', password: 'mus:p' }

export async function litmus(t: ExecutionContext, url: string): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'sdmount-litmus-'))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  for (const [suite, count] of Object.entries(SUITES)) {
    const { user, password } = litmusCredentials
    const { code, output } = await run('litmus', [url, user, password], { cwd: directory, env: { TESTS: suite } })
    t.is(code, 0, output)
    t.true(output.includes(`of ${count} tests run: ${count} passed, 0 failed`), output)
    t.notRegex(output, /WARNING|warnings? w(?:as|ere)|skipped/i)
  }
}
