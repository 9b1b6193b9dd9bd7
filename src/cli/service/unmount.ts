/**
 * Ends the mount on request. The daemon ends by itself once the mount is gone (daemon.ts).
 */
import { errorKind } from '../../errors.ts'
import { CommandError } from '../exit-codes.ts'
import { usersOf } from '../mounts.ts'
import { nameOfText } from '../names.ts'
import type { Handler } from './service.ts'

export const unmount: Handler<'unmount'> = {
  parse: given => {
    const mountpoint = given.optionalText('mountpoint')
    return { lazy: given.flag('lazy'), ...(mountpoint === undefined ? {} : { mountpoint }) }
  },
  async handle(service, given) {
    const session = service.mounted?.session
    if (!session) throw new CommandError('not-mounted', 'nothing is mounted')
    const { mountpoint } = session
    if (given.mountpoint !== undefined && given.mountpoint !== mountpoint) {
      throw new CommandError('not-mounted', `the library is mounted at ${mountpoint}, not at ${given.mountpoint}`)
    }
    try {
      await session.unmount({ lazy: given.lazy })
    } catch (error) {
      if (errorKind(error) !== 'busy') throw error
      const users = usersOf(nameOfText(mountpoint))
      const who = users.length > 0 ? ` by ${users.join(', ')}` : ''
      throw new CommandError('busy', `${mountpoint} is in use${who}; close what uses it, or run sdmount umount --lazy`)
    }
    return { mountpoint }
  },
}
