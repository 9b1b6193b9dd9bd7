/**
 * The newest state of a vault that this machine saw, kept beside the working index, away from the vault.
 *
 * Owns: the file `last-seen` in the work directory. Must stay true: only what was durable in the vault is kept, so that no crash
 * makes a vault look older than it is; a file that doesn't open counts as none.
 *
 * File: `sdmvseen` 8, version 1 (2), zero 6, salt of its space 32 (purpose `vault last seen`), then a piece at position 0, place
 * bytes 0..47 and the vault id: a position in the log (64 bytes, log-format.ts).
 */
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { OpeningSpace, SALT_BYTES, SealingSpace, TAG_BYTES } from '../../../../crypto/sealing.ts'
import type { VaultIdentity } from '../chunks/pack-format.ts'
import { decodePosition, encodePosition, type LogPosition } from './log-format.ts'

const MAGIC = Buffer.from('sdmvseen')
const VERSION = 1
const HEADER_BYTES = 16 + SALT_BYTES
export const LAST_SEEN_FILE = 'last-seen'

export function readLastSeen(vault: VaultIdentity, directory: string): LogPosition | undefined {
  const path = join(directory, LAST_SEEN_FILE)
  if (!existsSync(path)) return undefined
  const bytes = readFileSync(path)
  if (bytes.length < HEADER_BYTES + TAG_BYTES || !bytes.subarray(0, 8).equals(MAGIC) || bytes.readUInt16LE(8) !== VERSION) return undefined
  const space = new OpeningSpace(vault.master, 'vault-seen', bytes.subarray(16, HEADER_BYTES))
  const plain = space.open(0, Buffer.concat([bytes.subarray(0, HEADER_BYTES), vault.vaultId]), bytes.subarray(HEADER_BYTES))
  return plain && decodePosition(plain)
}

/** Not flushed: an older one that survives a power loss instead says less, and nothing wrong. */
export function writeLastSeen(vault: VaultIdentity, directory: string, position: LogPosition): void {
  const space = new SealingSpace(vault.master, 'vault-seen')
  const plain = encodePosition(position)
  const bytes = Buffer.alloc(HEADER_BYTES + plain.length + TAG_BYTES)
  MAGIC.copy(bytes)
  bytes.writeUInt16LE(VERSION, 8)
  space.salt.copy(bytes, 16)
  space.seal(0, Buffer.concat([bytes.subarray(0, HEADER_BYTES), vault.vaultId]), plain, bytes, HEADER_BYTES)
  const path = join(directory, LAST_SEEN_FILE)
  writeFileSync(`${path}.new`, bytes, { mode: 0o600 })
  renameSync(`${path}.new`, path)
}
