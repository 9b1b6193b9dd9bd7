/**
 * INIT: what is switched on of what the kernel offers.
 *
 * Owns: the choice of protocol features. Must stay true: nothing is used that the kernel didn't offer; nothing is asked
 * for that the handlers don't serve.
 */
import * as P from './protocol.ts'
import type { Reply } from './reply.ts'
import type { RequestBuffer } from './request.ts'

export interface NegotiationWish {
  /** Let the kernel read and write local files directly (root, 6.9 and later). */
  readonly passthrough: boolean
  /** How deep the filesystems below may stack: 1, or 2 where one of them is itself stacked (overlayfs). */
  readonly stackDepth: 1 | 2
}

export interface Negotiated {
  readonly minor: number
  readonly passthrough: boolean
  /** setxattr carries flags of its own. */
  readonly setxattrExtended: boolean
  readonly killPrivileges: boolean
}

/** Reads the kernel's INIT and encodes the answer: undefined when the kernel is too old (the answer is EPROTO then). */
export function negotiate(
  request: RequestBuffer,
  wish: NegotiationWish,
  reply: Reply,
): { readonly bodyBytes: number; readonly result: Negotiated } | undefined {
  const major = request.u32(0)
  const minor = request.u32(4)
  if (major > P.FUSE_KERNEL_VERSION) {
    // A newer major version asks again with ours (fuse.h).
    reply.words.fill(0, 4, 4 + 16)
    reply.words[4] = P.FUSE_KERNEL_VERSION
    reply.words[5] = P.FUSE_KERNEL_MINOR
    return { bodyBytes: 64, result: { minor: 0, passthrough: false, setxattrExtended: false, killPrivileges: false } }
  }
  if (major < P.FUSE_KERNEL_VERSION || minor < P.FUSE_KERNEL_MINOR_LEAST) return undefined
  const maxReadahead = request.u32(8)
  const offered = request.u32(12)
  const offered2 = offered & P.FUSE_INIT_EXT && request.length >= 20 ? request.u32(16) : 0

  // No FUSE_WRITEBACK_CACHE: a write that was answered is in the host's file, and others' changes are seen.
  // No FUSE_POSIX_LOCKS, FUSE_FLOCK_LOCKS: the kernel keeps the locks of the mount itself.
  const wanted =
    P.FUSE_ASYNC_READ |
    P.FUSE_ATOMIC_O_TRUNC |
    P.FUSE_BIG_WRITES |
    P.FUSE_DONT_MASK |
    P.FUSE_HAS_IOCTL_DIR |
    P.FUSE_AUTO_INVAL_DATA |
    P.FUSE_DO_READDIRPLUS |
    P.FUSE_READDIRPLUS_AUTO |
    P.FUSE_ASYNC_DIO |
    P.FUSE_PARALLEL_DIROPS |
    P.FUSE_POSIX_ACL |
    P.FUSE_MAX_PAGES |
    P.FUSE_CACHE_SYMLINKS |
    P.FUSE_HANDLE_KILLPRIV_V2 |
    P.FUSE_SETXATTR_EXT |
    P.FUSE_INIT_EXT
  const wanted2 = P.FUSE_DIRECT_IO_ALLOW_MMAP | (wish.passthrough ? P.FUSE_PASSTHROUGH : 0)
  const flags = offered & wanted
  const flags2 = offered2 & wanted2

  const w = reply.words
  w.fill(0, 4, 4 + 16)
  w[4] = P.FUSE_KERNEL_VERSION
  w[5] = P.FUSE_KERNEL_MINOR
  w[6] = maxReadahead
  w[7] = flags
  w[8] = 64 | (48 << 16) // max_background, congestion_threshold
  w[9] = P.MAX_WRITE_BYTES
  w[10] = 1 // time_gran: nanoseconds
  w[11] = P.MAX_PAGES // max_pages, map_alignment
  w[12] = flags2
  w[13] = flags2 & P.FUSE_PASSTHROUGH ? wish.stackDepth : 0
  return {
    bodyBytes: 64,
    result: {
      minor: Math.min(minor, P.FUSE_KERNEL_MINOR),
      passthrough: (flags2 & P.FUSE_PASSTHROUGH) !== 0,
      setxattrExtended: (flags & P.FUSE_SETXATTR_EXT) !== 0,
      killPrivileges: (flags & P.FUSE_HANDLE_KILLPRIV_V2) !== 0,
    },
  }
}
