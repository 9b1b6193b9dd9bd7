/**
 * A `Vfs` that tells a listener of every change made through it.
 *
 * Owns: nothing but the telling. One front end works through it so that another one, which caches (the kernel behind
 * FUSE), learns at once what changed. Must stay true: the listener is told after the change succeeded and before the
 * caller has the answer; an operation that failed tells nothing.
 */

import { O_TRUNC } from '../sys/flags.ts'
import type {
  Answer,
  AttributeChanges,
  AttributesReply,
  CreatedFile,
  Entry,
  HandleId,
  Ino,
  Name,
  OpenFile,
  OpenFlags,
  RequestContext,
  Vfs,
  VfsListener,
  WriteOptions,
} from './contract.ts'
import { ForwardingVfs } from './forwarding-vfs.ts'
import { then } from './tree.ts'

/** Wraps `vfs`; what doesn't change the tree goes straight through. */
export function notifyingVfs(vfs: Vfs, listener: VfsListener): Vfs {
  return new NotifyingVfs(vfs, listener)
}

class NotifyingVfs extends ForwardingVfs {
  readonly #listener: VfsListener
  /** Wrappers of files open through here, so that `file` answers what `open` did. */
  readonly #files = new Map<HandleId, OpenFile>()

  constructor(inner: Vfs, listener: VfsListener) {
    super(inner)
    this.#listener = listener
  }

  override setattr(context: RequestContext, ino: Ino, changes: AttributeChanges, handle?: HandleId): Answer<AttributesReply> {
    return after(this.inner.setattr(context, ino, changes, handle), () => this.#listener.inodeChanged(ino, changes.sizeBytes !== undefined))
  }

  override symlink(context: RequestContext, parent: Ino, name: Name, target: Name): Answer<Entry> {
    return after(this.inner.symlink(context, parent, name, target), () => this.#entered(parent, name))
  }

  override mknod(context: RequestContext, parent: Ino, name: Name, mode: number, rdev: number): Answer<Entry> {
    return after(this.inner.mknod(context, parent, name, mode, rdev), () => this.#entered(parent, name))
  }

  override mkdir(context: RequestContext, parent: Ino, name: Name, mode: number): Answer<Entry> {
    return after(this.inner.mkdir(context, parent, name, mode), () => this.#entered(parent, name))
  }

  override async unlink(context: RequestContext, parent: Ino, name: Name): Promise<void> {
    const child = await this.#child(context, parent, name)
    await this.inner.unlink(context, parent, name)
    this.#removed(parent, name, child)
  }

  override async rmdir(context: RequestContext, parent: Ino, name: Name): Promise<void> {
    const child = await this.#child(context, parent, name)
    await this.inner.rmdir(context, parent, name)
    this.#removed(parent, name, child)
  }

  override async rename(context: RequestContext, parent: Ino, name: Name, newParent: Ino, newName: Name, flags: number): Promise<void> {
    const replaced = await this.#child(context, newParent, newName)
    await this.inner.rename(context, parent, name, newParent, newName, flags)
    this.#entered(parent, name)
    this.#entered(newParent, newName)
    // Its link count and times changed (and it may live on under other names).
    if (replaced !== undefined) this.#listener.inodeChanged(replaced, false)
  }

  override link(context: RequestContext, ino: Ino, newParent: Ino, newName: Name): Answer<Entry> {
    return after(this.inner.link(context, ino, newParent, newName), () => {
      this.#entered(newParent, newName)
      this.#listener.inodeChanged(ino, false)
    })
  }

  override setxattr(context: RequestContext, ino: Ino, name: Name, value: Buffer, flags: number, killSetGid: boolean): Answer<void> {
    return after(this.inner.setxattr(context, ino, name, value, flags, killSetGid), () => this.#listener.inodeChanged(ino, false))
  }

  override removexattr(context: RequestContext, ino: Ino, name: Name): Answer<void> {
    return after(this.inner.removexattr(context, ino, name), () => this.#listener.inodeChanged(ino, false))
  }

  override open(context: RequestContext, ino: Ino, flags: OpenFlags): Answer<{ readonly handle: HandleId; readonly file: OpenFile }> {
    return then(this.inner.open(context, ino, flags), opened => {
      if (flags & O_TRUNC) this.#listener.inodeChanged(ino, true)
      return { handle: opened.handle, file: this.#wrap(opened.handle, opened.file) }
    })
  }

  override create(
    context: RequestContext,
    parent: Ino,
    name: Name,
    mode: number,
    flags: OpenFlags,
  ): Answer<CreatedFile<OpenFile> & { readonly handle: HandleId }> {
    return then(this.inner.create(context, parent, name, mode, flags), created => {
      this.#entered(parent, name)
      return { entry: created.entry, handle: created.handle, file: this.#wrap(created.handle, created.file) }
    })
  }

  override tmpfile(
    context: RequestContext,
    parent: Ino,
    mode: number,
    flags: OpenFlags,
  ): Answer<CreatedFile<OpenFile> & { readonly handle: HandleId }> {
    return then(this.inner.tmpfile(context, parent, mode, flags), created => ({
      entry: created.entry,
      handle: created.handle,
      file: this.#wrap(created.handle, created.file),
    }))
  }

  override file(handle: HandleId): OpenFile {
    return this.#files.get(handle) ?? this.inner.file(handle)
  }

  override release(handle: HandleId): Answer<void> {
    this.#files.delete(handle)
    return this.inner.release(handle)
  }

  #wrap(handle: HandleId, file: OpenFile): OpenFile {
    const wrapped = new NotifyingFile(file, this.#listener)
    this.#files.set(handle, wrapped)
    return wrapped
  }

  #entered(parent: Ino, name: Name): void {
    this.#listener.entryChanged(parent, name)
    this.#listener.inodeChanged(parent, true)
  }

  #removed(parent: Ino, name: Name, child: Ino | undefined): void {
    if (child === undefined) this.#listener.entryChanged(parent, name)
    else {
      this.#listener.entryRemoved(parent, name, child)
      this.#listener.inodeChanged(child, false)
    }
    this.#listener.inodeChanged(parent, true)
  }

  /** Which node a name means, before it goes. */
  async #child(context: RequestContext, parent: Ino, name: Name): Promise<Ino | undefined> {
    const entry = await this.inner.lookup(context, parent, name)
    if (!entry) return undefined
    this.inner.forget(entry.attributes.ino, 1)
    return entry.attributes.ino
  }
}

class NotifyingFile implements OpenFile {
  readonly inner: OpenFile
  readonly #listener: VfsListener

  constructor(inner: OpenFile, listener: VfsListener) {
    this.inner = inner
    this.#listener = listener
  }

  get ino(): Ino {
    return this.inner.ino
  }
  get keepCache(): boolean {
    return this.inner.keepCache
  }
  get directIo(): boolean {
    return this.inner.directIo
  }
  get noFlush(): boolean {
    return this.inner.noFlush
  }
  // `backingFd` is not passed on: bytes written there would change without a word.

  read(context: RequestContext, position: number, into: Buffer): number | Promise<Buffer> {
    return this.inner.read(context, position, into)
  }
  write(context: RequestContext, position: number, data: Buffer, options: WriteOptions): Answer<number> {
    return after(this.inner.write(context, position, data, options), () => this.#changed())
  }
  flush(context: RequestContext): Answer<void> {
    return this.inner.flush(context)
  }
  fsync(context: RequestContext, dataOnly: boolean): Answer<void> {
    return this.inner.fsync(context, dataOnly)
  }
  fallocate(context: RequestContext, mode: number, offset: number, lengthBytes: number): Answer<void> {
    return after(this.inner.fallocate(context, mode, offset, lengthBytes), () => this.#changed())
  }
  seek(context: RequestContext, offset: number, whence: number): Answer<number> {
    return this.inner.seek(context, offset, whence)
  }
  copyRange(context: RequestContext, offset: number, target: OpenFile, targetOffset: number, lengthBytes: number): Answer<number> {
    // The volume knows its own files only.
    const inner = target instanceof NotifyingFile ? target.inner : target
    return after(this.inner.copyRange(context, offset, inner, targetOffset, lengthBytes), () =>
      this.#listener.inodeChanged(target.ino, true),
    )
  }
  release(): Answer<void> {
    return this.inner.release()
  }

  #changed(): void {
    this.#listener.inodeChanged(this.inner.ino, true)
  }
}

/** The same answer, once `tell` ran with it. */
function after<T>(answer: Answer<T>, tell: (value: T) => void): Answer<T> {
  return then(answer, value => {
    tell(value)
    return value
  })
}
