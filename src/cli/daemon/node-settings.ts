/**
 * How Node is started for a process that serves a mount.
 * Owns: the flags and the environment that can only be given at the start.
 */

/**
 * No debugger by signal: whoever may send one could look into the process that holds the key. A small nursery keeps the
 * memory down.
 */
export const SERVING_FLAGS: readonly string[] = ['--disable-sigusr1', '--max-semi-space-size=4']

/** The thread pool has to hold a poll, notifications, and what waits for the disk. */
export function servingEnvironment(environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return { ...environment, UV_THREADPOOL_SIZE: environment.UV_THREADPOOL_SIZE ?? '12' }
}
