/**
 * The reference model: what a POSIX filesystem answers, as maps and buffers, plain enough to be read in ten minutes.
 *
 * Owns: names, nodes, open files, and the order in which Linux finds its errors (namei.c). An answer is text: what a
 * program would see. Symlinks lead nowhere (their targets don't exist): a way through one is ENOENT.
 * It doesn't: know permissions, times, or any volume.
 */
import { createHash } from 'node:crypto'
import { RENAME_EXCHANGE, RENAME_NOREPLACE } from '../../src/vfs/contract.ts'
import { bytesOf, FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, type Operation, SLOTS } from './operations.ts'

export interface Subject {
  /** Does it and answers what a program sees. */
  run(operation: Operation): string | Promise<string>
  /** Everything that is there, a line each, sorted. */
  snapshot(): string[] | Promise<string[]>
}

class Node {
  readonly type: 'file' | 'directory' | 'symlink'
  mode: number
  links = 0
  bytes = Buffer.alloc(0)
  target = ''
  readonly names = new Map<string, Node>()
  readonly xattrs = new Map<string, string>()

  constructor(type: Node['type'], mode: number) {
    this.type = type
    this.mode = mode
  }
}

/** Ends an operation with the name of an errno. */
class Errno extends Error {}
const fail = (name: string): never => {
  throw new Errno(name)
}

export const sha = (bytes: Buffer): string => createHash('sha1').update(bytes).digest('hex').slice(0, 12)

/** One line of a stat: of a directory, links and size are the filesystem's own affair. */
export function statLine(type: string, mode: number, links: number, size: number): string {
  if (type === 'directory') return `directory ${mode.toString(8)}`
  return type === 'symlink' ? `symlink ${links} ${size}` : `file ${mode.toString(8)} ${links} ${size}`
}

export function snapshotLine(path: string, stat: string, rest: readonly string[]): string {
  return [path.replaceAll('x'.repeat(255), 'X'), stat, ...rest].join(' | ')
}

export class Model implements Subject {
  readonly #root = new Node('directory', 0o755)
  readonly #slots: ({ readonly node: Node; readonly append: boolean } | undefined)[] = Array(SLOTS).fill(undefined)

  run(operation: Operation): string {
    try {
      return this.#run(operation)
    } catch (error) {
      if (error instanceof Errno) return error.message
      throw error
    }
  }

  snapshot(): string[] {
    const lines: string[] = []
    const first = new Map<Node, string>()
    const walk = (directory: Node, prefix: string) => {
      for (const name of [...directory.names.keys()].sort()) {
        const node = directory.names.get(name)!
        const path = prefix + name
        const same = first.get(node) ?? path
        first.set(node, same)
        const content = node.type === 'file' ? sha(node.bytes) : node.type === 'symlink' ? node.target : ''
        lines.push(
          snapshotLine(path, this.#stat(node), [
            content,
            same === path ? '' : `= ${same}`.replaceAll('x'.repeat(255), 'X'),
            this.#xattrs(node),
          ]),
        )
        walk(node, `${path}/`)
      }
    }
    walk(this.#root, '')
    return lines
  }

  #run(operation: Operation): string {
    switch (operation.op) {
      case 'open':
        return this.#open(operation)
      case 'close':
        this.#slots[operation.slot] = undefined
        return 'ok'
      case 'fsync':
        this.#file(operation.slot)
        return 'ok'
      case 'fstat':
        return this.#stat(this.#file(operation.slot).node)
      case 'write': {
        const { node, append } = this.#file(operation.slot)
        this.#put(node, append ? node.bytes.length : operation.position, bytesOf(operation.length, operation.fill))
        return `${operation.length}`
      }
      case 'read': {
        const { node } = this.#file(operation.slot)
        const bytes = node.bytes.subarray(operation.position, operation.position + operation.length)
        return `${bytes.length} ${sha(bytes)}`
      }
      case 'truncate':
        this.#resize(this.#file(operation.slot).node, operation.size)
        return 'ok'
      case 'allocate':
        return this.#allocate(operation)
      case 'copy':
        return this.#copy(operation)
      case 'mkdir':
        return this.#add(operation.path, new Node('directory', 0o755))
      case 'symlink': {
        const node = new Node('symlink', 0o777)
        node.target = operation.target
        return this.#add(operation.path, node)
      }
      case 'rmdir': {
        const { parent, name } = this.#parent(operation.path)
        const node = parent.names.get(name) ?? fail('ENOENT')
        if (node.type !== 'directory') fail('ENOTDIR')
        if (node.names.size > 0) fail('ENOTEMPTY')
        parent.names.delete(name)
        return 'ok'
      }
      case 'unlink': {
        const { parent, name } = this.#parent(operation.path)
        const node = parent.names.get(name) ?? fail('ENOENT')
        if (node.type === 'directory') fail('EISDIR')
        this.#drop(parent, name)
        return 'ok'
      }
      case 'link': {
        const node = this.#find(operation.path)
        const { parent, name } = this.#parent(operation.to)
        if (parent.names.has(name)) fail('EEXIST')
        if (node.type === 'directory') fail('EPERM')
        parent.names.set(name, node)
        node.links++
        return 'ok'
      }
      case 'rename':
        return this.#rename(operation)
      case 'readlink': {
        const node = this.#find(operation.path)
        return node.type === 'symlink' ? node.target : fail('EINVAL')
      }
      case 'stat':
        return this.#stat(this.#find(operation.path))
      case 'list': {
        const node = this.#find(operation.path)
        if (node.type === 'symlink') fail('ENOENT')
        return node.type === 'directory' ? [...node.names.keys()].sort().join(',') : fail('ENOTDIR')
      }
      case 'chmod': {
        const node = this.#find(operation.path)
        if (node.type === 'symlink') fail('ENOENT')
        node.mode = operation.mode
        return 'ok'
      }
      case 'setxattr': {
        const { xattrs, type } = this.#find(operation.path)
        if (type === 'symlink') fail('EPERM')
        if (operation.flags === 1 && xattrs.has(operation.name)) fail('EEXIST')
        if (operation.flags === 2 && !xattrs.has(operation.name)) fail('ENODATA')
        xattrs.set(operation.name, operation.value)
        return 'ok'
      }
      case 'getxattr':
        return this.#find(operation.path).xattrs.get(operation.name) ?? fail('ENODATA')
      case 'removexattr': {
        const { xattrs, type } = this.#find(operation.path)
        if (type === 'symlink') fail('EPERM')
        return xattrs.delete(operation.name) ? 'ok' : fail('ENODATA')
      }
      case 'listxattr':
        return [...this.#find(operation.path).xattrs.keys()].sort().join(',')
    }
  }

  #open({ slot, path, how }: Extract<Operation, { op: 'open' }>): string {
    this.#slots[slot] = undefined
    const { parent, name } = this.#parent(path)
    let node = parent.names.get(name)
    if (!node) {
      if (!how.includes('create')) fail('ENOENT')
      node = new Node('file', 0o644)
      node.links = 1
      parent.names.set(name, node)
    } else if (how.includes('exclusive')) fail('EEXIST')
    else if (node.type !== 'file') fail(node.type === 'symlink' ? 'ELOOP' : 'EISDIR')
    else if (how.includes('truncate')) node.bytes = Buffer.alloc(0)
    this.#slots[slot] = { node, append: how.includes('append') }
    return 'ok'
  }

  #allocate({ slot, mode, offset, length }: Extract<Operation, { op: 'allocate' }>): string {
    const { node } = this.#file(slot)
    const end = offset + length
    if (mode & FALLOC_PUNCH_HOLE) node.bytes.fill(0, Math.min(offset, node.bytes.length), Math.min(end, node.bytes.length))
    else if (!(mode & FALLOC_KEEP_SIZE) && end > node.bytes.length) this.#resize(node, end)
    return 'ok'
  }

  #copy({ from, offset, to, target, length }: Extract<Operation, { op: 'copy' }>): string {
    const source = this.#file(from)
    const sink = this.#file(to)
    if (sink.append) fail('EBADF')
    const bytes = Buffer.from(source.node.bytes.subarray(offset, offset + length))
    if (source.node === sink.node && target + bytes.length > offset && target < offset + bytes.length) fail('EINVAL')
    if (bytes.length > 0) this.#put(sink.node, target, bytes)
    return `${bytes.length}`
  }

  #rename({ path, to, flags }: Extract<Operation, { op: 'rename' }>): string {
    const from = this.#parent(path)
    const into = this.#parent(to)
    const node = from.parent.names.get(from.name) ?? fail('ENOENT')
    const other = into.parent.names.get(into.name)
    if (flags === RENAME_NOREPLACE && other) fail('EEXIST')
    if (flags === RENAME_EXCHANGE && !other) fail('ENOENT')
    if (this.#isWithin(node, into.parent)) fail('EINVAL')
    if (other && this.#isWithin(other, from.parent)) fail(flags === RENAME_EXCHANGE ? 'EINVAL' : 'ENOTEMPTY')
    if (node === other) return 'ok'
    if (flags === RENAME_EXCHANGE) {
      from.parent.names.set(from.name, other!)
      into.parent.names.set(into.name, node)
      return 'ok'
    }
    if (other && node.type === 'directory' && other.type !== 'directory') fail('ENOTDIR')
    if (other && node.type !== 'directory' && other.type === 'directory') fail('EISDIR')
    if (other && other.names.size > 0) fail('ENOTEMPTY')
    if (other) this.#drop(into.parent, into.name)
    from.parent.names.delete(from.name)
    into.parent.names.set(into.name, node)
    return 'ok'
  }

  // --- names and nodes ---

  #parent(path: string): { parent: Node; name: string } {
    const names = path.split('/')
    const name = names.pop()!
    let parent = this.#root
    for (const step of names) {
      parent = parent.names.get(step) ?? fail('ENOENT')
      if (parent.type === 'symlink') fail('ENOENT')
      if (parent.type === 'file') fail('ENOTDIR')
    }
    return { parent, name }
  }

  #find(path: string): Node {
    const { parent, name } = this.#parent(path)
    return parent.names.get(name) ?? fail('ENOENT')
  }

  #file(slot: number) {
    return this.#slots[slot] ?? fail('not open')
  }

  #add(path: string, node: Node): string {
    const { parent, name } = this.#parent(path)
    if (parent.names.has(name)) fail('EEXIST')
    node.links = 1
    parent.names.set(name, node)
    return 'ok'
  }

  #drop(parent: Node, name: string): void {
    parent.names.get(name)!.links--
    parent.names.delete(name)
  }

  #isWithin(above: Node, node: Node): boolean {
    return above === node || [...above.names.values()].some(child => child.type === 'directory' && this.#isWithin(child, node))
  }

  #resize(node: Node, size: number): void {
    const bytes = Buffer.alloc(size)
    node.bytes.copy(bytes)
    node.bytes = bytes
  }

  #put(node: Node, position: number, bytes: Buffer): void {
    if (bytes.length === 0) return
    if (position + bytes.length > node.bytes.length) this.#resize(node, position + bytes.length)
    bytes.copy(node.bytes, position)
  }

  #stat(node: Node): string {
    return statLine(node.type, node.mode, node.links, node.type === 'symlink' ? node.target.length : node.bytes.length)
  }

  #xattrs(node: Node): string {
    return [...node.xattrs]
      .map(([name, value]) => `${name}=${value.length}`)
      .sort()
      .join(',')
  }
}
