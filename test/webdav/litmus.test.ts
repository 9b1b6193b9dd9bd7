/** litmus: every suite, every test, no warning; over memory and over a folder; by Digest and by Basic. */
import { deferredVfs } from './support/deferred-vfs.ts'
import { litmusCredentials as credentials, litmus } from './support/litmus.ts'
import { serveLocation } from './support/served-location.ts'
import { serveTree } from './support/served-tree.ts'
import { testWith } from './support/tools.ts'

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
