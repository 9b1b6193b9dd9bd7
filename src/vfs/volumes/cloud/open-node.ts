/**
 * A node that somebody has open: its attributes as they are now, the object it rests on, and what was written.
 *
 * Owns: the switch between the object's content and the staged one. Must stay true:
 * - All handles of a node see one content: the staged one once something was written.
 * - Bytes that are left to the object come from the state that the node was opened with, or from what this volume itself made of it
 *   (`follow`): the same bytes elsewhere. Another state is never mixed in: that is 'stale'.
 * It doesn't: queue uploads (planner.ts), or know names.
 */
import type { ObjectReader, ObjectReading, RemoteObject } from '../../../cache/reading/object-reader.ts'
import type { BaseReader } from '../../../cache/staging/content.ts'
import type { StagedFile } from '../../../cache/staging/staged-file.ts'
import type { StagingArea } from '../../../cache/staging/staging-area.ts'
import type { WorkId } from '../../../cache/writeback/work.ts'
import { errorKind, FsError } from '../../../errors.ts'
import { Attributes, type Ino } from '../../contract.ts'

/** So long a read waits for an upload that took away what it reads. */
const PATIENCE_MS = 5000

export type Signal = () => AbortSignal | undefined

export type OwnWork = (ino: Ino, signal: AbortSignal | undefined) => Promise<void> | undefined

export class OpenNode {
  readonly ino: Ino
  attributes: Attributes
  handles = 0
  /** It has no name any more: nothing of it is uploaded. */
  isUnlinked = false
  /** Somebody else removed or replaced its object: nothing can be written to it any more. */
  isLost = false
  /** Content or attributes that the journal doesn't have. */
  isDirty: boolean
  staged: StagedFile | undefined
  /** How many wait for something of the staged file (a base's bytes, the disk): it stays until they are done. */
  inUse = 0
  /** Of the staged content: which root each piece of work needs. */
  readonly roots = new Map<WorkId, number>()
  readonly ownWork: OwnWork
  #remote: RemoteObject | undefined
  readonly #reading: ObjectReading
  readonly #staging: StagingArea
  #base: FollowingReader | undefined

  constructor(options: {
    readonly attributes: Attributes
    readonly remote: RemoteObject | undefined
    readonly isDirty: boolean
    readonly reading: ObjectReading
    readonly staging: StagingArea
    /** Answers when work on the node that is being done now is in the index; undefined: there is none. */
    readonly ownWork: OwnWork
  }) {
    this.ino = options.attributes.ino
    this.attributes = options.attributes
    this.isDirty = options.isDirty
    this.#remote = options.remote
    this.#reading = options.reading
    this.#staging = options.staging
    this.ownWork = options.ownWork
  }

  /** The object that holds what isn't staged. */
  get remote(): RemoteObject | undefined {
    return this.#remote
  }

  get sizeBytes(): number {
    return this.staged?.sizeBytes ?? this.#remote?.sizeBytes ?? 0
  }

  /** A reader for one handle: of the object. */
  reader(): FollowingReader {
    return new FollowingReader(this, this.#reading)
  }

  /** What staged content rests on, for reading what was left to it. */
  base(): FollowingReader {
    return (this.#base ??= this.reader())
  }

  /** The content to be written to. */
  forWriting(): StagedFile {
    this.staged ??= this.#staging.create(this.#remote && this.#remote.sizeBytes > 0 ? this.base() : undefined)
    return this.staged
  }

  /** The content is empty from now on: nothing is left to the object. */
  empty(): void {
    if (this.staged) this.staged.truncate(0)
    else this.staged = this.#staging.create()
  }

  /** Work doesn't need a root any more. Other work may have the same one: nothing was written in between. */
  endRoot(number: number | undefined): void {
    if (number === undefined || [...this.roots.values()].includes(number)) return
    this.staged?.endRoot(number)
  }

  /** The content as it is now; `reader`: of the handle that asks. */
  read(position: number, into: Buffer, signal: Signal, reader: FollowingReader): number | Promise<Buffer> {
    if (!this.staged) return reader.read(position, into, signal)
    const answer = this.staged.read(position, into, signal)
    if (typeof answer === 'number') return answer
    this.inUse++
    return answer.finally(() => {
      this.inUse--
    })
  }

  /** This volume itself put what the object is now: the same content, as far as anything is left to it. */
  follow(remote: RemoteObject): void {
    this.#remote = remote
  }

  /** What was staged is the object now. */
  settle(remote: RemoteObject): void {
    this.#remote = remote
    this.staged = undefined
    this.roots.clear()
    this.#base?.close()
    this.#base = undefined
  }

  /** Somebody else removed its object. What would be written has no place to go: that is an error, and never silence. */
  loseElsewhere(): void {
    this.isLost = true
    this.lose()
  }

  /** Its name is gone: who has it open reads on as far as the bytes are at hand. */
  lose(): void {
    this.isUnlinked = true
    this.attributes = Object.assign(new Attributes(), this.attributes, { nlink: 0 })
  }

  close(): void {
    this.#base?.close()
    this.#base = undefined
  }
}

/** Reads a node's object, wherever this volume has moved it meanwhile. */
export class FollowingReader implements BaseReader {
  readonly #node: OpenNode
  readonly #reading: ObjectReading
  #remote: RemoteObject | undefined
  #reader: ObjectReader | undefined

  constructor(node: OpenNode, reading: ObjectReading) {
    this.#node = node
    this.#reading = reading
  }

  get sizeBytes(): number {
    return this.#node.remote?.sizeBytes ?? 0
  }

  read(position: number, into: Buffer, signal: Signal): number | Promise<Buffer> {
    const reader = this.#current()
    if (!reader) return 0
    const answer = reader.read(position, into, signal)
    return typeof answer === 'number' ? answer : this.#following(answer, position, into.length, signal)
  }

  close(): void {
    this.#reader?.close()
    this.#reader = undefined
    this.#remote = undefined
  }

  #current(): ObjectReader | undefined {
    const { remote } = this.#node
    if (remote === this.#remote) return this.#reader
    this.close()
    this.#remote = remote
    this.#reader = remote && this.#reading.open(remote)
    return this.#reader
  }

  async #following(answer: Promise<Buffer>, position: number, lengthBytes: number, signal: Signal): Promise<Buffer> {
    const asked = this.#remote
    try {
      return await answer
    } catch (error) {
      const kind = errorKind(error)
      if (kind !== 'stale' && kind !== 'not-found') throw error
      // The bucket may have what this volume made of it already, and the index not yet.
      if (this.#node.remote === asked) await this.#ownWork(signal())
      const { remote } = this.#node
      if (!remote || remote === asked) throw kind === 'stale' ? error : gone(error)
      const into = Buffer.allocUnsafe(lengthBytes)
      const again = this.read(position, into, signal)
      return typeof again === 'number' ? into.subarray(0, again) : again
    }
  }

  /** Waits for what is being done for the node, for a while: it may have to be tried again and again. */
  async #ownWork(signal: AbortSignal | undefined): Promise<void> {
    const patience = AbortSignal.timeout(PATIENCE_MS)
    try {
      await this.#node.ownWork(this.#node.ino, signal ? AbortSignal.any([signal, patience]) : patience)
    } catch (error) {
      if (signal?.aborted) throw error
    }
  }
}

function gone(cause: unknown): FsError {
  return new FsError('stale', 'the object was removed meanwhile', { operation: 'read', cause })
}
