/** A drive from beginning to end, with the programs of each system played: what is run, told, undone, and when it ends. */
import test from 'ava'
import { errorKind } from '../../src/errors.ts'
import { type DriveOptions, mapDrive } from '../../src/fs/webdav/drive.ts'
import type { Step, StepOutcome } from '../../src/fs/webdav/system-client.ts'
import { MemoryPropertyStore } from '../../src/index/property-store.ts'
import { silentLog } from '../../src/log.ts'
import { Tree } from '../../src/vfs/tree.ts'
import { MemoryVolume } from '../../src/vfs/volumes/memory.ts'
import { basicHeader } from './support/digest-client.ts'
import { HttpClient } from './support/http-client.ts'

const MINUTE_MS = 60_000

/** Plays the system: knows whether the drive is mapped, and does what the steps say. */
class System {
  mapped = false
  busy = false
  refuses = ''
  readonly ran: Step[] = []

  readonly run = async (step: Step): Promise<StepOutcome> => {
    this.ran.push(step)
    const line = [step.command, ...step.args].join(' ')
    if (this.refuses !== '' && line.includes(this.refuses)) return { code: 2, output: 'System error 67 has occurred.' }
    if (/net.exe use S: http|mount_webdav|mount.davfs|gio mount dav/.test(line)) this.mapped = true
    else if (/\/delete|^umount|sbin\/umount|--unmount/.test(line)) {
      if ((this.busy && !/ -l| -f|--force/.test(line)) || !this.mapped) return { code: 1, output: 'target is busy or not there' }
      this.mapped = false
    } else if (/reg.exe/.test(line)) return { code: 0, output: '    FileSizeLimitInBytes    REG_DWORD    0x2faf080\n' }
    else if (/net.exe use S:$/.test(line)) return { code: this.mapped ? 0 : 2, output: '' }
    else if (/findmnt/.test(line)) return { code: this.mapped ? 0 : 1, output: this.mapped ? 'http://127.0.0.1/\n' : '' }
    else if (/\/sbin\/mount$/.test(line))
      return { code: 0, output: this.mapped ? 'http://127.0.0.1/ on /Users/ann/Spacedrive (webdav)\n' : '' }
    else if (/--list/.test(line)) return { code: 0, output: this.mapped ? `Mount(0): 127.0.0.1 -> ${this.url}\n` : '' }
    return { code: 0, output: '' }
  }

  /** Where the mapping leads, as the system was told. */
  get url(): string {
    return /(?:http|dav):\/\/\S+/.exec(this.ran.map(step => step.args.join(' ')).join(' '))![0]
  }
}

const KINDS = {
  Windows: { platform: 'win32', isRoot: false, target: 'S:' },
  macOS: { platform: 'darwin', isRoot: false, target: '/Users/ann/Spacedrive' },
  'Linux, root': { platform: 'linux', isRoot: true, target: '/mnt/s' },
  'Linux, the desktop': { platform: 'linux', isRoot: false, target: '/home/ann/Spacedrive' },
} as const

function optionsFor(kind: (typeof KINDS)[keyof typeof KINDS], system: System, more: Partial<DriveOptions> = {}): DriveOptions {
  const tree = new Tree({ log: silentLog })
  tree.addVolume('mem', new MemoryVolume())
  return {
    vfs: tree,
    log: silentLog,
    readOnly: false,
    properties: new MemoryPropertyStore(),
    identity: { uid: 0, gid: 0, umask: 0o022 },
    label: 'Spacedrive',
    signal: new AbortController().signal,
    run: system.run,
    ...kind,
    ...more,
  }
}

for (const [name, kind] of Object.entries(KINDS)) {
  test(`${name}: mapped with a password of its own; undone; a busy one stays`, async t => {
    const system = new System()
    const drive = await mapDrive(optionsFor(kind, system))
    t.true(system.mapped)
    t.is(new URL(system.url).port, String(drive.server.port))
    const http = new HttpClient(drive.server.port)
    t.teardown(() => http.close())
    t.is((await http.send('PROPFIND', '/', { depth: '0' })).status, 401)
    const told = system.ran.map(({ args, input = '', files = {}, descriptor }) =>
      [...args, input, ...Object.values(files), descriptor?.bytes.toString('latin1')].join('\n'),
    )
    const password = told.join('\n').match(/[\w-]{24}/)![0]
    t.is((await http.send('PROPFIND', '/', { depth: '0', authorization: basicHeader('sdmount', password) })).status, 207)

    system.busy = true
    t.is(errorKind(await t.throwsAsync(drive.unmount())), 'busy')
    t.is((await http.send('OPTIONS', '/')).status, 200, 'who uses it goes on')
    system.busy = false
    await drive.unmount()
    await drive.server.ended
    t.false(system.mapped)
    await t.throwsAsync(http.send('OPTIONS', '/'))
  })

  test(`${name}: taken away by somebody else, it ends by itself, and unmounting is no error`, async t => {
    const system = new System()
    const watched = await mapDrive(optionsFor(kind, system, { lookMs: 10 }))
    system.mapped = false
    await watched.server.ended

    const unwatched = await mapDrive(optionsFor(kind, system, { lookMs: MINUTE_MS }))
    system.mapped = false
    await unwatched.unmount()
    await unwatched.server.ended
    t.pass()
  })
}

test('what is busy is taken away when it must be', async t => {
  for (const [name, kind] of Object.entries(KINDS)) {
    // Windows takes a drive away from programs in any case.
    if (name === 'Windows') continue
    const system = new System()
    const drive = await mapDrive(optionsFor(kind, system))
    system.busy = true
    await drive.unmount(true)
    await drive.server.ended
    t.false(system.mapped, name)
  }
})

test('Windows: its limits are said, and what to do when the drive can not be made', async t => {
  const system = new System()
  const drive = await mapDrive(optionsFor(KINDS.Windows, system))
  t.true(drive.notices.some(line => line.includes('FileSizeLimitInBytes')))
  await drive.unmount()
  const refusing = new System()
  refusing.refuses = 'net.exe use'
  const error = await t.throwsAsync(mapDrive(optionsFor(KINDS.Windows, refusing)))
  t.is(errorKind(error), 'not-supported')
  t.regex(error!.message, /net start WebClient/)
  t.regex(error!.message, /System error 67/)
  t.false(refusing.mapped)
})
