/** sdmount install-helper: makes `mount -t fuse.sdmount` and fstab work. */
import { chmodSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { Command } from '../command.ts'
import { CommandError } from '../exit-codes.ts'

/** Where mount(8) looks for the helpers of filesystem types. */
const HELPER = '/sbin/mount.fuse.sdmount'

const installHelper: Command = {
  words: ['install-helper'],
  summary: 'let mount(8) and fstab mount libraries (as root)',
  description: `Writes ${HELPER}, with which mount(8) mounts a library: \`mount -t fuse.sdmount LIBRARY MOUNTPOINT\`,
or by a line in /etc/fstab:

\`\`\`
/srv/library  /mnt/files  fuse.sdmount  noauto,user,noexec  0  0
/home/ann/.local/share/sdmount  /home/ann/Spacedrive  fuse.sdmount  setuid=ann,nofail,_netdev  0  0
\`\`\`

The first field is the library's directory (\`default\` is that of the user who mounts). \`setuid=USER\` mounts as that
user. The helper calls this very sdmount, so run the command again after moving it. \`--remove\` takes it away.`,
  arguments: [],
  options: ['remove'],
  examples: [{ line: 'sudo sdmount install-helper', does: `writes ${HELPER}` }],
  async run(invocation) {
    if (process.platform !== 'linux') throw new CommandError('requirement', 'mount helpers are a Linux thing')
    try {
      if (invocation.option('remove')) {
        rmSync(HELPER, { force: true })
        invocation.terminal.print(`removed ${HELPER}`)
        return 'ok'
      }
      const template = readFileSync(new URL('../../../scripts/mount.fuse.sdmount', import.meta.url), 'utf8')
      const launcher = fileURLToPath(new URL('../../../bin/sdmount.mjs', import.meta.url))
      const text = template.replace('@NODE@', shellQuoted(process.execPath)).replace('@SDMOUNT@', shellQuoted(launcher))
      // Whole or not at all: mount(8) may run it at any time.
      const temporary = `${HELPER}.new`
      writeFileSync(temporary, text, { mode: 0o755 })
      chmodSync(temporary, 0o755)
      renameSync(temporary, HELPER)
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code
      throw new CommandError('unexpected', code === 'EACCES' ? `${HELPER} can only be written by root: use sudo` : (error as Error).message)
    }
    invocation.terminal.print(`wrote ${HELPER}: mount -t fuse.sdmount LIBRARY MOUNTPOINT works now`)
    return 'ok'
  },
}

export const installCommands: readonly Command[] = [installHelper]

function shellQuoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`
}
