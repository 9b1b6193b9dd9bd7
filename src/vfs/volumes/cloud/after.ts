/**
 * Going on when an answer is there: at once where it is, later where it must be waited for.
 * Owns: that one function. Must stay true: nothing is delayed that needn't be.
 */
import type { Answer } from '../../contract.ts'

export function after<A, B>(answer: Answer<A>, next: (value: A) => Answer<B>): Answer<B> {
  return answer instanceof Promise ? answer.then(next) : next(answer)
}
