/**
 * The daemon's log file, bounded: when it is full it becomes `.1`, `.1` becomes `.2`, and `.2` goes.
 *
 * Must stay true: never more than FILES * LIMIT_BYTES on disk; a log that can't be written stops nothing (the log's
 * writer is allowed to throw, log.ts swallows it).
 */
import { closeSync, fstatSync, openSync, renameSync, writeSync } from 'node:fs'

const LIMIT_BYTES = 1 << 20
const FILES = 3

export class LogFile {
  readonly #path: string
  #fd: number
  #sizeBytes: number

  constructor(path: string) {
    this.#path = path
    this.#fd = openSync(path, 'a', 0o600)
    this.#sizeBytes = fstatSync(this.#fd).size
  }

  write(line: string): void {
    const lengthBytes = Buffer.byteLength(line)
    if (this.#sizeBytes > 0 && this.#sizeBytes + lengthBytes > LIMIT_BYTES) this.#rotate()
    writeSync(this.#fd, line)
    this.#sizeBytes += lengthBytes
  }

  #rotate(): void {
    for (let number = FILES - 1; number > 0; number--) {
      const from = number === 1 ? this.#path : `${this.#path}.${number - 1}`
      try {
        renameSync(from, `${this.#path}.${number}`)
      } catch {
        // There is none of that age yet.
      }
    }
    const old = this.#fd
    this.#fd = openSync(this.#path, 'a', 0o600)
    this.#sizeBytes = fstatSync(this.#fd).size
    closeSync(old)
  }
}
