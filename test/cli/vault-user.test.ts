/** Vaults of an ordinary user, and what only a caller of the parts can try: the keyring, and secrets in what processes show. */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import ava from 'ava'
import type { Invocation } from '../../src/cli/command.ts'
import { CommandError } from '../../src/cli/exit-codes.ts'
import type { OptionName } from '../../src/cli/options.ts'
import { SecretGiver } from '../../src/cli/passphrases.ts'
import { Passphrase } from '../../src/crypto/passphrase.ts'
import { ordinaryUser, Sandbox } from './sdmount.ts'

const user = ordinaryUser()
const usable = user !== undefined && existsSync('/dev/fuse') && (statSync('/dev/fuse').mode & 0o006) === 0o006
const asUser = usable ? ava.serial : ava.serial.skip
const onLinux = process.platform === 'linux' ? ava.serial : ava.serial.skip
const PASSPHRASE = 'kept from the wallaby'

asUser('an ordinary user makes, opens and closes a vault', t => {
  const sandbox = new Sandbox(t, user)
  const fed = { input: `${PASSPHRASE}\n` }
  const create = sandbox.run(['vault', 'create', 'Private', '--at', join(sandbox.home, 'sealed'), '--passphrase-file', '-'], fed)
  t.is(create.code, 0, create.stderr)
  t.regex(create.stdout, /shown this once:/)
  const mount = sandbox.run([sandbox.mountpoint, '--vault', 'Private', '--passphrase-file', '-'], fed)
  t.is(mount.code, 0, mount.stderr)
  const work = sandbox.program('/bin/sh', [
    '-c',
    'cd Spacedrive/Private && echo hello > a && mkdir b && mv a b && cat b/a && stat -c %U b/a .',
  ])
  t.is(work.stdout, `hello\n${user!.name}\n${user!.name}\n`, work.stderr)
  const close = sandbox.run(['vault', 'close', 'Private'])
  t.is(close.code, 0, close.stderr)
  t.is(sandbox.run(['umount']).code, 0)
})

onLinux('no passphrase is in the arguments or the environment of any process, nor in a log', t => {
  const sandbox = new Sandbox(t)
  const fed = { input: `${PASSPHRASE}\n` }
  sandbox.run(['vault', 'create', 'Private', '--at', join(sandbox.home, 'sealed'), '--passphrase-file', '-'], fed)
  const mount = sandbox.run([sandbox.mountpoint, '--log-level', 'debug', '--vault', 'Private', '--passphrase-file', '-'], fed)
  t.is(mount.code, 0, mount.stderr)
  const pid = sandbox.daemonPid()
  for (const what of ['cmdline', 'environ']) t.false(readFileSync(`/proc/${pid}/${what}`, 'latin1').includes('wallaby'), what)
  sandbox.run(['vault', 'open', 'Private', '--passphrase-file', '-'], { input: 'not the wallaby\n' })
  t.is(sandbox.run(['umount']).code, 0)
  for (const file of readdirSync(join(sandbox.library, 'log')))
    t.false(readFileSync(join(sandbox.library, 'log', file), 'latin1').includes('wallaby'), file)
  t.true(sandbox.log().includes('vault "Private" opened'))
})

/** An invocation with nothing but options. */
function invocation(options: Partial<Record<OptionName, unknown>>): Invocation {
  const terminal = { interactive: false, columns: 80, print() {}, remark() {}, draw() {} }
  const option = (name: OptionName) => options[name]
  return { terminal, signal: new AbortController().signal, environment: {}, option, text() {}, bytes() {} } as unknown as Invocation
}

ava('the keyring gives what was put there, and says when it has nothing', async t => {
  const kept = new Map<string, string>()
  const keyring = {
    read: (account: string) => kept.get(account),
    write: (account: string, secret: string) => void kept.set(account, secret),
    remove: (account: string) => void kept.delete(account),
  }
  const giver = new SecretGiver(invocation({ keyring: true }), () => keyring)
  const missing = await t.throwsAsync(giver.existing('Passphrase', 'vault 1'), { instanceOf: CommandError })
  t.is(missing.exit, 'passphrase')
  using passphrase = new Passphrase(Buffer.from([0xff, 0x00, 0x41, 0xc3, 0xa4]))
  giver.keep('vault 1', passphrase)
  using given = await giver.existing('Passphrase', 'vault 1')
  t.true(given.equals(passphrase), 'also one that is no text')
  const without = new SecretGiver(invocation({ keyring: false }), () => {
    throw new Error('the keyring was not asked for')
  })
  t.notThrows(() => without.keep('vault 1', passphrase))
  const forgetful = new SecretGiver(invocation({ keyring: true }), () => ({ ...keyring, read: () => undefined }))
  t.throws(() => forgetful.keep('vault 1', passphrase), { message: /did not give the passphrase back/ })
})
