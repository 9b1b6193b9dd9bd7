/**
 * Writing a small file so that it is either whole or not there, also after power loss.
 * Owns: the order write, fsync, link or rename, fsync of the directory. It doesn't: lock.
 */
import { closeSync, fsyncSync, linkSync, openSync, renameSync, rmSync, writeSync } from 'node:fs'
import { dirname } from 'node:path'

/** Writes `content` (mode 0600). With `replace` false an existing file is an error (EEXIST), never overwritten. */
export function writeDurably(path: string, content: string | Uint8Array, options: { readonly replace: boolean }): void {
  const temporary = `${path}.new-${process.pid}`
  rmSync(temporary, { force: true })
  try {
    const fd = openSync(temporary, 'wx', 0o600)
    try {
      const bytes = Buffer.from(content)
      for (let done = 0; done < bytes.length; ) done += writeSync(fd, bytes, done)
      fsyncSync(fd)
    } finally {
      closeSync(fd)
    }
    if (options.replace) renameSync(temporary, path)
    else linkSync(temporary, path)
  } finally {
    rmSync(temporary, { force: true })
  }
  syncDirectory(dirname(path))
}

/** A new or changed name in `directory` is on stable storage when this returns. */
export function syncDirectory(directory: string): void {
  const fd = openSync(directory, 'r')
  try {
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}
