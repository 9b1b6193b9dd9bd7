/**
 * What the verbs of vaults share: asking the library with the secrets that a request needs.
 *
 * Must stay true: a passphrase is asked for only where it is needed (an open vault answers without), and wiped when the request was
 * answered; a wrong one that was typed may be typed again.
 */
import type { Passphrase } from '../../crypto/passphrase.ts'
import type { Name } from '../../vfs/contract.ts'
import type { Invocation } from '../command.ts'
import type { Secrets } from '../control/secrets.ts'
import { CommandError } from '../exit-codes.ts'
import { askLibrary } from '../library-client.ts'
import type { SecretGiver } from '../passphrases.ts'
import type { RequestArguments, RequestName, RequestResult, RequestUpdate } from '../service/requests.ts'
import type { VaultRow } from '../service/vault-requests.ts'
import { printable } from '../terminal/terminal.ts'
import { libraryOf } from './arguments.ts'

export interface VaultQuestion<N extends RequestName> {
  readonly request: N
  readonly arguments: RequestArguments<N>
  readonly update?: (update: RequestUpdate<N>) => void
}

/** Where the secrets of this command come from. What that needs is loaded with the first command that asks. */
export async function secretGiver(invocation: Invocation): Promise<SecretGiver> {
  const { SecretGiver } = await import('../passphrases.ts')
  return new SecretGiver(invocation)
}

/** Asks without any secret. */
export async function askVaults<N extends RequestName>(invocation: Invocation, question: VaultQuestion<N>): Promise<RequestResult<N>> {
  return await askLibrary({ ...question, library: libraryOf(invocation), create: false, signal: invocation.signal })
}

/** The vault of that name, as a list shows it. Throws CommandError 'no-vault'. */
export async function vaultRow(invocation: Invocation, name: Name): Promise<VaultRow> {
  const { vaults } = await askVaults(invocation, { request: 'vault.list', arguments: {} })
  const row = vaults.find(vault => vault.name === name)
  if (row) return row
  const names = vaults.map(vault => printable(vault.name)).join(', ')
  throw new CommandError('no-vault', `there is no vault named "${printable(name)}"${names ? ` (there are: ${names})` : ''}`)
}

/**
 * Asks with the secret that opens the vault: its recovery key where `recovery` says so, else its passphrase. `more` are other secrets
 * of the request, got after the first, so that questions come in the order of their words.
 */
export async function askWithSecret<N extends RequestName>(
  invocation: Invocation,
  giver: SecretGiver,
  row: VaultRow,
  question: VaultQuestion<N>,
  options: { readonly recovery?: boolean; readonly more?: () => Promise<Secrets> } = {},
): Promise<RequestResult<N>> {
  let more: Secrets | undefined
  try {
    for (let attempt = 1; ; attempt++) {
      const first = new Map([options.recovery ? await recoverySecret(giver) : await passphraseSecret(giver, row)])
      try {
        more ??= await options.more?.()
        const secrets = new Map([...first, ...(more ?? [])])
        return await askLibrary({ ...question, secrets, library: libraryOf(invocation), create: false, signal: invocation.signal })
      } catch (error) {
        const wrong = error instanceof CommandError && error.exit === 'passphrase'
        if (!wrong || options.recovery || attempt >= giver.tries) throw error
        invocation.terminal.remark(`sdmount: ${error.message}; once again`)
      } finally {
        wipe(first)
      }
    }
  } finally {
    if (more) wipe(more)
  }
}

/** Asks, with the passphrase only where the vault is closed. */
export async function askInVault<N extends RequestName>(
  invocation: Invocation,
  giver: SecretGiver,
  name: Name,
  question: VaultQuestion<N>,
): Promise<RequestResult<N>> {
  const row = await vaultRow(invocation, name)
  return row.state === 'open' ? await askVaults(invocation, question) : await askWithSecret(invocation, giver, row, question)
}

async function passphraseSecret(giver: SecretGiver, row: VaultRow): Promise<readonly ['passphrase', Passphrase]> {
  return ['passphrase', await giver.existing(`Passphrase of ${printable(row.name)}`, row.vaultId)]
}

async function recoverySecret(giver: SecretGiver): Promise<readonly ['recovery', Passphrase]> {
  using key = await giver.recovery()
  const { Passphrase } = await import('../../crypto/passphrase.ts')
  return ['recovery', key.use(bytes => new Passphrase(bytes))]
}

function wipe(secrets: Secrets): void {
  for (const secret of secrets.values()) secret[Symbol.dispose]()
}
