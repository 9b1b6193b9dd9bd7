/**
 * The page that a browser sees of a folder: names, sizes, dates; sorted by links; no script.
 *
 * Owns: its HTML. Must stay true: whatever a file is called, its name is text and never markup; the page may load and
 * run nothing (its policy says so); the number of rows is bounded, and the page says when there are more.
 */
import { type Attributes, isDirectory, isSymlink, type Name } from '../../vfs/contract.ts'
import type { Exchange } from './exchange.ts'
import { Listing } from './listing.ts'
import { textOfName } from './names.ts'
import { Pacer } from './pacer.ts'
import { sendText } from './respond.ts'
import { encodeName } from './target.ts'
import { type Found, TreeWalk } from './tree-walk.ts'

type SortKey = 'name' | 'size' | 'date'

interface Order {
  readonly key: SortKey
  readonly descending: boolean
}

interface Row {
  readonly name: Name
  readonly text: string
  readonly attributes: Attributes
  readonly folder: boolean
}

const STYLE = `body{font:15px/1.5 system-ui,sans-serif;margin:2em auto;max-width:60em;padding:0 1em;color:#222;background:#fff}
h1{font-size:1.2em;font-weight:600;overflow-wrap:anywhere}table{border-collapse:collapse;width:100%}
th,td{text-align:left;padding:.25em .75em;border-bottom:1px solid #ddd}td:first-child{overflow-wrap:anywhere}
.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}a{color:#0645ad;text-decoration:none}a:hover{text-decoration:underline}
@media(prefers-color-scheme:dark){body{color:#ddd;background:#1b1b1b}th,td{border-color:#444}a{color:#8ab4f8}}`

const HEADERS = {
  'Content-Security-Policy': "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'X-Content-Type-Options': 'nosniff',
  'Referrer-Policy': 'no-referrer',
  'Cache-Control': 'private, no-cache',
}

export async function listingPage(x: Exchange, folder: Found): Promise<void> {
  const limit = x.service.limits.pageEntries
  const { rows, more } = await readRows(x, folder, limit)
  const order = readOrder(x.target.query)
  rows.sort(comparison(order))
  sendText(x.response, 200, 'text/html; charset=utf-8', render(x, rows, order, more), HEADERS)
}

async function readRows(x: Exchange, folder: Found, limit: number): Promise<{ rows: Row[]; more: boolean }> {
  const rows: Row[] = []
  const listing = await Listing.open(x.walk, folder.attributes.ino)
  const links = new TreeWalk(x.service.vfs, x.context)
  const pacer = new Pacer()
  for await (const slice of listing.slices(x.service.limits.listingSlice)) {
    for (const { name, attributes } of slice) {
      const seen = isSymlink(attributes.mode) ? await links.linkTarget(folder, attributes.ino) : attributes
      if (!seen) continue
      if (rows.length >= limit) return { rows, more: true }
      rows.push({ name, text: textOfName(name, 'plain'), attributes: seen, folder: isDirectory(seen.mode) })
    }
    links.release()
    await pacer.pause()
  }
  return { rows, more: false }
}

function readOrder(query: string): Order {
  const parameters = new URLSearchParams(query)
  const sort = parameters.get('sort')
  const key = sort === 'size' || sort === 'date' ? sort : 'name'
  return { key, descending: parameters.get('order') === 'desc' }
}

/** Folders first, then by what was asked for, then by name. */
function comparison({ key, descending }: Order): (a: Row, b: Row) => number {
  const { compare } = new Intl.Collator(undefined, { numeric: true, sensitivity: 'base' })
  const direction = descending ? -1 : 1
  return (a, b) => {
    if (a.folder !== b.folder) return a.folder ? -1 : 1
    const byKey =
      key === 'size' ? a.attributes.sizeBytes - b.attributes.sizeBytes : key === 'date' ? a.attributes.mtimeSec - b.attributes.mtimeSec : 0
    return direction * (byKey || compare(a.text, b.text) || (a.name < b.name ? -1 : 1))
  }
}

function render(x: Exchange, rows: readonly Row[], order: Order, more: boolean): string {
  const { path } = x.target
  const title = `/${path.map(name => textOfName(name, 'plain')).join('/')}`
  const base = x.href(path, true)
  const crumbs = path
    .map((name, i) => `<a href="${html(x.href(path.slice(0, i + 1), true))}">${html(textOfName(name, 'plain'))}</a>`)
    .join(' / ')
  const head = (['name', 'size', 'date'] as const).map(key => heading(base, key, order)).join('')
  const body = rows.map(row => renderRow(base, row)).join('\n')
  const note = more ? `<p>Only the first ${rows.length} entries are shown here. A WebDAV client sees all of them.</p>` : ''
  const empty = rows.length === 0 ? '<p>This folder is empty.</p>' : ''
  return `<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1"><title>${html(title)}</title>
<style>${STYLE}</style></head><body>
<h1><a href="/">sdmount</a> / ${crumbs}</h1>
<table><thead><tr>${head}</tr></thead><tbody>
${body}
</tbody></table>${empty}${note}
</body></html>
`
}

function heading(base: string, key: SortKey, order: Order): string {
  const active = order.key === key
  const next = active && !order.descending ? 'desc' : 'asc'
  const arrow = active ? (order.descending ? ' ↓' : ' ↑') : ''
  const label = { name: 'Name', size: 'Size', date: 'Changed' }[key]
  return `<th${key === 'name' ? '' : ' class="n"'}><a href="${html(base)}?sort=${key}&amp;order=${next}">${label}${arrow}</a></th>`
}

function renderRow(base: string, { name, text, attributes, folder }: Row): string {
  const href = `${base}${encodeName(name, 'plain')}${folder ? '/' : ''}`
  const size = folder ? '' : readableSize(attributes.sizeBytes)
  const date = new Date(attributes.mtimeSec * 1000)
  const shown = Number.isNaN(date.getTime()) ? '' : date.toISOString().slice(0, 16).replace('T', ' ')
  return `<tr><td><a href="${html(href)}">${html(text)}${folder ? '/' : ''}</a></td><td class="n">${size}</td><td class="n">${shown}</td></tr>`
}

function readableSize(sizeBytes: number): string {
  let value = sizeBytes
  for (const unit of ['B', 'KiB', 'MiB', 'GiB', 'TiB']) {
    if (value < 1024 || unit === 'TiB') return `${unit === 'B' ? value : value.toFixed(1)} ${unit}`
    value /= 1024
  }
  return ''
}

const HTML_SPECIAL = /[&<>"']/g

function html(text: string): string {
  return text.replace(HTML_SPECIAL, character => `&#${character.charCodeAt(0)};`)
}
