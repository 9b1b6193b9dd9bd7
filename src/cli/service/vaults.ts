/**
 * The vaults of a mounted tree: those that are open, and their closing.
 *
 * Owns: which vaults are open, the clock that closes idle ones. Must stay true: a vault is open once; a closed one is out of the
 * tree and out of the kernel's caches, and its keys are wiped, when `close` answers; work that is under way in a vault (a check, a
 * collection) is ended before it is closed; a vault with files open isn't idle.
 */
import { describeError } from '../../errors.ts'
import type { VolumeRecord } from '../../index/contract.ts'
import type { Tree } from '../../vfs/tree.ts'
import type { Secrets } from '../control/secrets.ts'
import { CommandError } from '../exit-codes.ts'
import { usersOf } from '../mounts.ts'
import { nameOfText } from '../names.ts'
import { printable } from '../terminal/terminal.ts'
import type { OpenOptions, OpenVault, VaultGround } from './open-vault.ts'
import { vaultSettings } from './vault-record.ts'

const IDLE_CHECK_MS = 1000

interface Held {
  readonly vault: OpenVault
  readonly ending: AbortController
  readonly work: Set<Promise<unknown>>
  usedAtMs: number
}

/** What a vault needs is loaded with the first. */
async function openVault(...given: Parameters<typeof OpenVault.open>): Promise<OpenVault> {
  const { OpenVault } = await import('./open-vault.ts')
  return await OpenVault.open(...given)
}

export class Vaults {
  readonly #ground: VaultGround
  readonly #tree: Tree
  readonly #held = new Map<number, Held>()
  readonly #opening = new Map<number, Promise<OpenVault>>()
  #clock: NodeJS.Timeout | undefined
  #ended = false

  constructor(ground: VaultGround, tree: Tree) {
    this.#ground = ground
    this.#tree = tree
  }

  get(id: number): OpenVault | undefined {
    return this.#held.get(id)?.vault
  }

  /** How many files and folders programs have open in it. */
  openFiles(id: number): number {
    const held = this.#held.get(id)
    return held ? this.#tree.openIn(held.vault.volume) : 0
  }

  /** Opens a vault and shows it in the tree. */
  async open(record: VolumeRecord, secrets: Secrets, options: Omit<OpenOptions, 'listener'>): Promise<OpenVault> {
    if (this.#ended) throw new CommandError('not-mounted', 'the tree is being unmounted')
    if (this.#held.has(record.id) || this.#opening.has(record.id))
      throw new CommandError('vault', `the vault "${printable(record.name)}" is open already`)
    const opening = openVault(this.#ground, record, secrets, { ...options, listener: this.#tree.listener })
    this.#opening.set(record.id, opening)
    try {
      const vault = await opening
      try {
        this.#tree.addVolume(record.name, vault.volume)
      } catch (error) {
        await vault.close()
        throw error
      }
      this.#held.set(record.id, { vault, ending: new AbortController(), work: new Set(), usedAtMs: Date.now() })
      this.#clock ??= setInterval(() => this.#closeIdle(), IDLE_CHECK_MS).unref()
      this.#ground.log.info(`vault "${record.name}" opened${vault.readOnly ? ' read-only' : ''}`)
      return vault
    } finally {
      this.#opening.delete(record.id)
    }
  }

  /** Runs work on an open vault; it is ended when the vault is closed. */
  async run<T>(id: number, signal: AbortSignal, work: (vault: OpenVault, signal: AbortSignal) => Promise<T>): Promise<T> {
    const held = this.#held.get(id)
    if (!held) throw new CommandError('vault', 'the vault is closed')
    const running = work(held.vault, AbortSignal.any([signal, held.ending.signal]))
    held.work.add(running)
    try {
      return await running
    } finally {
      held.work.delete(running)
    }
  }

  /** Takes a vault out of the tree and forgets its keys. Throws CommandError 'busy' while programs have files open in it. */
  async close(id: number, options: { readonly force: boolean; readonly mountpoint?: string | undefined }): Promise<void> {
    const held = this.#held.get(id)
    if (!held) return
    const { vault } = held
    const name = printable(vault.record.name)
    if (!options.force && this.openFiles(id) > 0) {
      const users = options.mountpoint === undefined ? [] : usersOf(`${nameOfText(options.mountpoint)}/${vault.record.name}`)
      const who = users.length > 0 ? ` by ${users.join(', ')}` : ''
      throw new CommandError('busy', `files in the vault "${name}" are in use${who}; close what uses them, or say --force`)
    }
    this.#held.delete(id)
    held.ending.abort()
    await Promise.allSettled(held.work)
    try {
      await vault.close(() => this.#tree.removeVolume(id, { endFiles: true }))
    } finally {
      // What the kernel knows of it beside the name: missing names, listings of folders that programs still stand in.
      this.#tree.listener.everythingChanged()
      this.#ground.log.info(`vault "${vault.record.name}" closed`)
    }
  }

  /** Closes all of them; what fails is logged. Afterwards none can be opened. */
  async end(): Promise<void> {
    this.#ended = true
    clearInterval(this.#clock)
    await Promise.allSettled(this.#opening.values())
    for (const id of [...this.#held.keys()]) {
      try {
        await this.close(id, { force: true })
      } catch (error) {
        this.#ground.log.error(`closing a vault: ${describeError(error)}`)
      }
    }
  }

  #closeIdle(): void {
    for (const [id, held] of this.#held) {
      const { vault, work } = held
      const isUsed = this.#tree.takeUse(vault.volume) || work.size > 0 || this.openFiles(id) > 0
      if (isUsed) held.usedAtMs = Date.now()
      const record = this.#ground.index.volumes().find(other => other.id === id)
      const lockAfterMs = record && vaultSettings(record).lockAfterMs
      if (isUsed || lockAfterMs === undefined || Date.now() - held.usedAtMs < lockAfterMs) continue
      this.#ground.log.info(`vault "${vault.record.name}": not used for ${lockAfterMs / 1000} s`)
      this.close(id, { force: false }).catch(error => this.#ground.log.warning(`vault "${vault.record.name}" stays open`, error))
    }
  }
}
