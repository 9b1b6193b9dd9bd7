/**
 * A vault from its folder and a secret to a volume, and back to nothing.
 *
 * Owns: the order. Opening: the folder's lock, the header, the volume. Closing: the volume, the keys, the lock. Must stay true:
 * whatever fails in between, what was taken is given back; the keys are wiped whatever the volume says to its closing; a vault that
 * was put in the place of the one that is remembered isn't opened.
 */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { forgetReleasedKeys } from '../../crypto/forget.ts'
import type { Passphrase } from '../../crypto/passphrase.ts'
import { SecretKey } from '../../crypto/secret-key.ts'
import type { HeaderSecret, VaultKeys } from '../../crypto/vault/header.ts'
import { HeaderError } from '../../crypto/vault/header-error.ts'
import { describeError, errorKind, FsError } from '../../errors.ts'
import type { VolumeRecord } from '../../index/contract.ts'
import type { VfsListener } from '../../vfs/contract.ts'
import { FolderLock } from '../../vfs/volumes/vault/folder-lock.ts'
import { unlockStoredHeader, writeHeader } from '../../vfs/volumes/vault/header-files.ts'
import type { VaultVolume } from '../../vfs/volumes/vault/vault.ts'
import type { Secrets } from '../control/secrets.ts'
import { CommandError } from '../exit-codes.ts'
import { ownMountAbove } from '../mounts.ts'
import { printable } from '../terminal/terminal.ts'
import type { Service } from './service.ts'
import { vaultFolder, vaultSettings } from './vault-record.ts'
import { openVaultVolume } from './vault-volume.ts'

export type VaultGround = Pick<Service, 'index' | 'library' | 'log'>

export interface OpenOptions {
  readonly readOnly: boolean
  /** Hold the lock also to read only, where the folder can be written to: nobody changes it meanwhile. */
  readonly lockToRead?: boolean
  readonly breakLock: boolean
  readonly acceptOlder: boolean
  readonly listener: VfsListener
}

/** A vault that is open. */
export class OpenVault {
  readonly record: VolumeRecord
  readonly volume: VaultVolume
  readonly keys: VaultKeys
  readonly readOnly: boolean
  /** For the user: what was found, and mended. */
  readonly remarks: readonly string[]
  readonly #lock: FolderLock | undefined
  #closing: Promise<void> | undefined

  /** For this file. */
  constructor(parts: Pick<OpenVault, 'record' | 'volume' | 'keys' | 'readOnly' | 'remarks'> & { readonly lock: FolderLock | undefined }) {
    this.record = parts.record
    this.volume = parts.volume
    this.keys = parts.keys
    this.readOnly = parts.readOnly
    this.remarks = parts.remarks
    this.#lock = parts.lock
  }

  /** Opens it. Throws CommandError 'passphrase', 'vault', 'no-vault'. */
  static async open(ground: VaultGround, record: VolumeRecord, secrets: Secrets, options: OpenOptions): Promise<OpenVault> {
    const folder = vaultFolder(record)
    const { path, vaultId } = vaultSettings(record)
    const mount = ownMountAbove(path)
    if (mount) throw new CommandError('vault', `${folder} is inside the sdmount tree at ${printable(mount.mountPoint)}`)
    let lock: FolderLock | undefined
    let keys: VaultKeys | undefined
    try {
      lock = takeLock(folder, options)
      const remarks: string[] = []
      if (lock?.left) ground.log.info(`vault "${record.name}": process ${lock.left.processId} on ${lock.left.host} did not close it`)
      const unlocked = await withHeaderSecret(secrets, secret => unlockStoredHeader(folder, secret))
      keys = unlocked.header.keys
      if (keys.vaultId.toString('hex') !== vaultId)
        throw new CommandError('vault', `another vault is in ${folder} now; sdmount vault remove, then vault add, to use that one`)
      if (!options.readOnly && unlocked.remarks.length > 0) {
        writeHeader(folder, unlocked.bytes)
        remarks.push(...unlocked.remarks.map(line => `mended: ${line}`))
      } else remarks.push(...unlocked.remarks)
      for (const line of remarks) ground.log.warning(`vault "${record.name}": ${line}`)
      const workDirectory = join(ground.library.paths.directory, 'vaults', vaultId)
      mkdirSync(workDirectory, { recursive: true, mode: 0o700 })
      const { log, index } = ground
      const { readOnly, acceptOlder, listener } = options
      const slot = index.slot(record.id, '')
      const volume = await openVaultVolume({ record, keys, folder, workDirectory, slot, readOnly, acceptOlder, log, listener })
      // What is damaged is only read, whatever was asked for.
      const { detail } = volume.status()
      if (detail !== undefined) remarks.push(detail)
      return new OpenVault({ record, volume, keys, readOnly: volume.traits.readOnly, remarks, lock })
    } catch (error) {
      keys?.master[Symbol.dispose]()
      lock?.[Symbol.dispose]()
      throw explained(error, record)
    }
  }

  /** Writes what is delayed, wipes the keys, lets the folder go; safe to call twice. `end` ends the volume. */
  close(end: () => Promise<void> = () => this.volume.close()): Promise<void> {
    this.#closing ??= this.#close(end)
    return this.#closing
  }

  async #close(end: () => Promise<void>): Promise<void> {
    try {
      await end()
    } finally {
      this.keys.master[Symbol.dispose]()
      this.#lock?.[Symbol.dispose]()
      await forgetReleasedKeys()
    }
  }
}

function takeLock(folder: string, options: OpenOptions): FolderLock | undefined {
  if (options.readOnly && !options.lockToRead) return undefined
  try {
    return new FolderLock(folder, { breakLock: options.breakLock })
  } catch (error) {
    const kind = errorKind(error)
    if (options.readOnly && (kind === 'read-only' || kind === 'access-denied')) return undefined
    throw error
  }
}

/** Lends the secret that a header is opened with: a passphrase or a recovery key. */
export async function withHeaderSecret<T>(secrets: Secrets, work: (secret: HeaderSecret) => Promise<T>): Promise<T> {
  const recovery = secrets.get('recovery')
  if (recovery) {
    using key = recoveryKeyOf(secrets, 'recovery')
    return await work(key)
  }
  const passphrase = secrets.get('passphrase')
  if (!passphrase) throw new CommandError('passphrase', 'the vault is closed: its passphrase is needed')
  return await work(passphrase)
}

/** A recovery key among the secrets. Whoever got it wipes it. */
export function recoveryKeyOf(secrets: Secrets, name: 'recovery' | 'new-recovery'): SecretKey {
  const secret = secrets.get(name)
  if (!secret) throw new CommandError('daemon', `the request lacks the secret "${name}"`)
  return secret.use(bytes => {
    if (bytes.length !== 32) throw new CommandError('daemon', 'a recovery key has 32 bytes')
    return new SecretKey(bytes)
  })
}

/** A passphrase among the secrets. */
export function secretOf(secrets: Secrets, name: 'passphrase' | 'new'): Passphrase {
  const secret = secrets.get(name)
  if (!secret) throw new CommandError('daemon', `the request lacks the secret "${name}"`)
  return secret
}

/** What went wrong with a vault, with the exit code that scripts can tell it by. */
export function explained(error: unknown, record: Pick<VolumeRecord, 'name'>): unknown {
  if (error instanceof CommandError) return error
  const name = printable(record.name)
  if (error instanceof HeaderError) {
    if (error.problem === 'wrong-secret') return new CommandError('passphrase', `${name}: ${error.message}`)
    if (error.problem === 'missing') return new CommandError('no-vault', error.message)
    return new CommandError('vault', `${name}: ${error.message}`)
  }
  const kind = errorKind(error)
  if (kind === 'offline') return new CommandError('vault', `the folder of the vault "${name}" is away: ${describeError(error)}`)
  if (kind === 'stale') return new CommandError('vault', `${name}: ${describeError(error)}; sdmount vault open --accept-older opens it`)
  if (kind === 'busy') return new CommandError('vault', describeError(error))
  if (kind === 'access-denied' || kind === 'read-only')
    return new CommandError('vault', `${describeError(error)}; open it with --read-only`)
  return error instanceof FsError ? new CommandError('vault', `${name}: ${describeError(error)}`, { cause: error }) : error
}
