/**
 * What a library begins with: the user's standard folders, or a folder of its own where there are none.
 *
 * Must stay true: it happens once in a library's life, so that a user who removed all locations isn't given them again.
 */
import { mkdirSync } from 'node:fs'
import type { Index } from '../../index/contract.ts'
import type { LibraryPaths } from '../../library/layout.ts'
import { standardFolders } from '../../library/user-directories.ts'
import type { Log } from '../../log.ts'
import { isWithin } from '../../sys/mountinfo.ts'
import type { Name } from '../../vfs/contract.ts'
import { ownMountAbove } from '../mounts.ts'
import { nameOfText } from '../names.ts'
import { recordLocation } from '../service/locations.ts'
import { printable } from '../terminal/terminal.ts'

const SETTING = 'first-run'

/** Adds them; answers the lines for the user (none when it isn't the first run). */
export function firstRun(options: {
  readonly index: Index
  readonly paths: LibraryPaths
  readonly mountpoint: string
  readonly environment: NodeJS.ProcessEnv
  readonly log: Log
}): string[] {
  const { index, paths, log } = options
  if (index.setting(SETTING) !== undefined) return []
  const added: { readonly name: Name; readonly path: Name }[] = []
  if (index.volumes().length === 0) {
    const mountpoint = nameOfText(options.mountpoint)
    for (const folder of standardFolders(options.environment).map(nameOfText)) {
      if (isWithin(mountpoint, folder) || ownMountAbove(folder)) continue
      const name = folder.slice(folder.lastIndexOf('/') + 1)
      try {
        recordLocation(index, name, folder)
        added.push({ name, path: folder })
      } catch (error) {
        log.warning(`the folder ${folder} was not added`, error)
      }
    }
    if (added.length === 0) {
      mkdirSync(paths.files, { recursive: true, mode: 0o700 })
      recordLocation(index, 'Files', nameOfText(paths.files))
      added.push({ name: 'Files', path: nameOfText(paths.files) })
    }
  }
  index.setSetting(SETTING, 'done')
  index.flush('durable')
  if (added.length === 0) return []
  const width = Math.max(...added.map(({ name }) => printable(name).length))
  return [
    'First run: these folders are in the tree now:',
    ...added.map(({ name, path }) => `  ${printable(name).padEnd(width)}  ${printable(path)}`),
    'To change that: sdmount location add PATH, sdmount location remove NAME',
  ]
}
