/**
 * Time, as the index needs it: handed in, so that a test can hold it.
 */
export interface Scheduler {
  nowMs(): number
  /**
   * Runs `run` once after `delayMs`, or with 0 as soon as the event loop has served what waits. It doesn't keep the
   * process alive. Answers a function that calls it off.
   */
  after(delayMs: number, run: () => void): () => void
}

export const eventLoopScheduler: Scheduler = {
  nowMs: () => performance.now(),
  after(delayMs, run) {
    if (delayMs === 0) {
      const immediate = setImmediate(run)
      immediate.unref()
      return () => clearImmediate(immediate)
    }
    const timer = setTimeout(run, delayMs)
    timer.unref()
    return () => clearTimeout(timer)
  },
}
