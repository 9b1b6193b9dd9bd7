/**
 * A cloud volume on a real mount: the real program, a real S3 server, and the tools that other people use on the same bucket.
 *
 * Owns: a sandbox (test/cli/sdmount.ts) with keys in a file, and what is mounted by s3fs below it; all of it goes with the test.
 */
import { execFile, spawnSync } from 'node:child_process'
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { ExecutionContext } from 'ava'
import { S3Backend } from '../../src/backends/s3/s3-backend.ts'
import type { S3Settings } from '../../src/backends/s3/settings.ts'
import { type Outcome, Sandbox } from '../cli/sdmount.ts'
import { type S3Server, s3Server, TEST_CREDENTIALS } from '../support/s3-server.ts'

const { accessKeyId, secretAccessKey } = TEST_CREDENTIALS
/** Nothing of an AWS configuration that this machine may have. */
export const NO_KEYS = { AWS_EC2_METADATA_DISABLED: 'true', AWS_CONFIG_FILE: '/nonexistent', AWS_SHARED_CREDENTIALS_FILE: '/nonexistent' }

/** What is missing here for such tests, or undefined. */
export async function cloudServer(): Promise<S3Server | string> {
  if (spawnSync('sh', ['-c', 'test -w /dev/fuse']).status !== 0) return 'no /dev/fuse here'
  return await s3Server()
}

export class CloudSandbox extends Sandbox {
  readonly t: ExecutionContext
  readonly server: S3Server
  readonly settings: S3Settings
  readonly store: S3Backend
  readonly keyFile: string

  private constructor(t: ExecutionContext, server: S3Server, settings: S3Settings) {
    super(t)
    this.t = t
    this.server = server
    this.settings = settings
    this.store = new S3Backend(settings)
    t.teardown(() => this.store.close())
    this.keyFile = join(this.home, 'keys')
    writeFileSync(this.keyFile, `${accessKeyId}:${secretAccessKey}\n`, { mode: 0o600 })
  }

  /** A sandbox with a bucket of its own. */
  static async on(t: ExecutionContext, server: S3Server): Promise<CloudSandbox> {
    return new CloudSandbox(t, server, await server.bucket())
  }

  get bucket(): string {
    return this.settings.bucket
  }

  /** `sdmount` with these arguments; fails the test when it ends with an error. */
  ok(...line: string[]): Outcome {
    const outcome = this.run(line, { env: NO_KEYS })
    this.t.is(outcome.code, 0, `sdmount ${line.join(' ')}: ${outcome.stderr}${outcome.stdout}`)
    return outcome
  }

  /** Adds the bucket as `name`, with sealed keys. */
  add(name = 'cloud', more: readonly string[] = [], endpoint = this.server.endpoint): string {
    this.ok('volume', 'add', `s3://${this.bucket}`, '--name', name, '--endpoint', endpoint, '--credentials-file', this.keyFile, ...more)
    return join(this.mountpoint, name)
  }

  mount(...more: string[]): void {
    this.ok(this.mountpoint, ...more)
  }

  /** The queue of the only volume. */
  queue(): { queued: number; failed: number; state: string; lastError?: string; works: { name: string; error?: string }[] } {
    return JSON.parse(this.ok('sync', 'status', '--json').stdout)[0]
  }

  /** All keys of the bucket. */
  async keys(prefix = ''): Promise<string[]> {
    const keys: string[] = []
    for (let continuation: string | undefined, first = true; first || continuation !== undefined; first = false) {
      const page = await this.store.list({ prefix, continuation })
      keys.push(...page.objects.map(object => object.key))
      continuation = page.next
    }
    return keys
  }

  async content(key: string): Promise<Buffer> {
    const chunks: Buffer[] = []
    await this.store.get(key, chunk => void chunks.push(Buffer.from(chunk)))
    return Buffer.concat(chunks)
  }

  /** rclone on the bucket, which it calls `r:`. */
  rclone(...line: string[]): string {
    const { code, stdout, stderr } = this.program('rclone', line, {
      env: {
        RCLONE_CONFIG: '/nonexistent',
        RCLONE_CONFIG_SERVER_TYPE: 's3',
        RCLONE_CONFIG_SERVER_PROVIDER: 'Ceph',
        RCLONE_CONFIG_SERVER_ACCESS_KEY_ID: accessKeyId,
        RCLONE_CONFIG_SERVER_SECRET_ACCESS_KEY: secretAccessKey,
        RCLONE_CONFIG_SERVER_ENDPOINT: this.server.endpoint,
        RCLONE_CONFIG_SERVER_REGION: 'us-east-1',
        RCLONE_CONFIG_R_TYPE: 'alias',
        RCLONE_CONFIG_R_REMOTE: `server:${this.bucket}`,
      },
    })
    this.t.is(code, 0, stderr)
    return stdout
  }

  /** The bucket mounted by s3fs: its mountpoint. */
  s3fs(): string {
    const mountpoint = join(this.directory, `s3fs-${Date.now()}`)
    mkdirSync(mountpoint)
    chmodSync(this.keyFile, 0o600)
    const { code, stderr } = this.program('s3fs', [
      this.bucket,
      mountpoint,
      '-o',
      `url=${this.server.endpoint},use_path_request_style,passwd_file=${this.keyFile},endpoint=us-east-1,complement_stat`,
    ])
    this.t.is(code, 0, stderr)
    return mountpoint
  }

  unmountS3fs(mountpoint: string): void {
    this.t.is(this.program('fusermount3', ['-u', mountpoint]).code, 0)
  }
}

/** A program that is ended when it takes longer than `ms`: its code, or 'hangs'. */
export async function within(ms: number, file: string, line: readonly string[]): Promise<number | 'hangs'> {
  try {
    await promisify(execFile)(file, line, { timeout: ms, killSignal: 'SIGKILL', maxBuffer: 2 ** 26 })
    return 0
  } catch (error) {
    const { code, killed } = error as { code?: number; killed?: boolean }
    return killed ? 'hangs' : (code ?? 1)
  }
}

/** A test's title, with the reason where it can't run. */
export function titled(server: S3Server | string, name: string): string {
  return typeof server === 'string' ? `${name} (${server})` : name
}
