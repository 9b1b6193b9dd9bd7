/**
 * One process per directory: the second one is told who holds it.
 *
 * Owns: the file `lock` in the directory. On Linux the lock is the kernel's (flock), which ends with the process however it ends;
 * elsewhere it is the file itself with the number of a process that lives.
 * Must stay true: the file says who holds the lock in one line, and nothing about what the directory holds.
 */
import { closeSync, ftruncateSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { FsError } from '../errors.ts'
import { linux } from '../sys/linux.ts'

const LOCK_EXCLUSIVE_NOW = 2 | 4

export class DirectoryLock implements Disposable {
  readonly #path: string
  #fd: number | undefined

  /** Throws 'busy' with the holder when another process has it. */
  constructor(directory: string) {
    this.#path = join(directory, 'lock')
    this.#fd = process.platform === 'linux' ? takeByKernel(this.#path, directory) : takeByFile(this.#path, directory)
    ftruncateSync(this.#fd, 0)
    writeSync(this.#fd, `process ${process.pid} since ${new Date().toISOString()}\n`, 0)
  }

  /** Lets go. */
  [Symbol.dispose](): void {
    if (this.#fd === undefined) return
    if (process.platform !== 'linux') rmSync(this.#path, { force: true })
    closeSync(this.#fd)
    this.#fd = undefined
  }
}

function takeByKernel(path: string, directory: string): number {
  const fd = openSync(path, 'a+', 0o600)
  if (linux().flock(fd, LOCK_EXCLUSIVE_NOW) === 0) return fd
  closeSync(fd)
  throw held(path, directory)
}

function takeByFile(path: string, directory: string): number {
  for (let attempt = 0; ; attempt++) {
    try {
      return openSync(path, 'wx', 0o600)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST' || attempt > 3) throw error
    }
    const pid = Number(/^process (\d+)/.exec(holder(path))?.[1])
    if (pid > 0 && pid !== process.pid && lives(pid)) throw held(path, directory)
    rmSync(path, { force: true })
  }
}

function lives(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

function holder(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim()
  } catch {
    return ''
  }
}

function held(path: string, directory: string): FsError {
  return new FsError('busy', `${directory} is in use by ${holder(path) || 'another process'}`, { operation: 'lock' })
}
