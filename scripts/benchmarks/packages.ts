/**
 * A small npm project for the `npm ci` row: packages in tarballs beside it, so that no registry is asked.
 * Owns: what the packages hold. Must stay true: the lock names every tarball, so that `npm ci --offline` installs from it.
 */
import { execFileSync } from 'node:child_process'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const PACKAGES = 60
const FILES_EACH = 50

/** What a package of a registry looks like: folders of small modules, and a few that are larger. */
function writePackage(directory: string, name: string): void {
  mkdirSync(directory, { recursive: true })
  writeFileSync(join(directory, 'package.json'), JSON.stringify({ name, version: '1.0.0', main: 'lib0/module-0.js' }))
  for (let f = 0; f < FILES_EACH; f++) {
    const folder = join(directory, `lib${f % 5}`)
    mkdirSync(folder, { recursive: true })
    writeFileSync(join(folder, `module-${f}.js`), `exports.value = ${f} // of ${name}\n`.repeat(1 + ((f * f) % 300)))
  }
}

/** Makes the project in `directory`: package.json, its lock and `packages/`. `cache` is npm's. */
export function makeProject(directory: string, cache: string): void {
  const packages = join(directory, 'packages')
  const scratch = join(directory, 'scratch')
  mkdirSync(packages, { recursive: true })
  const dependencies: Record<string, string> = {}
  for (let n = 0; n < PACKAGES; n++) {
    const name = `bench-package-${n}`
    writePackage(join(scratch, name, 'package'), name)
    execFileSync('tar', ['-czf', join(packages, `${name}.tgz`), '-C', join(scratch, name), 'package'])
    dependencies[name] = `file:packages/${name}.tgz`
  }
  rmSync(scratch, { recursive: true })
  writeFileSync(join(directory, 'package.json'), JSON.stringify({ name: 'bench-project', version: '1.0.0', private: true, dependencies }))
  execFileSync('npm', ['install', '--package-lock-only', ...npmOptions(cache)], { cwd: directory, stdio: 'ignore' })
}

export function npmOptions(cache: string): string[] {
  return ['--offline', '--no-audit', '--no-fund', '--ignore-scripts', '--no-update-notifier', '--loglevel=error', `--cache=${cache}`]
}
