/**
 * The tree as a drive of this machine, by the system's own WebDAV client.
 *
 * Owns: a server for this one client (loopback, any port, a password made for it) and the mapping. Must stay true: what
 * was begun is undone when a later step fails; `unmount` takes the mapping away before the server ends, so that the system
 * doesn't wait for one that is gone; when somebody else took it away (umount(8), "Eject"), the server ends by itself.
 */
import { randomBytes } from 'node:crypto'
import { FsError } from '../../errors.ts'
import { serveWebdav, type WebdavOptions, type WebdavServer } from './server.ts'
import {
  type ClientPlatform,
  lookStep,
  type Mapping,
  mapSteps,
  type RunStep,
  runStep,
  runSteps,
  type Step,
  StepFailed,
  unmapSteps,
  WINDOWS_LIMITS_QUERY,
  windowsAdvice,
} from './system-client.ts'

export interface DriveOptions extends Omit<WebdavOptions, 'host' | 'port' | 'credentials' | 'anonymous' | 'schemes' | 'tls'> {
  /** A drive letter with its colon on Windows, a directory elsewhere. */
  readonly target: string
  readonly label: string
  readonly platform: ClientPlatform
  readonly isRoot: boolean
  readonly signal: AbortSignal
  /** For tests. */
  readonly run?: RunStep
  /** How often it is looked whether the drive is still there. */
  readonly lookMs?: number
}

const LOOK_MS = 10_000

export interface Drive {
  readonly server: WebdavServer
  /** What the user should be told once. */
  readonly notices: readonly string[]
  /** Throws 'busy' when the system says that programs use it; with `force` it is taken away from them. */
  unmount(force?: boolean): Promise<void>
}

/** Serves and maps; answers when programs can use it. Throws 'not-supported' when the system has no client that does it. */
export async function mapDrive(options: DriveOptions): Promise<Drive> {
  const { target, label, platform, isRoot, signal, run = runStep, lookMs = LOOK_MS, ...rest } = options
  const credentials = { user: 'sdmount', password: randomBytes(18).toString('base64url') }
  const server = await serveWebdav({ ...rest, host: '127.0.0.1', port: 0, credentials })
  const mapping: Mapping = { url: server.url, ...credentials, target, label }
  try {
    await runSteps(mapSteps(platform, mapping, isRoot), signal, run)
    const isGone = lookFor(mapping, platform, isRoot, run)
    const told = await notices(mapping, platform, isRoot, signal, run)
    endWithDrive(server, isGone, lookMs)
    return { server, notices: told, unmount: force => unmap(server, unmapSteps(platform, mapping, isRoot, force), isGone, run) }
  } catch (error) {
    await server.close()
    throw error instanceof StepFailed
      ? new FsError('not-supported', explain(error, platform, isRoot), { operation: 'mount', cause: error })
      : error
  }
}

async function unmap(server: WebdavServer, steps: readonly Step[], isGone: () => Promise<boolean>, run: RunStep): Promise<void> {
  try {
    await runSteps(steps, new AbortController().signal, run)
  } catch (error) {
    if (!(error instanceof StepFailed)) throw error
    if (!(await isGone())) throw new FsError('busy', error.message, { operation: 'unmount', cause: error })
  }
  await server.close()
}

function lookFor(mapping: Mapping, platform: ClientPlatform, isRoot: boolean, run: RunStep): () => Promise<boolean> {
  const { step, saysGone } = lookStep(platform, mapping, isRoot)
  return async () => saysGone(await run(step, new AbortController().signal))
}

/** Ends the server when the drive is gone. A look that fails says nothing. */
function endWithDrive(server: WebdavServer, isGone: () => Promise<boolean>, lookMs: number): void {
  let ended = false
  const look = async () => {
    if (ended) return
    if (await isGone().catch(() => false)) await server.close()
    else timer = setTimeout(look, lookMs).unref()
  }
  let timer = setTimeout(look, lookMs).unref()
  void server.ended
    .catch(() => {})
    .then(() => {
      ended = true
      clearTimeout(timer)
    })
}

async function notices(mapping: Mapping, platform: ClientPlatform, isRoot: boolean, signal: AbortSignal, run: RunStep): Promise<string[]> {
  if (platform === 'win32') return windowsAdvice(await runSteps([WINDOWS_LIMITS_QUERY], signal, run))
  if (platform === 'linux' && !isRoot)
    return [`the desktop shows it as ${mapping.url.replace(/^http/, 'dav')}; programs find it below $XDG_RUNTIME_DIR/gvfs`]
  return []
}

function explain(error: StepFailed, platform: ClientPlatform, isRoot: boolean): string {
  if (platform === 'win32') {
    return `${error.message}. Is the WebClient service there and allowed to run? As administrator: sc config WebClient start= demand & net start WebClient`
  }
  if (platform === 'linux')
    return `${error.message}. It needs ${isRoot ? 'the package davfs2' : 'the packages gvfs-backends and gvfs-fuse'}`
  return error.message
}
