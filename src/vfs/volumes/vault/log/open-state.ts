/**
 * From the stored log and checkpoints to a working index that has all of them.
 *
 * Owns: the order in which that is tried: the working index that is there and the records behind its position; else the newest
 * checkpoint that is whole, and the records behind that. Must stay true: what is applied was authentic and in order; a vault that
 * is older than this machine has seen is not opened as if nothing were wrong; damage is reported, and what is before it is there.
 */
import { existsSync, mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import type { SecretKey } from '../../../../crypto/secret-key.ts'
import { FsError } from '../../../../errors.ts'
import type { Log } from '../../../../log.ts'
import type { VaultIdentity } from '../chunks/pack-format.ts'
import { replay } from '../index/changes.ts'
import { INDEX_FILE, WorkingIndex } from '../index/working-index.ts'
import type { VaultStore } from '../store/contract.ts'
import { ByteReader } from './bytes.ts'
import { loadCheckpoint } from './checkpoint.ts'
import { readLastSeen } from './last-seen.ts'
import { blobNumber, decodePosition, encodePosition, type LogPosition, RECORD_CHANGES, startOfLog } from './log-format.ts'
import { LogReader } from './log-reader.ts'

const COMMIT_EVERY_BYTES = 4 * 2 ** 20

export interface OpenedState {
  readonly index: WorkingIndex
  readonly position: LogPosition
  /** What of log and checkpoints is damaged. */
  readonly damage: readonly string[]
  /** The damage lies behind what the index has from elsewhere: nothing is lost, a checkpoint heals it. */
  readonly isComplete: boolean
  /** Bytes of log behind the newest checkpoint. */
  readonly replayBytes: number
}

export interface OpenStateOptions {
  readonly vault: VaultIdentity
  readonly store: VaultStore
  readonly workDirectory: string
  readonly log: Log
  /** The user knows that the vault is older than last seen here. */
  readonly acceptOlder: boolean
}

export function openState(options: OpenStateOptions): OpenedState {
  const { vault, store, workDirectory, acceptOlder } = options
  mkdirSync(workDirectory, { recursive: true, mode: 0o700 })
  const reader = new LogReader(vault, store)
  const seen = acceptOlder ? undefined : readLastSeen(vault, workDirectory)
  const state = continueIndex(options, reader) ?? rebuildIndex(options, reader)
  try {
    if (seen && !acceptOlder && state.position.sequence < seen.sequence && state.isComplete && state.damage.length === 0)
      throw older(state.position.sequence, seen.sequence)
    return state
  } catch (error) {
    state.index.close()
    throw error
  }
}

/** From the working index that is there; undefined where it can't be used. */
function continueIndex(options: OpenStateOptions, reader: LogReader): OpenedState | undefined {
  const { vault, workDirectory, log, acceptOlder } = options
  if (!existsSync(join(workDirectory, INDEX_FILE))) return undefined
  using key = vault.master.derive('vault-index', vault.vaultId)
  let index: WorkingIndex | undefined
  try {
    index = WorkingIndex.open(workDirectory, key)
    const stored = index.position
    const position = stored && decodePosition(stored)
    if (!position) throw new FsError('damaged', 'it is not complete')
    const verdict = reader.verify(position)
    if (verdict === 'missing') {
      if (reader.sequenceOfHeaders() < position.sequence && !acceptOlder) throw older(undefined, position.sequence)
      throw new FsError('damaged', 'it has another history than the vault')
    }
    const damage = verdict === 'damaged' ? [`record ${position.sequence} of the log is damaged`] : []
    const end = applyLog(index, reader, position)
    if (end.damage) damage.push(end.damage)
    return { index, position: end.position, damage, isComplete: !end.damage, replayBytes: end.bytes }
  } catch (error) {
    index?.close()
    if (!(error instanceof FsError) || error.kind !== 'damaged') throw error
    log.info(`vault: the working index is made again (${error.message})`)
    return undefined
  }
}

function rebuildIndex(options: OpenStateOptions, reader: LogReader): OpenedState {
  const { vault, store, workDirectory, log } = options
  const numbers = store
    .list('checkpoints/')
    .map(({ name }) => blobNumber(name))
    .sort((a, b) => b - a)
  const damage: string[] = []
  for (const number of [...numbers, 0]) {
    const index = emptyIndex(workDirectory, vault.master.derive('vault-index', vault.vaultId))
    try {
      index.begin()
      const position = number === 0 ? startOfLog(vault.vaultId) : loadCheckpoint(vault, store, number, index.database)
      index.reload()
      index.commit(encodePosition(position))
      const end = applyLog(index, reader, position)
      if (end.position.sequence === 0) throw new FsError('damaged', end.damage ?? 'the vault has no log and no checkpoint')
      // An older checkpoint does as well as the newest, while the log behind it is there.
      if (end.damage) damage.push(end.damage)
      for (const line of damage) log.error(`vault: ${line}`)
      return { index, position: end.position, damage, isComplete: !end.damage, replayBytes: end.bytes }
    } catch (error) {
      index.close()
      if (!(error instanceof FsError) || error.kind !== 'damaged') throw error
      damage.push(error.message)
    }
  }
  throw new FsError('damaged', `the vault can't be opened: ${damage.join('; ')}`, { operation: 'open vault' })
}

function emptyIndex(workDirectory: string, key: SecretKey): WorkingIndex {
  for (const suffix of ['', '-wal', '-shm']) rmSync(join(workDirectory, INDEX_FILE + suffix), { force: true })
  using spent = key
  return WorkingIndex.open(workDirectory, spent)
}

function applyLog(
  index: WorkingIndex,
  reader: LogReader,
  from: LogPosition,
): { readonly position: LogPosition; readonly damage: string | undefined; readonly bytes: number } {
  let position = from
  let bytes = 0
  let uncommitted = 0
  const records = reader.records(from)
  let next = records.next()
  for (; !next.done; next = records.next()) {
    index.begin()
    if (next.value.record.kind === RECORD_CHANGES) replay(new ByteReader(next.value.record.changes), index)
    position = next.value.position
    bytes += position.end - position.offset
    uncommitted += position.end - position.offset
    if (uncommitted < COMMIT_EVERY_BYTES) continue
    index.commit(encodePosition(position))
    uncommitted = 0
  }
  if (index.database.inTransaction) index.commit(encodePosition(position))
  return { position, damage: next.value.damage, bytes }
}

function older(found: number | undefined, seen: number): FsError {
  const there = found === undefined ? 'its log ends before' : `its log ends at record ${found},`
  return new FsError(
    'stale',
    `this vault is older than when it was last open here (${there} record ${seen} was seen): a backup was put back, or somebody put an older copy in its place`,
    { operation: 'open vault' },
  )
}
