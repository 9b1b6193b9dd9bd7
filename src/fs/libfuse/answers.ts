/**
 * Going on after an answer that is there at once or comes later, also when it is an error.
 * Owns: these two helpers and nothing else.
 */
import type { Answer } from '../../vfs/contract.ts'

/** Runs `after` when `run` has answered or failed. */
export function ensuring<T>(run: () => Answer<T>, after: () => void): Answer<T> {
  let answer: Answer<T>
  try {
    answer = run()
  } catch (error) {
    after()
    throw error
  }
  if (answer instanceof Promise) return answer.finally(after)
  after()
  return answer
}

/** Answers what `recover` says where `run` failed. */
export function recovering<T>(run: () => Answer<T>, recover: (error: unknown) => Answer<T>): Answer<T> {
  try {
    const answer = run()
    return answer instanceof Promise ? answer.catch(recover) : answer
  } catch (error) {
    return recover(error)
  }
}
