/**
 * The ioctls that a file of a location answers: flags and project ids, as lsattr, chattr and backup programs use them.
 *
 * Owns: the list of commands that reach the host. Must stay true: nothing else does: an ioctl can do anything.
 */
import { FsError } from '../../../errors.ts'
import { errnoError } from '../../../sys/errno.ts'
import { O_DIRECTORY, O_NOFOLLOW, O_NONBLOCK, O_RDONLY } from '../../../sys/flags.ts'
import { isDirectory, isRegular, type RequestContext } from '../../contract.ts'
import type { Core } from './core.ts'
import type { LocationNode } from './node.ts'

/** Command numbers (include/uapi/linux/fs.h) and how many bytes go in and come out. */
const COMMANDS: ReadonlyMap<number, { readonly inBytes: number; readonly outBytes: number }> = new Map([
  [0x80086601, { inBytes: 0, outBytes: 4 }], // FS_IOC_GETFLAGS: "long" by its number, int by its use
  [0x40086602, { inBytes: 4, outBytes: 0 }], // FS_IOC_SETFLAGS
  [0x801c581f, { inBytes: 0, outBytes: 28 }], // FS_IOC_FSGETXATTR
  [0x401c5820, { inBytes: 28, outBytes: 0 }], // FS_IOC_FSSETXATTR
])

/** Throws 'not-tty' for what isn't on the list. */
export function ioctl(
  core: Core,
  context: RequestContext,
  node: LocationNode,
  fileFd: number | undefined,
  command: number,
  input: Buffer,
  outputBytes: number,
): Buffer {
  const known = COMMANDS.get(command)
  if (!known || !(isRegular(node.mode) || isDirectory(node.mode))) throw new FsError('not-tty')
  if (input.length < known.inBytes || outputBytes < known.outBytes) throw new FsError('invalid')
  if (known.inBytes) requireOwner(core, node, context)
  const own = fileFd === undefined ? open(core, node) : undefined
  try {
    const argument = Buffer.alloc(32)
    input.copy(argument, 0, 0, known.inBytes)
    const result = core.sys.ioctl((fileFd ?? own)!, command, argument)
    if (result < 0) throw errnoError(-result, 'ioctl')
    if (known.inBytes) core.rows.touch(node)
    return Buffer.concat([argument.subarray(0, known.outBytes), Buffer.alloc(Math.max(0, Math.min(outputBytes, 8) - known.outBytes))])
  } finally {
    if (own !== undefined) core.sys.close(own)
  }
}

/** Kernels before 5.13 pass these on without a look at who asks, and the daemon of root may do everything. */
function requireOwner(core: Core, node: LocationNode, context: RequestContext): void {
  if (context.uid === 0) return
  core.statNode(node)
  if (core.stat.attributes(node.ino).uid !== context.uid) throw new FsError('not-permitted')
}

function open(core: Core, node: LocationNode): number {
  const fd = isDirectory(node.mode)
    ? core.sys.openat(core.directories.fd(node), '.', O_RDONLY | O_DIRECTORY)
    : (() => {
        const at = core.reach(node)
        return core.sys.openat(at.fd, at.name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
      })()
  if (fd < 0) throw errnoError(-fd, 'ioctl')
  return fd
}
