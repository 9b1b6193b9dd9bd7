/**
 * Opening and making a vault: the parts, put together and taken apart again.
 *
 * Owns: the order of both. Must stay true: a vault that failed to open holds nothing; after `close` no key of it is in use and
 * what it held in memory of contents is overwritten.
 */

import { ChunkCutter } from '../../../cache/content/chunk-cutter.ts'
import type { VaultKeys } from '../../../crypto/vault/header.ts'
import { FsError } from '../../../errors.ts'
import type { VolumeRecord } from '../../../index/contract.ts'
import type { Log } from '../../../log.ts'
import { S_IFDIR, type VfsListener } from '../../contract.ts'
import { ChunkStore } from './chunks/chunk-store.ts'
import { Commits } from './commits.ts'
import { Contents } from './content/contents.ts'
import { ChangeEncoder } from './index/changes.ts'
import { writeLastSeen } from './log/last-seen.ts'
import { findLogDamage, type LogDamage } from './log/log-damage.ts'
import { blobNumber, startOfLog } from './log/log-format.ts'
import { LogWriter } from './log/log-writer.ts'
import { type OpenedState, openState } from './log/open-state.ts'
import { Recorder } from './log/recorder.ts'
import { encodeNode, VaultNode } from './nodes/node-record.ts'
import { NodeTable, type Timestamp } from './nodes/node-table.ts'
import { ROOT_ID, Room, type VaultParts } from './parts.ts'
import type { VaultStore } from './store/contract.ts'

export interface VaultOptions {
  readonly record: VolumeRecord
  readonly keys: VaultKeys
  readonly store: VaultStore
  /** Of this vault alone, in the library: the working index, and what was last seen. */
  readonly workDirectory: string
  /** Upper part of inode numbers. */
  readonly slot: number
  readonly readOnly: boolean
  /** Names this machine, for a person. */
  readonly device: string
  readonly log: Log
  readonly listener: VfsListener
  /** The user knows that the vault is older than this machine has seen it. */
  readonly acceptOlder?: boolean
  /** For tests. */
  readonly now?: () => Timestamp
  readonly limits?: { readonly packBytes?: number; readonly checkpointLogBytes?: number }
}

export interface OpenedVault {
  readonly parts: VaultParts
  /** What of log and checkpoints is damaged. */
  readonly damage: readonly string[]
  /** Number of the last record of the log. */
  generation(): number
  /** The damage, looked for anew in what is stored. */
  storedDamage(): LogDamage[]
  /** Puts a checkpoint of what there is in the place of all checkpoints and logs. */
  supersede(): Promise<void>
  close(): Promise<void>
}

export function createVault(options: VaultOptions): void {
  const { keys, store, now = systemTime } = options
  for (const prefix of ['log/', 'checkpoints/', 'packs/'])
    if (store.list(prefix).length > 0) throw new FsError('exists', 'there is a vault already', { operation: 'create vault' })
  const root = new VaultNode(ROOT_ID)
  const a = root.attributes
  const time = now()
  a.mode = S_IFDIR | 0o700
  a.nlink = 2
  a.uid = process.getuid?.() ?? 0
  a.gid = process.getgid?.() ?? 0
  a.atimeSec = a.mtimeSec = a.ctimeSec = a.btimeSec = time.sec
  a.atimeNsec = a.mtimeNsec = a.ctimeNsec = a.btimeNsec = time.nsec
  root.parent = ROOT_ID
  const changes = new ChangeEncoder()
  changes.node(ROOT_ID, encodeNode(root))
  const writer = new LogWriter({ vault: keys, store, position: startOfLog(keys.vaultId), firstSegment: 1, nowMs: () => time.sec * 1000 })
  writer.append(changes.out.written)
  writer.end()
}

export function openVault(options: VaultOptions): OpenedVault {
  const { keys, store, workDirectory, log } = options
  const state = openState({ vault: keys, store, workDirectory, log, acceptOlder: options.acceptOlder ?? false })
  try {
    return assemble(options, state)
  } catch (error) {
    state.index.close()
    throw error
  }
}

function assemble(options: VaultOptions, state: OpenedState): OpenedVault {
  const { keys, store, workDirectory, log, now = systemTime } = options
  const { index, damage } = state
  // What comes behind damage is lost until a repair says so: nothing may be written over it.
  const readOnly = options.readOnly || !state.isComplete
  const recorder = new Recorder(index, () => commits.changed())
  const chunks = new ChunkStore({ vault: keys, store, recorder, log, packBytes: options.limits?.packBytes })
  using cutsKey = keys.master.derive('vault-cuts')
  const cutter = new ChunkCutter(cutsKey)
  const nodes: NodeTable = new NodeTable({
    recorder,
    slot: options.slot,
    now,
    onChange: () => commits.changed(),
    delayedBytes: id => contents.delayedBytes(id),
    onGone: id => contents.drop(id),
  })
  const contents = new Contents({ recorder, chunks, cutter, find: id => nodes.find(id), changed: node => nodes.changed(node) })
  const writer = new LogWriter({
    vault: keys,
    store,
    position: state.position,
    firstSegment: nextSegment(store),
    nowMs: () => now().sec * 1000,
  })
  const commits = new Commits({
    vault: keys,
    store,
    workDirectory,
    recorder,
    nodes,
    contents,
    chunks,
    writer,
    log,
    checkpointLogBytes: options.limits?.checkpointLogBytes,
  })
  const parts: VaultParts = {
    readOnly,
    store,
    index,
    extents: index.extents,
    recorder,
    nodes,
    chunks,
    contents,
    commits,
    room: new Room(store, () => contents.totalDelayedBytes),
  }
  writeLastSeen(keys, workDirectory, state.position)
  // Deleted while they were open, when the vault was last used.
  if (!readOnly) for (const id of index.orphans()) recorder.nodeGone(id)
  // The index has what the damaged part of the log had: a checkpoint makes the log needless.
  if (!readOnly && damage.length > 0)
    void commits.supersede().catch(error => log.warning('vault: the damaged log could not be replaced', error))
  let isClosed = false
  return {
    parts,
    damage,
    generation: () => writer.position.sequence,
    storedDamage: () => findLogDamage(keys, store),
    async supersede() {
      if (options.readOnly) throw new FsError('read-only', 'the vault is open for reading only', { operation: 'repair' })
      await commits.supersede()
    },
    async close() {
      if (isClosed) return
      isClosed = true
      try {
        if (!readOnly) await commits.close()
      } finally {
        contents.clear()
        nodes.clear()
        chunks.close()
        cutter[Symbol.dispose]()
        index.close()
        store.close()
      }
    },
  }
}

/** Above every segment and checkpoint that is there. */
function nextSegment(store: VaultStore): number {
  const segments = store.list('log/').map(({ name }) => blobNumber(name) + 1)
  return Math.max(1, ...segments, ...store.list('checkpoints/').map(({ name }) => blobNumber(name)))
}

function systemTime(): Timestamp {
  const nanoseconds = BigInt(Math.round(performance.timeOrigin * 1000)) * 1000n + BigInt(Math.round(performance.now() * 1e6))
  return { sec: Number(nanoseconds / 1_000_000_000n), nsec: Number(nanoseconds % 1_000_000_000n) }
}
