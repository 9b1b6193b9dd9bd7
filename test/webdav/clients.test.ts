/** Real clients over a real folder: rclone, davfs2, cadaver, curl. */
import { createHash, randomBytes } from 'node:crypto'
import { createReadStream, existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { ExecutionContext } from 'ava'
import { mapSteps, runSteps, unmapSteps } from '../../src/fs/webdav/system-client.ts'
import { type ServedLocation, serveLocation } from './support/served-location.ts'
import { run, succeed, testWith } from './support/tools.ts'

const credentials = { user: 'ann', password: 'p:ä+/' }
const NAMES = [
  'plain.txt',
  'with space',
  'ha#sh',
  'per%cent',
  'quest?ion',
  'amp&ersand',
  "apo'strophe",
  'ünïcödé',
  '日本語.txt',
  '😀',
  '~$x.docx',
  'a+b=c,d',
  '[x]{y}',
]
const BIG_BYTES = 300 * 2 ** 20

/** A tree of files with odd names, sizes and depths. */
function makeTree(directory: string): void {
  for (const folder of ['', 'sub', 'sub/deep er', 'empty']) mkdirSync(join(directory, folder), { recursive: true })
  for (const [i, name] of NAMES.entries()) {
    writeFileSync(join(directory, name), randomBytes(i * 1000))
    writeFileSync(join(directory, 'sub/deep er', name), `${name}\n`)
  }
  writeFileSync(join(directory, 'sub/large'), randomBytes(5_000_000))
}

function makeBig(path: string): void {
  const piece = randomBytes(1 << 20)
  const whole = Buffer.alloc(BIG_BYTES)
  for (let at = 0; at < BIG_BYTES; at += piece.length) {
    piece.writeUInt32LE(at, 0)
    piece.copy(whole, at)
  }
  writeFileSync(path, whole)
}

function sha256(path: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const hash = createHash('sha256')
    createReadStream(path)
      .on('data', chunk => hash.update(chunk))
      .on('end', () => resolve(hash.digest('hex')))
      .on('error', reject)
  })
}

async function rclone(t: ExecutionContext, served: ServedLocation, args: readonly string[]): Promise<string> {
  const env = { RCLONE_CONFIG: join(served.work, 'rclone.conf'), HOME: served.work }
  if (!existsSync(env.RCLONE_CONFIG)) {
    const password = (await succeed(t, 'rclone', ['obscure', credentials.password], { env: { HOME: served.work } }))
      .trim()
      .split('\n')
      .at(-1)
    writeFileSync(
      env.RCLONE_CONFIG,
      `[dav]\ntype = webdav\nurl = ${served.url}\nvendor = other\nuser = ${credentials.user}\npass = ${password}\n`,
    )
  }
  return await succeed(t, 'rclone', ['--retries', '1', '--low-level-retries', '1', ...args], { env, timeoutMs: 300_000 })
}

testWith(['rclone'], 'rclone: copy, check, sync both ways, move, server-side copy, purge, 300 MB', async t => {
  const served = await serveLocation(t, { credentials })
  const { work } = served
  const source = join(work, 'source')
  const back = join(work, 'back')
  makeTree(source)
  await rclone(t, served, ['copy', '--create-empty-src-dirs', source, 'dav:in'])
  await rclone(t, served, ['check', '--download', source, 'dav:in'])
  await rclone(t, served, ['copy', '--create-empty-src-dirs', 'dav:in', back])
  await succeed(t, 'diff', ['-r', source, back])
  await succeed(t, 'diff', ['-r', source, join(served.folder, 'in')])

  writeFileSync(join(source, 'plain.txt'), 'changed')
  writeFileSync(join(source, 'sub/new'), 'new')
  await rclone(t, served, ['sync', '--checksum', source, 'dav:in'])
  await rclone(t, served, ['check', '--download', source, 'dav:in'])
  await rclone(t, served, ['moveto', 'dav:in/sub/large', 'dav:in/mo ved#'])
  t.is(statSync(join(served.folder, 'in/mo ved#')).size, 5_000_000)
  await rclone(t, served, ['copyto', 'dav:in/mo ved#', 'dav:in/copy'])
  await rclone(t, served, ['check', '--download', 'dav:in/sub', 'dav:in/sub'])
  await rclone(t, served, ['sync', 'dav:in', back])
  await succeed(t, 'diff', ['-r', join(served.folder, 'in'), back])
  t.regex(await rclone(t, served, ['about', '--json', 'dav:']), /"free": [1-9]/)
  await rclone(t, served, ['purge', 'dav:in'])
  t.false(existsSync(join(served.folder, 'in')))

  const big = join(work, 'big')
  makeBig(big)
  await rclone(t, served, ['copyto', big, 'dav:big'])
  await rclone(t, served, ['copyto', 'dav:big', join(work, 'big-back')])
  const expected = await sha256(big)
  t.is(await sha256(join(served.folder, 'big')), expected)
  t.is(await sha256(join(work, 'big-back')), expected)
})

const noMount = process.getuid?.() !== 0 ? 'needs root' : existsSync('/dev/fuse') ? undefined : 'needs /dev/fuse'

testWith(
  ['mount.davfs', 'umount'],
  'davfs2 with locks: files in and out, edited in place, renamed, deleted, 300 MB',
  async t => {
    const served = await serveLocation(t, { credentials })
    const { work } = served
    const mountpoint = join(work, 'mount')
    for (const folder of [mountpoint, join(work, 'cache')]) mkdirSync(folder)
    writeFileSync(join(work, 'secrets'), `"${served.url}" "${credentials.user}" "${credentials.password}"\n`, { mode: 0o600 })
    const settings = [
      'use_locks 1',
      'ask_auth 0',
      `secrets ${work}/secrets`,
      `cache_dir ${work}/cache`,
      'cache_size 1000',
      'delay_upload 0',
      'n_cookies 0',
    ]
    writeFileSync(join(work, 'conf'), `${settings.join('\n')}\n`)
    const mount = () => succeed(t, 'mount.davfs', ['-o', `conf=${work}/conf`, served.url, mountpoint])
    const umount = () => run('umount', [mountpoint], { timeoutMs: 120_000 })
    t.teardown(umount)
    await mount()
    // The shell does it: a call on the mount from this process would wait for the server in this process.
    // Listing doesn't work through davfs2 on new kernels, so everything goes by name.
    const shell = (script: string) => succeed(t, 'bash', ['-euc', script], { cwd: mountpoint, timeoutMs: 300_000 })
    const source = join(work, 'source')
    makeTree(source)
    await shell(
      `mkdir -p 'in/sub/deep er'; cd ${source}; find . -type f -print0 | while IFS= read -r -d '' f; do cp "$f" "${mountpoint}/in/$f"; cmp "$f" "${mountpoint}/in/$f"; done`,
    )
    await shell(
      `echo one > f; echo two >> f; test "$(cat f)" = "$(printf 'one\\ntwo')"; printf X | dd of=f bs=1 seek=1 conv=notrunc status=none`,
    )
    await shell(
      `mv f 'g #1'; test ! -e f; mkdir d; mv 'g #1' d/; mv d e; cat 'e/g #1' > /dev/null; cp ${source}/sub/large over; cp ${source}/plain.txt over; rm in/plain.txt; rm -f over2`,
    )
    makeBig(join(work, 'big'))
    await shell(`cp ${work}/big big`)
    await umount()
    t.is(readFileSync(join(served.folder, 'e/g #1'), 'utf8'), 'oXe\ntwo\n')
    t.false(existsSync(join(served.folder, 'in/plain.txt')))
    writeFileSync(join(served.folder, 'in/plain.txt'), '')
    await succeed(t, 'bash', ['-c', `cd ${source} && find . -type f ! -name plain.txt -exec cmp {} ${served.folder}/in/{} \\;`])
    t.is(readFileSync(join(served.folder, 'over')).length, 0)
    const expected = await sha256(join(work, 'big'))
    t.is(await sha256(join(served.folder, 'big')), expected)
    await succeed(t, 'rm', ['-rf', join(work, 'cache')])
    mkdirSync(join(work, 'cache'))
    await mount()
    t.true((await shell('sha256sum big')).startsWith(expected), 'downloaded again')
    t.regex(await shell('df --output=avail . | tail -1'), /[1-9]/)
    await umount()
    t.deepEqual(served.leaks(), [])
  },
  noMount,
)

testWith(['cadaver'], 'cadaver, scripted: by Digest; locks, properties, copies', async t => {
  const served = await serveLocation(t, { credentials: { user: 'ann', password: 'plain' }, schemes: ['digest'] })
  const { work } = served
  writeFileSync(join(work, '.netrc'), 'machine 127.0.0.1 login ann password plain\n', { mode: 0o600 })
  writeFileSync(join(work, 'local'), 'local content')
  const script = [
    `put ${work}/local remote`,
    'mkcol folder',
    'copy remote folder/copy',
    'move remote "folder/mo ved"',
    'lock folder/copy',
    'propset folder/copy color red',
    'propget folder/copy',
    'unlock folder/copy',
    'ls folder',
    `get folder/copy ${work}/back`,
    'delete folder/copy',
    'quit',
  ]
  const output = await succeed(t, 'cadaver', [served.url], { cwd: work, env: { HOME: work }, input: `${script.join('\n')}\n` })
  t.notRegex(output, /failed|error/i)
  t.true(output.includes('red'))
  t.regex(output, /mo ved\s+13/)
  t.is(readFileSync(join(work, 'back'), 'utf8'), 'local content')
  t.is(readFileSync(join(served.folder, 'folder/mo ved'), 'utf8'), 'local content')
  t.false(existsSync(join(served.folder, 'folder/copy')))
})

testWith(['curl'], 'curl: any way to log in, resumed downloads, "Expect"', async t => {
  const served = await serveLocation(t, { credentials })
  const { work } = served
  const content = randomBytes(3_000_000)
  writeFileSync(join(work, 'file'), content)
  const login = ['-sS', '--fail', '-u', `${credentials.user}:${credentials.password}`]
  for (const scheme of ['--basic', '--digest', '--anyauth']) {
    await succeed(t, 'curl', [...login, scheme, '-H', 'Expect: 100-continue', '-T', join(work, 'file'), `${served.url}up%20${scheme}`])
    t.true(readFileSync(join(served.folder, `up ${scheme}`)).equals(content))
  }
  writeFileSync(join(work, 'part'), content.subarray(0, 1_000_000))
  await succeed(t, 'curl', [...login, '--anyauth', '-C', '-', '-o', join(work, 'part'), `${served.url}up%20--basic`])
  t.true(readFileSync(join(work, 'part')).equals(content))
})

testWith(
  ['mount.davfs', 'umount'],
  'the steps for this system map the tree and take it away again',
  async t => {
    const served = await serveLocation(t, { credentials })
    const target = join(served.work, 'mount')
    mkdirSync(target)
    const mapping = { url: served.server.url, ...credentials, target, label: 'sdmount' }
    const { signal } = new AbortController()
    t.teardown(() => run('umount', [target]))
    await runSteps(mapSteps('linux', mapping, true), signal)
    await succeed(t, 'bash', ['-c', `echo through the drive > '${target}/files/f' && cat '${target}/files/f'`])
    await runSteps(unmapSteps('linux', mapping, true), signal)
    t.is(readFileSync(join(served.folder, 'f'), 'utf8'), 'through the drive\n')
    await t.throwsAsync(runSteps(mapSteps('linux', { ...mapping, password: 'wrong' }, true), signal))
  },
  noMount,
)
