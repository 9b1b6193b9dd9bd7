/**
 * A real S3 server for a test file: Ceph's gateway on free loopback ports, ended with the process.
 * Where the programs are missing, `s3Server` answers the reason, and the tests that need it are skipped with it.
 */
import { execFile, spawnSync } from 'node:child_process'
import { mkdtempSync } from 'node:fs'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { fixedCredentials } from '../../src/backends/s3/credentials.ts'
import { probeS3 } from '../../src/backends/s3/probe.ts'
import { S3Backend } from '../../src/backends/s3/s3-backend.ts'
import type { S3Settings } from '../../src/backends/s3/settings.ts'
import { CAUTIOUS_TRAITS, type S3Traits } from '../../src/backends/s3/traits.ts'

const SCRIPT = fileURLToPath(new URL('../../scripts/s3-server', import.meta.url))
const run = promisify(execFile)

export const TEST_CREDENTIALS = { accessKeyId: 'testkey', secretAccessKey: 'testsecret' }

export interface S3Server {
  readonly port: number
  readonly endpoint: string
  /** Settings of a new bucket, with what the server was found to do. */
  bucket(): Promise<S3Settings>
  killGateway(): Promise<void>
  restartGateway(): Promise<void>
  stop(): void
}

/** Starts a server, or says why there is none. */
export async function s3Server(): Promise<S3Server | string> {
  const missing = ['ceph-mon', 'ceph-osd', 'radosgw', 'radosgw-admin', 'curl'].filter(name => spawnSync('which', [name]).status !== 0)
  if (missing.length > 0) return `${missing.join(', ')} not installed`
  const directory = join(mkdtempSync(join(tmpdir(), 'sdmount-s3-')), 'server')
  const port = await freePorts(13)
  await run(SCRIPT, ['start', directory, String(port)])
  const stop = () => {
    spawnSync(SCRIPT, ['stop', directory])
    spawnSync('rm', ['-rf', join(directory, '..')])
  }
  process.once('exit', stop)
  const endpoint = `http://127.0.0.1:${port}`
  let traits: S3Traits | undefined
  let count = 0
  return {
    port,
    endpoint,
    async bucket() {
      const bucket = `bucket-${process.pid}-${count++}`
      const settings: S3Settings = {
        bucket,
        region: 'us-east-1',
        endpoint,
        credentials: fixedCredentials(TEST_CREDENTIALS),
        traits: traits ?? CAUTIOUS_TRAITS,
        // A small server on a busy machine stands still for a while now and then.
        connections: { stallTimeoutMs: 120_000 },
      }
      const backend = new S3Backend(settings)
      // Buckets are made by their owners, never by the product: so this goes around the contract.
      await backend.planes.data.request({ operation: 'make-bucket', method: 'PUT' })
      traits ??= await probeS3(backend, bucket, '')
      backend.close()
      return { ...settings, traits }
    },
    killGateway: async () => void (await run(SCRIPT, ['kill-gateway', directory])),
    restartGateway: async () => void (await run(SCRIPT, ['restart-gateway', directory, String(port)])),
    stop,
  }
}

/** The first of `count` ports in a row that are free. */
async function freePorts(count: number): Promise<number> {
  for (let attempt = 0; attempt < 50; attempt++) {
    const first = 20_000 + Math.floor(Math.random() * 12_000)
    const free = await Promise.all(Array.from({ length: count }, (_, i) => isFree(first + i)))
    if (free.every(Boolean)) return first
  }
  throw new Error('no free ports')
}

function isFree(port: number): Promise<boolean> {
  return new Promise(resolve => {
    const server = net.createServer()
    server.once('error', () => resolve(false))
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)))
  })
}
