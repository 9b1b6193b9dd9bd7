/**
 * Packs: files of sealed chunks.
 *
 * Owns: the form. Must stay true: every piece is bound to its vault, pack, offset, chunk and place in the chunk.
 *
 * Pack, little-endian, named by its id in hex:
 *   offset  size  field
 *   0       8     `sdmvpack`
 *   8       2     version, 1
 *   10      6     zero
 *   16      16    pack id, random
 *   32      32    salt of the pack's space, purpose `vault packs`, parent: the master key
 *   64      16    tag: an empty piece at position 0; place: bytes 0..63, then the vault id
 *   80            chunks, without gaps
 * What is at 0..9 and 32..79 stays there in all versions to come, so that a newer one is told from a damaged one.
 *
 * The position of a piece in the space is its byte offset in the pack. A chunk is stored raw, in frames: pieces of 32,768 bytes
 * of it each (the last one less); or compressed by zstd, in one piece. Place of a piece:
 *   0       8     `vchunk` and zeros
 *   8       16    vault id
 *   24      16    pack id
 *   40      32    chunk name
 *   72      4     length of the chunk
 *   76      4     form: 0 raw, 1 zstd
 *   80      4     frame index
 */
import { OpeningSpace, SealingSpace, TAG_BYTES } from '../../../../crypto/sealing.ts'
import type { SecretKey } from '../../../../crypto/secret-key.ts'
import { FsError } from '../../../../errors.ts'

const MAGIC = Buffer.from('sdmvpack')
const VERSION = 1
export const PACK_ID_BYTES = 16
export const PACK_HEADER_BYTES = 80
const SEALED_FROM = 64
export const FRAME_BYTES = 32_768
export const FRAME_STORED_BYTES = FRAME_BYTES + TAG_BYTES
const PLACE_TAG = Buffer.from('vchunk\0\0')

export interface VaultIdentity {
  readonly vaultId: Buffer
  readonly master: SecretKey
}

export function packBlob(id: Buffer): string {
  return `packs/${id.toString('hex')}`
}

/** A fresh pack: its space, and the header to store. */
export function newPack(vault: VaultIdentity, id: Buffer): { readonly space: SealingSpace; readonly header: Buffer } {
  const space = new SealingSpace(vault.master, 'vault-packs')
  const header = Buffer.alloc(PACK_HEADER_BYTES)
  MAGIC.copy(header)
  header.writeUInt16LE(VERSION, 8)
  id.copy(header, 16)
  space.salt.copy(header, 32)
  space.seal(0, headerPlace(vault, header), new Uint8Array(0), header, SEALED_FROM)
  return { space, header }
}

/** Throws 'damaged' for what isn't the header of that pack, 'not-supported' for a newer one. */
export function openPack(vault: VaultIdentity, id: Buffer, header: Buffer): OpeningSpace {
  const subject = { operation: 'read', subject: packBlob(id) }
  if (header.length < PACK_HEADER_BYTES || !header.subarray(0, 8).equals(MAGIC))
    throw new FsError('damaged', 'a pack has no header', subject)
  const space = new OpeningSpace(vault.master, 'vault-packs', header.subarray(32, SEALED_FROM))
  const tag = header.subarray(SEALED_FROM, PACK_HEADER_BYTES)
  if (!header.subarray(16, 32).equals(id) || !space.open(0, headerPlace(vault, header), tag))
    throw new FsError('damaged', "a pack's header is damaged", subject)
  const version = header.readUInt16LE(8)
  if (version > VERSION)
    throw new FsError('not-supported', `a pack of the vault has version ${version}, this program knows ${VERSION}`, subject)
  return space
}

/** Stored bytes of a raw chunk. */
export function rawStoredBytes(lengthBytes: number): number {
  return lengthBytes + Math.ceil(lengthBytes / FRAME_BYTES) * TAG_BYTES
}

/** Writes the place of pieces of a chunk; only the frame index differs among them. */
export class ChunkPlace {
  readonly bytes = Buffer.alloc(84)

  constructor(vaultId: Buffer) {
    PLACE_TAG.copy(this.bytes)
    vaultId.copy(this.bytes, 8)
  }

  set(pack: Buffer, name: Buffer, lengthBytes: number, form: number): void {
    pack.copy(this.bytes, 24)
    name.copy(this.bytes, 40)
    this.bytes.writeUInt32LE(lengthBytes, 72)
    this.bytes.writeUInt32LE(form, 76)
    this.bytes.writeUInt32LE(0, 80)
  }

  set frame(index: number) {
    this.bytes.writeUInt32LE(index, 80)
  }
}

function headerPlace(vault: VaultIdentity, header: Buffer): Buffer {
  return Buffer.concat([header.subarray(0, SEALED_FROM), vault.vaultId])
}
