#!/usr/bin/env node
// The launcher's second half: checks Node's age, turns the compile cache on, calls main(). Nothing else.
// Must stay readable by old versions of Node (12 and newer), so that they can print the line below.
import { existsSync } from 'node:fs'
import module from 'node:module'
import { fileURLToPath } from 'node:url'

const NODE_MAJOR_NEEDED = 24
const EXIT_REQUIREMENT = 15 // src/cli/exit-codes.ts: 'requirement'

if (Number(process.versions.node.split('.')[0]) < NODE_MAJOR_NEEDED) {
  process.stderr.write(
    `sdmount: needs Node.js ${NODE_MAJOR_NEEDED} or newer, this is ${process.versions.node} (${process.execPath}): run scripts/setup, or install it from https://nodejs.org\n`,
  )
  process.exitCode = EXIT_REQUIREMENT
} else {
  start()
}

function start() {
  // From a clone the sources run as they are (type stripping); a package has them compiled, and only those.
  const sources = new URL('../src/cli/main.ts', import.meta.url)
  const fromClone = existsSync(sources)
  // Compiled code is kept beside the program, never in a folder that others can write: Node keeps one folder per user in
  // it, and does without where it may not write.
  if (!process.env.NODE_COMPILE_CACHE) module.enableCompileCache(fileURLToPath(new URL('../.node/compile-cache', import.meta.url)))
  import(fromClone ? sources.href : new URL('../dist/cli/main.js', import.meta.url).href)
    .then(cli => cli.main())
    .catch(error => {
      const missing = error && error.code === 'ERR_MODULE_NOT_FOUND'
      process.stderr.write(`sdmount: can't start: ${error && error.message}${missing ? ' (run scripts/setup)' : ''}\n`)
      process.exitCode = missing ? EXIT_REQUIREMENT : 1
    })
}
