/**
 * A volume as a subject of the model tests, called as the kernel would: it looks names up one by one, checks what the
 * kernel checks before it asks, and gives every reference back.
 */
import { FsError } from '../../src/errors.ts'
import { errnoOf } from '../../src/fs/fuse/errno.ts'
import { O_APPEND, O_CREAT, O_EXCL, O_RDWR, O_TRUNC } from '../../src/sys/flags.ts'
import {
  type Attributes,
  type Ino,
  isDirectory,
  isSymlink,
  type OpenFile,
  RENAME_EXCHANGE,
  RENAME_NOREPLACE,
  type Volume,
} from '../../src/vfs/contract.ts'
import { ERRNO_NAMES } from '../posix/world.ts'
import { context, listNames } from '../vfs/volume-contract.ts'
import { type Subject, sha, snapshotLine, statLine } from './model.ts'
import { bytesOf, type Operation, SLOTS } from './operations.ts'

interface Opened {
  readonly file: OpenFile
  readonly append: boolean
}

class Refused extends Error {}
const refuse = (errno: string): never => {
  throw new Refused(errno)
}

export class VolumeSubject implements Subject {
  readonly #volume: Volume
  readonly #slots: (Opened | undefined)[] = Array(SLOTS).fill(undefined)
  #references: Ino[] = []

  constructor(volume: Volume) {
    this.#volume = volume
  }

  async run(operation: Operation): Promise<string> {
    try {
      return await this.#run(operation)
    } catch (error) {
      if (error instanceof Refused) return error.message
      if (error instanceof FsError) return ERRNO_NAMES.get(errnoOf(error)) ?? error.kind
      throw error
    } finally {
      for (const ino of this.#references.splice(0)) this.#volume.forget(ino, 1)
    }
  }

  async snapshot(): Promise<string[]> {
    const lines: string[] = []
    const first = new Map<Ino, string>()
    const walk = async (directory: Ino, prefix: string) => {
      const names = (await listNames(this.#volume, directory)).filter(name => name !== '.' && name !== '..').sort()
      for (const name of names) {
        const attributes = (await this.#lookup(directory, name)) ?? refuse('listed, but not there')
        const { ino } = attributes
        const path = prefix + name
        const same = first.get(ino) ?? path
        first.set(ino, same)
        const link = isSymlink(attributes.mode)
        const xattrs: string[] = []
        for (const xattr of link ? [] : (await this.#volume.listxattr(context, ino)).filter(own))
          xattrs.push(`${xattr}=${(await this.#volume.getxattr(context, ino, xattr)).length}`)
        const content = isDirectory(attributes.mode) ? '' : link ? await this.#volume.readlink(context, ino) : sha(await this.#whole(ino))
        lines.push(
          snapshotLine(path, line(attributes), [
            content,
            same === path ? '' : `= ${same}`.replaceAll('x'.repeat(255), 'X'),
            xattrs.sort().join(','),
          ]),
        )
        if (isDirectory(attributes.mode)) await walk(ino, `${path}/`)
      }
    }
    await walk(this.#volume.rootIno, '')
    for (const ino of this.#references.splice(0)) this.#volume.forget(ino, 1)
    return lines
  }

  /** Closes what is open. */
  async dispose(): Promise<void> {
    for (let slot = 0; slot < SLOTS; slot++) await this.#close(slot)
  }

  async #run(operation: Operation): Promise<string> {
    const v = this.#volume
    switch (operation.op) {
      case 'open':
        return this.#open(operation)
      case 'close':
        await this.#close(operation.slot)
        return 'ok'
      case 'fsync':
        await this.#file(operation.slot).fsync(context, false)
        return 'ok'
      case 'fstat': {
        const file = this.#file(operation.slot)
        return line((await v.getattr(context, file.ino, file)).attributes)
      }
      case 'write': {
        const { file, append } = this.#slots[operation.slot] ?? refuse('not open')
        const bytes = bytesOf(operation.length, operation.fill)
        for (let at = 0; at < bytes.length; )
          at += await file.write(context, operation.position + at, bytes.subarray(at), append ? { append } : {})
        return `${bytes.length}`
      }
      case 'read': {
        const bytes = await readAll(this.#file(operation.slot), operation.position, operation.length)
        return `${bytes.length} ${sha(bytes)}`
      }
      case 'truncate': {
        const file = this.#file(operation.slot)
        await v.setattr(context, file.ino, { sizeBytes: operation.size }, file)
        return 'ok'
      }
      case 'allocate':
        await this.#file(operation.slot).fallocate(context, operation.mode, operation.offset, operation.length)
        return 'ok'
      case 'copy':
        return this.#copy(operation)
      case 'mkdir': {
        const { parent, name } = await this.#absent(operation.path)
        this.#references.push((await v.mkdir(context, parent, name, 0o755)).attributes.ino)
        return 'ok'
      }
      case 'symlink': {
        const { parent, name } = await this.#absent(operation.path)
        this.#references.push((await v.symlink(context, parent, name, operation.target)).attributes.ino)
        return 'ok'
      }
      case 'rmdir':
      case 'unlink': {
        const { parent, name } = await this.#parent(operation.path)
        const found = (await this.#lookup(parent, name)) ?? refuse('ENOENT')
        if (operation.op === 'rmdir' && !isDirectory(found.mode)) refuse('ENOTDIR')
        if (operation.op === 'unlink' && isDirectory(found.mode)) refuse('EISDIR')
        await (operation.op === 'rmdir' ? v.rmdir(context, parent, name) : v.unlink(context, parent, name))
        return 'ok'
      }
      case 'link': {
        const from = await this.#find(operation.path)
        const { parent, name } = await this.#absent(operation.to)
        if (isDirectory(from.mode)) refuse('EPERM')
        this.#references.push((await v.link(context, from.ino, parent, name)).attributes.ino)
        return 'ok'
      }
      case 'rename':
        return this.#rename(operation)
      case 'readlink': {
        const { ino, mode } = await this.#find(operation.path)
        return isSymlink(mode) ? v.readlink(context, ino) : refuse('EINVAL')
      }
      case 'stat': {
        const { ino } = await this.#find(operation.path)
        return line((await v.getattr(context, ino)).attributes)
      }
      case 'list': {
        const { ino, mode } = await this.#find(operation.path)
        if (!isDirectory(mode)) refuse(isSymlink(mode) ? 'ENOENT' : 'ENOTDIR')
        return (await listNames(v, ino))
          .filter(name => name !== '.' && name !== '..')
          .sort()
          .join(',')
      }
      case 'chmod': {
        const { ino, mode } = await this.#find(operation.path)
        if (isSymlink(mode)) refuse('ENOENT')
        await v.setattr(context, ino, { mode: operation.mode })
        return 'ok'
      }
      case 'setxattr': {
        const { ino, mode } = await this.#find(operation.path)
        if (isSymlink(mode)) refuse('EPERM')
        await v.setxattr(context, ino, operation.name, Buffer.from(operation.value), operation.flags, false)
        return 'ok'
      }
      case 'getxattr': {
        const { ino, mode } = await this.#find(operation.path)
        if (isSymlink(mode)) refuse('ENODATA')
        return (await v.getxattr(context, ino, operation.name)).toString('latin1')
      }
      case 'removexattr': {
        const { ino, mode } = await this.#find(operation.path)
        if (isSymlink(mode)) refuse('EPERM')
        await v.removexattr(context, ino, operation.name)
        return 'ok'
      }
      case 'listxattr': {
        const { ino } = await this.#find(operation.path)
        return (await v.listxattr(context, ino)).filter(own).sort().join(',')
      }
    }
  }

  async #open({ slot, path, how }: Extract<Operation, { op: 'open' }>): Promise<string> {
    await this.#close(slot)
    const { parent, name } = await this.#parent(path)
    const found = await this.#lookup(parent, name)
    const append = how.includes('append')
    const flags = O_RDWR | (append ? O_APPEND : 0)
    if (found && how.includes('exclusive')) refuse('EEXIST')
    if (found && isSymlink(found.mode)) refuse('ELOOP')
    if (found && isDirectory(found.mode)) refuse('EISDIR')
    if (found) {
      // With the protocol's atomic O_TRUNC the open truncates.
      const file = await this.#volume.open(context, found.ino, flags | (how.includes('truncate') ? O_TRUNC : 0))
      this.#slots[slot] = { file, append }
      return 'ok'
    }
    if (!how.includes('create')) refuse('ENOENT')
    const exclusive = how.includes('exclusive') ? O_EXCL : 0
    const made = await this.#volume.create(context, parent, name, 0o644, flags | O_CREAT | exclusive)
    this.#references.push(made.entry.attributes.ino)
    this.#slots[slot] = { file: made.file, append }
    return 'ok'
  }

  async #close(slot: number): Promise<void> {
    const opened = this.#slots[slot]
    this.#slots[slot] = undefined
    if (!opened) return
    await opened.file.flush(context)
    await opened.file.release()
  }

  async #copy({ from, offset, to, target, length }: Extract<Operation, { op: 'copy' }>): Promise<string> {
    const source = this.#file(from)
    const sink = this.#file(to)
    if (this.#slots[to]!.append) refuse('EBADF')
    const { sizeBytes } = (await this.#volume.getattr(context, source.ino, source)).attributes
    const count = Math.max(0, Math.min(length, sizeBytes - offset))
    if (source.ino === sink.ino && target + count > offset && target < offset + count) refuse('EINVAL')
    let done = 0
    while (done < count) {
      const copied = await source.copyRange(context, offset + done, sink, target + done, count - done)
      if (copied === 0) break
      done += copied
    }
    return `${done}`
  }

  async #rename({ path, to, flags }: Extract<Operation, { op: 'rename' }>): Promise<string> {
    const from = await this.#parent(path)
    const into = await this.#parent(to)
    const node = (await this.#lookup(from.parent, from.name)) ?? refuse('ENOENT')
    const other = await this.#lookup(into.parent, into.name)
    if (flags === RENAME_NOREPLACE && other) refuse('EEXIST')
    if (flags === RENAME_EXCHANGE && !other) refuse('ENOENT')
    if (into.way.includes(node.ino)) refuse('EINVAL')
    if (other && from.way.includes(other.ino)) refuse(flags === RENAME_EXCHANGE ? 'EINVAL' : 'ENOTEMPTY')
    if (node.ino === other?.ino) return 'ok'
    if (flags !== RENAME_EXCHANGE && other && isDirectory(node.mode) && !isDirectory(other.mode)) refuse('ENOTDIR')
    if (flags !== RENAME_EXCHANGE && other && !isDirectory(node.mode) && isDirectory(other.mode)) refuse('EISDIR')
    await this.#volume.rename(context, from.parent, from.name, into.parent, into.name, flags)
    return 'ok'
  }

  // --- names ---

  async #parent(path: string): Promise<{ parent: Ino; name: string; way: Ino[] }> {
    const names = path.split('/')
    const name = names.pop()!
    let parent = this.#volume.rootIno
    const way = [parent]
    for (const step of names) {
      const next = (await this.#lookup(parent, step)) ?? refuse('ENOENT')
      if (isSymlink(next.mode)) refuse('ENOENT')
      if (!isDirectory(next.mode)) refuse('ENOTDIR')
      parent = next.ino
      way.push(parent)
    }
    return { parent, name, way }
  }

  async #find(path: string): Promise<Attributes> {
    const { parent, name } = await this.#parent(path)
    return (await this.#lookup(parent, name)) ?? refuse('ENOENT')
  }

  async #absent(path: string): Promise<{ parent: Ino; name: string }> {
    const place = await this.#parent(path)
    if (await this.#lookup(place.parent, place.name)) refuse('EEXIST')
    return place
  }

  async #lookup(parent: Ino, name: string): Promise<Attributes | undefined> {
    const entry = await this.#volume.lookup(context, parent, name)
    if (entry) this.#references.push(entry.attributes.ino)
    return entry?.attributes
  }

  #file(slot: number): OpenFile {
    return this.#slots[slot]?.file ?? refuse('not open')
  }

  async #whole(ino: Ino): Promise<Buffer> {
    const file = await this.#volume.open(context, ino, 0)
    try {
      return await readAll(file, 0, Number.POSITIVE_INFINITY)
    } finally {
      await file.release()
    }
  }
}

const own = (name: string) => name.startsWith('user.')

function line({ mode, nlink, sizeBytes }: Attributes): string {
  return statLine(isDirectory(mode) ? 'directory' : isSymlink(mode) ? 'symlink' : 'file', mode & 0o7777, nlink, sizeBytes)
}

async function readAll(file: OpenFile, position: number, length: number): Promise<Buffer> {
  const pieces: Buffer[] = []
  for (let at = 0; at < length; ) {
    const into = Buffer.alloc(Math.min(1 << 17, length - at))
    const read = file.read(context, position + at, into)
    const piece = typeof read === 'number' ? into.subarray(0, read) : await read
    if (piece.length === 0) break
    pieces.push(piece)
    at += piece.length
  }
  return Buffer.concat(pieces)
}
