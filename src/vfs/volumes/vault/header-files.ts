/**
 * The header of a vault in its folder: the file `header` and its copy `header.copy`.
 *
 * Owns: which of the two is believed, and the order in which they are replaced. Must stay true:
 * - each is replaced as a whole (written beside, flushed, renamed, directory flushed), `header` first, the copy when that is on
 *   stable storage: an interruption at any point leaves at least one that is whole, and of two different ones the newer counts;
 * - what was made by a newer sdmount, and is whole, is never passed over in favour of an older copy;
 * - a header that fails its authentication is passed over for a copy that doesn't; a wrong passphrase is not (the older copy
 *   might know a passphrase that was changed).
 * It doesn't: lock the folder (folder-lock.ts; hold it for writing), or ask for secrets.
 */
import { readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { type HeaderSecret, type OpenHeader, openHeaderWith, unlockHeader, type VaultKeys } from '../../../crypto/vault/header.ts'
import { HeaderError } from '../../../crypto/vault/header-error.ts'
import { decodeHeader, type Header } from '../../../crypto/vault/header-format.ts'
import { FsError } from '../../../errors.ts'
import { writeDurably } from '../../../library/write-durably.ts'

export const HEADER_FILE = 'header'
export const HEADER_COPY = 'header.copy'
const LEFT_BEHIND = /^header(\.copy)?\.new-\d+$/
/** A header is small; what is larger than any header may be isn't read to its end. */
const READ_LIMIT_BYTES = 2 << 20

/** What the files hold, best first. */
export interface StoredHeader {
  readonly candidates: readonly { readonly file: string; readonly bytes: Buffer; readonly header: Header }[]
  /** What is wrong with the others, a line each; empty when both files are the same. */
  readonly remarks: readonly string[]
}

export interface UnlockedHeader {
  readonly header: OpenHeader
  /** The bytes that were believed. */
  readonly bytes: Buffer
  /** What is wrong with the stored files: `writeHeader` mends it. Empty when nothing is. */
  readonly remarks: readonly string[]
}

/** Whether a vault is in this folder, or what is left of one. */
export function hasHeader(folder: string): boolean {
  return [HEADER_FILE, HEADER_COPY].some(file => readFile(folder, file) !== undefined)
}

/** Reads both files. Throws HeaderError when neither can be used; FsError when the folder can't be read. */
export function readHeader(folder: string): StoredHeader {
  const remarks: string[] = []
  const found: { readonly file: string; readonly bytes: Buffer; readonly header: Header }[] = []
  let worst: HeaderError | undefined
  for (const file of [HEADER_FILE, HEADER_COPY]) {
    const bytes = readFile(folder, file)
    if (!bytes) {
      remarks.push(`${file} is missing`)
      continue
    }
    try {
      found.push({ file, bytes, header: decodeHeader(bytes) })
    } catch (error) {
      if (!(error instanceof HeaderError)) throw error
      if (error.problem === 'newer') throw error
      worst ??= error
      remarks.push(`${file}: ${error.message}`)
    }
  }
  if (found.length === 0) {
    if (worst) throw new HeaderError(worst.problem, `the vault in ${folder} can't be opened: ${remarks.join('; ')}`)
    throw new HeaderError('missing', `there is no vault in ${folder}`)
  }
  const [first, second] = found.toSorted((a, b) => b.header.generation - a.header.generation)
  if (second && !second.bytes.equals(first!.bytes)) remarks.push(`${second.file} is not the same as ${first!.file}`)
  return { candidates: found.length === 2 ? [first!, second!] : [first!], remarks }
}

/** Opens the vault's header by a secret. Throws HeaderError; whoever got it disposes of it. */
export async function unlockStoredHeader(folder: string, secret: HeaderSecret): Promise<UnlockedHeader> {
  return await believed(readHeader(folder), bytes => unlockHeader(bytes, secret))
}

/** The same, of a vault whose keys are at hand. */
export async function openStoredHeader(folder: string, keys: VaultKeys): Promise<UnlockedHeader> {
  return await believed(readHeader(folder), async bytes => openHeaderWith(keys, bytes))
}

async function believed(stored: StoredHeader, open: (bytes: Buffer) => Promise<OpenHeader>): Promise<UnlockedHeader> {
  const remarks = [...stored.remarks]
  let forged: HeaderError | undefined
  for (const { file, bytes } of stored.candidates) {
    try {
      return { header: await open(bytes), bytes, remarks }
    } catch (error) {
      if (!(error instanceof HeaderError) || error.problem !== 'forged') throw error
      forged ??= error
      remarks.push(`${file}: ${error.message}`)
    }
  }
  throw forged!
}

/** Stores a header of a new vault. Throws FsError 'exists' where there is one already. */
export function writeNewHeader(folder: string, bytes: Buffer): void {
  if (hasHeader(folder)) throw new FsError('exists', `there is a vault in ${folder} already`)
  writeDurably(join(folder, HEADER_FILE), bytes, { replace: false })
  writeDurably(join(folder, HEADER_COPY), bytes, { replace: true })
}

/** Replaces both files; on stable storage when it returns. Hold the folder's lock. */
export function writeHeader(folder: string, bytes: Buffer): void {
  writeDurably(join(folder, HEADER_FILE), bytes, { replace: true })
  writeDurably(join(folder, HEADER_COPY), bytes, { replace: true })
  for (const name of readdirSync(folder)) if (LEFT_BEHIND.test(name)) rmSync(join(folder, name), { force: true })
}

function readFile(folder: string, file: string): Buffer | undefined {
  try {
    return readFileSync(join(folder, file)).subarray(0, READ_LIMIT_BYTES)
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined
    throw new FsError(code === 'EACCES' ? 'access-denied' : 'io', `can't read ${join(folder, file)}: ${message}`, { cause: error })
  }
}
