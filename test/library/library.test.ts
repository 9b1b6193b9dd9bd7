/** The library directory: lock, version, key. */
import { spawn } from 'node:child_process'
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import test, { type ExecutionContext } from 'ava'
import { keyStore, moveKey, obtainKey } from '../../src/library/key.ts'
import type { Keyring } from '../../src/library/keyring.ts'
import { libraryExists, libraryPaths } from '../../src/library/layout.ts'
import { openLibrary } from '../../src/library/library.ts'
import { LibraryError } from '../../src/library/library-error.ts'
import { defaultLibraryDirectory, standardFolders } from '../../src/library/user-directories.ts'

function scratch(t: ExecutionContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'sdmount-library-'))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

function problemOf(action: () => unknown): string {
  try {
    action()
  } catch (error) {
    if (error instanceof LibraryError) return `${error.problem}: ${error.message}`
    throw error
  }
  return 'none'
}

test('a new library is private, complete, and has the same key when it is opened again', t => {
  const directory = join(scratch(t), 'deep', 'library')
  t.false(libraryExists(directory))
  let key: string
  {
    using library = openLibrary(directory, { create: true })
    t.true(library.fresh)
    key = library.key.toString('hex')
  }
  using again = openLibrary(directory, { create: false })
  t.false(again.fresh)
  t.is(again.key.toString('hex'), key)
  t.is(again.key.length, 32)
  t.is(statSync(directory).mode & 0o777, 0o700)
  t.is(statSync(again.paths.key).mode & 0o777, 0o600)
  t.deepEqual(readdirSync(directory).sort(), ['key', 'lock', 'version'], 'no temporary file is left')
})

test('two libraries have different keys', t => {
  const directory = scratch(t)
  using one = openLibrary(join(directory, 'one'), { create: true })
  using two = openLibrary(join(directory, 'two'), { create: true })
  t.false(one.key.equals(two.key))
})

test('a library that is not there is missing, and is not made by looking', t => {
  const directory = join(scratch(t), 'library')
  t.regex(
    problemOf(() => openLibrary(directory, { create: false })),
    /^missing/,
  )
  t.deepEqual(readdirSync(join(directory, '..')), [])
})

test('a second opener is told who holds the library; it is free when that process dies, however it dies', async t => {
  const directory = join(scratch(t), 'library')
  const module = fileURLToPath(new URL('../../src/library/library.ts', import.meta.url))
  const holder = spawn(
    process.execPath,
    [
      '-e',
      `import(${JSON.stringify(module)}).then(m => { globalThis.held = m.openLibrary(${JSON.stringify(directory)}, { create: true }); console.log('held'); setInterval(() => {}, 1000) })`,
    ],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  )
  t.teardown(() => holder.kill('SIGKILL'))
  await new Promise(resolve => holder.stdout.once('data', resolve))
  t.regex(
    problemOf(() => openLibrary(directory, { create: true })),
    new RegExp(`^in-use: .*process ${holder.pid}`),
  )
  const ended = new Promise(resolve => holder.once('exit', resolve))
  holder.kill('SIGKILL')
  await ended
  using _ = openLibrary(directory, { create: false })
  t.pass()
})

test('a library of a newer version is refused and left as it is', t => {
  const directory = join(scratch(t), 'library')
  openLibrary(directory, { create: true })[Symbol.dispose]()
  const { version } = libraryPaths(directory)
  writeFileSync(version, 'sdmount-library 2\n')
  const before = readdirSync(directory).map(file => [file, readFileSync(join(directory, file), 'latin1')])
  t.regex(
    problemOf(() => openLibrary(directory, { create: true })),
    /^unusable: .*newer sdmount \(version 2/,
  )
  t.deepEqual(
    readdirSync(directory).map(file => [file, readFileSync(join(directory, file), 'latin1')]),
    before,
  )
})

for (const damage of [
  '',
  'sdmount-library',
  'sdmount-library 0\n',
  'sdmount-library 1',
  'sdmount-library 1\n\n',
  'sdmount-library -1\n',
  '\0\0\0',
]) {
  test(`a damaged version file is refused: ${JSON.stringify(damage)}`, t => {
    const directory = join(scratch(t), 'library')
    openLibrary(directory, { create: true })[Symbol.dispose]()
    writeFileSync(libraryPaths(directory).version, damage)
    t.regex(
      problemOf(() => openLibrary(directory, { create: true })),
      /^unusable: .*damaged/,
    )
  })
}

test('a missing key is never replaced by a new one', t => {
  const directory = join(scratch(t), 'library')
  openLibrary(directory, { create: true })[Symbol.dispose]()
  const paths = libraryPaths(directory)
  rmSync(paths.key)
  t.regex(
    problemOf(() => openLibrary(directory, { create: true })),
    /^unusable: .*key file .* missing/,
  )
  t.false(readdirSync(directory).includes('key'))
})

test('a key file with any one character changed is refused, and no message holds the key', t => {
  const path = join(scratch(t), 'key')
  const key = obtainKey(path, { create: true })
  const text = readFileSync(path, 'latin1')
  for (let at = 0; at < text.length; at++) {
    writeFileSync(path, text.slice(0, at) + (text[at] === '0' ? '1' : '0') + text.slice(at + 1))
    const problem = problemOf(() => obtainKey(path, { create: false }))
    t.regex(problem, /^unusable: .*damaged/, `character ${at}`)
    t.false(problem.includes(key.toString('hex').slice(0, 8)))
  }
})

test('a key file cut off anywhere is refused', t => {
  const path = join(scratch(t), 'key')
  obtainKey(path, { create: true })
  const text = readFileSync(path, 'latin1')
  for (let length = 0; length < text.length; length++) {
    writeFileSync(path, text.slice(0, length))
    t.regex(
      problemOf(() => obtainKey(path, { create: false })),
      /^unusable/,
    )
  }
})

test('a key that was made before the library was complete is used, not replaced', t => {
  const directory = join(scratch(t), 'library')
  mkdirSync(directory, { mode: 0o700 })
  const key = obtainKey(libraryPaths(directory).key, { create: true })
  using library = openLibrary(directory, { create: true })
  t.true(library.key.equals(key))
})

test('an index without a version file is not taken for a new library', t => {
  const directory = join(scratch(t), 'library')
  openLibrary(directory, { create: true })[Symbol.dispose]()
  const paths = libraryPaths(directory)
  mkdirSync(paths.index)
  rmSync(paths.version)
  t.regex(
    problemOf(() => openLibrary(directory, { create: true })),
    /^unusable: .*part of the library is missing/,
  )
})

test('permissions that became too wide are narrowed', t => {
  const directory = join(scratch(t), 'library')
  openLibrary(directory, { create: true })[Symbol.dispose]()
  chmodSync(directory, 0o755)
  chmodSync(libraryPaths(directory).key, 0o644)
  using _ = openLibrary(directory, { create: false })
  t.is(statSync(directory).mode & 0o777, 0o700)
  t.is(statSync(libraryPaths(directory).key).mode & 0o777, 0o600)
})

/** A keyring in memory that can be made to misbehave. */
class FakeKeyring implements Keyring {
  readonly secrets = new Map<string, string>()
  forgetful = false
  refusing = false
  read(account: string): string | undefined {
    if (this.refusing) throw new LibraryError('unusable', 'the keyring refuses')
    return this.secrets.get(account)
  }
  write(account: string, secret: string): void {
    if (this.refusing) throw new LibraryError('unusable', 'the keyring refuses')
    if (!this.forgetful) this.secrets.set(account, secret)
  }
  remove(account: string): void {
    this.secrets.delete(account)
  }
}

test('the key moves into the keyring and back', t => {
  const path = join(scratch(t), 'key')
  const keyring = new FakeKeyring()
  const key = obtainKey(path, { create: true })
  moveKey(path, 'keyring', () => keyring)
  t.is(keyStore(path), 'keyring')
  t.false(readFileSync(path, 'latin1').includes(key.toString('hex')))
  t.true(obtainKey(path, { create: false }, () => keyring).equals(key))
  moveKey(path, 'file', () => keyring)
  t.is(keyStore(path), 'file')
  t.true(obtainKey(path, { create: false }, () => keyring).equals(key))
  t.is(keyring.secrets.size, 0)
})

test('a keyring that refuses or forgets leaves the key in the file', t => {
  const path = join(scratch(t), 'key')
  const keyring = new FakeKeyring()
  const key = obtainKey(path, { create: true })
  for (const fault of ['refusing', 'forgetful'] as const) {
    keyring[fault] = true
    t.regex(
      problemOf(() => moveKey(path, 'keyring', () => keyring)),
      /^unusable/,
    )
    t.true(obtainKey(path, { create: false }, () => keyring).equals(key))
    keyring[fault] = false
  }
})

test('a key that the keyring lost is an error, not a new key', t => {
  const path = join(scratch(t), 'key')
  const keyring = new FakeKeyring()
  obtainKey(path, { create: true })
  moveKey(path, 'keyring', () => keyring)
  keyring.secrets.clear()
  t.regex(
    problemOf(() => obtainKey(path, { create: false }, () => keyring)),
    /^unusable: .*no key of this library/,
  )
})

test('without a keyring on the machine the key stays where it is', t => {
  const path = join(scratch(t), 'key')
  const key = obtainKey(path, { create: true })
  const address = process.env.DBUS_SESSION_BUS_ADDRESS
  process.env.DBUS_SESSION_BUS_ADDRESS = 'unix:path=/nonexistent'
  try {
    t.regex(
      problemOf(() => moveKey(path, 'keyring')),
      /^unusable/,
    )
  } finally {
    if (address === undefined) delete process.env.DBUS_SESSION_BUS_ADDRESS
    else process.env.DBUS_SESSION_BUS_ADDRESS = address
  }
  t.true(obtainKey(path, { create: false }).equals(key))
})

test('the default library is in the XDG data home', t => {
  t.is(defaultLibraryDirectory({ HOME: '/home/a' }, 'linux'), '/home/a/.local/share/sdmount')
  t.is(defaultLibraryDirectory({ HOME: '/home/a', XDG_DATA_HOME: '/data' }, 'linux'), '/data/sdmount')
  t.is(defaultLibraryDirectory({ HOME: '/home/a', XDG_DATA_HOME: 'relative' }, 'linux'), '/home/a/.local/share/sdmount')
  t.is(defaultLibraryDirectory({ HOME: '/Users/a' }, 'darwin'), '/Users/a/Library/Application Support/sdmount')
})

test('standard folders: those of user-dirs.dirs that exist, never the home itself, each once', t => {
  const home = scratch(t)
  for (const folder of ['Dokumente', 'Bilder', 'Musik', 'elsewhere', '.config', 'Videos', 'q"uote']) mkdirSync(join(home, folder))
  const lines = [
    '# comment',
    'XDG_DESKTOP_DIR="$HOME/"',
    'XDG_DOCUMENTS_DIR="$HOME/Dokumente"',
    'XDG_PICTURES_DIR="$HOME/Bilder"',
    `  XDG_MUSIC_DIR = "${home}/elsewhere"`,
    'XDG_DOWNLOAD_DIR="$HOME/missing"',
    'XDG_VIDEOS_DIR="$HOME/Bilder"',
    'XDG_PUBLICSHARE_DIR="$HOME/Musik"',
    'not a line',
  ]
  writeFileSync(join(home, '.config', 'user-dirs.dirs'), lines.join('\n'))
  t.deepEqual(standardFolders({ HOME: home }), [`${home}/Dokumente`, `${home}/elsewhere`, `${home}/Bilder`])
  writeFileSync(join(home, '.config', 'user-dirs.dirs'), 'XDG_MUSIC_DIR="$HOME/q\\"uote"\nXDG_DOCUMENTS_DIR="relative"\n')
  t.deepEqual(standardFolders({ HOME: home }), [`${home}/q"uote`, `${home}/Videos`])
})

test('standard folders without user-dirs.dirs: the usual names', t => {
  const home = scratch(t)
  for (const folder of ['Documents', 'Pictures', 'Other']) mkdirSync(join(home, folder))
  t.deepEqual(standardFolders({ HOME: home }), [`${home}/Documents`, `${home}/Pictures`])
})
