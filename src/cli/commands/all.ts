/** All commands, in the order of the help. A new verb: its file here beside, and a line below. */
import type { Command } from '../command.ts'
import { indexCommands } from './index-verify.ts'
import { installCommands } from './install-helper.ts'
import { libraryCommands } from './library.ts'
import { locationCommands } from './location.ts'
import { mountCommands } from './mount.ts'
import { serveCommands } from './serve-webdav.ts'
import { statusCommands } from './status.ts'
import { umountCommands } from './umount.ts'

export const COMMANDS: readonly Command[] = [
  ...mountCommands,
  ...umountCommands,
  ...serveCommands,
  ...statusCommands,
  ...locationCommands,
  ...indexCommands,
  ...libraryCommands,
  ...installCommands,
]
