/**
 * A `Vfs` that hands every operation on: what wrappers extend, overriding what they are about.
 * Owns: nothing. Must stay true: every method of the contract is here (the type check sees to it) and changes nothing.
 */
import type {
  Answer,
  AttributeChanges,
  AttributesReply,
  CreatedFile,
  Entry,
  FilesystemStatistics,
  HandleId,
  Ino,
  Name,
  OpenDirectory,
  OpenFile,
  OpenFlags,
  RequestContext,
  Vfs,
  VfsListener,
} from './contract.ts'

type Opened = { readonly handle: HandleId; readonly file: OpenFile }
type Created = CreatedFile<OpenFile> & { readonly handle: HandleId }

export class ForwardingVfs implements Vfs {
  protected readonly inner: Vfs
  readonly negativeTtlMs: (parent: Ino) => number

  constructor(inner: Vfs) {
    this.inner = inner
    this.negativeTtlMs = parent => inner.negativeTtlMs(parent)
  }

  lookup(context: RequestContext, parent: Ino, name: Name): Answer<Entry | undefined> {
    return this.inner.lookup(context, parent, name)
  }
  forget(ino: Ino, count: number): void {
    this.inner.forget(ino, count)
  }
  getattr(context: RequestContext, ino: Ino, handle?: HandleId): Answer<AttributesReply> {
    return this.inner.getattr(context, ino, handle)
  }
  setattr(context: RequestContext, ino: Ino, changes: AttributeChanges, handle?: HandleId): Answer<AttributesReply> {
    return this.inner.setattr(context, ino, changes, handle)
  }
  readlink(context: RequestContext, ino: Ino): Answer<Name> {
    return this.inner.readlink(context, ino)
  }
  symlink(context: RequestContext, parent: Ino, name: Name, target: Name): Answer<Entry> {
    return this.inner.symlink(context, parent, name, target)
  }
  mknod(context: RequestContext, parent: Ino, name: Name, mode: number, rdev: number): Answer<Entry> {
    return this.inner.mknod(context, parent, name, mode, rdev)
  }
  mkdir(context: RequestContext, parent: Ino, name: Name, mode: number): Answer<Entry> {
    return this.inner.mkdir(context, parent, name, mode)
  }
  unlink(context: RequestContext, parent: Ino, name: Name): Answer<void> {
    return this.inner.unlink(context, parent, name)
  }
  rmdir(context: RequestContext, parent: Ino, name: Name): Answer<void> {
    return this.inner.rmdir(context, parent, name)
  }
  rename(context: RequestContext, parent: Ino, name: Name, newParent: Ino, newName: Name, flags: number): Answer<void> {
    return this.inner.rename(context, parent, name, newParent, newName, flags)
  }
  link(context: RequestContext, ino: Ino, newParent: Ino, newName: Name): Answer<Entry> {
    return this.inner.link(context, ino, newParent, newName)
  }
  access(context: RequestContext, ino: Ino, mask: number): Answer<void> {
    return this.inner.access(context, ino, mask)
  }
  statfs(context: RequestContext, ino: Ino): Answer<FilesystemStatistics> {
    return this.inner.statfs(context, ino)
  }
  setxattr(context: RequestContext, ino: Ino, name: Name, value: Buffer, flags: number, killSetGid: boolean): Answer<void> {
    return this.inner.setxattr(context, ino, name, value, flags, killSetGid)
  }
  getxattr(context: RequestContext, ino: Ino, name: Name): Answer<Buffer> {
    return this.inner.getxattr(context, ino, name)
  }
  listxattr(context: RequestContext, ino: Ino): Answer<Name[]> {
    return this.inner.listxattr(context, ino)
  }
  removexattr(context: RequestContext, ino: Ino, name: Name): Answer<void> {
    return this.inner.removexattr(context, ino, name)
  }
  syncfs(context: RequestContext, ino: Ino): Answer<void> {
    return this.inner.syncfs(context, ino)
  }
  open(context: RequestContext, ino: Ino, flags: OpenFlags): Answer<Opened> {
    return this.inner.open(context, ino, flags)
  }
  create(context: RequestContext, parent: Ino, name: Name, mode: number, flags: OpenFlags): Answer<Created> {
    return this.inner.create(context, parent, name, mode, flags)
  }
  tmpfile(context: RequestContext, parent: Ino, mode: number, flags: OpenFlags): Answer<Created> {
    return this.inner.tmpfile(context, parent, mode, flags)
  }
  file(handle: HandleId): OpenFile {
    return this.inner.file(handle)
  }
  release(handle: HandleId): Answer<void> {
    return this.inner.release(handle)
  }
  opendir(context: RequestContext, ino: Ino): Answer<{ readonly handle: HandleId; readonly directory: OpenDirectory }> {
    return this.inner.opendir(context, ino)
  }
  directory(handle: HandleId): OpenDirectory {
    return this.inner.directory(handle)
  }
  releasedir(handle: HandleId): Answer<void> {
    return this.inner.releasedir(handle)
  }
  ioctl(
    context: RequestContext,
    ino: Ino,
    handle: HandleId | undefined,
    command: number,
    input: Buffer,
    outputBytes: number,
  ): Answer<Buffer> {
    return this.inner.ioctl(context, ino, handle, command, input, outputBytes)
  }
  listen(listener: VfsListener): () => void {
    return this.inner.listen(listener)
  }
  idle(): void {
    this.inner.idle()
  }
}
