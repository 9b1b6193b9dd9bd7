/**
 * What the write-back engine needs of the volume it works for.
 * Owns: types only.
 */
import type { ObjectInfo } from '../../backends/contract.ts'
import type { Answer } from '../../vfs/contract.ts'
import type { Run } from '../staging/content.ts'
import type { Expected, PutAction, StoredResult, Work } from './work.ts'

/** One state of a staged content, whole. `StagedReader` is one. */
export interface UploadSource {
  readonly sizeBytes: number
  /** The object that `baseRuns` are of, where that is another one by now than the action says. */
  readonly base?: PutAction['base']
  read(position: number, into: Buffer, signal: () => AbortSignal | undefined): number | Promise<Buffer>
  /** What the base object has: it may be copied on the server. */
  baseRuns(): Run[]
  close(): void
}

/** Why an action can't take place as it was meant. */
export interface Conflict {
  /** What is in the bucket instead of what was expected; undefined: nothing. */
  readonly remote: ObjectInfo | undefined
  /** It is about the source of a copy, not about the target. */
  readonly source: boolean
}

/**
 * What becomes of it: under another key, or on the same one expecting something else; or the work isn't wanted any more. Other
 * work of the same node on the same key goes along.
 */
export type Resolution =
  | { readonly decision: 'again'; readonly key: string; readonly expected: Expected; readonly sourceExpected?: Expected }
  | { readonly decision: 'drop' }

export interface WritebackHost {
  /** The content of a put. Throws 'damaged' when it can't be had any more. */
  source(action: PutAction): Answer<UploadSource>
  /**
   * The bucket has it. When this answers, the index knows (as safely as the journal forgets: both survive the process). It may be
   * told twice of the same work.
   */
  stored(work: Work, result: StoredResult): Answer<void>
  /** Somebody else changed the object meanwhile. Both versions must survive: this decides how. */
  conflict(work: Work, conflict: Conflict): Answer<Resolution>
  /** The work is gone from the journal: its content may go too. */
  finished(work: Work): void
}

/** Where work can be stopped by a test: the process may end at each of these. */
export type Step = 'begun' | 'upload-created' | 'part-sent' | 'before-complete' | 'sent' | 'stored' | 'indexed' | 'removed'
