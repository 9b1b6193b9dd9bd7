/** The lock of a vault's folder: one process on one machine, and what killed ones leave. */
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import test, { type ExecutionContext } from 'ava'
import { FsError } from '../../src/errors.ts'
import { FolderLock } from '../../src/vfs/volumes/vault/folder-lock.ts'

const MODULE = fileURLToPath(new URL('../../src/vfs/volumes/vault/folder-lock.ts', import.meta.url))

function scratch(t: ExecutionContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'sdmount-lock-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

/** A process that holds the lock until it is killed. */
async function holder(t: ExecutionContext, folder: string): Promise<ChildProcess> {
  const code = `import { FolderLock } from ${JSON.stringify(MODULE)}
globalThis.held = new FolderLock(${JSON.stringify(folder)}); console.log('held'); setInterval(() => {}, 1000)`
  const child = spawn(process.execPath, ['--input-type=module', '-e', code], { stdio: ['ignore', 'pipe', 'inherit'] })
  t.teardown(() => child.kill('SIGKILL'))
  await new Promise(resolve => child.stdout!.once('data', resolve))
  return child
}

const refusal = (t: ExecutionContext, work: () => unknown) => {
  const error = t.throws(work, { instanceOf: FsError })
  t.is(error.kind, 'busy')
  return error.message
}

test('the second one is told who holds it; let go, it is free', t => {
  const folder = scratch(t)
  const lock = new FolderLock(folder)
  t.is(lock.left, undefined)
  t.regex(
    refusal(t, () => new FolderLock(folder)),
    new RegExp(`process ${process.pid} on this machine`),
  )
  lock[Symbol.dispose]()
  lock[Symbol.dispose]()
  t.is(readFileSync(join(folder, 'lock'), 'utf8'), '')
  const again = new FolderLock(folder)
  t.is(again.left, undefined)
  again[Symbol.dispose]()
})

test('another process holds it, is killed, and it is free at once', async t => {
  const folder = scratch(t)
  const child = await holder(t, folder)
  t.regex(
    refusal(t, () => new FolderLock(folder)),
    new RegExp(`process ${child.pid} on this machine`),
  )
  child.kill('SIGKILL')
  await new Promise(resolve => child.once('exit', resolve))
  const lock = new FolderLock(folder)
  t.is(lock.left?.processId, child.pid)
  t.is(lock.left?.host, hostname())
  lock[Symbol.dispose]()
})

test('a lock of another machine is only taken on request', t => {
  const folder = scratch(t)
  // Its file arrives here by a network drive, its flock doesn't.
  const there = new FolderLock(folder, { machine: 'f'.repeat(32) })
  const line = readFileSync(join(folder, 'lock'))
  there[Symbol.dispose]()
  writeFileSync(join(folder, 'lock'), line)
  const message = refusal(t, () => new FolderLock(folder))
  t.true(message.includes(`on the machine ${hostname()}`), message)
  t.regex(message, /--read-only.*--break-lock/)
  const lock = new FolderLock(folder, { breakLock: true })
  t.is(lock.left?.machine, 'f'.repeat(32))
  t.regex(
    refusal(t, () => new FolderLock(folder, { breakLock: true })),
    /on this machine/,
    'a living one is never broken',
  )
  lock[Symbol.dispose]()
})

test('a line that was cut by a power loss holds nothing', t => {
  const folder = scratch(t)
  for (const line of ['sdmount-vault-lock 1 ffff', '\0\0\0\0', 'x'.repeat(5000)]) {
    writeFileSync(join(folder, 'lock'), line)
    const lock = new FolderLock(folder)
    t.is(lock.left, undefined)
    lock[Symbol.dispose]()
  }
})
