/**
 * Passphrases and recovery keys, as the user of a command gives them: typed on the terminal without being shown, in a file, at an
 * open descriptor, or kept in the system's keyring.
 *
 * Owns: where they are looked for, and the options for that. Must stay true: they are never taken from the command line or the
 * environment (every process of the machine, or of the user, can read those) and never printed; a new one that is typed is typed
 * twice. Recovery words are printed once, on the terminal or standard output, or written to a file of mode 0600.
 */
import { rmSync } from 'node:fs'
import { Passphrase } from '../crypto/passphrase.ts'
import type { SecretKey } from '../crypto/secret-key.ts'
import { type Keyring, systemKeyring } from '../library/keyring.ts'
import { writeDurably } from '../library/write-durably.ts'
import type { Invocation } from './command.ts'
import { CommandError } from './exit-codes.ts'
import { SecretLines } from './terminal/secret-lines.ts'

/** Shorter ones are remarked on. */
const SHORT_CHARACTERS = 12
const TRIES = 3

type Which = 'passphrase' | 'new-passphrase'

/** Where the secrets of one command come from. */
export class SecretGiver {
  readonly #invocation: Invocation
  readonly #lines = new SecretLines()
  readonly #keyring: () => Keyring
  readonly #prepared = new Map<string, Passphrase>()

  constructor(invocation: Invocation, keyring: () => Keyring = systemKeyring) {
    this.#invocation = invocation
    this.#keyring = keyring
  }

  /** The user was told to type: a wrong one may be typed again. */
  get typed(): boolean {
    return this.#source('passphrase') === undefined && !this.#invocation.option('keyring')
  }

  /** How often a passphrase may be asked for. */
  get tries(): number {
    return this.typed ? TRIES : 1
  }

  /** Asks now for what `existing` answers later, once. */
  async prepare(question: string, vaultId: string): Promise<void> {
    this.#prepared.set(vaultId, await this.existing(question, vaultId))
  }

  /** The passphrase of something that exists. `vaultId`: of which it is. Whoever got it disposes of it. */
  async existing(question: string, vaultId: string): Promise<Passphrase> {
    const prepared = this.#prepared.get(vaultId)
    if (prepared) {
      this.#prepared.delete(vaultId)
      return prepared
    }
    const source = this.#source('passphrase')
    if (source) return await this.#line(source)
    if (this.#invocation.option('keyring')) return this.#fromKeyring(accountOf(vaultId))
    return await this.#ask(`${question}: `, 'passphrase')
  }

  /** A new passphrase: typed twice, or from where `which` says. */
  async fresh(question: string, which: Which): Promise<Passphrase> {
    const source = this.#source(which)
    const passphrase = source ? await this.#line(source) : await this.#twice(question, which)
    const characters = passphrase.use(bytes => bytes.reduce((count, byte) => count + ((byte & 0xc0) === 0x80 ? 0 : 1), 0))
    if (characters < SHORT_CHARACTERS) {
      this.#invocation.terminal.remark(
        `note: a passphrase of ${characters} characters can be found by trying; five random words are better`,
      )
    }
    return passphrase
  }

  /** Keeps it in the system's keyring, where the user says so. */
  keep(vaultId: string, passphrase: Passphrase): void {
    if (!this.#invocation.option('keyring')) return
    const [keyring, account] = [this.#keyring(), accountOf(vaultId)]
    keyring.write(
      account,
      passphrase.use(bytes => bytes.toString('base64')),
    )
    if (keyring.read(account) === undefined) throw new CommandError('unexpected', 'the keyring did not give the passphrase back')
  }

  /** The 24 words of an existing vault: from --recovery-file, or typed. Whoever got the key wipes it. */
  async recovery(): Promise<SecretKey> {
    const { recoveryKey } = await import('../crypto/vault/recovery-words.ts')
    const file = this.#invocation.option('recovery-file')
    const bytes =
      file === undefined ? await this.#askBytes('The 24 words of the recovery key: ', '--recovery-file') : await this.#allLines(file)
    try {
      return recoveryKey(bytes.toString('utf8'))
    } catch (error) {
      throw new CommandError('passphrase', (error as Error).message)
    } finally {
      bytes.fill(0)
    }
  }

  async #allLines(file: string): Promise<Buffer> {
    const lines: Buffer[] = []
    for (;;) {
      const line = await this.#lines.next({ file }, this.#invocation.signal)
      if (line.length === 0 && lines.length > 0) break
      lines.push(line)
      if (line.length === 0 || lines.length > 100) break
    }
    const all = Buffer.concat(lines.flatMap(line => [line, Buffer.from('\n')]))
    for (const line of lines) line.fill(0)
    return all
  }

  async #twice(question: string, which: Which): Promise<Passphrase> {
    for (let attempt = 0; attempt < TRIES; attempt++) {
      const first = await this.#ask(`${question}: `, which)
      using second = await this.#ask('The same once more: ', which)
      if (first.equals(second)) return first
      first[Symbol.dispose]()
      this.#invocation.terminal.remark('these are two different passphrases; once again')
    }
    throw new CommandError('usage', 'the passphrase was not typed twice alike')
  }

  async #ask(question: string, which: Which): Promise<Passphrase> {
    const bytes = await this.#askBytes(question, `--${which}-file or --${which}-fd`)
    return normalised(bytes)
  }

  async #askBytes(question: string, otherwise: string): Promise<Buffer> {
    const { askBytes } = await import('./terminal/ask.ts')
    return await askBytes(question, { secret: true, signal: this.#invocation.signal, otherwise })
  }

  async #line(source: { readonly file: string } | { readonly descriptor: number }): Promise<Passphrase> {
    const bytes = await this.#lines.next(source, this.#invocation.signal)
    if (bytes.length === 0) {
      const where = 'file' in source ? source.file : `file descriptor ${source.descriptor}`
      throw new CommandError('usage', `there is no passphrase in ${where}: it is the next line of it`)
    }
    return normalised(bytes)
  }

  #fromKeyring(account: string): Passphrase {
    const text = this.#keyring().read(account)
    if (text === undefined) {
      throw new CommandError('passphrase', `the system's keyring has no passphrase for it (service sdmount, account ${account})`)
    }
    const bytes = Buffer.from(text, 'base64')
    try {
      return new Passphrase(bytes)
    } finally {
      bytes.fill(0)
    }
  }

  #source(which: Which): { readonly file: string } | { readonly descriptor: number } | undefined {
    const file = this.#invocation.option(`${which}-file`)
    const descriptor = this.#invocation.option(`${which}-fd`)
    if (file !== undefined && descriptor !== undefined)
      throw new CommandError('usage', `--${which}-file and --${which}-fd are two places for one passphrase`)
    if (file !== undefined) return { file }
    if (descriptor === undefined) return undefined
    if (!/^\d{1,6}$/.test(descriptor))
      throw new CommandError('usage', `--${which}-fd ${descriptor}: say the number of an open file descriptor`)
    return { descriptor: Number(descriptor) }
  }
}

function normalised(bytes: Buffer): Passphrase {
  try {
    return Passphrase.normalised(bytes)
  } catch (error) {
    throw new CommandError('usage', (error as Error).message)
  } finally {
    bytes.fill(0)
  }
}

/** A key as a secret that passes to the daemon. Whoever got it disposes of it. */
export function carried(key: SecretKey): Passphrase {
  return key.use(bytes => new Passphrase(bytes))
}

/** The account of a vault in the system's keyring. */
function accountOf(vaultId: string): string {
  return `vault ${vaultId}`
}

/**
 * Where the words of a new recovery key go: a file that is written before anything is made (so that it is sure to be there), or
 * the terminal after all else worked.
 */
export class RecoveryNote {
  readonly #invocation: Invocation
  readonly #file: string | undefined
  readonly #words: readonly string[]

  constructor(invocation: Invocation, words: readonly string[]) {
    this.#invocation = invocation
    this.#words = words
    this.#file = invocation.option('recovery-file')
    if (this.#file === undefined) return
    try {
      writeDurably(this.#file, `${this.#lines().join('\n')}\n`, { replace: false })
    } catch (error) {
      const exists = (error as NodeJS.ErrnoException).code === 'EEXIST'
      throw new CommandError('usage', `--recovery-file ${this.#file}: ${exists ? 'it exists already' : (error as Error).message}`)
    }
  }

  /** What it opens was made: the words are shown, once. */
  show(what: string): void {
    const { terminal } = this.#invocation
    if (this.#file !== undefined) {
      terminal.print(`the recovery key of ${what} is in ${this.#file}: keep it where the vault is not, and delete it here`)
      return
    }
    terminal.print(`The recovery key of ${what}, shown this once:`)
    terminal.print('')
    for (const line of this.#lines()) terminal.print(`  ${line}`)
    terminal.print('')
    terminal.print('Write it down and keep it where the vault is not. It opens the vault when every passphrase is forgotten')
    terminal.print('(sdmount vault recover), for whoever has it; without it, a forgotten passphrase means that the files are lost.')
  }

  /** Nothing was made. */
  discard(): void {
    if (this.#file !== undefined) rmSync(this.#file, { force: true })
  }

  #lines(): string[] {
    const words = this.#words
    return Array.from({ length: words.length / 6 }, (_, row) => words.slice(row * 6, row * 6 + 6).join(' '))
  }
}
