/**
 * What the tree says of changes that didn't come through this mount.
 *
 * Owns: the names at the top that the kernel is yet to be told of. Must stay true: the paths that were remembered are
 * right at once; the kernel is told of names at the top (a volume came or went), of all else it learns when its own
 * caches run out (session.ts sets for how long), since the library has no way to name a node.
 */
import { AsyncResource } from 'node:async_hooks'
import { type Ino, type Name, ROOT_INO, type VfsListener } from '../../vfs/contract.ts'
import type { FuseMount } from './library.ts'
import { toText } from './names.ts'
import type { PathResolver } from './resolver.ts'

export class PathNotifier implements VfsListener {
  readonly #resolver: PathResolver
  readonly #mount: Pick<FuseMount, 'invalidateEntry'>
  // The library refuses to notify during a callback, which it recognizes by the asynchronous context: this one is outside.
  readonly #outside = new AsyncResource('sdmount.notifier')
  readonly #names = new Set<Name>()
  /** Names that the library is telling the kernel of. */
  #telling = 0
  #scheduled: NodeJS.Immediate | undefined
  #settled: PromiseWithResolvers<void> | undefined

  constructor(resolver: PathResolver, mount: Pick<FuseMount, 'invalidateEntry'>) {
    this.#resolver = resolver
    this.#mount = mount
  }

  get pending(): number {
    return this.#names.size + this.#telling
  }

  /** Resolves when the kernel has been told of all that it can be told of until now. */
  async settled(): Promise<void> {
    if (this.pending > 0) await (this.#settled ??= Promise.withResolvers<void>()).promise
  }

  inodeChanged(_ino: Ino, _data: boolean): void {}

  entryChanged(parent: Ino, name: Name): void {
    this.#resolver.forgetName(parent, name)
    if (parent !== ROOT_INO) return
    this.#names.add(name)
    this.#scheduled ??= setImmediate(() => this.#outside.runInAsyncScope(() => this.#send()))
  }

  entryRemoved(parent: Ino, name: Name, _child: Ino): void {
    this.entryChanged(parent, name)
  }

  everythingChanged(): void {
    this.#resolver.clear()
  }

  entryUnneeded(parent: Ino, name: Name): void {
    this.#resolver.forgetName(parent, name)
  }

  close(): void {
    clearImmediate(this.#scheduled)
    this.#names.clear()
    this.#telling = 0
    this.#settle()
  }

  #send(): void {
    this.#scheduled = undefined
    const names = [...this.#names]
    this.#names.clear()
    // An error means that the kernel doesn't know the name, or will ask again by itself in a second.
    for (const name of names) {
      this.#telling++
      this.#mount.invalidateEntry(`/${toText(name)}`, () => {
        this.#telling = Math.max(0, this.#telling - 1)
        this.#settle()
      })
    }
  }

  #settle(): void {
    if (this.pending > 0) return
    this.#settled?.resolve()
    this.#settled = undefined
  }
}
