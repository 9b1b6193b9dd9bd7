/** The two files of a header: which is believed, and that no interruption leaves none. */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { Passphrase } from '../../src/crypto/passphrase.ts'
import { createHeader, type OpenHeader } from '../../src/crypto/vault/header.ts'
import { HeaderError, type HeaderProblem } from '../../src/crypto/vault/header-error.ts'
import { FsError } from '../../src/errors.ts'
import {
  HEADER_COPY,
  HEADER_FILE,
  openStoredHeader,
  readHeader,
  unlockStoredHeader,
  writeHeader,
  writeNewHeader,
} from '../../src/vfs/volumes/vault/header-files.ts'
import { type FolderState, interruptedStates, recordWrites } from './recorded-writes.ts'

const COSTS = { memoryKib: 8192, passes: 1, lanes: 1 }
const phrase = (text: string) => new Passphrase(Buffer.from(text))
const made = (text: string) => createHeader([{ label: 'main', passphrase: phrase(text), costs: COSTS }])
const changed = (header: OpenHeader, text: string) => header.replace({ label: 'main', passphrase: phrase(text), costs: COSTS })

function scratch(t: ExecutionContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'sdmount-header-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

function stateOf(folder: string): FolderState {
  return new Map(readdirSync(folder).map(name => [name, readFileSync(join(folder, name))]))
}

function put(folder: string, state: FolderState): void {
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder)
  for (const [name, bytes] of state) writeFileSync(join(folder, name), bytes)
}

async function problemOf(work: () => unknown): Promise<HeaderProblem | 'none'> {
  try {
    await work()
    return 'none'
  } catch (error) {
    if (!(error instanceof HeaderError)) throw error
    return error.problem
  }
}

test('both files are written, read, and replaced', async t => {
  const folder = scratch(t)
  t.is(await problemOf(() => readHeader(folder)), 'missing')
  const header = await made('one')
  writeNewHeader(folder, header.encode())
  t.is(t.throws(() => writeNewHeader(folder, header.encode()), { instanceOf: FsError }).kind, 'exists')
  writeFileSync(join(folder, 'header.new-123'), 'left by a process that was killed')
  writeHeader(folder, (await changed(header, 'two')).encode())
  t.deepEqual(readdirSync(folder).sort(), [HEADER_FILE, HEADER_COPY])
  t.deepEqual(readFileSync(join(folder, HEADER_FILE)), readFileSync(join(folder, HEADER_COPY)))
  t.deepEqual((await unlockStoredHeader(folder, phrase('two'))).remarks, [])
  t.is(await problemOf(() => unlockStoredHeader(folder, phrase('one'))), 'wrong-secret')
})

test('a change that is interrupted anywhere leaves the old or the new, and ended it is the new', async t => {
  const folder = scratch(t)
  const [header, copy] = [await made('old'), join(folder, 'again')]
  const [old, next] = [header.encode(), (await changed(header, 'new')).encode()]
  writeNewHeader(folder, old)
  const before = stateOf(folder)
  const calls = recordWrites(folder, () => writeHeader(folder, next))
  t.true(calls.length >= 12, 'the recording saw the calls')
  let states = 0
  for (const { what, state } of interruptedStates(before, calls)) {
    put(copy, state)
    const [best] = readHeader(copy).candidates
    if (!best?.bytes.equals(old) && !best?.bytes.equals(next)) t.fail(what)
    if (what.startsWith(`after ${calls.length} `) && !best!.bytes.equals(next)) t.fail(`${what}: the new one is lost`)
    states++
  }
  t.log(`${calls.length} calls, ${states} states`)
  t.true(states > 40)
})

test('an interrupted making leaves none or a whole one', async t => {
  const folder = scratch(t)
  const [header, copy] = [await made('one'), join(folder, 'again')]
  const bytes = header.encode()
  const calls = recordWrites(folder, () => writeNewHeader(folder, bytes))
  const outcomes = new Set<string>()
  for (const { what, state } of interruptedStates(new Map(), calls)) {
    put(copy, state)
    const problem = await problemOf(() => readHeader(copy))
    if (problem === 'none') t.deepEqual(readHeader(copy).candidates[0]!.bytes, bytes, what)
    outcomes.add(problem)
    if (what.startsWith(`after ${calls.length} `)) t.is(problem, 'none', what)
  }
  t.deepEqual([...outcomes].sort(), ['missing', 'none'])
})

test('the copy serves when the first is destroyed, and the other way round', async t => {
  const folder = scratch(t)
  const header = await made('one')
  const bytes = header.encode()
  const spoils: [string, (path: string) => void][] = [
    ['gone', path => rmSync(path)],
    ['empty', path => writeFileSync(path, '')],
    ['cut', path => writeFileSync(path, bytes.subarray(0, 1000))],
    ['flipped', path => writeFileSync(path, Buffer.from(bytes).fill(0xaa, 70, 71))],
    ['foreign', path => writeFileSync(path, 'hello, this is a text file')],
    ['zeros', path => writeFileSync(path, Buffer.alloc(2048))],
  ]
  for (const [what, spoil] of spoils) {
    for (const file of [HEADER_FILE, HEADER_COPY]) {
      put(
        folder,
        new Map([
          [HEADER_FILE, bytes],
          [HEADER_COPY, bytes],
        ]),
      )
      spoil(join(folder, file))
      const opened = await unlockStoredHeader(folder, phrase('one'))
      t.deepEqual(opened.bytes, bytes, `${file} ${what}`)
      t.is(opened.remarks.length, 1, `${file} ${what}`)
      t.true(opened.remarks[0]!.startsWith(file), opened.remarks[0])
      t.is(await problemOf(() => unlockStoredHeader(folder, phrase('two'))), 'wrong-secret', 'and a wrong passphrase stays one')
    }
    put(
      folder,
      new Map([
        [HEADER_FILE, bytes],
        [HEADER_COPY, bytes],
      ]),
    )
    for (const file of [HEADER_FILE, HEADER_COPY]) spoil(join(folder, file))
    const problem = await problemOf(() => unlockStoredHeader(folder, phrase('one')))
    t.true(problem !== 'none' && problem !== 'wrong-secret', `both ${what}: ${problem}`)
  }
})

test('a header that was tampered with is passed over for the copy', async t => {
  const folder = scratch(t)
  const header = await made('one')
  const bytes = header.encode()
  const stranger = (await changed(await made('mine'), 'mine')).encode()
  // The slot of the vault in the header of a stranger, who also raised the generation.
  const { createHash } = await import('node:crypto')
  const forged = Buffer.from(stranger)
  bytes.copy(forged, 32, 32, 48)
  bytes.copy(forged, 64, 64, 192)
  createHash('sha256').update(forged.subarray(0, 2016)).digest().copy(forged, 2016)
  put(
    folder,
    new Map([
      [HEADER_FILE, forged],
      [HEADER_COPY, bytes],
    ]),
  )
  const opened = await unlockStoredHeader(folder, phrase('one'))
  t.deepEqual(opened.bytes, bytes)
  t.regex(opened.remarks.join(), /header: the header was changed by somebody without the key/)
  t.deepEqual((await openStoredHeader(folder, header.keys)).bytes, bytes)
  put(
    folder,
    new Map([
      [HEADER_FILE, forged],
      [HEADER_COPY, forged],
    ]),
  )
  t.is(await problemOf(() => unlockStoredHeader(folder, phrase('one'))), 'forged')
})

test('what a newer sdmount wrote is not passed over for an older copy', async t => {
  const folder = scratch(t)
  const bytes = (await made('one')).encode()
  const newer = Buffer.from(bytes)
  newer.writeUInt16LE(2, 8)
  const { createHash } = await import('node:crypto')
  createHash('sha256').update(newer.subarray(0, 2016)).digest().copy(newer, 2016)
  for (const [header, copy] of [
    [newer, bytes],
    [bytes, newer],
  ] as const) {
    put(
      folder,
      new Map([
        [HEADER_FILE, header],
        [HEADER_COPY, copy],
      ]),
    )
    t.is(await problemOf(() => unlockStoredHeader(folder, phrase('one'))), 'newer')
  }
})
