/**
 * Counts what ava's reporter says, line by line. (Its TAP writer ends the run at some kinds of errors.)
 * A to-do is none of the three: nothing ran, and nothing was left out.
 */
export interface ReportTotal {
  readonly passed: number
  readonly failed: number
  readonly skipped: number
}

export class ReportCount {
  #passed = 0
  #failed = 0
  #skipped = 0
  #ended = false

  line(text: string): void {
    if (/^\s+✔ .+/.test(text)) this.#passed++
    else if (/^\s+✘ /.test(text)) this.#failed++
    else if (/^\s+- \[skip\]/.test(text)) this.#skipped++
    else if (/^\s+(\d+ tests? (passed|failed|skipped)|\d+ (uncaught exceptions?|unhandled rejections?))/.test(text)) this.#ended = true
  }

  /** `code` is what the runner ended with: an end without a summary, or a bad one without a failed test, is a failure itself. */
  end(code: number): ReportTotal {
    const crashed = !this.#ended || (code !== 0 && this.#failed === 0)
    return { passed: this.#passed, failed: this.#failed + (crashed ? 1 : 0), skipped: this.#skipped }
  }
}
