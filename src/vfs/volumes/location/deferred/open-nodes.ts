/**
 * Files and directories of a location that another thread drives, as the main thread hands them out.
 *
 * Owns: of a directory, the rows that were fetched and not yet taken. Must stay true: each belongs to the thread that opened
 * it and is released there once; a reference in a row that is never taken is given back.
 */
import { FsError } from '../../../../errors.ts'
import type { DirectorySink, Ino, OpenDirectory, OpenFile, RequestContext, WriteOptions } from '../../../contract.ts'
import type { Drive } from './drive.ts'
import { attributesOf, type DirectoryRow, type OpenedDirectory, type OpenedFile, ownBytes } from './protocol.ts'

/** Rows that are fetched at once. */
const PAGE_ROWS = 256

export class DeferredFile implements OpenFile {
  readonly drive: Drive
  readonly opened: OpenedFile

  constructor(drive: Drive, opened: OpenedFile) {
    this.drive = drive
    this.opened = opened
    drive.opened()
  }

  get ino(): Ino {
    return this.opened.ino
  }
  get keepCache(): boolean {
    return this.opened.keepCache
  }
  get directIo(): boolean {
    return this.opened.directIo
  }
  get noFlush(): boolean {
    return this.opened.noFlush
  }

  async read(context: RequestContext, position: number, into: Buffer): Promise<Buffer> {
    const bytes = await this.drive.call('read', context, [this.opened.handle, position, into.length])
    return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
  }

  write(context: RequestContext, position: number, data: Buffer, options: WriteOptions): Promise<number> {
    // The caller has its buffer back when this returns.
    const bytes = ownBytes(data)
    return this.drive.call('write', context, [this.opened.handle, position, bytes, { ...options }], { transfer: bytes.buffer })
  }

  flush(): void {}

  fsync(context: RequestContext, dataOnly: boolean): Promise<void> {
    return this.drive.call('fsync', context, [this.opened.handle, dataOnly], { slow: true })
  }

  fallocate(context: RequestContext, mode: number, offset: number, lengthBytes: number): Promise<void> {
    return this.drive.call('fallocate', context, [this.opened.handle, mode, offset, lengthBytes])
  }

  seek(context: RequestContext, offset: number, whence: number): Promise<number> {
    return this.drive.call('seek', context, [this.opened.handle, offset, whence])
  }

  copyRange(context: RequestContext, offset: number, target: OpenFile, targetOffset: number, lengthBytes: number): Promise<number> {
    if (!(target instanceof DeferredFile) || target.drive !== this.drive)
      throw new FsError('cross-volume', undefined, { operation: 'copy_file_range' })
    return this.drive.call('copyRange', context, [this.opened.handle, offset, target.opened.handle, targetOffset, lengthBytes])
  }

  release(): void {
    this.drive.release(this.opened.handle)
  }
}

export class DeferredDirectory implements OpenDirectory {
  readonly #drive: Drive
  readonly #opened: OpenedDirectory
  readonly #forget: (ino: Ino) => void
  #left: readonly DirectoryRow[] = []
  #leftFrom = 0n
  #leftEnded = false
  #leftAttributes = false

  /** `forget` gives back a reference of a row that was not taken. */
  constructor(drive: Drive, opened: OpenedDirectory, forget: (ino: Ino) => void) {
    this.#drive = drive
    this.#opened = opened
    this.#forget = forget
    drive.opened()
  }

  get ino(): Ino {
    return this.#opened.ino
  }
  get keepCache(): boolean {
    return this.#opened.keepCache
  }

  async read(context: RequestContext, offset: bigint, withAttributes: boolean, sink: DirectorySink): Promise<void> {
    let from = offset
    let page = this.#takeLeft(from, withAttributes)
    for (;;) {
      page ??= await this.#drive.call('readdir', context, [this.#opened.handle, from, withAttributes, PAGE_ROWS], {
        undo: late => this.#giveBack(late.rows),
      })
      for (let i = 0; i < page.rows.length; i++) {
        const row = page.rows[i]!
        const entry = row.entry && { ...row.entry, attributes: attributesOf(row.entry.attributes) }
        if (!sink.add(row.name, row.ino, row.type, row.next, entry))
          return this.#keepLeft(page.rows.slice(i), from, page.ended, withAttributes)
        from = row.next
      }
      if (page.ended) return
      page = undefined
    }
  }

  fsync(context: RequestContext, dataOnly: boolean): Promise<void> {
    return this.#drive.call('fsyncdir', context, [this.#opened.handle, dataOnly], { slow: true })
  }

  release(): void {
    this.#giveBack(this.#left)
    this.#left = []
    this.#drive.release(this.#opened.handle)
  }

  /** What was fetched for the last reader, where this one goes on. A listing that starts anew sees what is there now. */
  #takeLeft(from: bigint, withAttributes: boolean): { rows: readonly DirectoryRow[]; ended: boolean } | undefined {
    const rows = this.#left
    this.#left = []
    if (rows.length > 0 && from !== 0n && from === this.#leftFrom && withAttributes === this.#leftAttributes)
      return { rows, ended: this.#leftEnded }
    this.#giveBack(rows)
    return undefined
  }

  #keepLeft(rows: readonly DirectoryRow[], from: bigint, ended: boolean, withAttributes: boolean): void {
    this.#giveBack(this.#left)
    this.#left = rows
    this.#leftFrom = from
    this.#leftEnded = ended
    this.#leftAttributes = withAttributes
  }

  #giveBack(rows: readonly DirectoryRow[]): void {
    for (const { entry } of rows) if (entry) this.#forget(entry.attributes.ino)
  }
}
