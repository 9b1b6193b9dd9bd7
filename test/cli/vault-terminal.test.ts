/** Passphrases that are typed: on a terminal of their own, never shown, twice for a new one, again after a wrong one. */
import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { LAUNCHER, Sandbox, until } from './sdmount.ts'

const MINUTE_MS = 60_000
/** script(1) gives the command a terminal; its own output is what the terminal shows. */
const onLinux = process.platform === 'linux' && existsSync('/usr/bin/script') ? test : test.skip

/** A command on a terminal, typed to. */
class Typing {
  /** What was shown before the last answer. */
  seen = ''
  /** What was shown since. */
  shown = ''
  readonly #child: ChildProcess

  constructor(t: ExecutionContext, world: Sandbox, words: readonly string[]) {
    const line = [LAUNCHER, ...words].map(word => `'${word}'`).join(' ')
    const env = { PATH: process.env.PATH ?? '', LANG: 'C.UTF-8', TERM: 'xterm', HOME: world.home }
    this.#child = spawn('script', ['-qec', line, '/dev/null'], { cwd: world.home, env, stdio: ['pipe', 'pipe', 'inherit'] })
    this.#child.stdout!.on('data', chunk => {
      this.shown += String(chunk)
    })
    t.teardown(() => this.#child.kill('SIGKILL'))
  }

  /** Waits for a question that was not answered yet, and types. */
  async answer(question: string, text: string): Promise<void> {
    await until(() => this.shown.includes(question), `"${question}" in ${JSON.stringify(this.shown)}`, MINUTE_MS)
    const end = this.shown.indexOf(question) + question.length
    this.seen += this.shown.slice(0, end)
    this.shown = this.shown.slice(end)
    this.#child.stdin!.write(text)
  }

  async ended(): Promise<number | null> {
    await until(() => this.#child.exitCode !== null, `the end; shown: ${JSON.stringify(this.shown)}`, MINUTE_MS)
    return this.#child.exitCode
  }
}

class World extends Sandbox {
  readonly sealed = join(this.home, 'sealed')

  typing(t: ExecutionContext, ...words: string[]): Typing {
    return new Typing(t, this, words)
  }
}

onLinux('made, opened and changed by typing; nothing that is typed is shown', async t => {
  const world = new World(t)
  const words = join(world.home, 'words')
  const create = world.typing(t, 'vault', 'create', 'Private', '--at', world.sealed)
  await create.answer('New passphrase of Private: ', 'first pässphrase\r')
  await create.answer('once more: ', 'first passphrase\r')
  await create.answer('two different passphrases', '')
  await create.answer('New passphrase of Private: ', 'first pässphrasX\u007fe\r')
  await create.answer('once more: ', 'first pässphrase\r')
  t.is(await create.ended(), 0, create.shown)
  t.false(/first|pässphrase/.test(create.seen + create.shown), create.seen)
  const lines = create.shown.match(/^ {2}([a-z]+ ){5}[a-z]+\r?$/gm) ?? []
  t.is(lines.length, 4, 'the recovery key is shown where there is no file for it')

  t.is(world.run([world.mountpoint]).code, 0)
  const open = world.typing(t, 'vault', 'open', 'Private')
  await open.answer('Passphrase of Private: ', 'nonsense\r')
  await open.answer('wrong passphrase; once again', '')
  await open.answer('Passphrase of Private: ', 'junk\u0015first pässphrase\r')
  t.is(await open.ended(), 0, open.shown)
  t.true(existsSync(join(world.mountpoint, 'Private')))
  t.false(/nonsense|junk|first/.test(open.seen + open.shown), open.seen)

  const recover = world.typing(t, 'vault', 'recover', 'Private')
  await recover.answer('24 words of the recovery key: ', `${lines.map(line => line.trim()).join(' ')}\r`)
  await recover.answer('New passphrase of Private: ', 'second passphrase\r')
  await recover.answer('once more: ', 'second passphrase\r')
  t.is(await recover.ended(), 0, recover.shown)
  t.false((recover.seen + recover.shown).includes(lines[0]!.trim().split(' ').slice(0, 2).join(' ')), 'the words are not shown again')

  const slots = world.typing(t, 'vault', 'slot', 'add', 'Private', 'ann')
  await slots.answer('Passphrase of Private: ', 'second passphrase\r')
  await slots.answer('New passphrase of Private: ', '\u0003')
  t.is(await slots.ended(), 130, 'Ctrl-C')
  t.false(existsSync(words))
  t.is(world.run(['vault', 'slot', 'list', 'Private', '--json']).stdout.includes('ann'), false)
  t.is(world.run(['umount']).code, 0)

  const mount = world.typing(t, world.mountpoint, '--vault', 'Private')
  await mount.answer('Passphrase of Private: ', 'second passphrase\r')
  t.is(await mount.ended(), 0, mount.shown)
  t.true(existsSync(join(world.mountpoint, 'Private')))
  t.is(readFileSync(join(world.sealed, 'lock'), 'utf8').startsWith('sdmount-vault-lock 1 '), true)
})

onLinux('given up after three wrong ones', async t => {
  const world = new World(t)
  const create = world.typing(t, 'vault', 'create', 'Private', '--at', world.sealed)
  await create.answer('New passphrase of Private: ', 'the passphrase\r')
  await create.answer('once more: ', 'the passphrase\r')
  t.is(await create.ended(), 0)
  const list = world.typing(t, 'vault', 'slot', 'list', 'Private')
  for (let attempt = 0; attempt < 3; attempt++) await list.answer('Passphrase of Private: ', `wrong ${attempt}\r`)
  t.is(await list.ended(), 25, list.shown)
})
