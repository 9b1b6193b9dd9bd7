/**
 * The file below a staged content: sealed pieces in slots.
 *
 * Owns: the descriptor (opened when needed, closed by `park`), the sealing space of this run, and the opening of those of earlier
 * runs. Must stay true: what `read` answers is what was sealed for that file and index, or it throws 'damaged'; a full disk is
 * 'no-space', after whoever can make room was asked once.
 */
import { closeSync, fdatasync, fstatSync, fsync, openSync, readSync, rmSync, writeSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { OpeningSpace, SealingSpace, TAG_BYTES } from '../../crypto/sealing.ts'
import type { SecretKey } from '../../crypto/secret-key.ts'
import { FsError } from '../../errors.ts'
import { checkHeader, encodeHeader, type PieceKind, type PieceRef, SLOT_BYTES, StagePlace, slotOffset } from './format.ts'

/** What all staging files share. */
export interface StagingGround {
  readonly directory: string
  readonly key: SecretKey
  /** Of SLOT_BYTES. */
  readonly scratch: Buffer
  /** Frees about so many bytes on the disk, if anybody can. */
  makeRoom(bytes: number): void
}

const HEADER_BYTES = 32

export class PieceFile {
  readonly id: Buffer
  readonly #ground: StagingGround
  readonly #path: string
  readonly #place: StagePlace
  readonly #salts: Buffer[]
  readonly #opening: (OpeningSpace | undefined)[]
  #sealing: SealingSpace | undefined
  #sealingSalt = 0
  #position = 0
  #fd: number | undefined
  #exists: boolean
  /** Also of a file of an earlier run: nobody knows whether its name ever came to the disk. */
  #unsyncedName = true

  /** `salts`: of the runs that wrote to it; none for a file that is to be made. */
  constructor(ground: StagingGround, id: Buffer, salts: readonly Buffer[]) {
    this.#ground = ground
    this.id = id
    this.#path = join(ground.directory, id.toString('hex'))
    this.#place = new StagePlace(id)
    this.#salts = [...salts]
    this.#opening = salts.map(() => undefined)
    this.#exists = salts.length > 0
  }

  get salts(): readonly Buffer[] {
    return this.#salts
  }

  /** Something was written to it. */
  get exists(): boolean {
    return this.#exists
  }

  /** What the file takes on disk. */
  get diskBytes(): number {
    if (!this.#exists) return 0
    return fstatSync(this.#open()).blocks * 512
  }

  write(kind: PieceKind, index: number, slot: number, plaintext: Uint8Array): PieceRef {
    const { scratch } = this.#ground
    if (!this.#sealing) {
      this.#sealing = new SealingSpace(this.#ground.key, 'staging')
      this.#sealingSalt = this.#salts.length
      this.#salts.push(this.#sealing.salt)
      this.#opening.push(undefined)
    }
    const position = this.#position++
    this.#sealing.seal(position, this.#place.set(kind, index, plaintext.byteLength), plaintext, scratch, 0)
    this.#writeAll(scratch, plaintext.byteLength + TAG_BYTES, slotOffset(slot))
    return { slot, position, salt: this.#sealingSalt, lengthBytes: plaintext.byteLength }
  }

  /** The piece's plaintext. */
  read(kind: PieceKind, index: number, ref: PieceRef): Buffer {
    const { lengthBytes } = ref
    const sealed = this.#ground.scratch.subarray(0, lengthBytes + TAG_BYTES)
    const plain = this.#readAll(sealed, slotOffset(ref.slot))
      ? this.#space(ref.salt).open(ref.position, this.#place.set(kind, index, lengthBytes), sealed)
      : undefined
    if (!plain) throw new FsError('damaged', 'bytes that wait for their upload are damaged', { operation: 'read' })
    return plain
  }

  /** What was written is on stable storage when this answers, and so is the file's name. */
  async sync(): Promise<void> {
    if (!this.#exists) return
    await flushed(this.#open(), fdatasync)
    if (!this.#unsyncedName) return
    const directory = openSync(dirname(this.#path), 'r')
    try {
      await flushed(directory, fsync)
      this.#unsyncedName = false
    } finally {
      closeSync(directory)
    }
  }

  /** Closes the descriptor until it is needed again. */
  park(): void {
    if (this.#fd === undefined) return
    closeSync(this.#fd)
    this.#fd = undefined
  }

  remove(): void {
    this.park()
    if (this.#exists) rmSync(this.#path, { force: true })
    this.#exists = false
  }

  #space(salt: number): OpeningSpace {
    const bytes = this.#salts[salt]
    if (!bytes) throw new FsError('damaged', 'the map of a staging file is damaged', { operation: 'read' })
    return (this.#opening[salt] ??= new OpeningSpace(this.#ground.key, 'staging', bytes))
  }

  #open(): number {
    this.#fd ??= this.#exists ? this.#openExisting() : this.#create()
    return this.#fd
  }

  #openExisting(): number {
    const fd = attempt(() => openSync(this.#path, 'r+'))
    const header = Buffer.alloc(HEADER_BYTES)
    try {
      attempt(() => readSync(fd, header, 0, HEADER_BYTES, 0))
      checkHeader(header, this.id)
      return fd
    } catch (error) {
      closeSync(fd)
      throw error
    }
  }

  #create(): number {
    // A file that is there was begun by a run whose writes no root knows.
    const fd = openSync(this.#path, 'w+', 0o600)
    try {
      const header = encodeHeader(this.id)
      writeSync(fd, header, 0, header.length, 0)
    } catch (error) {
      closeSync(fd)
      rmSync(this.#path, { force: true })
      throw error
    }
    this.#exists = true
    this.#unsyncedName = true
    return fd
  }

  #writeAll(bytes: Buffer, lengthBytes: number, offset: number): void {
    for (let turn = 0; ; turn++) {
      try {
        const fd = this.#open()
        for (let done = 0; done < lengthBytes; ) done += writeSync(fd, bytes, done, lengthBytes - done, offset + done)
        return
      } catch (error) {
        if (error instanceof FsError) throw error
        const { code } = error as NodeJS.ErrnoException
        if (code !== 'ENOSPC' && code !== 'EDQUOT')
          throw new FsError('io', 'the disk that keeps what waits for its upload failed', { operation: 'write', cause: error })
        if (turn > 0) throw new FsError('no-space', 'the disk that keeps what waits for its upload is full', { operation: 'write' })
        this.#ground.makeRoom(SLOT_BYTES * 256)
      }
    }
  }

  #readAll(into: Buffer, offset: number): boolean {
    const fd = this.#open()
    for (let done = 0; done < into.length; ) {
      const count = attempt(() => readSync(fd, into, done, into.length - done, offset + done))
      if (count === 0) return false
      done += count
    }
    return true
  }
}

/** The disk has what was written to a descriptor when this answers. */
export function flushed(fd: number, flush: (fd: number, callback: (error: NodeJS.ErrnoException | null) => void) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    flush(fd, error =>
      error ? reject(new FsError('io', 'the disk did not take what was written', { operation: 'fsync', cause: error })) : resolve(),
    )
  })
}

/** What the disk refuses, as an operating error. */
function attempt<T>(work: () => T): T {
  try {
    return work()
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT') throw new FsError('damaged', 'bytes that wait for their upload are gone', { operation: 'read' })
    throw new FsError('io', 'the disk that keeps what waits for its upload failed', { operation: 'read', cause: error })
  }
}
