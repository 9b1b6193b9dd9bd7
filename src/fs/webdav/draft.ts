/**
 * A file that is being written and appears whole or not at all.
 *
 * Owns: the unnamed file and its publishing. Must stay true: until `publish` nobody sees it and what was there is
 * untouched; publishing is one atomic step (a link where nothing was, else a rename over the old file), so a reader has the
 * old bytes or the new ones; after `publish` or `discard` no handle and no temporary name is left.
 *
 * What a replaced file had and a program would expect to find again goes over to the new one: mode, owner, extended
 * attributes, stored properties. Other hard links of the old file keep the old bytes: writing through them would not be
 * atomic, and would change backups that are made of links.
 *
 * States: open -> published | discarded. A volume without unnamed files gets a hidden name (draft-name.ts).
 */
import { FsError } from '../../errors.ts'
import { O_CREAT, O_EXCL, O_RDWR } from '../../sys/flags.ts'
import {
  type AttributeChanges,
  type Attributes,
  type HandleId,
  type Ino,
  type Name,
  type OpenFile,
  RENAME_NOREPLACE,
  type RequestContext,
  SLOT_SIZE,
  type Vfs,
} from '../../vfs/contract.ts'
import { copyBytes } from './copy-bytes.ts'
import { draftName } from './draft-name.ts'
import type { Exchange } from './exchange.ts'
import { Pacer } from './pacer.ts'
import { dropProperties } from './stored-properties.ts'

export interface PublishOptions {
  /** The file that is replaced: what it was given goes over to the new one. */
  readonly replaces?: Attributes | undefined
  /** The name must be free, also if it was taken a moment ago: throws 'exists'. */
  readonly exclusive?: boolean
  /** The node whose extended attributes it gets. */
  readonly extendedFrom?: Ino
  /** Set just before. */
  readonly changes?: AttributeChanges | undefined
  /** Called last before the name changes: throws when it may not any more. */
  readonly recheck?: () => void | Promise<void>
}

export class Draft {
  readonly ino: Ino
  readonly file: OpenFile
  readonly #x: Exchange
  readonly #handle: HandleId
  readonly #parent: Ino
  readonly #mode: number
  /** The hidden name, where there are no unnamed files. */
  #hiddenName: Name | undefined
  #sizeBytes = 0
  /** What its entries gave us of the node. */
  #references = 1
  #open = true

  static async begin(x: Exchange, parent: Ino, mode: number): Promise<Draft> {
    const { vfs, withoutUnnamed } = x.service
    if (!withoutUnnamed.has(slotOf(parent))) {
      try {
        return new Draft(x, parent, mode, await vfs.tmpfile(x.context, parent, mode, O_RDWR), undefined)
      } catch (error) {
        if (!isUnsupported(error)) throw error
        withoutUnnamed.add(slotOf(parent))
      }
    }
    return await Draft.#hidden(x, parent, mode)
  }

  static async #hidden(x: Exchange, parent: Ino, mode: number): Promise<Draft> {
    const { vfs } = x.service
    const name = draftName()
    const made = await vfs.create(x.context, parent, name, mode, O_RDWR | O_CREAT | O_EXCL)
    return new Draft(x, parent, mode, made, name)
  }

  private constructor(
    x: Exchange,
    parent: Ino,
    mode: number,
    made: { readonly entry: { readonly attributes: Attributes }; readonly file: OpenFile; readonly handle: HandleId },
    hiddenName: Name | undefined,
  ) {
    this.#x = x
    this.#parent = parent
    this.#mode = mode
    this.#handle = made.handle
    this.#hiddenName = hiddenName
    this.file = made.file
    this.ino = made.entry.attributes.ino
  }

  get sizeBytes(): number {
    return this.#sizeBytes
  }

  grown(lengthBytes: number): void {
    this.#sizeBytes += lengthBytes
  }

  /** Appends; a promise only when the volume must wait. */
  append(data: Buffer): void | Promise<void> {
    const written = this.file.write(this.#x.context, this.#sizeBytes, data, {})
    if (written instanceof Promise) return written.then(length => this.#appended(length, data.length))
    this.#appended(written, data.length)
  }

  /** Gives it its name; its attributes then. On failure it is still to be discarded. */
  async publish(name: Name, options: PublishOptions = {}): Promise<Attributes> {
    const { vfs, properties } = this.#x.service
    const { context } = this.#x
    const old = options.replaces
    // Read before the old file goes, because they may go with it.
    const stored = old && (await properties.read([old.ino])).get(old.ino)
    if (old) await inherit(vfs, context, old, this.ino)
    if (options.extendedFrom !== undefined) await copyExtendedAttributes(vfs, context, options.extendedFrom, this.ino)
    if (options.changes) await vfs.setattr(context, this.ino, options.changes, this.#handle)
    await this.file.flush(context)
    await options.recheck?.()
    try {
      await this.#giveName(name, options.exclusive ?? false)
    } catch (error) {
      if (!this.#linkRefused(error)) throw error
      return await this.#publishCopy(name, options)
    }
    if (stored) await properties.change(this.ino, stored)
    if (old) this.#x.service.locks.renumber(old.ino, this.ino)
    if (old && old.nlink <= 1) await dropProperties(properties, old.ino)
    const { attributes } = await vfs.getattr(context, this.ino, this.#handle)
    await this.#close()
    return attributes
  }

  /** The volume has unnamed files, but gives them no names. */
  #linkRefused(error: unknown): boolean {
    return this.#hiddenName === undefined && error instanceof FsError && LINK_REFUSALS.has(error.kind)
  }

  /** Under a hidden name then, and from the start the next time. */
  async #publishCopy(name: Name, options: PublishOptions): Promise<Attributes> {
    this.#x.service.withoutUnnamed.add(slotOf(this.#parent))
    const copy = await Draft.#hidden(this.#x, this.#parent, this.#mode)
    try {
      await copyBytes(this.#x, this.file, copy, new Pacer())
      return await copy.publish(name, options)
    } finally {
      await copy.discard()
      await this.#close()
    }
  }

  /** Leaves no trace. Harmless after `publish`. */
  async discard(): Promise<void> {
    if (!this.#open) return
    const hidden = this.#hiddenName
    this.#hiddenName = undefined
    try {
      // With a context of its own: that of the request may be aborted, and this must be done all the same.
      if (hidden !== undefined) await this.#x.service.vfs.unlink(detached(this.#x.context), this.#parent, hidden)
    } finally {
      await this.#close()
    }
  }

  /** The atomic step: a link where nothing is, else a rename over what is there. */
  async #giveName(name: Name, exclusive: boolean): Promise<void> {
    if (this.#hiddenName === undefined) {
      if (await this.#link(name, exclusive)) return
      const hidden = draftName()
      await this.#link(hidden, true)
      this.#hiddenName = hidden
    }
    await this.#x.service.vfs.rename(this.#x.context, this.#parent, this.#hiddenName, this.#parent, name, exclusive ? RENAME_NOREPLACE : 0)
    this.#hiddenName = undefined
  }

  /** False: something has the name already, and `exclusive` doesn't mind. */
  async #link(name: Name, exclusive: boolean): Promise<boolean> {
    try {
      await this.#x.service.vfs.link(this.#x.context, this.ino, this.#parent, name)
      this.#references++
      return true
    } catch (error) {
      if (!exclusive && error instanceof FsError && error.kind === 'exists') return false
      throw error
    }
  }

  async #close(): Promise<void> {
    if (!this.#open) return
    this.#open = false
    await this.#x.service.vfs.release(this.#handle)
    this.#x.service.vfs.forget(this.ino, this.#references)
  }

  #appended(written: number, asked: number): void {
    this.#sizeBytes += written
    if (written < asked) throw new FsError('no-space', undefined, { operation: 'write' })
  }
}

const LINK_REFUSALS: ReadonlySet<string> = new Set(['not-permitted', 'not-supported', 'not-implemented', 'too-many-links', 'cross-volume'])

/** Volumes differ; the upper part of a number says whose node it is. */
function slotOf(ino: Ino): number {
  return Math.floor(ino / SLOT_SIZE)
}

/** Mode, owner and extended attributes of the old file, as far as they may be set. */
async function inherit(vfs: Vfs, context: RequestContext, old: Attributes, ino: Ino): Promise<void> {
  const { attributes: own } = await vfs.getattr(context, ino)
  if (own.uid !== old.uid || own.gid !== old.gid) await tolerate(() => vfs.setattr(context, ino, { uid: old.uid, gid: old.gid }))
  if ((own.mode & 0o7777) !== (old.mode & 0o7777)) await tolerate(() => vfs.setattr(context, ino, { mode: old.mode & 0o7777 }))
  await copyExtendedAttributes(vfs, context, old.ino, ino)
}

/** Copies extended attributes; what may not be read or set stays behind, as with `cp -a`. */
export async function copyExtendedAttributes(vfs: Vfs, context: RequestContext, from: Ino, to: Ino): Promise<void> {
  let names: Name[] = []
  await tolerate(async () => {
    names = await vfs.listxattr(context, from)
  })
  for (const name of names) {
    await tolerate(async () => await vfs.setxattr(context, to, name, await vfs.getxattr(context, from, name), 0, false))
  }
}

/** Runs what a filesystem may refuse without harm. */
export async function tolerate(act: () => unknown): Promise<void> {
  try {
    await act()
  } catch (error) {
    if (!(error instanceof FsError)) throw error
    if (!['not-permitted', 'access-denied', 'not-supported', 'not-implemented', 'no-attribute', 'invalid'].includes(error.kind)) throw error
  }
}

export function isUnsupported(error: unknown): boolean {
  return error instanceof FsError && (error.kind === 'not-supported' || error.kind === 'not-implemented')
}

/** The same person, without the request's signal: for cleaning up. */
export function detached(context: RequestContext): RequestContext {
  const { uid, gid, pid, umask } = context
  return { uid, gid, pid, umask, signal: new AbortController().signal }
}
