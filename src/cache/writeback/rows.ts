/**
 * Work as rows: the reading and writing of columns.
 * Owns: the numbers and texts that stand for kinds, states and expectations in the database; they never change their meaning.
 */
import type { Metadata } from '../../backends/contract.ts'
import { FsError } from '../../errors.ts'
import type { Action, Expected, PutAction, StoredResult, Work, WorkState } from './work.ts'

export interface WorkRow {
  readonly id: number
  readonly volume: number
  readonly node: number
  readonly kind: number
  readonly state: number
  readonly key: string
  readonly expected: string
  readonly source: string | null
  readonly source_expected: string | null
  readonly size: number
  readonly attributes: string
  readonly base: string | null
  readonly write_id: string
  readonly attempts: number
  readonly due_ms: number
  readonly error: string | null
  readonly upload_id: string | null
  readonly part_bytes: number | null
  readonly result: string | null
  readonly created_ms: number
  readonly root: Buffer | null
}

export const KIND = { put: 1, copy: 2, delete: 3 } as const satisfies Record<Action['kind'], number>
export const STATE = { queued: 0, uploading: 1, stored: 2, failed: 3 } as const satisfies Record<WorkState, number>
const STATES: readonly WorkState[] = ['queued', 'uploading', 'stored', 'failed']

interface Attributes {
  readonly metadata?: Metadata
  readonly contentType?: string
}

export function encodeExpected(expected: Expected): string {
  return typeof expected === 'string' ? expected : `=${expected.etag}`
}

export function decodeExpected(text: string): Expected {
  if (text.startsWith('=')) return { etag: text.slice(1) }
  if (text === 'any' || text === 'absent' || text === 'own') return text
  throw damaged()
}

/** The columns of an action, in the order of `ACTION_COLUMNS`. */
export function actionColumns(action: Action): unknown[] {
  const isDelete = action.kind === 'delete'
  const attributes: Attributes = isDelete
    ? {}
    : {
        ...(action.metadata === undefined ? {} : { metadata: action.metadata }),
        ...(action.contentType === undefined ? {} : { contentType: action.contentType }),
      }
  return [
    action.volume,
    action.node,
    KIND[action.kind],
    action.key,
    encodeExpected(action.expected),
    action.kind === 'copy' ? action.source : null,
    action.kind === 'copy' ? encodeExpected(action.sourceExpected) : null,
    isDelete ? 0 : action.sizeBytes,
    JSON.stringify(attributes),
    action.kind === 'put' && action.base ? JSON.stringify(action.base) : null,
    action.kind === 'put' ? (action.root ?? null) : null,
  ]
}

export const ACTION_COLUMNS = [
  'volume',
  'node',
  'kind',
  'key',
  'expected',
  'source',
  'source_expected',
  'size',
  'attributes',
  'base',
  'root',
] as const

/** The keys that an action must not overtake others on: what it makes, and what it is made of. */
export function touchedKeys(action: Action): string[] {
  if (action.kind === 'put' && action.base && action.base.key !== action.key) return [action.key, action.base.key]
  return action.kind === 'copy' && action.source !== action.key ? [action.key, action.source] : [action.key]
}

export function workOf(row: WorkRow): Work {
  const state = STATES[row.state]
  if (!state) throw damaged()
  return {
    id: row.id,
    action: actionOf(row),
    state,
    writeId: row.write_id,
    attempts: row.attempts,
    dueMs: row.due_ms,
    error: row.error ?? undefined,
    upload: row.upload_id === null || row.part_bytes === null ? undefined : { uploadId: row.upload_id, partBytes: row.part_bytes },
    result: row.result === null ? undefined : (JSON.parse(row.result) as StoredResult),
    createdMs: row.created_ms,
  }
}

function actionOf(row: WorkRow): Action {
  const common = { volume: row.volume, node: row.node, key: row.key, expected: decodeExpected(row.expected) }
  const { metadata, contentType } = JSON.parse(row.attributes) as Attributes
  switch (row.kind) {
    case KIND.put:
      return {
        kind: 'put',
        ...common,
        root: row.root ?? undefined,
        base: row.base === null ? undefined : (JSON.parse(row.base) as PutAction['base']),
        sizeBytes: row.size,
        metadata: metadata ?? {},
        contentType,
      }
    case KIND.copy:
      return {
        kind: 'copy',
        ...common,
        source: row.source!,
        sourceExpected: decodeExpected(row.source_expected!),
        sizeBytes: row.size,
        metadata,
        contentType,
      }
    case KIND.delete:
      return { kind: 'delete', ...common }
    default:
      throw damaged()
  }
}

const damaged = () => new FsError('damaged', 'a row of the journal makes no sense', { operation: 'read journal' })
