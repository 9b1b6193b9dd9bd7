/**
 * Work inside a vault: info, check, collection, snapshots.
 *
 * Owns: where it is done: in the vault that is open in the tree, or in one that is opened for this alone and closed again (its
 * passphrase comes with the request then). Must stay true: what is interrupted ends soon and leaves the vault as it was or better.
 */
import type { VolumeRecord } from '../../index/contract.ts'
import { openStoredHeader, writeHeader } from '../../vfs/volumes/vault/header-files.ts'
import type { KeepRules } from '../../vfs/volumes/vault/snapshots/keep-rules.ts'
import { CommandError } from '../exit-codes.ts'
import { explained, OpenVault } from './open-vault.ts'
import type { RequestName } from './requests.ts'
import type { Arguments, Handler, HandlerContext, Service } from './service.ts'
import { findVault, vaultFolder } from './vault-record.ts'
import type { VaultProgress } from './vault-requests.ts'
import { rowOf, SILENT } from './vault-verbs.ts'

/** Progress is told this often. */
const PROGRESS_MS = 100

export const vaultInfo: Handler<'vault.info'> = {
  parse: nameOnly,
  async handle(service, { name }, context) {
    return await inVault(service, name, context, { writes: false }, async (vault, record) => ({
      ...rowOf(service, record),
      info: vault.volume.info(),
    }))
  },
}

export const checkVault: Handler<'vault.check'> = {
  parse: given => ({ name: given.bytes('name'), repair: given.flag('repair') }),
  async handle(service, { name, repair }, context) {
    return await inVault(service, name, context, { writes: repair }, async (vault, record, signal) => {
      const damage = await vault.volume.check({ repair, signal, progress: told('checking', context) })
      const folder = vaultFolder(record)
      // Opening the vault to write has mended its header already, and said so.
      const mended = [...vault.remarks]
      const { bytes, remarks } = await openStoredHeader(folder, vault.keys).then(unlocked => {
        unlocked.header[Symbol.dispose]()
        return unlocked
      })
      if (repair && remarks.length > 0) {
        writeHeader(folder, bytes)
        mended.push(...remarks.map(line => `mended: ${line}`))
      } else mended.push(...remarks)
      return { damage, mended: [...new Set(mended)] }
    })
  },
}

export const collectVault: Handler<'vault.gc'> = {
  parse: nameOnly,
  async handle(service, { name }, context) {
    return await inVault(service, name, context, { writes: true }, async (vault, _record, signal) => {
      const { freedBytes } = await vault.volume.gc(signal, told('collecting', context))
      return { freedBytes }
    })
  },
}

export const snapshotVault: Handler<'vault.snapshot'> = {
  parse: given => {
    const label = given.optionalText('label')
    return { name: given.bytes('name'), ...(label === undefined ? {} : { label }) }
  },
  async handle(service, { name, label }, context) {
    return await inVault(service, name, context, { writes: true }, async vault => await vault.volume.snapshot(label))
  },
}

export const vaultSnapshots: Handler<'vault.snapshots'> = {
  parse: nameOnly,
  async handle(service, { name }, context) {
    return await inVault(service, name, context, { writes: false }, async vault => ({ snapshots: vault.volume.snapshots() }))
  },
}

export const pruneVault: Handler<'vault.prune'> = {
  parse: given => ({ name: given.bytes('name'), rules: parseRules(given) }),
  async handle(service, { name, rules }, context) {
    return await inVault(service, name, context, { writes: true }, async vault => {
      const removed = await vault.volume.prune(rules)
      return { kept: vault.volume.snapshots(), removed }
    })
  },
}

/** Runs work in a vault, opened for it where it is closed. */
async function inVault<N extends RequestName, T>(
  service: Service,
  name: string,
  context: HandlerContext<N>,
  options: { readonly writes: boolean },
  work: (vault: OpenVault, record: VolumeRecord, signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const record = findVault(service.index, name)
  try {
    const vaults = service.mounted?.vaults
    if (vaults?.get(record.id)) {
      return await vaults.run(record.id, context.signal, async (vault, signal) => {
        if (options.writes && vault.readOnly) throw new CommandError('vault', 'the vault is open read-only: close it first')
        return await work(vault, record, signal)
      })
    }
    const vault = await OpenVault.open(service, record, context.secrets, {
      readOnly: !options.writes,
      lockToRead: true,
      breakLock: false,
      acceptOlder: false,
      listener: SILENT,
    })
    try {
      return await work(vault, record, context.signal)
    } finally {
      await vault.close()
    }
  } catch (error) {
    if (context.signal.aborted) throw new CommandError('interrupted', 'interrupted')
    throw explained(error, record)
  }
}

function told(what: string, context: { update(value: VaultProgress): Promise<void> }): (done: number, total: number) => void {
  let toldAtMs = 0
  return (done, total) => {
    if (Date.now() - toldAtMs < PROGRESS_MS) return
    toldAtMs = Date.now()
    void context.update({ what, fraction: total > 0 ? done / total : undefined })
  }
}

function nameOnly(given: Arguments): { readonly name: string } {
  return { name: given.bytes('name') }
}

const RULES = ['last', 'hourly', 'daily', 'weekly', 'monthly', 'yearly'] as const

function parseRules(given: Arguments): KeepRules {
  const rules = given.record('rules')
  const entries = RULES.flatMap(rule => {
    const count = rules[rule]
    if (count === undefined) return []
    if (typeof count !== 'number' || !Number.isSafeInteger(count) || count < 0)
      throw new CommandError('daemon', `the rule "${rule}" is not a number`)
    return [[rule, count] as const]
  })
  if (entries.length === 0) throw new CommandError('usage', 'say what to keep, for example --keep-daily 7')
  return Object.fromEntries(entries)
}
