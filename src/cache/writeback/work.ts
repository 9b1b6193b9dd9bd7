/**
 * What waits to be done in a bucket: the words of the write-back queue.
 *
 * Owns: types only. A piece of work is one action on one object, harmless to repeat; larger acts are several, kept in order by
 * the keys they touch (a rename is a copy, then a deletion).
 *
 * States of a piece of work, and who makes each transition:
 *
 *   queued ----engine: an upload in parts was begun----> uploading
 *   queued, uploading ----engine: the bucket has it----> stored
 *   stored ----engine: the host wrote it into the index----> (gone)
 *   queued, uploading ----engine: it won't pass by itself----> failed ----anybody: retry----> queued
 *   queued ----whoever wrote it: newer content----> queued
 *   queued, uploading ----engine: the host resolved a conflict----> queued
 *
 * What is guaranteed when the process ends in each: queued: everything is done anew. uploading: the parts that arrived are kept;
 * whether it was completed is found out by its write id. stored: nothing is sent any more, only the index is told (again).
 * failed: it stays, with its content, and `sync status` says why.
 */
import type { ETag, Metadata, ObjectKey } from '../../backends/contract.ts'
import type { Ino } from '../../vfs/contract.ts'

/** Ascending: what was queued earlier has a smaller one. */
export type WorkId = number

/**
 * What must be in the bucket for the action to take place: anything; nothing; just this state; or what the work before this one
 * on the same key leaves there.
 */
export type Expected = 'any' | 'absent' | 'own' | { readonly etag: ETag }

/** `dueMs` of work that waits for somebody here, and not for its time: it isn't counted as waiting. */
export const HELD_MS = 2 ** 52

interface Common {
  readonly volume: number
  /** The node it is about; 0 for none. Conflicts carry all work of a node along. */
  readonly node: Ino
  readonly key: ObjectKey
  readonly expected: Expected
}

/** Content to be stored. */
export interface PutAction extends Common {
  readonly kind: 'put'
  /** Of the staged content; undefined: an empty object (a directory marker). */
  readonly root: Buffer | undefined
  /** What the staged content rests on, where it does. */
  readonly base:
    | { readonly key: ObjectKey; readonly etag: ETag; readonly sizeBytes: number; readonly versionId?: string | undefined }
    | undefined
  readonly sizeBytes: number
  readonly metadata: Metadata
  readonly contentType: string | undefined
}

/** An object to be copied on the server: for a rename, or onto itself for new attributes. */
export interface CopyAction extends Common {
  readonly kind: 'copy'
  readonly source: ObjectKey
  readonly sourceExpected: Expected
  readonly sizeBytes: number
  /** Undefined: the source's. */
  readonly metadata: Metadata | undefined
  readonly contentType: string | undefined
}

export interface DeleteAction extends Common {
  readonly kind: 'delete'
}

export type Action = PutAction | CopyAction | DeleteAction

export type WorkState = 'queued' | 'uploading' | 'stored' | 'failed'

/** What the bucket has after the action. */
export interface StoredResult {
  /** Undefined after a deletion. */
  readonly etag: ETag | undefined
  readonly versionId: string | undefined
}

export interface Work {
  readonly id: WorkId
  readonly action: Action
  readonly state: WorkState
  /** Kept with the object: tells this write from all others. */
  readonly writeId: string
  readonly attempts: number
  /** Not before this time, by the wall clock. */
  readonly dueMs: number
  readonly error: string | undefined
  readonly upload: { readonly uploadId: string; readonly partBytes: number } | undefined
  readonly result: StoredResult | undefined
  readonly createdMs: number
}

export interface QueueCounts {
  readonly queued: number
  /** Of queued and uploading puts. */
  readonly queuedBytes: number
  readonly stored: number
  readonly failed: number
}
