// Are the npm packages of package-lock.json installed? Exit code 0: all of them, in the right version. For scripts/setup.
// Compares the lock with npm's record of what it installed; a package that isn't there must be an optional one (for
// another platform). Runs on any Node.
import { existsSync, readFileSync } from 'node:fs'

const root = process.argv[2]

function packages(path) {
  return existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')).packages : {}
}

const wanted = packages(`${root}/package-lock.json`)
const installed = packages(`${root}/node_modules/.package-lock.json`)
const complete = Object.entries(wanted).every(([path, { version, optional, peer }]) => {
  if (path === '') return true
  const found = installed[path]
  return found ? found.version === version && existsSync(`${root}/${path}`) : optional || peer
})
process.exit(complete ? 0 : 1)
