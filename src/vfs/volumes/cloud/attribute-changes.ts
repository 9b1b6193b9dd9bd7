/**
 * chmod, chown, utimens, truncate and extended attributes.
 *
 * Owns: what each changes. Must stay true: attributes reach the bucket with the content that waits, or by a copy of the object onto
 * itself; access times stay here, they are worth no copy.
 */
import { FsError } from '../../../errors.ts'
import { XATTR_CREATE, XATTR_REPLACE } from '../../../sys/flags.ts'
import { type AttributeChanges, type Attributes, type Ino, isDirectory, isRegular, type Name, S_IFMT } from '../../contract.ts'
import type { Contents } from './contents.ts'
import { type CloudCore, changed } from './core.ts'
import { encodeXattrs } from './metadata.ts'
import type { OpenNode } from './open-node.ts'
import type { Planner } from './planner.ts'
import type { Writer } from './writer.ts'

const XATTR_LIMIT_BYTES = 65_536
const NAME_LIMIT_BYTES = 255

export class AttributeChanger {
  readonly #core: CloudCore
  readonly #planner: Planner
  readonly #contents: Contents
  readonly #writer: Writer

  constructor(core: CloudCore, planner: Planner, contents: Contents, writer: Writer) {
    this.#core = core
    this.#planner = planner
    this.#contents = contents
    this.#writer = writer
  }

  /** `file`: the node of the handle through which it is changed, which may have no name any more. */
  set(ino: Ino, changes: AttributeChanges, file: OpenNode | undefined): Attributes {
    if (changes.sizeBytes !== undefined) this.#truncate(ino, changes.sizeBytes, file)
    const before = file?.attributes ?? this.#core.attributes(ino)
    const now = this.#core.time()
    const a = changed(before, now)
    if (changes.killPrivileges) a.mode &= ~0o4000 & (a.mode & 0o010 ? ~0o2000 : -1)
    if (changes.mode !== undefined) a.mode = (a.mode & S_IFMT) | (changes.mode & 0o7777)
    if (changes.uid !== undefined) a.uid = changes.uid
    if (changes.gid !== undefined) a.gid = changes.gid
    for (const which of ['atime', 'mtime', 'btime'] as const) {
      const change = changes[which]
      if (change === undefined) continue
      const time = change === 'now' ? now : change
      a[`${which}Sec`] = time.sec
      a[`${which}Nsec`] = time.nsec
    }
    if (file?.isUnlinked) {
      file.attributes = a
      return a
    }
    this.#core.setAttributes(a)
    this.#save(before, a)
    return a
  }

  setXattr(ino: Ino, name: Name, value: Buffer, flags: number): void {
    const xattrs = this.#core.index.objects.attributes(ino)
    if (value.length > XATTR_LIMIT_BYTES) throw new FsError('too-big', undefined, { operation: 'setxattr' })
    if (name.length > NAME_LIMIT_BYTES || name === '') throw new FsError('range', undefined, { operation: 'setxattr' })
    if (flags & XATTR_CREATE && xattrs.has(name)) throw new FsError('exists', undefined, { operation: 'setxattr' })
    if (flags & XATTR_REPLACE && !xattrs.has(name)) throw new FsError('no-attribute', undefined, { operation: 'setxattr' })
    xattrs.set(name, Buffer.from(value))
    encodeXattrs(xattrs)
    this.#setXattrs(ino, xattrs)
  }

  removeXattr(ino: Ino, name: Name): void {
    const xattrs = this.#core.index.objects.attributes(ino)
    if (!xattrs.delete(name)) throw new FsError('no-attribute', undefined, { operation: 'removexattr' })
    this.#setXattrs(ino, xattrs)
  }

  #setXattrs(ino: Ino, xattrs: ReadonlyMap<Name, Buffer>): void {
    const before = this.#core.attributes(ino)
    const a = changed(before, this.#core.time())
    this.#core.index.objects.setAttributes(ino, xattrs)
    this.#core.setAttributes(a)
    this.#describe(a)
  }

  #truncate(ino: Ino, sizeBytes: number, file: OpenNode | undefined): void {
    const { mode } = file?.attributes ?? this.#core.attributes(ino)
    if (isDirectory(mode)) throw new FsError('is-directory', undefined, { operation: 'truncate' })
    if (!isRegular(mode) || sizeBytes < 0) throw new FsError('invalid', undefined, { operation: 'truncate' })
    if (sizeBytes > 2 ** 50) throw new FsError('file-too-large', undefined, { operation: 'truncate' })
    const node = file ?? this.#contents.open(ino)
    this.#writer.truncate(node, sizeBytes)
    if (node.handles === 0) {
      this.#writer.save(node)
      this.#writer.close(node)
    }
  }

  #save(before: Attributes, a: Attributes): void {
    const isTold = a.mode !== before.mode || a.uid !== before.uid || a.gid !== before.gid
    const isTouched = a.mtimeSec !== before.mtimeSec || a.mtimeNsec !== before.mtimeNsec
    if (isTold || isTouched) this.#describe(a)
    else this.#core.commit()
  }

  #describe(a: Attributes): void {
    if (!isDirectory(a.mode)) {
      this.#writer.saveAttributes(a)
      return
    }
    if (a.ino !== this.#core.rootIno) {
      const record = this.#core.record(a.ino)
      this.#core.index.objects.put({ ...record, pending: true })
      this.#planner.put(a, { root: undefined, sizeBytes: 0 })
    }
    this.#writer.saveAttributes(a)
  }
}
