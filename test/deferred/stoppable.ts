/**
 * A FUSE filesystem whose server can be stopped, so that it hangs as a dead file server does: bindfs on a folder.
 *
 * Owns: the server and its mount. Must stay true: `dispose` leaves nothing behind, also while the server is stopped: a thread
 * that hangs in it goes on when the filesystem is taken away.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { linux, MNT_DETACH } from '../../src/sys/linux.ts'
import { readMounts } from '../../src/sys/mountinfo.ts'

const MOUNTED_MS = 60_000

/** Why there can be none here; undefined where there can. */
export function whyNotStoppable(): string | undefined {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return 'needs root on Linux'
  return spawnSync('bindfs', ['--version']).status === 0 ? undefined : 'needs bindfs'
}

export class Stoppable {
  /** What is shown. */
  readonly source: string
  /** Where it is shown. */
  readonly path: string
  readonly #server: ChildProcess

  /** Makes both below `directory`. */
  static async start(directory: string): Promise<Stoppable> {
    const stoppable = new Stoppable(directory)
    const signal = AbortSignal.timeout(MOUNTED_MS)
    while (!readMounts().some(mount => mount.mountPoint === stoppable.path)) await sleep(20, undefined, { signal })
    return stoppable
  }

  private constructor(directory: string) {
    this.source = join(directory, 'source')
    this.path = join(directory, 'remote')
    for (const path of [this.source, this.path]) mkdirSync(path)
    // In the foreground, so that the process that is stopped is the server; nothing is cached by the kernel.
    const options = 'attr_timeout=0,entry_timeout=0,negative_timeout=0,allow_other'
    this.#server = spawn('bindfs', ['-f', '-o', options, this.source, this.path], { stdio: 'ignore' })
  }

  stop(): void {
    this.#server.kill('SIGSTOP')
  }

  goOn(): void {
    this.#server.kill('SIGCONT')
  }

  async dispose(): Promise<void> {
    this.goOn()
    while (linux().umount2(this.path, MNT_DETACH) === 0);
    if (this.#server.exitCode !== null || this.#server.signalCode !== null) return
    const ended = new Promise(resolve => this.#server.once('exit', resolve))
    this.#server.kill('SIGKILL')
    await ended
  }
}
