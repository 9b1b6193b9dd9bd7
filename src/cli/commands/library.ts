/** sdmount library key: where the library's key is kept. */
import type { Command } from '../command.ts'
import { CommandError } from '../exit-codes.ts'
import { resolveLibrary } from '../paths.ts'

const key: Command = {
  words: ['library', 'key'],
  summary: 'say where the key of the library is kept, or move it',
  description: `Everything that the library keeps on disk is sealed with its key. The key is in the file \`key\` of the library's
directory (mode 0600), which is the safest against losing it: whoever has the directory has the whole library, and
whoever copies the directory has a backup of it.

\`library key keyring\` moves it into the system's keyring (Secret Service on Linux, the Keychain on macOS), so that a
copy of the directory alone can't be read. It moves only after it was read back from there. Without that keyring the
library can't be opened: back the keyring up, or move the key back with \`library key file\` before you reinstall.`,
  arguments: [{ name: 'store', required: false, help: '`file` or `keyring`: where to keep it from now on' }],
  options: ['library'],
  examples: [
    { line: 'sdmount library key', does: 'prints file or keyring' },
    { line: 'sdmount library key keyring', does: 'keep it in the keyring of the system' },
  ],
  async run(invocation) {
    const store = invocation.text('store')
    if (store !== undefined && store !== 'file' && store !== 'keyring') throw new CommandError('usage', `"${store}": say file or keyring`)
    const [{ openLibrary }, { keyStore, moveKey }] = await Promise.all([import('../../library/library.ts'), import('../../library/key.ts')])
    const directory = resolveLibrary(invocation.option('library'), invocation.environment)
    if (store === undefined) {
      const { libraryExists, libraryPaths } = await import('../../library/layout.ts')
      if (!libraryExists(directory)) throw new CommandError('no-library', `there is no library in ${directory}`)
      invocation.terminal.print(keyStore(libraryPaths(directory).key))
      return 'ok'
    }
    using library = openLibrary(directory, { create: false })
    moveKey(library.paths.key, store)
    invocation.terminal.print(`the key is kept in the ${store} now`)
    return 'ok'
  },
}

export const libraryCommands: readonly Command[] = [key]
