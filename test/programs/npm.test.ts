/** Real programs: npm installs this project's own packages in the mount, and they load from there. */
import { copyFileSync, existsSync } from 'node:fs'
import { homedir } from 'node:os'
import { fileURLToPath } from 'node:url'
import { treeDifferences } from './compare-trees.ts'
import { ORDINARY, program, THROUGH_DAEMON } from './suite.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
/** What npm says when it can't reach its registry. */
const NO_NETWORK = /ENOTFOUND|EAI_AGAIN|ETIMEDOUT|ECONNREFUSED|ECONNRESET|ENOTCACHED|EHOSTUNREACH|ENETUNREACH/

/** Native code and packages with many files: mapped and read through the mount. */
const LOAD = `
await import('koffi')
const { default: Database } = await import('better-sqlite3-multiple-ciphers')
const database = new Database(process.argv[1] + '/try.db')
database.exec('CREATE TABLE t (n)')
const { S3Client } = await import('@aws-sdk/client-s3')
console.log(database.prepare('SELECT count(*) AS n FROM t').get().n, typeof S3Client)
`

program(
  'npm ci of this project',
  { needs: ['npm', 'node'], in: [process.getuid?.() === 0 ? THROUGH_DAEMON : ORDINARY] },
  async ({ t, mounted, host, plain, run }) => {
    const options = ['--prefer-offline', '--no-audit', '--no-fund', '--ignore-scripts', '--loglevel=error']
    const cache = `${homedir()}/.npm`
    if (existsSync(cache)) options.push(`--cache=${cache}`)
    for (const directory of [plain, host])
      for (const file of ['package.json', 'package-lock.json']) copyFileSync(root + file, `${directory}/${file}`)
    try {
      await run('npm', ['ci', ...options], { cwd: plain })
    } catch (error) {
      if (!NO_NETWORK.test(String(error))) throw error
      t.log('skipped: npm reaches no registry and its cache lacks a package')
      t.pass()
      return
    }
    await run('npm', ['ci', ...options], { cwd: mounted })
    // npm writes times of the installation into one file of its own.
    const differences = treeDifferences(mounted, plain, { times: false }).filter(line => !line.includes('node_modules/.package-lock.json'))
    t.deepEqual(differences, [])
    t.is((await run(process.execPath, ['--input-type=module', '-e', LOAD, mounted])).trim(), '0 function')
  },
)
