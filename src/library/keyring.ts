/**
 * The system's keyring: macOS Keychain, Windows Credential Manager, Secret Service on Linux (GNOME, KDE).
 *
 * Owns: the only import of @napi-rs/keyring. Must stay true: on Linux it is the Secret Service or nothing; the kernel's
 * keyring, to which the library would fall back by itself, forgets at the next boot.
 */
import { createRequire } from 'node:module'
import { LibraryError } from './library-error.ts'

/** What the key needs of a keyring. Errors are LibraryError 'unusable'. */
export interface Keyring {
  read(account: string): string | undefined
  write(account: string, secret: string): void
  remove(account: string): void
}

const SERVICE = 'sdmount'

/** The keyring of this system; loads its library, so only where a key is kept there. */
export function systemKeyring(): Keyring {
  const open = (account: string) => {
    try {
      const { Entry } = createRequire(import.meta.url)('@napi-rs/keyring') as typeof import('@napi-rs/keyring')
      return new Entry(SERVICE, account, { linux: { store: 'secret-service' } })
    } catch (error) {
      throw new LibraryError('unusable', `there is no keyring here: ${(error as Error).message}`, { cause: error })
    }
  }
  const attempt = <T>(action: () => T): T => {
    try {
      return action()
    } catch (error) {
      if (error instanceof LibraryError) throw error
      throw new LibraryError('unusable', `the keyring refuses: ${(error as Error).message}`, { cause: error })
    }
  }
  return {
    read: account => attempt(() => open(account).getPassword() ?? undefined),
    write: (account, secret) => attempt(() => open(account).setPassword(secret)),
    remove: account => attempt(() => void open(account).deletePassword()),
  }
}
