/** The command line without a mount: help, usage, exit codes, arguments that aren't UTF-8. */
import { spawnSync } from 'node:child_process'
import { mkdirSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import ava from 'ava'
import { COMMANDS } from '../../src/cli/commands/all.ts'
import { EXIT_CODES } from '../../src/cli/exit-codes.ts'
import { LAUNCHER, Sandbox } from './sdmount.ts'

/** One after the other: each runs several processes to their end. */
const test = ava.serial

test('--help on every verb, with an example', t => {
  const sandbox = new Sandbox(t)
  for (const command of COMMANDS) {
    const { code, stdout, stderr } = sandbox.run([...command.words, '--help'])
    t.is(code, 0, `${command.words.join(' ')}: ${stderr}`)
    t.true(stdout.includes(command.summary), `${command.words.join(' ')} --help says what it does`)
    t.true(stdout.includes('Examples:'), `${command.words.join(' ')} --help has an example`)
    for (const option of command.options) t.true(stdout.includes(`--${option}`), `${command.words.join(' ')} --help lists --${option}`)
  }
})

test('help VERB is VERB --help', t => {
  const sandbox = new Sandbox(t)
  t.is(sandbox.run(['help', 'location', 'add']).stdout, sandbox.run(['location', 'add', '--help']).stdout)
})

test('--version says the version of package.json', t => {
  const sandbox = new Sandbox(t)
  t.regex(sandbox.run(['--version']).stdout, /^\d+\.\d+\.\d+\n$/)
  t.is(sandbox.run(['-V']).stdout, sandbox.run(['--version']).stdout)
})

const WRONG: readonly (readonly string[])[] = [
  [],
  ['--no-such-option', 'x'],
  ['status', '--no-such-option'],
  ['status', 'extra'],
  ['location'],
  ['location', 'no-such-verb'],
  ['location', 'add'],
  ['no-such-verb'],
  ['-o', 'no_such_word', './m'],
  ['-o', 'uid=5', './m'],
  ['-o', 'ro=1', './m'],
  ['-o', 'library', './m'],
  ['--driver', 'no-such-driver', './m'],
  ['--library', 'a', '--library', 'b', 'status'],
  ['library', 'key', 'elsewhere'],
]

for (const line of WRONG) {
  test(`a wrong command line ends with 2, in one line: ${line.join(' ') || '(nothing)'}`, t => {
    const sandbox = new Sandbox(t)
    const { code, stdout, stderr } = sandbox.run(line)
    t.is(code, EXIT_CODES.usage.code)
    t.is(stdout, '')
    t.regex(stderr, /^sdmount: [^\n]+\n$/)
  })
}

test('a mistyped verb makes no folder', t => {
  const sandbox = new Sandbox(t)
  t.is(sandbox.run(['statsu']).code, 2)
  t.is(spawnSync('ls', ['-A', sandbox.home], { encoding: 'utf8' }).stdout, '')
})

test('verbs that only look do not make a library', t => {
  const sandbox = new Sandbox(t)
  for (const line of [['status'], ['location', 'list'], ['index', 'verify'], ['location', 'remove', 'x'], ['library', 'key']]) {
    t.is(sandbox.run(line).code, EXIT_CODES['no-library'].code, line.join(' '))
  }
  t.is(sandbox.run(['umount']).code, EXIT_CODES['not-mounted'].code)
  t.is(spawnSync('ls', ['-A', sandbox.home], { encoding: 'utf8' }).stdout, '')
})

test('completion prints a script that asks the program', t => {
  const sandbox = new Sandbox(t)
  const { code, stdout } = sandbox.run(['completion'])
  t.is(code, 0)
  t.true(stdout.includes('--get-yargs-completions'))
  t.true(sandbox.run(['--get-yargs-completions', 'sdmount', 'location', '']).stdout.includes('add'))
})

test('a path that is not UTF-8 reaches the library byte for byte', t => {
  const sandbox = new Sandbox(t)
  const folder = Buffer.concat([Buffer.from(`${sandbox.directory}/caf`), Buffer.from([0xe9])])
  mkdirSync(folder)
  // The shell passes the byte on; Node's own spawn can't.
  const added = sandbox.program('/bin/sh', [
    '-c',
    `exec '${LAUNCHER}' location add "$(printf '%s/caf\\351' "$1")"`,
    'sh',
    sandbox.directory,
  ])
  t.is(added.code, 0, added.stderr)
  t.true(added.stdout.includes('caf\\xe9'))
  const listed = JSON.parse(sandbox.run(['location', 'list', '--json']).stdout) as { name: string; path: string }[]
  t.is(listed[0]?.path, `${sandbox.directory}/caf\\xe9`)
})

test('after -- an argument may begin with a dash', t => {
  const sandbox = new Sandbox(t)
  const folder = sandbox.folder('-r')
  t.is(sandbox.run(['location', 'add', '--', '-r'], { cwd: sandbox.directory }).code, 0)
  t.deepEqual(JSON.parse(sandbox.run(['location', 'list', '--json']).stdout), [{ name: '-r', path: folder, entries: 0 }])
  t.is(sandbox.run(['location', 'remove', '--', '-r']).code, 0)
  const { code, stderr } = sandbox.run(['location', 'add', '--', 'a', '-b'])
  t.is(code, 2)
  t.regex(stderr, /^sdmount: Unknown argument: -b\n$/)
})

test('text options must be UTF-8', t => {
  const sandbox = new Sandbox(t)
  const { code, stderr } = sandbox.program('/bin/sh', ['-c', `exec '${LAUNCHER}' status --library "$(printf 'x\\351')"`])
  t.is(code, 2)
  t.regex(stderr, /UTF-8/)
})

test('a reader that goes away is no error', t => {
  const sandbox = new Sandbox(t)
  const { code } = sandbox.program('/bin/sh', ['-c', `'${LAUNCHER}' --help | head -n 1 >/dev/null`])
  t.is(code, 0)
})

test('--library and SDMOUNT_LIBRARY choose the library, and nothing outside it is touched', t => {
  const sandbox = new Sandbox(t)
  const folder = sandbox.folder('music')
  const one = join(sandbox.directory, 'one')
  const two = join(sandbox.directory, 'two')
  t.is(sandbox.run(['location', 'add', folder, '--library', one]).code, 0)
  t.is(sandbox.run(['location', 'add', folder, '--name', 'other'], { env: { SDMOUNT_LIBRARY: two } }).code, 0)
  t.true(sandbox.run(['--library', one, 'location', 'list']).stdout.includes('music'))
  t.true(sandbox.run(['location', 'list', '--library', two]).stdout.includes('other'))
  t.is(spawnSync('ls', ['-A', sandbox.home], { encoding: 'utf8' }).stdout, '')
  t.is(statSync(one).mode & 0o777, 0o700, 'it is for nobody else')
})

test('a relative path is taken from the working directory', t => {
  const sandbox = new Sandbox(t)
  sandbox.folder('a', 'b')
  const { code, stdout } = sandbox.run(['location', 'add', '../b'], { cwd: sandbox.folder('a', 'c') })
  t.is(code, 0)
  t.true(stdout.includes(`${sandbox.directory}/a/b`))
})

test('what can not be a location is refused with 11', t => {
  const sandbox = new Sandbox(t)
  writeFileSync(join(sandbox.directory, 'file'), '')
  const folder = sandbox.folder('folder')
  t.is(sandbox.run(['location', 'add', folder]).code, 0)
  const refused: [string[], RegExp][] = [
    [[join(sandbox.directory, 'missing')], /does not exist/],
    [[join(sandbox.directory, 'file')], /not a folder/],
    [[folder], /already/],
    [['/'], /--name/],
    [[sandbox.home, '--name', 'folder'], /already a folder named "folder"/],
    [[sandbox.home, '--name', 'a/b'], /plain name/],
    [[sandbox.home, '--name', '..'], /plain name/],
    [[sandbox.home, '--name', 'a\nb'], /control characters/],
    [[sandbox.home, '--name', 'x'.repeat(256)], /more than 255 bytes/],
    [[sandbox.library], /belongs to the library/],
  ]
  for (const [line, why] of refused) {
    const { code, stderr } = sandbox.run(['location', 'add', ...line])
    t.is(code, EXIT_CODES.location.code, line.join(' '))
    t.regex(stderr, why)
  }
})

test('nested locations are allowed, with a note', t => {
  const sandbox = new Sandbox(t)
  t.is(sandbox.run(['location', 'add', sandbox.folder('outer', 'inner')]).code, 0)
  const { code, stderr } = sandbox.run(['location', 'add', sandbox.folder('outer')])
  t.is(code, 0)
  t.regex(stderr, /contains the location "inner"/)
})

test('locations are added, listed and removed without a mount', t => {
  const sandbox = new Sandbox(t)
  const folder = sandbox.folder('music')
  t.is(sandbox.run(['location', 'add', folder, '--name', 'Müsik']).code, 0)
  t.deepEqual(JSON.parse(sandbox.run(['location', 'list', '--json']).stdout), [{ name: 'Müsik', path: folder, entries: 0 }])
  t.is(sandbox.run(['location', 'remove', 'Other']).code, EXIT_CODES['no-location'].code)
  t.is(sandbox.run(['location', 'remove', 'Müsik']).code, 0)
  t.deepEqual(JSON.parse(sandbox.run(['location', 'list', '--json']).stdout), [])
  t.is(sandbox.run(['location', 'rescan']).code, EXIT_CODES['not-mounted'].code)
})
