/**
 * Logs what is asked of a store, at debug level: one line a call, with time and outcome.
 * Must stay true: object names appear at debug level only, and nothing secret ever does.
 */
import { describeError } from '../errors.ts'
import type { Log } from '../log.ts'
import type { Backend } from './contract.ts'
import { intercept } from './intercept.ts'

/** `inner`, with each call logged. */
export function logged(inner: Backend, log: Log, now: () => number = () => performance.now()): Backend {
  return intercept(inner, {
    async around(call, run) {
      const startedMs = now()
      const line = (outcome: string) =>
        log.debug(`${inner.description}: ${call.operation} ${call.subject}: ${outcome}, ${(now() - startedMs).toFixed(1)} ms`)
      try {
        const result = await run()
        line('done')
        return result
      } catch (error) {
        line(describeError(error))
        throw error
      }
    },
  })
}
