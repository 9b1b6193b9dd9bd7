/** sdmount serve webdav: the tree over WebDAV, beside a mount or by itself. */
import { readFileSync } from 'node:fs'
import type { LogLevel } from '../../log.ts'
import type { Command, Invocation } from '../command.ts'
import type { DaemonSettings } from '../daemon/serve.ts'
import { CommandError, type ExitName } from '../exit-codes.ts'
import { connectDaemon, whenFree } from '../library-client.ts'
import { resolveLibrary } from '../paths.ts'
import type { WebdavSettings } from '../service/webdav.ts'

const serveWebdav: Command = {
  words: ['serve', 'webdav'],
  summary: 'serve the tree over WebDAV, to Explorer, Finder, rclone and browsers',
  description: `Serves the whole tree over WebDAV (class 1, 2 and 3) and returns when clients can connect; a background process does
it. Where the library is mounted, the process of the mount serves it too: what is changed over one is seen through the
other at once, and locks of one are respected by the other.

It listens on this machine alone unless \`--listen\` says otherwise; then there is TLS, by the certificate of \`--cert\`
and \`--key\` or by one that is made once (compare its fingerprint, which is printed, when a client asks), and always a
password. Passwords go by Digest, or by Basic over TLS and on this machine. Without \`--password-file\` one is made and
printed. A browser that opens the address sees a plain listing.

What Finder and Explorer strew about (\`.DS_Store\`, \`._*\`, \`Thumbs.db\`, \`desktop.ini\`, ...) is not kept on cloud
volumes unless \`--keep-clutter\` says so. It ends with \`sdmount umount\`, or with the mount.`,
  arguments: [],
  options: [
    'library',
    'listen',
    'user',
    'password-file',
    'anonymous',
    'read-only',
    'cert',
    'key',
    'keep-clutter',
    'foreground',
    'log-level',
  ],
  examples: [
    { line: 'sdmount serve webdav', does: 'on this machine, with a password that is printed' },
    { line: 'sdmount serve webdav --user ann --password-file ~/.dav-password --listen 0.0.0.0:4918', does: 'to others, over TLS' },
    { line: 'sdmount serve webdav --anonymous --read-only --foreground', does: 'to anybody on this machine, until Ctrl-C' },
  ],
  async run(invocation) {
    const settings = readSettings(invocation)
    return await whenFree<ExitName>(invocation.signal, async () => {
      if (await servedByDaemon(invocation, settings)) return 'ok'
      return invocation.option('foreground') ? await serveInForeground(invocation, settings) : await serveInBackground(invocation, settings)
    })
  },
}

export const serveCommands: readonly Command[] = [serveWebdav]

function readSettings(invocation: Invocation): DaemonSettings {
  const library = resolveLibrary(invocation.option('library'), invocation.environment)
  const readOnly = invocation.option('read-only')
  const { host, port } = parseListen(invocation.option('listen') ?? '')
  const anonymous = invocation.option('anonymous')
  const passwordFile = invocation.option('password-file')
  if (anonymous && (passwordFile !== undefined || invocation.option('user') !== undefined)) {
    throw new CommandError('usage', '--anonymous and a user or password contradict each other')
  }
  const webdav: WebdavSettings = {
    host,
    port,
    anonymous,
    readOnly,
    user: invocation.option('user'),
    password: passwordFile === undefined ? undefined : readPassword(passwordFile),
    cert: invocation.option('cert'),
    key: invocation.option('key'),
    keepClutter: invocation.option('keep-clutter'),
  }
  // Not a path: nothing is mounted.
  const unmounted = { mountpoint: 'webdav', allowOther: false, flags: [], nonEmpty: false, sourceName: library, driver: 'auto' } as const
  return { ...unmounted, library, readOnly, webdav }
}

/** `ADDRESS:PORT`, `[IPV6]:PORT`, `:PORT` or `ADDRESS`. */
export function parseListen(text: string): { readonly host: string; readonly port: number } {
  const match = /^(?:\[([0-9a-f:.]+)\]|([^:[\]]*))(?::(\d{1,5}))?$/i.exec(text)
  const port = Number(match?.[3] ?? 4918)
  if (!match || text === '' || port > 65_535)
    throw new CommandError('usage', `--listen ${text}: say ADDRESS:PORT, as in 127.0.0.1:4918 or [::1]:4918`)
  return { host: match[1] ?? (match[2] || '127.0.0.1'), port }
}

function readPassword(path: string): string {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    throw new CommandError('usage', `can't read the password in ${path}: ${(error as Error).message}`)
  }
  const password = text.split('\n', 1)[0]!.replace(/\r$/, '')
  if (password === '') throw new CommandError('usage', `the first line of ${path} is empty: it must hold the password`)
  return password
}

/** Where the library has a daemon, that serves: true when it does now. */
async function servedByDaemon(invocation: Invocation, settings: DaemonSettings): Promise<boolean> {
  using client = await connectDaemon(settings.library)
  if (!client) return false
  const { lines } = (await client.request('webdav.start', { settings: { ...settings.webdav! } }, invocation.signal, () => {})) as {
    readonly lines: readonly string[]
  }
  for (const line of lines) invocation.terminal.print(line)
  return true
}

async function serveInBackground({ option, terminal, signal }: Invocation, settings: DaemonSettings): Promise<ExitName> {
  const { launchDaemon } = await import('../daemon/launch.ts')
  await launchDaemon({ settings, logLevel: option('log-level') as LogLevel }, { signal, notice: line => terminal.print(line) })
  return 'ok'
}

async function serveInForeground({ option, terminal, signal, environment }: Invocation, settings: DaemonSettings): Promise<ExitName> {
  const [{ serveMount }, { createLog }] = await Promise.all([import('../daemon/serve.ts'), import('../../log.ts')])
  await serveMount(settings, {
    openLog: () => createLog(line => terminal.remark(line.trimEnd()), option('log-level') as LogLevel),
    environment,
    signal,
    reporter: { notice: line => terminal.print(line), ready: () => terminal.print('Ctrl-C ends it') },
  })
  return 'ok'
}
