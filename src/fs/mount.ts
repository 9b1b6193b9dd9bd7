/**
 * Which driver mounts the tree: the kernel's own channel on Linux, the FUSE library elsewhere.
 *
 * Owns: this choice. Must stay true: only the chosen driver is loaded, so that neither needs what the other one needs.
 */
import { FsError } from '../errors.ts'
import type { FuseOptions, FuseSession } from './fuse/session.ts'

export type MountDriver = 'auto' | 'kernel' | 'libfuse'

/** Mounts the tree: answers when it can be used. Throws 'not-supported' with one line when something must be installed first. */
export async function mountTree(
  options: FuseOptions & { readonly driver: MountDriver },
  platform: NodeJS.Platform = process.platform,
): Promise<FuseSession> {
  const { driver, ...rest } = options
  if (platform === 'win32')
    throw new FsError('not-supported', 'Windows has no FUSE: use "sdmount serve webdav" and map the network drive', { operation: 'mount' })
  if (driver === 'kernel' && platform !== 'linux')
    throw new FsError('not-supported', 'the kernel driver needs Linux: leave --driver out, or give "--driver libfuse"', {
      operation: 'mount',
    })
  if (driver === 'libfuse' || platform !== 'linux') {
    const { mountLibfuse } = await import('./libfuse/session.ts')
    return await mountLibfuse(rest, { platform })
  }
  const { mountFuse } = await import('./fuse/session.ts')
  return await mountFuse(rest)
}
