/**
 * What a benchmark prints and writes: a table of medians and ratios, JSON, Markdown, and a picture.
 *
 * Owns: medians, ratios and their drawing. Must stay true: a ratio is of medians of one run; above 1 is better for sdmount,
 * whatever the row's unit.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { cpus, release, totalmem } from 'node:os'

export interface Measured {
  readonly row: string
  readonly user: string
  readonly unit: string
  /** Less is better (seconds, bytes). */
  readonly lessIsBetter: boolean
  /** Contender to its values, one a round. */
  readonly values: Readonly<Record<string, readonly number[]>>
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}

/** How many times better sdmount is than `peer`. */
export function ratio(row: Measured, peer: string): number | undefined {
  const own = row.values.sdmount
  const other = row.values[peer]
  if (!own?.length || !other?.length) return undefined
  const quotient = median(own) / median(other)
  return row.lessIsBetter ? 1 / quotient : quotient
}

function number(value: number): string {
  return value >= 1000 ? Math.round(value).toLocaleString('en') : value >= 10 ? value.toFixed(1) : value.toFixed(3)
}

export function machine(): string {
  const model = cpus()[0]?.model.trim() || process.arch
  return `${cpus().length} × ${model}, ${Math.round(totalmem() / 2 ** 30)} GiB, Linux ${release()}, Node ${process.versions.node}`
}

export function markdown(rows: readonly Measured[], peers: readonly string[]): string {
  const lines = [
    `| who mounts | work | unit | sdmount | ${peers.map(peer => `${peer}`).join(' | ')} | ${peers.map(peer => `× ${peer}`).join(' | ')} |`,
    `|---|---|---|${'--:|'.repeat(1 + 2 * peers.length)}`,
  ]
  for (const row of rows) {
    const cell = (name: string) => (row.values[name]?.length ? number(median(row.values[name])) : '–')
    const times = peers.map(peer => ratio(row, peer)?.toFixed(2) ?? '–')
    lines.push(`| ${row.user} | ${row.row} | ${row.unit} | ${cell('sdmount')} | ${peers.map(cell).join(' | ')} | ${times.join(' | ')} |`)
  }
  return `${lines.join('\n')}\n`
}

const COLOURS: Readonly<Record<string, string>> = {
  native: '#8a94a6',
  mergerfs: '#d08a2e',
  bindfs: '#5a9e6f',
  'Apache mod_dav': '#d08a2e',
  'rclone serve': '#5a9e6f',
}

/** Bars of sdmount's ratio to each peer, on a logarithmic scale; the line is 1: as good. */
export function picture(title: string, rows: readonly Measured[], peers: readonly string[]): string {
  const left = 330
  const width = 900
  const rowHeight = 14 * peers.length + 14
  const height = 90 + rows.length * rowHeight
  const x = (value: number) => left + ((Math.log10(Math.min(Math.max(value, 0.05), 100)) + 1.3) / 3.3) * (width - left - 70)
  const parts: string[] = []
  for (const mark of [0.1, 0.5, 1, 2, 10, 50]) {
    parts.push(`<line x1="${x(mark)}" y1="58" x2="${x(mark)}" y2="${height - 12}" class="${mark === 1 ? 'one' : 'grid'}"/>`)
    parts.push(`<text x="${x(mark)}" y="52" text-anchor="middle" class="dim">${mark}×</text>`)
  }
  rows.forEach((row, index) => {
    const top = 66 + index * rowHeight
    parts.push(
      `<text x="${left - 10}" y="${top + rowHeight / 2}" text-anchor="end">${row.row} <tspan class="dim">(${row.user})</tspan></text>`,
    )
    peers.forEach((peer, at) => {
      const value = ratio(row, peer)
      if (value === undefined) return
      const y = top + at * 14
      const from = Math.min(x(1), x(value))
      parts.push(
        `<rect x="${from}" y="${y}" width="${Math.max(1, Math.abs(x(value) - x(1)))}" height="11" rx="2" fill="${COLOURS[peer] ?? '#777'}"/>`,
      )
      parts.push(`<text x="${Math.max(x(1), x(value)) + 5}" y="${y + 9.5}" class="dim">${value.toFixed(2)}</text>`)
    })
  })
  const legend = peers.map(
    (peer, at) =>
      `<rect x="${left + at * 120}" y="14" width="11" height="11" fill="${COLOURS[peer] ?? '#777'}"/><text x="${left + 16 + at * 120}" y="24">× ${peer}</text>`,
  )
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="ui-sans-serif, system-ui, sans-serif" font-size="12" role="img" aria-label="${title}">
<style>text{fill:#1c2330}.dim{fill:#6b7280;font-size:11px}.grid{stroke:#d5d9e0}.one{stroke:#1c2330}@media (prefers-color-scheme: dark){text{fill:#e6e9ef}.dim{fill:#9aa3b2}.grid{stroke:#3a4050}.one{stroke:#e6e9ef}}</style>
<text x="12" y="24" font-size="14">${title}</text>
${legend.join('\n')}
${parts.join('\n')}
</svg>
`
}

/** Writes docs/bench/NAME.{json,md,svg} and puts the table between the marks in README.md. */
export function write(
  name: string,
  title: string,
  rows: readonly Measured[],
  peers: readonly string[],
  facts: Readonly<Record<string, string>>,
): void {
  mkdirSync('docs/bench', { recursive: true })
  const at = new Date().toISOString().slice(0, 10)
  const notes = Object.entries(facts).map(([what, value]) => `- ${what}: ${value}`)
  const table = `${markdown(rows, peers)}\n${notes.join('\n')}${notes.length ? '\n' : ''}\nMedians; a ratio above 1 is better for sdmount. ${machine()}, ${at}.\n`
  writeFileSync(`docs/bench/${name}.json`, `${JSON.stringify({ at, machine: machine(), rows, facts }, undefined, 1)}\n`)
  writeFileSync(`docs/bench/${name}.md`, `# ${title}\n\n${table}`)
  writeFileSync(`docs/bench/${name}.svg`, picture(title, rows, peers))
  const readme = readFileSync('README.md', 'utf8')
  const [open, close] = [`<!-- bench:${name} -->`, `<!-- /bench:${name} -->`]
  const start = readme.indexOf(open)
  const end = readme.indexOf(close)
  if (start >= 0 && end > start)
    writeFileSync('README.md', `${readme.slice(0, start)}${open}\n![${title}](docs/bench/${name}.svg)\n\n${table}${readme.slice(end)}`)
}
