/**
 * `sdmount MOUNTPOINT --vault NAME`: vaults that are opened as the tree is mounted.
 *
 * Must stay true: what can be asked is asked before the mount, so that the command doesn't stop for an answer in the middle; a vault that
 * can't be opened leaves the mount as it is, and the command says so by its exit code.
 */
import type { Invocation } from '../command.ts'
import { CommandError } from '../exit-codes.ts'
import { nameOfText } from '../names.ts'
import type { SecretGiver } from '../passphrases.ts'
import type { VaultRow } from '../service/vault-requests.ts'
import { printable } from '../terminal/terminal.ts'

export class MountedVaults {
  readonly #invocation: Invocation
  readonly #giver: SecretGiver | undefined
  readonly #rows: readonly VaultRow[]

  private constructor(invocation: Invocation, giver: SecretGiver | undefined, rows: readonly VaultRow[]) {
    this.#invocation = invocation
    this.#giver = giver
    this.#rows = rows
  }

  /** Looks the vaults up, and asks for their passphrases. */
  static async prepare(mounting: Invocation, library: string): Promise<MountedVaults> {
    // The library may have been named by -o library=DIR.
    const option: Invocation['option'] = name =>
      name === 'library' ? (library as ReturnType<typeof mounting.option<typeof name>>) : mounting.option(name)
    const invocation = { ...mounting, option }
    const names = invocation.option('vault')
    if (names.length === 0) return new MountedVaults(invocation, undefined, [])
    const { secretGiver, vaultRow } = await import('./vault-asking.ts')
    const giver = await secretGiver(invocation)
    const rows: VaultRow[] = []
    for (const name of new Set(names)) rows.push(await vaultRow(invocation, nameOfText(name)))
    for (const row of rows) if (row.state !== 'open') await giver.prepare(`Passphrase of ${printable(row.name)}`, row.vaultId)
    return new MountedVaults(invocation, giver, rows)
  }

  /** Opens them in the tree that is mounted now. Throws the first error after all were tried. */
  async open(): Promise<void> {
    const giver = this.#giver
    if (!giver) return
    const { openVault } = await import('./vault.ts')
    let failed: unknown
    for (const row of this.#rows) {
      if (row.state === 'open') continue
      try {
        await openVault(this.#invocation, giver, row)
      } catch (error) {
        failed ??= error
      }
    }
    if (failed === undefined) return
    if (!(failed instanceof CommandError)) throw failed
    throw new CommandError(failed.exit, `${failed.message} (the tree stays mounted)`)
  }
}
