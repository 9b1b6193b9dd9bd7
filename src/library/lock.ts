/**
 * One process at a time works with a library.
 *
 * Owns: the lock file. The lock is flock(2): the kernel releases it however the process ends. The file's content (the
 * holder's process id) is only for messages.
 * Must stay true: the file is never removed (two processes would lock two files of one name).
 */
import { closeSync, ftruncateSync, openSync, readFileSync, writeSync } from 'node:fs'
import { linux } from '../sys/linux.ts'
import { LibraryError } from './library-error.ts'

const LOCK_EX = 2
const LOCK_NB = 4
const EWOULDBLOCK = 11

export type LibraryLock = Disposable

/** Takes the lock or throws LibraryError 'in-use'. */
export function lockLibrary(path: string): LibraryLock {
  // 'a+' makes the file and truncates nothing: the holder's number in it stays readable.
  const fd = openSync(path, 'a+', 0o600)
  try {
    const result = linux().flock(fd, LOCK_EX | LOCK_NB)
    if (result === -EWOULDBLOCK) {
      const holder = holderOf(path)
      throw new LibraryError('in-use', `the library is in use by ${holder === undefined ? 'another process' : `process ${holder}`}`, {
        holder,
      })
    }
    if (result < 0) throw new LibraryError('unusable', `can't lock ${path} (errno ${-result})`)
    ftruncateSync(fd, 0)
    writeSync(fd, `${process.pid}\n`)
  } catch (error) {
    closeSync(fd)
    throw error
  }
  let held = true
  return {
    [Symbol.dispose]() {
      if (held) closeSync(fd)
      held = false
    },
  }
}

/** The process id that the lock file names, if it does. */
function holderOf(path: string): number | undefined {
  const pid = Number.parseInt(readFileSync(path, 'latin1'), 10)
  return Number.isSafeInteger(pid) && pid > 0 ? pid : undefined
}
