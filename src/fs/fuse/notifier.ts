/**
 * Tells the kernel that something it has cached is wrong.
 *
 * Owns: the queue of notifications. Must stay true: they are written from the thread pool, never from the thread
 * that answers requests, since the kernel may need an answer before it takes a notification (it locks the directory
 * concerned); what waits is coalesced by what it concerns, so the queue holds at most one message for each node and name
 * that the kernel can have cached.
 * Layout (include/uapi/linux/fuse.h): fuse_out_header with unique 0 and the code in `error`, then
 * fuse_notify_inval_inode_out (ino, off, len), fuse_notify_inval_entry_out (parent, namelen, flags, name, NUL) or
 * fuse_notify_delete_out (parent, child, namelen, padding, name, NUL).
 */
import { linux } from '../../sys/linux.ts'
import type { Ino, Name, VfsListener } from '../../vfs/contract.ts'
import {
  FUSE_EXPIRE_ONLY,
  FUSE_NOTIFY_DELETE,
  FUSE_NOTIFY_INC_EPOCH,
  FUSE_NOTIFY_INVAL_ENTRY,
  FUSE_NOTIFY_INVAL_INODE,
  OUT_HEADER_BYTES,
} from './protocol.ts'

/** Threads of the pool that write at a time. More wait here: the pool has others to serve. */
const WRITERS = 2

export class Notifier implements VfsListener {
  readonly #fd: number
  readonly #sys = linux()
  readonly #pending = new Map<string, Buffer>()
  readonly #writers = new Set<Promise<void>>()
  #closed = false

  constructor(fd: number) {
    this.#fd = fd
  }

  inodeChanged(ino: Ino, data: boolean): void {
    // offset -1: attributes alone; offset 0, length 0: all data too.
    const key = `i${ino}`
    if (!data && this.#pending.has(key)) return
    const message = Buffer.alloc(OUT_HEADER_BYTES + 24)
    put64(message, 16, ino)
    message.writeBigInt64LE(data ? 0n : -1n, 24)
    this.#add(key, message, FUSE_NOTIFY_INVAL_INODE)
  }

  entryChanged(parent: Ino, name: Name): void {
    // Asked about again, not dropped: a program whose current directory it is must not lose it.
    const message = Buffer.alloc(OUT_HEADER_BYTES + 16 + name.length + 1)
    put64(message, 16, parent)
    message.writeUInt32LE(name.length, 24)
    message.writeUInt32LE(FUSE_EXPIRE_ONLY, 28)
    message.write(name, 32, 'latin1')
    this.#add(`e${parent}/${name}`, message, FUSE_NOTIFY_INVAL_ENTRY)
  }

  entryRemoved(parent: Ino, name: Name, child: Ino): void {
    const message = Buffer.alloc(OUT_HEADER_BYTES + 24 + name.length + 1)
    put64(message, 16, parent)
    put64(message, 24, child)
    message.writeUInt32LE(name.length, 32)
    message.write(name, 40, 'latin1')
    this.#add(`e${parent}/${name}`, message, FUSE_NOTIFY_DELETE)
  }

  /** All names are asked about again, missing ones too (7.44; older kernels refuse it, and their names expire by time). */
  everythingChanged(): void {
    this.#add('all', Buffer.alloc(OUT_HEADER_BYTES), FUSE_NOTIFY_INC_EPOCH)
  }

  /** Notifications not yet handed to the kernel. */
  get pending(): number {
    return this.#pending.size
  }

  /** Resolves when the kernel has taken all that was told until now. It may have to wait for answers of this process. */
  async settled(): Promise<void> {
    while (this.#writers.size > 0) await Promise.all(this.#writers)
  }

  /** Resolves when the thread has ended by itself: one that is terminated while it loads koffi takes the process with it. */
  async close(): Promise<void> {
    this.#closed = true
    this.#pending.clear()
    await Promise.all(this.#writers)
  }

  #add(key: string, message: Buffer, code: number): void {
    if (this.#closed) return
    message.writeUInt32LE(message.length, 0)
    message.writeInt32LE(code, 4)
    this.#pending.set(key, message)
    if (this.#writers.size >= WRITERS) return
    const writer = this.#write()
    this.#writers.add(writer)
    void writer.finally(() => this.#writers.delete(writer))
  }

  /** Writes until nothing waits. What the kernel doesn't know (ENOENT) is fine; nothing is retried. */
  async #write(): Promise<void> {
    // What is told in one go is coalesced first.
    await Promise.resolve()
    for (const [key, message] of this.#pending) {
      this.#pending.delete(key)
      await this.#sys.writeInPool(this.#fd, message)
    }
  }
}

function put64(buffer: Buffer, offset: number, value: number): void {
  buffer.writeUInt32LE(value >>> 0, offset)
  buffer.writeUInt32LE(Math.floor(value / 2 ** 32), offset + 4)
}
