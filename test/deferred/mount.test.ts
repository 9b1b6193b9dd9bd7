/** The real program with a location whose filesystem hangs: the rest of the tree goes on, and it can be unmounted. */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import test, { type ExecutionContext } from 'ava'
import { Sandbox } from '../cli/sdmount.ts'
import { Stoppable, whyNotStoppable } from './stoppable.ts'

const why = whyNotStoppable()
const hanging = why ? test.serial.skip : test.serial
const STATE_MS = 60_000

interface VolumeLine {
  readonly name: string
  readonly state: string
  readonly detail?: string
  readonly drive?: string
}

interface World {
  readonly sandbox: Sandbox
  readonly server: Stoppable
  readonly near: string
  readonly far: string
  readonly status: (name: string) => VolumeLine
  readonly becomes: (name: string, state: string) => Promise<void>
}

/** Two locations: Near on the local disk, Far on a filesystem that can be stopped. */
async function world(t: ExecutionContext): Promise<World> {
  const sandbox = new Sandbox(t)
  const server = await Stoppable.start(sandbox.folder('served'))
  t.teardown(() => server.dispose())
  const near = sandbox.folder('near')
  writeFileSync(join(near, 'file'), 'near')
  writeFileSync(join(server.source, 'file'), 'far')
  writeFileSync(join(server.source, 'other'), 'far too')
  mkdirSync(join(server.source, 'folder'))
  for (const [name, path] of [
    ['Near', near],
    ['Far', server.path],
  ] as const)
    t.is(sandbox.run(['location', 'add', path, '--name', name]).stderr, '')
  const mounted = sandbox.run([sandbox.mountpoint])
  t.is(mounted.code, 0, mounted.stderr)
  const status = (name: string) => {
    const { volumes } = JSON.parse(sandbox.run(['status', '--json']).stdout) as { volumes: VolumeLine[] }
    const found = volumes.find(volume => volume.name === name)
    if (!found) throw new Error(`there is no ${name}`)
    return found
  }
  const becomes = async (name: string, state: string) => {
    const signal = AbortSignal.timeout(STATE_MS)
    while (status(name).state !== state) await sleep(100, undefined, { signal })
  }
  await becomes('Far', 'online')
  await becomes('Near', 'online')
  return { sandbox, server, near: join(sandbox.mountpoint, 'Near'), far: join(sandbox.mountpoint, 'Far'), status, becomes }
}

async function codeOf(act: () => Promise<unknown>): Promise<string> {
  try {
    await act()
    return 'no error'
  } catch (error) {
    const { errno, code } = error as NodeJS.ErrnoException
    // Node has no word for it.
    return errno === -123 ? 'ENOMEDIUM' : String(code)
  }
}

hanging('a filesystem that hangs stops nothing else; it is listed meanwhile, and back by itself', async t => {
  const { server, near, far, status, becomes } = await world(t)
  t.is(status('Far').drive, 'deferred')
  t.is(status('Near').drive, 'direct')
  t.is(readFileSync(join(far, 'file'), 'utf8'), 'far')
  server.stop()

  // Asked first and answered last: what is near goes on while what is far waits.
  let hasEnded = false
  const waiting = codeOf(() => readFile(join(far, 'other'))).finally(() => {
    hasEnded = true
  })
  for (let i = 0; i < 8; i++) {
    writeFileSync(join(near, `new${i}`), 'x')
    t.true(readdirSync(near).includes(`new${i}`))
  }
  t.is(await readFile(join(near, 'file'), 'utf8'), 'near')
  t.false(hasEnded, 'the other location did not wait for the one that hangs')

  const code = await waiting
  t.true(['ETIMEDOUT', 'ENOMEDIUM'].includes(code), code)
  await becomes('Far', 'offline')
  t.deepEqual(readdirSync(far).sort(), ['file', 'folder', 'other'])
  t.is(await codeOf(() => readFile(join(far, 'other'))), 'ENOMEDIUM')
  t.is(readFileSync(join(near, 'new7'), 'utf8'), 'x')

  server.goOn()
  await becomes('Far', 'online')
  t.is(readFileSync(join(far, 'other'), 'utf8'), 'far too')
  writeFileSync(join(far, 'made'), 'after')
  t.is(readFileSync(join(server.source, 'made'), 'utf8'), 'after')
})

hanging('it can be unmounted while a filesystem hangs, and the program ends', async t => {
  const { sandbox, server, far, status, becomes } = await world(t)
  t.is(status('Far').drive, 'deferred')
  const pid = sandbox.daemonPid()
  server.stop()
  await codeOf(() => readFile(join(far, 'other')))
  await becomes('Far', 'offline')
  const unmounted = sandbox.run(['umount'])
  t.is(unmounted.code, 0, unmounted.stderr)
  t.false(sandbox.isMounted())
  const signal = AbortSignal.timeout(STATE_MS)
  while (isAlive(pid)) await sleep(50, undefined, { signal })
  t.pass()
})

test.serial('who drives a location can be said', t => {
  const sandbox = new Sandbox(t)
  const folder = sandbox.folder('folder')
  t.is(sandbox.run(['location', 'add', folder, '--drive', 'sideways']).code, 2)
  t.is(sandbox.run(['location', 'add', folder, '--drive', 'deferred']).code, 0)
  t.is(sandbox.run([sandbox.mountpoint]).code, 0)
  const { volumes } = JSON.parse(sandbox.run(['status', '--json']).stdout) as { volumes: VolumeLine[] }
  t.is(volumes[0]?.drive, 'deferred')
  t.regex(sandbox.run(['status']).stdout, /deferred/)
  writeFileSync(join(sandbox.mountpoint, 'folder', 'file'), 'through it')
  t.is(readFileSync(join(folder, 'file'), 'utf8'), 'through it')
})

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    // A process that has ended and wasn't waited for is none.
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))
  } catch {
    return false
  }
}
