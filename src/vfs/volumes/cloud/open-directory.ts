/**
 * An open directory of a cloud volume.
 *
 * Owns: the places in its listing: a name seen once has a number for as long as the directory is open. Must stay true: what stays in
 * the directory is shown once, whatever comes and goes meanwhile.
 */
import type { DirectorySink, Ino, Name, OpenDirectory, RequestContext } from '../../contract.ts'
import { S_IFDIR, S_IFMT } from '../../contract.ts'
import type { CloudCore } from './core.ts'

const DOT = 1n
const DOT_DOT = 2n
const FIRST = 3n
const CHILDREN_AT_ONCE = 256

export class CloudDirectory implements OpenDirectory {
  readonly ino: Ino
  readonly keepCache = false
  readonly #core: CloudCore
  /** The names handed out, by offset from `FIRST`. In name order, so that going on is after the last of them. */
  readonly #names: Name[] = []

  constructor(core: CloudCore, ino: Ino) {
    this.#core = core
    this.ino = ino
  }

  read(_context: RequestContext, offset: bigint, withAttributes: boolean, sink: DirectorySink): void {
    const core = this.#core
    if (offset < DOT && !sink.add('.', this.ino, S_IFDIR, DOT, undefined)) return
    if (offset < DOT_DOT && !sink.add('..', this.#parent(), S_IFDIR, DOT_DOT, undefined)) return
    let next = offset < FIRST ? 0 : Number(offset - FIRST) + 1
    let after = next === 0 ? undefined : this.#names[next - 1]
    for (;;) {
      const children = core.index.children(this.ino, after, CHILDREN_AT_ONCE)
      for (const child of children) {
        const attributes = core.open.get(child.attributes.ino)?.attributes ?? child.attributes
        const entry = withAttributes && this.#isKnown(attributes.ino) ? core.entry(attributes) : undefined
        if (!sink.add(child.name, attributes.ino, attributes.mode & S_IFMT, FIRST + BigInt(next), entry)) return
        this.#names[next++] = after = child.name
      }
      if (children.length < CHILDREN_AT_ONCE) return
    }
  }

  /** The names are in the tree, what they need in the bucket in the journal: one without the other is no safe name. */
  async fsync(): Promise<void> {
    const { index, journal } = this.#core
    await Promise.all([journal.durable(), index.durable()])
  }

  release(): void {}

  /** Without its metadata a file is better looked up by itself. */
  #isKnown(ino: Ino): boolean {
    return this.#core.index.objects.get(ino)?.known ?? true
  }

  #parent(): Ino {
    return this.ino === this.#core.rootIno ? this.ino : (this.#core.index.links(this.ino)[0]?.parent ?? this.ino)
  }
}
