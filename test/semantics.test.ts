/** docs/semantics.md: the tests that it names are there. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import test from 'ava'

const ROOT = fileURLToPath(new URL('..', import.meta.url))

test('each promise names a test that is there', t => {
  const text = readFileSync(join(ROOT, 'docs/semantics.md'), 'utf8')
  const named = [...text.matchAll(/^\| .+ \| ([^|]+) \|$/gm)]
    .map(match => match[1]!.trim())
    .filter(cell => cell !== 'test' && !cell.startsWith('('))
  t.true(named.length > 20)
  for (const cell of named) {
    const [place, title] = cell.split(/: (.*)/s) as [string, string | undefined]
    const file = join(ROOT, 'test', `${place}.test.ts`)
    t.true(existsSync(file), `${cell}: there is no test/${place}.test.ts among ${readdirSync(join(ROOT, 'test')).join(', ')}`)
    if (title && existsSync(file)) t.true(readFileSync(file, 'utf8').includes(title), `${cell}: no such title in test/${place}.test.ts`)
  }
})
