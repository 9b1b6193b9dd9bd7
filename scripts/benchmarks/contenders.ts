/**
 * What is compared: the folder itself, and the folder through sdmount, mergerfs and bindfs, mounted by root or by a user.
 *
 * Owns: mounting and unmounting each. Must stay true: every contender works in the same host folder, in a subfolder of its
 * own, so that all meet the same disk; each is unmounted also when a row fails; a peer that
 * can't be mounted is said and left out.
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
  const peer = (name: 'mergerfs' | 'bindfs', args: readonly string[]) => {
    try {
      run(user, name, args)
      mounted.push({ name, user, path: at[name], unmount: lazily(at[name]) })
    } catch (error) {
      // Debian's mergerfs brings a mount helper without set-user-id: only root can mount it there.
      const { stderr } = error as { stderr?: string }
      process.stderr.write(`bench: ${name} can't be mounted by ${user}, its columns stay empty: ${(stderr ?? String(error)).trim()}\n`)
    }
  }
  peer('mergerfs', [host, at.mergerfs])
  peer('bindfs', ['--no-allow-other', host, at.bindfs])
  return mounted
}
