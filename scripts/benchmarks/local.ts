/**
 * Local rows: a location beside the folder itself, mergerfs and bindfs, mounted by root and by an ordinary user.
 *
 * Owns: the rows. Must stay true: contenders take turns within each round; what a row makes is new in each turn (ext4 is
 * slow to give out inodes that were freed a moment ago); cold rows drop the page cache first.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { type Contender, mountAll, run } from './contenders.ts'
import { factsOfLibraries } from './library.ts'
import { makeProject, npmOptions } from './packages.ts'
import { type Measured, markdown, write } from './report.ts'

const { values: options } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    rows: { type: 'string' },
    as: { type: 'string', default: 'root,user' },
    'no-facts': { type: 'boolean', default: false },
  },
})
const rounds = Number(options.rounds)

interface Row {
  readonly name: string
  readonly unit: string
  readonly lessIsBetter?: boolean
  measure(contender: Contender, round: number): number
}

const DATA_MIB = 256
const work = mkdtempSync(join(tmpdir(), 'sdmount-bench-'))
chmodSync(work, 0o755)
const host = join(work, 'host')
/** npm's cache, outside of what is measured. */
const npmCache = (user: string) => join(work, `npm-cache-${user}`)

function cold(): void {
  execFileSync('sync')
  writeFileSync('/proc/sys/vm/drop_caches', '3')
}

/** fio's JSON, for one job. */
// biome-ignore lint/suspicious/noExplicitAny: fio's report is what it is
function fio(contender: Contender, args: readonly string[]): any {
  const text = run(contender.user, 'fio', ['--name=job', '--output-format=json', '--thread', '--ioengine=psync', ...args])
  return JSON.parse(text.slice(text.indexOf('{'))).jobs[0]
}

const data = (contender: Contender) => `--filename=${join(contender.path, 'data')}`
const own = (contender: Contender, round: number, what: string) => join(contender.path, `${what}-${contender.name}-${round}`)

function seconds(action: () => void): number {
  const start = process.hrtime.bigint()
  action()
  return Number(process.hrtime.bigint() - start) / 1e9
}

const TREE_ENTRIES = 20_000
const rows: Row[] = [
  {
    name: '4 KiB random read, warm',
    unit: 'reads/s',
    measure: c =>
      fio(c, [data(c), '--rw=randread', '--bs=4k', `--size=${DATA_MIB}M`, '--invalidate=0', '--runtime=2', '--time_based']).read.iops,
  },
  {
    name: '4 KiB random read, cold',
    unit: 'reads/s',
    measure(c) {
      cold()
      return fio(c, [data(c), '--rw=randread', '--bs=4k', `--size=${DATA_MIB}M`, '--runtime=2', '--time_based']).read.iops
    },
  },
  {
    name: 'sequential read, warm',
    unit: 'MiB/s',
    measure: c => fio(c, [data(c), '--rw=read', '--bs=1M', `--size=${DATA_MIB}M`, '--invalidate=0', '--loops=4']).read.bw_bytes / 2 ** 20,
  },
  {
    name: 'sequential read, cold',
    unit: 'MiB/s',
    measure(c) {
      cold()
      return fio(c, [data(c), '--rw=read', '--bs=1M', `--size=${DATA_MIB}M`]).read.bw_bytes / 2 ** 20
    },
  },
  {
    name: 'sequential write, with fsync',
    unit: 'MiB/s',
    measure: (c, round) =>
      fio(c, [`--filename=${own(c, round, 'written')}`, '--rw=write', '--bs=1M', `--size=${DATA_MIB}M`, '--end_fsync=1', '--unlink=1'])
        .write.bw_bytes /
      2 ** 20,
  },
  {
    name: 'find with stat, 20,000 files, again',
    unit: 's',
    lessIsBetter: true,
    measure(c) {
      const walk = () => void run(c.user, 'find', [join(c.path, 'tree'), '-printf', '%s\\n'])
      walk()
      return seconds(walk)
    },
  },
  {
    name: 'ls -lR, 20,000 files, again',
    unit: 's',
    lessIsBetter: true,
    measure(c) {
      const walk = () => void run(c.user, 'ls', ['-lR', join(c.path, 'tree')])
      walk()
      return seconds(walk)
    },
  },
  {
    name: 'find with stat, cold',
    unit: 's',
    lessIsBetter: true,
    measure(c) {
      cold()
      return seconds(() => void run(c.user, 'find', [join(c.path, 'tree'), '-printf', '%s\\n']))
    },
  },
  {
    name: 'create 4,000 files of 4 KiB, unlink',
    unit: 's',
    lessIsBetter: true,
    measure(c, round) {
      const directory = own(c, round, 'many')
      return seconds(() => {
        run(c.user, 'mkdir', [directory])
        run(c.user, 'split', ['-a', '4', '-b', '4k', join(c.path, 'sixteen'), `${directory}/f`])
        run(c.user, 'rm', ['-rf', directory])
      })
    },
  },
  {
    name: 'untar 4,000 files',
    unit: 's',
    lessIsBetter: true,
    measure(c, round) {
      const directory = own(c, round, 'untar')
      run(c.user, 'mkdir', [directory])
      return seconds(() => void run(c.user, 'tar', ['-xf', join(host, 'tree.tar'), '-C', directory]))
    },
  },
  {
    name: 'git status, 4,000 files',
    unit: 's',
    lessIsBetter: true,
    measure(c) {
      const status = () => void run(c.user, 'git', ['-c', 'safe.directory=*', '-C', join(c.path, 'repository'), 'status', '--porcelain'])
      status()
      return seconds(status)
    },
  },
  {
    name: 'cp -a of 4,000 files',
    unit: 's',
    lessIsBetter: true,
    measure: (c, round) => seconds(() => void run(c.user, 'cp', ['-a', join(c.path, 'repository'), own(c, round, 'copy')])),
  },
  {
    name: 'npm ci, 60 packages, 3,000 files',
    unit: 's',
    lessIsBetter: true,
    measure(c, round) {
      const directory = own(c, round, 'project')
      run(c.user, 'cp', ['-r', join(host, 'project'), directory])
      return seconds(() => void run(c.user, 'npm', ['ci', ...npmOptions(npmCache(c.user))], { cwd: directory }))
    },
  },
]

function prepare(user: string, uid: number): void {
  mkdirSync(host)
  execFileSync('dd', ['if=/dev/urandom', `of=${join(host, 'data')}`, 'bs=1M', `count=${DATA_MIB}`], { stdio: 'ignore' })
  execFileSync('dd', ['if=/dev/urandom', `of=${join(host, 'sixteen')}`, 'bs=4k', 'count=4000'], { stdio: 'ignore' })
  for (let d = 0; d < TREE_ENTRIES / 100; d++) {
    const directory = join(host, 'tree', `d${d % 20}`, `e${d}`)
    mkdirSync(directory, { recursive: true })
    for (let f = 0; f < 100; f++) writeFileSync(join(directory, `file-${f}.txt`), `${d} ${f}\n`)
  }
  const repository = join(host, 'repository')
  for (let f = 0; f < 4000; f++) {
    const directory = join(repository, `src${f % 40}`, `part${f % 7}`)
    mkdirSync(directory, { recursive: true })
    writeFileSync(join(directory, `module-${f}.js`), `export const value = ${f}\n`.repeat(1 + (f % 200)))
  }
  const git = (...args: string[]) =>
    execFileSync('git', ['-C', repository, '-c', 'user.name=b', '-c', 'user.email=b@example.org', ...args], { stdio: 'ignore' })
  git('init', '-q')
  git('add', '.')
  git('commit', '-qm', 'tree')
  execFileSync('tar', ['-cf', join(host, 'tree.tar'), '--exclude=.git', '-C', host, 'repository'])
  makeProject(join(host, 'project'), npmCache(user))
  if (uid) execFileSync('chown', ['-R', `${uid}:${uid}`, host, npmCache(user)])
  chownSync(host, uid, uid)
}

const measured: Measured[] = []
const chosen = options.rows?.split(',').map(word => word.trim())
for (const user of options.as.split(',') as ('root' | 'user')[]) {
  rmSync(host, { recursive: true, force: true })
  prepare(user, user === 'root' ? 0 : Number(run('root', 'id', ['-u', 'sdmount-test'])))
  const contenders = mountAll(work, host, user)
  try {
    // The scan of a new location would measure itself.
    for (let waited = 0; waited < 60; waited++) {
      const status = run(user, resolve('bin/sdmount'), ['--library', join(work, `library-${user}`), 'status', '--json'])
      if (!status.includes('"scanning"')) break
      spawnSync('sleep', ['1'])
    }
    for (const row of rows) {
      if (chosen && !chosen.some(word => row.name.includes(word))) continue
      const values: Record<string, number[]> = {}
      for (let round = 0; round < rounds; round++) {
        for (const contender of contenders) (values[contender.name] ??= []).push(row.measure(contender, round))
      }
      measured.push({ row: row.name, user, unit: row.unit, lessIsBetter: row.lessIsBetter ?? false, values })
      process.stderr.write(`${markdown(measured.slice(-1), ['native', 'mergerfs', 'bindfs']).split('\n')[2]}\n`)
    }
  } finally {
    for (const contender of contenders.reverse()) contender.unmount()
  }
}
const facts = options['no-facts'] ? {} : factsOfLibraries(work)
rmSync(work, { recursive: true, force: true })
statSync('.')
console.log(markdown(measured, ['native', 'mergerfs', 'bindfs']))
for (const [what, value] of Object.entries(facts)) console.log(`${what}: ${value}`)
if (!chosen)
  write('local', 'Local folders: sdmount against the folder itself, mergerfs and bindfs', measured, ['native', 'mergerfs', 'bindfs'], facts)
