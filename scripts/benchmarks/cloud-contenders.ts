/**
 * What is compared in the cloud rows: the same bucket through sdmount, rclone mount (full cache) and s3fs.
 *
 * Owns: mounting each with a cache of its own, emptying that cache, and knowing when all is uploaded. Must stay true: each has the
 * same server and the same latency before it; each is unmounted also when a row fails.
 */
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { isMounted } from './mounted.ts'

export interface CloudContender {
  readonly name: 'sdmount' | 'rclone' | 's3fs'
  /** Where it shows the bucket. */
  readonly path: string
  /** Mounted, with nothing in any cache; with `forgetTree` it has never seen the bucket. */
  mountCold(options: { readonly forgetTree: boolean }): void
  /** All that was written is in the bucket. */
  uploaded(): void
  unmount(): void
}

export interface CloudPlace {
  readonly work: string
  readonly endpoint: string
  readonly bucket: string
  readonly accessKeyId: string
  readonly secretAccessKey: string
}

const WAIT_MS = 120_000

function waitFor(what: string, condition: () => boolean): void {
  const deadlineMs = Date.now() + WAIT_MS
  while (!condition()) {
    if (Date.now() > deadlineMs) throw new Error(`waited too long for ${what}`)
    spawnSync('sleep', ['0.05'])
  }
}

function dropCaches(): void {
  spawnSync('sync')
  try {
    writeFileSync('/proc/sys/vm/drop_caches', '3')
  } catch {
    // Not root: said in the report.
  }
}

/** A contender on its bucket; not mounted yet. */
export function cloudContender(place: CloudPlace, name: CloudContender['name']): CloudContender {
  return { sdmount, rclone, s3fs }[name](place)
}

function sdmount({ work, endpoint, bucket, accessKeyId, secretAccessKey }: CloudPlace): CloudContender {
  const library = join(work, 'library')
  const mountpoint = join(work, 'sdmount')
  const run = (...line: string[]) =>
    execFileSync(resolve('bin/sdmount'), [...line, '--library', library], { encoding: 'utf8', input: `${accessKeyId}:${secretAccessKey}` })
  const add = () =>
    run('volume', 'add', `s3://${bucket}`, '--name', 'bucket', '--endpoint', endpoint, '--credentials-file', '-', '--ttl', '1h')
  add()
  return {
    name: 'sdmount',
    path: join(mountpoint, 'bucket'),
    mountCold({ forgetTree }) {
      run('cache', 'clear')
      if (forgetTree) {
        run('volume', 'remove', 'bucket')
        add()
      }
      dropCaches()
      run(mountpoint)
    },
    uploaded: () => void run('sync', 'wait'),
    unmount: () => void spawnSync(resolve('bin/sdmount'), ['umount', '--library', library], { stdio: 'inherit' }),
  }
}

function rclone({ work, endpoint, bucket, accessKeyId, secretAccessKey }: CloudPlace): CloudContender {
  const mountpoint = join(work, 'rclone')
  const cache = join(work, 'rclone-cache')
  const port = 5600 + Math.floor(Math.random() * 300)
  // Nothing of this machine's AWS configuration: rclone refuses some of it.
  const own = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('AWS_')))
  const environment = {
    ...own,
    RCLONE_CONFIG: '/nonexistent',
    RCLONE_CONFIG_SERVER_TYPE: 's3',
    RCLONE_CONFIG_SERVER_PROVIDER: 'Ceph',
    RCLONE_CONFIG_SERVER_ACCESS_KEY_ID: accessKeyId,
    RCLONE_CONFIG_SERVER_SECRET_ACCESS_KEY: secretAccessKey,
    RCLONE_CONFIG_SERVER_ENDPOINT: endpoint,
  }
  return {
    name: 'rclone',
    path: mountpoint,
    mountCold() {
      rmSync(cache, { recursive: true, force: true })
      mkdirSync(mountpoint, { recursive: true })
      dropCaches()
      const line = ['mount', `server:${bucket}`, mountpoint, '--vfs-cache-mode', 'full', '--cache-dir', cache, '--vfs-write-back', '0s']
      const child = spawn('rclone', [...line, '--dir-cache-time', '1h', '--rc', '--rc-no-auth', '--rc-addr', `127.0.0.1:${port}`], {
        env: environment,
        stdio: 'ignore',
        detached: true,
      })
      child.unref()
      waitFor('rclone to mount', () => isMounted(mountpoint))
    },
    uploaded() {
      waitFor('rclone to upload', () => {
        const { stdout } = spawnSync('rclone', ['rc', '--rc-addr', `127.0.0.1:${port}`, 'vfs/stats'], {
          encoding: 'utf8',
          env: environment,
        })
        const { diskCache } = JSON.parse(stdout) as { diskCache?: { uploadsInProgress: number; uploadsQueued: number } }
        return diskCache !== undefined && diskCache.uploadsInProgress + diskCache.uploadsQueued === 0
      })
    },
    unmount: () => leave(mountpoint),
  }
}

function s3fs({ work, endpoint, bucket, accessKeyId, secretAccessKey }: CloudPlace): CloudContender {
  const mountpoint = join(work, 's3fs')
  const cache = join(work, 's3fs-cache')
  const keys = join(work, 's3fs-keys')
  writeFileSync(keys, `${accessKeyId}:${secretAccessKey}`, { mode: 0o600 })
  return {
    name: 's3fs',
    path: mountpoint,
    mountCold() {
      rmSync(cache, { recursive: true, force: true })
      mkdirSync(cache)
      mkdirSync(mountpoint, { recursive: true })
      dropCaches()
      const options = `url=${endpoint},use_path_request_style,passwd_file=${keys},endpoint=us-east-1,use_cache=${cache},parallel_count=16`
      execFileSync('s3fs', [bucket, mountpoint, '-o', options], { stdio: 'ignore' })
      waitFor('s3fs to mount', () => isMounted(mountpoint))
    },
    // It uploads before close() returns.
    uploaded() {},
    unmount: () => leave(mountpoint),
  }
}

function leave(mountpoint: string): void {
  if (!isMounted(mountpoint)) return
  if (spawnSync('fusermount3', ['-u', mountpoint]).status !== 0) spawnSync('fusermount3', ['-uz', mountpoint])
  waitFor(`${mountpoint} to be unmounted`, () => !isMounted(mountpoint))
}
