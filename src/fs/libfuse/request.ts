/**
 * One call of the library: who asks, and until when.
 *
 * Owns: the deadline. The library can't say that a program was interrupted, and a program that waits here can't be ended
 * by a signal, so every call that waits has a last moment. Must stay true: a call that answers at once costs no timer.
 */
import { FsError } from '../../errors.ts'
import type { RequestContext } from '../../vfs/contract.ts'
import type { FuseContext } from './library.ts'

/** Waiting for a network included. */
export const CALL_TIMEOUT_MS = 120_000
/** close(2) and fsync(2) may wait for an upload. Less than macOS gives a filesystem (`daemon_timeout`). */
export const STORE_TIMEOUT_MS = 580_000

export class PathRequest implements RequestContext {
  readonly uid: number
  readonly gid: number
  readonly pid: number
  /** The kernel has applied the program's umask already. */
  readonly umask = 0
  /** The kernel writes a page that a program changed in memory: its position counts, whatever the file was opened for. */
  readonly isPage: boolean
  readonly #timeoutMs: number
  #controller: AbortController | undefined
  #timer: NodeJS.Timeout | undefined
  #done = false

  /** `asking` is null where the library can't tell (a call that no program made): then it is the mount's own user. */
  constructor(asking: FuseContext | null, timeoutMs: number) {
    this.uid = asking?.uid ?? process.getuid?.() ?? 0
    this.gid = asking?.gid ?? process.getgid?.() ?? 0
    this.pid = asking?.pid ?? 0
    this.isPage = asking?.fileInfo?.writepage ?? false
    this.#timeoutMs = timeoutMs
  }

  get signal(): AbortSignal {
    if (!this.#controller) {
      this.#controller = new AbortController()
      if (!this.#done) {
        this.#timer = setTimeout(() => this.abort(new FsError('timed-out')), this.#timeoutMs)
        this.#timer.unref()
      }
    }
    return this.#controller.signal
  }

  abort(reason: FsError): void {
    this.#controller ??= new AbortController()
    this.#controller.abort(reason)
  }

  /** It was answered. */
  done(): void {
    this.#done = true
    clearTimeout(this.#timer)
  }
}
