/**
 * Where a vault's bytes lie: named blobs. What it stores is sealed already; a store knows no key and checks nothing.
 *
 * Owns: types only. Names are `packs/<hex>`, `log/<hex>`, `checkpoints/<hex>`: lower-case letters, digits, one "/".
 *
 * Rules that bind every store:
 * - Calls are synchronous and throw FsError with the host's kind; 'not-found' where there is no such blob.
 * - A blob grows by `append` or is `put` whole; no byte of it ever changes afterwards.
 * - What was appended before `sync` is on stable storage when that returns, and so is the blob's name. What was not synced may
 *   be there or not after a power loss, in any order, in parts or as zeros.
 * - `put` is atomic: after a power loss the blob is whole or absent; once it returned, it is there.
 * - `remove` may be undone by a power loss.
 */
export interface StoredBlob {
  readonly name: string
  readonly sizeBytes: number
}

export interface AppendBlob {
  readonly sizeBytes: number
  append(bytes: Uint8Array): void
  sync(): void
  /** The disk may begin with what was appended, so that the next `sync` waits less. Promises nothing. */
  syncSoon(): void
  /** Without a sync. */
  close(): void
}

export interface StoreSpace {
  readonly totalBytes: number
  readonly freeBytes: number
  readonly availableBytes: number
}

export interface VaultStore {
  /** Blobs whose names begin with `prefix` ("packs/"), in no order. */
  list(prefix: string): StoredBlob[]
  /** A new, empty blob; throws 'exists'. */
  create(name: string): AppendBlob
  put(name: string, bytes: Uint8Array): void
  /** Fills `into` from `position`: the byte count, less than asked only at the blob's end. */
  read(name: string, position: number, into: Uint8Array): number
  /** Nothing happens when there is no such blob. */
  remove(name: string): void
  space(): StoreSpace
  close(): void
}
