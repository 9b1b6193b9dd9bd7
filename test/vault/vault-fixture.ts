/**
 * Vaults for tests: a folder store, a work directory, random keys. Owns: the making and the cleaning up.
 */
import { randomBytes } from 'node:crypto'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { SecretKey } from '../../src/crypto/secret-key.ts'
import type { VaultKeys } from '../../src/crypto/vault/header.ts'
import { type Log, silentLog } from '../../src/log.ts'
import type { VfsListener } from '../../src/vfs/contract.ts'
import type { VaultStore } from '../../src/vfs/volumes/vault/store/contract.ts'
import { FolderStore } from '../../src/vfs/volumes/vault/store/folder-store.ts'
import { type VaultOptions, VaultVolume } from '../../src/vfs/volumes/vault/vault.ts'

export const silentListener: VfsListener = { inodeChanged() {}, entryChanged() {}, entryRemoved() {}, everythingChanged() {} }

export function testKeys(): VaultKeys {
  return { vaultId: randomBytes(16), master: SecretKey.random() }
}

export function vaultOptions(keys: VaultKeys, store: VaultStore, workDirectory: string, more: Partial<VaultOptions> = {}): VaultOptions {
  return {
    record: { id: 7, kind: 'vault', name: 'Vault', settings: {}, addedAtMs: 0 },
    keys,
    store,
    workDirectory,
    slot: 3,
    readOnly: false,
    device: 'test',
    log: silentLog,
    listener: silentListener,
    ...more,
  }
}

/** A vault on disk that can be closed and opened again. */
export class TestVault {
  readonly directory = mkdtempSync(join(tmpdir(), 'sdmount-vault-'))
  readonly folder: string
  readonly work: string
  readonly keys: VaultKeys
  readonly lines: string[] = []
  readonly log: Log = {
    debug() {},
    info: line => this.lines.push(line),
    warning: (line, error) => this.lines.push(`${line} ${error ?? ''}`),
    error: (line, error) => this.lines.push(`${line} ${error ?? ''}`),
  }

  constructor(keys = testKeys()) {
    this.keys = keys
    this.folder = join(this.directory, 'vault')
    this.work = join(this.directory, 'work')
  }

  static async create(more: Partial<VaultOptions> = {}): Promise<{ vault: TestVault; volume: VaultVolume }> {
    const vault = new TestVault()
    const store = vault.store()
    await VaultVolume.create(vaultOptions(vault.keys, store, vault.work, more))
    store.close()
    return { vault, volume: await vault.open(more) }
  }

  store(): FolderStore {
    mkdirSync(this.folder, { recursive: true })
    return new FolderStore(this.folder, { readOnly: false })
  }

  open(more: Partial<VaultOptions> = {}): Promise<VaultVolume> {
    return VaultVolume.open(vaultOptions(this.keys, this.store(), this.work, { log: this.log, ...more }))
  }

  /** The working index and what was last seen are gone, as on another machine. */
  forgetWork(): void {
    rmSync(this.work, { recursive: true, force: true })
  }

  remove(): void {
    rmSync(this.directory, { recursive: true, force: true })
  }
}
