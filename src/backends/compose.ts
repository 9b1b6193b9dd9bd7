/**
 * The one place where a store gets its wrappers, in the one order that makes sense.
 *
 * From the outside in: retry (a wait between attempts holds no place), limits (each attempt takes its place and its bytes), log
 * (each attempt is one line), the store.
 */
import { type Log, silentLog } from '../log.ts'
import type { Backend } from './contract.ts'
import { type BackendLimits, DEFAULT_LIMITS, limited, StoreLimits } from './limit.ts'
import { logged } from './log.ts'
import { type RetrySettings, retrying } from './retry.ts'

export interface ComposeOptions {
  readonly retry?: Partial<RetrySettings>
  readonly limits?: Partial<BackendLimits> | StoreLimits
  readonly log?: Log
  /** Stands between the store and all wrappers: for faults in tests. */
  readonly around?: (store: Backend) => Backend
}

/** A store with retries, limits and log. */
export function composeBackend(store: Backend, options: ComposeOptions = {}): Backend {
  const inner = options.around?.(store) ?? store
  const log = options.log ?? silentLog
  const observed = log === silentLog ? inner : logged(inner, log)
  const { limits } = options
  return retrying(limited(observed, limits instanceof StoreLimits ? limits : { ...DEFAULT_LIMITS, ...limits }), options.retry)
}
