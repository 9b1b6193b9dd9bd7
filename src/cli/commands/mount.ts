/** sdmount MOUNTPOINT: mounts a library, in the background or in the foreground. */
import { existsSync } from 'node:fs'
import type { LogLevel } from '../../log.ts'
import type { Command, Invocation } from '../command.ts'
import type { DaemonSettings } from '../daemon/serve.ts'
import { CommandError, EXIT_CODES, type ExitName } from '../exit-codes.ts'
import { connectDaemon, whenFree } from '../library-client.ts'
import { parseMountOptions } from '../mount-options.ts'
import { mountAt } from '../mounts.ts'
import { nameOfText } from '../names.ts'
import { PASSPHRASE_OPTIONS } from '../passphrase-options.ts'
import { isDriveLetter, resolveLibrary, resolveMountpoint } from '../paths.ts'
import type { LibraryStatus } from '../service/requests.ts'
import { LIMIT_OPTIONS, limitChanges } from './limits.ts'
import { MountedVaults } from './mounted-vaults.ts'

const mount: Command = {
  words: [],
  summary: 'mount the library: every location is a folder of the tree',
  description: `Mounts the library at MOUNTPOINT and returns when the tree is ready; a background process serves it. The folder is
made when it is missing. Mounting again what is mounted already says so and succeeds. A library is mounted at one
place at a time.

The first time, the tree gets those of your standard folders that exist (Documents, Pictures, ...), or a folder
\`Files\` in the library's own directory where there are none; what it added is printed.

With \`--webdav\` the system's own WebDAV client shows the tree instead of FUSE (davfs2 or the desktop on Linux,
mount_webdav on macOS, which is also taken where no macFUSE is installed; a drive letter on Windows).

With \`--vault NAME\` the passphrase of that vault is asked for, and it is open when the command returns; several times for several.

It ends with \`sdmount umount\`, \`umount\`, \`fusermount3 -u\`, or a SIGTERM to the background process. After a crash
or a \`kill -9\` the next \`sdmount\` clears what is left.`,
  arguments: [{ name: 'mountpoint', required: true, help: 'an empty folder, or one to be made' }],
  options: [
    'library',
    'read-only',
    'allow-other',
    'option',
    'webdav',
    'foreground',
    'driver',
    ...LIMIT_OPTIONS,
    'vault',
    'lock-after',
    ...PASSPHRASE_OPTIONS,
    'log-level',
  ],
  examples: [
    { line: 'sdmount ~/Spacedrive', does: 'mount the default library' },
    { line: 'sdmount ~/Spacedrive --vault Private', does: 'with a vault, whose passphrase is asked for' },
    { line: 'sdmount S:', does: 'on Windows: as the network drive S:' },
    { line: 'sdmount --foreground -r /mnt/files', does: 'read-only, until Ctrl-C' },
    { line: 'sdmount --library /srv/photos -o allow_other,noexec /mnt/photos', does: 'another library, for all users' },
  ],
  async run(invocation) {
    const settings = readSettings(invocation)
    const logLevel = invocation.option('log-level') as LogLevel
    if (!invocation.option('foreground')) return await mountInBackground(invocation, settings, logLevel)
    return await mountInForeground(invocation, settings, logLevel)
  },
}

export const mountCommands: readonly Command[] = [mount]

function readSettings(invocation: Invocation): DaemonSettings {
  const options = parseMountOptions(invocation.option('option'))
  const given = invocation.text('mountpoint') ?? ''
  const drive = isDriveLetter(given) && process.platform === 'win32'
  const mountpoint = drive ? given : resolveMountpoint(given, process.cwd())
  if (!drive) refuseMistypedVerb(given, mountpoint)
  const library = resolveLibrary(options.library ?? invocation.option('library'), invocation.environment)
  return {
    library,
    mountpoint,
    readOnly: invocation.option('read-only') || options.readOnly,
    // What root mounts is for everybody, as far as the permission bits say.
    allowOther: invocation.option('allow-other') || options.allowOther || process.getuid?.() === 0,
    flags: options.flags,
    nonEmpty: options.nonEmpty,
    sourceName: options.sourceName ?? library,
    driver: invocation.option('driver'),
    drive: drive || invocation.option('webdav'),
    limits: limitChanges(invocation),
  }
}

/** `sdmount statsu` must not make a folder of that name. */
function refuseMistypedVerb(given: string, mountpoint: string): void {
  if (given.includes('/') || mountAt(nameOfText(mountpoint))) return
  if (!existsSync(mountpoint)) {
    throw new CommandError(
      'usage',
      `"${given}" is neither a command nor a folder here; sdmount --help lists the commands, ./${given} makes the folder`,
    )
  }
}

async function mountInBackground(invocation: Invocation, settings: DaemonSettings, logLevel: LogLevel): Promise<ExitName> {
  const { terminal, signal } = invocation
  const vaults = await MountedVaults.prepare(invocation, settings.library)
  await whenFree(signal, async () => {
    if (await isMountedAlready(invocation, settings)) return
    const { launchDaemon } = await import('../daemon/launch.ts')
    await launchDaemon({ settings, logLevel }, { signal, notice: line => terminal.print(line) })
    terminal.print(`mounted at ${settings.mountpoint}`)
  })
  await vaults.open()
  return 'ok'
}

async function mountInForeground(invocation: Invocation, settings: DaemonSettings, logLevel: LogLevel): Promise<ExitName> {
  const { terminal, signal } = invocation
  await becomeServer(invocation)
  const [{ serveMount }, { endProcess, noCoreDumps }, { createLog }, { describeError }] = await Promise.all([
    import('../daemon/serve.ts'),
    import('../daemon/process.ts'),
    import('../../log.ts'),
    import('../../errors.ts'),
  ])
  noCoreDumps()
  const vaults = await MountedVaults.prepare(invocation, settings.library)
  const ready = () => {
    terminal.print(`mounted at ${settings.mountpoint}; Ctrl-C ends it`)
    vaults.open().catch(error => terminal.remark(`sdmount: ${describeError(error)}`))
  }
  return await whenFree<ExitName>(signal, async () => {
    if (await isMountedAlready(invocation, settings)) {
      await vaults.open()
      return 'ok'
    }
    await serveMount(settings, {
      openLog: () => createLog(line => terminal.remark(line.trimEnd()), logLevel),
      environment: invocation.environment,
      signal,
      reporter: { notice: line => terminal.print(line), ready },
    })
    return endProcess(EXIT_CODES.ok.code)
  })
}

/** Some of Node's settings can only be given at the start: the process starts over with them, as itself. */
async function becomeServer(invocation: Invocation): Promise<void> {
  const { SERVING_FLAGS, servingEnvironment } = await import('../daemon/node-settings.ts')
  if (process.platform === 'win32' || SERVING_FLAGS.every(flag => process.execArgv.includes(flag))) return
  const environment = servingEnvironment(invocation.environment)
  process.execve!(process.execPath, [process.execPath, ...SERVING_FLAGS, ...process.argv.slice(1)], environment)
}

/** The library has a daemon: fine when it is mounted where it is wanted, an error when it is elsewhere. */
async function isMountedAlready(invocation: Invocation, settings: DaemonSettings): Promise<boolean> {
  using client = await connectDaemon(settings.library)
  if (!client) return false
  const status = (await client.request('status', {}, invocation.signal, () => {})) as LibraryStatus
  const mountpoint = status.mounts[0]?.mountpoint
  if (mountpoint === undefined) return false
  // An address, not a path: it is served and not mounted.
  if (mountpoint.includes('://')) {
    throw new CommandError(
      'mounted-elsewhere',
      `the library is served at ${mountpoint}: run sdmount umount first, then mount, then serve it again`,
    )
  }
  if (!isDriveLetter(mountpoint) && !mountAt(nameOfText(mountpoint))) {
    throw new CommandError(
      'library-in-use',
      `programs still have files open from a mount at ${mountpoint} that was detached; close them, or end process ${status.daemon?.pid}`,
    )
  }
  if (mountpoint !== settings.mountpoint) {
    throw new CommandError(
      'mounted-elsewhere',
      `the library is mounted at ${mountpoint} already, and can be at one place at a time: run sdmount umount first`,
    )
  }
  const changes = settings.limits ?? {}
  if (Object.keys(changes).length > 0) await client.request('limits', { changes }, invocation.signal, () => {})
  invocation.terminal.print(`mounted at ${mountpoint} already`)
  return true
}
