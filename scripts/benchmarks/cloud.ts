/**
 * Cloud rows: a bucket through sdmount beside rclone mount (full cache) and s3fs, on one server, without and with latency.
 *   scripts/bench cloud [--rounds 5] [--rows listing,rename] [--latency 0,20] [--objects 100000]
 *
 * Owns: the rows. Must stay true: contenders take turns within each round, each on a bucket of its own that holds the same; each row
 * begins with a new mount and empty caches, the kernel's too; what counts as written is what the program was told.
 */
import { execFileSync, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { fixedCredentials } from '../../src/backends/s3/credentials.ts'
import { S3Backend } from '../../src/backends/s3/s3-backend.ts'
import { CAUTIOUS_TRAITS } from '../../src/backends/s3/traits.ts'
import { type CloudContender, cloudContender } from './cloud-contenders.ts'
import { type Measured, markdown, write } from './report.ts'

const { values: options } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    rows: { type: 'string' },
    latency: { type: 'string', default: '0,20' },
    objects: { type: 'string', default: '100000' },
    size: { type: 'string', default: '256' },
    contenders: { type: 'string', default: 'sdmount,rclone,s3fs' },
  },
})
const rounds = Number(options.rounds)
const objects = Number(options.objects)
const dataMib = Number(options.size)
const PEERS = ['rclone', 's3fs', 'direct']
const KEYS = { accessKeyId: 'testkey', secretAccessKey: 'testsecret' }
const SMALL_FILES = 2_000
const WRITTEN_FILES = 1_000
const RENAMED_FILES = 1_000
const RANDOM_READS = 2_000
const RANGES_AT_ONCE = 16
const MIB = 2 ** 20

const work = mkdtempSync(join(tmpdir(), 'sdmount-bench-cloud-'))
const serverDirectory = join(work, 'server')
const port = 33_000 + Math.floor(Math.random() * 500) * 20
const S3_SERVER = resolve('scripts/s3-server')

interface Row {
  readonly name: string
  readonly unit: string
  readonly lessIsBetter?: boolean
  measure(contender: CloudContender, round: number): number
  /** What a client without a filesystem reaches. */
  direct?(store: S3Backend): Promise<number>
}

function seconds(action: () => void): number {
  const start = process.hrtime.bigint()
  action()
  return Number(process.hrtime.bigint() - start) / 1e9
}

function readWhole(path: string): number {
  const took = seconds(() => void execFileSync('dd', [`if=${path}`, 'of=/dev/null', 'bs=1M'], { stdio: 'ignore' }))
  return dataMib / took
}

const rows: Row[] = [
  {
    name: `listing: ls -lR of ${objects.toLocaleString('en')} objects, new volume`,
    unit: 's',
    lessIsBetter: true,
    measure: contender => seconds(() => void execFileSync('ls', ['-lR', join(contender.path, 'listed')], { maxBuffer: 1 << 28 })),
    async direct(store) {
      const start = process.hrtime.bigint()
      for (let continuation: string | undefined, first = true; first || continuation !== undefined; first = false)
        continuation = (await store.list({ prefix: 'listed/', continuation })).next
      return Number(process.hrtime.bigint() - start) / 1e9
    },
  },
  {
    name: `sequential read of ${dataMib} MiB, cold`,
    unit: 'MiB/s',
    measure: contender => readWhole(join(contender.path, 'data')),
    async direct(store) {
      const start = process.hrtime.bigint()
      const range = 4 * MIB
      let next = 0
      const worker = async () => {
        while (next < dataMib * MIB) {
          const offset = next
          next += range
          await store.get('data', () => {}, { range: { offset, lengthBytes: range } })
        }
      }
      await Promise.all(Array.from({ length: RANGES_AT_ONCE }, worker))
      return dataMib / (Number(process.hrtime.bigint() - start) / 1e9)
    },
  },
  {
    name: `sequential read of ${dataMib} MiB, cached`,
    unit: 'MiB/s',
    measure(contender) {
      readWhole(join(contender.path, 'data'))
      writeFileSync('/proc/sys/vm/drop_caches', '3')
      return readWhole(join(contender.path, 'data'))
    },
  },
  {
    name: '4 KiB random reads, cached',
    unit: 'reads/s',
    measure(contender) {
      const file = join(contender.path, 'data')
      readWhole(file)
      writeFileSync('/proc/sys/vm/drop_caches', '3')
      const fd = openSync(file, 'r')
      const into = Buffer.alloc(4096)
      const took = seconds(() => {
        for (let i = 0; i < RANDOM_READS; i++) readSync(fd, into, 0, 4096, Math.floor(Math.random() * dataMib * 256) * 4096)
      })
      closeSync(fd)
      return RANDOM_READS / took
    },
  },
  {
    name: `read ${SMALL_FILES.toLocaleString('en')} files of 4 KiB, cold`,
    unit: 'files/s',
    measure(contender) {
      const directory = join(contender.path, 'small')
      return SMALL_FILES / seconds(() => readdirSync(directory).forEach(name => void readFileSync(join(directory, name))))
    },
  },
  {
    name: `write ${WRITTEN_FILES.toLocaleString('en')} files of 16 KiB`,
    unit: 'files/s',
    measure: (contender, round) => WRITTEN_FILES / writeFiles(contender, `written-${round}`),
  },
  {
    name: `write ${WRITTEN_FILES.toLocaleString('en')} files of 16 KiB, until all are uploaded`,
    unit: 's',
    lessIsBetter: true,
    measure: (contender, round) =>
      seconds(() => {
        writeFiles(contender, `uploaded-${round}`)
        contender.uploaded()
      }),
  },
  {
    name: `rename a folder of ${RENAMED_FILES.toLocaleString('en')} files`,
    unit: 'ms',
    lessIsBetter: true,
    measure(contender, round) {
      const [from, to] = round % 2 === 0 ? ['renamed-a', 'renamed-b'] : ['renamed-b', 'renamed-a']
      statSync(join(contender.path, from!))
      const took = 1000 * seconds(() => renameSync(join(contender.path, from!), join(contender.path, to!)))
      contender.uploaded()
      return took
    },
  },
]

/** Seconds. */
function writeFiles(contender: CloudContender, name: string): number {
  const directory = join(contender.path, name)
  const bytes = randomBytes(16 * 1024)
  contender.uploaded()
  return seconds(() => {
    mkdirSync(directory)
    for (let i = 0; i < WRITTEN_FILES; i++) writeFileSync(join(directory, `f${i}`), bytes)
  })
}

function storeOf(bucket: string, atPort = port): S3Backend {
  return new S3Backend({
    bucket,
    region: 'us-east-1',
    endpoint: `http://127.0.0.1:${atPort}`,
    credentials: fixedCredentials(KEYS),
    traits: { ...CAUTIOUS_TRAITS, etagIsMd5: true },
  })
}

/** A bucket with all that the rows want to find. */
async function fill(bucket: string, chosen: readonly Row[]): Promise<void> {
  const store = storeOf(bucket)
  await store.planes.data.request({ operation: 'make-bucket', method: 'PUT' })
  const keys: [string, Buffer][] = []
  const wants = (word: string) => chosen.some(row => row.name.includes(word))
  const small = randomBytes(4096)
  if (wants('listing'))
    for (let i = 0; i < objects; i++) keys.push([`listed/d${i % 100}/e${Math.floor(i / 100) % 10}/f${i}`, Buffer.alloc(0)])
  if (wants('files of 4 KiB')) for (let i = 0; i < SMALL_FILES; i++) keys.push([`small/f${i}`, small])
  if (wants('rename')) for (let i = 0; i < RENAMED_FILES; i++) keys.push([`renamed-a/f${i}`, small])
  if (wants('read')) keys.push(['data', randomBytes(dataMib * MIB)])
  let next = 0
  const worker = async () => {
    while (next < keys.length) {
      const [key, bytes] = keys[next++]!
      await store.put(key, bytes)
    }
  }
  await Promise.all(Array.from({ length: 32 }, worker))
  store.close()
}

/** The port at which the server is that many milliseconds away. */
async function portAt(latencyMs: number): Promise<{ readonly port: number; end(): void }> {
  if (latencyMs === 0) return { port, end() {} }
  const proxyPort = port + 15
  const line = ['scripts/benchmarks/latency-proxy.ts', String(proxyPort), String(port), String(latencyMs)]
  const child = spawn(process.execPath, line, { stdio: ['ignore', 'pipe', 'inherit'] })
  await new Promise<void>((done, failed) => {
    child.stdout.once('data', () => done())
    child.once('exit', () => failed(new Error('the latency proxy ended')))
  })
  return { port: proxyPort, end: () => void child.kill() }
}

// What is mounted goes also when it is ended: `finally` doesn't run for a signal.
const ended = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => ended.abort(new Error(`ended by ${signal}`)))

const words = options.rows?.split(',').map(word => word.trim())
const chosen = rows.filter(row => !words || words.some(word => row.name.includes(word)))
const measured: Measured[] = []
execFileSync(S3_SERVER, ['start', serverDirectory, String(port)])
try {
  for (const latencyMs of options.latency.split(',').map(Number)) {
    const way = await portAt(latencyMs)
    const contenders: CloudContender[] = []
    try {
      for (const name of options.contenders.split(',')) {
        const bucket = `bench-${latencyMs}-${name}`
        await fill(bucket, chosen)
        const directory = join(work, `at-${latencyMs}-${name}`)
        mkdirSync(directory)
        const place = { work: directory, endpoint: `http://127.0.0.1:${way.port}`, bucket, ...KEYS }
        contenders.push(cloudContender(place, name as CloudContender['name']))
      }
      const store = storeOf(`bench-${latencyMs}-${options.contenders.split(',')[0]}`, way.port)
      for (const row of chosen) {
        const values: Record<string, number[]> = {}
        for (let round = 0; round < rounds; round++) {
          for (const contender of contenders) {
            // A turn of the loop, for signals: the rest doesn't leave the thread.
            await new Promise(setImmediate)
            ended.signal.throwIfAborted()
            contender.mountCold({ forgetTree: row.name.startsWith('listing') })
            try {
              ;(values[contender.name] ??= []).push(row.measure(contender, round))
            } finally {
              contender.unmount()
            }
          }
          if (row.direct) (values.direct ??= []).push(await row.direct(store))
        }
        measured.push({ row: row.name, user: `${latencyMs} ms`, unit: row.unit, lessIsBetter: row.lessIsBetter ?? false, values })
        process.stderr.write(`${markdown(measured.slice(-1), PEERS).split('\n')[2]}\n`)
      }
      store.close()
    } finally {
      for (const contender of contenders) contender.unmount()
      way.end()
    }
  }
} finally {
  execFileSync(S3_SERVER, ['stop', serverDirectory])
  rmSync(work, { recursive: true, force: true })
}
console.log(markdown(measured, PEERS))
const facts = {
  'second column': 'latency that was added to the server, both ways together',
  direct: 'a client without a filesystem, 16 ranges at once; listing: one call after the other',
}
if (!words) write('cloud', 'Cloud volumes: sdmount against rclone mount (full cache) and s3fs', measured, PEERS, facts)
