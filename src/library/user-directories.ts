/**
 * Where a user's things are by the XDG rules: the data home, and the standard folders (Documents, Pictures, ...).
 *
 * Owns: the reading of user-dirs.dirs. Must stay true: a folder that is the home directory itself isn't a standard
 * folder (that is how the file says "none").
 */
import { readFileSync, realpathSync, statSync } from 'node:fs'
import { homedir } from 'node:os'
import { isAbsolute, join } from 'node:path'

type Environment = Readonly<Record<string, string | undefined>>

/** The order in which they are shown. */
const STANDARD = [
  ['DESKTOP', 'Desktop'],
  ['DOCUMENTS', 'Documents'],
  ['DOWNLOAD', 'Downloads'],
  ['MUSIC', 'Music'],
  ['PICTURES', 'Pictures'],
  ['VIDEOS', 'Videos'],
] as const

export function homeDirectory(environment: Environment): string {
  return environment.HOME && isAbsolute(environment.HOME) ? environment.HOME : homedir()
}

/** The library that is used when none is named. */
export function defaultLibraryDirectory(environment: Environment, platform: string = process.platform): string {
  const home = homeDirectory(environment)
  const xdg = environment.XDG_DATA_HOME
  if (xdg && isAbsolute(xdg)) return join(xdg, 'sdmount')
  return platform === 'darwin' ? join(home, 'Library', 'Application Support', 'sdmount') : join(home, '.local', 'share', 'sdmount')
}

/** The standard folders that exist, each once, resolved. Relative or odd lines of the file are passed over. */
export function standardFolders(environment: Environment): string[] {
  const home = homeDirectory(environment)
  const configured = readUserDirectories(environment, home)
  const found: string[] = []
  const homeReal = existingFolder(home)
  for (const [key, fallback] of STANDARD) {
    const folder = existingFolder(configured.get(key) ?? join(home, fallback))
    if (folder !== undefined && folder !== homeReal && !found.includes(folder)) found.push(folder)
  }
  return found
}

/** Lines like XDG_MUSIC_DIR="$HOME/Music"; the value is absolute or below $HOME, with backslash escapes. */
function readUserDirectories(environment: Environment, home: string): Map<string, string> {
  const config =
    environment.XDG_CONFIG_HOME && isAbsolute(environment.XDG_CONFIG_HOME) ? environment.XDG_CONFIG_HOME : join(home, '.config')
  const folders = new Map<string, string>()
  let text: string
  try {
    text = readFileSync(join(config, 'user-dirs.dirs'), 'utf8')
  } catch {
    return folders // Most systems without a desktop have none: then the usual names count.
  }
  for (const line of text.split('\n')) {
    const match = /^\s*XDG_([A-Z]+)_DIR\s*=\s*"((?:[^"\\]|\\.)*)"\s*$/.exec(line)
    if (!match) continue
    const value = match[2]!.replace(/\\(.)/g, '$1')
    if (value === '$HOME' || value.startsWith('$HOME/')) folders.set(match[1]!, join(home, value.slice('$HOME'.length)))
    else if (isAbsolute(value)) folders.set(match[1]!, value)
  }
  return folders
}

function existingFolder(path: string): string | undefined {
  try {
    return statSync(path).isDirectory() ? realpathSync(path) : undefined
  } catch {
    return undefined
  }
}
