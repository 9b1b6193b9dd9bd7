/**
 * Facts of the library: how fast a new location gets into the index, and a mount with an index of a million entries.
 * Owns: these two measurements.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { median } from './report.ts'

const SCAN_FILES = 100_000
const MILLION_FOLDERS = 1_000

const sdmount = (library: string, ...args: string[]) =>
  execFileSync(resolve('bin/sdmount'), ['--library', library, ...args], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] })

interface Status {
  readonly daemon: { readonly pid: number }
}

function waitForScan(library: string): void {
  while (sdmount(library, 'status', '--json').includes('"scanning"')) spawnSync('sleep', ['0.2'])
}

/** Makes its own folders below `work`; they are the caller's to remove. */
export function factsOfLibraries(work: string): Record<string, string> {
  const tree = join(work, 'scan')
  for (let d = 0; d < SCAN_FILES / 100; d++) {
    const directory = join(tree, `d${d % 50}`, `e${d}`)
    mkdirSync(directory, { recursive: true })
    for (let f = 0; f < 100; f++) writeFileSync(join(directory, `f${f}`), '')
  }
  const mountpoint = join(work, 'facts')
  const scanLibrary = join(work, 'library-scan')
  sdmount(scanLibrary, 'location', 'add', tree, '--name', 'tree')
  sdmount(scanLibrary, mountpoint)
  waitForScan(scanLibrary)
  const rate = /"entriesPerSecond":\s*([\d.]+)/.exec(sdmount(scanLibrary, 'status', '--json'))?.[1]
  sdmount(scanLibrary, 'umount')

  // A million entries: the same tree's files, hard linked ten times over, is quick to make.
  const million = join(work, 'million')
  mkdirSync(million)
  for (let d = 0; d < MILLION_FOLDERS; d++) mkdirSync(join(million, `d${d}`))
  execFileSync('sh', ['-c', `cd "${million}" && for d in d*; do (cd "$d" && seq 1000 | xargs touch); done`])
  const library = join(work, 'library-million')
  sdmount(library, 'location', 'add', million, '--name', 'million')
  sdmount(library, mountpoint)
  waitForScan(library)
  const ready: number[] = []
  let residentMiB = 0
  for (let round = 0; round < 5; round++) {
    sdmount(library, 'umount')
    const start = process.hrtime.bigint()
    sdmount(library, mountpoint)
    ready.push(Number(process.hrtime.bigint() - start) / 1e6)
    const status = JSON.parse(sdmount(library, 'status', '--json')) as Status
    const resident = /VmRSS:\s*(\d+)/.exec(readFileSync(`/proc/${status.daemon.pid}/status`, 'utf8'))![1]
    residentMiB = Math.max(residentMiB, Number(resident) / 1024)
  }
  waitForScan(library)
  sdmount(library, 'umount')
  return {
    'scan of 100,000 files into a new index': `${Math.round(Number(rate)).toLocaleString('en')} entries/s`,
    'mount ready with 1,000,000 entries in the index': `${Math.round(median(ready))} ms`,
    'memory of the daemon then': `${Math.round(residentMiB)} MiB`,
  }
}
