/**
 * Mounts through the FUSE library for tests: temporary folders, mounted by a process of its own, taken away whatever happens.
 *
 * Owns: the temporary directory, the mounting process and the mount. Must stay true: `dispose` leaves nothing behind, also
 * after a kill -9; when this process dies, the mounting process unmounts by itself.
 */
import { type ChildProcess, fork, spawnSync } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { loadFuseLibrary } from '../../src/fs/libfuse/library.ts'
import { loadLibrary } from './library.ts'
import type { Answer, Order, Question, Statistics } from './mount-process.ts'

const UNMOUNT_MS = 10_000
const READY_MS = 30_000

/** Why no mount can be made here; undefined where it can. */
export async function whyNoLibfuse(): Promise<string | undefined> {
  if (process.platform !== 'linux' || !existsSync('/dev/fuse')) return 'needs Linux with /dev/fuse'
  try {
    await loadFuseLibrary(undefined, loadLibrary)
    return undefined
  } catch (error) {
    return (error as Error).message
  }
}

export class Mounted {
  /** What a test puts here is on the host's filesystem, beside the mount. */
  readonly directory: string
  readonly mountpoint: string
  /** The folder of the location, on the host. */
  readonly folder: string
  /** The volume's folder in the mount. */
  readonly volume: string
  readonly #order: Order
  #process: ChildProcess | undefined
  #exited: Promise<void> = Promise.resolve()
  #errors = ''

  constructor(kind: 'memory' | 'location', extra: Partial<Order> = {}) {
    this.directory = mkdtempSync(join(tmpdir(), 'sdmount-libfuse-'))
    chmodSync(this.directory, 0o755)
    this.mountpoint = this.#make('mount')
    this.folder = this.#make('folder')
    this.volume = join(this.mountpoint, 'volume')
    const indexDirectory = this.#make('index')
    this.#order = { mountpoint: this.mountpoint, indexDirectory, ...(kind === 'location' && { folder: this.folder }), ...extra }
  }

  get log(): string {
    return this.#errors
  }

  #make(name: string): string {
    const path = join(this.directory, name)
    mkdirSync(path)
    return path
  }

  /** Answers when the tree can be used. */
  async start(): Promise<this> {
    const child = fork(fileURLToPath(new URL('./mount-process.ts', import.meta.url)), { stdio: ['ignore', 'inherit', 'pipe', 'ipc'] })
    this.#process = child
    this.#exited = new Promise(resolve => child.once('exit', () => resolve()))
    child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      this.#errors = (this.#errors + text).slice(-20_000)
    })
    await this.#send(this.#order)
    return this
  }

  async ask(question: Question): Promise<Statistics | undefined> {
    return await this.#send(question)
  }

  /** Answers when the mounting process has ended, which it does when the mount is gone. */
  async ended(): Promise<void> {
    const timer = setTimeout(() => this.#process?.kill('SIGKILL'), UNMOUNT_MS)
    await this.#exited
    clearTimeout(timer)
    const code = this.#process?.exitCode
    this.#process = undefined
    if (code !== 0) throw new Error(`the mounting process ended with ${code}\n${this.#errors}`)
  }

  async unmount(): Promise<void> {
    await this.ask('unmount')
    await this.ended()
  }

  async kill9(): Promise<void> {
    this.#process?.kill('SIGKILL')
    await this.#exited
    this.#process = undefined
  }

  /** Takes a dead mount away. */
  clear(): void {
    spawnSync(process.getuid?.() === 0 ? 'umount' : 'fusermount3', [
      ...(process.getuid?.() === 0 ? ['-l'] : ['-u', '-z']),
      '--',
      this.mountpoint,
    ])
  }

  async dispose(): Promise<void> {
    this.clear()
    if (this.#process) await this.ended().catch(() => {})
    this.clear()
    spawnSync('rm', ['-rf', '--one-file-system', '--', this.directory])
  }

  async #send(message: Order | Question): Promise<Statistics | undefined> {
    const child = this.#process!
    const { promise, resolve, reject } = Promise.withResolvers<Answer>()
    const onExit = (code: number | null) => reject(new Error(`the mounting process ended (${code})\n${this.#errors}`))
    const timer = setTimeout(() => reject(new Error(`no answer within ${READY_MS} ms\n${this.#errors}`)), READY_MS)
    child.once('message', resolve as (answer: unknown) => void).once('exit', onExit)
    child.send(message)
    try {
      const answer = await promise
      if (answer.error !== undefined) throw new Error(answer.error)
      return answer.statistics
    } finally {
      clearTimeout(timer)
      child.off('exit', onExit)
    }
  }
}
