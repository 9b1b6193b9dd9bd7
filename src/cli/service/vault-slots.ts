/**
 * The key slots of a vault: listed, and changed.
 *
 * Must stay true: a change is stored durably, in both files, before it is answered; it needs a secret that opens the vault also while the
 * vault is open.
 */
import { calibrateArgon2 } from '../../crypto/vault/argon2.ts'
import { type NewSlot, type OpenHeader, RECOVERY_LABEL } from '../../crypto/vault/header.ts'
import { FolderLock } from '../../vfs/volumes/vault/folder-lock.ts'
import { openStoredHeader, unlockStoredHeader, writeHeader } from '../../vfs/volumes/vault/header-files.ts'
import type { Secrets } from '../control/secrets.ts'
import { CommandError } from '../exit-codes.ts'
import { printable } from '../terminal/terminal.ts'
import { explained, recoveryKeyOf, secretOf, withHeaderSecret } from './open-vault.ts'
import type { Arguments, Handler } from './service.ts'
import { findVault, vaultFolder } from './vault-record.ts'
import type { SlotChange, SlotRow } from './vault-requests.ts'

export const vaultSlots: Handler<'vault.slots'> = {
  parse: given => ({ name: given.bytes('name') }),
  async handle(service, { name }, { secrets }) {
    const record = findVault(service.index, name)
    const folder = vaultFolder(record)
    try {
      const open = service.mounted?.vaults.get(record.id)
      const unlocked = open
        ? await openStoredHeader(folder, open.keys)
        : await withHeaderSecret(secrets, secret => unlockStoredHeader(folder, secret))
      using header = unlocked.header
      return { slots: slotRows(header) }
    } catch (error) {
      throw explained(error, record)
    }
  },
}

export const changeSlot: Handler<'vault.slot'> = {
  parse: given => ({ name: given.bytes('name'), change: parseChange(given) }),
  async handle(service, { name, change }, { secrets }) {
    const record = findVault(service.index, name)
    const folder = vaultFolder(record)
    try {
      const open = service.mounted?.vaults.get(record.id)
      if (open?.readOnly) throw new CommandError('vault', `the vault "${printable(name)}" is open read-only: close it first`)
      // An open vault holds its lock already.
      using _lock = open ? undefined : new FolderLock(folder)
      const { header } = await withHeaderSecret(secrets, secret => unlockStoredHeader(folder, secret))
      using before = header
      const [label, after] = await changed(before, change, secrets)
      writeHeader(folder, after.encode())
      service.log.info(`vault "${record.name}": key slots changed (${change.does})`)
      return { label, slots: slotRows(after) }
    } catch (error) {
      throw explained(error, record)
    }
  },
}

async function changed(header: OpenHeader, change: SlotChange, secrets: Secrets): Promise<[label: string, OpenHeader]> {
  const fresh = async (label: string): Promise<NewSlot> => ({ label, passphrase: secretOf(secrets, 'new'), costs: await calibrateArgon2() })
  switch (change.does) {
    case 'passwd': {
      const label = header.openedBy
      if (label === undefined || label === RECOVERY_LABEL) throw new CommandError('usage', 'passwd changes the passphrase that is given')
      return [label, await header.replace(await fresh(label))]
    }
    case 'recover':
      return [change.label, await header.replace(await fresh(change.label))]
    case 'add':
      return [change.label, await header.add(await fresh(change.label))]
    case 'add-recovery': {
      using recovery = recoveryKeyOf(secrets, 'new-recovery')
      return [RECOVERY_LABEL, await header.replace({ recovery })]
    }
    case 'remove':
      return [change.label, header.remove(change.label)]
  }
}

function parseChange(given: Arguments): SlotChange {
  const change = given.record('change')
  const { does, label } = change
  if (does === 'passwd' || does === 'add-recovery') return { does }
  if ((does === 'recover' || does === 'add' || does === 'remove') && typeof label === 'string') return { does, label }
  throw new CommandError('daemon', 'the request does not say how the key slots are to change')
}

function slotRows(header: OpenHeader): SlotRow[] {
  return header.slots.map(({ label, kind, createdMs, argon2 }) => ({ label, kind, createdMs, argon2 }))
}
