/**
 * Real programs on real mounts: one test for each way of mounting, and the index compared with the disk afterwards.
 *
 * Owns: the mount of each test, its directories, and running programs in the name of the mount's owner.
 * Must stay true: a program that hangs is killed, with all that it started; a test whose program this machine lacks is
 * skipped with the reason; every test ends with a clean unmount, an index that equals the disk, and an empty log.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { accessSync, chownSync, constants, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { type Mounter, mountTemporary, type TestMount, whyNoMount } from '../support/mount.ts'

export interface Configuration {
  readonly name: string
  readonly asUser: Mounter
  readonly passthrough: boolean
}

export const PASSTHROUGH: Configuration = { name: 'root, passthrough', asUser: 'root', passthrough: true }
export const THROUGH_DAEMON: Configuration = { name: 'root, no passthrough', asUser: 'root', passthrough: false }
export const ORDINARY: Configuration = { name: 'ordinary user', asUser: 'sdmount-test', passthrough: false }
/** With the daemon in the path of the data, and without it. */
export const BOTH: readonly Configuration[] = [PASSTHROUGH, ORDINARY]
export const ALL: readonly Configuration[] = [PASSTHROUGH, THROUGH_DAEMON, ORDINARY]

export interface ProgramOptions {
  /** Programs that must be installed. */
  readonly needs: readonly string[]
  /** Default: all. */
  readonly in?: readonly Configuration[]
  /** Why it can't be tried here, beside missing programs. */
  readonly unless?: () => string | undefined
  /** The daemon is killed in the test: the index needn't equal the disk. */
  readonly killsDaemon?: boolean
}

export interface RunOptions {
  readonly cwd?: string
  readonly env?: Readonly<Record<string, string>>
  readonly input?: string
  readonly timeoutMs?: number
}

/** Where a test works. All directories belong to the mount's owner. */
export interface Place {
  readonly mount: TestMount
  readonly t: ExecutionContext
  /** An empty directory in the mount. */
  readonly mounted: string
  /** The same directory on the host. */
  readonly host: string
  /** An empty directory beside the mount, on the same filesystem. */
  readonly plain: string
  /** Runs a program as the mount's owner and answers its output. Throws when it fails, with its words. */
  run(program: string, args: readonly string[], options?: RunOptions): Promise<string>
  /** Starts one; it is killed when the test ends. */
  start(program: string, args: readonly string[], options?: RunOptions): Running
}

const RUN_TIMEOUT_MS = 120_000
const OUTPUT_LIMIT = 1 << 20

/** Declares a test for each way of mounting. */
export function program(title: string, options: ProgramOptions, body: (place: Place) => Promise<void>): void {
  for (const configuration of options.in ?? ALL) {
    const why = whyNoMount(configuration.asUser) ?? missing(options.needs) ?? options.unless?.()
    if (why !== undefined) {
      test.skip(`${title} (${configuration.name}): ${why}`, t => t.pass())
      continue
    }
    test.serial(`${title} (${configuration.name})`, async t => {
      const mount = await mountTemporary(configuration)
      const running = new Set<Running>()
      try {
        await body(placeOf(mount, t, running))
        if (options.killsDaemon) return
        await ended(mount, t)
      } finally {
        for (const one of running) one.kill()
        await mount.dispose()
      }
    })
  }
}

/** Nothing is in use, nothing was logged, nothing differs. */
async function ended(mount: TestMount, t: ExecutionContext): Promise<void> {
  t.deepEqual(await mount.verify(), [], 'the index differs from the disk')
  await mount.unmount()
  t.is(mount.log, '', 'the daemon had something to say')
}

function placeOf(mount: TestMount, t: ExecutionContext, running: Set<Running>): Place {
  const { uid, gid } = mount.owner
  const directory = (path: string) => {
    mkdirSync(path)
    if (process.getuid?.() === 0) chownSync(path, uid, gid)
    return path
  }
  const home = directory(join(mount.directory, 'home'))
  const place: Place = {
    mount,
    t,
    mounted: join(mount.folder.mounted, 'work'),
    host: join(mount.folder.path, 'work'),
    plain: directory(join(mount.directory, 'plain')),
    start(name, args, options = {}) {
      const own = process.getuid?.() === uid
      const cwd = options.cwd ?? place.mounted
      // Only the owner may enter a mount of his own: env changes the directory after setpriv has become him.
      const become = ['setpriv', `--reuid=${uid}`, `--regid=${gid}`, '--init-groups', '--', 'env', '-C', cwd]
      const command = own ? [name, ...args] : [...become, name, ...args]
      const environment = { ...process.env, HOME: home, LC_ALL: 'C.UTF-8', TMPDIR: home, ...options.env }
      const one = new Running(command, own ? cwd : '/', environment, options.input)
      running.add(one)
      void one.ended.then(() => running.delete(one))
      return one
    },
    async run(name, args, options = {}) {
      const one = place.start(name, args, options)
      const timer = setTimeout(
        () => one.kill(`was killed after ${options.timeoutMs ?? RUN_TIMEOUT_MS} ms`),
        options.timeoutMs ?? RUN_TIMEOUT_MS,
      )
      const code = await one.ended
      clearTimeout(timer)
      if (code !== 0)
        throw new Error(`${name} ${args.join(' ')} ended with ${code}\n${one.output.slice(-4000)}\n${one.errors.slice(-4000)}`)
      return one.output
    },
  }
  directory(place.host)
  return place
}

/** A program that runs, in a process group of its own. */
export class Running {
  readonly #child: ChildProcess
  readonly ended: Promise<number | string>
  output = ''
  errors = ''
  #reason: string | undefined
  #onOutput: () => void = () => {}

  constructor(command: readonly string[], cwd: string, env: NodeJS.ProcessEnv, input?: string) {
    const child = spawn(command[0]!, command.slice(1), { cwd, env, detached: true, stdio: ['pipe', 'pipe', 'pipe'] })
    this.#child = child
    child.stdin?.on('error', () => {}).end(input ?? '')
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.output = (this.output + text).slice(-OUTPUT_LIMIT)
      this.#onOutput()
    })
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.errors = (this.errors + text).slice(-OUTPUT_LIMIT)
    })
    this.ended = new Promise(resolve => {
      child.once('error', error => resolve(error.message))
      child.once('close', (code, signal) => resolve(this.#reason ?? code ?? signal ?? 'nothing'))
    }).then(result => {
      this.#onOutput()
      return result as number | string
    })
  }

  /** Waits until the output holds `text`, or the program has ended. */
  async says(text: string): Promise<void> {
    while (!this.output.includes(text) && this.#child.exitCode === null && this.#child.signalCode === null)
      await new Promise<void>(resolve => {
        this.#onOutput = resolve
      })
    if (!this.output.includes(text)) throw new Error(`it never said "${text}" but ${this.output}${this.errors}`)
  }

  /** Ends it and all that it started. */
  kill(reason?: string): void {
    this.#reason ??= reason
    if (this.#child.pid === undefined) return
    try {
      process.kill(-this.#child.pid, 'SIGKILL')
    } catch {
      // It has ended.
    }
  }
}

function missing(needs: readonly string[]): string | undefined {
  const absent = needs.filter(name => !(process.env.PATH ?? '').split(':').some(directory => isExecutable(join(directory, name))))
  return absent.length > 0 ? `needs ${absent.join(', ')}` : undefined
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}
