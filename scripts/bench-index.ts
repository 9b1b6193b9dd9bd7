/**
 * Rates of the index on this machine: first scan, rescan, single writes, lookups, opening; with page encryption on.
 *
 *   node scripts/bench-index.ts [--files N] [--directory DIR]
 *
 * Synthetic trees (20 files a directory, as a home has), no disk is scanned: what is measured is the index alone.
 */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import type { Index, ScanRow } from '../src/index/contract.ts'
import { openIndex } from '../src/index/open-index.ts'
import { silentLog } from '../src/log.ts'
import { Attributes, S_IFDIR, S_IFREG, SLOT_SIZE } from '../src/vfs/contract.ts'

const FILES_PER_DIRECTORY = 20
const KEY = Buffer.alloc(32, 7)

const { values } = parseArgs({
  options: { files: { type: 'string', default: '1000000' }, directory: { type: 'string' }, open: { type: 'string' } },
})

function attributes(ino: number, mode: number, seed: number): Attributes {
  const a = new Attributes()
  a.ino = ino
  a.mode = mode
  a.uid = a.gid = 1000
  a.sizeBytes = (seed * 7919) % 10_000_000
  a.blocks = Math.ceil(a.sizeBytes / 512)
  a.atimeSec = a.mtimeSec = a.ctimeSec = a.btimeSec = 1_760_000_000 - (seed % 50_000_000)
  a.atimeNsec = a.mtimeNsec = a.ctimeNsec = a.btimeNsec = (seed * 104_729) % 1_000_000_000
  return a
}

/** The tree's shape: directory d holds FILES_PER_DIRECTORY files and up to ten directories. */
class Tree {
  readonly base: number
  readonly directories: number
  constructor(slot: number, files: number) {
    this.base = slot * SLOT_SIZE
    this.directories = Math.ceil(files / FILES_PER_DIRECTORY)
  }
  directoryIno(d: number): number {
    return this.base + 2 + d * (FILES_PER_DIRECTORY + 1)
  }
  rows(d: number, change = 0): ScanRow[] {
    const rows: ScanRow[] = []
    const ino = this.directoryIno(d)
    for (let i = 1; i <= FILES_PER_DIRECTORY; i++) {
      rows.push({ name: `holiday-picture-${d}-${i}.jpeg`, attributes: attributes(ino + i, S_IFREG | 0o644, ino + i + change) })
    }
    for (let child = d * 10 + 1; child <= d * 10 + 10 && child < this.directories; child++) {
      rows.push({ name: `folder ${child}`, attributes: attributes(this.directoryIno(child), S_IFDIR | 0o755, child) })
    }
    return rows
  }
}

function report(what: string, value: string): void {
  console.log(`${what.padEnd(62)} ${value}`)
}

async function timed(what: string, count: number, unit: string, run: () => void | Promise<void>): Promise<void> {
  const begin = performance.now()
  const cpu = process.cpuUsage()
  await run()
  const ms = performance.now() - begin
  const { user, system } = process.cpuUsage(cpu)
  const each = `${((ms * 1000) / count).toFixed(2)} µs each, ${((user + system) / count).toFixed(2)} µs of CPU`
  report(what, `${Math.round((count / ms) * 1000).toLocaleString('en')} ${unit}/s  (${each})`)
}

/** Lets the event loop turn, as a scan that arrives in batches does, and tells the longest stop. */
async function scan(index: Index, volume: number, tree: Tree, change = 0): Promise<{ changes: number; longestMs: number }> {
  let changes = 0
  let longestMs = 0
  let turned = performance.now()
  for (let d = 0; d < tree.directories; d++) {
    const since = index.scanToken()
    const difference = index.applyDirectory(volume, tree.directoryIno(d), tree.rows(d, change), since)
    if (difference.stale) throw new Error(`directory ${d} is stale`)
    changes += difference.added.length + difference.changed.length
    if (d % 20 === 19) {
      await new Promise(setImmediate)
      const now = performance.now()
      longestMs = Math.max(longestMs, now - turned)
      turned = now
    }
  }
  return { changes, longestMs }
}

async function main(): Promise<void> {
  const directory = values.directory ?? mkdtempSync(join(tmpdir(), 'sdmount-bench-index-'))
  const files = Number(values.files)
  const index = openIndex({ directory, key: KEY, log: silentLog })
  const volume = index.addVolume('location', `bench-${process.pid}`, {}).id
  const tree = new Tree(index.slot(volume, ''), files)
  index.putNode(volume, attributes(tree.directoryIno(0), S_IFDIR | 0o755, 0))
  // Making the rows isn't the index's work; how much it is, is told.
  await timed('(making the rows)', files, 'files', () => {
    for (let d = 0; d < tree.directories; d++) tree.rows(d)
  })
  let told = ''
  const tell = (result: { changes: number; longestMs: number }) => {
    told = `${result.changes.toLocaleString('en')} changes, longest stop of the event loop ${result.longestMs.toFixed(1)} ms`
  }
  await timed('first scan', files, 'files', async () => tell(await scan(index, volume, tree)))
  report('', told)
  await timed('rescan, nothing changed', files, 'files', async () => tell(await scan(index, volume, tree)))
  report('', told)
  await timed('rescan, every file changed', files, 'files', async () => tell(await scan(index, volume, tree, 1)))
  report('', told)

  const parent = tree.directoryIno(tree.directories - 1)
  const next = tree.directoryIno(tree.directories) + 1
  const created = 200_000
  const made = Array.from({ length: created }, (_, i) => attributes(next + i, S_IFREG | 0o644, i))
  for (const [what, put] of [
    [
      'putNode + putEntry',
      (a: Attributes, name: string) => {
        index.putNode(volume, a)
        index.putEntry(volume, parent, name, a.ino)
      },
    ],
    ['createEntry', (a: Attributes, name: string) => index.createEntry(volume, parent, name, a)],
  ] as const) {
    let inQueue = 0
    await timed(`${what}, with its commit`, created, 'files', async () => {
      for (let i = 0; i < created; ) {
        const begin = performance.now()
        for (const end = i + 500; i < end; i++) put(made[i]!, `${what}-${i}`)
        inQueue += performance.now() - begin
        index.flush('process')
      }
    })
    report(`${what}, to the caller`, `${((inQueue * 1000) / created).toFixed(2)} µs`)
    for (const a of made) a.ino += created
  }
  const one = made[0]!
  await timed('putNode of one node again and again (joined)', 1_000_000, 'calls', () => {
    for (let i = 0; i < 1_000_000; i++) index.putNode(volume, one)
  })
  await timed("flush('process') after each create", 2000, 'files', () => {
    for (let i = 0; i < 2000; i++) {
      index.createEntry(volume, parent, `one-${i}`, made[i]!)
      index.flush('process')
    }
  })
  await timed("flush('durable') after each create", 200, 'files', () => {
    for (let i = 0; i < 200; i++) {
      index.createEntry(volume, parent, `durable-${i}`, made[5000 + i]!)
      index.flush('durable')
    }
  })
  await timed('a read after each create (lookup of it)', 50_000, 'files', () => {
    for (let i = 0; i < 50_000; i++) {
      index.createEntry(volume, parent, `read-${i}`, made[10_000 + i]!)
      if (!index.lookup(parent, `read-${i}`)) throw new Error('not read')
    }
    index.flush('process')
  })
  const random = (i: number) => (i * 7_919_317) % tree.directories
  await timed('lookup, random', 100_000, 'lookups', () => {
    for (let i = 0; i < 100_000; i++) {
      const d = random(i)
      if (!index.lookup(tree.directoryIno(d), `holiday-picture-${d}-${1 + (i % FILES_PER_DIRECTORY)}.jpeg`)) throw new Error('missing')
    }
  })
  await timed('children, random directories', (100_000 / 20) * FILES_PER_DIRECTORY, 'entries', () => {
    for (let i = 0; i < 100_000 / 20; i++) index.children(tree.directoryIno(random(i)), undefined, 1000)
  })
  await timed('pathOf, random', 20_000, 'paths', () => {
    for (let i = 0; i < 20_000; i++) index.pathOf(tree.directoryIno(random(i)) + 1)
  })
  const size = index.size()
  report('size', `${(size.bytes / 1e6).toFixed(0)} MB, ${size.entries.toLocaleString('en')} entries`)
  index.close()

  const opened = spawnSync(process.execPath, [import.meta.filename, '--open', directory], { encoding: 'utf8' })
  process.stdout.write(opened.stdout + opened.stderr)
  if (!values.directory) rmSync(directory, { recursive: true })
}

/** In a process of its own: how long opening takes, and how much memory. */
function open(directory: string): void {
  const before = process.memoryUsage.rss()
  const begin = performance.now()
  const index = openIndex({ directory, key: KEY, log: silentLog })
  const volume = index.volumes()[0]!
  const root = index.slots().find(slot => slot.volume === volume.id)!.slot * SLOT_SIZE + 2
  const count = index.children(root, undefined, 1000).length
  const ms = performance.now() - begin
  report(
    `open and list the root (${count} entries)`,
    `${ms.toFixed(1)} ms, ${((process.memoryUsage.rss() - before) / 1e6).toFixed(0)} MB more memory`,
  )
  for (const at of index.directories(volume.id)) index.children(at.ino, undefined, 100)
  report(
    'the whole walked',
    `${((process.memoryUsage.rss() - before) / 1e6).toFixed(0)} MB more memory, ${(process.memoryUsage.rss() / 1e6).toFixed(0)} MB in all`,
  )
  index.close()
}

if (values.open) open(values.open)
else await main()
