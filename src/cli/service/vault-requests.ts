/**
 * What can be asked about vaults: the types of the requests, beside those of requests.ts.
 *
 * Must stay true: no secret is among the arguments: they come beside them, sealed (control/secrets.ts), under the names
 * `passphrase`, `new` (passphrases), `recovery`, `new-recovery` (keys of 32 bytes).
 */
import type { Name } from '../../vfs/contract.ts'
import type { KeepRules } from '../../vfs/volumes/vault/snapshots/keep-rules.ts'
import type { Damage } from '../../vfs/volumes/vault/upkeep/checker.ts'
import type { SnapshotInfo, VaultInfo } from '../../vfs/volumes/vault/vault.ts'

export interface VaultRow {
  readonly name: Name
  /** Its folder. */
  readonly path: Name
  /** 32 hex digits. */
  readonly vaultId: string
  readonly state: 'open' | 'closed' | 'not mounted'
  readonly readOnly: boolean
  /** Closed after so long without use; undefined: never. */
  readonly lockAfterMs: number | undefined
  readonly openFiles: number
}

export interface SlotRow {
  readonly label: string
  readonly kind: 'passphrase' | 'recovery'
  readonly createdMs: number
  readonly argon2: { readonly memoryKib: number; readonly passes: number; readonly lanes: number } | undefined
}

/** What is done to a key slot. */
export type SlotChange =
  | { readonly does: 'passwd' } // the slot that the given passphrase opens gets the new one
  | { readonly does: 'recover'; readonly label: string } // the slot of that label, or a new one
  | { readonly does: 'add'; readonly label: string }
  | { readonly does: 'add-recovery' }
  | { readonly does: 'remove'; readonly label: string }

/** How far long work is. */
export interface VaultProgress {
  readonly what: string
  /** From 0 to 1, where it is known. */
  readonly fraction?: number | undefined
}

export interface VaultOpened {
  readonly name: Name
  /** Where programs find it, while it is mounted. */
  readonly path: string | undefined
  readonly readOnly: boolean
  /** For the user: what was found and mended. */
  readonly remarks: readonly string[]
}

export interface VaultRequests {
  /** A key to seal the secrets of one request to. */
  'secret.key': { readonly arguments: Record<string, never>; readonly update: never; readonly result: { readonly key: string } }
  'vault.create': {
    readonly arguments: { readonly name: Name; readonly path: Name; readonly label: string }
    readonly update: never
    readonly result: VaultRow & { readonly notes: readonly string[] }
  }
  'vault.add': { readonly arguments: { readonly name: Name; readonly path: Name }; readonly update: never; readonly result: VaultRow }
  'vault.remove': { readonly arguments: { readonly name: Name }; readonly update: never; readonly result: VaultRow }
  'vault.list': {
    readonly arguments: Record<string, never>
    readonly update: never
    readonly result: { readonly vaults: readonly VaultRow[] }
  }
  'vault.open': {
    readonly arguments: {
      readonly name: Name
      readonly readOnly: boolean
      readonly breakLock: boolean
      readonly acceptOlder: boolean
      readonly lockAfterMs?: number
    }
    readonly update: never
    readonly result: VaultOpened
  }
  /** What is remembered of a vault. */
  'vault.set': {
    readonly arguments: { readonly name: Name; readonly lockAfterMs: number }
    readonly update: never
    readonly result: VaultRow
  }
  'vault.close': {
    /** Without a name: all. */
    readonly arguments: { readonly name?: Name; readonly force: boolean }
    readonly update: never
    readonly result: { readonly names: readonly Name[] }
  }
  'vault.slots': {
    readonly arguments: { readonly name: Name }
    readonly update: never
    readonly result: { readonly slots: readonly SlotRow[] }
  }
  'vault.slot': {
    readonly arguments: { readonly name: Name; readonly change: SlotChange }
    readonly update: never
    readonly result: { readonly label: string; readonly slots: readonly SlotRow[] }
  }
  'vault.info': {
    readonly arguments: { readonly name: Name }
    readonly update: never
    readonly result: VaultRow & { readonly info: VaultInfo }
  }
  'vault.check': {
    readonly arguments: { readonly name: Name; readonly repair: boolean }
    readonly update: VaultProgress
    readonly result: { readonly damage: readonly Damage[]; readonly mended: readonly string[] }
  }
  'vault.gc': {
    readonly arguments: { readonly name: Name }
    readonly update: VaultProgress
    readonly result: { readonly freedBytes: number }
  }
  'vault.snapshot': {
    readonly arguments: { readonly name: Name; readonly label?: string }
    readonly update: never
    readonly result: SnapshotInfo
  }
  'vault.snapshots': {
    readonly arguments: { readonly name: Name }
    readonly update: never
    readonly result: { readonly snapshots: readonly SnapshotInfo[] }
  }
  'vault.prune': {
    readonly arguments: { readonly name: Name; readonly rules: KeepRules }
    readonly update: never
    readonly result: { readonly kept: readonly SnapshotInfo[]; readonly removed: readonly SnapshotInfo[] }
  }
}
