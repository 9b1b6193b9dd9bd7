/**
 * What a snapshot is called in `.snapshots/`: when it was taken, and its label. Pure.
 * Must stay true: names are unique (two snapshots of one second differ by their number) and never change.
 */
import { FsError } from '../../../../errors.ts'
import type { Name } from '../../../contract.ts'
import type { SnapshotRow } from '../index/working-index.ts'

const LABEL_LIMIT_BYTES = 200

/** Throws 'invalid' for what can't be part of a name. */
export function checkedLabel(label: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not be in a label
  if (Buffer.byteLength(label) > LABEL_LIMIT_BYTES || /[\x00-\x1f\x7f/]/.test(label))
    throw new FsError('invalid', `a label has at most ${LABEL_LIMIT_BYTES} bytes, no "/" and no control characters`)
  return label
}

export function snapshotName(snapshot: SnapshotRow, all: readonly SnapshotRow[]): Name {
  const text = baseName(snapshot)
  const isTaken = all.some(other => other.id < snapshot.id && baseName(other) === text)
  return Buffer.from(isTaken ? `${text}.${snapshot.id}` : text).toString('latin1')
}

/** Second and label: `2026-11-21T03.37.00Z weekly`. */
function baseName({ time, label }: SnapshotRow): string {
  const when = new Date(time).toISOString().slice(0, 19).replaceAll(':', '.')
  return label === '' ? `${when}Z` : `${when}Z ${label}`
}
