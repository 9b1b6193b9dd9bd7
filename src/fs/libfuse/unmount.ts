/**
 * Unmounting on the systems that the library runs on.
 * Owns: which program is run. Must stay true: it runs in a child process, since the kernel asks us while it unmounts.
 */
import { spawn } from 'node:child_process'
import { FsError } from '../../errors.ts'

const UNMOUNT_TIMEOUT_MS = 60_000

/** Throws 'busy' when programs use it (unless `lazy`), 'invalid' when nothing is mounted there. */
export async function unmountHost(
  mountpoint: string,
  options: { readonly lazy: boolean },
  platform: NodeJS.Platform = process.platform,
): Promise<void> {
  if (platform === 'linux') {
    const { unmount } = await import('../fuse/mount.ts')
    return await unmount(mountpoint, options)
  }
  const [program, ...args] = options.lazy ? ['/usr/sbin/diskutil', 'unmount', 'force', mountpoint] : ['/sbin/umount', mountpoint]
  const { status, text } = await run(program!, args)
  if (status === 0) return
  if (/busy|in use/i.test(text))
    throw new FsError('busy', `${mountpoint} is in use; close what uses it, or unmount with --lazy`, { operation: 'umount' })
  throw new FsError('invalid', text.trim() || `${program} ended with ${status}`, { operation: 'umount' })
}

function run(program: string, args: string[]): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, LC_ALL: 'C' },
      timeout: UNMOUNT_TIMEOUT_MS,
    })
    let text = ''
    const take = (piece: string) => {
      text = (text + piece).slice(-4000)
    }
    child.stdout.setEncoding('utf8').on('data', take)
    child.stderr.setEncoding('utf8').on('data', take)
    child.on('error', cause => reject(new FsError('not-supported', `${program} can not be run`, { operation: 'umount', cause })))
    child.on('close', code => resolve({ status: code ?? -1, text }))
  })
}
