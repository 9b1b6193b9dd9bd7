/**
 * WebDAV rows: sdmount beside Apache's mod_dav and rclone's server, over the same folder.
 *
 * Owns: the servers and the rows. Must stay true: all serve the same files without login; contenders take turns within
 * each round, after one that isn't counted; the client is the same small one for all, and keeps its connections.
 *   scripts/bench webdav [--rounds 5] [--rows GET,PROPFIND] [--megabytes 300]
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { type Measured, markdown, write } from './report.ts'
import { WireClient } from './wire-client.ts'

const { values: options } = parseArgs({
  options: { rounds: { type: 'string', default: '5' }, rows: { type: 'string' }, megabytes: { type: 'string', default: '300' } },
})
const rounds = Number(options.rounds)
const megabytes = Number(options.megabytes)
const LISTED = 10_000
const SMALL = 500
const CONNECTIONS = 4

interface Contender {
  readonly name: string
  readonly port: number
  /** Where the folder is, with "/" at its end. */
  readonly base: string
  readonly pids: () => number[]
  stop(): void
}

const work = mkdtempSync(join(tmpdir(), 'sdmount-bench-'))
chmodSync(work, 0o755)
const host = join(work, 'host')
const servers: ChildProcess[] = []

function freePort(): Promise<number> {
  return new Promise(done => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number }
      server.close(() => done(port))
    })
  })
}

async function listening(port: number): Promise<void> {
  for (let attempt = 0; attempt < 300; attempt++) {
    const there = await new Promise<boolean>(done => {
      const socket = connect(port, '127.0.0.1', () => {
        socket.destroy()
        done(true)
      })
      socket.on('error', () => done(false))
    })
    if (there) return
    await new Promise(done => setTimeout(done, 100))
  }
  throw new Error(`nothing listens at port ${port}`)
}

function start(command: string, args: readonly string[]): ChildProcess {
  const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'inherit'] })
  servers.push(child)
  return child
}

async function startSdmount(): Promise<Contender> {
  const program = resolve('bin/sdmount')
  const library = join(work, 'library')
  const sdmount = (...args: string[]) => spawnSync(program, ['--library', library, ...args], { encoding: 'utf8' }).stdout
  sdmount('location', 'add', host, '--name', 'host')
  const port = await freePort()
  sdmount('serve', 'webdav', '--anonymous', '--listen', `127.0.0.1:${port}`)
  await listening(port)
  for (let waited = 0; waited < 60 && sdmount('status', '--json').includes('"scanning"'); waited++) spawnSync('sleep', ['1'])
  const pid = Number(/process +(\d+)/.exec(sdmount('status'))?.[1])
  return { name: 'sdmount', port, base: '/host/', pids: () => [pid], stop: () => void sdmount('umount') }
}

async function startApache(): Promise<Contender> {
  const port = await freePort()
  const root = join(work, 'apache')
  mkdirSync(root)
  const modules = ['mpm_event', 'authz_core', 'dir', 'mime', 'dav', 'dav_fs'].map(
    name => `LoadModule ${name}_module /usr/lib/apache2/modules/mod_${name}.so`,
  )
  const settings = [
    `ServerRoot ${root}`,
    'ServerName localhost',
    `Listen 127.0.0.1:${port}`,
    `PidFile ${root}/pid`,
    `ErrorLog ${root}/log`,
    `DefaultRuntimeDir ${root}`,
    ...modules,
    'User www-data',
    'Group www-data',
    'KeepAlive On',
    'MaxKeepAliveRequests 0',
    `DavLockDB ${root}/locks`,
    `DocumentRoot ${host}`,
    'TypesConfig /etc/mime.types',
    `<Directory ${host}>`,
    'Require all granted',
    'Dav On',
    '</Directory>',
  ]
  writeFileSync(join(root, 'conf'), `${settings.join('\n')}\n`)
  // www-data writes there.
  spawnSync('chmod', ['-R', 'a+rwX', host, root])
  const child = start('apache2', ['-f', join(root, 'conf'), '-DFOREGROUND'])
  await listening(port)
  return { name: 'Apache mod_dav', port, base: '/', pids: () => familyOf(child.pid!), stop: () => child.kill() }
}

async function startRclone(): Promise<Contender> {
  const port = await freePort()
  const child = start('rclone', ['serve', 'webdav', host, '--addr', `127.0.0.1:${port}`, '--log-level', 'ERROR'])
  await listening(port)
  return { name: 'rclone serve', port, base: '/', pids: () => [child.pid!], stop: () => child.kill() }
}

/** A process and its children. */
function familyOf(pid: number): number[] {
  const children = spawnSync('pgrep', ['-P', String(pid)], { encoding: 'utf8' })
    .stdout.split('\n')
    .filter(Boolean)
    .map(Number)
  return [pid, ...children]
}

function peakMiB(pids: readonly number[]): number {
  let sum = 0
  for (const pid of pids) sum += Number(/VmHWM:\s*(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0)
  return sum / 1024
}

interface Row {
  readonly name: string
  readonly unit: string
  readonly lessIsBetter?: boolean
  measure(contender: Contender, client: WireClient, round: number): Promise<number>
}

async function seconds(act: () => Promise<unknown>): Promise<number> {
  const startedAt = process.hrtime.bigint()
  await act()
  return Number(process.hrtime.bigint() - startedAt) / 1e9
}

/** `count` requests over all connections; how many a second. */
async function rate(count: number, act: (i: number) => Promise<unknown>): Promise<number> {
  let next = 0
  const worker = async () => {
    while (next < count) await act(next++)
  }
  return count / (await seconds(() => Promise.all(Array.from({ length: CONNECTIONS }, worker))))
}

const big = Buffer.alloc(megabytes * 2 ** 20, 'sdmount ')
const small = Buffer.alloc(4096, 'x')
const random = (below: number) => Math.floor(Math.random() * below)

const rows: Row[] = [
  {
    name: `GET ${megabytes} MiB`,
    unit: 'MiB/s',
    measure: async (c, client) => megabytes / (await seconds(() => client.send('GET', `${c.base}big`, 200))),
  },
  {
    name: `PUT ${megabytes} MiB`,
    unit: 'MiB/s',
    measure: async (c, client, round) =>
      megabytes / (await seconds(() => client.send('PUT', `${c.base}up-${c.port}-${round}`, 201, {}, big))),
  },
  {
    name: 'GET of 64 KiB ranges',
    unit: 'requests/s',
    measure: (c, client) =>
      rate(1000, () => {
        const at = random(megabytes * 16) * 65_536
        return client.send('GET', `${c.base}big`, 206, { Range: `bytes=${at}-${at + 65_535}` })
      }),
  },
  {
    name: 'GET of 4 KiB files',
    unit: 'requests/s',
    measure: (c, client) => rate(2000, i => client.send('GET', `${c.base}small/${i % SMALL}`, 200)),
  },
  {
    name: 'PUT of 4 KiB files',
    unit: 'requests/s',
    measure: (c, client, round) => rate(1000, i => client.send('PUT', `${c.base}puts/${c.port}-${round}-${i}`, 201, {}, small)),
  },
  {
    name: `PROPFIND of ${LISTED.toLocaleString('en')} entries`,
    unit: 's',
    lessIsBetter: true,
    measure: (c, client) => seconds(() => client.send('PROPFIND', `${c.base}listed/`, 207, { Depth: '1' })),
  },
  {
    name: 'longest wait beside that listing',
    unit: 'ms',
    lessIsBetter: true,
    measure: async (c, client) => {
      let listed = false
      const listing = client.send('PROPFIND', `${c.base}listed/`, 207, { Depth: '1' }).then(() => {
        listed = true
      })
      let longestMs = 0
      while (!listed) {
        const waited = await seconds(() => client.send('PROPFIND', `${c.base}small/0`, 207, { Depth: '0' }))
        longestMs = Math.max(longestMs, waited * 1000)
      }
      await listing
      return longestMs
    },
  },
  {
    name: 'PROPFIND of one file',
    unit: 'requests/s',
    measure: (c, client) => rate(2000, i => client.send('PROPFIND', `${c.base}small/${i % SMALL}`, 207, { Depth: '0' })),
  },
]

function prepare(): void {
  for (const folder of ['', 'small', 'listed', 'puts']) mkdirSync(join(host, folder), { recursive: true })
  writeFileSync(join(host, 'big'), big)
  for (let i = 0; i < SMALL; i++) writeFileSync(join(host, 'small', String(i)), small)
  for (let i = 0; i < LISTED; i++) writeFileSync(join(host, 'listed', `file-${String(i).padStart(5, '0')}.txt`), '')
}

const peers = ['Apache mod_dav', 'rclone serve']
const measured: Measured[] = []
const facts: Record<string, string> = {}
const contenders: Contender[] = []
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => {
    end()
    process.exit(1)
  })
}
try {
  prepare()
  for (const begin of [startSdmount, startApache, startRclone]) contenders.push(await begin())
  const clients = new Map(contenders.map(contender => [contender, new WireClient(contender.port)]))
  const chosen = options.rows?.split(',').map(word => word.trim())
  for (const row of rows) {
    if (chosen && !chosen.some(word => row.name.includes(word))) continue
    const values: Record<string, number[]> = {}
    // The round before the first isn't counted: caches are filled, and Node has compiled what it will.
    for (let round = -1; round < rounds; round++) {
      for (const contender of contenders) {
        const client = clients.get(contender)!
        // While the others took their turns the server may have had enough of idle connections.
        client.close()
        const value = await row.measure(contender, client, round)
        if (round >= 0) (values[contender.name] ??= []).push(value)
      }
      // What the round uploaded would fill the disk.
      for (const name of readdirSync(host)) if (name.startsWith('up-')) rmSync(join(host, name))
    }
    measured.push({ row: row.name, user: 'root', unit: row.unit, lessIsBetter: row.lessIsBetter ?? false, values })
    process.stderr.write(`${markdown(measured.slice(-1), peers).split('\n')[2]}\n`)
  }
  for (const contender of contenders) facts[`peak memory of ${contender.name}`] = `${Math.round(peakMiB(contender.pids()))} MiB`
  for (const client of clients.values()) client.close()
  console.log(markdown(measured, peers))
  for (const [what, value] of Object.entries(facts)) console.log(`${what}: ${value}`)
  if (!chosen) write('webdav', "WebDAV: sdmount against Apache's mod_dav and rclone serve", measured, peers, facts)
} finally {
  end()
}

function end(): void {
  for (const contender of contenders) contender.stop()
  for (const server of servers) server.kill()
  rmSync(work, { recursive: true, force: true })
}
