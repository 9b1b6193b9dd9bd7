/**
 * A volume small enough to see through, for tests of the write-back queue: names are keys, the index is a map.
 * `crash` leaves everything as a process that ends leaves it, and `World` on the same directory starts anew.
 */
import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ExecutionContext } from 'ava'
import type { Backend, ObjectInfo } from '../../src/backends/contract.ts'
import { StagingArea } from '../../src/cache/staging/staging-area.ts'
import { type EngineSettings, WritebackEngine } from '../../src/cache/writeback/engine.ts'
import type { Conflict, Resolution, Step } from '../../src/cache/writeback/host.ts'
import { Journal } from '../../src/cache/writeback/journal.ts'
import type { CopyAction, DeleteAction, Expected, PutAction, StoredResult, Work, WorkId } from '../../src/cache/writeback/work.ts'
import { SecretKey } from '../../src/crypto/secret-key.ts'

const KEY = new SecretKey(Buffer.alloc(32, 4))
export const VOLUME = 3

export interface WorldOptions {
  readonly backend: Backend
  readonly directory?: string
  readonly settings?: Partial<EngineSettings>
  readonly step?: (step: Step, work: Work) => void | Promise<void>
  readonly now?: () => number
  /** What the index knew when the process ended. */
  readonly index?: Map<string, string | undefined>
  readonly resolve?: (work: Work, conflict: Conflict) => Resolution
}

export class World {
  readonly directory: string
  readonly journal: Journal
  readonly staging: StagingArea
  readonly engine: WritebackEngine
  /** Key -> entity tag, as the volume's index would have it. */
  readonly index: Map<string, string | undefined>
  readonly told: { readonly key: string; readonly id: WorkId; readonly result: StoredResult }[] = []
  readonly conflicts: { readonly key: string; readonly remote: ObjectInfo | undefined; readonly source: boolean }[] = []
  readonly finished: WorkId[] = []

  constructor(options: WorldOptions) {
    this.directory = options.directory ?? mkdtempSync(join(tmpdir(), 'sdmount-writeback-'))
    mkdirSync(join(this.directory, 'staging'), { recursive: true })
    this.journal = new Journal({ path: join(this.directory, 'journal.db'), key: KEY, ...(options.now ? { now: options.now } : {}) })
    this.staging = new StagingArea({ directory: join(this.directory, 'staging'), key: KEY })
    this.index = options.index ?? new Map()
    this.engine = new WritebackEngine({
      volume: VOLUME,
      journal: this.journal,
      backend: options.backend,
      settings: { firstDelayMs: 1, maximumDelayMs: 20, firstProbeMs: 5, maximumProbeMs: 20, ...options.settings },
      ...(options.now ? { now: options.now } : {}),
      ...(options.step ? { step: options.step } : {}),
      host: {
        source: action => this.staging.open(action.root!),
        stored: (work, result) => {
          this.told.push({ key: work.action.key, id: work.id, result })
          if (result.etag === undefined) this.index.delete(work.action.key)
          else this.index.set(work.action.key, result.etag)
        },
        conflict: (work, conflict) => {
          this.conflicts.push({ key: work.action.key, ...conflict })
          return options.resolve?.(work, conflict) ?? { decision: 'again', key: `${work.action.key}.conflict`, expected: 'absent' }
        },
        finished: work => {
          this.finished.push(work.id)
        },
      },
    })
  }

  /** What close(2) of a written file does. */
  put(key: string, content: Buffer, expected: Expected = 'any', more: Partial<PutAction> = {}): WorkId {
    return this.journal.enqueue([this.putAction(key, content, expected, more)])[0]!
  }

  putAction(key: string, content: Buffer, expected: Expected = 'any', more: Partial<PutAction> = {}): PutAction {
    const file = this.staging.create()
    file.write(0, content)
    const { root } = file.checkpoint()
    file.park()
    return {
      kind: 'put',
      volume: VOLUME,
      node: 0,
      key,
      expected,
      root,
      base: undefined,
      sizeBytes: content.length,
      metadata: { mode: '33188' },
      contentType: 'text/plain',
      ...more,
    }
  }

  copyAction(source: string, key: string, more: Partial<CopyAction> = {}): CopyAction {
    return {
      kind: 'copy',
      volume: VOLUME,
      node: 0,
      key,
      source,
      expected: 'any',
      sourceExpected: 'any',
      sizeBytes: 0,
      metadata: undefined,
      contentType: undefined,
      ...more,
    }
  }

  deleteAction(key: string, expected: Expected = 'any', more: Partial<DeleteAction> = {}): DeleteAction {
    return { kind: 'delete', volume: VOLUME, node: 0, key, expected, ...more }
  }

  async drain(): Promise<void> {
    this.engine.start()
    await this.engine.drained(AbortSignal.timeout(60_000))
  }

  /** Its work hangs on purpose: nobody waits for it. */
  isHalted = false

  async close(): Promise<void> {
    if (!this.isHalted) await this.engine.stop()
    this.journal.close()
    rmSync(this.directory, { recursive: true, force: true })
  }
}

/** The directory as it would be if the process ended now: what was handed to the kernel, and no more. */
export function asLeftByCrash(directory: string): string {
  const copy = mkdtempSync(join(tmpdir(), 'sdmount-writeback-'))
  for (const name of readdirSync(directory))
    if (!name.endsWith('-shm')) cpSync(join(directory, name), join(copy, name), { recursive: true })
  return copy
}

/** A step that never ends, and a promise that it was reached. */
export function haltAt(
  step: Step,
  times = 1,
): { readonly step: (step: Step, work: Work) => Promise<void> | void; readonly reached: Promise<void> } {
  let left = times
  let tell = () => {}
  const reached = new Promise<void>(resolve => {
    tell = resolve
  })
  return {
    reached,
    step: at => {
      if (at !== step || --left > 0) return
      tell()
      return new Promise(() => {})
    },
  }
}

export function closed(t: ExecutionContext, world: World): World {
  t.teardown(() => world.close().catch(() => {}))
  return world
}
