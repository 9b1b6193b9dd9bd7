/** sdmount vault create, add, remove, list, open, close: sealed folders that appear with a passphrase. */
import { mkdirSync } from 'node:fs'
import type { Name } from '../../vfs/contract.ts'
import type { Command, Invocation } from '../command.ts'
import { CommandError } from '../exit-codes.ts'
import { askLibrary } from '../library-client.ts'
import { nameOfText } from '../names.ts'
import { PASSPHRASE_OPTIONS } from '../passphrase-options.ts'
import type { SecretGiver } from '../passphrases.ts'
import { pathProblem, resolveFolder } from '../paths.ts'
import { parseTime } from '../quantities.ts'
import type { VaultRow } from '../service/vault-requests.ts'
import { duration } from '../terminal/format.ts'
import { table } from '../terminal/table.ts'
import { printable } from '../terminal/terminal.ts'
import { libraryOf, required } from './arguments.ts'
import { askVaults, askWithSecret, secretGiver, vaultRow } from './vault-asking.ts'

const create: Command = {
  words: ['vault', 'create'],
  summary: 'make a vault: a folder that only a passphrase opens',
  description: `Makes an empty vault in the folder given by \`--at\`. The passphrase is asked for twice. Then a recovery key is printed once, 24
words: it opens the vault when the passphrase is forgotten. Where there is no terminal, give \`--passphrase-file\`, and perhaps
\`--recovery-file\`. With \`--keyring\` the passphrase is also put into the system's keyring, and \`vault open --keyring\` takes it from there.

What the folder holds is sealed: contents, names, sizes of files. See [vaults](../vaults.md). \`sdmount vault open\` shows the vault in
the mounted tree.`,
  arguments: [{ name: 'name', required: true, help: "the vault's folder at the top of the tree" }],
  options: ['library', 'at', 'label', ...PASSPHRASE_OPTIONS, 'recovery-file', 'json'],
  examples: [
    { line: 'sdmount vault create Private --at ~/private.vault', does: 'asks for the passphrase, prints the recovery key' },
    {
      line: 'sdmount vault create Private --at /mnt/nas/vault --passphrase-file pass.txt --recovery-file words.txt',
      does: 'for scripts',
    },
  ],
  async run(invocation) {
    const { terminal, signal } = invocation
    const name = required(invocation, 'name')
    const path = newFolder(invocation)
    const giver = await secretGiver(invocation)
    const [{ carried, RecoveryNote }, { SecretKey }, { recoveryWords }] = await Promise.all([
      import('../passphrases.ts'),
      import('../../crypto/secret-key.ts'),
      import('../../crypto/vault/recovery-words.ts'),
    ])
    using passphrase = await giver.fresh(`New passphrase of ${printable(name)}`, 'passphrase')
    using recovery = SecretKey.random()
    const note = new RecoveryNote(invocation, recoveryWords(recovery))
    using carriedRecovery = carried(recovery)
    const secrets = new Map([
      ['passphrase', passphrase],
      ['new-recovery', carriedRecovery],
    ])
    try {
      const made = await askLibrary({
        library: libraryOf(invocation),
        request: 'vault.create',
        arguments: { name, path, label: invocation.option('label') ?? 'main' },
        secrets,
        create: true,
        signal,
      })
      giver.keep(made.vaultId, passphrase)
      if (invocation.option('json')) terminal.print(JSON.stringify(forPrograms(made)))
      else
        terminal.print(
          `made the vault ${printable(made.name)} in ${printable(made.path)}; sdmount vault open ${printable(made.name)} shows it`,
        )
      note.show(printable(made.name))
      for (const line of made.notes) terminal.remark(`note: ${line}`)
      return 'ok'
    } catch (error) {
      note.discard()
      throw error
    }
  },
}

const add: Command = {
  words: ['vault', 'add'],
  summary: 'put an existing vault into this library',
  description: `A vault belongs to no library: its folder can be copied, or lie on a drive that several machines use. This makes one known here under
NAME; \`sdmount vault open\` opens it.`,
  arguments: [{ name: 'name', required: true, help: "the vault's folder at the top of the tree" }],
  options: ['library', 'at'],
  examples: [{ line: 'sdmount vault add Private --at /mnt/nas/vault', does: 'a vault that was made elsewhere' }],
  async run(invocation) {
    const row = await askLibrary({
      library: libraryOf(invocation),
      request: 'vault.add',
      arguments: { name: required(invocation, 'name'), path: resolveFolder(nameOfText(placeOf(invocation))) },
      create: true,
      signal: invocation.signal,
    })
    invocation.terminal.print(`added the vault ${printable(row.name)}: ${printable(row.path)}`)
    return 'ok'
  },
}

const remove: Command = {
  words: ['vault', 'remove'],
  summary: 'take a vault out of this library; its sealed files stay where they are',
  description: 'The library forgets the vault. Its folder is not touched; `sdmount vault add` makes it known again. It must be closed.',
  arguments: [{ name: 'name', required: true, help: "the vault's name, as `vault list` shows it" }],
  options: ['library'],
  examples: [{ line: 'sdmount vault remove Private', does: 'the folder stays' }],
  async run(invocation) {
    const row = await askVaults(invocation, { request: 'vault.remove', arguments: { name: required(invocation, 'name') } })
    invocation.terminal.print(`removed ${printable(row.name)} from the library; ${printable(row.path)} stays as it is`)
    return 'ok'
  },
}

const list: Command = {
  words: ['vault', 'list'],
  summary: 'list the vaults of the library, open and closed',
  description: 'Lists the vaults with their state and their folders.',
  arguments: [],
  options: ['library', 'json'],
  examples: [{ line: 'sdmount vault list', does: 'names, states, folders' }],
  async run(invocation) {
    const { vaults } = await askVaults(invocation, { request: 'vault.list', arguments: {} })
    if (invocation.option('json')) invocation.terminal.print(JSON.stringify(vaults.map(forPrograms)))
    else {
      const rows = vaults.map(row => [printable(row.name), stateOf(row), printable(row.path)])
      for (const line of table(['VAULT', 'STATE', 'FOLDER'], rows)) invocation.terminal.print(line)
    }
    return 'ok'
  },
}

const open: Command = {
  words: ['vault', 'open'],
  summary: 'open a vault: it appears in the mounted tree',
  description: `Asks for the passphrase; the vault is a folder of the mounted tree then, until \`vault close\` or the end of the mount. What the
vault's folder holds stays sealed all the time.

A vault is open in one process on one machine. One that another machine seems to have open is refused: open it with \`--read-only\`,
or with \`--break-lock\` when it is surely not open there any more (its machine crashed). After a crash of this machine's own daemon
nothing of that is needed.

A vault that is older than this machine has seen it (restored from a backup, or put back by somebody) is refused until you say
\`--accept-older\`.

With \`--recovery-file\` the recovery key opens it. \`--lock-after 10m\` closes it when no program has used it for ten minutes; that
is remembered for this vault.`,
  arguments: [{ name: 'name', required: true, help: "the vault's name, as `vault list` shows it" }],
  options: ['library', 'read-only', 'lock-after', ...PASSPHRASE_OPTIONS, 'recovery-file', 'break-lock', 'accept-older'],
  examples: [
    { line: 'sdmount vault open Private', does: 'asks for the passphrase' },
    { line: 'pass show private | sdmount vault open Private --passphrase-file -', does: 'from another program' },
    { line: 'sdmount vault open Private --lock-after 10m', does: 'closed when nobody uses it' },
  ],
  async run(invocation) {
    const row = await vaultRow(invocation, required(invocation, 'name'))
    if (row.state === 'open') {
      const lockAfterMs = lockAfterOf(invocation)
      if (lockAfterMs !== undefined) await askVaults(invocation, { request: 'vault.set', arguments: { name: row.name, lockAfterMs } })
      invocation.terminal.print(`${printable(row.name)} is open already`)
      return 'ok'
    }
    if (row.state === 'not mounted') {
      throw new CommandError('not-mounted', `the library is not mounted: run sdmount MOUNTPOINT --vault ${printable(row.name)}`)
    }
    await openVault(invocation, await secretGiver(invocation), row)
    return 'ok'
  },
}

const close: Command = {
  words: ['vault', 'close'],
  summary: 'close a vault, or all: it is gone from the tree, and its keys from memory',
  description: `Writes what is delayed, takes the vault out of the tree, and wipes its keys. While programs have files open in it, it refuses and
names them; with \`--force\` they get errors. Without a name, all open vaults are closed. Unmounting closes them, too.`,
  arguments: [{ name: 'name', required: false, help: 'one vault; by default all that are open' }],
  options: ['library', 'force'],
  examples: [{ line: 'sdmount vault close Private', does: 'until it is opened again' }],
  async run(invocation) {
    const name = invocation.bytes('name')
    const { names } = await askVaults(invocation, {
      request: 'vault.close',
      arguments: { force: invocation.option('force'), ...(name === undefined ? {} : { name }) },
    })
    invocation.terminal.print(names.length === 0 ? 'no vault is open' : `closed ${names.map(printable).join(', ')}`)
    return 'ok'
  },
}

export const vaultCommands: readonly Command[] = [create, add, open, close, list, remove]

/** Opens one vault in the running daemon and says where it is. */
export async function openVault(invocation: Invocation, giver: SecretGiver, row: VaultRow): Promise<void> {
  const lockAfterMs = lockAfterOf(invocation)
  const opened = await askWithSecret(
    invocation,
    giver,
    row,
    {
      request: 'vault.open',
      arguments: {
        name: row.name,
        readOnly: invocation.option('read-only'),
        breakLock: invocation.option('break-lock'),
        acceptOlder: invocation.option('accept-older'),
        ...(lockAfterMs === undefined ? {} : { lockAfterMs }),
      },
    },
    { recovery: invocation.option('recovery-file') !== undefined },
  )
  for (const line of opened.remarks) invocation.terminal.remark(`note: ${line}`)
  const where = opened.path === undefined ? '' : ` at ${printable(opened.path)}`
  invocation.terminal.print(`${printable(opened.name)} is open${where}${opened.readOnly ? ', read-only' : ''}`)
}

function lockAfterOf(invocation: Invocation): number | undefined {
  const text = invocation.option('lock-after')
  return text === undefined ? undefined : parseTime(text, 'lock-after')
}

/** The folder of `--at`, made where it is missing: the daemon is told resolved paths. */
function newFolder(invocation: Invocation): Name {
  const place = placeOf(invocation)
  try {
    mkdirSync(place, { recursive: true, mode: 0o700 })
  } catch (error) {
    throw new CommandError('vault', `${place}: ${pathProblem(error)}`)
  }
  return resolveFolder(nameOfText(place))
}

function placeOf(invocation: Invocation): string {
  const place = invocation.option('at')
  if (place === undefined) throw new CommandError('usage', 'say where the sealed files are to be: --at PATH')
  if (/^[a-z][a-z0-9+.-]*:\/\//i.test(place)) {
    throw new CommandError('usage', `--at ${place}: vaults on object stores are not here yet; name a folder (it may be on a network drive)`)
  }
  return place
}

function stateOf(row: VaultRow): string {
  if (row.state !== 'open') return row.state
  const idle = row.lockAfterMs === undefined ? '' : `, closes after ${duration(row.lockAfterMs)} unused`
  return `open${row.readOnly ? ' read-only' : ''}${row.openFiles > 0 ? `, ${row.openFiles} files in use` : ''}${idle}`
}

function forPrograms(row: VaultRow): Record<string, unknown> {
  const { name, path, vaultId, state, readOnly, lockAfterMs, openFiles } = row
  return { name: printable(name), path: printable(path), vaultId, state, readOnly, lockAfterMs: lockAfterMs ?? null, openFiles }
}
