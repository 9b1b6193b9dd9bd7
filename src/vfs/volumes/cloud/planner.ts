/**
 * What has to be done in the bucket for a node to be there as it is here: put into the journal, in order.
 *
 * Owns: the rules by which changes of the tree become work. Must stay true:
 * - Called with the tree already changed (and committed, where the change is a name): should the process end in between, recovery
 *   (recovery.ts) finds the pending node and plans the same.
 * - What is queued and was never tried is changed in place; what was begun is followed by what corrects it. Work on one key stays
 *   in order: what follows other work expects just what that leaves ('own').
 * - A content in the journal is never given up for another name: a put that gets another key keeps its content. An object goes from
 *   its old key only after the new one is there.
 * It doesn't: touch the tree, or commit the index.
 */
import type { Action, CopyAction, Expected, PutAction, Work, WorkId } from '../../../cache/writeback/work.ts'
import type { ObjectRecord } from '../../../index/object-store.ts'
import { type Attributes, type Ino, isDirectory } from '../../contract.ts'
import type { CloudCore } from './core.ts'
import { contentTypeOf, metadataOf } from './metadata.ts'

/** Content for a put. */
export interface PlannedContent {
  /** Undefined: empty. */
  readonly root: Buffer | undefined
  readonly sizeBytes: number
}

export interface PlannedPut {
  readonly id: WorkId
  /** The work that this one takes the place of, as it was. */
  readonly replaced: Work | undefined
}

export interface PlannerParts {
  readonly core: CloudCore
  isRunning(id: WorkId): boolean
  /** Work was taken out before it began: its content isn't needed any more. */
  dropped(work: Work): void
}

type ContentWork = Work & { readonly action: PutAction | CopyAction }

export class Planner {
  readonly #core: CloudCore
  readonly #parts: PlannerParts

  constructor(parts: PlannerParts) {
    this.#core = parts.core
    this.#parts = parts
  }

  /** A node's content as it is now. `undefined`: it has no name to be put under. */
  put(attributes: Attributes, content: PlannedContent): PlannedPut | undefined {
    const { journal, volume, index, touched } = this.#core
    const { ino } = attributes
    const key = this.#core.wantedKey(ino, isDirectory(attributes.mode))
    if (key === undefined) return undefined
    const record = this.#core.record(ino)
    const action: PutAction = {
      kind: 'put',
      volume,
      node: ino,
      key,
      expected: 'any',
      root: content.root,
      base: baseOf(record),
      sizeBytes: content.sizeBytes,
      metadata: metadataOf(attributes, index.objects.attributes(ino)),
      contentType: record.contentType ?? contentTypeOf(attributes.mode),
    }
    touched.touch(key)
    return journal.together(() => {
      const last = this.#contentWork(ino).at(-1)
      const planned = (last && this.#inPlace(last, action, record, attributes)) ?? this.#queued(action, record, attributes)
      // What failed stands in the way of what follows it.
      if (last?.state === 'failed' && planned.replaced === undefined) this.#drop(last)
      this.#leaveOthers(ino, record, key, planned.id)
      if (planned.replaced && planned.replaced.action.key !== key) this.#vacate(planned.replaced)
      this.#keep(key, planned.id)
      return planned
    })
  }

  /** A node has another name now. */
  move(attributes: Attributes): void {
    const { journal, touched } = this.#core
    const { ino } = attributes
    const key = this.#core.wantedKey(ino, isDirectory(attributes.mode))
    if (key === undefined) return
    const record = this.#core.record(ino)
    touched.touch(key)
    if (record.key !== undefined) touched.touch(record.key)
    journal.together(() => {
      const last = this.#contentWork(ino).at(-1)
      if (last?.action.key === key) return
      if (!last && (record.key === undefined || record.etag === undefined || record.key === key)) return
      if (last && this.#isUntouched(last)) {
        const { action } = last
        const base = action.kind === 'put' ? { base: action.base ?? baseOf(record) } : {}
        const expected = this.#expectedAt(key, this.#there(record, key, attributes), last.id)
        if (journal.replace(last.id, { ...action, ...base, key, expected })) {
          this.#leaveOthers(ino, record, key, last.id)
          this.#vacate(last)
          this.#keep(key, last.id)
          return
        }
      }
      const source = last?.action.key ?? record.key!
      const sourceExpected = this.#waits(source) ? 'own' : { etag: record.etag! }
      const expected = this.#expectedAt(key, this.#there(record, key, attributes))
      const copy = this.#copy(attributes, source, sourceExpected, key, expected, last?.action.sizeBytes ?? record.sizeBytes)
      const [id] = journal.enqueue([copy])
      this.#leaveOthers(ino, record, key, id!)
    })
  }

  /** A node has other attributes than the bucket knows, and the same content. False: there is no object yet. */
  describe(attributes: Attributes): boolean {
    const { journal, touched, index } = this.#core
    const { ino } = attributes
    const record = this.#core.record(ino)
    return journal.together(() => {
      const last = this.#contentWork(ino).at(-1)
      if (last && this.#isUntouched(last)) {
        const metadata = metadataOf(attributes, index.objects.attributes(ino))
        if (journal.replace(last.id, { ...last.action, metadata })) return true
      }
      const key = last?.action.key ?? record.key
      if (key === undefined || (!last && record.etag === undefined)) return false
      touched.touch(key)
      const expected = this.#waits(key) ? 'own' : { etag: record.etag! }
      journal.enqueue([this.#copy(attributes, key, expected, key, expected, last?.action.sizeBytes ?? record.sizeBytes)])
      return true
    })
  }

  /**
   * A node is gone. `keeping`: a key that something else is about to take. `isOpen`: somebody reads it still; then what the bucket
   * has goes when the answered work is released. `record`: what the index knew of it, where it has forgotten.
   */
  remove(ino: Ino, options: { readonly keeping?: string; readonly isOpen?: boolean; readonly record?: ObjectRecord } = {}): WorkId[] {
    const { journal, touched } = this.#core
    const record = options.record ?? this.#core.record(ino)
    return journal.together(() => {
      const keys = new Map<string, string | undefined>()
      if (record.key !== undefined && record.etag !== undefined) keys.set(record.key, record.etag)
      const named = record.replaces === undefined ? undefined : this.#core.wantedKey(ino, false)
      if (named !== undefined) keys.set(named, record.replaces)
      for (const work of this.#contentWork(ino)) {
        if (this.#isUntouched(work) || work.state === 'failed') {
          // What it was to overwrite belongs to the name, too.
          const { key, expected } = work.action
          if (typeof expected === 'object' && !keys.has(key)) keys.set(key, expected.etag)
          if (expected === 'own') keys.set(key, undefined)
          this.#drop(work)
        } else keys.set(work.action.key, undefined)
      }
      const held: WorkId[] = []
      for (const [key, etag] of keys) {
        touched.touch(key)
        if (key === options.keeping || this.#isLeaving(key)) continue
        const [id] = journal.enqueue([this.#deletion(0, key, etag)])
        if (!options.isOpen) continue
        journal.hold(id!)
        held.push(id!)
      }
      return held
    })
  }

  /** Nothing of a node waits to be done. */
  isDone(ino: Ino): boolean {
    return this.#core.journal.ofNode(this.#core.volume, ino).length === 0
  }

  /** The object at a key that a node was to overwrite, and won't. */
  removeReplaced(key: string, etag: string): void {
    this.#core.touched.touch(key)
    if (!this.#isLeaving(key)) this.#core.journal.enqueue([this.#deletion(0, key, etag)])
  }

  /** Held deletions may take place. */
  release(held: readonly WorkId[]): void {
    const { journal } = this.#core
    for (const id of held) journal.letGo(id)
  }

  /** Takes the place of work that was never tried. */
  #inPlace(last: ContentWork, action: PutAction, record: ObjectRecord, attributes: Attributes): PlannedPut | undefined {
    if (!this.#isUntouched(last)) return undefined
    const isSameKey = last.action.key === action.key
    const expected = isSameKey ? last.action.expected : this.#expectedAt(action.key, this.#there(record, action.key, attributes), last.id)
    return this.#core.journal.replace(last.id, { ...action, expected }) ? { id: last.id, replaced: last } : undefined
  }

  #queued(action: PutAction, record: ObjectRecord, attributes: Attributes): PlannedPut {
    const expected = this.#expectedAt(action.key, this.#there(record, action.key, attributes))
    return { id: this.#core.journal.enqueue([{ ...action, expected }])[0]!, replaced: undefined }
  }

  /** Where a node's object is, or will be, except at `key`: it goes from there when work `by` is done. */
  #leaveOthers(ino: Ino, record: ObjectRecord, key: string, by: WorkId): void {
    const keys = new Map<string, string | undefined>()
    if (record.key !== undefined) keys.set(record.key, record.etag)
    for (const work of this.#contentWork(ino)) if (work.id !== by) keys.set(work.action.key, undefined)
    for (const [other, etag] of keys) {
      if (other === key || this.#isLeaving(other)) continue
      this.#core.journal.enqueue([this.#deletion(ino, other, etag)])
    }
  }

  /** No deletion follows the work that brings a node's object to its key. */
  #keep(key: string, by: WorkId): void {
    for (const work of this.#onKey(key)) if (work.id > by && work.action.kind === 'delete' && this.#isUntouched(work)) this.#drop(work)
  }

  #copy(attributes: Attributes, source: string, sourceExpected: Expected, key: string, expected: Expected, sizeBytes: number): CopyAction {
    const { index, volume } = this.#core
    const record = this.#core.record(attributes.ino)
    return {
      kind: 'copy',
      volume,
      node: attributes.ino,
      key,
      source,
      expected,
      sourceExpected,
      sizeBytes,
      // What nobody has read isn't written over.
      metadata: record.known ? metadataOf(attributes, index.objects.attributes(attributes.ino)) : undefined,
      contentType: record.contentType ?? contentTypeOf(attributes.mode),
    }
  }

  /** Work went to another key: what it was to overwrite at its old one, as nobody wants that, goes. */
  #vacate({ action: { key, expected } }: Work): void {
    if (expected === 'any' || expected === 'absent' || this.#isLeaving(key)) return
    this.#core.touched.touch(key)
    this.#core.journal.enqueue([this.#deletion(0, key, expected === 'own' ? undefined : expected.etag)])
  }

  #deletion(node: Ino, key: string, etag: string | undefined): Action {
    const expected: Expected = this.#onKey(key).length > 0 ? 'own' : etag === undefined ? 'any' : { etag }
    return { kind: 'delete', volume: this.#core.volume, node, key, expected }
  }

  /** Work that reads or changes the object at a key, oldest first; not what only rests on it. */
  #onKey(key: string): Work[] {
    const works = this.#core.journal.ofKey(this.#core.volume, key)
    return works.filter(({ action }) => action.key === key || (action.kind === 'copy' && action.source === key))
  }

  /** Puts and copies of a node, oldest first. */
  #contentWork(ino: Ino): ContentWork[] {
    const works = this.#core.journal.ofNode(this.#core.volume, ino)
    return works.filter((work): work is ContentWork => work.action.kind !== 'delete')
  }

  /** It was never tried: it can still be changed. */
  #isUntouched(work: Work): boolean {
    return work.state === 'queued' && work.attempts === 0 && work.upload === undefined && !this.#parts.isRunning(work.id)
  }

  /**
   * What will be at a key when all that waits for it is done. `except`: work that is about to leave it, or to come to it. A deletion
   * that wasn't tried isn't needed: what comes overwrites.
   */
  #expectedAt(key: string, there: Expected, except?: WorkId): Expected {
    const works = this.#onKey(key).filter(work => work.id !== except)
    const last = works.at(-1)
    if (!last) return there
    if (last.action.kind !== 'delete' || !this.#isUntouched(last)) return 'own'
    const { expected } = last.action
    this.#drop(last)
    // With a deletion on its way the expectation says nothing about other work before it.
    return works.length > 1 ? 'own' : expected
  }

  #there(record: ObjectRecord, key: string, attributes: Attributes): Expected {
    if (isDirectory(attributes.mode)) return 'any'
    if (record.key === key && record.etag !== undefined) return { etag: record.etag }
    return record.replaces === undefined ? 'absent' : { etag: record.replaces }
  }

  #waits(key: string): boolean {
    return this.#onKey(key).length > 0
  }

  /** The last work on a key removes what is there. */
  #isLeaving(key: string): boolean {
    return this.#onKey(key).at(-1)?.action.kind === 'delete'
  }

  #drop(work: Work): void {
    this.#core.journal.remove(work.id)
    this.#parts.dropped(work)
  }
}

function baseOf(record: ObjectRecord): PutAction['base'] {
  const { key, etag, sizeBytes, versionId } = record
  return key === undefined || etag === undefined ? undefined : { key, etag, sizeBytes, versionId }
}
