/**
 * PROPFIND: what is here, and what is in this folder.
 *
 * Owns: the streaming of the answer. Must stay true: memory doesn't grow with the folder; between slices other requests
 * get their turn; a walk of the whole tree is refused, with the precondition that says so.
 */
import type { PropertyName } from '../../index/property-store.ts'
import { type Attributes, type Ino, isDirectory, isSymlink, type Name, ROOT_INO } from '../../vfs/contract.ts'
import { readBody, writeChunk } from './body.ts'
import type { Exchange } from './exchange.ts'
import { type ListedEntry, Listing } from './listing.ts'
import type { Resource } from './live-properties.ts'
import { checkIf } from './lock-rules.ts'
import { keyOf } from './locks.ts'
import { Pacer } from './pacer.ts'
import { asksForQuota, MULTISTATUS_CLOSE, MULTISTATUS_OPEN, type Question, readQuestion, renderRow } from './propfind-body.ts'
import { type Quota, quotaOf } from './quota.ts'
import { begin } from './respond.ts'
import { Refusal } from './status.ts'
import { type Found, TreeWalk } from './tree-walk.ts'
import { XML_HEAD, XML_TYPE } from './xml-write.ts'

const NO_PROPERTIES: ReadonlyMap<PropertyName, string> = new Map()
/** Text is handed on in pieces of about this length. */
const PIECE_CHARACTERS = 64 * 1024

export async function propfind(x: Exchange): Promise<void> {
  const depth = x.depth('infinity')
  const body = await readBody(x)
  if (depth === 'infinity') throw new Refusal(403, 'listings of whole trees are not given', { condition: 'propfind-finite-depth' })
  const question = readQuestion(body, x.fromWindows)
  const found = await x.walk.resolve(x.target.path)
  await checkIf(x, found)
  if (found.kind !== 'found') throw new Refusal(404, 'not found')
  const collection = isDirectory(found.attributes.mode)
  // Opened before the answer begins, so that a folder that may not be read is an error and not an empty listing.
  const listing = collection && depth === 1 ? await Listing.open(x.walk, found.attributes.ino) : undefined
  const rows = new Rows(x, question, found)
  try {
    const own = await rows.own()
    begin(x.response, 207, { 'Content-Type': XML_TYPE })
    let text = XML_HEAD + MULTISTATUS_OPEN + own
    if (listing) {
      const pacer = new Pacer()
      for await (const slice of listing.slices(x.service.limits.listingSlice)) {
        text += await rows.of(slice)
        if (text.length >= PIECE_CHARACTERS) {
          await writeChunk(x.response, text, x.service.limits.stallMs)
          text = ''
        }
        await pacer.pause()
      }
    }
    x.response.end(text + MULTISTATUS_CLOSE)
  } catch (error) {
    await listing?.close()
    throw error
  }
}

/** Renders rows of one listing. */
class Rows {
  readonly #x: Exchange
  readonly #question: Question
  readonly #folder: Found
  readonly #lockKey: string
  readonly #hrefBase: string
  /** Follows links; gives its references back after each slice. */
  readonly #links: TreeWalk
  /** The folder's, and of all in it that are on the same filesystem. */
  #quota: Quota | undefined

  constructor(x: Exchange, question: Question, folder: Found) {
    this.#x = x
    this.#question = question
    this.#folder = folder
    this.#lockKey = keyOf(folder.path)
    this.#hrefBase = x.href(x.target.path, true)
    this.#links = new TreeWalk(x.service.vfs, x.context)
  }

  async own(): Promise<string> {
    const { attributes, path } = this.#folder
    const collection = isDirectory(attributes.mode)
    if (collection && asksForQuota(this.#question)) this.#quota = await quotaOf(this.#x.walk, attributes.ino)
    const stored = (await this.#x.service.properties.read([attributes.ino])).get(attributes.ino) ?? NO_PROPERTIES
    const resource: Resource = {
      attributes,
      name: path.at(-1),
      href: this.#x.href(this.#x.target.path, collection),
      lockKey: this.#lockKey,
      stored,
      quota: this.#quota,
    }
    return renderRow(this.#x, resource, this.#question)
  }

  async of(slice: readonly ListedEntry[]): Promise<string> {
    const shown: { readonly name: Name; readonly attributes: Attributes }[] = []
    for (const { name, attributes } of slice) {
      const seen = isSymlink(attributes.mode) ? await this.#links.linkTarget(this.#folder, attributes.ino) : attributes
      if (seen) shown.push({ name, attributes: seen })
    }
    const stored = await this.#x.service.properties.read(shown.map(({ attributes }) => attributes.ino))
    let text = ''
    for (const { name, attributes } of shown) {
      const collection = isDirectory(attributes.mode)
      const resource: Resource = {
        attributes,
        name,
        href: this.#hrefBase + this.#x.href([name], collection).slice(1),
        lockKey: `${this.#lockKey}/${name}`,
        stored: stored.get(attributes.ino) ?? NO_PROPERTIES,
        quota: collection && this.#quota ? await this.#quotaIn(attributes.ino) : undefined,
      }
      text += renderRow(this.#x, resource, this.#question)
    }
    this.#links.release()
    return text
  }

  async #quotaIn(ino: Ino): Promise<Quota | undefined> {
    return this.#folder.attributes.ino === ROOT_INO ? await quotaOf(this.#x.walk, ino) : this.#quota
  }
}
