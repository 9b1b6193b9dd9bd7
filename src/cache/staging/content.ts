/**
 * Reading of staged content: what is sealed here, zeros, and what the base has.
 *
 * Owns: the composition of the three, for whoever writes a content (staged-file.ts) and whoever uploads a state of it
 * (`StagedReader`). Must stay true: a read answers at once unless the base has to be waited for.
 */
import { FsError } from '../../errors.ts'
import { decodeEntries, decodeRoot, type Root, STAGE_FRAME_BYTES } from './format.ts'
import { FrameMap } from './frame-map.ts'
import { PieceFile, type StagingGround } from './piece-file.ts'

/** Reads what isn't staged. `ObjectReader` is one. */
export interface BaseReader {
  readonly sizeBytes: number
  read(position: number, into: Buffer, signal: () => AbortSignal | undefined): number | Promise<Buffer>
}

export interface Run {
  readonly begin: number
  readonly end: number
}

type Signal = () => AbortSignal | undefined

/** One stretch of content from a position on: the count of bytes put into `into`, at least one. */
export type ReadRun = (position: number, into: Buffer, signal: Signal) => number | Promise<Buffer>

/** Fills `into` from runs: the count at once, or a promise of bytes of its own from the first run on that has to be waited for. */
export function readRuns(run: ReadRun, position: number, into: Buffer, signal: Signal): number | Promise<Buffer> {
  for (let done = 0; done < into.length; ) {
    const answer = run(position + done, into.subarray(done), signal)
    if (typeof answer !== 'number') return readSlowly(run, position, Buffer.from(into), done, answer, signal)
    done += answer
  }
  return into.length
}

async function readSlowly(
  run: ReadRun,
  position: number,
  bytes: Buffer,
  have: number,
  first: Promise<Buffer>,
  signal: Signal,
): Promise<Buffer> {
  let done = have + (await first).copy(bytes, have)
  while (done < bytes.length) {
    const answer = run(position + done, bytes.subarray(done), signal)
    done += typeof answer === 'number' ? answer : (await answer).copy(bytes, done)
  }
  return bytes
}

/** The map that a root describes. Throws 'damaged'. */
export function loadMap(file: PieceFile, root: Root): FrameMap {
  const map = new FrameMap()
  for (const entry of root.entries) {
    if (root.holds === 'frame') map.set(entry.index, entry.value)
    else {
      if (entry.value === 'zeros') throw new FsError('damaged', 'the root of a staging file is damaged', { operation: 'open staging' })
      for (const frame of decodeEntries(file.read('page', entry.index, entry.value), root.salts.length)) map.set(frame.index, frame.value)
      map.sealed(entry.index, entry.value)
    }
  }
  return map
}

/** Content as it is sealed: a file, its map, and the base. */
export class SealedContent {
  readonly file: PieceFile
  readonly map: FrameMap
  readonly base: BaseReader | undefined

  constructor(file: PieceFile, map: FrameMap, base: BaseReader | undefined) {
    this.file = file
    this.map = map
    this.base = base
  }

  /** A stretch from `position` on. `stop`: frames that aren't to be read from here. */
  run(position: number, into: Buffer, baseEnd: number, signal: Signal, stop: (frame: number) => boolean): number | Promise<Buffer> {
    const frame = Math.floor(position / STAGE_FRAME_BYTES)
    const offset = position - frame * STAGE_FRAME_BYTES
    const value = this.map.get(frame)
    if (value === undefined && position < baseEnd) return this.#readBase(position, into, baseEnd, signal, stop)
    const inFrame = into.subarray(0, STAGE_FRAME_BYTES - offset)
    if (value === undefined || value === 'zeros') {
      inFrame.fill(0)
      return inFrame.length
    }
    const plain = this.file.read('frame', frame, value)
    const copied = offset < plain.length ? plain.copy(inFrame, 0, offset) : 0
    inFrame.fill(0, copied)
    return inFrame.length
  }

  /** What is left to the base, at most `limit` runs. */
  baseRuns(baseEnd: number, has: (frame: number) => boolean, limit: number): Run[] {
    const runs: Run[] = []
    let begin = -1
    const close = (end: number) => {
      if (begin >= 0 && end > begin) runs.push({ begin, end })
      begin = -1
    }
    for (let at = 0; at < baseEnd && runs.length < limit; at += STAGE_FRAME_BYTES) {
      if (has(at / STAGE_FRAME_BYTES)) close(at)
      else if (begin < 0) begin = at
    }
    if (runs.length < limit) close(baseEnd)
    return runs
  }

  #readBase(position: number, into: Buffer, baseEnd: number, signal: Signal, stop: (frame: number) => boolean): number | Promise<Buffer> {
    if (!this.base) throw new FsError('io', 'the content rests on an object that is not at hand', { operation: 'read' })
    let end = Math.min(position + into.length, baseEnd)
    for (let frame = Math.floor(position / STAGE_FRAME_BYTES); frame * STAGE_FRAME_BYTES < end; frame++)
      if (stop(frame) || this.map.get(frame) !== undefined) end = Math.min(end, frame * STAGE_FRAME_BYTES)
    const answer = this.base.read(position, into.subarray(0, end - position), signal)
    if (answer instanceof Promise) return answer.then(bytes => complete(bytes, end - position))
    if (answer < end - position) throw shorter()
    return answer
  }
}

const shorter = () => new FsError('stale', 'the object is shorter than it was', { operation: 'read' })

function complete(bytes: Buffer, lengthBytes: number): Buffer {
  if (bytes.length < lengthBytes) throw shorter()
  return bytes
}

/** One state of a staged content, as a root describes it: for uploading. Whoever ends the root ends the reader before. */
export class StagedReader {
  readonly sizeBytes: number
  readonly #content: SealedContent
  readonly #baseEnd: number
  readonly #whole: Buffer | undefined

  /** Throws 'damaged', or 'not-supported' for what a newer version wrote. */
  constructor(ground: StagingGround, root: Buffer, base: BaseReader | undefined) {
    const decoded = decodeRoot(root)
    const file = new PieceFile(ground, decoded.fileId, decoded.salts)
    this.sizeBytes = decoded.sizeBytes
    this.#baseEnd = decoded.baseEnd
    this.#content = new SealedContent(file, loadMap(file, decoded), base)
    this.#whole = decoded.content
  }

  read(position: number, into: Buffer, signal: Signal = () => undefined): number | Promise<Buffer> {
    const wanted = into.subarray(0, Math.max(0, Math.min(into.length, this.sizeBytes - position)))
    if (this.#whole) return wanted.length === 0 ? 0 : this.#whole.copy(wanted, 0, position)
    return readRuns((at, rest, abort) => this.#content.run(at, rest, this.#baseEnd, abort, () => false), position, wanted, signal)
  }

  /** Runs that the base has: they could be copied where the base is. */
  baseRuns(limit = Number.POSITIVE_INFINITY): Run[] {
    return this.#content.baseRuns(this.#baseEnd, frame => this.#content.map.get(frame) !== undefined, limit)
  }

  close(): void {
    this.#content.file.park()
  }
}
