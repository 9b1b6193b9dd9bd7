/** The options that say where passphrases come from, for the commands that take them: apart, since every start loads it. */
import type { OptionName } from './options.ts'

export const PASSPHRASE_OPTIONS = ['passphrase-file', 'passphrase-fd', 'keyring'] as const satisfies readonly OptionName[]
export const NEW_PASSPHRASE_OPTIONS = ['new-passphrase-file', 'new-passphrase-fd'] as const satisfies readonly OptionName[]
