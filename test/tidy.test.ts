/** The rules of the house that a program can check: layers, sizes, names, first comments, what a repository must not hold. */
import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import test from 'ava'

const ROOT = fileURLToPath(new URL('..', import.meta.url))

/**
 * The rooms of src/ from the ground up. A file imports from its own room and from those of lower levels; rooms of one
 * level don't know each other. What isn't named here is a new room that nobody has decided about.
 */
const LEVELS: Readonly<Record<string, number>> = {
  errors: 0,
  log: 0,
  sys: 0,
  library: 1,
  backends: 1,
  crypto: 1,
  sqlite: 1,
  index: 2,
  cache: 2,
  vfs: 3,
  fs: 4,
  cli: 5,
}

/** The words of the tree are for everybody. */
const VOCABULARY = 'vfs/contract.ts'

/** Libraries of several entry points, each for a reason. */
const SHARED_LIBRARIES: Readonly<Record<string, string>> = {
  'lru-cache': 'a data structure, as Map is',
}

const LINES_LIMIT = 450
/** Longer, for a reason. */
const LONG_FILES: Readonly<Record<string, string>> = {
  'src/sys/linux.ts': 'all system calls in one place',
}

const sources = readdirSync(join(ROOT, 'src'), { recursive: true, encoding: 'utf8' })
  .filter(path => path.endsWith('.ts') && !path.endsWith('.d.ts'))
  .sort()

function text(path: string): string {
  return readFileSync(join(ROOT, path), 'utf8')
}

function room(path: string): string {
  return path.split('/')[0]!.replace(/\.ts$/, '')
}

/** The files below src/ that a file imports, statically or not, for values or types. */
function importsOf(path: string): string[] {
  const found = [...text(`src/${path}`).matchAll(/(?:from|import)\s*\(?\s*'(\.[^']+)'/g)]
  return found.map(match => relative(join(ROOT, 'src'), resolve(ROOT, 'src', dirname(path), match[1]!)))
}

test('every room of src/ has its level', t => {
  for (const path of sources) t.true(Object.hasOwn(LEVELS, room(path)), `src/${path}`)
})

test('imports go down only', t => {
  const upward = sources.flatMap(path =>
    importsOf(path)
      .filter(target => target !== VOCABULARY && room(target) !== room(path) && LEVELS[room(target)]! >= LEVELS[room(path)]!)
      // Ground files stand beside each other.
      .filter(target => LEVELS[room(target)] !== 0 || LEVELS[room(path)] !== 0)
      .map(target => `src/${path} imports src/${target}`),
  )
  t.deepEqual(upward, [])
})

test('what is imported is there', t => {
  const missing = sources
    .flatMap(path => importsOf(path).map(target => `src/${target}`))
    .filter(target => target.endsWith('.ts') && !existsSync(join(ROOT, target)))
  t.deepEqual(missing, [])
})

test('every file opens with a comment that says what it is', t => {
  const silent = sources.map(path => `src/${path}`).filter(path => !/^(#![^\n]*\n)?\/\*\*/.test(text(path)))
  t.deepEqual(silent, [])
})

test(`no file has more than ${LINES_LIMIT} lines, save for a reason`, t => {
  const long = sources
    .map(path => `src/${path}`)
    .filter(path => text(path).split('\n').length > LINES_LIMIT && !Object.hasOwn(LONG_FILES, path))
  t.deepEqual(long, [])
  for (const path of Object.keys(LONG_FILES)) t.true(existsSync(join(ROOT, path)), `${path} is on the list and gone`)
})

test('files are named in kebab-case, and none is a drawer for everything', t => {
  for (const path of sources) {
    t.regex(path, /^[a-z0-9/-]+\.ts$/, path)
    t.notRegex(path, /(^|[/-])(utils?|helpers|misc|common)(\.ts|\/|-)/, path)
  }
})

test('no default exports, no enums, no private keyword', t => {
  for (const path of sources) {
    t.notRegex(text(`src/${path}`), /^export default /m, path)
    t.notRegex(text(`src/${path}`), /^(export )?(const )?enum /m, path)
    t.notRegex(text(`src/${path}`), /^ {2}private (?!constructor)/m, path)
  }
})

test('one entry point per foreign library', t => {
  const users = new Map<string, string[]>()
  for (const path of sources) {
    for (const match of text(`src/${path}`).matchAll(/^import (?!type)[^'\n]*'([^.'\n][^'\n]*)'/gm)) {
      const library = match[1]!
      if (!library.startsWith('node:')) users.set(library, [...(users.get(library) ?? []), path])
    }
  }
  const shared = [...users].filter(([library, paths]) => paths.length > 1 && !Object.hasOwn(SHARED_LIBRARIES, library))
  t.deepEqual(shared, [])
})

test('the repository speaks of the project alone', t => {
  const files = execFileSync('git', ['ls-files', '-z'], { cwd: ROOT, encoding: 'utf8' }).split('\0').filter(Boolean)
  const foreign = [
    // Where somebody's copy lies, or what a registry or mirror is called.
    /\/work\//,
    /\/tmp\/try\b/,
    /\bregistry\.(npmjs|yarnpkg)\b/,
    /"resolved":/,
  ]
  const found: string[] = []
  for (const file of files) {
    if (file === 'test/tidy.test.ts' || !existsSync(join(ROOT, file))) continue
    const content = text(file)
    if (content.includes('\0')) continue
    for (const pattern of foreign) if (pattern.test(content)) found.push(`${file}: ${pattern}`)
  }
  t.deepEqual(found, [])
})

test('each layer of the documentation is there', t => {
  for (const file of [
    'README.md',
    'LICENSE',
    'CHANGELOG.md',
    'CONTRIBUTING.md',
    'SECURITY.md',
    'docs/architecture.md',
    'docs/formats.md',
    'docs/exit-codes.md',
  ]) {
    t.true(existsSync(join(ROOT, file)), file)
  }
})
