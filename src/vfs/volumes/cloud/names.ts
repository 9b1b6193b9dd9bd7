/**
 * The operations on names: making, removing, renaming.
 *
 * Owns: what they do to the tree, and in which order tree and journal hear of it. Must stay true:
 * - What was answered survives the process: tree and journal are committed before.
 * - A removal is in the journal before the tree forgets the name; a new or moved name is in the tree (as pending) before the journal
 *   hears of it. So whatever is cut off in between is either not begun or found by recovery.
 */
import { FsError } from '../../../errors.ts'
import type { ObjectRecord } from '../../../index/object-store.ts'
import {
  type Attributes,
  type Ino,
  isDirectory,
  type Name,
  RENAME_EXCHANGE,
  RENAME_NOREPLACE,
  RENAME_WHITEOUT,
  type RequestContext,
  S_IFDIR,
  S_IFLNK,
} from '../../contract.ts'
import type { Contents } from './contents.ts'
import { type CloudCore, changed } from './core.ts'
import { checkedName } from './keys.ts'
import type { OpenNode } from './open-node.ts'
import type { Planner } from './planner.ts'
import { putTarget } from './recovery.ts'
import type { Writer } from './writer.ts'

const TARGET_LIMIT_BYTES = 4095
/** What is about to be overwritten, and is being read, is brought into the cache up to this size. */
const KEPT_LIMIT_BYTES = 64 * 2 ** 20

export interface NamesParts {
  readonly core: CloudCore
  readonly planner: Planner
  readonly contents: Contents
  readonly writer: Writer
  /** There is new work. */
  kick(): void
  /** Directories were renamed. */
  moved(): void
}

export class Names {
  readonly #core: CloudCore
  readonly #parts: NamesParts

  constructor(parts: NamesParts) {
    this.#core = parts.core
    this.#parts = parts
  }

  /** A new file, open for its maker: nothing of it is in the bucket before its first close. */
  createFile(context: RequestContext, parent: Ino, name: Name, mode: number): OpenNode {
    const attributes = this.#make(context, parent, name, mode)
    this.#core.index.objects.put({ ...this.#core.newRecord(attributes.ino, undefined), pending: true })
    this.#core.touchDirectory(parent)
    this.#core.commit()
    return this.#parts.contents.made(attributes)
  }

  mkdir(context: RequestContext, parent: Ino, name: Name, mode: number): Attributes {
    const attributes = this.#make(context, parent, name, S_IFDIR | mode)
    this.#core.index.objects.put({ ...this.#core.newRecord(attributes.ino, Math.max(1, this.#core.now())), pending: true })
    this.#core.touchDirectory(parent)
    this.#core.commit()
    this.#parts.planner.put(attributes, { root: undefined, sizeBytes: 0 })
    this.#parts.kick()
    return attributes
  }

  symlink(context: RequestContext, parent: Ino, name: Name, target: Name): Attributes {
    if (target === '') throw new FsError('not-found', undefined, { operation: 'symlink' })
    if (target.length > TARGET_LIMIT_BYTES) throw new FsError('name-too-long', undefined, { operation: 'symlink' })
    const attributes = this.#make(context, parent, name, S_IFLNK | 0o777, target.length)
    this.#core.index.objects.put({ ...this.#core.newRecord(attributes.ino, undefined), pending: true })
    this.#core.index.objects.setTarget(attributes.ino, target)
    this.#core.touchDirectory(parent)
    this.#core.commit()
    putTarget(this.#core, this.#parts.planner, attributes)
    this.#parts.kick()
    return attributes
  }

  unlink(parent: Ino, name: Name): void {
    const attributes = this.#named(parent, name)
    if (isDirectory(attributes.mode)) throw new FsError('is-directory', undefined, { operation: 'unlink' })
    this.#remove(parent, name, attributes)
  }

  rmdir(parent: Ino, name: Name): void {
    const attributes = this.#named(parent, name)
    if (!isDirectory(attributes.mode)) throw new FsError('not-directory', undefined, { operation: 'rmdir' })
    if (this.#hasChildren(attributes.ino)) throw new FsError('not-empty', undefined, { operation: 'rmdir' })
    this.#remove(parent, name, attributes)
    this.#core.forgetPrefixes()
  }

  /** What is renamed and replaced has been listed before. */
  rename(parent: Ino, name: Name, newParent: Ino, newName: Name, flags: number): void {
    checkedName(newName)
    const core = this.#core
    const node = this.#named(parent, name)
    this.#writable(newParent)
    const target = core.child(newParent, newName)
    if (!this.#mayRename(node, parent, newParent, target, flags)) return
    const isFolder = isDirectory(node.mode)
    core.keyOf(newParent, newName, isFolder)
    const before = core.record(node.ino)
    const isExchange = (flags & RENAME_EXCHANGE) !== 0
    const replaced = target && !isExchange ? core.record(target.ino) : undefined
    const oldKey = core.keyOf(parent, name, isFolder)
    const targetKey = target && core.keyOf(newParent, newName, isDirectory(target.mode))
    const targetNode = target && !isExchange ? core.open.get(target.ino) : undefined
    if (targetNode) this.#keepReading(targetNode)
    const open = core.open.get(node.ino)
    // What can't be kept is found out before anything has changed.
    if (open?.isDirty) open.staged?.checkpoint()

    core.index.renameEntry(core.volume, parent, name, newParent, newName, isExchange)
    // What isn't there yet was to replace something, too.
    const replaces = replaced?.key === core.keyOf(newParent, newName, isFolder) ? replaced.etag : replaced?.replaces
    this.#nowAt(node, before, oldKey, replaces)
    if (target && isExchange) this.#nowAt(target, core.record(target.ino), targetKey!, undefined)
    core.touchDirectory(parent)
    if (newParent !== parent) core.touchDirectory(newParent)
    core.commit()

    const { journal, touched } = core
    touched.touch(oldKey)
    const wasDirty = open?.isDirty
    try {
      journal.together(() => {
        if (target && !isExchange) this.#parts.planner.remove(target.ino, { keeping: targetKey!, record: replaced! })
        this.#plan(node)
        // After what still has to be read there.
        if (before.replaces !== undefined) this.#parts.planner.removeReplaced(oldKey, before.replaces)
        if (target && isExchange) this.#plan(target)
      })
    } catch (error) {
      if (open && wasDirty) open.isDirty = true
      throw error
    }
    if (targetNode) targetNode.lose()
    this.#keepEmpty(parent)
    this.#parts.kick()
    this.#parts.moved()
  }

  /** What may be renamed onto what. False: there is nothing to do. */
  #mayRename(node: Attributes, parent: Ino, newParent: Ino, target: Attributes | undefined, flags: number): boolean {
    const invalid = () => new FsError('invalid', undefined, { operation: 'rename' })
    const isExchange = (flags & RENAME_EXCHANGE) !== 0
    if (isExchange && flags & (RENAME_NOREPLACE | RENAME_WHITEOUT)) throw invalid()
    if (flags & RENAME_WHITEOUT) throw invalid()
    if (target && flags & RENAME_NOREPLACE) throw new FsError('exists', undefined, { operation: 'rename' })
    if (!target && isExchange) throw new FsError('not-found', undefined, { operation: 'rename' })
    if (this.#holds(node, newParent) || (isExchange && target && this.#holds(target, parent))) throw invalid()
    if (target?.ino === node.ino) return false
    if (!target) return true
    // Two objects can't change places in one step.
    if (isExchange) {
      if (isDirectory(node.mode) === isDirectory(target.mode)) throw invalid()
      return true
    }
    if (isDirectory(node.mode) && !isDirectory(target.mode)) throw new FsError('not-directory', undefined, { operation: 'rename' })
    if (!isDirectory(node.mode) && isDirectory(target.mode)) throw new FsError('is-directory', undefined, { operation: 'rename' })
    if (isDirectory(target.mode) && this.#hasChildren(target.ino)) throw new FsError('not-empty', undefined, { operation: 'rename' })
    return true
  }

  /** The tree's side of a new name. */
  #nowAt(node: Attributes, before: ObjectRecord, oldKey: string, replaces: string | undefined): void {
    const core = this.#core
    core.setAttributes(changed(node, core.time()))
    core.index.objects.put({ ...before, pending: true, replaces })
    if (!isDirectory(node.mode)) return
    core.index.objects.addMove(core.volume, node.ino, oldKey)
    core.forgetPrefixes()
    core.touched.touchAll()
  }

  /** What was written goes along: the name that is taken over never stands for less than what the file has now. */
  #plan(node: Attributes): void {
    if (isDirectory(node.mode)) return
    const open = this.#core.open.get(node.ino)
    if (open?.isDirty) this.#parts.writer.save(open)
    else this.#parts.planner.move(open?.attributes ?? node)
  }

  #make(context: RequestContext, parent: Ino, name: Name, mode: number, sizeBytes?: number): Attributes {
    checkedName(name)
    const directory = this.#writable(parent)
    if (this.#core.child(parent, name)) throw new FsError('exists', undefined, { operation: 'create' })
    this.#core.touched.touch(this.#core.keyOf(parent, name, isDirectory(mode)))
    const group = directory.mode & 0o2000 ? directory.gid : context.gid
    const isInherited = isDirectory(mode) && directory.mode & 0o2000
    const attributes = this.#core.newAttributes(isInherited ? mode | 0o2000 : mode, context.uid, group)
    if (sizeBytes !== undefined) attributes.sizeBytes = sizeBytes
    this.#core.index.createEntry(this.#core.volume, parent, name, attributes)
    return attributes
  }

  #remove(parent: Ino, name: Name, attributes: Attributes): void {
    const { index, volume, open } = this.#core
    this.#writable(parent)
    const node = open.get(attributes.ino)
    this.#core.touched.touch(this.#core.keyOf(parent, name, isDirectory(attributes.mode)))
    const isOpen = node !== undefined && node.handles > 0
    const held = this.#parts.planner.remove(attributes.ino, { isOpen })
    index.removeEntry(volume, parent, name)
    this.#core.touchDirectory(parent)
    this.#core.commit()
    if (node) {
      node.lose()
      this.#parts.writer.hold(node, held)
      if (!isOpen) this.#parts.writer.close(node)
    }
    this.#keepEmpty(parent)
    this.#parts.kick()
  }

  /** A directory that is only there by its objects would go with the last of them. */
  #keepEmpty(directory: Ino): void {
    const { index, rootIno } = this.#core
    if (directory === rootIno || this.#hasChildren(directory)) return
    const record = this.#core.record(directory)
    if (record.key !== undefined || !this.#parts.planner.isDone(directory)) return
    const attributes = index.node(directory)
    if (!attributes) return
    index.objects.put({ ...record, pending: true })
    this.#core.commit()
    this.#parts.planner.put(attributes, { root: undefined, sizeBytes: 0 })
  }

  /** Its object is about to be overwritten under the hands of a reader. */
  #keepReading(node: OpenNode): void {
    if (node.handles === 0 || node.staged || !node.remote || node.remote.sizeBytes > KEPT_LIMIT_BYTES) return
    this.#core.reading.warm(node.remote).catch(() => {})
  }

  #named(parent: Ino, name: Name): Attributes {
    this.#core.directory(parent)
    const found = this.#core.child(parent, checkedName(name))
    if (!found) throw new FsError('not-found')
    return found
  }

  #writable(directory: Ino): Attributes {
    return this.#core.directory(directory)
  }

  #hasChildren(directory: Ino): boolean {
    return this.#core.index.children(directory, undefined, 1).length > 0
  }

  /** Whether `directory` is `node` or lies below it. */
  #holds(node: Attributes, directory: Ino): boolean {
    if (!isDirectory(node.mode)) return false
    for (let at: Ino | undefined = directory; at !== undefined; at = this.#core.index.links(at)[0]?.parent) if (at === node.ino) return true
    return false
  }
}
