/**
 * Asks a library: its daemon where one runs, else the library itself, opened for the moment.
 *
 * Must stay true: the answer is the same either way (service.ts gives both). A library whose daemon is just starting or
 * ending is waited for, within a bound.
 */
import { existsSync } from 'node:fs'
import { libraryPaths } from '../library/layout.ts'
import { LibraryError } from '../library/library-error.ts'
import { createLog } from '../log.ts'
import { ControlClient } from './control/client.ts'
import type { Secrets } from './control/secrets.ts'
import { CommandError } from './exit-codes.ts'
import type { RequestArguments, RequestName, RequestResult, RequestUpdate } from './service/requests.ts'
import { sleep } from './sleep.ts'

const IN_USE_WAIT_MS = 10_000
const RETRY_MS = 50

export interface Question<N extends RequestName> {
  readonly library: string
  readonly request: N
  readonly arguments: RequestArguments<N>
  /** Beside the arguments: whoever asks wipes them. */
  readonly secrets?: Secrets
  /** Make the library where there is none. */
  readonly create: boolean
  readonly signal: AbortSignal
  readonly update?: (update: RequestUpdate<N>) => void
}

/** The answer of the daemon or of the library. Throws CommandError and LibraryError. */
export async function askLibrary<N extends RequestName>(question: Question<N>): Promise<RequestResult<N>> {
  return await whenFree(question.signal, async () => {
    using client = await connectDaemon(question.library)
    if (!client) return await askDirectly(question)
    const update = (value: unknown) => question.update?.(value as RequestUpdate<N>)
    const given: Readonly<Record<string, unknown>> = question.arguments
    const secrets = question.secrets && { secrets: await sealedFor(client, question.secrets, question.signal) }
    return (await client.request(question.request, { ...given, ...secrets }, question.signal, update)) as RequestResult<N>
  })
}

/** The daemon of a library, where one listens. */
export async function connectDaemon(library: string): Promise<ControlClient | undefined> {
  const { socket } = libraryPaths(library)
  return existsSync(socket) ? await ControlClient.connect(socket) : undefined
}

/** Tries again while another process holds the library and can't be asked: it is starting, ending, or a short command. */
export async function whenFree<T>(signal: AbortSignal, attempt: () => Promise<T>): Promise<T> {
  const deadlineMs = Date.now() + IN_USE_WAIT_MS
  for (;;) {
    try {
      return await attempt()
    } catch (error) {
      const inUse =
        (error instanceof LibraryError && error.problem === 'in-use') || (error instanceof CommandError && error.exit === 'library-in-use')
      if (!inUse || Date.now() > deadlineMs) throw error
      await sleep(RETRY_MS, signal)
    }
  }
}

/** As the daemon wants them: for this request alone. */
async function sealedFor(client: ControlClient, secrets: Secrets, signal: AbortSignal): Promise<unknown> {
  const { key } = (await client.request('secret.key', {}, signal, () => {})) as RequestResult<'secret.key'>
  const { sealSecrets } = await import('./control/secrets.ts')
  return sealSecrets(key, secrets)
}

async function askDirectly<N extends RequestName>(question: Question<N>): Promise<RequestResult<N>> {
  const [{ openLibrary }, { openLibraryIndex }, { answer }] = await Promise.all([
    import('../library/library.ts'),
    import('./service/library-index.ts'),
    import('./service/service.ts'),
  ])
  using library = openLibrary(question.library, { create: question.create })
  const log = createLog(line => process.stderr.write(line), 'warning')
  const index = openLibraryIndex(library, log)
  try {
    const update = async (value: unknown) => question.update?.(value as RequestUpdate<N>)
    const result = await answer({ library, index, log, mounted: undefined }, question.request, question.arguments, {
      signal: question.signal,
      update,
      ...(question.secrets ? { secrets: question.secrets } : {}),
    })
    index.flush('durable')
    return result as RequestResult<N>
  } finally {
    index.close()
  }
}
