/**
 * A vault in a folder: a file for each blob.
 *
 * Owns: descriptors, the order of flushes that the contract asks for, the folder's sub-folders. It doesn't: touch the header
 * files, which lie beside them, or lock the folder.
 */
import {
  closeSync,
  fdatasync,
  fdatasyncSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  renameSync,
  rmSync,
  statfsSync,
  statSync,
  writeSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { FsError } from '../../../../errors.ts'
import { errnoError } from '../../../../sys/errno.ts'
import type { AppendBlob, StoredBlob, StoreSpace, VaultStore } from './contract.ts'

const FOLDERS = ['packs', 'log', 'checkpoints']
const OPEN_READERS_LIMIT = 64
const NEW_SUFFIX = '.new'

export class FolderStore implements VaultStore {
  readonly #folder: string
  /** Descriptors for reading, the least recently used first. */
  readonly #readers = new Map<string, number>()

  /** `folder` exists; what is missing below it is made, unless it is only read. */
  constructor(folder: string, options: { readonly readOnly: boolean }) {
    this.#folder = folder
    if (options.readOnly) return
    run('open vault', folder, () => {
      for (const name of FOLDERS) mkdirSync(join(folder, name), { recursive: true, mode: 0o700 })
      syncDirectory(folder)
    })
  }

  list(prefix: string): StoredBlob[] {
    const [folder = '', start = ''] = prefix.split('/')
    const directory = join(this.#folder, folder)
    return run('list', prefix, () =>
      readdirSync(directory)
        .filter(name => name.startsWith(start) && /^[0-9a-z]+$/.test(name))
        .flatMap(name => {
          const stat = statSync(join(directory, name), { throwIfNoEntry: false })
          return stat?.isFile() ? [{ name: `${folder}/${name}`, sizeBytes: stat.size }] : []
        }),
    )
  }

  create(name: string): AppendBlob {
    const path = join(this.#folder, name)
    return run('create', name, () => new FolderBlob(name, dirname(path), openSync(path, 'wx', 0o600)))
  }

  put(name: string, bytes: Uint8Array): void {
    const path = join(this.#folder, name)
    run('put', name, () => {
      const fd = openSync(path + NEW_SUFFIX, 'w', 0o600)
      try {
        writeAll(fd, bytes, 0)
        fsyncSync(fd)
      } finally {
        closeSync(fd)
      }
      renameSync(path + NEW_SUFFIX, path)
      syncDirectory(dirname(path))
    })
    this.#forget(name)
  }

  read(name: string, position: number, into: Uint8Array): number {
    return run('read', name, () => {
      const fd = this.#reader(name)
      let done = 0
      while (done < into.byteLength) {
        const count = readSync(fd, into, done, into.byteLength - done, position + done)
        if (count === 0) break
        done += count
      }
      return done
    })
  }

  remove(name: string): void {
    this.#forget(name)
    run('remove', name, () => rmSync(join(this.#folder, name), { force: true }))
  }

  space(): StoreSpace {
    const found = run('statfs', undefined, () => statfsSync(this.#folder))
    return { totalBytes: found.blocks * found.bsize, freeBytes: found.bfree * found.bsize, availableBytes: found.bavail * found.bsize }
  }

  close(): void {
    for (const fd of this.#readers.values()) closeSync(fd)
    this.#readers.clear()
  }

  #reader(name: string): number {
    const known = this.#readers.get(name)
    if (known !== undefined) {
      this.#readers.delete(name)
      this.#readers.set(name, known)
      return known
    }
    const fd = openSync(join(this.#folder, name), 'r')
    this.#readers.set(name, fd)
    if (this.#readers.size > OPEN_READERS_LIMIT) this.#forget(this.#readers.keys().next().value as string)
    return fd
  }

  #forget(name: string): void {
    const fd = this.#readers.get(name)
    if (fd === undefined) return
    this.#readers.delete(name)
    closeSync(fd)
  }
}

class FolderBlob implements AppendBlob {
  readonly #name: string
  readonly #directory: string
  readonly #fd: number
  #sizeBytes = 0
  #isNamed = false
  #failure: Error | undefined
  #flushing = false
  #isClosed = false

  constructor(name: string, directory: string, fd: number) {
    this.#name = name
    this.#directory = directory
    this.#fd = fd
  }

  get sizeBytes(): number {
    return this.#sizeBytes
  }

  append(bytes: Uint8Array): void {
    run('append', this.#name, () => writeAll(this.#fd, bytes, this.#sizeBytes))
    this.#sizeBytes += bytes.byteLength
  }

  sync(): void {
    run('sync', this.#name, () => {
      if (this.#failure) throw this.#failure
      fdatasyncSync(this.#fd)
      if (!this.#isNamed) syncDirectory(this.#directory)
      this.#isNamed = true
    })
  }

  syncSoon(): void {
    if (this.#flushing) return
    this.#flushing = true
    fdatasync(this.#fd, error => {
      this.#flushing = false
      // The kernel tells a descriptor of a failed write once: the sync that counts has to know.
      this.#failure ??= error ?? undefined
      if (this.#isClosed) closeSync(this.#fd)
    })
  }

  close(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    if (!this.#flushing) closeSync(this.#fd)
  }
}

function writeAll(fd: number, bytes: Uint8Array, position: number): void {
  for (let done = 0; done < bytes.byteLength; ) done += writeSync(fd, bytes, done, bytes.byteLength - done, position + done)
}

function syncDirectory(directory: string): void {
  if (process.platform === 'win32') return
  const fd = openSync(directory, 'r')
  try {
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}

function run<T>(operation: string, subject: string | undefined, work: () => T): T {
  try {
    return work()
  } catch (error) {
    if (error instanceof FsError || !(error instanceof Error) || !('errno' in error) || typeof error.errno !== 'number') throw error
    throw errnoError(-error.errno, `vault ${operation}`, subject)
  }
}
