/**
 * Real mounts for tests: temporary folders, mounted by a process of its own, taken away whatever happens.
 *
 * Owns: the temporary directory, the mounting process and the mount. Must stay true: `dispose` leaves nothing behind, also
 * after a kill -9 and also when the test failed half-way; when this process dies, the mounting process unmounts by itself.
 * A mount as an ordinary user is made by the user `sdmount-test` where root runs the tests, else by whoever runs them.
 */
import { type ChildProcess, fork, spawnSync } from 'node:child_process'
import { chmodSync, chownSync, existsSync, mkdirSync, mkdtempSync, readFileSync, realpathSync, rmdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { SERVING_FLAGS, servingEnvironment } from '../../src/cli/daemon/node-settings.ts'
import { linux, MNT_DETACH } from '../../src/sys/linux.ts'
import type { FromMount, MountMemory, MountOrder, MountStatistics, ToMount } from './mount-process.ts'

export type Mounter = 'root' | 'sdmount-test'

export interface TestMountOptions {
  /** Who mounts. Default: who runs the tests. */
  readonly asUser?: Mounter
  /** Let the kernel read and write the folders itself (root only). Default: yes. */
  readonly passthrough?: boolean
  /** Who asks the folders. Default: the mounting thread; the variable SDMOUNT_TEST_DRIVE says otherwise. */
  readonly drive?: MountOrder['drive']
  /** How many folders are mounted. Default 1. */
  readonly locations?: number
  /** Default: yes for root, no for an ordinary user. */
  readonly allowOther?: boolean
  readonly readOnly?: boolean
  /** Options of mount(8). */
  readonly options?: readonly string[]
}

export interface TestFolder {
  readonly name: string
  /** The folder itself, on the host. */
  readonly path: string
  /** The same folder through the mount. */
  readonly mounted: string
}

export interface User {
  readonly uid: number
  readonly gid: number
  readonly name: string
}

const UNMOUNT_MS = 10_000
const isRoot = process.getuid?.() === 0
const repository = realpathSync(fileURLToPath(new URL('../..', import.meta.url)))

/** Why no mount can be made here; undefined where it can. */
export function whyNoMount(asUser: Mounter): string | undefined {
  if (process.platform !== 'linux' || !existsSync('/dev/fuse')) return 'needs Linux with /dev/fuse'
  if (asUser === 'root') return isRoot ? undefined : 'needs root'
  if (!isRoot) return undefined
  return ordinaryUser() ? undefined : 'needs the user sdmount-test: useradd --create-home sdmount-test'
}

let ordinary: User | undefined

/** The ordinary user of the tests, made where it is missing and may be made. */
export function ordinaryUser(): User | undefined {
  if (ordinary) return ordinary
  if (!isRoot) return (ordinary = { uid: process.getuid!(), gid: process.getgid!(), name: process.env.USER ?? 'user' })
  const find = () =>
    readFileSync('/etc/passwd', 'utf8')
      .split('\n')
      .map(line => line.split(':'))
      .find(fields => fields[0] === 'sdmount-test')
  if (!find()) spawnSync('useradd', ['--create-home', '--shell', '/bin/sh', 'sdmount-test'])
  const fields = find()
  if (!fields) return undefined
  chmodSync('/dev/fuse', 0o666)
  return (ordinary = { uid: Number(fields[2]), gid: Number(fields[3]), name: 'sdmount-test' })
}

/** Mounts new folders: answers when the tree can be used. */
export async function mountTemporary(options: TestMountOptions = {}): Promise<TestMount> {
  const mount = new TestMount(options)
  try {
    await mount.start()
    return mount
  } catch (error) {
    await mount.dispose()
    throw error
  }
}

export class TestMount {
  /** Holds everything of this mount: what a test puts here is on the host's filesystem, outside of the folders. */
  readonly directory: string
  readonly mountpoint: string
  readonly folders: readonly TestFolder[]
  /** Who owns the folders. */
  readonly owner: User
  readonly #options: TestMountOptions
  readonly #mounter: Mounter
  #process: ChildProcess | undefined
  #exited: Promise<void> = Promise.resolve()
  /** Where the sources were mounted for a user who may not read them where they are. */
  #sources: string | undefined
  #nodeDirectory: string | undefined
  readonly #bound: string[] = []
  #errors = ''

  constructor(options: TestMountOptions) {
    this.#options = options
    this.#mounter = options.asUser ?? (isRoot ? 'root' : 'sdmount-test')
    const unable = whyNoMount(this.#mounter)
    if (unable) throw new Error(unable)
    this.owner = this.#mounter === 'root' ? { uid: 0, gid: 0, name: 'root' } : ordinaryUser()!
    this.directory = mkdtempSync(join(tmpdir(), 'sdmount-mount-'))
    chmodSync(this.directory, 0o755)
    this.mountpoint = this.#make('mount')
    this.#make('index')
    this.folders = Array.from({ length: options.locations ?? 1 }, (_, i) => {
      const name = `folder${i + 1}`
      return { name, path: this.#make(name), mounted: join(this.mountpoint, name) }
    })
  }

  /** The first folder. */
  get folder(): TestFolder {
    return this.folders[0]!
  }

  /** Whether the kernel may read and write the folders itself. */
  get passthrough(): boolean {
    return this.#mounter === 'root' && this.#options.passthrough !== false && this.#drive === 'direct'
  }

  get pid(): number | undefined {
    return this.#process?.pid
  }

  /** What the mounting process wrote to its log. */
  get log(): string {
    return this.#errors
  }

  get #drive(): MountOrder['drive'] {
    return this.#options.drive ?? (process.env.SDMOUNT_TEST_DRIVE === 'deferred' ? 'deferred' : 'direct')
  }

  #make(name: string): string {
    const path = join(this.directory, name)
    mkdirSync(path)
    if (isRoot) chownSync(path, this.owner.uid, this.owner.gid)
    return path
  }

  async start(): Promise<void> {
    const options = this.#options
    const order: MountOrder = {
      mountpoint: this.mountpoint,
      folders: this.folders.map(({ name, path }) => ({ name, path })),
      indexDirectory: join(this.directory, 'index'),
      readOnly: options.readOnly ?? false,
      allowOther: options.allowOther ?? this.#mounter === 'root',
      passthrough: options.passthrough ?? true,
      drive: this.#drive,
      options: options.options ?? [],
    }
    const child = this.#spawn()
    this.#process = child
    this.#exited = new Promise(resolve => child.once('exit', () => resolve()))
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#errors = (this.#errors + text).slice(-20_000)
    })
    const answered = this.#answer()
    child.send({ kind: 'mount', order } satisfies ToMount)
    const answer = await answered
    if (answer.kind !== 'ready')
      throw new Error(`could not mount: ${answer.kind === 'failed' ? answer.message : answer.kind}\n${this.#errors}`)
  }

  #spawn(): ChildProcess {
    const stdio = ['ignore', 'inherit', 'pipe', 'ipc'] as const
    const env = servingEnvironment(process.env)
    if (!isRoot || this.#mounter === 'root')
      return fork(join(repository, 'test/support/mount-process.ts'), { stdio: [...stdio], execArgv: [...SERVING_FLAGS], env })
    // setpriv replaces itself by node, so the channel and the process id are the mounting process's own.
    const { uid, gid } = this.owner
    return fork(join(this.#readableSources(), 'test/support/mount-process.ts'), {
      stdio: [...stdio],
      execPath: 'setpriv',
      execArgv: [`--reuid=${uid}`, `--regid=${gid}`, '--init-groups', '--', this.#readableNode(), ...SERVING_FLAGS],
      cwd: '/',
      env: { ...env, HOME: this.directory, USER: this.owner.name },
    })
  }

  /** A fresh clone may lie where only root can look (/root): then it is shown to the user by a bind mount. */
  #readableSources(): string {
    const file = join(repository, 'test/support/mount-process.ts')
    if (this.#asOwner('test', '-r', file)) return repository
    this.#sources ??= this.#bind(repository)
    return this.#sources
  }

  #readableNode(): string {
    const node = process.execPath
    if (this.#asOwner('test', '-x', node)) return node
    if (node.startsWith(`${repository}/`)) return join(this.#readableSources(), node.slice(repository.length))
    this.#nodeDirectory ??= this.#bind(join(node, '..'))
    return join(this.#nodeDirectory, 'node')
  }

  #bind(what: string): string {
    const to = mkdtempSync(join(tmpdir(), 'sdmount-sources-'))
    this.#bound.push(to)
    const result = spawnSync('mount', ['--bind', what, to], { encoding: 'utf8' })
    if (result.status !== 0) throw new Error(`the sources can't be shown to ${this.owner.name}: ${result.stderr}`)
    return to
  }

  #asOwner(...command: string[]): boolean {
    const { uid, gid } = this.owner
    return spawnSync('setpriv', [`--reuid=${uid}`, `--regid=${gid}`, '--init-groups', '--', ...command]).status === 0
  }

  #answer(): Promise<FromMount> {
    const child = this.#process!
    return new Promise((resolve, reject) => {
      const done = () => {
        child.off('message', onMessage)
        child.off('exit', onExit)
      }
      const onMessage = (message: FromMount) => {
        done()
        resolve(message)
      }
      const onExit = (code: number | null, signal: string | null) => {
        done()
        reject(new Error(`the mounting process ended (${code ?? signal})\n${this.#errors}`))
      }
      child.on('message', onMessage)
      child.on('exit', onExit)
    })
  }

  async #ask(question: ToMount): Promise<FromMount> {
    const answered = this.#answer()
    this.#process!.send(question)
    return await answered
  }

  async statistics(): Promise<MountStatistics> {
    const answer = await this.#ask({ kind: 'statistics' })
    if (answer.kind !== 'statistics') throw new Error(`asked for statistics, got ${answer.kind}`)
    return answer.statistics
  }

  /** Collects the mounting process's garbage: what it still uses. */
  async memory(): Promise<MountMemory> {
    const answer = await this.#ask({ kind: 'memory' })
    if (answer.kind !== 'memory') throw new Error(`asked for memory, got ${answer.kind}`)
    return answer.memory
  }

  /** Compares the index with the folders, once their scans are over: the differences, a line each. */
  async verify(): Promise<readonly string[]> {
    const answer = await this.#ask({ kind: 'verify' })
    if (answer.kind !== 'verified') throw new Error(`asked for differences, got ${answer.kind}`)
    return answer.differences
  }

  /** As `umount` does: throws when programs use it. Answers when the mounting process has ended. */
  async unmount(): Promise<void> {
    const child = this.#process
    // Once the kernel has let go the process ends, maybe before its answer is out.
    const answer = await this.#ask({ kind: 'unmount' }).catch(error => {
      if (child?.exitCode !== 0) throw error
    })
    if (answer?.kind === 'unmounted' && answer.message) throw new Error(answer.message)
    await this.#exited
    this.#process = undefined
  }

  /** Unmounts and mounts the same folders and the same index again. */
  async remount(): Promise<void> {
    await this.unmount()
    await this.start()
  }

  /** Ends the mounting process without a word. The mount point stays, dead, until `dispose` or `clear`. */
  async kill9(): Promise<void> {
    this.#process?.kill('SIGKILL')
    await this.#exited
    this.#process = undefined
  }

  /** Takes a dead mount away. */
  clear(): void {
    if (isRoot) while (linux().umount2(this.mountpoint, MNT_DETACH) === 0);
    else spawnSync('fusermount3', ['-u', '-z', '--', this.mountpoint])
  }

  /** Takes everything away. */
  async dispose(): Promise<void> {
    this.clear()
    if (this.#process) {
      const timer = setTimeout(() => this.#process?.kill('SIGKILL'), UNMOUNT_MS)
      await this.#exited
      clearTimeout(timer)
      this.#process = undefined
    }
    this.clear()
    for (const directory of this.#bound.splice(0)) {
      spawnSync('umount', ['-l', directory])
      rmdirSync(directory)
    }
    // Not rmSync: this one takes paths of any depth, and goes into no mount that is left, whatever the reason.
    spawnSync('rm', ['-rf', '--one-file-system', '--', this.directory])
  }
}
