/**
 * What the library remembers of a vault.
 *
 * Owns: the reading of a record's settings (no secret is among them: a vault's keys are nowhere but in its own header). The
 * folder's path is one char per byte.
 */
import type { Index, VolumeRecord } from '../../index/contract.ts'
import { isWithin } from '../../sys/mountinfo.ts'
import type { Name } from '../../vfs/contract.ts'
import { CommandError } from '../exit-codes.ts'
import { insideMount, ownMountAbove } from '../mounts.ts'
import { nameOfText } from '../names.ts'
import { printable } from '../terminal/terminal.ts'
import { locationPath } from './mounted-tree.ts'
import type { Service } from './service.ts'

/** The settings of a record of kind 'vault'. */
export interface VaultSettings {
  /** The folder. */
  readonly path: Name
  /** 32 hex digits: another vault in that folder is not opened in its place. */
  readonly vaultId: string
  /** Closed after so long without use. */
  readonly lockAfterMs?: number
}

export function vaultSettings(record: VolumeRecord): VaultSettings {
  const { path, vaultId, lockAfterMs } = record.settings as Partial<Record<keyof VaultSettings, unknown>>
  if (typeof path !== 'string' || typeof vaultId !== 'string' || !/^[0-9a-f]{32}$/.test(vaultId))
    throw new CommandError('vault', `the settings of the vault "${printable(record.name)}" name no folder`)
  return { path, vaultId, ...(typeof lockAfterMs === 'number' && lockAfterMs > 0 ? { lockAfterMs } : {}) }
}

/** The folder of a vault's record, for node:fs. */
export function vaultFolder(record: VolumeRecord): string {
  return textPath(vaultSettings(record).path)
}

/** A path that node:fs takes. Throws where its bytes are no UTF-8: node's path functions would lose them. */
export function textPath(path: Name): string {
  const text = Buffer.from(path, 'latin1').toString('utf8')
  if (nameOfText(text) !== path) throw new CommandError('vault', `${printable(path)}: the path of a vault must be UTF-8`)
  return text
}

export function vaultRecords(index: Index): VolumeRecord[] {
  return index.volumes().filter(record => record.kind === 'vault')
}

/** The vault of that name, or CommandError 'no-vault'. */
export function findVault(index: Index, name: Name): VolumeRecord {
  const all = vaultRecords(index)
  const found = all.find(record => record.name === name)
  if (found) return found
  const names = all.map(record => printable(record.name)).join(', ')
  throw new CommandError('no-vault', `there is no vault named "${printable(name)}"${names ? ` (there are: ${names})` : ''}`)
}

/** Throws what makes the folder impossible; answers what the user should know. */
export function vaultPlaceProblems({ index, library }: Pick<Service, 'index' | 'library'>, path: Name): string[] {
  if (!path.startsWith('/')) throw new CommandError('vault', `the path must be absolute: ${printable(path)}`)
  textPath(path)
  const mount = ownMountAbove(path)
  if (mount) throw new CommandError('vault', insideMount(path, mount).message)
  const { directory, files } = library.paths
  if (isWithin(nameOfText(directory), path) && !isWithin(nameOfText(files), path))
    throw new CommandError('vault', `${printable(path)} belongs to the library itself`)
  const notes: string[] = []
  for (const record of index.volumes()) {
    const other = locationPath(record)
    if (other === '') continue
    if (record.kind === 'vault' && other === path)
      throw new CommandError('vault', `${printable(path)} is the folder of the vault "${printable(record.name)}" already`)
    if (record.kind === 'vault' && isWithin(other, path))
      throw new CommandError('vault', `${printable(path)} lies inside the folder of the vault "${printable(record.name)}"`)
    if (record.kind === 'location' && isWithin(other, path))
      notes.push(`it lies inside the location "${printable(record.name)}": the sealed files appear there, too`)
  }
  return notes
}
