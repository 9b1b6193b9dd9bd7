/**
 * Whether the stored log and checkpoints are whole, whatever the working index has. Owns: the reading of all of it. Changes nothing.
 */
import { FsError } from '../../../../errors.ts'
import type { VaultIdentity } from '../chunks/pack-format.ts'
import type { VaultStore } from '../store/contract.ts'
import { checkpointPosition } from './checkpoint.ts'
import { blobNumber, startOfLog } from './log-format.ts'
import { LogReader } from './log-reader.ts'

export interface LogDamage {
  readonly kind: 'log' | 'checkpoint'
  readonly message: string
}

export function findLogDamage(vault: VaultIdentity, store: VaultStore): LogDamage[] {
  const found: LogDamage[] = []
  const reader = new LogReader(vault, store)
  const checkpoints = store.list('checkpoints/').map(({ name }) => blobNumber(name))
  let oldest = startOfLog(vault.vaultId)
  let isFirst = true
  for (const number of checkpoints.sort((a, b) => a - b)) {
    try {
      const position = checkpointPosition(vault, store, number)
      if (isFirst) oldest = { ...position, segment: number, offset: 0, end: 0 }
      isFirst = false
    } catch (error) {
      if (!(error instanceof FsError) || error.kind !== 'damaged') throw error
      found.push({ kind: 'checkpoint', message: error.message })
    }
  }
  // Segments before the oldest checkpoint that is whole are needed for nothing.
  const records = reader.records(oldest)
  let next = records.next()
  while (!next.done) next = records.next()
  if (next.value.damage) found.push({ kind: 'log', message: next.value.damage })
  return found
}
