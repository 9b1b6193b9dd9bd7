/** Cloud volumes on the command line, without a mount: what is tried, refused, recorded, and kept secret. On a real S3 server. */
import { spawn } from 'node:child_process'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import ava, { type ExecutionContext } from 'ava'
import { EXIT_CODES } from '../../src/cli/exit-codes.ts'
import { s3Server, TEST_CREDENTIALS } from '../support/s3-server.ts'
import { LAUNCHER, type Outcome, type RunOptions, Sandbox } from './sdmount.ts'

/** One after the other: each runs several processes to their end. */
const test = ava.serial
const server = await s3Server()
const real = typeof server === 'string' ? test.skip : test
const title = (name: string) => (typeof server === 'string' ? `${name} (${server})` : name)

const { accessKeyId, secretAccessKey } = TEST_CREDENTIALS
/** No AWS configuration but this, whatever the machine has. */
const NO_KEYS = { AWS_EC2_METADATA_DISABLED: 'true', AWS_CONFIG_FILE: '/nonexistent', AWS_SHARED_CREDENTIALS_FILE: '/nonexistent' }
const KEYS = { ...NO_KEYS, AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey }

class Buckets {
  readonly sandbox: Sandbox
  readonly #t: ExecutionContext

  constructor(t: ExecutionContext) {
    this.#t = t
    this.sandbox = new Sandbox(t)
  }

  get endpoint(): string {
    return typeof server === 'string' ? '' : server.endpoint
  }

  async bucket(): Promise<string> {
    return typeof server === 'string' ? '' : (await server.bucket()).bucket
  }

  run(line: readonly string[], options: RunOptions = {}): Outcome {
    return this.sandbox.run(line, { env: NO_KEYS, ...options })
  }

  add(bucket: string, more: readonly string[] = [], options: RunOptions = { env: KEYS }): Outcome {
    return this.run(['volume', 'add', `s3://${bucket}`, '--endpoint', this.endpoint, ...more], options)
  }

  list(): Record<string, unknown>[] {
    const { code, stdout, stderr } = this.run(['volume', 'list', '--json'])
    this.#t.is(code, 0, stderr)
    return JSON.parse(stdout)
  }

  /** A failure with its number and one line, in which no key stands. */
  fails(outcome: Outcome, exit: keyof typeof EXIT_CODES, says: RegExp): void {
    this.#t.is(outcome.code, EXIT_CODES[exit].code, outcome.stderr)
    this.#t.is(outcome.stdout, '')
    this.#t.regex(outcome.stderr, /^sdmount: [^\n]+\n$/)
    this.#t.regex(outcome.stderr, says)
    this.#t.false(outcome.stderr.includes(secretAccessKey))
  }

  /** Everything that is below the library's directory, in one buffer for searching. */
  libraryBytes(): Buffer {
    const files = readdirSync(this.sandbox.library, { recursive: true, withFileTypes: true }).filter(entry => entry.isFile())
    return Buffer.concat(files.map(file => Buffer.concat([Buffer.from(file.name), readFileSync(join(file.parentPath, file.name))])))
  }
}

real(title('add, list, remove'), async t => {
  const buckets = new Buckets(t)
  const bucket = await buckets.bucket()
  const added = buckets.add(bucket)
  t.is(added.code, 0, added.stderr)
  t.is(added.stdout, `added ${bucket}: s3://${bucket} (in the tree when the library is mounted)\n`)
  t.regex(added.stderr, /--seal/, 'keys of the environment are not there at the next boot, which is said')
  const [volume] = buckets.list()
  t.like(volume, { name: bucket, address: `s3://${bucket}`, endpoint: buckets.endpoint, keys: 'AWS configuration', readOnly: false })
  t.like(volume, { ttlMs: 60_000, writeMode: 'back', state: 'not mounted', queued: 0, failed: 0 })
  t.true((volume!.lacks as string[]).length > 0, 'this server is known not to honour all conditions')
  const { stdout } = buckets.run(['volume', 'list'])
  for (const line of volume!.lacks as string[]) t.true(stdout.includes(line))
  t.regex(buckets.run(['status']).stdout, new RegExp(`${bucket} +not mounted +0 +s3://${bucket}`))
  t.is(buckets.run(['sync', 'wait']).stdout, 'everything is uploaded\n')
  const removed = buckets.run(['volume', 'remove', bucket])
  t.is(removed.code, 0, removed.stderr)
  t.deepEqual(buckets.list(), [])
  buckets.fails(buckets.run(['volume', 'remove', bucket]), 'no-volume', /no cloud volume named/)
})

real(title('what can not be used is one clear line, and leaves nothing behind'), async t => {
  const buckets = new Buckets(t)
  const bucket = await buckets.bucket()
  const add = (name: string, env: Record<string, string>, endpoint = buckets.endpoint) =>
    buckets.run(['volume', 'add', `s3://${name}`, '--endpoint', endpoint], { env })
  buckets.fails(add(bucket, { ...KEYS, AWS_ACCESS_KEY_ID: 'other' }), 'credentials', /does not know this access key/)
  buckets.fails(add(bucket, { ...KEYS, AWS_SECRET_ACCESS_KEY: 'other' }), 'credentials', /secret key does not fit/)
  buckets.fails(add('no-such-bucket', KEYS), 'volume', /s3:\/\/no-such-bucket at .*the bucket does not exist/)
  buckets.fails(add(bucket, KEYS, 'http://127.0.0.1:9'), 'unreachable', /127\.0\.0\.1:9/)
  buckets.fails(add(bucket, KEYS, 'ftp://somewhere'), 'usage', /is not an endpoint/)
  buckets.fails(add('a b', KEYS), 'usage', /can't be the name of a bucket/)
  buckets.fails(add(bucket, NO_KEYS), 'credentials', /--ask or --credentials-file/)
  buckets.fails(buckets.run(['volume', 'add', bucket], { env: KEYS }), 'usage', /s3:\/\/bucket/)
  buckets.fails(buckets.add(bucket, ['--ask']), 'usage', /no terminal/)
  buckets.fails(buckets.add(bucket, ['--credentials-file', '/nonexistent']), 'credentials', /does not exist/)
  buckets.fails(buckets.add(bucket, ['--credentials-file', '-'], { input: 'just-one-word' }), 'credentials', /no keys/)
  buckets.fails(buckets.add(bucket, ['--ask', '--credentials-file', '-']), 'usage', /one place/)
  buckets.fails(buckets.add(bucket, ['--ttl', 'soon']), 'usage', /90s/)
  buckets.fails(buckets.add(bucket, ['--assume', 'wonders=yes']), 'usage', /putIfMatch/)
  buckets.fails(buckets.add(bucket, ['--assume', 'putIfMatch']), 'usage', /WHAT=yes/)
  buckets.fails(buckets.add(bucket, ['--name', 'a/b']), 'volume', /without "\/"/)
  t.deepEqual(buckets.list(), [])
})

real(title('one name, one bucket: each once'), async t => {
  const buckets = new Buckets(t)
  const [first, second] = [await buckets.bucket(), await buckets.bucket()]
  t.is(buckets.run(['location', 'add', buckets.sandbox.folder('photos')]).code, 0)
  t.is(buckets.add(`${first}/2024/summer`).code, 0)
  t.is(buckets.list()[0]!.name, 'summer', 'the last part of the prefix is the name')
  buckets.fails(buckets.add(second, ['--name', 'photos']), 'volume', /choose another with --name/)
  buckets.fails(buckets.add(second, ['--name', 'summer']), 'volume', /choose another with --name/)
  buckets.fails(buckets.add(`${first}/2024/summer/`, ['--name', 'again']), 'volume', /is a volume already, named "summer"/)
  t.is(buckets.add(first, ['--name', 'all of it']).code, 0, 'another part of the bucket is another volume')
})

real(title('keys from a file or a pipe are kept sealed, and appear nowhere'), async t => {
  const buckets = new Buckets(t)
  const bucket = await buckets.bucket()
  const file = join(buckets.sandbox.home, 'keys')
  writeFileSync(file, `# of the test\n${accessKeyId}\n${secretAccessKey}\n`)
  const debug = { env: { ...NO_KEYS, SDMOUNT_LOG_LEVEL: 'debug' } }
  const added = buckets.add(bucket, ['--credentials-file', file], debug)
  t.is(added.code, 0, added.stderr)
  t.is(buckets.list()[0]!.keys, 'sealed')
  const piped = buckets.add(`${bucket}/part`, ['--credentials-file', '-'], { ...debug, input: `${accessKeyId}:${secretAccessKey}\n` })
  t.is(piped.code, 0, piped.stderr)
  for (const { stdout, stderr } of [added, piped, buckets.run(['volume', 'list', '--json']), buckets.run(['status', '--json'])])
    t.false(`${stdout}${stderr}`.includes(secretAccessKey))
  const stored = buckets.libraryBytes()
  t.true(stored.length > 4096)
  for (const secret of [accessKeyId, secretAccessKey, bucket]) t.false(stored.includes(secret), secret)
})

real(title('keys are asked for on the terminal, unseen'), async t => {
  const buckets = new Buckets(t)
  const bucket = await buckets.bucket()
  const shown = await onTerminal(
    buckets.sandbox,
    ['volume', 'add', `s3://${bucket}`, '--endpoint', buckets.endpoint, '--ask'],
    [
      // Pasted as a whole: what stands behind the first line is neither shown nor taken.
      ['Access key id: ', `${accessKeyId}X\u007f\r${secretAccessKey}\r`],
      ['(not shown): ', `${secretAccessKey}\r`],
    ],
  )
  t.true(shown.includes(`added ${bucket}`), shown)
  t.true(shown.includes(accessKeyId))
  t.false(shown.includes(secretAccessKey))
  t.is(buckets.list()[0]!.keys, 'sealed')
})

/** Runs `sdmount` on a terminal of its own (script(1) makes it), and answers each question when it stands there; all that was shown. */
function onTerminal(sandbox: Sandbox, line: readonly string[], answers: readonly (readonly [string, string])[]): Promise<string> {
  const child = spawn('script', ['-qec', [LAUNCHER, ...line].join(' '), '/dev/null'], {
    env: { PATH: process.env.PATH ?? '', LANG: 'C.UTF-8', HOME: sandbox.home, ...NO_KEYS },
    timeout: 120_000,
  })
  const waiting = [...answers]
  let shown = ''
  let seen = 0
  child.stdout.on('data', chunk => {
    shown += String(chunk)
    const [question, answer] = waiting[0] ?? []
    if (question === undefined || !shown.includes(question, seen)) return
    seen = shown.length
    waiting.shift()
    child.stdin.write(answer!)
  })
  return new Promise(resolve => child.on('close', () => resolve(shown)))
}

real(title('--seal keeps what the AWS configuration gives now; a profile is asked each time'), async t => {
  const buckets = new Buckets(t)
  const bucket = await buckets.bucket()
  t.is(buckets.add(bucket, ['--seal']).code, 0)
  t.is(buckets.list()[0]!.keys, 'sealed')
  const credentials = join(buckets.sandbox.home, 'aws')
  writeFileSync(credentials, `[work]\naws_access_key_id = ${accessKeyId}\naws_secret_access_key = ${secretAccessKey}\n`)
  const env = { ...NO_KEYS, AWS_SHARED_CREDENTIALS_FILE: credentials }
  const added = buckets.add(`${bucket}/work`, ['--profile', 'work'], { env })
  t.is(added.code, 0, added.stderr)
  buckets.fails(buckets.add(`${bucket}/home`, ['--profile', 'home'], { env }), 'credentials', /profile "home"/)
  t.deepEqual(
    buckets.list().map(volume => volume.keys),
    ['sealed', 'AWS configuration'],
  )
})

real(title('settings: given, changed, tried again'), async t => {
  const buckets = new Buckets(t)
  const bucket = await buckets.bucket()
  const more = ['--name', 'photos', '--ttl', '10m', '--write-mode', 'through', '--read-only', '--seal']
  t.is(buckets.add(bucket, more).code, 0)
  t.like(buckets.list()[0], { name: 'photos', ttlMs: 600_000, writeMode: 'through', readOnly: true })
  const set = (line: readonly string[], options: RunOptions = {}) => buckets.run(['volume', 'set', 'photos', ...line], options)
  t.is(set(['--ttl', '30s', '--write-mode', 'back']).code, 0)
  t.like(buckets.list()[0], { ttlMs: 30_000, writeMode: 'back', readOnly: true, keys: 'sealed' })
  const writable = set(['--writable'])
  t.is(writable.code, 0, writable.stderr)
  t.like(buckets.list()[0], { ttlMs: 30_000, readOnly: false })
  const before = buckets.list()[0]!.lacks as string[]
  t.is(set(['--assume', 'putIfMatch=no,putIfAbsent=no']).code, 0)
  t.true((buckets.list()[0]!.lacks as string[]).length > before.length)
  buckets.fails(set(['--credentials-file', '-'], { input: 'wrong:keys' }), 'credentials', /does not know this access key/)
  buckets.fails(set(['--endpoint', 'http://127.0.0.1:9']), 'unreachable', /127\.0\.0\.1:9/)
  t.is(buckets.list()[0]!.endpoint, buckets.endpoint, 'what fails changes nothing')
  t.is(set(['--credentials-file', '-'], { input: `${accessKeyId}:${secretAccessKey}` }).code, 0)
  buckets.fails(set(['--read-only', '--writable']), 'usage', /--read-only or --writable/)
  buckets.fails(buckets.run(['volume', 'set', 'other', '--ttl', '1h']), 'no-volume', /there are: photos/)
})

real(title('what needs a mount says so'), async t => {
  const buckets = new Buckets(t)
  const bucket = await buckets.bucket()
  t.is(buckets.add(bucket, ['--name', 'photos']).code, 0)
  for (const line of [
    ['pin', 'photos/a'],
    ['unpin', 'photos/a'],
    ['cache', 'warm', 'photos'],
    ['volume', 'refresh', 'photos'],
    ['sync', 'retry'],
  ])
    buckets.fails(buckets.run(line), 'not-mounted', /mount/)
  buckets.fails(buckets.run(['pin', 'elsewhere/a']), 'no-volume', /elsewhere/)
  buckets.fails(buckets.run(['pin', '/']), 'usage', /cloud volume/)
})

test('limits: shown, set, remembered, bounded', t => {
  const { sandbox } = new Buckets(t)
  const limits = (line: readonly string[]) => JSON.parse(sandbox.run(['limits', ...line, '--json']).stdout)
  t.is(sandbox.run(['limits']).code, EXIT_CODES['no-library'].code)
  t.is(sandbox.run(['limits', '--bwlimit', '1M:off']).code, 0)
  t.like(limits([]), { uploadBytesPerSecond: 2 ** 20, downloadBytesPerSecond: null, uploadsAtOnce: 8, downloadsAtOnce: 16 })
  t.like(limits(['--transfers', '3:5', '--memory', '64M', '--cache-size', '1.5G']), { uploadsAtOnce: 3, downloadsAtOnce: 5 })
  t.like(limits(['--bwlimit', '500K']), {
    uploadBytesPerSecond: 500 * 1024,
    downloadBytesPerSecond: 500 * 1024,
    memoryBytes: 64 * 2 ** 20,
    cacheBytes: 1.5 * 2 ** 30,
  })
  t.is(limits(['--bwlimit', 'off']).uploadBytesPerSecond, null)
  for (const wrong of [
    ['--cache-size', '1'],
    ['--cache-size', 'much'],
    ['--memory', '1M'],
    ['--transfers', '0'],
    ['--transfers', '1:2:3'],
    ['--bwlimit', '1M:2M:3M'],
    ['--bwlimit', '5'],
  ])
    t.is(sandbox.run(['limits', ...wrong]).code, EXIT_CODES.usage.code, wrong.join(' '))
  t.is(limits([]).cacheBytes, 1.5 * 2 ** 30)
})
