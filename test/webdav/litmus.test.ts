/** litmus: every suite, every test, no warning; over memory and over a folder; by Digest and by Basic. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ExecutionContext } from 'ava'
import { deferredVfs } from './support/deferred-vfs.ts'
import { serveLocation } from './support/served-location.ts'
import { serveTree } from './support/served-tree.ts'
import { run, testWith } from './support/tools.ts'

const SUITES = { basic: 16, copymove: 13, props: 30, locks: 41, http: 4 }
const credentials = { user: 'lit', password: 'mus:p' }

async function litmus(t: ExecutionContext, url: string): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'sdmount-litmus-'))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  for (const [suite, count] of Object.entries(SUITES)) {
    const { code, output } = await run('litmus', [url, credentials.user, credentials.password], { cwd: directory, env: { TESTS: suite } })
    t.is(code, 0, output)
    t.true(output.includes(`of ${count} tests run: ${count} passed, 0 failed`), output)
    t.notRegex(output, /WARNING|warnings? w(?:as|ere)|skipped/i)
  }
}

for (const scheme of ['digest', 'basic'] as const) {
  testWith(['litmus'], `litmus over memory, ${scheme}`, async t => {
    const served = await serveTree(t, { credentials, schemes: [scheme] })
    await litmus(t, served.url)
    t.deepEqual(served.leaks(), [])
  })
  testWith(['litmus'], `litmus over a folder, ${scheme}`, async t => {
    const served = await serveLocation(t, { credentials, schemes: [scheme] })
    await litmus(t, served.url)
    t.deepEqual(served.leaks(), [])
  })
}

testWith(['litmus'], 'litmus over a tree that answers nothing at once', async t => {
  const served = await serveTree(t, { credentials, wrap: vfs => deferredVfs(vfs) })
  await litmus(t, served.url)
  t.deepEqual(served.leaks(), [])
})
