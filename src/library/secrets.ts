/**
 * The keys to buckets that the library keeps for its user.
 *
 * Owns: their form, and the one setting of the library under which all of them lie. That setting is in the library's database,
 * each page of which is encrypted and authenticated with the library's key: nothing of a secret is on disk in the clear.
 * Must stay true: a secret is in no volume's settings, no message and no log; what reads as no secret is one line for the user.
 * A secret is written before the volume that names it, so that a volume never lacks its own; what no volume names goes with the
 * next change.
 *
 * The setting, JSON: {"1":{"<id, 32 hex>":{"accessKeyId":"...","secretAccessKey":"...","sessionToken":"..."}}}; "1" is the version.
 */
import { randomBytes } from 'node:crypto'
import { LibraryError } from './library-error.ts'

const SETTING = 'secrets'
const VERSION = '1'

/** Where they are kept: the index's settings, which are encrypted and durable. */
export interface SecretStore {
  setting(key: string): string | undefined
  setSetting(key: string, value: string): void
}

export interface BucketKeys {
  readonly accessKeyId: string
  readonly secretAccessKey: string
  readonly sessionToken?: string | undefined
}

/** The keys of that id; undefined when there are none. */
export function readSecret(store: SecretStore, id: string): BucketKeys | undefined {
  const all = readAll(store)
  return Object.hasOwn(all, id) ? all[id] : undefined
}

/** Keeps keys; `keep` are the ids that volumes name: the others go. Answers the new id. */
export function addSecret(store: SecretStore, keys: BucketKeys, keep: ReadonlySet<string>): string {
  const id = randomBytes(16).toString('hex')
  writeAll(store, { ...wanted(readAll(store), keep), [id]: plain(keys) })
  return id
}

/** Other keys under the same id. */
export function replaceSecret(store: SecretStore, id: string, keys: BucketKeys): void {
  writeAll(store, { ...readAll(store), [id]: plain(keys) })
}

/** Forgets all but those that volumes name. */
export function forgetSecrets(store: SecretStore, keep: ReadonlySet<string>): void {
  const all = readAll(store)
  if (Object.keys(all).some(id => !keep.has(id))) writeAll(store, wanted(all, keep))
}

type Secrets = Readonly<Record<string, BucketKeys>>

function wanted(all: Secrets, keep: ReadonlySet<string>): Secrets {
  return Object.fromEntries(Object.entries(all).filter(([id]) => keep.has(id)))
}

/** Only what belongs to it. */
function plain({ accessKeyId, secretAccessKey, sessionToken }: BucketKeys): BucketKeys {
  return { accessKeyId, secretAccessKey, ...(sessionToken === undefined ? {} : { sessionToken }) }
}

function readAll(store: SecretStore): Secrets {
  const text = store.setting(SETTING)
  if (text === undefined) return {}
  // What JSON.parse says would quote the text.
  let stored: unknown
  try {
    stored = JSON.parse(text)
  } catch {
    throw unreadable()
  }
  const secrets = isRecord(stored) ? stored[VERSION] : undefined
  if (!isRecord(secrets) || !Object.values(secrets).every(isKeys)) throw unreadable()
  return secrets as Secrets
}

function writeAll(store: SecretStore, secrets: Secrets): void {
  store.setSetting(SETTING, JSON.stringify({ [VERSION]: secrets }))
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null
}

function isKeys(value: unknown): boolean {
  if (!isRecord(value)) return false
  const { accessKeyId, secretAccessKey, sessionToken } = value
  return (
    typeof accessKeyId === 'string' &&
    typeof secretAccessKey === 'string' &&
    (sessionToken === undefined || typeof sessionToken === 'string')
  )
}

function unreadable(): LibraryError {
  return new LibraryError('unusable', "the library's secrets are damaged or were written by a newer sdmount")
}
