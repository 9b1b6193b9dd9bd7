/**
 * From paths to nodes.
 *
 * Owns: the following of names and symbolic links through the tree, and the references that lookups gave. Must stay true:
 * every reference is given back once, in `release`; nothing outside the tree is ever reached: a link that is absolute, or
 * that leads above the root, leads nowhere.
 * It doesn't: check conditions, locks or permissions.
 */
import { FsError } from '../../errors.ts'
import {
  type Attributes,
  type Entry,
  type Ino,
  isDirectory,
  isSymlink,
  type Name,
  type RequestContext,
  ROOT_INO,
  type Vfs,
} from '../../vfs/contract.ts'
import { otherSpellings } from './names.ts'

/** A name in a folder, whether or not something is there. */
export interface Place {
  readonly parent: Ino
  readonly name: Name
  /** Where this is by its true names: links followed, spelled as on disk. Locks go by it. */
  readonly path: readonly Name[]
  /** The folder's attributes. */
  readonly folder: Attributes
}

export interface Found {
  readonly kind: 'found'
  readonly attributes: Attributes
  readonly path: readonly Name[]
  /** What the path led through, from the root to the node itself. */
  readonly steps: readonly Step[]
  /** Where the node itself has this name; undefined for the root. */
  readonly place: Place | undefined
  /** When the last name was a link: where the link is. Deleting and moving are about the link. */
  readonly link: (Place & { readonly attributes: Attributes }) | undefined
}

export interface Vacant {
  readonly kind: 'vacant'
  readonly place: Place
}

/** There isn't even a folder where it could be. */
export interface Nowhere {
  readonly kind: 'nowhere'
}

export type Resolution = Found | Vacant | Nowhere

const LINK_LIMIT = 40

export interface Step {
  readonly name: Name
  readonly attributes: Attributes
}

export class TreeWalk {
  readonly vfs: Vfs
  readonly context: RequestContext
  readonly #references = new Map<Ino, number>()

  constructor(vfs: Vfs, context: RequestContext) {
    this.vfs = vfs
    this.context = context
  }

  /** Gives back all references. The walk may be used again afterwards. */
  release(): void {
    for (const [ino, count] of this.#references) this.vfs.forget(ino, count)
    this.#references.clear()
  }

  /** Notes a reference that some other operation gave. */
  refer(entry: Entry): Entry {
    const { ino } = entry.attributes
    this.#references.set(ino, (this.#references.get(ino) ?? 0) + 1)
    return entry
  }

  /** What a path means. */
  async resolve(path: readonly Name[]): Promise<Resolution> {
    const root: Step = { name: '', attributes: (await this.vfs.getattr(this.context, ROOT_INO)).attributes }
    return await this.#follow([root], path, { links: 0 })
  }

  /**
   * What a link in a listing leads to, as WebDAV clients should see it; undefined when it leads nowhere, or back to a
   * folder that the listing itself is in (a client that goes down the tree would never come to an end).
   */
  async linkTarget(folder: Found, ino: Ino): Promise<Attributes | undefined> {
    const names = targetNames(await this.vfs.readlink(this.context, ino))
    if (!names) return undefined
    try {
      const target = await this.#follow(folder.steps, names, { links: 1 })
      if (target.kind !== 'found') return undefined
      return folder.steps.some(step => step.attributes.ino === target.attributes.ino) ? undefined : target.attributes
    } catch (error) {
      // A folder on the way that may not be read: nothing to show, and no reason to fail the listing.
      if (error instanceof FsError) return undefined
      throw error
    }
  }

  /** The entry of a name, also under its other Unicode spelling; with the name as it is on disk. */
  async #lookup(parent: Ino, name: Name): Promise<{ readonly name: Name; readonly entry: Entry } | undefined> {
    const entry = await this.vfs.lookup(this.context, parent, name)
    if (entry) return { name, entry: this.refer(entry) }
    for (const other of otherSpellings(name)) {
      if (other.length > 255) continue
      const found = await this.vfs.lookup(this.context, parent, other)
      if (found) return { name: other, entry: this.refer(found) }
    }
    return undefined
  }

  /** Goes on from the last of `stack` (folders from the root down). */
  async #follow(stack: readonly Step[], names: readonly Name[], budget: { links: number }): Promise<Resolution> {
    const steps = [...stack]
    for (let i = 0; i < names.length; i++) {
      const name = names[i]!
      const last = i === names.length - 1
      if (name === '..') {
        if (steps.length === 1) return { kind: 'nowhere' }
        steps.pop()
        continue
      }
      const folder = steps.at(-1)!.attributes
      if (!isDirectory(folder.mode)) return { kind: 'nowhere' }
      const found = await this.#lookup(folder.ino, name)
      if (!found) return last ? { kind: 'vacant', place: placeIn(steps, name) } : { kind: 'nowhere' }
      const { attributes } = found.entry
      if (!isSymlink(attributes.mode)) {
        steps.push({ name: found.name, attributes })
        continue
      }
      const link = { ...placeIn(steps, found.name), attributes }
      const target = await this.#followLink(steps, attributes.ino, budget)
      if (last) return target?.kind === 'found' ? { ...target, link } : { kind: 'vacant', place: link }
      if (target?.kind !== 'found') return { kind: 'nowhere' }
      steps.splice(0, steps.length, ...target.steps)
    }
    return foundAt(steps, undefined)
  }

  async #followLink(steps: readonly Step[], ino: Ino, budget: { links: number }): Promise<Resolution | undefined> {
    if (++budget.links > LINK_LIMIT) return undefined
    const names = targetNames(await this.vfs.readlink(this.context, ino))
    return names && (await this.#follow(steps, names, budget))
  }
}

function foundAt(steps: readonly Step[], link: Found['link']): Found {
  const { attributes } = steps.at(-1)!
  return {
    kind: 'found',
    attributes,
    path: steps.slice(1).map(step => step.name),
    steps,
    place: steps.length === 1 ? undefined : placeIn(steps.slice(0, -1), steps.at(-1)!.name),
    link,
  }
}

function placeIn(steps: readonly Step[], name: Name): Place {
  const folder = steps.at(-1)!.attributes
  return { parent: folder.ino, name, path: [...steps.slice(1).map(step => step.name), name], folder }
}

/** The names of a relative target; undefined for an absolute one. */
function targetNames(target: Name): Name[] | undefined {
  if (target.startsWith('/')) return undefined
  const names = target.split('/').filter(name => name !== '' && name !== '.')
  return names.some(name => name.length > 255) ? undefined : names
}
