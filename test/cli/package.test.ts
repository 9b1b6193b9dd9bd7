/**
 * The package as npm packs it: installed in an empty folder, where Node runs no TypeScript, it mounts.
 * The dependencies are linked from this clone instead of downloaded, so the test needs no network.
 */
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import ava from 'ava'
import { Sandbox } from './sdmount.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const test = ava.serial

test('packed, unpacked in an empty folder, it runs and mounts', t => {
  const sandbox = new Sandbox(t)
  // Packing builds dist/: not in the clone that others use.
  const copy = sandbox.folder('copy')
  const tracked = sandbox.program('git', ['-C', ROOT, 'ls-files', '-co', '--exclude-standard', '-z']).stdout.split('\0').filter(Boolean)
  for (const file of tracked) if (existsSync(join(ROOT, file))) cpSync(join(ROOT, file), join(copy, file))
  symlinkSync(join(ROOT, 'node_modules'), join(copy, 'node_modules'))
  const packed = sandbox.program('npm', ['pack', '--silent', '--pack-destination', sandbox.directory], { cwd: copy })
  t.is(packed.code, 0, packed.stdout + packed.stderr)
  const tarball = readdirSync(sandbox.directory).find(name => name.endsWith('.tgz'))
  t.truthy(tarball)

  const modules = sandbox.folder('empty', 'node_modules')
  mkdirSync(join(modules, 'sdmount'))
  t.is(sandbox.program('tar', ['xzf', join(sandbox.directory, tarball!), '-C', join(modules, 'sdmount'), '--strip-components=1']).code, 0)
  for (const name of readdirSync(join(ROOT, 'node_modules')))
    if (!name.startsWith('.')) symlinkSync(join(ROOT, 'node_modules', name), join(modules, name))

  const installed = join(modules, 'sdmount')
  const files = readdirSync(installed, { recursive: true, encoding: 'utf8' })
  t.deepEqual(
    files.filter(file => file.startsWith('src/') || file.startsWith('test/') || file.startsWith('.')),
    [],
    'sources, tests and caches are not in it',
  )
  const manifest = JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8')) as { version: string; bin: { sdmount: string } }
  const program = join(installed, manifest.bin.sdmount)
  t.is(sandbox.program(program, ['--version']).stdout, `${manifest.version}\n`)
  const mounted = sandbox.program(program, [sandbox.mountpoint])
  t.is(mounted.code, 0, mounted.stderr)
  t.deepEqual(readdirSync(sandbox.mountpoint), ['Files'])
  t.regex(sandbox.program(program, ['status']).stdout, /Files +(online|scanning)/)
  t.is(sandbox.program(program, ['umount']).code, 0)
  if (process.getuid?.() !== 0) return
  // The template that install-helper fills in.
  t.true(existsSync(join(installed, 'scripts', 'mount.fuse.sdmount')))
})
