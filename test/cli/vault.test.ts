/** The verbs of vaults, as scripts use them: made, opened, closed, their keys changed, and what each wrong step says. */
import { closeSync, cpSync, existsSync, mkdirSync, openSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { EXIT_CODES } from '../../src/cli/exit-codes.ts'
import { isRunning, type Outcome, Sandbox, until } from './sdmount.ts'

const onLinux = process.platform === 'linux' ? test.serial : test.serial.skip
const MINUTE_MS = 60_000

class World extends Sandbox {
  readonly sealed = join(this.home, 'vault')

  /** A file with one passphrase. */
  secret(text: string, name = text.replace(/\W/g, '-')): string {
    const file = join(this.home, name)
    writeFileSync(file, `${text}\n`, { mode: 0o600 })
    return file
  }

  create(passphrase = 'the first passphrase'): Outcome {
    const words = join(this.home, 'words')
    return this.run([
      'vault',
      'create',
      'Private',
      '--at',
      this.sealed,
      '--passphrase-file',
      this.secret(passphrase),
      '--recovery-file',
      words,
    ])
  }

  open(passphrase = 'the first passphrase', ...more: string[]): Outcome {
    return this.run(['vault', 'open', 'Private', '--passphrase-file', this.secret(passphrase), ...more])
  }
}

function ended(t: ExecutionContext, outcome: Outcome, exit: keyof typeof EXIT_CODES, said?: RegExp): void {
  t.is(outcome.code, EXIT_CODES[exit].code, `${outcome.stdout}\n${outcome.stderr}`)
  if (said) t.regex(outcome.stdout + outcome.stderr, said)
}

onLinux('a vault is made, opened in the mounted tree, closed, and opened again', t => {
  const world = new World(t)
  ended(t, world.create(), 'ok', /made the vault Private/)
  t.is(statSync(world.sealed).mode & 0o777, 0o700)
  t.is(statSync(join(world.home, 'words')).mode & 0o777, 0o600)
  t.is(readFileSync(join(world.home, 'words'), 'utf8').trim().split(/\s+/).length, 24)
  ended(t, world.run(['vault', 'list']), 'ok', /Private +not mounted/)
  ended(t, world.open(), 'not-mounted', /--vault Private/)
  ended(t, world.run([world.mountpoint]), 'ok')
  t.false(existsSync(join(world.mountpoint, 'Private')))
  ended(t, world.run(['status']), 'ok', /Private +closed/)
  ended(t, world.open('another passphrase'), 'passphrase', /wrong passphrase/)
  t.false(existsSync(join(world.mountpoint, 'Private')))
  ended(t, world.open(), 'ok', /Private is open at/)
  ended(t, world.open(), 'ok', /open already/)
  writeFileSync(join(world.mountpoint, 'Private', 'file'), 'content')
  ended(t, world.run(['vault', 'remove', 'Private']), 'busy', /vault close first/)
  ended(t, world.run(['vault', 'close', 'Private']), 'ok', /closed Private/)
  t.false(existsSync(join(world.mountpoint, 'Private')), 'also for the kernel')
  t.deepEqual(
    readdirSync(world.mountpoint).filter(name => name === 'Private'),
    [],
  )
  ended(t, world.run(['vault', 'close', 'Private']), 'vault', /not open/)
  ended(t, world.run(['vault', 'close']), 'ok', /no vault is open/)
  ended(t, world.open(), 'ok')
  t.is(readFileSync(join(world.mountpoint, 'Private', 'file'), 'utf8'), 'content')
  ended(t, world.run(['umount']), 'ok')
  t.is(readFileSync(join(world.sealed, 'lock'), 'utf8'), '', 'an unmount closes it, too')
})

onLinux('a vault is opened as the tree is mounted', t => {
  const world = new World(t)
  world.create()
  const at = (...more: string[]) => world.run([world.mountpoint, '--vault', 'Private', ...more])
  ended(t, world.run([world.mountpoint, '--vault', 'Nothing']), 'no-vault', /there are: Private/)
  t.false(world.isMounted(), 'asked before the mount')
  ended(t, at('--passphrase-file', world.secret('wrong one')), 'passphrase', /the tree stays mounted/)
  t.true(world.isMounted())
  ended(t, at('--passphrase-file', world.secret('the first passphrase')), 'ok', /mounted at .* already[\s\S]*Private is open/)
  writeFileSync(join(world.mountpoint, 'Private', 'file'), '')
  ended(t, world.run(['umount']), 'ok')
  ended(t, at('--passphrase-file', world.secret('the first passphrase')), 'ok', /mounted at[\s\S]*Private is open/)
  t.deepEqual(readdirSync(join(world.mountpoint, 'Private')), ['file'])
})

onLinux('in the foreground, too', async t => {
  const world = new World(t)
  world.create()
  const passphrase = world.secret('the first passphrase')
  const child = world.start(['--foreground', world.mountpoint, '--vault', 'Private', '--passphrase-file', passphrase])
  await until(() => existsSync(join(world.mountpoint, 'Private')), 'the vault is open', MINUTE_MS)
  child.kill('SIGTERM')
  await until(() => child.exitCode !== null || child.signalCode !== null, 'the daemon ends', MINUTE_MS)
  t.is(child.exitCode, 0)
  t.is(readFileSync(join(world.sealed, 'lock'), 'utf8'), '')
})

onLinux('passphrases come from descriptors, pipes and standard input; a wrong place says so', t => {
  const world = new World(t)
  world.create()
  const slots = (...more: string[]) =>
    world.run(['vault', 'slot', 'list', 'Private', ...more], { input: 'the first passphrase\nand more\n' })
  ended(t, slots('--passphrase-file', '-'), 'ok', /main +passphrase/)
  ended(t, slots('--passphrase-fd', '0'), 'ok', /main +passphrase/)
  ended(t, slots('--passphrase-fd', '99'), 'usage', /descriptor 99: it is not open/)
  ended(t, slots('--passphrase-fd', 'x'), 'usage')
  ended(t, slots('--passphrase-file', join(world.home, 'none')), 'usage', /does not exist/)
  ended(t, slots('--passphrase-file', world.home), 'usage', /is a folder/)
  ended(t, slots('--passphrase-file', '/dev/null'), 'usage', /no passphrase in/)
  ended(t, slots('--passphrase-file', 'a', '--passphrase-fd', '0'), 'usage', /two places/)
  ended(t, slots(), 'usage', /no terminal to ask on: use --passphrase-file/)
  const both = world.run(['vault', 'passwd', 'Private', '--passphrase-fd', '0', '--new-passphrase-fd', '0'], {
    input: 'the first passphrase\nthe second passphrase\n',
  })
  ended(t, both, 'ok', /is changed/)
  ended(t, world.run(['vault', 'slot', 'list', 'Private', '--passphrase-file', '-'], { input: 'the second passphrase' }), 'ok')
})

onLinux('passphrases are added, changed and taken away, also while it is open; the recovery key sets a new one', t => {
  const world = new World(t)
  world.create()
  const [first, second, third] = ['the first passphrase', 'the second passphrase', 'the third passphrase'].map(text => world.secret(text))
  const words = join(world.home, 'words')
  const vault = (verb: string, ...more: string[]) => world.run(['vault', ...verb.split(' '), ...more])
  const opens = (file: string) => vault('slot list', 'Private', '--passphrase-file', file).code === 0
  ended(t, vault('slot add', 'Private', 'ann', '--passphrase-file', first!, '--new-passphrase-file', second!), 'ok')
  ended(t, vault('slot add', 'Private', 'ann', '--passphrase-file', first!, '--new-passphrase-file', third!), 'vault', /already/)
  t.true(opens(first!) && opens(second!))
  world.run([world.mountpoint])
  world.open()
  ended(t, vault('slot list', 'Private'), 'ok', /main[\s\S]*recovery[\s\S]*ann/)
  ended(t, vault('passwd', 'Private', '--passphrase-file', third!, '--new-passphrase-file', second!), 'passphrase')
  ended(t, vault('passwd', 'Private', '--passphrase-file', second!, '--new-passphrase-file', third!), 'ok')
  t.is(statSync(join(world.mountpoint, 'Private')).isDirectory(), true, 'it stays open')
  ended(t, world.run(['umount']), 'ok')
  t.true(opens(first!) && opens(third!) && !opens(second!))
  ended(t, vault('slot remove', 'Private', 'main', '--passphrase-file', third!), 'ok')
  ended(t, vault('slot remove', 'Private', 'ann', '--passphrase-file', third!), 'vault', /last passphrase/)
  ended(t, vault('recover', 'Private', '--recovery-file', words, '--new-passphrase-file', first!), 'ok')
  t.true(opens(first!) && opens(third!))
  const again = join(world.home, 'new words')
  ended(t, vault('slot add', 'Private', 'recovery', '--passphrase-file', first!, '--recovery-file', words), 'usage', /exists already/)
  ended(t, vault('slot add', 'Private', 'recovery', '--passphrase-file', first!, '--recovery-file', again), 'ok')
  ended(t, vault('recover', 'Private', '--recovery-file', words, '--new-passphrase-file', second!), 'passphrase', /not the recovery key/)
  writeFileSync(words, readFileSync(again, 'utf8').toUpperCase().replaceAll('\n', ' '))
  ended(t, vault('recover', 'Private', '--recovery-file', words, '--new-passphrase-file', second!), 'ok')
  t.true(opens(second!))
  writeFileSync(words, 'abandon '.repeat(24))
  ended(t, vault('recover', 'Private', '--recovery-file', words, '--new-passphrase-file', second!), 'passphrase', /mistyped/)
})

onLinux('a damaged header is told from a wrong passphrase, and the copy serves', t => {
  const world = new World(t)
  world.create()
  const header = join(world.sealed, 'header')
  const good = readFileSync(header)
  const first = world.secret('the first passphrase')
  const slots = () => world.run(['vault', 'slot', 'list', 'Private', '--passphrase-file', first])
  writeFileSync(header, 'gone')
  ended(t, slots(), 'ok')
  world.run([world.mountpoint])
  ended(t, world.open(), 'ok', /mended: header: this is not the header of a vault/)
  t.deepEqual(readFileSync(header), good)
  ended(t, world.run(['umount']), 'ok')
  for (const file of ['header', 'header.copy']) writeFileSync(join(world.sealed, file), Buffer.from(good).fill(0, 100, 101))
  ended(t, slots(), 'vault', /header is damaged[\s\S]*header.copy: the header is damaged/)
  for (const file of ['header', 'header.copy']) rmSync(join(world.sealed, file))
  ended(t, slots(), 'no-vault', /there is no vault in/)
  rmSync(world.sealed, { recursive: true })
  ended(t, slots(), 'no-vault')
})

onLinux('a second library is refused while it is open, may read only, and takes over after kill -9', async t => {
  const world = new World(t)
  world.create()
  world.run([world.mountpoint])
  ended(t, world.open(), 'ok')
  const other = join(world.home, 'other')
  const at = join(world.home, 'mnt2')
  const second = (...words: string[]) => world.run([...words, '--library', other])
  ended(t, second('vault', 'add', 'Same', '--at', world.sealed), 'ok')
  ended(t, second(at), 'ok')
  const passphrase = world.secret('the first passphrase')
  const open = (...more: string[]) => second('vault', 'open', 'Same', '--passphrase-file', passphrase, ...more)
  const pid = world.daemonPid()
  ended(t, open(), 'vault', new RegExp(`in use by process ${pid} on this machine`))
  ended(t, open('--break-lock'), 'vault', /in use by process/)
  process.kill(pid, 'SIGKILL')
  await until(() => !isRunning(pid), 'the first daemon is gone', MINUTE_MS)
  ended(t, open(), 'ok', /Same is open at/)
  ended(t, second('vault', 'close', 'Same'), 'ok')
  const foreign = `sdmount-vault-lock 1 ${'f'.repeat(32)} 77 2026-01-01T00:00:00.000Z elsewhere\n`
  writeFileSync(join(world.sealed, 'lock'), foreign)
  ended(t, open(), 'vault', /in use on the machine elsewhere \(process 77\)/)
  ended(t, open('--read-only'), 'ok', /read-only/)
  t.throws(() => writeFileSync(join(at, 'Same', 'x'), ''), { code: 'EROFS' })
  t.is(readFileSync(join(world.sealed, 'lock'), 'utf8'), foreign, 'the other keeps its lock')
  ended(t, second('vault', 'close', 'Same'), 'ok')
  ended(t, open('--break-lock'), 'ok')
  ended(t, second('umount'), 'ok')
})

onLinux('where it can not be made, nothing is left', t => {
  const world = new World(t)
  const file = world.secret('the first passphrase')
  const create = (name: string, at: string, ...more: string[]) =>
    world.run(['vault', 'create', name, '--at', at, '--passphrase-file', file, ...more])
  ended(t, create('Private', 's3://bucket/prefix'), 'usage', /not here yet/)
  ended(t, world.run(['vault', 'create', 'Private', '--passphrase-file', file]), 'usage', /--at PATH/)
  const full = world.folder('full')
  writeFileSync(join(full, 'something'), '')
  ended(t, create('Private', full), 'vault', /not empty/)
  t.deepEqual(
    readdirSync(full).filter(name => name !== 'lock'),
    ['something'],
  )
  const words = join(world.home, 'words')
  ended(t, create('Private', full, '--recovery-file', words), 'vault')
  t.false(existsSync(words), 'no recovery key of what is not')
  ended(t, world.run(['vault', 'list']), 'ok')
  t.is(world.run(['vault', 'list', '--json']).stdout.trim(), '[]')
  ended(t, create('a/b', world.sealed), 'vault', /plain name/)
  ended(t, create('Private', join(world.library, 'inside')), 'vault', /belongs to the library/)
  ended(t, create('Private', world.sealed), 'ok', /shown this once/)
  ended(t, create('Private', join(world.home, 'again')), 'vault', /already a folder named/)
  ended(t, create('Other', world.sealed), 'vault', /is the folder of the vault "Private" already/)
  ended(t, create('Other', join(world.sealed, 'below')), 'vault', /lies inside/)
  ended(t, world.run(['vault', 'remove', 'Private']), 'ok')
  ended(t, create('Other', world.sealed), 'vault', /vault add/)
  ended(t, world.run(['vault', 'add', 'Other', '--at', world.sealed]), 'ok')
  ended(t, world.run(['location', 'add', full]), 'ok')
  world.run([world.mountpoint])
  mkdirSync(join(world.mountpoint, 'full', 'x'))
  ended(t, create('Third', join(world.mountpoint, 'full', 'x')), 'location', /can't contain itself/)
})

onLinux('a vault that was restored from a backup is refused, and opened when the user says so', t => {
  const world = new World(t)
  world.create()
  world.run([world.mountpoint])
  ended(t, world.open(), 'ok')
  writeFileSync(join(world.mountpoint, 'Private', 'early'), '')
  ended(t, world.run(['vault', 'close']), 'ok')
  const backup = join(world.home, 'backup')
  cpSync(world.sealed, backup, { recursive: true })
  ended(t, world.open(), 'ok')
  writeFileSync(join(world.mountpoint, 'Private', 'late'), '')
  ended(t, world.run(['vault', 'close']), 'ok')
  rmSync(world.sealed, { recursive: true })
  cpSync(backup, world.sealed, { recursive: true })
  ended(t, world.open(), 'vault', /--accept-older/)
  ended(t, world.open('the first passphrase', '--accept-older'), 'ok')
  t.deepEqual(readdirSync(join(world.mountpoint, 'Private')), ['early'])
  ended(t, world.run(['umount']), 'ok')
})

onLinux('work in a vault: snapshots, collection, check, open or closed', t => {
  const world = new World(t)
  world.create()
  const passphrase = world.secret('the first passphrase')
  const inVault = (verb: string, ...more: string[]) => world.run(['vault', verb, 'Private', ...more])
  const closed = (verb: string, ...more: string[]) => inVault(verb, ...more, '--passphrase-file', passphrase)
  ended(t, inVault('info'), 'usage', /no terminal/)
  ended(t, closed('snapshot', 'empty'), 'ok', /snapshot .* empty/)
  world.run([world.mountpoint])
  ended(t, world.open(), 'ok')
  const inside = join(world.mountpoint, 'Private')
  writeFileSync(join(inside, 'file'), 'x'.repeat(3_000_000))
  ended(t, inVault('snapshot', 'full'), 'ok')
  ended(t, inVault('snapshots'), 'ok', /empty[\s\S]*full/)
  const [, full] = readdirSync(join(inside, '.snapshots')).sort()
  t.is(readFileSync(join(inside, '.snapshots', full!, 'file')).length, 3_000_000)
  rmSync(join(inside, 'file'))
  ended(t, inVault('prune'), 'usage', /say what to keep/)
  ended(t, inVault('prune', '--keep-last', '0'), 'ok', /0 kept, 2 dropped/)
  ended(t, inVault('gc'), 'ok', /freed/)
  ended(t, inVault('info'), 'ok', /0 snapshots/)
  ended(t, inVault('check'), 'ok', /is whole/)
  ended(t, world.run(['vault', 'close']), 'ok')
  ended(t, closed('check'), 'ok', /is whole/)
  t.is(JSON.parse(closed('info', '--json').stdout).snapshots, 0)
  const header = join(world.sealed, 'header.copy')
  writeFileSync(header, '')
  ended(t, closed('check'), 'vault-damage', /header.copy: the header is empty/)
  t.is(readFileSync(header).length, 0, 'a check changes nothing')
  ended(t, closed('check', '--repair'), 'ok', /mended/)
  t.deepEqual(readFileSync(header), readFileSync(join(world.sealed, 'header')))
  ended(t, world.run(['umount']), 'ok')
})

onLinux('an idle vault closes by itself; one with files open does not', async t => {
  const world = new World(t)
  world.create()
  world.run([world.mountpoint])
  ended(t, world.open(), 'ok')
  const held = openSync(join(world.mountpoint, 'Private', 'file'), 'w')
  t.teardown(() => {
    try {
      closeSync(held)
    } catch {} // It was closed as part of the test.
  })
  ended(t, world.run(['vault', 'close', 'Private']), 'busy', /in use[\s\S]*--force/)
  ended(t, world.run(['vault', 'open', 'Private', '--lock-after', '1s']), 'ok', /open already/)
  await new Promise(resolve => setTimeout(resolve, 4000))
  ended(t, world.run(['vault', 'list']), 'ok', /open, 1 files in use/)
  closeSync(held)
  await until(() => /Private +closed/.test(world.run(['vault', 'list']).stdout), 'it closes', MINUTE_MS)
  t.false(existsSync(join(world.mountpoint, 'Private')))
  ended(t, world.open('the first passphrase', '--lock-after', '0'), 'ok')
  ended(t, world.run(['vault', 'list']), 'ok', /Private +open {2}/)
})
