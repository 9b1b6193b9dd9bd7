/**
 * The directory of staged contents.
 *
 * Owns: making, resuming and finding of staged files, and the removal of those that nothing refers to (left by a process that
 * ended before the journal knew of them). Must stay true: nothing is removed that a journal row names.
 */
import { randomBytes } from 'node:crypto'
import { closeSync, fdatasync, fsync, mkdirSync, openSync, readdirSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import type { SecretKey } from '../../crypto/secret-key.ts'
import { FsError } from '../../errors.ts'
import { type BaseReader, StagedReader } from './content.ts'
import { FILE_ID_BYTES, SLOT_BYTES } from './format.ts'
import { flushed as descriptorFlushed, type StagingGround } from './piece-file.ts'
import { StagedFile } from './staged-file.ts'

const FILE_NAME = /^[0-9a-f]{32}$/

export interface StagingOptions {
  readonly directory: string
  /** The library's key; what is needed is derived from it. */
  readonly key: SecretKey
  /** Asked once when the disk is full, to free about so many bytes: the block cache can. */
  readonly makeRoom?: (bytes: number) => void
}

export class StagingArea {
  readonly #ground: StagingGround

  constructor(options: StagingOptions) {
    mkdirSync(options.directory, { recursive: true, mode: 0o700 })
    this.#ground = {
      directory: options.directory,
      key: options.key,
      scratch: Buffer.allocUnsafeSlow(SLOT_BYTES),
      makeRoom: options.makeRoom ?? (() => {}),
    }
  }

  /** New content: that of `base`, or none. Nothing is on disk before something is written. */
  create(base?: BaseReader): StagedFile {
    return StagedFile.create(this.#ground, randomBytes(FILE_ID_BYTES), base)
  }

  /** Content that a journal row describes, to be written on: see StagedFile.resume. */
  resume(roots: readonly Buffer[], base?: BaseReader): StagedFile {
    return StagedFile.resume(this.#ground, roots, base)
  }

  /** One state of a content, to be read. */
  open(root: Buffer, base?: BaseReader): StagedReader {
    return new StagedReader(this.#ground, root, base)
  }

  /** Removes a content by its id. */
  remove(id: string): void {
    if (FILE_NAME.test(id)) rmSync(join(this.#ground.directory, id), { force: true })
  }

  /** Removes what is none of `known`; answers how many. Only while nothing is being written. */
  removeOrphans(known: ReadonlySet<string>): number {
    let count = 0
    for (const name of readdirSync(this.#ground.directory)) {
      if (!FILE_NAME.test(name) || known.has(name)) continue
      rmSync(join(this.#ground.directory, name), { force: true })
      count++
    }
    return count
  }

  /** All that was written survives power loss when this answers: of all contents, whoever has them open. */
  async sync(signal?: AbortSignal): Promise<void> {
    const { directory } = this.#ground
    for (const name of readdirSync(directory)) {
      if (signal?.aborted) throw new FsError('interrupted', 'interrupted', { operation: 'sync' })
      if (FILE_NAME.test(name)) await flushed(join(directory, name), fdatasync)
    }
    await flushed(directory, fsync)
  }

  /** What all contents take on disk. Looks at each file. */
  diskBytes(): number {
    let bytes = 0
    for (const name of readdirSync(this.#ground.directory))
      bytes += statSync(join(this.#ground.directory, name), { throwIfNoEntry: false })?.blocks ?? 0
    return bytes * 512
  }
}

/** Nothing to do where it is gone: nobody needs it any more. */
async function flushed(path: string, flush: typeof fsync): Promise<void> {
  let fd: number
  try {
    fd = openSync(path, 'r')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return
    throw new FsError('io', 'the disk that keeps what waits for its upload failed', { operation: 'fsync', cause: error })
  }
  try {
    await descriptorFlushed(fd, flush)
  } finally {
    closeSync(fd)
  }
}
