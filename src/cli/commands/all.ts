/** All commands, in the order of the help. A new verb: its file here beside, and a line below. */
import type { Command } from '../command.ts'
import { cacheCommands } from './cache.ts'
import { indexCommands } from './index-verify.ts'
import { installCommands } from './install-helper.ts'
import { libraryCommands } from './library.ts'
import { limitsCommands } from './limits.ts'
import { locationCommands } from './location.ts'
import { mountCommands } from './mount.ts'
import { serveCommands } from './serve-webdav.ts'
import { statusCommands } from './status.ts'
import { syncCommands } from './sync.ts'
import { umountCommands } from './umount.ts'
import { vaultCommands } from './vault.ts'
import { vaultKeyCommands } from './vault-keys.ts'
import { vaultWorkCommands } from './vault-work.ts'
import { volumeCommands } from './volume.ts'
import { volumeAddCommands } from './volume-add.ts'

export const COMMANDS: readonly Command[] = [
  ...mountCommands,
  ...umountCommands,
  ...serveCommands,
  ...statusCommands,
  ...locationCommands,
  ...volumeAddCommands,
  ...volumeCommands,
  ...cacheCommands,
  ...syncCommands,
  ...limitsCommands,
  ...vaultCommands,
  ...vaultKeyCommands,
  ...vaultWorkCommands,
  ...indexCommands,
  ...libraryCommands,
  ...installCommands,
]
