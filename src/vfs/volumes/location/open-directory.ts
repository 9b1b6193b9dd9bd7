/**
 * An open directory of a location: getdents64 on the host, entry by entry into the reply.
 *
 * Owns: the descriptor and the part of the listing that was read but not yet taken. Must stay true: offsets are the host's
 * own (d_off), so that telldir, seekdir and a listing that goes on after changes behave as on the host; a name under which
 * a foreign filesystem is mounted is listed without touching it.
 * Layout of struct linux_dirent64: d_ino u64, d_off i64, d_reclen u16, d_type u8, d_name, NUL.
 */
import { errnoError } from '../../../sys/errno.ts'
import type { DirectorySink, OpenDirectory, RequestContext } from '../../contract.ts'
import { S_IFDIR, SLOT_SIZE } from '../../contract.ts'
import type { Core } from './core.ts'
import { lookup } from './names.ts'
import type { LocationNode } from './node.ts'

const LISTING_BYTES = 64 << 10
const SEEK_SET = 0

type Latin1Buffer = Buffer & { latin1Slice(start: number, end: number): string }

export class LocationDirectory implements OpenDirectory {
  readonly node: LocationNode
  readonly keepCache: boolean
  readonly #core: Core
  readonly #fd: number
  #buffer: Latin1Buffer | undefined
  #at = 0
  #end = 0
  /** The offset that `#at` stands for. */
  #next = 0n

  /** `keepCache`: nothing changed in it since its listing was cached. */
  constructor(core: Core, node: LocationNode, fd: number, keepCache: boolean) {
    this.#core = core
    this.node = node
    this.#fd = fd
    this.keepCache = keepCache
  }

  get ino(): number {
    return this.node.ino
  }

  read(_context: RequestContext, offset: bigint, withAttributes: boolean, sink: DirectorySink): void {
    const core = this.#core
    const buffer = (this.#buffer ??= Buffer.allocUnsafeSlow(LISTING_BYTES) as Latin1Buffer)
    if (offset !== this.#next) {
      const result = core.sys.lseek(this.#fd, offset, SEEK_SET)
      if (result < 0) throw errnoError(-result, 'readdir')
      this.#at = this.#end = 0
      this.#next = offset
    }
    const numbers = core.numbers.of(this.node.device)
    for (;;) {
      if (this.#at >= this.#end) {
        const got = core.sys.getdents(this.#fd, buffer)
        // ENOENT: the directory was removed while it was open; it is empty then (ext4 says so, POSIX wants no error).
        if (got < 0 && -got !== 2) throw errnoError(-got, 'readdir')
        if (got <= 0) return
        this.#at = 0
        this.#end = got
      }
      const at = this.#at
      const length = buffer.readUInt16LE(at + 16)
      const next = buffer.readBigInt64LE(at + 8)
      const nameEnd = buffer.indexOf(0, at + 19)
      const name = buffer.latin1Slice(at + 19, nameEnd)
      const type = buffer[at + 18]! << 12
      const high = buffer.readUInt32LE(at + 4)
      let taken: boolean
      if (name === '.') taken = sink.add(name, this.node.ino, S_IFDIR, next, undefined)
      else if (name === '..') taken = sink.add(name, this.node.parent?.ino ?? 1, S_IFDIR, next, undefined)
      else {
        // A number that isn't the host's own is looked up, as an entry below a mount point would be.
        const plain =
          numbers?.stable && high < SLOT_SIZE / 2 / 2 ** 32 ? numbers.base + high * 2 ** 32 + buffer.readUInt32LE(at) : undefined
        taken =
          withAttributes || plain === undefined
            ? this.#addLooked(name, type, next, withAttributes, sink, plain)
            : sink.add(name, plain, type, next, undefined)
      }
      if (!taken) return
      this.#at = at + length
      this.#next = next
    }
  }

  #addLooked(name: string, type: number, next: bigint, withAttributes: boolean, sink: DirectorySink, plain: number | undefined): boolean {
    const core = this.#core
    let entry: ReturnType<typeof lookup>
    try {
      entry = lookup(core, this.node, name)
    } catch {
      // It can be listed even when it can't be looked at.
      return sink.add(name, plain ?? 1, type, next, undefined)
    }
    // Removed since it was read: as if it had not been there.
    if (!entry) return true
    const taken = sink.add(name, entry.attributes.ino, entry.attributes.mode & 0o170000, next, withAttributes ? entry : undefined)
    if (!taken || !withAttributes) {
      const node = core.nodes.get(entry.attributes.ino)
      if (node) {
        node.lookups--
        core.dropIfUnused(node)
      }
    }
    return taken
  }

  async fsync(_context: RequestContext, dataOnly: boolean): Promise<void> {
    const { sys } = this.#core
    const result = await (dataOnly ? sys.fdatasync(this.#fd) : sys.fsync(this.#fd))
    if (result < 0) throw errnoError(-result, 'fsyncdir')
  }

  release(): void {
    this.#core.sys.close(this.#fd)
  }
}
