/** The command line over WebDAV: served by itself, beside a mount, as a drive; started, used, ended. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import ava, { type ExecutionContext } from 'ava'
import { parseListen } from '../../src/cli/commands/serve-webdav.ts'
import { EXIT_CODES } from '../../src/cli/exit-codes.ts'
import { addressesFor } from '../../src/cli/service/webdav.ts'
import { isRunning, LAUNCHER, ordinaryUser, Sandbox, until } from '../cli/sdmount.ts'
import { basicHeader } from './support/digest-client.ts'
import { HttpClient } from './support/http-client.ts'
import { testWith } from './support/tools.ts'

const test = ava.serial
const noMount = process.getuid?.() !== 0 ? 'needs root' : existsSync('/dev/fuse') ? undefined : 'needs /dev/fuse'

/** A library with one location, whose daemon ends with the test. */
function setUp(t: ExecutionContext) {
  const sandbox = new Sandbox(t)
  t.teardown(() => {
    sandbox.run(['umount'])
  })
  const folder = sandbox.folder('music')
  writeFileSync(join(folder, 'song'), 'la la')
  t.is(sandbox.run(['location', 'add', folder]).code, 0)
  return { sandbox, folder }
}

function connectTo(t: ExecutionContext, output: string) {
  const port = Number(/serving at https?:\/\/\S+?:(\d+)\//.exec(output)?.[1])
  t.true(port > 0, output)
  const http = new HttpClient(port, output.includes('https://'))
  t.teardown(() => http.close())
  const password = /password (\S+)/.exec(output)?.[1]
  if (password !== undefined) http.headers = { authorization: basicHeader('sdmount', password) }
  return http
}

test('served by itself: in the background, with a password of its own, until umount', async t => {
  const { sandbox, folder } = setUp(t)
  const { code, stdout } = sandbox.run(['serve', 'webdav', '--listen', '127.0.0.1:0'])
  t.is(code, 0)
  const http = connectTo(t, stdout)
  t.is((await http.send('GET', '/music/song')).text, 'la la')
  t.is((await http.send('PUT', '/music/new', {}, 'new')).status, 201)
  t.is(readFileSync(join(folder, 'new'), 'utf8'), 'new')
  t.is((await http.send('GET', '/music/song', { authorization: 'Basic eDp4' })).status, 401)
  t.regex(sandbox.run(['status']).stdout, /http:\/\/127\.0\.0\.1:\d+\//)
  t.false(sandbox.log().includes(stdout.match(/password (\S+)/)![1]!), 'the password is in no log')
  const mounting = sandbox.run([sandbox.mountpoint])
  t.is(mounting.code, EXIT_CODES['mounted-elsewhere'].code)
  t.regex(mounting.stderr, /served at http/)
  t.is(sandbox.run(['umount']).code, 0)
  await t.throwsAsync(http.send('GET', '/music/song'))
  t.is(sandbox.run(['umount']).code, EXIT_CODES['not-mounted'].code)
})

test('user and password from a file; read-only; a port that is taken; properties outlive the process', async t => {
  const { sandbox } = setUp(t)
  writeFileSync(join(sandbox.home, 'password'), 'a:ä b\nsecond line\n')
  const serve = (...more: string[]) =>
    sandbox.run(['serve', 'webdav', '--listen', '127.0.0.1:0', '--user', 'ann', '--password-file', 'password', ...more])
  const first = serve()
  t.is(first.code, 0, first.stderr)
  t.false(first.stdout.includes('a:ä'))
  const http = connectTo(t, first.stdout)
  http.headers = { authorization: basicHeader('ann', 'a:ä b') }
  const patch = '<D:propertyupdate xmlns:D="DAV:"><D:set><D:prop><x xmlns="n">kept</x></D:prop></D:set></D:propertyupdate>'
  t.is((await http.send('PROPPATCH', '/music/song', {}, patch)).status, 207)
  const taken = serve('--listen', `127.0.0.1:${http.port}`)
  t.is(taken.code, EXIT_CODES.usage.code, '--listen twice')
  const other = sandbox.run(['serve', 'webdav', '--listen', `127.0.0.1:${http.port}`, '--library', join(sandbox.directory, 'other')])
  t.is(other.code, EXIT_CODES.webdav.code)
  t.regex(other.stderr, /taken by another program/)
  t.is(sandbox.run(['umount']).code, 0)
  const again = serve('--read-only')
  const reader = connectTo(t, again.stdout)
  reader.headers = http.headers
  t.is((await reader.send('PUT', '/music/new', {}, 'x')).status, 403)
  const found = await reader.send('PROPFIND', '/music/song', { depth: '0' })
  t.regex(found.text, />kept</)
})

test('in the foreground, for anybody on this machine, until a signal', async t => {
  const { sandbox } = setUp(t)
  const child = sandbox.start(['serve', 'webdav', '--anonymous', '--foreground', '--listen', '127.0.0.1:0'])
  let output = ''
  await new Promise<void>(resolve => {
    child.stdout!.on('data', chunk => {
      output += chunk
      if (output.includes('Ctrl-C')) resolve()
    })
  })
  const http = connectTo(t, output)
  t.is((await http.send('GET', '/music/song')).text, 'la la')
  const exited = new Promise(resolve => child.once('exit', resolve))
  child.kill('SIGTERM')
  t.is(await exited, 0)
})

test('to others: TLS by a certificate made once, its fingerprint printed; never without a password', async t => {
  const { sandbox } = setUp(t)
  const anonymous = sandbox.run(['serve', 'webdav', '--anonymous', '--listen', '0.0.0.0:0'])
  t.is(anonymous.code, EXIT_CODES.usage.code)
  const serve = () => sandbox.run(['serve', 'webdav', '--listen', '0.0.0.0:0']).stdout
  const first = serve()
  t.regex(first, /https:\/\//)
  const fingerprint = /SHA-256 ([0-9A-F:]{95})/.exec(first)?.[1]
  t.truthy(fingerprint)
  const http = connectTo(t, first)
  t.is((await http.send('GET', '/music/song')).text, 'la la')
  sandbox.run(['umount'])
  t.true(serve().includes(fingerprint!), 'the same one again')
})

testWith(
  [],
  'beside a mount: one tree, and both end together',
  async t => {
    const { sandbox } = setUp(t)
    t.is(sandbox.run([sandbox.mountpoint]).code, 0)
    const { stdout, code } = sandbox.run(['serve', 'webdav', '--listen', '127.0.0.1:0'])
    t.is(code, 0)
    const http = connectTo(t, stdout)
    const song = join(sandbox.mountpoint, 'music/song')
    t.is(readFileSync(song, 'utf8'), 'la la')
    t.is((await http.send('PUT', '/music/song', {}, 'changed over WebDAV')).status, 204)
    t.is(readFileSync(song, 'utf8'), 'changed over WebDAV')
    writeFileSync(song, 'changed in the mount')
    t.is((await http.send('GET', '/music/song')).text, 'changed in the mount')
    const lockinfo = '<D:lockinfo xmlns:D="DAV:"><D:lockscope><D:exclusive/></D:lockscope><D:locktype><D:write/></D:locktype></D:lockinfo>'
    t.is((await http.send('LOCK', '/music/song', {}, lockinfo)).status, 200)
    t.throws(() => writeFileSync(song, 'x'), { code: 'EAGAIN' })
    t.is(sandbox.run(['umount']).code, 0)
    await t.throwsAsync(http.send('GET', '/music/song'))
  },
  noMount,
)

testWith(
  ['mount.davfs'],
  'as a drive: mapped by the system, undone by umount',
  async t => {
    const { sandbox } = setUp(t)
    const { code, stderr } = sandbox.run(['--webdav', sandbox.mountpoint])
    t.is(code, 0, stderr)
    t.true(sandbox.isMounted())
    const song = join(sandbox.mountpoint, 'music/song')
    t.is(sandbox.program('cat', [song]).stdout, 'la la')
    t.is(sandbox.run(['umount']).code, 0)
    t.false(sandbox.isMounted())
  },
  noMount,
)

testWith(
  ['mount.davfs', 'umount'],
  'as a drive: taken away by umount(8) it ends by itself; by a signal also while programs use it',
  async t => {
    const { sandbox } = setUp(t)
    t.is(sandbox.run(['--webdav', sandbox.mountpoint]).code, 0)
    const first = sandbox.daemonPid()
    t.is(sandbox.program('umount', [sandbox.mountpoint]).code, 0)
    await until(() => !isRunning(first), 'the end of the daemon', 60_000)

    t.is(sandbox.run(['--webdav', sandbox.mountpoint]).code, 0)
    const reader = sandbox.startProgram('tail', ['-f', join(sandbox.mountpoint, 'music/song')])
    await new Promise(resolve => reader.stdout!.once('data', resolve))
    t.is(sandbox.run(['umount']).code, EXIT_CODES.busy.code)
    const second = sandbox.daemonPid()
    process.kill(second, 'SIGTERM')
    await until(() => !isRunning(second), 'the end of the daemon', 60_000)
    t.false(sandbox.isMounted())
  },
  noMount,
)

const user = ordinaryUser()

testWith(
  ['gio', 'dbus-run-session'],
  "as a drive of an ordinary user: the desktop's own client opens it, undone by umount",
  async t => {
    const sandbox = new Sandbox(t, user)
    const music = sandbox.folder('music')
    // A desktop session: its programs, gvfs among them, find each other over its bus, and end with it.
    const session = `
      sdmount() { ${LAUNCHER} "$@" </dev/null; }
      sdmount location add ${music}
      echo 'la la' > ${music}/song
      sdmount --webdav ${sandbox.mountpoint}
      drive=$(gio mount --list 2>/dev/null | grep -o 'dav://[^ ]*')
      gio cat "\${drive}music/song"
      gio copy ${music}/song "\${drive}music/so%23ng%202"
      gio rename "\${drive}music/so%23ng%202" third
      gio list "\${drive}music"
      sdmount umount
      gio mount --list 2>/dev/null | grep dav:// || echo nothing is left`
    const env = { XDG_RUNTIME_DIR: sandbox.folder('home', 'runtime') }
    const { code, stdout, stderr } = sandbox.program('dbus-run-session', ['--', 'sh', '-euc', session], { env })
    t.is(code, 0, stdout + stderr)
    for (const line of ['la la', 'song', 'third']) t.true(stdout.split('\n').includes(line), stdout)
    t.is(readFileSync(join(music, 'third'), 'utf8'), 'la la\n')
    t.regex(stdout, /nothing is left\n$/)
  },
  !user ? 'needs root, and the user sdmount-test' : existsSync('/usr/libexec/gvfsd-dav') ? undefined : 'needs the package gvfs-backends',
)

test('others are told addresses that they can use', t => {
  const of = (address: string, family: 'IPv4' | 'IPv6', internal = false, scopeid = 0) => ({
    ...{ address, internal, scopeid, netmask: '', mac: '', cidr: null },
    family: family as never,
  })
  const interfaces = {
    lo: [of('127.0.0.1', 'IPv4', true), of('::1', 'IPv6', true)],
    lan: [of('192.168.1.5', 'IPv4'), of('fd00::5', 'IPv6'), of('fe80::5', 'IPv6', false, 2)],
  }
  t.deepEqual(addressesFor('https://0.0.0.0:4918/', interfaces), ['https://192.168.1.5:4918/'])
  t.deepEqual(addressesFor('https://[::]:4918/', interfaces), ['https://192.168.1.5:4918/', 'https://[fd00::5]:4918/'])
  for (const url of ['http://127.0.0.1:4918/', 'https://192.168.1.5:4918/', 'https://[::1]:4918/'])
    t.deepEqual(addressesFor(url, interfaces), [])
})

test('where to listen', t => {
  t.deepEqual(parseListen('127.0.0.1:80'), { host: '127.0.0.1', port: 80 })
  t.deepEqual(parseListen('[::1]:80'), { host: '::1', port: 80 })
  t.deepEqual(parseListen(':80'), { host: '127.0.0.1', port: 80 })
  t.deepEqual(parseListen('0.0.0.0'), { host: '0.0.0.0', port: 4918 })
  for (const text of ['', '::1:80', '127.0.0.1:99999', 'a:b:c']) t.throws(() => parseListen(text), undefined, text)
})
