/** sdmount vault passwd, recover, slot add, slot remove, slot list: what opens a vault. */
import type { Passphrase } from '../../crypto/passphrase.ts'
import type { Command, Invocation } from '../command.ts'
import { NEW_PASSPHRASE_OPTIONS, PASSPHRASE_OPTIONS } from '../passphrase-options.ts'
import type { SlotChange, SlotRow, VaultRow } from '../service/vault-requests.ts'
import { table } from '../terminal/table.ts'
import { printable } from '../terminal/terminal.ts'
import { required } from './arguments.ts'
import { askInVault, askWithSecret, secretGiver, vaultRow } from './vault-asking.ts'

const NAME = { name: 'name', required: true, help: "the vault's name, as `vault list` shows it" } as const
const RECOVERY = 'recovery'

const passwd: Command = {
  words: ['vault', 'passwd'],
  summary: 'change the passphrase of a vault',
  description: `Asks for the passphrase that there is, then twice for the new one. Only the vault's header changes, in an instant, also while the
vault is open; interrupted at any point, the old or the new one works. Where there are several passphrases, the one that was given
changes.

Who knew the old passphrase and has an old copy of the header can still open the vault. Where that matters, make a new vault and
move the files.`,
  arguments: [NAME],
  options: ['library', ...PASSPHRASE_OPTIONS, ...NEW_PASSPHRASE_OPTIONS],
  examples: [
    { line: 'sdmount vault passwd Private', does: 'asks for both' },
    { line: 'sdmount vault passwd Private --passphrase-file old.txt --new-passphrase-file new.txt', does: 'for scripts' },
  ],
  async run(invocation) {
    const row = await vaultRow(invocation, required(invocation, 'name'))
    await changeWithNew(invocation, row, { does: 'passwd' }, false)
    invocation.terminal.print(`the passphrase of ${printable(row.name)} is changed`)
    return 'ok'
  },
}

const recover: Command = {
  words: ['vault', 'recover'],
  summary: 'set a new passphrase with the recovery key',
  description: `Asks for the 24 words (or reads them from \`--recovery-file\`), then twice for a new passphrase. It takes the place of the forgotten
one: that with the label \`main\`, or the one that \`--label\` names. The recovery key stays good.`,
  arguments: [NAME],
  options: ['library', 'label', 'recovery-file', 'new-passphrase-file', 'new-passphrase-fd', 'keyring'],
  examples: [{ line: 'sdmount vault recover Private', does: 'asks for the words and the new passphrase' }],
  async run(invocation) {
    const row = await vaultRow(invocation, required(invocation, 'name'))
    const label = invocation.option('label') ?? 'main'
    await changeWithNew(invocation, row, { does: 'recover', label }, true)
    invocation.terminal.print(`${printable(row.name)} has a new passphrase (${label})`)
    return 'ok'
  },
}

const add: Command = {
  words: ['vault', 'slot', 'add'],
  summary: 'give a vault one more passphrase, or a new recovery key',
  description: `A vault has up to eight key slots. Each passphrase has a label, so that it can be taken away again; all open the same vault. LABEL
\`recovery\` makes a new recovery key: its words are printed once, and the old ones are no longer good. Needs a passphrase that there
is, or the recovery key by \`--recovery-file\`.`,
  arguments: [NAME, { name: 'label', required: true, help: 'a name for the passphrase, or `recovery`' }],
  options: ['library', ...PASSPHRASE_OPTIONS, ...NEW_PASSPHRASE_OPTIONS, 'recovery-file'],
  examples: [
    { line: 'sdmount vault slot add Private ann', does: 'a passphrase of her own for Ann' },
    { line: 'sdmount vault slot add Private recovery', does: 'another recovery key in place of the old one' },
  ],
  async run(invocation) {
    const row = await vaultRow(invocation, required(invocation, 'name'))
    const label = invocation.text('label') ?? ''
    if (label === RECOVERY) return await newRecovery(invocation, row)
    await changeWithNew(invocation, row, { does: 'add', label }, invocation.option('recovery-file') !== undefined)
    invocation.terminal.print(`${printable(row.name)} has the passphrase "${label}" now`)
    return 'ok'
  },
}

const remove: Command = {
  words: ['vault', 'slot', 'remove'],
  summary: 'take a passphrase, or the recovery key, away from a vault',
  description: 'Needs a passphrase that there is. The last passphrase stays.',
  arguments: [NAME, { name: 'label', required: true, help: 'its label, as `vault slot list` shows it' }],
  options: ['library', 'passphrase-file', 'passphrase-fd', 'keyring'],
  examples: [{ line: 'sdmount vault slot remove Private ann', does: 'hers opens it no longer' }],
  async run(invocation) {
    const row = await vaultRow(invocation, required(invocation, 'name'))
    const label = invocation.text('label') ?? ''
    const change: SlotChange = { does: 'remove', label }
    await askWithSecret(invocation, await secretGiver(invocation), row, { request: 'vault.slot', arguments: { name: row.name, change } })
    invocation.terminal.print(`"${label}" opens ${printable(row.name)} no longer`)
    return 'ok'
  },
}

const list: Command = {
  words: ['vault', 'slot', 'list'],
  summary: 'list what opens a vault',
  description: `Lists the labels of the passphrases, the recovery key, when each was made and what trying a passphrase costs. The labels are sealed:
of a closed vault the passphrase is asked for.`,
  arguments: [NAME],
  options: ['library', 'passphrase-file', 'passphrase-fd', 'keyring', 'json'],
  examples: [{ line: 'sdmount vault slot list Private', does: 'labels and dates' }],
  async run(invocation) {
    const name = required(invocation, 'name')
    const { slots } = await askInVault(invocation, await secretGiver(invocation), name, { request: 'vault.slots', arguments: { name } })
    if (invocation.option('json')) invocation.terminal.print(JSON.stringify(slots))
    else for (const line of table(['LABEL', 'KIND', 'MADE', 'COST'], slots.map(slotCells))) invocation.terminal.print(line)
    return 'ok'
  },
}

export const vaultKeyCommands: readonly Command[] = [passwd, recover, add, remove, list]

async function changeWithNew(invocation: Invocation, row: VaultRow, change: SlotChange, recovery: boolean): Promise<void> {
  const giver = await secretGiver(invocation)
  const kept: { passphrase?: Passphrase } = {}
  await askWithSecret(
    invocation,
    giver,
    row,
    { request: 'vault.slot', arguments: { name: row.name, change } },
    {
      recovery,
      more: async () => {
        const passphrase = await giver.fresh(`New passphrase of ${printable(row.name)}`, 'new-passphrase')
        kept.passphrase = passphrase.copy()
        return new Map([['new', passphrase]])
      },
    },
  )
  using passphrase = kept.passphrase
  if (passphrase) giver.keep(row.vaultId, passphrase)
}

async function newRecovery(invocation: Invocation, row: VaultRow): Promise<'ok'> {
  const [{ carried, RecoveryNote }, { SecretKey }, { recoveryWords }] = await Promise.all([
    import('../passphrases.ts'),
    import('../../crypto/secret-key.ts'),
    import('../../crypto/vault/recovery-words.ts'),
  ])
  using recovery = SecretKey.random()
  const note = new RecoveryNote(invocation, recoveryWords(recovery))
  const change: SlotChange = { does: 'add-recovery' }
  try {
    await askWithSecret(
      invocation,
      await secretGiver(invocation),
      row,
      { request: 'vault.slot', arguments: { name: row.name, change } },
      { more: async () => new Map([['new-recovery', carried(recovery)]]) },
    )
  } catch (error) {
    note.discard()
    throw error
  }
  note.show(printable(row.name))
  return 'ok'
}

function slotCells({ label, kind, createdMs, argon2 }: SlotRow): string[] {
  const cost = argon2 ? `Argon2id, ${argon2.memoryKib / 1024} MiB, ${argon2.passes} passes` : '256 bits'
  return [label, kind === 'recovery' ? '24 words' : 'passphrase', new Date(createdMs).toISOString().slice(0, 10), cost]
}
