/** Starts a WebDAV server in the daemon of a library. Owns: the checking of what came over the socket. */
import { CommandError } from '../exit-codes.ts'
import type { Handler } from './service.ts'
import type { WebdavSettings } from './webdav.ts'

export const startWebdav: Handler<'webdav.start'> = {
  parse: given => ({ settings: parseSettings(given.record('settings')) }),
  async handle(service, { settings }) {
    if (!service.mounted) throw new CommandError('not-mounted', 'nothing is mounted')
    const session = await service.mounted.webdav.serve(settings)
    service.log.info(`webdav: serving at ${session.mountpoint}`)
    return { lines: session.notices }
  },
}

function parseSettings(given: Readonly<Record<string, unknown>>): WebdavSettings {
  const text = (key: string) => {
    const value = given[key]
    if (value === undefined || value === null) return undefined
    if (typeof value !== 'string') throw new CommandError('daemon', `the request's "${key}" is not text`)
    return value
  }
  const { port } = given
  const host = text('host')
  if (host === undefined || typeof port !== 'number' || !Number.isInteger(port) || port < 0 || port > 65_535) {
    throw new CommandError('daemon', 'the request does not say where to listen')
  }
  return {
    host,
    port,
    user: text('user'),
    password: text('password'),
    cert: text('cert'),
    key: text('key'),
    anonymous: given.anonymous === true,
    readOnly: given.readOnly === true,
    keepClutter: given.keepClutter === true,
  }
}
