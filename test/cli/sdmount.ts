/**
 * Drives the real program as child processes, in a home of its own.
 *
 * Owns: a scratch directory with a home, and everything that is mounted below it: `dispose` unmounts and removes it all,
 * also after a test that failed in the middle.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { chmodSync, chownSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { ExecutionContext } from 'ava'
import { readMounts } from '../../src/sys/mountinfo.ts'

export const LAUNCHER = fileURLToPath(new URL('../../bin/sdmount', import.meta.url))
const RUN_MS = 120_000

export interface Outcome {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

export interface RunOptions {
  readonly env?: Readonly<Record<string, string>>
  readonly cwd?: string
  readonly input?: string
}

export interface UnixUser {
  readonly name: string
  readonly uid: number
  readonly gid: number
}

/** The user that scripts/setup makes for tests; undefined where we aren't root or it isn't there. */
export function ordinaryUser(): UnixUser | undefined {
  if (process.getuid?.() !== 0) return undefined
  const line = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .find(l => l.startsWith('sdmount-test:'))
  const [name, , uid, gid] = line?.split(':') ?? []
  return name && uid && gid ? { name, uid: Number(uid), gid: Number(gid) } : undefined
}

export class Sandbox {
  readonly directory: string
  readonly home: string
  readonly library: string
  readonly mountpoint: string
  readonly #user: UnixUser | undefined
  readonly #children = new Set<ChildProcess>()

  /** Made for a test and taken away with it. `user`: everything is done as that user. */
  constructor(t: ExecutionContext, user?: UnixUser) {
    this.#user = user
    this.directory = mkdtempSync(join(tmpdir(), 'sdmount-cli-'))
    chmodSync(this.directory, 0o755)
    this.home = this.folder('home')
    this.library = join(this.home, '.local', 'share', 'sdmount')
    this.mountpoint = join(this.home, 'Spacedrive')
    t.teardown(() => this.dispose())
  }

  /** A folder below the scratch directory, owned by the user of the sandbox. */
  folder(...names: string[]): string {
    let path = this.directory
    for (const name of names) {
      path = join(path, name)
      if (existsSync(path)) continue
      mkdirSync(path)
      if (this.#user) chownSync(path, this.#user.uid, this.#user.gid)
    }
    return path
  }

  /** Runs `sdmount` with these arguments until it ends. */
  run(arguments_: readonly string[], options: RunOptions = {}): Outcome {
    return this.program(LAUNCHER, arguments_, options)
  }

  /** Runs any program the same way. */
  program(file: string, arguments_: readonly string[], options: RunOptions = {}): Outcome {
    const { status, stdout, stderr, error } = spawnSync(file, arguments_, {
      ...this.#options(options),
      encoding: 'utf8',
      timeout: RUN_MS,
      input: options.input ?? '',
    })
    if (error) throw error
    return { code: status, stdout, stderr }
  }

  /** Starts `sdmount` and leaves it running; it is killed with the sandbox. */
  start(arguments_: readonly string[], options: RunOptions = {}): ChildProcess {
    return this.startProgram(LAUNCHER, arguments_, options)
  }

  /** Starts any program the same way. */
  startProgram(file: string, arguments_: readonly string[], options: RunOptions = {}): ChildProcess {
    const child = spawn(file, arguments_, { ...this.#options(options), stdio: ['ignore', 'pipe', 'pipe'] })
    this.#children.add(child)
    return child
  }

  /** The process id of the daemon, from the lock file. */
  daemonPid(library = this.library): number {
    return Number.parseInt(readFileSync(join(library, 'lock'), 'utf8'), 10)
  }

  log(library = this.library): string {
    const file = join(library, 'log', 'sdmount.log')
    return existsSync(file) ? readFileSync(file, 'utf8') : ''
  }

  /** Is something mounted exactly there? */
  isMounted(path = this.mountpoint): boolean {
    return readMounts().some(mount => mount.mountPoint === path)
  }

  dispose(): void {
    for (const child of this.#children) child.kill('SIGKILL')
    for (const { mountPoint } of readMounts().toReversed()) {
      if (mountPoint.startsWith(`${this.directory}/`)) spawnSync('umount', ['-l', Buffer.from(mountPoint, 'latin1').toString()])
    }
    rmSync(this.directory, { recursive: true, force: true })
  }

  #options(options: RunOptions) {
    const inherited = { PATH: process.env.PATH ?? '', LANG: 'C.UTF-8' }
    return {
      cwd: options.cwd ?? this.home,
      env: { ...inherited, HOME: this.home, ...options.env },
      ...(this.#user ? { uid: this.#user.uid, gid: this.#user.gid } : {}),
    }
  }
}

/** Waits until `condition` holds; throws after `ms`. */
export async function until(condition: () => boolean, what: string, ms = 20_000): Promise<void> {
  const deadlineMs = Date.now() + ms
  while (!condition()) {
    if (Date.now() > deadlineMs) throw new Error(`waited ${ms} ms for: ${what}`)
    await new Promise(resolve => setTimeout(resolve, 20))
  }
}

/** Does a process of that number run (a dead one that nobody has reaped doesn't)? */
export function isRunning(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    return !/^[ZX]/.test(stat.slice(stat.lastIndexOf(')') + 2))
  } catch {
    return false
  }
}
