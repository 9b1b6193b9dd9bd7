/**
 * The exit codes of the command line, and the error that carries one.
 *
 * Owns: the numbers. They are promised to scripts: a number is never reused or changed, new ones are added at the end.
 * docs/exit-codes.md is made from this table (scripts/generate-docs.ts).
 */
import { errorKind } from '../errors.ts'

interface ExitCode {
  readonly code: number
  readonly means: string
}

export const EXIT_CODES = {
  ok: { code: 0, means: 'Done. Also: it was mounted there already.' },
  unexpected: { code: 1, means: 'An error that has no number of its own; the line printed says more.' },
  usage: { code: 2, means: 'The command line is wrong: an unknown option or command, a missing argument.' },
  'no-library': { code: 3, means: 'There is no library in that directory.' },
  'library-in-use': { code: 4, means: 'Another process holds the library; its process id is printed.' },
  'library-unusable': {
    code: 5,
    means: 'The library is damaged, made by a newer version, its key is missing, or its directory cannot be used.',
  },
  mountpoint: { code: 6, means: 'The mountpoint is not a folder, is not empty, or collides with a location or another mount.' },
  mount: { code: 7, means: 'The system refused to mount.' },
  'mounted-elsewhere': { code: 8, means: 'The library is mounted already, at another mountpoint.' },
  'not-mounted': { code: 9, means: 'There is nothing to unmount, or the command needs a mounted library.' },
  busy: { code: 10, means: 'Programs still use the mount.' },
  location: { code: 11, means: 'The folder cannot be a location: it is missing, not a folder, inside a mount, or its name is taken.' },
  'no-location': { code: 12, means: 'There is no location of that name.' },
  differences: { code: 13, means: '`index verify` found differences.' },
  daemon: { code: 14, means: 'The background process does not answer, or ended while it was being waited for.' },
  requirement: { code: 15, means: 'Something that sdmount needs is missing: a newer Node.js, fuse3, a package.' },
  webdav: { code: 16, means: 'The WebDAV server could not be started: its port is taken, its certificate cannot be read.' },
  volume: {
    code: 17,
    means: 'The bucket cannot be a volume, or the volume cannot do this: there is no such bucket, its name is taken, it is read-only.',
  },
  'no-volume': { code: 18, means: 'There is no cloud volume of that name.' },
  credentials: { code: 19, means: 'There are no keys for the bucket, or the server refuses them.' },
  unreachable: { code: 20, means: 'The server of the bucket cannot be reached.' },
  uploads: { code: 21, means: 'Changes are not in the bucket yet: they wait, or they failed.' },
  cache: { code: 22, means: 'The block cache has no room for what is to be pinned, or another process holds it.' },
  vault: {
    code: 23,
    means:
      'The vault cannot do this: it is in use elsewhere, closed, damaged, made by a newer version, or its folder or name cannot be taken.',
  },
  'no-vault': { code: 24, means: 'There is no vault of that name, or none in that folder.' },
  passphrase: { code: 25, means: 'The passphrase or the recovery key is wrong, or there is none where it was looked for.' },
  'vault-damage': { code: 26, means: '`vault check` found damage.' },
  interrupted: { code: 130, means: 'Interrupted by Ctrl-C or a signal.' },
} as const satisfies Record<string, ExitCode>

export type ExitName = keyof typeof EXIT_CODES

export function isExitName(value: unknown): value is ExitName {
  return typeof value === 'string' && Object.hasOwn(EXIT_CODES, value)
}

/** A command failed in a way that has a number: the message is the one line that the user sees. */
export class CommandError extends Error {
  readonly exit: ExitName

  constructor(exit: ExitName, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'CommandError'
    this.exit = exit
  }
}

/** The exit that says best what an error was. */
export function exitOf(error: unknown): ExitName {
  if (error instanceof CommandError) return error.exit
  return errorKind(error) === 'busy' ? 'busy' : 'unexpected'
}
