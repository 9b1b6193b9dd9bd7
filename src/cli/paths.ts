/**
 * Paths as they are given on the command line, and what is wrong with them in words.
 *
 * Owns: making them absolute. It is loaded at every start: no system calls beyond node:fs here.
 */
import { lstatSync, readlinkSync, realpathSync, statSync } from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import { defaultLibraryDirectory } from '../library/user-directories.ts'
import type { Name } from '../vfs/contract.ts'
import { CommandError } from './exit-codes.ts'
import { insideMount, mountAt, ownMountAbove } from './mounts.ts'
import { nameOfText } from './names.ts'
import { printable } from './terminal/terminal.ts'

/**
 * The mountpoint as the kernel will name it: absolute, parents resolved. It needn't exist, and a dead mount may stand
 * there, so it isn't touched itself, unless nothing is mounted there and it is a symlink.
 */
export function resolveMountpoint(given: string, workingDirectory: string): string {
  const absolute = resolve(workingDirectory, given)
  if (absolute === '/') throw new CommandError('mountpoint', 'can not mount over the root of the filesystem')
  let parent: string
  try {
    parent = realpathSync(dirname(absolute))
  } catch (error) {
    throw new CommandError('mountpoint', `${dirname(absolute)}: ${pathProblem(error)}`)
  }
  const path = join(parent, basename(absolute))
  if (mountAt(nameOfText(path))) return path
  try {
    return lstatSync(path).isSymbolicLink() ? realpathSync(path) : path
  } catch {
    return path
  }
}

/** `S:`: what Windows mounts on. */
export function isDriveLetter(mountpoint: string): boolean {
  return /^[A-Za-z]:$/.test(mountpoint)
}

/** The library's directory: absolute, symlinks resolved where it exists. */
export function resolveLibrary(given: string | undefined, environment: NodeJS.ProcessEnv): string {
  const path = given === undefined ? defaultLibraryDirectory(environment) : resolve(process.cwd(), given)
  try {
    return realpathSync(path)
  } catch {
    return path // It is to be made, or opening it says what is wrong.
  }
}

/** A path of bytes made absolute; `..` is left to the system, which knows the symlinks. */
function absoluteBytes(path: Name): Name {
  if (path.startsWith('/')) return path
  const here = process.platform === 'linux' ? readlinkSync('/proc/self/cwd', 'latin1') : nameOfText(process.cwd())
  return `${here}/${path}`
}

/**
 * The folder that is to be a location: absolute, symlinks resolved. Throws CommandError 'location' when it isn't a folder,
 * or is inside an sdmount mount; looking at the mount table first keeps a dead mount from being touched.
 */
export function resolveFolder(given: Name): Name {
  const path = absoluteBytes(given)
  const mount = ownMountAbove(path)
  if (mount) throw insideMount(path, mount)
  try {
    // `native`: the other one takes paths apart as text.
    const resolved = realpathSync.native(Buffer.from(path, 'latin1'), 'buffer').toString('latin1')
    if (!statSync(Buffer.from(resolved, 'latin1')).isDirectory()) throw new CommandError('location', `${printable(path)} is not a folder`)
    return resolved
  } catch (error) {
    throw error instanceof CommandError ? error : new CommandError('location', `${printable(path)}: ${pathProblem(error)}`)
  }
}

/** What the system says of a path, for a person. */
export function pathProblem(error: unknown): string {
  const code = (error as NodeJS.ErrnoException).code
  if (code === 'ENOENT') return 'does not exist'
  if (code === 'EACCES') return 'you may not use it'
  if (code === 'ENOTDIR') return 'is not a folder'
  if (code === 'ENOTCONN') return 'a dead mount stands there; unmount it first (fusermount3 -u)'
  return (error as Error).message
}
