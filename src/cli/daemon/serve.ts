/**
 * The life of a mount: open the library, mount, answer until it is unmounted, give everything back.
 *
 * States: starting -> mounted -> ending -> ended. `serveMount` is the whole life, in the foreground or in the background.
 *   starting  the library's lock is held; nothing can be asked yet
 *   mounted   programs use the tree, commands are answered at the control socket
 *   ending    by an unmount (anybody's) or a signal; no new commands; what is delayed is written
 *   ended     the lock is free
 * Must stay true: whatever fails, what was begun is undone in reverse order (the stack below); a signal always ends the
 * daemon, also while programs hold files (then the mount is detached and they get errors).
 */
import { describeError, errorKind } from '../../errors.ts'
import type { Index } from '../../index/contract.ts'
import type { LibraryPaths } from '../../library/layout.ts'
import { openLibrary } from '../../library/library.ts'
import type { Log } from '../../log.ts'
import type { SecretExchange } from '../control/secrets.ts'
import { ControlServer } from '../control/server.ts'
import { CommandError } from '../exit-codes.ts'
import { isDriveLetter } from '../paths.ts'
import { openLibraryIndex } from '../service/library-index.ts'
import { changeLimits } from '../service/limits.ts'
import { locationPath, MountedTree, type MountSettings, type TreeSession } from '../service/mounted-tree.ts'
import { answer } from '../service/service.ts'
import { firstRun } from './first-run.ts'
import { checkMountpoint, clearDeadMounts } from './mountpoint.ts'

const DETACHED_WAIT_MS = 2_000

export interface DaemonSettings extends MountSettings {
  readonly library: string
  readonly nonEmpty: boolean
}

/** What the daemon tells the command that started it. */
export interface StartReporter {
  notice(line: string): void
  ready(): void
}

/** Mounts and serves until it is unmounted or `signal` is aborted. Throws what went wrong before it was ready. */
export async function serveMount(
  settings: DaemonSettings,
  options: {
    readonly openLog: (paths: LibraryPaths) => Log
    readonly environment: NodeJS.ProcessEnv
    readonly signal: AbortSignal
    readonly reporter: StartReporter
  },
): Promise<void> {
  const { reporter, signal } = options
  await using ending = new AsyncDisposableStack()
  const library = ending.use(openLibrary(settings.library, { create: true }))
  const log = options.openLog(library.paths)
  let server: ControlServer | undefined
  // After the index is closed and before the lock is free: the end of its connection tells a waiting `umount` that all is done.
  ending.defer(() => server?.close())
  const index = ending.adopt(openLibraryIndex(library, log), open => {
    open.flush('durable')
    open.close()
  })
  if (!settings.webdav && !isDriveLetter(settings.mountpoint)) await prepareMountpoint(settings, library.paths.directory, index, reporter)
  for (const line of firstRun({ index, paths: library.paths, mountpoint: settings.mountpoint, environment: options.environment, log }))
    reporter.notice(line)

  if (settings.limits) changeLimits(index, settings.limits)
  const mounted = ending.adopt(await MountedTree.open({ library, index, log, settings }), tree => tree.close())
  const session = await mountOrExplain(mounted)
  ending.defer(() => detach(session, log))
  const service = { library, index, log, mounted, exchange: secretExchange() }
  server = await ControlServer.listen(
    library.paths.socket,
    (request, context) => answer(service, request.request, request.arguments, context),
    log,
  )
  for (const line of session.notices ?? []) reporter.notice(line)
  log.info(`mounted at ${session.mountpoint}`)
  reporter.ready()

  await Promise.race([session.ended, unmountOnSignal(session, signal, log)])
  log.info('unmounted')
  await server.stopAnswering()
}

/** One for the daemon's life, made when the first secret is to come. */
function secretExchange(): () => Promise<SecretExchange> {
  let made: Promise<SecretExchange> | undefined
  return () => (made ??= import('../control/secrets.ts').then(({ SecretExchange }) => new SecretExchange()))
}

/** Clears what a killed daemon left, and checks that the folder can be mounted on. */
async function prepareMountpoint(settings: DaemonSettings, library: string, index: Index, reporter: StartReporter): Promise<void> {
  const { mountpoint, nonEmpty } = settings
  if ((await clearDeadMounts(mountpoint)) > 0) reporter.notice(`cleared the dead mount that was left at ${mountpoint}`)
  const locations = index
    .volumes()
    .filter(record => record.kind === 'location')
    .map(locationPath)
  checkMountpoint(mountpoint, { nonEmpty, library, locations })
}

async function mountOrExplain(mounted: MountedTree): Promise<TreeSession> {
  try {
    return await mounted.mount()
  } catch (error) {
    if (error instanceof CommandError) throw error
    const exit = errorKind(error) === 'not-supported' ? 'requirement' : 'mount'
    throw new CommandError(exit, `can't mount at ${mounted.settings.mountpoint}: ${describeError(error)}`, { cause: error })
  }
}

/** Resolves when a signal came and the mount is out of sight. */
function unmountOnSignal(session: TreeSession, signal: AbortSignal, log: Log): Promise<void> {
  return new Promise(resolve => {
    const end = async () => {
      log.info('asked to end by a signal')
      try {
        await session.unmount({ lazy: false })
      } catch (error) {
        if (errorKind(error) !== 'busy') log.warning('unmount', error)
        else log.warning('programs still use the mount: it is detached, they will get errors')
      }
      resolve()
    }
    if (signal.aborted) void end()
    else signal.addEventListener('abort', () => void end(), { once: true })
  })
}

/** Leaves no mount behind: detaches what is still there and gives the kernel a moment to say so. */
async function detach(session: TreeSession, log: Log): Promise<void> {
  let over = false
  const ended = session.ended.then(() => {
    over = true
  })
  await Promise.resolve()
  if (!over) {
    try {
      await session.unmount({ lazy: true })
    } catch (error) {
      log.debug(`detach: ${describeError(error)}`)
    }
  }
  let timer: NodeJS.Timeout | undefined
  await Promise.race([
    ended,
    new Promise(resolve => {
      timer = setTimeout(resolve, DETACHED_WAIT_MS)
    }),
  ])
  clearTimeout(timer)
}
