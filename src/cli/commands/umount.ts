/** sdmount umount: ends a mount, that of a running daemon or the remains of one that was killed. */

import { type MountEntry, readMounts } from '../../sys/mountinfo.ts'
import type { Command, Invocation } from '../command.ts'
import type { ControlClient } from '../control/client.ts'
import { CommandError, type ExitName } from '../exit-codes.ts'
import { connectDaemon } from '../library-client.ts'
import { FILESYSTEM_TYPE, mountAt, probeMount, usersOf } from '../mounts.ts'
import { nameOfText, textOfName } from '../names.ts'
import { isDriveLetter, resolveLibrary, resolveMountpoint } from '../paths.ts'
import type { LibraryStatus, QueueInfo, QueueUpdate, RequestResult } from '../service/requests.ts'
import { bytes, count } from '../terminal/format.ts'
import { printable } from '../terminal/terminal.ts'
import { QueueProgress } from './queue-progress.ts'

const umount: Command = {
  words: ['umount'],
  summary: 'unmount the library, or what is mounted at MOUNTPOINT',
  description: `Writes what is delayed, unmounts, and returns when the background process has ended. While programs use the mount
it refuses and names them; \`--lazy\` takes the tree out of sight at once and ends when the last of them has closed its
files. The remains of a daemon that was killed are cleared.

What waits to be uploaded to cloud volumes is waited for, with a progress bar; Ctrl-C leaves the mount as it is. With \`--no-wait\`
it goes on with the next mount: nothing is lost, it is on this disk. So does what can't go on now, because a server is away or
refuses; that is said. \`umount\`, \`fusermount3 -u\` and a signal don't wait either.`,
  arguments: [{ name: 'mountpoint', required: false, help: "where; by default the library's mount" }],
  options: ['library', 'lazy', 'no-wait'],
  examples: [
    { line: 'sdmount umount', does: 'unmount the default library' },
    { line: 'sdmount umount --no-wait', does: 'uploads go on with the next mount' },
    { line: 'sdmount umount --lazy /mnt/photos', does: 'also while programs use it' },
  ],
  async run(invocation) {
    const given = invocation.text('mountpoint')
    const library = resolveLibrary(invocation.option('library'), invocation.environment)
    const mountpoint = given === undefined || isDriveLetter(given) ? given : resolveMountpoint(given, process.cwd())
    const mount = mountpoint === undefined ? ownRemains(library) : mountAt(nameOfText(mountpoint))
    // The daemon of the library that was named, else the one that says it made the mount.
    for (const candidate of new Set([library, ...(mount?.source.startsWith('/') ? [textOfName(mount.source) ?? library] : [])])) {
      const done = await throughDaemon(invocation, candidate, mountpoint)
      if (done) return done
    }
    if (mount?.type !== FILESYSTEM_TYPE) {
      throw new CommandError(
        'not-mounted',
        (mountpoint === undefined ? 'the library is not mounted' : `there is no sdmount mount at ${mountpoint}`) + others(),
      )
    }
    return await unmountDirectly(invocation, mountpoint ?? textOfName(mount.mountPoint) ?? '')
  },
}

export const umountCommands: readonly Command[] = [umount]

/** Asks the daemon of `library`; undefined when it has none, or its mount is another one, or it doesn't answer. */
async function throughDaemon(invocation: Invocation, library: string, mountpoint: string | undefined): Promise<ExitName | undefined> {
  using client = await connectOrNone(library)
  if (!client) return undefined
  const lazy = invocation.option('lazy')
  try {
    const status = (await client.request('status', {}, invocation.signal, () => {})) as LibraryStatus
    const mounted = status.mounts[0]?.mountpoint
    if (mounted === undefined || (mountpoint !== undefined && mounted !== mountpoint)) return undefined
    const queues = await unmountWaiting(invocation, client, mounted)
    if (!lazy) await client.ended(invocation.signal)
    for (const queue of queues) invocation.terminal.remark(`note: ${leftLine(queue)}`)
    invocation.terminal.print(
      lazy ? `${mounted} is out of sight; it ends when the last program has closed its files` : `unmounted ${mounted}`,
    )
    return 'ok'
  } catch (error) {
    if (error instanceof CommandError && error.exit === 'daemon') return undefined
    throw error
  }
}

/** Unmounts once the uploads are done; answers what is left of them. */
async function unmountWaiting(invocation: Invocation, client: ControlClient, mountpoint: string): Promise<readonly QueueInfo[]> {
  const lazy = invocation.option('lazy')
  const wait = !lazy && !invocation.option('no-wait')
  const progress = new QueueProgress(invocation.terminal)
  try {
    const result = await client.request('unmount', { lazy, mountpoint, wait }, invocation.signal, update =>
      progress.show((update as QueueUpdate).queues),
    )
    return (result as Partial<RequestResult<'unmount'>>).queues ?? []
  } finally {
    progress.end()
  }
}

function leftLine(queue: QueueInfo): string {
  const waits =
    queue.queued > 0 ? `${count(queue.queued)} changes (${bytes(queue.queuedBytes)}) wait for the next mount to be uploaded` : undefined
  const failed = queue.failed > 0 ? `${count(queue.failed)} failed (sdmount sync status says why)` : undefined
  const why = queue.state === 'offline' || queue.state === 'waiting' ? queue.lastError : undefined
  return `${printable(queue.name)}: ${[waits, failed, why].filter(part => part !== undefined).join('; ')}`
}

async function connectOrNone(library: string): Promise<ControlClient | undefined> {
  try {
    return await connectDaemon(library)
  } catch (error) {
    if (error instanceof CommandError && error.exit === 'daemon') return undefined
    throw error
  }
}

/** Where something is mounted that may have been meant. */
function others(): string {
  const mountpoints = readMounts().filter(mount => mount.type === FILESYSTEM_TYPE)
  return mountpoints.length === 0 ? '' : `; sdmount mounts are at ${mountpoints.map(mount => printable(mount.mountPoint)).join(', ')}`
}

/** The mount that this library's daemon left behind. */
function ownRemains(library: string): MountEntry | undefined {
  const source = nameOfText(library)
  return readMounts().findLast(mount => mount.type === FILESYSTEM_TYPE && mount.source === source)
}

/** Without the daemon's help: it is gone, doesn't answer, or isn't ours to ask. */
async function unmountDirectly(invocation: Invocation, mountpoint: string): Promise<ExitName> {
  const [{ unmount }, { errorKind, describeError }] = await Promise.all([import('../../fs/fuse/mount.ts'), import('../../errors.ts')])
  const state = probeMount(mountpoint)
  const dead = state === 'dead'
  if (state === 'silent' && !invocation.option('lazy')) {
    throw new CommandError('daemon', `the daemon of the mount at ${mountpoint} does not answer; sdmount umount --lazy takes the mount away`)
  }
  try {
    await unmount(mountpoint, { lazy: dead || invocation.option('lazy') })
  } catch (error) {
    if (errorKind(error) !== 'busy') throw new CommandError('unexpected', describeError(error), { cause: error })
    const users = usersOf(nameOfText(mountpoint))
    throw new CommandError(
      'busy',
      `${mountpoint} is in use${users.length > 0 ? ` by ${users.join(', ')}` : ''}; close what uses it, or say --lazy`,
    )
  }
  invocation.terminal.print(dead ? `cleared the dead mount at ${mountpoint}` : `unmounted ${mountpoint}`)
  return 'ok'
}
