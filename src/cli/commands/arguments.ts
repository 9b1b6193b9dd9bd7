/** What many commands read from their command line: the library, an argument that must be there, a path in the tree. */
import { readlinkSync } from 'node:fs'
import { isWithin } from '../../sys/mountinfo.ts'
import type { Name } from '../../vfs/contract.ts'
import type { Invocation } from '../command.ts'
import { CommandError } from '../exit-codes.ts'
import { askLibrary } from '../library-client.ts'
import { nameOfText } from '../names.ts'
import { resolveLibrary } from '../paths.ts'
import type { CloudPath } from '../service/requests.ts'
import { printable } from '../terminal/terminal.ts'

/** The library's directory. */
export function libraryOf(invocation: Invocation): string {
  return resolveLibrary(invocation.option('library'), invocation.environment)
}

/** An argument as bytes; CommandError 'usage' when it is missing. */
export function required(invocation: Invocation, argument: string): Name {
  const value = invocation.bytes(argument)
  if (value === undefined || value === '') throw new CommandError('usage', `${argument} is missing`)
  return value
}

/**
 * A path in the tree, given as a path below the mountpoint or as it stands in the tree (`photos/2024`). The mount isn't touched:
 * `.` and `..` are resolved by their words.
 */
export async function treePath(invocation: Invocation, library: string, given: Name): Promise<CloudPath> {
  const status = await askLibrary({ library, request: 'status', arguments: {}, create: false, signal: invocation.signal })
  const mountpoint = status.mounts[0]?.mountpoint
  const here = process.platform === 'linux' ? readlinkSync('/proc/self/cwd', 'latin1') : nameOfText(process.cwd())
  const absolute = resolved(given.startsWith('/') ? given : `${here}/${given}`)
  const root = mountpoint === undefined ? undefined : nameOfText(mountpoint)
  const inside = root !== undefined && isWithin(root, absolute)
  const parts = (inside ? absolute.slice(root.length) : resolved(`/${given}`)).split('/').filter(part => part !== '')
  const volume = parts.shift()
  if (volume === undefined) throw new CommandError('usage', `${printable(given)}: name a cloud volume, or something in it`)
  if (!inside && given.startsWith('/')) throw new CommandError('usage', `${printable(given)} is not in the tree of this library`)
  return { volume, path: parts.join('/') }
}

function resolved(path: Name): Name {
  const parts: string[] = []
  for (const part of path.split('/')) {
    if (part === '..') parts.pop()
    else if (part !== '' && part !== '.') parts.push(part)
  }
  return `/${parts.join('/')}`
}
