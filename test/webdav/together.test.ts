/** FUSE and WebDAV on one tree at once: what one writes the other sees at once; locks of one are respected by the other. */
import { fork, spawn } from 'node:child_process'
import {
  appendFileSync,
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { ExecutionContext } from 'ava'
import { linux, MNT_DETACH } from '../../src/sys/linux.ts'
import { HttpClient } from './support/http-client.ts'
import { propertiesOf } from './support/multistatus.ts'
import { testWith } from './support/tools.ts'

interface Together {
  readonly http: HttpClient
  /** The folder through the mount. */
  readonly mounted: string
}

async function together(t: ExecutionContext): Promise<Together> {
  const directory = realpathSync(mkdtempSync(join(tmpdir(), 'sdmount-together-')))
  const [mountpoint, folder, index] = ['mount', 'folder', 'index'].map(name => {
    mkdirSync(join(directory, name))
    return join(directory, name)
  }) as [string, string, string]
  const child = fork(fileURLToPath(new URL('support/together-process.ts', import.meta.url)), [mountpoint, folder, index])
  const exited = new Promise<void>(resolve => child.once('exit', () => resolve()))
  t.teardown(async () => {
    if (child.connected) child.send('end')
    const timer = setTimeout(() => child.kill('SIGKILL'), 60_000)
    await exited
    clearTimeout(timer)
    linux().umount2(mountpoint, MNT_DETACH)
    rmSync(directory, { recursive: true, force: true })
  })
  const port = await new Promise<number>((resolve, reject) => {
    child.once('message', message => resolve((message as { port: number }).port))
    void exited.then(() => reject(new Error('the serving process ended')))
  })
  const http = new HttpClient(port)
  t.teardown(() => http.close())
  return { http, mounted: join(mountpoint, 'files') }
}

const reason =
  process.platform !== 'linux' || !existsSync('/dev/fuse') ? 'needs /dev/fuse' : process.getuid?.() !== 0 ? 'needs root' : undefined
const LOCK = '<D:lockinfo xmlns:D="DAV:"><D:lockscope><D:exclusive/></D:lockscope><D:locktype><D:write/></D:locktype></D:lockinfo>'

testWith(
  [],
  'what one writes the other sees at once',
  async t => {
    const { http, mounted } = await together(t)
    const at = (name: string) => join(mounted, name)
    // From WebDAV to the mount, each after the kernel cached what was before.
    for (let round = 0; round < 20; round++) {
      t.is((await http.send('PUT', '/files/f', {}, `version ${round}`)).status < 300, true)
      t.is(readFileSync(at('f'), 'utf8'), `version ${round}`)
      t.is(statSync(at('f')).size, `version ${round}`.length)
    }
    t.false(existsSync(at('new')))
    await http.send('MKCOL', '/files/new')
    t.true(statSync(at('new')).isDirectory())
    t.deepEqual(readdirSync(mounted).sort(), ['f', 'new'])
    await http.send('MOVE', '/files/f', { destination: '/files/new/g' })
    t.false(existsSync(at('f')))
    t.is(readFileSync(at('new/g'), 'utf8'), 'version 19')
    t.deepEqual(readdirSync(at('new')), ['g'])
    await http.send('COPY', '/files/new/g', { destination: '/files/copy' })
    t.is(readFileSync(at('copy'), 'utf8'), 'version 19')
    await http.send('DELETE', '/files/new')
    t.false(existsSync(at('new/g')))
    t.deepEqual(readdirSync(mounted), ['copy'])
    const date = 'Sun, 02 Jun 2019 11:22:33 GMT'
    const patch = `<D:propertyupdate xmlns:D="DAV:" xmlns:Z="urn:schemas-microsoft-com:"><D:set><D:prop><Z:Win32LastModifiedTime>${date}</Z:Win32LastModifiedTime></D:prop></D:set></D:propertyupdate>`
    await http.send('PROPPATCH', '/files/copy', {}, patch)
    t.is(statSync(at('copy')).mtime.toUTCString(), date)

    // From the mount to WebDAV.
    for (let round = 0; round < 20; round++) {
      writeFileSync(at('h'), `text ${round}`)
      t.is((await http.send('GET', '/files/h')).text, `text ${round}`)
    }
    appendFileSync(at('h'), '!')
    t.is((await http.send('GET', '/files/h')).text, 'text 19!')
    renameSync(at('h'), at('i'))
    t.is((await http.send('GET', '/files/h')).status, 404)
    const { ino } = statSync(at('i'))
    t.is(propertiesOf((await http.send('PROPFIND', '/files/i', { depth: '0' })).text).get('{DAV:}getcontentlength')!.text, '8')
    unlinkSync(at('i'))
    t.is((await http.send('PROPFIND', '/files/i', { depth: '0' })).status, 404)
    t.true(ino > 0)
  },
  reason,
)

testWith(
  [],
  'a file that is locked over WebDAV is not changed through the mount, but read',
  async t => {
    const { http, mounted } = await together(t)
    const path = join(mounted, 'f')
    writeFileSync(path, 'content')
    const locked = await http.send('LOCK', '/files/f', {}, LOCK)
    t.is(locked.status, 200)
    t.is(readFileSync(path, 'utf8'), 'content')
    for (const act of [
      () => writeFileSync(path, 'x'),
      () => openSync(path, 'r+'),
      () => unlinkSync(path),
      () => renameSync(path, join(mounted, 'g')),
    ]) {
      t.throws(act, { code: 'EAGAIN' })
    }
    writeFileSync(join(mounted, 'other'), 'x')
    t.throws(() => renameSync(join(mounted, 'other'), path), { code: 'EAGAIN' })
    const token = locked.headers['lock-token'] as string
    t.is((await http.send('PUT', '/files/f', { if: `(${token})` }, 'by its owner')).status, 204)
    t.throws(() => writeFileSync(path, 'x'), { code: 'EAGAIN' }, 'the lock is on the new file')
    t.is((await http.send('UNLOCK', '/files/f', { 'lock-token': token })).status, 204)
    writeFileSync(path, 'free again')
    t.is((await http.send('GET', '/files/f')).text, 'free again')
  },
  reason,
)

testWith(
  ['flock', 'python3'],
  'a file that a program on the mount has locked is not locked, replaced or deleted over WebDAV',
  async t => {
    const { http, mounted } = await together(t)
    const path = join(mounted, 'f')
    writeFileSync(path, 'content')
    const holders: [string, string[]][] = [
      ['flock', [path, 'sh', '-c', 'echo held; read line']],
      [
        'python3',
        [
          '-c',
          `import fcntl,sys\nf=open(sys.argv[1],'r+')\nfcntl.lockf(f,fcntl.LOCK_EX)\nprint('held',flush=True)\nsys.stdin.readline()`,
          path,
        ],
      ],
    ]
    for (const [command, args] of holders) {
      const holder = spawn(command, args)
      t.teardown(() => holder.kill('SIGKILL'))
      await new Promise(resolve => holder.stdout.once('data', resolve))
      t.is((await http.send('LOCK', '/files/f', {}, LOCK)).status, 423, command)
      t.is((await http.send('PUT', '/files/f', {}, 'x')).status, 423)
      t.is((await http.send('DELETE', '/files/f')).status, 423)
      t.is((await http.send('MOVE', '/files/f', { destination: '/files/g' })).status, 423)
      t.is((await http.send('GET', '/files/f')).text, 'content')
      const gone = new Promise(resolve => holder.once('exit', resolve))
      holder.stdin.end('\n')
      await gone
    }
    t.is((await http.send('PUT', '/files/f', {}, 'free')).status, 204)
    closeSync(openSync(path, 'r'))
  },
  reason,
)
