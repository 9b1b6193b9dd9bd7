/**
 * What stands under the handles of a volume that was taken away while programs had files open in it: every use is an I/O error, and
 * closing works.
 *
 * Owns: nothing; the volume was told that the files are closed.
 */
import { FsError } from '../errors.ts'
import type { Ino, OpenDirectory, OpenFile } from './contract.ts'

function ended(operation: string): never {
  throw new FsError('io', 'the volume was closed while this was open', { operation })
}

export class EndedFile implements OpenFile {
  readonly ino: Ino
  readonly keepCache = false
  readonly directIo = false
  readonly noFlush = false

  constructor(ino: Ino) {
    this.ino = ino
  }

  read(): never {
    return ended('read')
  }

  write(): never {
    return ended('write')
  }

  flush(): void {}

  fsync(): never {
    return ended('fsync')
  }

  fallocate(): never {
    return ended('fallocate')
  }

  seek(): never {
    return ended('lseek')
  }

  copyRange(): never {
    return ended('copy_file_range')
  }

  release(): void {}
}

export class EndedDirectory implements OpenDirectory {
  readonly ino: Ino
  readonly keepCache = false

  constructor(ino: Ino) {
    this.ino = ino
  }

  read(): never {
    return ended('readdir')
  }

  fsync(): never {
    return ended('fsync')
  }

  release(): void {}
}
