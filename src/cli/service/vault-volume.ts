/**
 * Makes and opens the volume of a vault in a folder: the one place of the service that names its parts.
 * Owns: nothing; src/vfs/volumes/vault/ does, and is loaded with the first vault.
 */
import { hostname } from 'node:os'
import type { VaultKeys } from '../../crypto/vault/header.ts'
import type { VolumeRecord } from '../../index/contract.ts'
import type { Log } from '../../log.ts'
import type { VfsListener } from '../../vfs/contract.ts'
import type { VaultVolume } from '../../vfs/volumes/vault/vault.ts'

export interface VaultVolumeOptions {
  readonly record: VolumeRecord
  readonly keys: VaultKeys
  readonly folder: string
  /** In the library, of this vault alone; it exists. */
  readonly workDirectory: string
  readonly slot: number
  readonly readOnly: boolean
  readonly acceptOlder: boolean
  readonly log: Log
  readonly listener: VfsListener
}

/** Writes an empty vault into an empty folder; the header comes after it. */
export async function createVaultVolume(options: VaultVolumeOptions): Promise<void> {
  await withStore(options, async (Volume, parts) => {
    await Volume.create(parts)
    parts.store.close()
  })
}

/** Closing the volume closes all of it. */
export async function openVaultVolume(options: VaultVolumeOptions): Promise<VaultVolume> {
  return await withStore(options, (Volume, parts) => Volume.open(parts))
}

async function withStore<T>(
  { folder, ...options }: VaultVolumeOptions,
  work: (Volume: typeof VaultVolume, parts: Parameters<typeof VaultVolume.open>[0]) => Promise<T>,
): Promise<T> {
  const [{ VaultVolume }, { FolderStore }] = await Promise.all([
    import('../../vfs/volumes/vault/vault.ts'),
    import('../../vfs/volumes/vault/store/folder-store.ts'),
  ])
  const store = new FolderStore(folder, { readOnly: options.readOnly })
  try {
    return await work(VaultVolume, { ...options, store, device: hostname() })
  } catch (error) {
    store.close()
    throw error
  }
}
