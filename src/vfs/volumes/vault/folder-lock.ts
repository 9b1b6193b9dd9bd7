/**
 * One process, on one machine, writes to a vault.
 *
 * Owns: the file `lock` in the vault's folder. On one machine the lock is flock(2), which ends with its process however that
 * ends: after kill -9 the vault opens again at once. Between machines (a network drive, a synchronised folder), where flock may
 * not reach, it is what the file says: who let go emptied it, so a line of another machine is a lock that may be held.
 * Must stay true: the file is never removed (two processes would lock two files of one name); a lock of another machine is never
 * taken unasked; the line says nothing of what the vault holds.
 *
 * The line: `sdmount-vault-lock 1 <machine, 32 hex> <process id> <since, ISO 8601> <host name>\n`. The machine is the first half of
 * SHA-256("sdmount vault lock " + /etc/machine-id, or the host name).
 */
import { createHash } from 'node:crypto'
import { closeSync, fstatSync, fsyncSync, ftruncateSync, openSync, readFileSync, readSync, writeSync } from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { FsError } from '../../../errors.ts'
import { linux } from '../../../sys/linux.ts'

const LOCK_FILE = 'lock'
const LOCK_EXCLUSIVE_NOW = 2 | 4
const EWOULDBLOCK = 11
const LINE_LIMIT_BYTES = 1024
const FORM = /^sdmount-vault-lock 1 ([0-9a-f]{32}) ([1-9]\d{0,9}) (\d{4}-\d\d-\d\dT[\d:.]{8,16}Z) (\S{1,255})\n$/

export interface LockHolder {
  readonly machine: string
  readonly processId: number
  readonly since: string
  readonly host: string
}

export interface FolderLockOptions {
  /** Take it from another machine, which doesn't use the vault any more: the user says so. */
  readonly breakLock?: boolean
  /** For tests. */
  readonly machine?: string
}

export class FolderLock implements Disposable {
  #fd: number | undefined
  /** Who held it and never let go: its process was killed, or its machine lost power. */
  readonly left: LockHolder | undefined

  /** Throws FsError 'busy' with the holder in one line; 'read-only' or 'access-denied' where the folder can't be written. */
  constructor(folder: string, options: FolderLockOptions = {}) {
    const machine = options.machine ?? machineId()
    const fd = open(folder)
    try {
      const taken = flock(fd)
      const holder = holderIn(fd)
      if (taken === 'held') throw busy(folder, holder, 'here')
      if (holder && holder.machine !== machine && !options.breakLock) throw busy(folder, holder, 'elsewhere')
      if (holder && holder.machine === machine && taken === 'unsupported' && lives(holder.processId)) throw busy(folder, holder, 'here')
      this.left = holder
      ftruncateSync(fd, 0)
      writeSync(fd, `sdmount-vault-lock 1 ${machine} ${process.pid} ${new Date().toISOString()} ${hostname().replace(/\s/g, '-') || '?'}\n`)
      fsyncSync(fd)
      this.#fd = fd
    } catch (error) {
      closeSync(fd)
      throw error
    }
  }

  /** Lets go, and says so in the file. */
  [Symbol.dispose](): void {
    const fd = this.#fd
    if (fd === undefined) return
    this.#fd = undefined
    try {
      ftruncateSync(fd, 0)
      fsyncSync(fd)
    } catch {
      // The drive is gone: the line stays, and means a lock that was left.
    } finally {
      closeSync(fd)
    }
  }
}

function open(folder: string): number {
  const path = join(folder, LOCK_FILE)
  try {
    // 'a+' makes the file and truncates nothing.
    return openSync(path, 'a+', 0o600)
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    if (code === 'EROFS') throw new FsError('read-only', `${folder} can't be written to: ${message}`, { cause: error })
    if (code === 'EACCES' || code === 'EPERM')
      throw new FsError('access-denied', `${folder} can't be written to: ${message}`, { cause: error })
    throw new FsError(code === 'ENOENT' ? 'offline' : 'io', `can't lock ${folder}: ${message}`, { cause: error })
  }
}

function flock(fd: number): 'taken' | 'held' | 'unsupported' {
  if (process.platform !== 'linux') return 'unsupported'
  const result = linux().flock(fd, LOCK_EXCLUSIVE_NOW)
  return result === 0 ? 'taken' : result === -EWOULDBLOCK ? 'held' : 'unsupported'
}

function holderIn(fd: number): LockHolder | undefined {
  const sizeBytes = Math.min(fstatSync(fd).size, LINE_LIMIT_BYTES)
  if (sizeBytes === 0) return undefined
  const bytes = Buffer.alloc(sizeBytes)
  const match = FORM.exec(bytes.toString('utf8', 0, readSync(fd, bytes, 0, sizeBytes, 0)))
  // Anything else is a line that was cut by a power loss: its writer is gone.
  return match ? { machine: match[1]!, processId: Number(match[2]), since: match[3]!, host: match[4]! } : undefined
}

function busy(folder: string, holder: LockHolder | undefined, where: 'here' | 'elsewhere'): FsError {
  if (!holder) return new FsError('busy', `the vault in ${folder} is in use by another process`)
  const { processId, host, since } = holder
  if (where === 'here')
    return new FsError('busy', `the vault in ${folder} is in use by process ${processId} on this machine, since ${since}`)
  return new FsError(
    'busy',
    `the vault in ${folder} is in use on the machine ${host} (process ${processId}), since ${since}; close it there, open it with --read-only, or, if it is surely not open there any more, with --break-lock`,
  )
}

function lives(processId: number): boolean {
  try {
    process.kill(processId, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

function machineId(): string {
  let id: string
  try {
    id = readFileSync('/etc/machine-id', 'latin1').trim()
  } catch {
    id = hostname()
  }
  return createHash('sha256')
    .update(`sdmount vault lock ${id || hostname()}`)
    .digest('hex')
    .slice(0, 32)
}
