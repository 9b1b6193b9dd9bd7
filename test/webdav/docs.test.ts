/** docs/webdav.md says what is so. */
import { readFileSync } from 'node:fs'
import test from 'ava'
import { DEFAULT_LIMITS } from '../../src/fs/webdav/limits.ts'
import { windowsAdvice } from '../../src/fs/webdav/system-client.ts'

const text = readFileSync(new URL('../../docs/webdav.md', import.meta.url), 'utf8')

test('the table of limits is that of the program', t => {
  const rows = [...text.matchAll(/^\| `(\w+)` \| ([\d,]+) \|$/gm)].map(([, name, value]) => [name, Number(value!.replaceAll(',', ''))])
  t.deepEqual(Object.fromEntries(rows), { ...DEFAULT_LIMITS })
})

test('the lines for Windows are those that the program prints', t => {
  for (const line of windowsAdvice('')) if (line.includes('reg add')) t.true(text.includes(line.trim()), line)
})
