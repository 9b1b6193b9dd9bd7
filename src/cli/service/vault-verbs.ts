/**
 * Vaults: create, add, remove, list, open, close.
 *
 * Owns: what may become a vault, and under which name. Must stay true: a vault's header is written last, so that a folder with a
 * header holds a whole vault; its keys are wiped before the answer.
 */
import { mkdirSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { calibrateArgon2 } from '../../crypto/vault/argon2.ts'
import { createHeader } from '../../crypto/vault/header.ts'
import { FsError } from '../../errors.ts'
import type { Index, VolumeRecord } from '../../index/contract.ts'
import type { Name } from '../../vfs/contract.ts'
import { FolderLock } from '../../vfs/volumes/vault/folder-lock.ts'
import { readHeader, writeNewHeader } from '../../vfs/volumes/vault/header-files.ts'
import { CommandError } from '../exit-codes.ts'
import { nameOfText } from '../names.ts'
import { pathProblem } from '../paths.ts'
import { printable } from '../terminal/terminal.ts'
import { checkName } from './locations.ts'
import { explained, recoveryKeyOf, secretOf } from './open-vault.ts'
import type { Handler, Service } from './service.ts'
import { findVault, textPath, vaultPlaceProblems, vaultRecords, vaultSettings } from './vault-record.ts'
import type { VaultRow } from './vault-requests.ts'
import { createVaultVolume } from './vault-volume.ts'

export const offerSecretKey: Handler<'secret.key'> = {
  parse: () => ({}),
  handle: async service => {
    if (!service.exchange) throw new CommandError('daemon', 'secrets need no key here')
    return { key: (await service.exchange()).offer() }
  },
}

export const createVault: Handler<'vault.create'> = {
  parse: given => ({ name: given.bytes('name'), path: given.bytes('path'), label: given.text('label') }),
  async handle(service, given, { secrets }) {
    checkName(given.name, 'vault')
    const notes = vaultPlaceProblems(service, given.path)
    checkFree(service.index, given.name)
    const folder = textPath(given.path)
    prepareFolder(folder)
    const passphrase = secretOf(secrets, 'passphrase')
    using recovery = recoveryKeyOf(secrets, 'new-recovery')
    let record: VolumeRecord | undefined
    try {
      using _lock = new FolderLock(folder)
      if (readdirSync(folder).some(name => name !== 'lock'))
        throw new CommandError('vault', `${folder} is not empty: choose an empty folder`)
      using header = await createHeader([{ label: given.label, passphrase, costs: await calibrateArgon2() }, { recovery }])
      const { vaultId } = header.keys
      const id = vaultId.toString('hex')
      record = addRecord(service.index, given.name, given.path, id)
      const workDirectory = makeWorkDirectory(service, id)
      const { index, log } = service
      const slot = index.slot(record.id, '')
      await createVaultVolume({
        record,
        keys: header.keys,
        folder,
        workDirectory,
        slot,
        readOnly: false,
        acceptOlder: false,
        log,
        listener: SILENT,
      })
      writeNewHeader(folder, header.encode())
      log.info(`vault "${given.name}" created: ${folder}`)
      return { ...rowOf(service, record), notes }
    } catch (error) {
      if (record) await service.index.removeVolume(record.id)
      throw explained(error, given)
    }
  },
}

export const addVault: Handler<'vault.add'> = {
  parse: given => ({ name: given.bytes('name'), path: given.bytes('path') }),
  async handle(service, { name, path }) {
    checkName(name, 'vault')
    vaultPlaceProblems(service, path)
    checkFree(service.index, name)
    try {
      const header = readHeader(textPath(path)).candidates[0]!.header
      return rowOf(service, addRecord(service.index, name, path, header.vaultId.toString('hex')))
    } catch (error) {
      throw explained(error, { name })
    }
  },
}

export const removeVault: Handler<'vault.remove'> = {
  parse: given => ({ name: given.bytes('name') }),
  async handle(service, { name }) {
    const record = findVault(service.index, name)
    const row = rowOf(service, record)
    if (row.state === 'open') throw new CommandError('busy', `the vault "${printable(name)}" is open: run sdmount vault close first`)
    await service.index.removeVolume(record.id)
    service.index.flush('durable')
    service.log.info(`vault "${name}" forgotten`)
    return row
  },
}

export const listVaults: Handler<'vault.list'> = {
  parse: () => ({}),
  handle: async service => ({ vaults: vaultRecords(service.index).map(record => rowOf(service, record)) }),
}

export const openVault: Handler<'vault.open'> = {
  parse: given => {
    const lockAfterMs = given.optionalNumber('lockAfterMs')
    return {
      name: given.bytes('name'),
      readOnly: given.flag('readOnly'),
      breakLock: given.flag('breakLock'),
      acceptOlder: given.flag('acceptOlder'),
      ...(lockAfterMs === undefined ? {} : { lockAfterMs }),
    }
  },
  async handle(service, given, { secrets }) {
    const { mounted, index } = service
    const record = findVault(index, given.name)
    const session = mounted?.session
    if (!session) {
      throw new CommandError(
        'not-mounted',
        'a vault is opened in the mounted tree: run sdmount MOUNTPOINT --vault NAME, or mount first and then open it',
      )
    }
    if (given.lockAfterMs !== undefined) setLockAfter(index, record, given.lockAfterMs)
    const readOnly = given.readOnly || mounted.settings.readOnly
    const vault = await mounted.vaults.open(record, secrets, { readOnly, breakLock: given.breakLock, acceptOlder: given.acceptOlder })
    await session.settled()
    return { name: record.name, path: `${nameOfText(session.mountpoint)}/${record.name}`, readOnly: vault.readOnly, remarks: vault.remarks }
  },
}

export const setVault: Handler<'vault.set'> = {
  parse: given => ({ name: given.bytes('name'), lockAfterMs: given.optionalNumber('lockAfterMs') ?? 0 }),
  async handle(service, { name, lockAfterMs }) {
    setLockAfter(service.index, findVault(service.index, name), lockAfterMs)
    return rowOf(service, findVault(service.index, name))
  },
}

export const closeVault: Handler<'vault.close'> = {
  parse: given => {
    const name = given.optionalBytes('name')
    return { ...(name === undefined ? {} : { name }), force: given.flag('force') }
  },
  async handle(service, given) {
    const { mounted, index } = service
    const records = given.name === undefined ? vaultRecords(index) : [findVault(index, given.name)]
    const open = records.filter(record => mounted?.vaults.get(record.id))
    if (given.name !== undefined && open.length === 0) throw new CommandError('vault', `the vault "${printable(given.name)}" is not open`)
    for (const record of open) {
      try {
        await mounted?.vaults.close(record.id, { force: given.force, mountpoint: mounted.session?.mountpoint })
      } catch (error) {
        throw explained(error, record)
      }
    }
    await mounted?.session?.settled()
    return { names: open.map(record => record.name) }
  },
}

/** What a list shows of a vault. */
export function rowOf(service: Service, record: VolumeRecord): VaultRow {
  const { path, vaultId, lockAfterMs } = vaultSettings(record)
  const open = service.mounted?.vaults.get(record.id)
  return {
    name: record.name,
    path,
    vaultId,
    state: open ? 'open' : service.mounted ? 'closed' : 'not mounted',
    readOnly: open?.readOnly ?? false,
    lockAfterMs,
    openFiles: service.mounted?.vaults.openFiles(record.id) ?? 0,
  }
}

/** Nobody listens: nothing of the volume is shown. */
export const SILENT = { inodeChanged() {}, entryChanged() {}, entryRemoved() {}, everythingChanged() {} }

/** Where the volume keeps what only this machine needs. */
export function makeWorkDirectory({ library }: Pick<Service, 'library'>, vaultId: string): string {
  const directory = join(library.paths.directory, 'vaults', vaultId)
  mkdirSync(directory, { recursive: true, mode: 0o700 })
  return directory
}

function prepareFolder(folder: string): void {
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 })
    if (readdirSync(folder).some(name => name === 'header' || name === 'header.copy'))
      throw new CommandError('vault', `there is a vault in ${folder} already: sdmount vault add puts it into the library`)
  } catch (error) {
    throw error instanceof CommandError ? error : new CommandError('vault', `${folder}: ${pathProblem(error)}`)
  }
}

function setLockAfter(index: Index, record: VolumeRecord, lockAfterMs: number): void {
  index.updateVolume(record.id, { ...vaultSettings(record), lockAfterMs })
  index.flush('durable')
}

function checkFree(index: Index, name: Name): void {
  if (index.volumes().some(record => record.name === name)) throw taken(name)
}

function addRecord(index: Index, name: Name, path: Name, vaultId: string): VolumeRecord {
  try {
    const record = index.addVolume('vault', name, { path, vaultId })
    index.flush('durable')
    return record
  } catch (error) {
    throw error instanceof FsError && error.kind === 'exists' ? taken(name) : error
  }
}

function taken(name: Name): CommandError {
  return new CommandError('vault', `there is already a folder named "${printable(name)}" at the top of the tree; choose another name`)
}
