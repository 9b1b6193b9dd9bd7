/**
 * Which staged contents are still needed, and by what.
 *
 * Owns: the opening of nodes with the content that waits for its upload, and the ending of roots and staged files. Must stay true:
 * a staged file is removed when no row of the journal and no open node needs it, and never before (also not before the journal's
 * forgetting survives power loss: endings.ts); what was uploaded is in the block
 * cache where it fits, so that it needn't be fetched to be read again.
 */

import { SMALLEST_BLOCK_BYTES } from '../../../cache/blocks/format.ts'
import type { RemoteObject } from '../../../cache/reading/object-reader.ts'
import { decodeRoot } from '../../../cache/staging/format.ts'
import type { StagedFile } from '../../../cache/staging/staged-file.ts'
import type { PutAction, Work } from '../../../cache/writeback/work.ts'
import type { Attributes, Ino } from '../../contract.ts'
import type { CloudCore } from './core.ts'
import { Endings } from './endings.ts'
import { OpenNode, type OwnWork } from './open-node.ts'

/** Larger contents are fetched again when they are read. */
const SEED_LIMIT_BYTES = 64 * 2 ** 20
const SEED_PIECE_BYTES = 16 * SMALLEST_BLOCK_BYTES

type PutWork = Work & { readonly action: PutAction }

export class Contents {
  readonly #core: CloudCore
  readonly #seeding = new Set<Promise<void>>()
  readonly #endings: Endings
  /** Stands for work that is gone, among the roots of a node, until the journal has safely forgotten it. Below zero: no work has it. */
  #lastKept = 0
  /** Roots of work that is gone, until then: who resumes their file leaves alone what they need. */
  readonly #ending = new Map<number, Buffer>()
  #isStopped = false

  readonly #ownWork: OwnWork

  constructor(core: CloudCore, ownWork: OwnWork) {
    this.#core = core
    this.#endings = new Endings(core.journal, core.log)
    this.#ownWork = ownWork
  }

  /** The node as it is now, for a handle or a change of its content. */
  open(ino: Ino): OpenNode {
    const { open, index, reading, staging } = this.#core
    const there = open.get(ino)
    if (there) return there
    const attributes = this.#core.attributes(ino)
    const record = index.objects.get(ino)
    const puts = this.#puts(ino)
    const last = puts.at(-1)
    const remote = record && this.#core.remoteOf(record)
    const node = new OpenNode({ attributes, remote, isDirty: false, reading, staging, ownWork: this.#ownWork })
    if (last) this.#resume(node, puts, last)
    open.set(ino, node)
    return node
  }

  /** A node that was just made: nothing of it is in the journal. */
  made(attributes: Attributes): OpenNode {
    const { open, reading, staging } = this.#core
    const node = new OpenNode({ attributes, remote: undefined, isDirty: true, reading, staging, ownWork: this.#ownWork })
    open.set(attributes.ino, node)
    return node
  }

  /** Nobody has it open any more. */
  close(node: OpenNode): void {
    const { open } = this.#core
    if (open.get(node.ino) === node) open.delete(node.ino)
    const { staged } = node
    // Without work that needs it, it is in the bucket, or unwanted.
    if (staged && this.#rootsInUse(staged.id, node.ino).length === 0) this.#removeLater(staged, node.ino)
    else if (staged && !staged.changed) staged.park()
    node.close()
  }

  /** Work is gone, done or not: its content isn't needed for it any more. */
  release(work: Work): void {
    const { action } = work
    if (action.kind !== 'put' || action.root === undefined) return
    const id = fileOf(action.root)
    const node = this.#core.open.get(action.node)
    if (node?.staged?.id === id) {
      const number = node.roots.get(work.id)
      this.endRoot(node, action.root, number)
      node.roots.delete(work.id)
      return
    }
    this.forget(action.root, action.node)
  }

  /** A root of what a node has staged isn't needed any more, when the journal has safely forgotten it. */
  endRoot(node: OpenNode, root: Buffer, number: number | undefined): void {
    if (number === undefined) return
    const { staged } = node
    const kept = --this.#lastKept
    node.roots.set(kept, number)
    this.#ending.set(kept, root)
    this.#endings.add(() => {
      this.#ending.delete(kept)
      if (node.staged !== staged) return
      node.roots.delete(kept)
      node.endRoot(number)
    })
  }

  /** A root of a staged file that no open node has isn't needed any more; the file goes, unless the journal says otherwise. */
  forget(root: Buffer, ino: Ino): void {
    const id = fileOf(root)
    const kept = --this.#lastKept
    this.#ending.set(kept, root)
    this.#endings.add(() => {
      this.#ending.delete(kept)
      if (this.#rootsInUse(id, ino).length > 0 || this.#core.open.get(ino)?.staged?.id === id) return
      this.#core.staging.remove(id)
    })
  }

  /** A put was done, and the index knows it: the object is the content from now on, as far as nothing newer was written. */
  uploaded(work: Work, remote: RemoteObject | undefined): void {
    const { action } = work
    if (action.kind !== 'put') return
    const node = this.#core.open.get(action.node)
    const isCurrent = () => {
      const now = this.#core.open.get(action.node)
      return !now?.isDirty && !now?.inUse && this.#puts(action.node).length === 0
    }
    if (remote === undefined || node?.isUnlinked || !isCurrent()) {
      this.release(work)
      return
    }
    const settle = () => {
      // What is left then nothing refers to: the next start removes it.
      if (this.#isStopped) return
      const now = this.#core.open.get(action.node)
      const staged = now?.staged
      if (staged && now === node && isCurrent() && (action.root === undefined || staged.id === fileOf(action.root))) {
        now.settle(remote)
        this.#removeLater(staged, action.node)
      } else this.release(work)
    }
    if (action.root === undefined || action.sizeBytes === 0) settle()
    else {
      const seeding = this.#seed(action, remote)
        .then(settle, settle)
        .finally(() => this.#seeding.delete(seeding))
      this.#seeding.add(seeding)
    }
  }

  async stop(): Promise<void> {
    this.#isStopped = true
    await Promise.allSettled(this.#seeding)
  }

  /** After the last change of the journal: what isn't needed is gone. */
  finish(): Promise<void> {
    return this.#endings.flush()
  }

  #removeLater(staged: StagedFile, ino: Ino): void {
    this.#endings.add(() => {
      if (this.#rootsInUse(staged.id, ino).length === 0) staged.remove()
    })
  }

  /** Puts what was uploaded into the block cache. */
  async #seed(action: PutAction, remote: RemoteObject): Promise<void> {
    const { cache, staging, volume } = this.#core
    if (!cache || action.root === undefined || action.sizeBytes > SEED_LIMIT_BYTES) return
    const object = cache.object({ volume, key: remote.key, version: remote.versionId ?? remote.etag, sizeBytes: remote.sizeBytes })
    const reader = staging.open(action.root)
    try {
      if (reader.baseRuns(1).length > 0 || reader.sizeBytes !== remote.sizeBytes) return
      for (let at = 0; at < remote.sizeBytes; at += SEED_PIECE_BYTES) {
        const piece = Buffer.allocUnsafe(Math.min(SEED_PIECE_BYTES, remote.sizeBytes - at))
        const answer = reader.read(at, piece)
        if (typeof answer !== 'number' || !cache.put(object, at, piece.subarray(0, answer))) return
        if (at > 0) await new Promise(resolve => setImmediate(resolve))
        if (this.#isStopped) return
      }
    } finally {
      reader.close()
    }
  }

  #resume(node: OpenNode, puts: readonly PutWork[], last: PutWork): void {
    if (last.action.root === undefined) {
      node.empty()
      return
    }
    const id = fileOf(last.action.root)
    const same = puts.filter(work => work.action.root !== undefined && fileOf(work.action.root) === id)
    const ending = [...this.#ending.values()].filter(root => fileOf(root) === id)
    node.staged = this.#core.staging.resume([...ending, ...same.map(work => work.action.root!)], node.base())
    for (const [index, root] of ending.entries()) this.endRoot(node, root, index + 1)
    for (const [index, work] of same.entries()) node.roots.set(work.id, ending.length + index + 1)
  }

  #puts(ino: Ino): PutWork[] {
    return this.#core.journal.ofNode(this.#core.volume, ino).filter((work): work is PutWork => work.action.kind === 'put')
  }

  #rootsInUse(id: string, ino: Ino): PutWork[] {
    return this.#puts(ino).filter(work => work.action.root !== undefined && fileOf(work.action.root) === id)
  }
}

/** The id of the staged file that a root is of. */
export function fileOf(root: Buffer): string {
  return decodeRoot(root).fileId.toString('hex')
}
