/**
 * How Node is started for a process that serves a mount.
 * Owns: the flags and the environment that can only be given at the start.
 */

/**
 * No debugger by signal: whoever may send one could look into the process that holds the key. A small nursery keeps the
 * memory down.
 */
export const SERVING_FLAGS: readonly string[] = ['--disable-sigusr1', '--max-semi-space-size=4']

/**
 * The thread pool has to hold a poll, notifications, and what waits for the disk. glibc would give each of these threads a
 * heap of its own, and keep what was freed in each: two are enough for threads that mostly wait (measured with an index of
 * a million entries: 8 MiB less).
 */
export function servingEnvironment(environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return {
    ...environment,
    UV_THREADPOOL_SIZE: environment.UV_THREADPOOL_SIZE ?? '12',
    MALLOC_ARENA_MAX: environment.MALLOC_ARENA_MAX ?? '2',
  }
}
