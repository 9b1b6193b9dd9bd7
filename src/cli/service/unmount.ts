/**
 * Ends the mount on request. The daemon ends by itself once the mount is gone (daemon/serve.ts).
 *
 * Uploads are waited for while the tree is still there, so that who interrupts the wait has lost nothing. What can't go on now
 * (a server that is away, or that refuses) isn't waited for: it goes on with the next mount.
 */
import { errorKind } from '../../errors.ts'
import { CommandError } from '../exit-codes.ts'
import { usersOf } from '../mounts.ts'
import { nameOfText } from '../names.ts'
import type { QueueInfo } from './requests.ts'
import type { Handler } from './service.ts'

export const unmount: Handler<'unmount'> = {
  parse: given => {
    const mountpoint = given.optionalText('mountpoint')
    return { lazy: given.flag('lazy'), wait: given.flag('wait'), ...(mountpoint === undefined ? {} : { mountpoint }) }
  },
  async handle(service, given, context) {
    const session = service.mounted?.session
    if (!session) throw new CommandError('not-mounted', 'nothing is mounted')
    const { mountpoint } = session
    if (given.mountpoint !== undefined && given.mountpoint !== mountpoint) {
      throw new CommandError('not-mounted', `the library is mounted at ${mountpoint}, not at ${given.mountpoint}`)
    }
    const clouds = service.index.volumes().filter(record => record.kind === 'cloud')
    let queues: readonly QueueInfo[] = []
    if (clouds.length > 0) {
      // Not after a long wait.
      const users = given.lazy ? [] : usersOf(nameOfText(mountpoint))
      if (users.length > 0) throw inUse(mountpoint, users)
      const { queuesOf, uploadsDone } = await import('./upload-queue.ts')
      queues = given.wait ? await uploadsDone(service, clouds, context, { leaveOffline: true }) : queuesOf(service, clouds, 0)
    }
    try {
      await session.unmount({ lazy: given.lazy })
    } catch (error) {
      if (errorKind(error) !== 'busy') throw error
      throw inUse(mountpoint, usersOf(nameOfText(mountpoint)))
    }
    return { mountpoint, queues: queues.filter(queue => queue.queued + queue.failed > 0) }
  },
}

function inUse(mountpoint: string, users: readonly string[]): CommandError {
  const who = users.length > 0 ? ` by ${users.join(', ')}` : ''
  return new CommandError('busy', `${mountpoint} is in use${who}; close what uses it, or run sdmount umount --lazy`)
}
