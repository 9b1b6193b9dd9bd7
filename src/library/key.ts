/**
 * The library's key: 32 random bytes that seal everything the library keeps on disk.
 *
 * Owns: the key file and its format. The key is in the file itself (the default), or in the system's keyring, and then
 * the file says so. Losing the key is losing the library, so:
 * - a key is made only for a library that has nothing yet; a missing or damaged key file of an older one is an error;
 * - a key moves only after it was read back from its new place and compared, and the old place is cleared last;
 * - messages never contain it.
 *
 * The key file: one line of ASCII, mode 0600, in one of two forms.
 * | form | content |
 * |---|---|
 * | `sdmount-key 1 file <64 hex> <8 hex>\n` | the key; the first 4 bytes of SHA-256("sdmount-key 1" + key), against typing errors |
 * | `sdmount-key 1 keyring <32 hex>\n` | the account under which service "sdmount" of the keyring holds the key as 64 hex digits |
 */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import { chmodSync, existsSync, readFileSync, statSync } from 'node:fs'
import { type Keyring, systemKeyring } from './keyring.ts'
import { LibraryError } from './library-error.ts'
import { writeDurably } from './write-durably.ts'

export type Key = Buffer
export type KeyStore = 'file' | 'keyring'

const KEY_BYTES = 32
const HEADER = 'sdmount-key 1'

type StoredKey = { readonly store: 'file'; readonly key: Key } | { readonly store: 'keyring'; readonly account: string }

/** The key of a library; made where `create` says that the library is new. */
export function obtainKey(path: string, options: { readonly create: boolean }, keyring: () => Keyring = systemKeyring): Key {
  if (options.create && !existsSync(path)) {
    const key = randomBytes(KEY_BYTES)
    writeDurably(path, encodeFile({ store: 'file', key }), { replace: false })
    return key
  }
  return resolve(readStored(path), keyring)
}

/** Where the key is kept. */
export function keyStore(path: string): KeyStore {
  return readStored(path).store
}

/** Moves the key to the other store. Does nothing where it is there already. Hold the library's lock. */
export function moveKey(path: string, target: KeyStore, keyring: () => Keyring = systemKeyring): void {
  const stored = readStored(path)
  if (stored.store === target) return
  const key = resolve(stored, keyring)
  if (target === 'file') {
    writeDurably(path, encodeFile({ store: 'file', key }), { replace: true })
    if (stored.store === 'keyring') keyring().remove(stored.account)
    return
  }
  const account = randomBytes(16).toString('hex')
  keyring().write(account, key.toString('hex'))
  const back = parseHexKey(keyring().read(account))
  if (!back || !timingSafeEqual(back, key))
    throw new LibraryError('unusable', 'the keyring did not give the key back; it stays in the file')
  writeDurably(path, encodeFile({ store: 'keyring', account }), { replace: true })
}

function resolve(stored: StoredKey, keyring: () => Keyring): Key {
  if (stored.store === 'file') return stored.key
  const key = parseHexKey(keyring().read(stored.account))
  if (!key)
    throw new LibraryError('unusable', `the system's keyring has no key of this library (service sdmount, account ${stored.account})`)
  return key
}

function readStored(path: string): StoredKey {
  let text: string
  try {
    text = readFileSync(path, 'latin1')
    if ((statSync(path).mode & 0o077) !== 0) chmodSync(path, 0o600)
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === 'ENOENT'
    throw new LibraryError(
      'unusable',
      missing ? `the library's key file ${path} is missing; restore it from a backup` : `can't read ${path}: ${(error as Error).message}`,
    )
  }
  const stored = decodeFile(text)
  if (!stored)
    throw new LibraryError('unusable', `the key file ${path} is damaged or was made by a newer sdmount; restore it from a backup`)
  return stored
}

function encodeFile(stored: StoredKey): string {
  return stored.store === 'file'
    ? `${HEADER} file ${stored.key.toString('hex')} ${checkDigits(stored.key)}\n`
    : `${HEADER} keyring ${stored.account}\n`
}

function decodeFile(text: string): StoredKey | undefined {
  const inFile = /^sdmount-key 1 file ([0-9a-f]{64}) ([0-9a-f]{8})\n$/.exec(text)
  if (inFile) {
    const key = Buffer.from(inFile[1]!, 'hex')
    return checkDigits(key) === inFile[2] ? { store: 'file', key } : undefined
  }
  const account = /^sdmount-key 1 keyring ([0-9a-f]{32})\n$/.exec(text)?.[1]
  return account === undefined ? undefined : { store: 'keyring', account }
}

function checkDigits(key: Key): string {
  return createHash('sha256').update(HEADER).update(key).digest('hex').slice(0, 8)
}

function parseHexKey(hex: string | undefined): Key | undefined {
  return hex !== undefined && /^[0-9a-f]{64}$/.test(hex) ? Buffer.from(hex, 'hex') : undefined
}
