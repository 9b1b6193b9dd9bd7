/**
 * The listing of one directory: watch first, then read, then statx every name; in pages, with rests between them.
 *
 * Owns: the descriptor and the read position of the directory that is being listed, and the current page.
 * Must stay true:
 * - The watch is set before the first name is read, so that nothing happens unseen between listing and watching.
 * - An excluded name is never looked at: its type and inode come from the directory itself.
 * - A listing that is abandoned sends no last page; the directory stays due.
 */
import { ENOENT } from '../../../../sys/errno.ts'
import type { Name } from '../../../contract.ts'
import { S_IFDIR, S_IFMT } from '../../../contract.ts'
import { type DirectoryIdentity, LISTING_COMPLETE, PAGE_FIRST, PAGE_LAST, ROW_EXCLUDED, ROW_PARTIAL, SECTION_LISTING } from './batch.ts'
import { changeTimeOf, type SessionContext, watchedFlag } from './context.ts'
import { type DirectoryNumber, NONE } from './directory-table.ts'
import { DIRECTORY_READ } from './host-tree.ts'
import { claim, identityOf } from './placement.ts'

const DIRENT_BUFFER_BYTES = 64 * 1024
const DIRENT_NAME = 19
const DT_DIR = 4
const DOT = 46
/** The clock is asked every so many names. */
const NAMES_BETWEEN_CLOCKS = 32

export type Opened = { readonly listing: DirectoryNumber } | { readonly errno: number }

export interface ListingSink {
  /** A directory was found (or found again) in the one that is listed. */
  foundDirectory(directory: DirectoryNumber): void
}

export class Listing {
  readonly #context: SessionContext
  readonly #sink: ListingSink
  readonly #dirents: Buffer = Buffer.allocUnsafeSlow(DIRENT_BUFFER_BYTES)
  readonly #name: Uint8Array = new Uint8Array(260)
  #directory: DirectoryNumber = NONE
  /** Counts listings: entries of the table that a listing has seen carry its number. */
  #number = 0
  #fd = -1
  #position = 0
  #filled = 0
  #isFirstPage = true
  /** The section that is open in the outbox is a page of this listing. */
  #isPageOpen = false
  /** Only directories are looked at and nothing is told: to find the way down. */
  #descendOnly = false
  #token = 0
  #identity: DirectoryIdentity = { deviceMajor: 0, deviceMinor: 0, inoHigh: 0, inoLow: 0 }
  #path: Name = ''
  #excluded: ReadonlySet<Name> | undefined
  #excludedFound: { readonly identity: DirectoryIdentity; readonly path: Name }[] = []
  #entries = 0
  /** Why entries could not be looked at. */
  #denied = 0

  constructor(context: SessionContext, sink: ListingSink) {
    this.#context = context
    this.#sink = sink
  }

  /** The directory that is being listed, or NONE. */
  get directory(): DirectoryNumber {
    return this.#directory
  }
  get number(): number {
    return this.#number
  }
  get descendOnly(): boolean {
    return this.#descendOnly
  }
  /** Names that the listing has come across so far. */
  get entries(): number {
    return this.#entries
  }
  get denied(): number {
    return this.#denied
  }

  /** Opens and watches a directory. Answers the entry that is listed (another one, when a moved directory was found), or why not. */
  open(directory: DirectoryNumber, descendOnly: boolean): Opened {
    const { table, tree, descriptors, control, mounts } = this.#context
    if (mounts.hasChanged()) mounts.refresh()
    const token = control.token
    const fd = tree.open(directory, table.path(directory), 'listing', DIRECTORY_READ)
    if (fd < 0) return { errno: -fd }
    const claimed = claim(this.#context, directory, fd)
    const checked = claimed === NONE ? -ENOENT : tree.statDescriptor(fd)
    if (checked < 0) {
      descriptors.close('listing')
      return { errno: -checked }
    }
    this.#directory = claimed
    this.#number++
    this.#fd = fd
    this.#position = this.#filled = 0
    this.#isFirstPage = true
    this.#descendOnly = descendOnly
    this.#token = token
    this.#identity = identityOf(tree.stat)
    this.#excludedFound = []
    this.#entries = 0
    this.#denied = 0
    if (!descendOnly) table.setChangeTime(claimed, changeTimeOf(tree.stat))
    this.#updatePath()
    if (!descendOnly) {
      this.#beginPage()
      this.#context.outbox.writer.addNamedRow(tree.stat, '')
    }
    return { listing: claimed }
  }

  /** Lists until the directory ends ('done', or an errno), the deadline comes or the outbox is full ('more'). */
  step(deadline: number): 'more' | 'done' | number {
    const { sys, outbox, mounts } = this.#context
    for (let count = 1; ; count++) {
      if (this.#position >= this.#filled) {
        const filled = sys.getdents(this.#fd, this.#dirents)
        if (filled <= 0) return filled === 0 ? 'done' : -filled
        this.#position = 0
        this.#filled = filled
        if (mounts.hasChanged()) mounts.refresh()
        this.#updatePath()
      }
      this.#entry()
      if (outbox.isBatchFull) {
        this.endPage(0)
        outbox.flush()
        if (!outbox.hasRoom(false)) return 'more'
      }
      if (count % NAMES_BETWEEN_CLOCKS === 0 && performance.now() >= deadline) return 'more'
    }
  }

  /** Ends the page that is open, so that something else can be told in between. */
  endPage(flags: number): void {
    if (!this.#isPageOpen) return
    this.#context.outbox.writer.end(flags | (this.#isFirstPage ? PAGE_FIRST : 0))
    this.#isFirstPage = false
    this.#isPageOpen = false
  }

  /** The last page; `complete`: the directory was read to its end. */
  finish(complete: boolean): void {
    const { outbox, control } = this.#context
    if (!this.#descendOnly) {
      this.#beginPage()
      this.endPage(PAGE_LAST | (complete ? LISTING_COMPLETE : 0) | watchedFlag(this.#context, this.#directory))
      for (const { identity, path } of this.#excludedFound) outbox.addEmptyListing(identity, path, control.token, LISTING_COMPLETE)
    }
    this.abandon()
  }

  abandon(): void {
    this.endPage(0)
    this.#context.descriptors.close('listing')
    this.#directory = NONE
    this.#fd = -1
  }

  #updatePath(): void {
    this.#path = this.#context.table.path(this.#directory)
    this.#excluded = this.#context.mounts.excludedIn(this.#path)
  }

  #beginPage(): void {
    if (this.#isPageOpen) return
    this.#context.outbox.begin(SECTION_LISTING, this.#identity, this.#path, this.#token)
    this.#isPageOpen = true
  }

  /** struct linux_dirent64: inode (8), offset (8), length (2), type (1), name, NUL. */
  #entry(): void {
    const dirents = this.#dirents
    const at = this.#position
    const length = dirents[at + 16]! | (dirents[at + 17]! << 8)
    this.#position = at + length
    const start = at + DIRENT_NAME
    // The name is padded to a multiple of 8: its NUL is among the last eight bytes.
    let end = Math.max(start, at + length - 8)
    while (dirents[end] !== 0) end++
    const nameLength = end - start
    if (dirents[start] === DOT && (nameLength === 1 || (nameLength === 2 && dirents[start + 1] === DOT))) return
    this.#entries++
    if (this.#excluded?.has(dirents.toString('latin1', start, end))) {
      this.#excludedEntry(at, dirents.toString('latin1', start, end))
      return
    }
    const type = dirents[at + 18]!
    if (this.#descendOnly && type !== DT_DIR && type !== 0) return
    const name = this.#name
    for (let i = 0; i < nameLength; i++) name[i] = dirents[start + i]!
    name[nameLength] = 0
    const { tree, outbox } = this.#context
    const result = tree.statBytes(this.#fd, name)
    if (result < 0) {
      if (result !== -ENOENT) this.#deniedEntry(at, dirents.toString('latin1', start, end), -result)
      return
    }
    if (!this.#descendOnly) {
      this.#beginPage()
      outbox.writer.addRow(tree.stat, name, 0, nameLength)
    }
    if ((tree.stat[7]! & S_IFMT) === S_IFDIR) this.#foundDirectory(dirents.toString('latin1', start, end))
  }

  #foundDirectory(name: Name): void {
    const { table, tree } = this.#context
    let child = table.child(this.#directory, name)
    if (child !== NONE && !table.isSame(child, tree.stat)) {
      table.remove(child)
      child = NONE
    }
    if (child === NONE) child = table.add(this.#directory, name, identityOf(tree.stat))
    table.setSeen(child, this.#number)
    this.#sink.foundDirectory(child)
  }

  #excludedEntry(at: number, name: Name): void {
    const { table, outbox } = this.#context
    const inoLow = this.#dirents.readUInt32LE(at)
    const inoHigh = this.#dirents.readUInt32LE(at + 4)
    const child = table.child(this.#directory, name)
    if (child !== NONE) table.remove(child)
    if (this.#descendOnly) return
    this.#beginPage()
    outbox.writer.addPartialRow(name, ROW_PARTIAL | ROW_EXCLUDED, S_IFDIR, this.#identity, inoLow, inoHigh)
    this.#excludedFound.push({ identity: { ...this.#identity, inoLow, inoHigh }, path: this.#path === '' ? name : `${this.#path}/${name}` })
  }

  #deniedEntry(at: number, name: Name, errno: number): void {
    const { table, outbox } = this.#context
    this.#denied = errno
    const child = table.child(this.#directory, name)
    if (child !== NONE) table.setSeen(child, this.#number)
    if (this.#descendOnly) return
    this.#beginPage()
    const mode = this.#dirents[at + 18]! << 12
    outbox.writer.addPartialRow(name, ROW_PARTIAL, mode, this.#identity, this.#dirents.readUInt32LE(at), this.#dirents.readUInt32LE(at + 4))
  }
}
