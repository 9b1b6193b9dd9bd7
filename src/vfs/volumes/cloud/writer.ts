/**
 * What becomes of written content: from an open node into the journal.
 *
 * Owns: when a node's content is queued, and contents that couldn't be (they are tried again). Must stay true:
 * - `flush` answers when the content as it is has its row in the journal and its size in the index, both surviving the process;
 *   `fsync` when both survive power loss; with write-through both answer when the bucket has it.
 * - A node whose content isn't queued is never dropped from memory, unless it has no name.
 */
import type { WritebackEngine } from '../../../cache/writeback/engine.ts'
import { FsError } from '../../../errors.ts'
import type { Answer, Attributes, Ino } from '../../contract.ts'
import { type Contents, fileOf } from './contents.ts'
import { type CloudCore, modified, sized } from './core.ts'
import type { OpenNode, Signal } from './open-node.ts'
import type { Planner } from './planner.ts'

const RETRY_MS = 5000

export class Writer {
  readonly #core: CloudCore
  readonly #planner: Planner
  readonly #contents: Contents
  readonly #engine: WritebackEngine
  /** Closed, and not in the journal yet. */
  readonly #unsaved = new Set<OpenNode>()
  /** Deletions that wait for the last handle. */
  readonly #held = new Map<OpenNode, readonly number[]>()
  #timer: NodeJS.Timeout | undefined

  constructor(core: CloudCore, planner: Planner, contents: Contents, engine: WritebackEngine) {
    this.#core = core
    this.#planner = planner
    this.#contents = contents
    this.#engine = engine
  }

  /** The content is about to change. Throws 'stale' where it could never be stored. */
  willWrite(node: OpenNode): void {
    if (node.isLost) throw new FsError('stale', 'somebody else changed or removed the object meanwhile', { operation: 'write' })
    if (node.isDirty || node.isUnlinked) return
    const record = this.#core.record(node.ino)
    if (!record.pending) this.#core.index.objects.put({ ...record, pending: true })
    node.isDirty = true
  }

  write(node: OpenNode, position: number, data: Buffer, signal: Signal): Answer<void> {
    this.willWrite(node)
    const written = node.forWriting().write(position, data, signal)
    return written && this.changing(node, written)
  }

  /** A change of the content that has to wait: what is queued meanwhile doesn't have it. */
  changing(node: OpenNode, change: Promise<void>): Promise<void> {
    node.inUse++
    return change.finally(() => {
      node.inUse--
      this.willWrite(node)
    })
  }

  /** It has changed: size and times. */
  contentChanged(node: OpenNode, killPrivileges: boolean): void {
    const a = modified(sized(node.attributes, node.sizeBytes), this.#core.time())
    if (killPrivileges) a.mode &= ~0o4000 & (a.mode & 0o010 ? ~0o2000 : -1)
    node.attributes = a
  }

  truncate(node: OpenNode, sizeBytes: number): void {
    this.willWrite(node)
    if (sizeBytes === 0) node.empty()
    else node.forWriting().truncate(sizeBytes)
    this.contentChanged(node, false)
  }

  flush(node: OpenNode, signal: Signal): Answer<void> {
    this.save(node)
    if (this.#core.settings.writeThrough && !node.isUnlinked) return this.uploaded(node.ino, signal())
  }

  async fsync(node: OpenNode, signal: Signal): Promise<void> {
    this.save(node)
    const { journal, index, settings } = this.#core
    node.inUse++
    try {
      await Promise.all([node.staged?.sync(), journal.durable(), index.durable()])
    } finally {
      node.inUse--
    }
    if (settings.writeThrough && !node.isUnlinked) await this.uploaded(node.ino, signal())
  }

  /** All work on a node is done when this answers; rejects when it failed. */
  async uploaded(ino: Ino, signal: AbortSignal | undefined): Promise<void> {
    for (const work of this.#core.journal.ofNode(this.#core.volume, ino)) await this.#engine.done(work.id, signal)
  }

  /** The content as it is goes into the journal. Throws when it can't. */
  save(node: OpenNode): void {
    if (!node.isDirty || node.isUnlinked) return
    const { index, volume } = this.#core
    const { staged } = node
    // Before the journal knows of it, so that it can't be there without the node.
    index.putNode(volume, node.attributes)
    const checkpoint = staged?.checkpoint()
    const content = { root: checkpoint?.root, sizeBytes: node.sizeBytes }
    const planned = this.#planner.put(node.attributes, content)
    node.isDirty = false
    if (planned) {
      const before = node.roots.get(planned.id)
      if (checkpoint) node.roots.set(planned.id, checkpoint.number)
      else node.roots.delete(planned.id)
      if (planned.replaced) this.#endReplaced(node, planned.replaced.action, before, checkpoint?.number)
    }
    this.#core.commit()
    this.#engine.kick()
  }

  /** Attributes of a node changed, not its content. */
  saveAttributes(attributes: Attributes): void {
    const node = this.#core.open.get(attributes.ino)
    if (node?.isUnlinked) return
    if (!node?.isDirty) {
      const record = this.#core.record(attributes.ino)
      if (this.#planner.describe(attributes)) this.#core.index.objects.put({ ...record, pending: true })
    }
    this.#core.commit()
    this.#engine.kick()
  }

  hold(node: OpenNode, held: readonly number[]): void {
    if (held.length > 0) this.#held.set(node, held)
  }

  released(node: OpenNode): void {
    if (--node.handles > 0) return
    this.close(node)
  }

  /** Nobody has it open: it leaves memory when its content is safe. */
  close(node: OpenNode): void {
    if (node.handles > 0) return
    try {
      this.save(node)
    } catch (error) {
      this.#core.log.error('what was written could not be queued; it is tried again', error)
      this.#unsaved.add(node)
      this.#timer ??= setTimeout(() => this.#again(), RETRY_MS)
      return
    }
    this.#unsaved.delete(node)
    this.#contents.close(node)
    const held = this.#held.get(node)
    if (held === undefined) return
    this.#held.delete(node)
    this.#planner.release(held)
    this.#engine.kick()
  }

  /** The volume is closed: what is open goes into the journal. */
  stop(): void {
    clearTimeout(this.#timer)
    for (const node of [...this.#core.open.values(), ...this.#unsaved]) {
      try {
        this.save(node)
      } catch (error) {
        this.#core.log.error('what was written could not be queued', error)
      }
      node.close()
    }
    for (const held of this.#held.values()) this.#planner.release(held)
    this.#held.clear()
  }

  #again(): void {
    this.#timer = undefined
    for (const node of [...this.#unsaved]) this.close(node)
  }

  /** A row has newer content: the older one isn't needed for it. */
  #endReplaced(
    node: OpenNode,
    action: { readonly kind: string; readonly root?: Buffer | undefined },
    before: number | undefined,
    now: number | undefined,
  ): void {
    if (action.root === undefined) return
    if (before !== undefined && before !== now) this.#contents.endRoot(node, action.root, before)
    else if (before === undefined && node.staged?.id !== fileOf(action.root)) this.#contents.forget(action.root, node.ino)
  }
}
