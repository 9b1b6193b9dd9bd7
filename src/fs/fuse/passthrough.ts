/**
 * Passthrough: the kernel reads and writes a local file itself (FUSE_PASSTHROUGH, protocol 7.40).
 *
 * Owns: the backing id of each node that is open in passthrough mode, and which mode a node is open in.
 * Must stay true: all opens of one node agree: once a node is open through the kernel's page cache, further opens are
 * cached too, and the other way round with one and the same backing id (fs/fuse/iomode.c answers EIO or EBUSY otherwise);
 * every id that was opened is closed when its last open is released.
 */
import { errnoError } from '../../sys/errno.ts'
import { linux } from '../../sys/linux.ts'
import type { Ino } from '../../vfs/contract.ts'
import { FUSE_DEV_IOC_BACKING_CLOSE, FUSE_DEV_IOC_BACKING_OPEN } from './protocol.ts'

interface OpenMode {
  /** 0: through the page cache. */
  readonly backingId: number
  opens: number
}

const LINUX_CAPABILITY_VERSION_3 = 0x20080522
const CAP_FSETID_BIT = 1 << 4

export class Passthrough {
  readonly #deviceFd: number
  readonly #modes = new Map<Ino, OpenMode>()
  readonly #map = Buffer.alloc(16)
  readonly #id = Buffer.alloc(4)
  #enabled = true

  constructor(deviceFd: number) {
    this.#deviceFd = deviceFd
  }

  /** The backing id to open `ino` with, or 0: cached. Counts the open: `released` must follow. */
  opened(ino: Ino, backingFd: number | undefined): number {
    const mode = this.#modes.get(ino)
    if (mode) {
      mode.opens++
      return mode.backingId
    }
    const backingId = this.#enabled && backingFd !== undefined ? this.#open(backingFd) : 0
    this.#modes.set(ino, { backingId, opens: 1 })
    return backingId
  }

  released(ino: Ino): void {
    const mode = this.#modes.get(ino)
    if (!mode || --mode.opens > 0) return
    this.#modes.delete(ino)
    if (mode.backingId === 0) return
    this.#id.writeInt32LE(mode.backingId)
    linux().ioctl(this.#deviceFd, FUSE_DEV_IOC_BACKING_CLOSE, this.#id)
  }

  get openNodes(): number {
    return this.#modes.size
  }

  #open(fd: number): number {
    this.#map.fill(0)
    this.#map.writeInt32LE(fd, 0)
    // The kernel keeps the credentials of this moment for the file. Without CAP_FSETID a write clears set-user-id, as it
    // does for a program that writes natively.
    const id = withoutFsetid(() => linux().ioctl(this.#deviceFd, FUSE_DEV_IOC_BACKING_OPEN, this.#map))
    if (id > 0) return id
    // ELOOP and EOPNOTSUPP are about this file; EPERM is about us and won't change.
    if (-id === 1) this.#enabled = false
    return 0
  }
}

const header = Buffer.alloc(8)
const data = Buffer.alloc(24)

/** Runs `action` with CAP_FSETID out of this thread's effective set. */
function withoutFsetid<T>(action: () => T): T {
  const sys = linux()
  header.writeUInt32LE(LINUX_CAPABILITY_VERSION_3, 0)
  header.writeInt32LE(0, 4)
  const got = sys.capget(header, data)
  if (got < 0) throw errnoError(-got, 'capget')
  const effective = data.readUInt32LE(0)
  if (!(effective & CAP_FSETID_BIT)) return action()
  data.writeUInt32LE((effective & ~CAP_FSETID_BIT) >>> 0, 0)
  sys.capset(header, data)
  try {
    return action()
  } finally {
    data.writeUInt32LE(effective, 0)
    sys.capset(header, data)
  }
}
