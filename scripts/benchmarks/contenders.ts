/**
 * What is compared: the folder itself, and the folder through sdmount, mergerfs and bindfs, mounted by root or by a user.
 *
 * Owns: mounting and unmounting each. Must stay true: every contender works in the same host folder, in a subfolder of its
 * own, so that all meet the same disk; each is unmounted also when a row fails, or when another can't be mounted.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { chownSync, mkdirSync } from 'node:fs'
import { join, resolve } from 'node:path'

export interface Contender {
  readonly name: 'native' | 'sdmount' | 'mergerfs' | 'bindfs'
  readonly user: 'root' | 'user'
  /** Where it shows the host folder. */
  readonly path: string
  unmount(): void
}

const TEST_USER = 'sdmount-test'

/** Runs a program as root or as the ordinary user; throws with its words. */
export function run(
  user: 'root' | 'user',
  program: string,
  args: readonly string[],
  options: { cwd?: string; env?: Record<string, string> } = {},
): string {
  const command =
    user === 'root' ? [program, ...args] : ['setpriv', '--reuid', TEST_USER, '--regid', TEST_USER, '--init-groups', program, ...args]
  return execFileSync(command[0]!, command.slice(1), {
    cwd: options.cwd ?? '/',
    env: { ...process.env, HOME: user === 'root' ? (process.env.HOME ?? '/root') : `/home/${TEST_USER}`, ...options.env },
    encoding: 'utf8',
    maxBuffer: 1 << 28,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
}

/** Mounts all contenders over `host`. */
export function mountAll(work: string, host: string, user: 'root' | 'user'): Contender[] {
  const sdmount = resolve('bin/sdmount')
  const library = join(work, `library-${user}`)
  const folder = (name: string) => {
    const path = join(work, `${name}-${user}`)
    mkdirSync(path, { recursive: true })
    if (user === 'user') {
      const uid = Number(run('root', 'id', ['-u', TEST_USER]))
      chownSync(path, uid, uid)
    }
    return path
  }
  const mounted: Contender[] = [{ name: 'native', user, path: host, unmount() {} }]
  const lazily = (path: string) => () =>
    void spawnSync(user === 'root' ? 'umount' : 'fusermount3', user === 'root' ? ['-l', path] : ['-u', '-z', path])
  folder(`library`)
  const at = { sdmount: folder('sdmount'), mergerfs: folder('mergerfs'), bindfs: folder('bindfs') }
  run(user, sdmount, ['--library', library, 'location', 'add', host, '--name', 'host'])
  run(user, sdmount, ['--library', library, at.sdmount])
  mounted.push({
    name: 'sdmount',
    user,
    path: join(at.sdmount, 'host'),
    unmount: () => void run(user, sdmount, ['--library', library, 'umount', '--lazy']),
  })
  try {
    run(user, 'mergerfs', [host, at.mergerfs])
    mounted.push({ name: 'mergerfs', user, path: at.mergerfs, unmount: lazily(at.mergerfs) })
    run(user, 'bindfs', ['--no-allow-other', host, at.bindfs])
    mounted.push({ name: 'bindfs', user, path: at.bindfs, unmount: lazily(at.bindfs) })
    return mounted
  } catch (error) {
    for (const contender of mounted.reverse()) contender.unmount()
    throw error
  }
}
