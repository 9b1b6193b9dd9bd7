/** What can be wrong with a vault's header, or with the secret that was given for it: one error with a problem to branch on. */
import { type ErrorKind, FsError } from '../../errors.ts'

export type HeaderProblem =
  | 'missing' // there is no header where one was looked for
  | 'foreign' // not a vault's header at all
  | 'truncated'
  | 'damaged' // bytes changed by accident: the checksum says so
  | 'newer' // of a version, or with a feature, that this program doesn't know
  | 'excessive' // asks for more memory or time than is sensible
  | 'forged' // the checksum is right, the authentication isn't: changed by somebody without the key
  | 'wrong-secret' // the header is whole, no slot opens
  | 'slot' // the slot that was named isn't there, or is there already, or can't go

const KINDS = {
  missing: 'not-found',
  foreign: 'damaged',
  truncated: 'damaged',
  damaged: 'damaged',
  newer: 'not-supported',
  excessive: 'not-supported',
  forged: 'damaged',
  'wrong-secret': 'access-denied',
  slot: 'invalid',
} as const satisfies Record<HeaderProblem, ErrorKind>

export class HeaderError extends FsError {
  readonly problem: HeaderProblem

  constructor(problem: HeaderProblem, message: string) {
    super(KINDS[problem], message)
    this.name = 'HeaderError'
    this.problem = problem
  }
}
