/**
 * A `Vfs` that respects the locks of another front end.
 *
 * Owns: the refusal. A front end whose clients know nothing of WebDAV locks (the kernel behind FUSE) works through it, so
 * that a file which somebody edits over WebDAV isn't written, truncated, renamed or deleted beside him: 'locked', EAGAIN
 * to programs. Must stay true: while nothing is locked it costs one call that answers false; reading is never refused; a
 * file that was open for writing before the lock was taken stays so.
 */
import { FsError } from '../errors.ts'
import { O_ACCMODE, O_RDONLY, O_TRUNC } from '../sys/flags.ts'
import type {
  Answer,
  AttributeChanges,
  AttributesReply,
  CreatedFile,
  HandleId,
  Ino,
  Name,
  OpenFile,
  OpenFlags,
  RequestContext,
  Vfs,
} from './contract.ts'
import { ForwardingVfs } from './forwarding-vfs.ts'
import { then } from './tree.ts'

export interface NodeLocks {
  /** Whether any node is locked at all. */
  readonly anyHeld: boolean
  holds(ino: Ino): boolean
}

/** Wraps `vfs`: what `locks` holds can't be changed through it. */
export function guardedVfs(vfs: Vfs, locks: NodeLocks): Vfs {
  return new GuardedVfs(vfs, locks)
}

class GuardedVfs extends ForwardingVfs {
  readonly #locks: NodeLocks

  constructor(inner: Vfs, locks: NodeLocks) {
    super(inner)
    this.#locks = locks
  }

  override open(context: RequestContext, ino: Ino, flags: OpenFlags): Answer<{ readonly handle: HandleId; readonly file: OpenFile }> {
    if ((flags & O_ACCMODE) !== O_RDONLY || flags & O_TRUNC) this.#refuse(ino, 'open')
    return this.inner.open(context, ino, flags)
  }

  override create(
    context: RequestContext,
    parent: Ino,
    name: Name,
    mode: number,
    flags: OpenFlags,
  ): Answer<CreatedFile<OpenFile> & { readonly handle: HandleId }> {
    return this.#unlessNamed(context, parent, name, 'create', () => this.inner.create(context, parent, name, mode, flags))
  }

  override setattr(context: RequestContext, ino: Ino, changes: AttributeChanges, handle?: HandleId): Answer<AttributesReply> {
    // Through an open file it goes on as writing does.
    if (changes.sizeBytes !== undefined && handle === undefined) this.#refuse(ino, 'truncate')
    return this.inner.setattr(context, ino, changes, handle)
  }

  override unlink(context: RequestContext, parent: Ino, name: Name): Answer<void> {
    return this.#unlessNamed(context, parent, name, 'unlink', () => this.inner.unlink(context, parent, name))
  }

  override rmdir(context: RequestContext, parent: Ino, name: Name): Answer<void> {
    return this.#unlessNamed(context, parent, name, 'rmdir', () => this.inner.rmdir(context, parent, name))
  }

  override rename(context: RequestContext, parent: Ino, name: Name, newParent: Ino, newName: Name, flags: number): Answer<void> {
    return this.#unlessNamed(context, parent, name, 'rename', () =>
      this.#unlessNamed(context, newParent, newName, 'rename', () => this.inner.rename(context, parent, name, newParent, newName, flags)),
    )
  }

  #refuse(ino: Ino, operation: string): void {
    if (this.#locks.anyHeld && this.#locks.holds(ino)) throw new FsError('locked', 'somebody edits it over WebDAV', { operation })
  }

  /** Goes on unless the name means a node that is locked. */
  #unlessNamed<T>(context: RequestContext, parent: Ino, name: Name, operation: string, next: () => Answer<T>): Answer<T> {
    if (!this.#locks.anyHeld) return next()
    return then(this.inner.lookup(context, parent, name), entry => {
      if (entry) {
        this.inner.forget(entry.attributes.ino, 1)
        this.#refuse(entry.attributes.ino, operation)
      }
      return next()
    })
  }
}
