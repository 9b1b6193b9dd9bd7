/**
 * The objects of renamed directories on their way to their new keys.
 *
 * Owns: the walk over a renamed directory that plans the move of each object. Must stay true: the directory's row in `moves` stays
 * until all below it is planned in the journal and marked pending, so that a walk that was cut off is done anew; the thread is held
 * for some milliseconds at most.
 */
import { describeError } from '../../../errors.ts'
import type { PendingMove } from '../../../index/object-store.ts'
import { type Ino, isDirectory, type Name } from '../../contract.ts'
import type { CloudCore } from './core.ts'
import type { Planner } from './planner.ts'

const SLICE_MS = 5
const CHILDREN_AT_ONCE = 64
const RETRY_MS = 2000

export class Mover {
  readonly #core: CloudCore
  readonly #planner: Planner
  readonly #kick: () => void
  #running: Promise<void> | undefined
  #isStopped = false
  #wakeUp: (() => void) | undefined

  constructor(core: CloudCore, planner: Planner, kick: () => void) {
    this.#core = core
    this.#planner = planner
    this.#kick = kick
  }

  /** There may be something to move. */
  start(): void {
    if (this.#running || this.#isStopped || this.#core.index.objects.moves(this.#core.volume).length === 0) return
    this.#running = this.#run().finally(() => {
      this.#running = undefined
    })
  }

  /** Answers when all that was renamed is planned. */
  async planned(): Promise<void> {
    while (this.#running) await this.#running
  }

  async stop(): Promise<void> {
    this.#isStopped = true
    this.#wakeUp?.()
    await this.#running
  }

  async #run(): Promise<void> {
    while (!this.#isStopped) {
      const move = this.#core.index.objects.moves(this.#core.volume)[0]
      if (!move) return
      try {
        await this.#walk(move)
      } catch (error) {
        this.#core.log.warning(`a renamed folder could not be planned: ${describeError(error)}`)
        await new Promise<void>(resolve => {
          this.#wakeUp = resolve
          setTimeout(resolve, RETRY_MS).unref()
        })
      }
    }
  }

  async #walk(move: PendingMove): Promise<void> {
    const { index } = this.#core
    const directories: Ino[] = [move.ino]
    let sliceEndsMs = performance.now() + SLICE_MS
    for (let directory = directories.pop(); directory !== undefined; directory = directories.pop()) {
      this.#plan(directory)
      for (let after: Name = ''; ; ) {
        const children = index.objects.children(directory, after, CHILDREN_AT_ONCE)
        this.#core.journal.together(() => {
          for (const child of children) {
            after = child.name
            if (isDirectory(child.mode)) directories.push(child.ino)
            else this.#plan(child.ino)
          }
        })
        if (performance.now() > sliceEndsMs) {
          this.#core.commit()
          this.#kick()
          await new Promise(resolve => setImmediate(resolve))
          if (this.#isStopped) return
          sliceEndsMs = performance.now() + SLICE_MS
        }
        if (children.length < CHILDREN_AT_ONCE) break
      }
    }
    index.objects.removeMove(move.id)
    this.#core.commit()
    this.#kick()
  }

  #plan(ino: Ino): void {
    const { index, open } = this.#core
    const attributes = open.get(ino)?.attributes ?? index.node(ino)
    if (!attributes) return
    const record = index.objects.get(ino)
    if (!record) return
    const isFolder = isDirectory(attributes.mode)
    const key = this.#core.wantedKey(ino, isFolder)
    if (key === undefined) return
    this.#planner.move(attributes)
    const isPending = !this.#planner.isDone(ino) || (record.key !== undefined && record.key !== key) || open.get(ino)?.isDirty === true
    if (record.pending !== isPending) index.objects.put({ ...record, pending: isPending || (record.pending && record.key === undefined) })
  }
}
