/**
 * Content that is being written and not uploaded yet: random writes, truncation, holes, over what the object has.
 *
 * Owns: the frames in memory that aren't sealed yet (bounded), the map of those that are, and the roots made of it.
 * Must stay true:
 * - A root describes the content as it was when `checkpoint` answered, for as long as that root isn't ended, whatever is written
 *   afterwards (`StagedReader` reads it).
 * - After `checkpoint` everything is in the file (it survives the process), after `sync` on stable storage.
 * - What was never written shows the base up to `#baseEnd`, and zeros beyond.
 * It doesn't: know names or objects; the base is whoever can read it.
 */
import { FsError } from '../../errors.ts'
import { SEEK_DATA } from '../../sys/flags.ts'
import type { Answer } from '../../vfs/contract.ts'
import { type BaseReader, loadMap, type Run, readRuns, SealedContent } from './content.ts'
import {
  CONTENT_IN_ROOT_BYTES,
  decodeRoot,
  type EntryValue,
  encodeEntries,
  encodeRoot,
  INLINE_FRAMES,
  type PieceKind,
  type PieceRef,
  type Root,
  STAGE_FRAME_BYTES,
} from './format.ts'
import { FrameMap } from './frame-map.ts'
import { PieceFile, type StagingGround } from './piece-file.ts'
import { Slots } from './slots.ts'

/** Frames kept in memory before they are sealed: writes of a few bytes gather here. */
const DIRTY_FRAMES = 16
const ZEROS = Buffer.alloc(STAGE_FRAME_BYTES)
const noSignal = () => undefined

type Signal = () => AbortSignal | undefined

export interface Checkpoint {
  /** For the journal. */
  readonly root: Buffer
  /** For `endRoot`, when nothing needs this root any more. */
  readonly number: number
}

export class StagedFile {
  readonly #content: SealedContent
  readonly #slots: Slots
  /** Oldest first. Whole frames, with zeros past the end of the content. */
  readonly #dirty = new Map<number, Buffer>()
  #sizeBytes: number
  #baseEnd: number
  #changed = true
  #last: Checkpoint | undefined

  private constructor(content: SealedContent, slots: Slots, sizeBytes: number, baseEnd: number) {
    this.#content = content
    this.#slots = slots
    this.#sizeBytes = sizeBytes
    this.#baseEnd = baseEnd
  }

  /** New content: that of `base`, or none. */
  static create(ground: StagingGround, id: Buffer, base: BaseReader | undefined): StagedFile {
    const size = base?.sizeBytes ?? 0
    return new StagedFile(new SealedContent(new PieceFile(ground, id, []), new FrameMap(), base), new Slots(), size, size)
  }

  /**
   * The content that the last of `roots` describes, to be written on. The others are of the same file and still count. They have
   * the numbers 1 and on. `base`: for what the root leaves to it.
   */
  static resume(ground: StagingGround, roots: readonly Buffer[], base: BaseReader | undefined): StagedFile {
    const decoded = roots.map(decodeRoot)
    const root = decoded.at(-1)
    if (!root) throw new Error('a staged file is resumed from a root')
    const file = new PieceFile(ground, root.fileId, root.salts)
    const slots = new Slots()
    const used = new Set<number>()
    let map = new FrameMap()
    for (const one of decoded) {
      map = loadMap(file, one)
      for (const { value } of map.from(0)) if (value !== 'zeros') used.add(value.slot)
      for (const { ref } of map.pages()) if (ref) used.add(ref.slot)
    }
    slots.restore(used)
    for (const _ of roots) slots.root()
    const staged = new StagedFile(new SealedContent(file, map, base), slots, root.sizeBytes, root.baseEnd)
    if (root.content && root.content.length > 0) staged.#newFrame(0).set(root.content)
    return staged
  }

  get id(): string {
    return this.#content.file.id.toString('hex')
  }
  get sizeBytes(): number {
    return this.#sizeBytes
  }
  get diskBytes(): number {
    return this.#content.file.diskBytes
  }
  /** Something was written since the last checkpoint. */
  get changed(): boolean {
    return this.#changed
  }

  /** As the contract of files has it: a count at once, or the bytes when the base has to be waited for. */
  read(position: number, into: Buffer, signal: Signal = noSignal): number | Promise<Buffer> {
    const wanted = into.subarray(0, Math.max(0, Math.min(into.length, this.#sizeBytes - position)))
    return readRuns((at, rest, abort) => this.#run(at, rest, abort), position, wanted, signal)
  }

  /** Writes all of it. Waits only for parts of frames that the base has. */
  write(position: number, data: Uint8Array, signal: Signal = noSignal): Answer<void> {
    for (let done = 0; done < data.byteLength; ) {
      const at = position + done
      const frame = Math.floor(at / STAGE_FRAME_BYTES)
      const offset = at - frame * STAGE_FRAME_BYTES
      const count = Math.min(STAGE_FRAME_BYTES - offset, data.byteLength - done)
      const bytes = offset === 0 && count >= this.#lengthIn(frame) ? this.#newFrame(frame) : this.#frameToChange(frame, signal)
      if (bytes instanceof Promise) {
        // The caller's buffer is only lent.
        const rest = Buffer.from(data.subarray(done))
        return bytes.then(() => this.write(at, rest, signal))
      }
      bytes.set(data.subarray(done, done + count), offset)
      done += count
      this.#sizeBytes = Math.max(this.#sizeBytes, at + count)
      this.#changed = true
      this.#bound(frame)
    }
  }

  truncate(sizeBytes: number): void {
    if (sizeBytes === this.#sizeBytes) return
    if (sizeBytes < this.#sizeBytes) this.#cut(sizeBytes)
    this.#changed = true
    this.#sizeBytes = sizeBytes
    this.#baseEnd = Math.min(this.#baseEnd, sizeBytes)
  }

  /** Makes zeros of a range inside the content; what are whole frames takes no room afterwards. */
  zero(position: number, lengthBytes: number, signal: Signal = noSignal): Answer<void> {
    const end = Math.min(position + lengthBytes, this.#sizeBytes)
    for (let at = position; at < end; ) {
      const frame = Math.floor(at / STAGE_FRAME_BYTES)
      const stop = Math.min(end, (frame + 1) * STAGE_FRAME_BYTES)
      if (at === frame * STAGE_FRAME_BYTES && stop - at >= this.#lengthIn(frame)) this.#clear(frame)
      else {
        const written = this.write(at, ZEROS.subarray(0, stop - at), signal)
        if (written) return written.then(() => this.zero(stop, end - stop, signal))
      }
      at = stop
    }
    this.#changed = true
  }

  /** lseek(2): the next data (SEEK_DATA 3) or hole (SEEK_HOLE 4) at or after `position`. Throws 'no-device' past the end. */
  seek(position: number, whence: number): number {
    for (let at = position; at < this.#sizeBytes; at = (Math.floor(at / STAGE_FRAME_BYTES) + 1) * STAGE_FRAME_BYTES)
      if (this.#isData(Math.floor(at / STAGE_FRAME_BYTES)) === (whence === SEEK_DATA)) return at
    if (whence === SEEK_DATA || position >= this.#sizeBytes) throw new FsError('no-device', 'nothing beyond', { operation: 'lseek' })
    return this.#sizeBytes
  }

  /** What is left to the base, as runs of bytes, at most `limit` of them. None: the content is all here. */
  baseRuns(limit = Number.POSITIVE_INFINITY): Run[] {
    return this.#content.baseRuns(this.#baseEnd, frame => this.#dirty.has(frame) || this.#content.map.get(frame) !== undefined, limit)
  }

  /** Brings in what is left to the base, so that the content no longer depends on it. */
  async hydrate(signal?: AbortSignal): Promise<void> {
    const buffer = Buffer.allocUnsafe(STAGE_FRAME_BYTES * 8)
    for (let run = this.baseRuns(1)[0]; run; run = this.baseRuns(1)[0]) {
      const piece = buffer.subarray(0, Math.min(run.end - run.begin, buffer.length))
      const answer = this.read(run.begin, piece, () => signal)
      const bytes = typeof answer === 'number' ? piece.subarray(0, answer) : await answer
      if (signal?.aborted) throw new FsError('interrupted', 'interrupted', { operation: 'read' })
      // What was written meanwhile is newer than what was read.
      for (let at = 0; at < bytes.length; at += STAGE_FRAME_BYTES) {
        const frame = (run.begin + at) / STAGE_FRAME_BYTES
        const isStillLeft = !this.#dirty.has(frame) && this.#content.map.get(frame) === undefined && run.begin + at < this.#baseEnd
        if (!isStillLeft) continue
        this.#take(frame, bytes.subarray(at, at + STAGE_FRAME_BYTES))
        this.#changed = true
        this.#bound(frame)
      }
    }
  }

  /** Makes a root of the content as it is; what is in memory is sealed, or in the root. The same one again when nothing changed. */
  checkpoint(): Checkpoint {
    if (this.#last && !this.#changed) return this.#last
    const { file } = this.#content
    const entries = this.#rootContent() ?? this.#rootEntries()
    const root = encodeRoot({ fileId: file.id, sizeBytes: this.#sizeBytes, baseEnd: this.#baseEnd, salts: file.salts, ...entries })
    this.#changed = false
    this.#last = { root, number: this.#slots.root() }
    return this.#last
  }

  /** Nothing needs that root any more: its slots may be used again. */
  endRoot(number: number): void {
    if (this.#last?.number === number) this.#last = undefined
    this.#slots.endRoot(number)
  }

  /** What the last checkpoint describes is on stable storage when this answers. */
  sync(): Promise<void> {
    return this.#content.file.sync()
  }

  /**
   * Nobody has it open: gives back the descriptor. Needs a checkpoint before. It may be dropped then, and resumed from its roots
   * when it is wanted again.
   */
  park(): void {
    if (this.#changed) throw new Error('parked without a checkpoint')
    this.#content.file.park()
  }

  /** Its content is uploaded, or unwanted. */
  remove(): void {
    this.#dirty.clear()
    this.#content.file.remove()
  }

  #run(position: number, into: Buffer, signal: Signal): number | Promise<Buffer> {
    const frame = Math.floor(position / STAGE_FRAME_BYTES)
    const dirty = this.#dirty.get(frame)
    if (dirty) return dirty.copy(into, 0, position - frame * STAGE_FRAME_BYTES)
    return this.#content.run(position, into, this.#baseEnd, signal, other => this.#dirty.has(other))
  }

  /** How much of the content lies in a frame. */
  #lengthIn(frame: number): number {
    return Math.max(0, Math.min(STAGE_FRAME_BYTES, this.#sizeBytes - frame * STAGE_FRAME_BYTES))
  }

  /** A frame that is about to be overwritten whole. */
  #newFrame(frame: number): Buffer {
    let bytes = this.#dirty.get(frame)
    if (!bytes) this.#dirty.set(frame, (bytes = Buffer.alloc(STAGE_FRAME_BYTES)))
    return bytes
  }

  /** A frame with what it has, to be changed in part. */
  #frameToChange(frame: number, signal: Signal): Buffer | Promise<unknown> {
    const dirty = this.#dirty.get(frame)
    if (dirty) return dirty
    const bytes = Buffer.alloc(STAGE_FRAME_BYTES)
    const there = bytes.subarray(0, this.#lengthIn(frame))
    const answer = readRuns((at, rest, abort) => this.#run(at, rest, abort), frame * STAGE_FRAME_BYTES, there, signal)
    if (typeof answer !== 'number') return answer.then(filled => this.#fill(frame, filled))
    this.#dirty.set(frame, bytes)
    return bytes
  }

  /** The base answered: the frame is taken over, unless somebody else did so, or it isn't the base's any more. */
  #fill(frame: number, filled: Buffer): void {
    if (this.#dirty.has(frame) || this.#content.map.get(frame) !== undefined || this.#lengthIn(frame) < filled.length) return
    this.#take(frame, filled)
  }

  /** Of what was read with it, only what still is the base's counts: beyond there are zeros. */
  #take(frame: number, bytes: Buffer): void {
    this.#newFrame(frame).set(bytes.subarray(0, Math.max(0, this.#baseEnd - frame * STAGE_FRAME_BYTES)))
  }

  /** Seals the oldest frames until few are left, but not `keep`. */
  #bound(keep: number): void {
    for (const frame of this.#dirty.keys()) {
      if (this.#dirty.size <= DIRTY_FRAMES) return
      if (frame !== keep) this.#seal(frame)
    }
  }

  #seal(frame: number): void {
    const length = this.#lengthIn(frame)
    const bytes = this.#dirty.get(frame)!
    if (length > 0) this.#release(this.#content.map.set(frame, this.#writePiece('frame', frame, bytes.subarray(0, length))))
    this.#dirty.delete(frame)
  }

  /** Into a free slot, which is free again when that failed. */
  #writePiece(kind: PieceKind, index: number, bytes: Buffer): PieceRef {
    const slot = this.#slots.take()
    try {
      return this.#content.file.write(kind, index, slot, bytes)
    } catch (error) {
      this.#slots.giveUp(slot)
      throw error
    }
  }

  #release(before: EntryValue | undefined): void {
    if (before !== undefined && before !== 'zeros') this.#slots.giveUp(before.slot)
  }

  /** The frame is zeros from now on. */
  #clear(frame: number): void {
    this.#dirty.delete(frame)
    const { map } = this.#content
    this.#release(frame * STAGE_FRAME_BYTES < this.#baseEnd ? map.set(frame, 'zeros') : map.remove(frame))
  }

  #cut(sizeBytes: number): void {
    const last = Math.floor(sizeBytes / STAGE_FRAME_BYTES)
    const kept = sizeBytes - last * STAGE_FRAME_BYTES
    const { map } = this.#content
    if (kept > 0) {
      // The frame that is cut goes on with zeros if the content grows again.
      const value = map.get(last)
      if (!this.#dirty.has(last) && value !== undefined && value !== 'zeros') this.#frameToChange(last, noSignal)
      this.#dirty.get(last)?.fill(0, kept)
    }
    const first = kept > 0 ? last + 1 : last
    for (const frame of [...this.#dirty.keys()]) if (frame >= first) this.#dirty.delete(frame)
    for (const { index } of [...map.from(first)]) this.#release(map.remove(index))
  }

  #isData(frame: number): boolean {
    if (this.#dirty.has(frame)) return true
    const value = this.#content.map.get(frame)
    return value === undefined ? frame * STAGE_FRAME_BYTES < this.#baseEnd : value !== 'zeros'
  }

  /** The whole of a small content that never came to a file. */
  #rootContent(): Pick<Root, 'holds' | 'entries' | 'content'> | undefined {
    const { file, map } = this.#content
    if (file.exists || map.count > 0 || this.#sizeBytes > CONTENT_IN_ROOT_BYTES || this.#baseEnd > 0) return undefined
    const content = this.#dirty.get(0)?.subarray(0, this.#sizeBytes) ?? Buffer.alloc(this.#sizeBytes)
    return { holds: 'content', entries: [], content }
  }

  /** Seals what is in memory. A few frames are in the root itself; more are in pages, of which those that changed are sealed anew. */
  #rootEntries(): Pick<Root, 'holds' | 'entries'> {
    for (const frame of [...this.#dirty.keys()]) this.#seal(frame)
    const { map } = this.#content
    for (const ref of map.dropEmptyPages()) this.#slots.giveUp(ref.slot)
    if (map.count <= INLINE_FRAMES) return { holds: 'frame', entries: [...map.from(0)] }
    const entries = map.pages().map(page => {
      if (page.ref && !page.changed) return { index: page.number, value: page.ref }
      const ref = this.#writePiece('page', page.number, encodeEntries(page.entries()))
      this.#release(map.sealed(page.number, ref))
      return { index: page.number, value: ref }
    })
    return { holds: 'page', entries }
  }
}
