/**
 * The background process: reads its settings from the command that started it, serves the mount, ends.
 *
 * Owns: what a process needs around `serveMount`: log, signals, errors that nobody caught, no core dumps.
 * Must stay true: an error that nobody caught is logged and doesn't end the daemon (programs have their files open); the
 * log stays bounded also then. Nothing is written to the terminal of the user once the command has returned.
 */
import { closeSync, mkdirSync, openSync } from 'node:fs'
import { Socket } from 'node:net'
import { describeError } from '../../errors.ts'
import type { LibraryPaths } from '../../library/layout.ts'
import { createLog, type Log, type LogLevel, silentLog } from '../../log.ts'
import { linux } from '../../sys/linux.ts'
import { EXIT_CODES } from '../exit-codes.ts'
import { exitNameOf } from '../failures.ts'
import { interruption } from '../interruption.ts'
import { LogFile } from './log-file.ts'
import { serveMount } from './serve.ts'
import { START_DESCRIPTOR, type StartMessage, type StartRequest } from './start-protocol.ts'

const RLIMIT_CORE = 4
const STANDARD_ERROR = 2

/** The daemon's main. */
export async function runDaemon(environment: NodeJS.ProcessEnv): Promise<never> {
  return endProcess(await serve(environment))
}

/**
 * Ends a process that served a mount, once all is written and closed. At once where it can: a thread that hangs in a
 * filesystem, or that is just loading koffi, would make Node's own ending hang, or abort.
 */
export function endProcess(code: number): never {
  if (process.platform === 'linux') linux().exitNow(code)
  process.exit(code)
}

async function serve(environment: NodeJS.ProcessEnv): Promise<number> {
  const starter = new Socket({ fd: START_DESCRIPTOR })
  starter.on('error', () => {}) // The command may be gone: the mount is wanted all the same.
  const send = (message: StartMessage) => starter.write(`${JSON.stringify(message)}\n`)
  const request = await readRequest(starter)
  if (!request) return EXIT_CODES.daemon.code
  const { settings } = request
  process.title = `sdmount ${settings.mountpoint}`
  noCoreDumps()
  let ready = false
  let log: Log = silentLog
  try {
    await serveMount(settings, {
      openLog: paths => {
        log = openLog(paths, request.logLevel)
        logStrayErrors(log)
        return log
      },
      environment,
      signal: interruption(),
      reporter: {
        notice: line => send({ notice: line }),
        ready: () => {
          ready = true
          send({ ready: true })
          starter.end()
        },
      },
    })
    return EXIT_CODES.ok.code
  } catch (error) {
    const exit = exitNameOf(error)
    log.error(ready ? 'the daemon ends' : 'the daemon could not start', error)
    if (!ready) {
      send({ failure: { exit, message: describeError(error) } })
      await new Promise<void>(resolve => starter.end(resolve))
    }
    return EXIT_CODES[exit].code
  }
}

/** Standard error goes to a file of its own: what V8 or a native library says before it dies would be lost otherwise. */
function openLog(paths: LibraryPaths, level: LogLevel): Log {
  mkdirSync(paths.log, { recursive: true, mode: 0o700 })
  if (process.platform === 'linux') {
    const crashes = openSync(paths.crashFile, 'w', 0o600)
    linux().dup2(crashes, STANDARD_ERROR)
    closeSync(crashes)
  }
  const file = new LogFile(paths.logFile)
  return createLog(line => file.write(line), level)
}

function logStrayErrors(log: Log): void {
  const stack = (error: unknown) => (error instanceof Error ? (error.stack ?? error.message) : String(error))
  process.on('uncaughtException', error => log.error(`an error that nobody caught: ${stack(error)}`))
  process.on('unhandledRejection', error => log.error(`a rejection that nobody handled: ${stack(error)}`))
}

/** The library's key, and those of open vaults, are in this process's memory. */
export function noCoreDumps(): void {
  if (process.platform === 'linux') linux().setrlimit(RLIMIT_CORE, 0, 0)
}

function readRequest(starter: Socket): Promise<StartRequest | undefined> {
  return new Promise(resolve => {
    let text = ''
    starter.setEncoding('utf8')
    starter.on('data', chunk => {
      text += String(chunk)
      const end = text.indexOf('\n')
      if (end < 0) return
      starter.removeAllListeners('data')
      starter.removeAllListeners('end')
      starter.resume()
      resolve(JSON.parse(text.slice(0, end)) as StartRequest)
    })
    starter.on('end', () => resolve(undefined))
  })
}
