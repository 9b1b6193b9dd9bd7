/**
 * One FUSE mount from beginning to end: mount, serve, notify, unmount.
 * Owns: the order of these, and the descriptor. It doesn't: decide what is mounted, or read options from anywhere.
 */
import { FsError } from '../../errors.ts'
import type { Log } from '../../log.ts'
import { linux } from '../../sys/linux.ts'
import type { Vfs } from '../../vfs/contract.ts'
import { Channel, type ChannelStatistics } from './channel.ts'
import { mount, unmount } from './mount.ts'
import { Notifier } from './notifier.ts'

const READY_TIMEOUT_MS = 10_000

export interface FuseOptions {
  readonly mountpoint: string
  readonly vfs: Vfs
  readonly log: Log
  readonly readOnly: boolean
  readonly allowOther: boolean
  /** Further options of mount(8). */
  readonly options: readonly string[]
  /** What `df` shows as the filesystem. */
  readonly libraryName: string
  /** Root only: let the kernel read and write local files itself. Default: where it can. */
  readonly passthrough?: boolean
  /** 2 where a location is itself on a stacked filesystem (overlayfs). */
  readonly stackDepth?: 1 | 2
}

export interface FuseSession {
  readonly mountpoint: string
  /** Resolves when it was unmounted, by whatever means, and the descriptor is closed. */
  readonly ended: Promise<void>
  /** Throws 'busy' when programs use it and `lazy` is false. Resolves when the kernel has let go of the name. */
  unmount(options: { readonly lazy: boolean }): Promise<void>
  /** Resolves when the kernel has taken all changes that the tree told of until now. */
  settled(): Promise<void>
  statistics(): ChannelStatistics & { readonly pendingNotifications: number }
}

/** Mounts the tree: answers when it can be used. */
export async function mountFuse(options: FuseOptions): Promise<FuseSession> {
  const fd = mount({ ...options, sourceName: options.libraryName })
  const root = process.getuid?.() === 0
  const channel = new Channel({
    fd,
    vfs: options.vfs,
    log: options.log,
    readOnly: options.readOnly,
    wish: { passthrough: root && options.passthrough !== false, stackDepth: options.stackDepth ?? 1 },
  })
  const notifier = new Notifier(fd)
  const unlisten = options.vfs.listen(notifier)
  const ended = channel.ended.then(async () => {
    unlisten()
    await notifier.close()
    linux().close(fd)
  })
  channel.start()
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new FsError('timed-out', 'the kernel did not answer to the mount within ten seconds')),
      READY_TIMEOUT_MS,
    )
  })
  try {
    await Promise.race([channel.ready, late])
  } catch (error) {
    await unmount(options.mountpoint, { lazy: true }).catch(() => {})
    throw error
  } finally {
    clearTimeout(timer)
  }
  return {
    mountpoint: options.mountpoint,
    ended,
    unmount: how => unmount(options.mountpoint, how),
    settled: () => notifier.settled(),
    statistics: () => ({ ...channel.statistics(), pendingNotifications: notifier.pending }),
  }
}
