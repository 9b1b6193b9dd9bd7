/**
 * Starts the daemon and waits until the tree can be used.
 *
 * Must stay true: the daemon is in a session of its own, with no descriptor of the terminal; what it says while it
 * starts is passed on; Ctrl-C while waiting ends it; the wait has a bound.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { Socket } from 'node:net'
import { fileURLToPath } from 'node:url'
import { CommandError } from '../exit-codes.ts'
import { SERVING_FLAGS, servingEnvironment } from './node-settings.ts'
import { DAEMON_WORD, START_DESCRIPTOR, type StartMessage, type StartRequest } from './start-protocol.ts'

const START_MS = 120_000

/** Resolves when the tree can be used; throws what the daemon said was wrong. */
export async function launchDaemon(
  request: StartRequest,
  options: { readonly signal: AbortSignal; readonly notice: (line: string) => void },
): Promise<void> {
  const launcher = fileURLToPath(new URL('../../../bin/sdmount.mjs', import.meta.url))
  const child = spawn(process.execPath, [...SERVING_FLAGS, launcher, DAEMON_WORD], {
    detached: true,
    cwd: '/',
    env: servingEnvironment(process.env),
    stdio: ['ignore', 'ignore', 'ignore', 'pipe'],
  })
  const socket = child.stdio[START_DESCRIPTOR] as unknown
  if (!(socket instanceof Socket)) throw new CommandError('daemon', 'the daemon could not be started')
  socket.on('error', () => {})
  socket.write(`${JSON.stringify(request)}\n`)
  try {
    await outcome(child, socket, options)
  } finally {
    socket.destroy()
    child.unref()
  }
}

function outcome(
  child: ChildProcess,
  socket: Socket,
  options: { readonly signal: AbortSignal; readonly notice: (line: string) => void },
): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const giveUp = (error: CommandError) => {
    child.kill('SIGTERM')
    reject(error)
  }
  const interrupt = () => giveUp(new CommandError('interrupted', 'interrupted'))
  const timer = setTimeout(() => giveUp(new CommandError('daemon', `the daemon was not ready within ${START_MS / 1000} seconds`)), START_MS)
  options.signal.addEventListener('abort', interrupt)
  let text = ''
  socket.setEncoding('utf8')
  socket.on('data', chunk => {
    const lines = (text + String(chunk)).split('\n')
    text = lines.pop()!
    for (const line of lines) {
      const message = JSON.parse(line) as StartMessage
      if ('notice' in message) options.notice(message.notice)
      else if ('ready' in message) resolve()
      else reject(new CommandError(message.failure.exit, message.failure.message))
    }
  })
  socket.on('close', () =>
    reject(
      new CommandError('daemon', `the daemon ended while it started${child.exitCode === null ? '' : ` (exit code ${child.exitCode})`}`),
    ),
  )
  child.on('error', error => reject(new CommandError('daemon', `the daemon could not be started: ${error.message}`)))
  return promise.finally(() => {
    clearTimeout(timer)
    options.signal.removeEventListener('abort', interrupt)
  })
}
