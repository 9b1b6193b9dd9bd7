/** A vault on a real mount: programs work in it, nothing of it is readable below, killed it comes back, closed it is forgotten. */
import { execFileSync } from 'node:child_process'
import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { Passphrase } from '../../src/crypto/passphrase.ts'
import { unlockStoredHeader } from '../../src/vfs/volumes/vault/header-files.ts'
import { isRunning, type Outcome, Sandbox, until } from '../cli/sdmount.ts'
import { countInMemory } from '../support/process-memory.ts'

const onLinux = process.platform === 'linux' ? test.serial : test.serial.skip
const asRoot = process.platform === 'linux' && process.getuid?.() === 0 ? test.serial : test.serial.skip
const PASSPHRASE = 'a passphrase like no other: quokka'
const MINUTE_MS = 60_000

class World extends Sandbox {
  readonly sealed = join(this.home, 'sealed')
  readonly inside = join(this.mountpoint, 'Private')
  readonly #file = join(this.home, 'passphrase')
  readonly #t: ExecutionContext

  constructor(t: ExecutionContext) {
    super(t)
    this.#t = t
    writeFileSync(this.#file, `${PASSPHRASE}\n`)
    this.done(
      this.run([
        'vault',
        'create',
        'Private',
        '--at',
        this.sealed,
        '--passphrase-file',
        this.#file,
        '--recovery-file',
        join(this.home, 'words'),
      ]),
    )
  }

  done(outcome: Outcome): string {
    this.#t.is(outcome.code, 0, `${outcome.stdout}\n${outcome.stderr}`)
    return outcome.stdout
  }

  mount(): void {
    this.done(this.run([this.mountpoint, '--vault', 'Private', '--passphrase-file', this.#file]))
  }

  sdmount(...words: string[]): string {
    return this.done(this.run(words))
  }

  shell(command: string, cwd = this.inside): string {
    return execFileSync('sh', ['-ec', command], { cwd, encoding: 'utf8', env: { ...process.env, HOME: this.home }, timeout: 5 * MINUTE_MS })
  }
}

/** All files below a folder, as bytes. */
function* filesBelow(folder: string): Generator<readonly [path: string, bytes: Buffer]> {
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue
    const path = join(entry.parentPath, entry.name)
    yield [path, readFileSync(path)]
  }
}

onLinux('git, SQLite, rsync and find work in a vault, and find the same after it was closed and opened', t => {
  const world = new World(t)
  world.mount()
  const source = world.folder('source')
  for (let i = 0; i < 40; i++) {
    mkdirSync(join(source, `folder ${i % 4}`), { recursive: true })
    writeFileSync(join(source, `folder ${i % 4}`, `file-${i}`), `${i}\n`.repeat(1 + i * 97))
  }
  symlinkSync('file-0', join(source, 'folder 0', 'link'))
  world.shell(`
    git init -q repository && cd repository
    git config user.email nobody@example.org && git config user.name Nobody
    rsync -aH --checksum "${source}/" ./
    git add . && git commit -qm first
    git mv "folder 1" moved && git commit -qam second
    git gc -q && git fsck --strict`)
  world.shell(`
    sqlite3 data.db "pragma journal_mode=wal; create table t(a integer primary key, b); begin;
      with recursive n(i) as (select 1 union all select i+1 from n where i<5000) insert into t select i, hex(randomblob(40)) from n; commit;
      update t set b='changed' where a%7=0; delete from t where a%5=0; vacuum;"`)
  const before = world.shell(
    'cd repository && git log --format=%H && git status --porcelain && cd .. && sqlite3 data.db "select count(*), sum(a) from t"',
  )
  const listing = world.shell('find . -not -path "*/.git/*" -not -name "data.db*" | sort')
  t.is(world.shell(`rsync -ancOi --delete --exclude .git "${source}/" repository/ | grep -v "folder 1\\|moved" || true`), '')
  world.sdmount('vault', 'close', 'Private')
  t.throws(() => statSync(world.inside), { code: 'ENOENT' })
  world.sdmount('vault', 'open', 'Private', '--passphrase-file', join(world.home, 'passphrase'))
  t.is(
    world.shell(
      'cd repository && git log --format=%H && git status --porcelain && cd .. && sqlite3 data.db "select count(*), sum(a) from t"',
    ),
    before,
  )
  t.is(world.shell('find . -not -path "*/.git/*" -not -name "data.db*" | sort'), listing)
  t.is(world.shell('cd repository && git fsck --strict && cd .. && sqlite3 data.db "pragma integrity_check"').trim(), 'ok')
  t.regex(world.sdmount('vault', 'check', 'Private'), /is whole/)
  world.sdmount('umount')
})

onLinux('nothing of it is readable in the sealed folder, nor in the library', async t => {
  const world = new World(t)
  world.mount()
  const secrets = ['wombat-name', 'wombat-contents', 'wombat-target', 'wombat-attribute', 'wombat-label', 'wombat-folder']
  const [name, contents, target, attribute, label, folder] = secrets as [string, string, string, string, string, string]
  mkdirSync(join(world.inside, folder))
  writeFileSync(join(world.inside, folder, name), `${contents}\n`.repeat(5000))
  writeFileSync(join(world.inside, name), contents)
  symlinkSync(target, join(world.inside, 'link'))
  world.shell(`setfattr -n user.${attribute} -v ${attribute} ${name}; sync .`)
  world.sdmount('vault', 'snapshot', 'Private', label)
  // As it lies there while it is open, and after.
  const readable = () => {
    const found: string[] = []
    const words = readFileSync(join(world.home, 'words'), 'utf8').trim().split(/\s+/).slice(0, 3).join(' ')
    for (const where of [world.sealed, world.library]) {
      for (const [path, bytes] of filesBelow(where)) {
        for (const secret of [...secrets, 'wombat', PASSPHRASE, 'quokka', words])
          if (bytes.includes(secret)) found.push(`${path}: ${secret}`)
        for (const secret of [...secrets, 'quokka']) if (path.includes(secret)) found.push(path)
      }
    }
    return found
  }
  t.deepEqual(readable(), [])
  world.sdmount('umount')
  t.deepEqual(readable(), [])
  using passphrase = new Passphrase(Buffer.from(PASSPHRASE))
  const { header } = await unlockStoredHeader(world.sealed, passphrase)
  using opened = header
  const master = opened.keys.master.use(bytes => Buffer.from(bytes))
  for (const where of [world.sealed, world.library]) {
    for (const [path, bytes] of filesBelow(where)) t.false(bytes.includes(master) || bytes.includes(master.toString('hex')), path)
  }
})

onLinux('the daemon killed, what was flushed is there, and the vault opens without a word about locks', async t => {
  const world = new World(t)
  world.mount()
  const fd = openSync(join(world.inside, 'flushed'), 'w')
  writeSync(fd, 'on disk')
  fsyncSync(fd)
  closeSync(fd)
  mkdirSync(join(world.inside, 'maybe'))
  const pid = world.daemonPid()
  process.kill(pid, 'SIGKILL')
  await until(() => !isRunning(pid), 'the daemon is gone', MINUTE_MS)
  t.regex(readFileSync(join(world.sealed, 'lock'), 'latin1'), /^sdmount-vault-lock 1 /)
  world.mount()
  t.is(readFileSync(join(world.inside, 'flushed'), 'utf8'), 'on disk')
  t.regex(world.sdmount('vault', 'check', 'Private'), /is whole/)
  writeFileSync(join(world.inside, 'after'), 'goes on')
  world.sdmount('umount')
  t.is(readFileSync(join(world.sealed, 'lock'), 'latin1'), '')
})

onLinux('closed by force, programs that have files open get errors, and nothing hangs', t => {
  const world = new World(t)
  world.mount()
  const fd = openSync(join(world.inside, 'file'), 'w+')
  writeSync(fd, 'written before')
  const refused = world.run(['vault', 'close', 'Private'])
  t.is(refused.code, 10)
  t.true(refused.stderr.includes(String(process.pid)), `names who uses it: ${refused.stderr}`)
  world.sdmount('vault', 'close', 'Private', '--force')
  t.throws(() => {
    writeSync(fd, 'too late')
    fsyncSync(fd)
  })
  try {
    closeSync(fd)
  } catch {} // It may say that what was written last is lost.
  world.sdmount('vault', 'open', 'Private', '--passphrase-file', join(world.home, 'passphrase'))
  t.is(readFileSync(join(world.inside, 'file'), 'utf8'), 'written before')
  world.sdmount('umount')
})

asRoot('after close, neither passphrase nor key is in the memory of the daemon; before, the key is', async t => {
  const world = new World(t)
  world.mount()
  using passphrase = new Passphrase(Buffer.from(PASSPHRASE))
  const { header } = await unlockStoredHeader(world.sealed, passphrase)
  using opened = header
  const patterns = { passphrase: Buffer.from(PASSPHRASE), master: opened.keys.master.use(bytes => Buffer.from(bytes)) }
  writeFileSync(join(world.inside, 'file'), 'x'.repeat(100_000))
  t.is(readFileSync(join(world.inside, 'file'), 'latin1').length, 100_000)
  const pid = world.daemonPid()
  const open = countInMemory(pid, patterns)
  t.true(open.master! > 0, 'the search finds it')
  t.is(open.passphrase, 0, 'the passphrase was wiped as soon as the vault was open')
  world.sdmount('vault', 'close', 'Private')
  t.deepEqual(countInMemory(pid, patterns), { passphrase: 0, master: 0 })
  world.sdmount('vault', 'open', 'Private', '--passphrase-file', join(world.home, 'passphrase'))
  t.true(countInMemory(pid, patterns).master! > 0)
  world.sdmount('umount')
})
